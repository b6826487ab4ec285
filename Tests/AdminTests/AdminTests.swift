import Admin
import MeshModel
import RPC
import Reactor
import Telemetry
import Testing

@Suite struct AdminTests {
    private final class Bench {
        let loop: RPCLoop
        let address: SocketAddress
        var reasons = ["no snapshot yet", "no SVID yet"]
        var hasQuit = false

        init(_ pages: AdminPages) throws {
            loop = try RPCLoop()
            let service = RPCService()
            let any = try #require(SocketAddress(ip: "127.0.0.1", port: 0))
            address = try #require(try loop.listen(.tcp(any), security: .plain, service: service))
            AdminService.install(
                on: service, pages: pages,
                sources: AdminSources(
                    metrics: { [loop] format, done in
                        loop.after(.milliseconds(1)) { done(MetricsWriter.page([], format: format)) }
                    }, notReady: { [unowned self] in reasons },
                    configDump: { $0(ConfigDump.page(process: [("role", "gate\"way\n")], snapshot: Self.snapshot())) },
                    certificates: { $0(CertificatePage.page(identity: nil, bundles: [])) },
                    quit: { [unowned self] in hasQuit = true }))
        }

        static func snapshot() -> Snapshot? {
            guard let cluster = ClusterID("east"), let domain = TrustDomain("east.mesh"),
                let name = ObjectName("shop/orders")
            else { return nil }
            var snapshot = Snapshot(cluster: cluster, trustDomain: domain, epoch: 3, revision: 9)
            snapshot.services = [
                Service(id: 1, name: name, ports: [ServicePort(name: "h", port: 80, appProtocol: .http)])
            ]
            return snapshot
        }

        /// The whole answer.
        func ask(_ request: String, host: String = "127.0.0.1", _ fields: String = "") throws -> String {
            let socket = try Socket.connect(to: address)
            var received: [UInt8] = []
            var isOver = false
            try loop.watch(descriptor: socket.descriptor) {
                var room = [UInt8](repeating: 0, count: 65_536)
                var outcome: Socket.Transfer = .end
                // SAFETY: the room outlives the call.
                unsafe room.withUnsafeMutableBytes { buffer in
                    outcome = unsafe (try? socket.read(into: buffer)) ?? .end
                }
                switch outcome {
                case .done(let count): received += room[..<count]
                case .end: isOver = true
                case .wouldBlock: break
                }
            }
            loop.after(.zero) {
                let text = "\(request) HTTP/1.1\r\nHost: \(host)\r\nConnection: close\r\n\(fields)\r\n"
                _ = try? socket.write(Array(text.utf8).span)
            }
            loop.after(.seconds(20)) { isOver = true }
            loop.run { isOver }
            loop.unwatch(descriptor: socket.descriptor)
            return String(decoding: received, as: UTF8.self)
        }
    }

    @Test func metricsComeInBothFormats() throws {
        let bench = try Bench(.open)
        let plain = try bench.ask("GET /metrics")
        #expect(plain.hasPrefix("HTTP/1.1 200") && plain.contains("text/plain; version=0.0.4"))
        let open = try bench.ask("GET /metrics", "Accept: application/openmetrics-text; version=1.0.0\r\n")
        #expect(open.contains("application/openmetrics-text") && open.hasSuffix("# EOF\n"))
    }

    @Test func readinessTellsItsReasons() throws {
        let bench = try Bench(.open)
        let before = try bench.ask("GET /healthz/ready")
        #expect(before.hasPrefix("HTTP/1.1 503") && before.hasSuffix("no snapshot yet\nno SVID yet\n"))
        bench.reasons = []
        #expect(try bench.ask("GET /healthz/ready").hasPrefix("HTTP/1.1 200"))
        #expect(try bench.ask("GET /healthz/live").hasPrefix("HTTP/1.1 200"))
    }

    @Test func configurationIsForThisMachineOnly() throws {
        let bench = try Bench(.all)
        let dump = try bench.ask("GET /config_dump")
        #expect(dump.contains(#""role":"gate\"way\u000a""#) && dump.contains(#""name":"shop/orders""#))
        #expect(dump.contains(#""revision":9"#) && dump.hasSuffix("}\n"))
        #expect(try bench.ask("GET /certs", host: "localhost:15000").hasPrefix("HTTP/1.1 200"))
        #expect(try bench.ask("GET /config_dump", host: "evil.example").hasPrefix("HTTP/1.1 403"))
        #expect(try bench.ask("GET /certs", "Origin: http://evil.example\r\n").hasPrefix("HTTP/1.1 403"))
    }

    @Test func quittingIsAPost() throws {
        let bench = try Bench(.all)
        #expect(try bench.ask("GET /quitquitquit").hasPrefix("HTTP/1.1 405"))
        #expect(!bench.hasQuit)
        #expect(try bench.ask("POST /quitquitquit", "Content-Length: 0\r\n").hasPrefix("HTTP/1.1 200"))
        #expect(bench.hasQuit)
    }

    @Test func openListenersHaveNoMore() throws {
        let bench = try Bench(.open)
        #expect(try bench.ask("GET /config_dump").hasPrefix("HTTP/1.1 404"))
        #expect(try bench.ask("POST /quitquitquit", "Content-Length: 0\r\n").hasPrefix("HTTP/1.1 404"))
    }
}
