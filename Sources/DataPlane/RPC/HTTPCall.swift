internal import Containers
internal import MeshModel
internal import Wire

/// A plain HTTP request: a page of the admin, metrics or health kind. Answered once, now or later.
package final class HTTPCall {
    /// How long a complete answer may take to leave once the call's time is over.
    private static let lastChance = Duration.seconds(10)

    package let method: String
    /// Without the query.
    package let path: String
    /// Behind the `?`, not decoded; empty when there is none.
    package let query: String
    package private(set) var body: [UInt8] = []
    package let peer: RPCPeer

    private let fields: [(name: String, value: String)]
    private let limit: Int
    private let loop: RPCLoop
    private let wantsContinue: Bool
    private var connection: RPCConnection?
    private let id: StreamID
    private var handler: ((HTTPCall) -> Void)?
    private var isAnswered = false
    private var bodyIsComplete = false
    private var timer = RPCTimer.none

    init(connection: RPCConnection, id: StreamID, target: String, block: borrowing HeaderBlock, limit: Int) {
        self.connection = connection
        loop = connection.loop
        self.id = id
        self.limit = limit
        peer = connection.peer
        method = String(copying: block.value(of: .method))
        let parts = target.utf8.split(separator: UInt8(ascii: "?"), maxSplits: 1, omittingEmptySubsequences: false)
        path = parts.first.map { String($0) ?? "" } ?? ""
        query = parts.count > 1 ? String(parts[1]) ?? "" : ""
        wantsContinue = block.value(of: .expect).equalsIgnoringCase("100-continue")
        var fields: [(name: String, value: String)] = []
        for index in 0..<block.count {
            fields.append((String(copying: block.nameBytes(at: index)), String(copying: block.value(at: index))))
        }
        self.fields = fields
    }

    /// The first field of that name (lower case). `host` also finds `:authority`.
    package func header(_ name: String) -> String? {
        if let field = fields.first(where: { $0.name == name }) { return field.value }
        return name == "host" ? header(":authority") : nil
    }

    /// The peer went away, or it is answered.
    package var isCancelled: Bool { connection == nil || isAnswered }

    /// Answers; a second answer is ignored. `content-length` is added.
    package func respond(status: Int, contentType: String, body: [UInt8], headers: [(String, String)] = []) {
        guard !isAnswered, let connection, let link = connection.link else { return }
        isAnswered = true
        handler = nil
        _ = connection.hold(-self.body.count)
        self.body = []
        var head = HeaderBlock()
        head.append(.status, number: min(max(status, 200), 599))
        if !contentType.isEmpty { head.append(.contentType, Array(contentType.utf8)) }
        head.append(.contentLength, number: body.count)
        for (name, value) in headers {
            head.append(name: Array(name.utf8).span, value: Array(value.utf8).span)
        }
        let isEmpty = body.isEmpty || method == "HEAD"
        link.conduit.session.sendHead(id, head, .response, endStream: isEmpty)
        if !isEmpty { link.conduit.session.sendData(id, body.span, endStream: true) }
        connection.mark()
    }

    // MARK: For the connection

    func start(_ page: RPCService.Page, within delay: Duration) {
        timer = loop.after(delay) { [weak self] in self?.expire() }
        switch page {
        case .found(let handler):
            self.handler = handler
            if wantsContinue, let link = connection?.link {
                var head = HeaderBlock()
                head.append(.status, number: 100)
                link.conduit.session.sendHead(id, head, .interim, endStream: false)
                connection?.mark()
            }
        case .unknown:
            respond(status: 404, contentType: "text/plain", body: Array("there is no \(path) here\n".utf8))
        case .otherMethods(let allowed):
            respond(
                status: 405, contentType: "text/plain", body: Array("\(path) takes \(allowed)\n".utf8),
                headers: [("allow", allowed)])
        }
    }

    func received(_ bytes: [UInt8]) {
        guard !isAnswered else { return }
        guard body.count + bytes.count <= limit else {
            return respond(status: 413, contentType: "text/plain", body: Array("the body is too large\n".utf8))
        }
        body += bytes
        if connection?.hold(bytes.count) == false {
            respond(status: 503, contentType: "text/plain", body: Array("too much at once; try again\n".utf8))
        }
    }

    func bodyEnded() {
        bodyIsComplete = true
        guard let handler, !isAnswered else { return }
        self.handler = nil
        handler(self)
    }

    func over() {
        if !isAnswered { _ = connection?.hold(-body.count) }
        connection = nil
        handler = nil
        loop.cancel(timer)
    }

    private func expire() {
        guard let connection else { return }
        guard !isAnswered else {
            connection.link?.conduit.session.reset(id, code: HTTP2Code.cancel)
            connection.mark()
            connection.useEnded(id)
            return over()
        }
        respond(
            status: bodyIsComplete ? 504 : 408, contentType: "text/plain", body: Array("out of time\n".utf8))
        timer = loop.after(Self.lastChance) { [weak self] in self?.expire() }
    }
}
