internal import Wire

/// What a listener serves: methods of gRPC by path, pages by method and path. Set up before `listen`; one service may stand
/// behind several listeners.
package final class RPCService {
    struct Method {
        let limit: Int
        let isUnary: Bool
        let start: (RPCStream) -> Void
    }

    enum Page {
        case found((HTTPCall) -> Void)
        case unknown
        /// The path is known; the text lists what it takes.
        case otherMethods(String)
    }

    private var methods: [String: Method] = [:]
    private var pages: [String: [String: (HTTPCall) -> Void]] = [:]

    package init() {}

    /// One message in, one out. `limit`: bytes of the request. Calls that bring no deadline get `RPCLimits.call`.
    package func unary(_ path: String, limit: Int = 4_194_304, _ handler: @escaping (RPCCall) -> Void) {
        methods[path] = Method(limit: limit, isUnary: true) { stream in
            var request: [UInt8]?
            stream.onMessage = { [unowned stream] message in
                guard request == nil else {
                    return stream.finish(.unimplemented, "\(path) takes one message")
                }
                request = message
            }
            stream.onHalfClose = { [unowned stream] in
                guard let message = request else {
                    return stream.finish(.unimplemented, "\(path) takes one message, none came")
                }
                handler(RPCCall(stream, message))
            }
        }
    }

    /// Messages both ways. The handler sets the stream's callbacks before it returns. `limit`: bytes of one message.
    package func stream(_ path: String, limit: Int = 4_194_304, _ handler: @escaping (RPCStream) -> Void) {
        methods[path] = Method(limit: limit, isUnary: false, start: handler)
    }

    /// A page; `GET` answers `HEAD` too.
    package func http(_ method: String, _ path: String, _ handler: @escaping (HTTPCall) -> Void) {
        pages[path, default: [:]][method] = handler
    }

    func method(_ path: String) -> Method? { methods[path] }

    func page(_ method: String, _ path: String) -> Page {
        guard let known = pages[path] else { return .unknown }
        if let handler = known[method == "HEAD" ? "GET" : method] { return .found(handler) }
        return .otherMethods(known.keys.sorted().joined(separator: ", "))
    }
}
