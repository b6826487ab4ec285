internal import MeshModel
package import RPC
package import Telemetry

/// Which pages a listener has.
package struct AdminPages: OptionSet, Hashable, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }
    /// `/metrics`
    package static let metrics = AdminPages(rawValue: 1)
    /// `/healthz/live`
    package static let live = AdminPages(rawValue: 2)
    /// `/healthz/ready`
    package static let ready = AdminPages(rawValue: 4)
    /// `/config_dump`
    package static let configDump = AdminPages(rawValue: 8)
    /// `/certs`
    package static let certificates = AdminPages(rawValue: 16)
    /// `POST /quitquitquit`
    package static let quit = AdminPages(rawValue: 32)
    /// What 15020 has: open to the network, tells no configuration and changes nothing.
    package static let open: AdminPages = [.metrics, .live, .ready]
    /// What 15000 has: loopback or a UNIX socket.
    package static let all: AdminPages = [.metrics, .live, .ready, .configDump, .certificates, .quit]
}

/// Where the pages have their content from. Every closure runs on the loop's thread; bodies may be given later (metrics are
/// gathered from the workers by letter), once each; a body that never comes is a 504.
package struct AdminSources {
    /// The whole page in the format asked for: `MetricsWriter.page`.
    package var metrics: (_ format: MetricsWriter.Format, _ done: @escaping ([UInt8]) -> Void) -> Void
    /// Why the process is not ready, one line each; empty when it is.
    package var notReady: () -> [String]
    /// JSON: `ConfigDump.page`.
    package var configDump: (_ done: @escaping ([UInt8]) -> Void) -> Void
    /// JSON: `CertificatePage.page`.
    package var certificates: (_ done: @escaping ([UInt8]) -> Void) -> Void
    /// Starts to drain and ends the process.
    package var quit: () -> Void

    package init(
        metrics: @escaping (MetricsWriter.Format, @escaping ([UInt8]) -> Void) -> Void,
        notReady: @escaping () -> [String], configDump: @escaping (@escaping ([UInt8]) -> Void) -> Void,
        certificates: @escaping (@escaping ([UInt8]) -> Void) -> Void, quit: @escaping () -> Void
    ) {
        self.metrics = metrics
        self.notReady = notReady
        self.configDump = configDump
        self.certificates = certificates
        self.quit = quit
    }
}

/// The admin, metrics and health pages of a process.
///
/// What tells configuration or changes something is for this machine's users only: a request with an `Origin`, or with a
/// `Host` that is no literal address and not localhost, is a browser on somebody else's errand and gets 403.
package enum AdminService {
    private static let text = "text/plain; charset=utf-8"
    private static let json = "application/json"

    /// Adds the pages to a service that listens, or will.
    package static func install(on service: RPCService, pages: AdminPages = .all, sources: AdminSources) {
        var names: [String] = []
        func page(_ page: AdminPages, _ method: String, _ path: String, _ handler: @escaping (HTTPCall) -> Void) {
            guard pages.contains(page) else { return }
            names.append("\(method) \(path)\n")
            service.http(method, path, handler)
        }
        page(.metrics, "GET", "/metrics") { call in
            let format = MetricsWriter.Format(accept: Array((call.header("accept") ?? "").utf8).span)
            sources.metrics(format) { call.respond(status: 200, contentType: "\(format.contentType)", body: $0) }
        }
        page(.live, "GET", "/healthz/live") { $0.respond(status: 200, contentType: text, body: bytes("ok\n")) }
        page(.ready, "GET", "/healthz/ready") { call in
            let reasons = sources.notReady()
            let body = reasons.isEmpty ? "ok\n" : reasons.map { "\($0)\n" }.joined()
            call.respond(status: reasons.isEmpty ? 200 : 503, contentType: text, body: bytes(body))
        }
        page(.configDump, "GET", "/config_dump") { call in
            guard isLocal(call) else { return }
            sources.configDump { call.respond(status: 200, contentType: json, body: $0) }
        }
        page(.certificates, "GET", "/certs") { call in
            guard isLocal(call) else { return }
            sources.certificates { call.respond(status: 200, contentType: json, body: $0) }
        }
        page(.quit, "POST", "/quitquitquit") { call in
            guard isLocal(call) else { return }
            call.respond(status: 200, contentType: text, body: bytes("draining\n"))
            sources.quit()
        }
        let index = names.joined()
        if !index.isEmpty {
            service.http("GET", "/") { $0.respond(status: 200, contentType: text, body: bytes(index)) }
        }
    }

    /// True for a request that no web page can have made; answers 403 otherwise.
    private static func isLocal(_ call: HTTPCall) -> Bool {
        let host = call.header("host") ?? ""
        let name: String
        if let pair = HostPort(host, zeroPort: true) {
            name = pair.host
        } else {
            name = host.hasPrefix("[") && host.hasSuffix("]") ? String(host.dropFirst().dropLast()) : host
        }
        let isHere = call.peer.uid != nil || name == "localhost" || IPLiteral.isAddress(name)
        if isHere, call.header("origin") == nil { return true }
        call.respond(
            status: 403, contentType: text,
            body: bytes("ask by address, as in http://127.0.0.1:15000, without Origin\n"))
        return false
    }

    private static func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
}
