internal import Federation
internal import MeshModel
internal import RPC
internal import Settings
internal import Telemetry

/// 15014: metrics, health and a read-only page. It changes nothing, shows no secret, and answers only those who name it
/// rightly: a page of another origin in somebody's browser gets nothing (DNS rebinding).
final class BrokerPage {
    private static let html = "text/html; charset=utf-8"
    private static let text = "text/plain; charset=utf-8"

    private unowned let broker: Broker
    /// The bound port.
    var port: UInt16 = 0

    init(_ broker: Broker) { self.broker = broker }

    func install(on service: RPCService) {
        page(service, "/") { [unowned self] call in
            call.respond(
                status: 200, contentType: Self.html, body: StatusPage.html(broker),
                headers: [
                    ("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'"),
                    ("x-content-type-options", "nosniff"), ("cache-control", "no-store"),
                ])
        }
        page(service, "/metrics") { [unowned self] call in
            let accept = Array((call.header("accept") ?? "").utf8)
            let format = MetricsWriter.Format(accept: accept.span)
            call.respond(
                status: 200, contentType: "\(format.contentType)", body: BrokerMetrics.page(broker, format))
        }
        page(service, "/healthz/live") { call in
            call.respond(status: 200, contentType: Self.text, body: Array("ok\n".utf8))
        }
        page(service, "/healthz/ready") { [unowned self] call in
            let isReady = broker.snapshots.published != nil && !broker.isStopping
            call.respond(
                status: isReady ? 200 : 503, contentType: Self.text,
                body: Array((isReady ? "ready\n" : "not ready\n").utf8))
        }
    }

    private func page(_ service: RPCService, _ path: String, _ body: @escaping (HTTPCall) -> Void) {
        service.http("GET", path) { [unowned self] call in
            guard isOwnName(call.header("host")) else {
                return call.respond(
                    status: 403, contentType: Self.text, body: Array("unknown Host; use the address\n".utf8))
            }
            if let origin = call.header("origin"), !isOwnOrigin(origin) {
                return call.respond(status: 403, contentType: Self.text, body: Array("foreign Origin\n".utf8))
            }
            body(call)
        }
    }

    /// An address literal, `localhost`, or the host that is advertised. A scraper that follows a forwarded port names
    /// another port: that is no harm.
    func isOwnName(_ host: String?) -> Bool {
        guard let host, !host.isEmpty else { return false }
        let name = HostPort(host)?.host ?? Self.unbracketed(host)
        let lowered = name.lowercased()
        return lowered == "localhost" || MeshModel.IPLiteral.isAddress(lowered)
            || lowered == broker.settings.advertise?.lowercased()
    }

    private func isOwnOrigin(_ origin: String) -> Bool {
        guard origin.hasPrefix("http://") else { return false }
        let place = String(origin.dropFirst(7))
        return isOwnName(place) && HostPort(place)?.port ?? 80 == port
    }

    private static func unbracketed(_ host: String) -> String {
        host.hasPrefix("[") && host.hasSuffix("]") ? String(host.dropFirst().dropLast()) : host
    }
}
