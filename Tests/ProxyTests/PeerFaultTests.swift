import Containers
import Glibc
import Link
import MeshModel
import MeshTestKit
import Proxy
import Reactor
import TLS
import Telemetry
import Testing
import Wire

/// What a peer does wrong on the wire: an answer, a counter each time, a log line at most once a second for it and its reason.
@Suite(.serialized) struct PeerFaultTests {
    private let name = "80.api.shop.svc.cluster.local"

    /// The log of one worker, in a file of its own.
    private final class Journal {
        let sink: LogSink
        private let path: String
        private let descriptor: Int32

        init() throws {
            path = "/tmp/meshfed-journal-\(getpid())-\(UInt32.random(in: 0 ..< .max))"
            // SAFETY: the path is a text of our own.
            descriptor = unsafe open(path, O_CREAT | O_RDWR | O_EXCL, 0o600)
            sink = try LogSink(descriptor: descriptor)
        }

        deinit {
            _ = close(descriptor)
            // SAFETY: as above.
            _ = unsafe unlink(path)
        }

        func lines(_ word: String) -> [Substring] {
            _ = sink.finish(within: .seconds(5))
            var text: [UInt8] = []
            var part = [UInt8](repeating: 0, count: 65_536)
            lseek(descriptor, 0, SEEK_SET)
            while true {
                // SAFETY: reads at most the array's bytes.
                let count = unsafe read(descriptor, &part, 65_536)
                if count <= 0 { break }
                text += part[..<count]
            }
            return String(decoding: text, as: UTF8.self).split(separator: "\n").filter { $0.contains(word) }
        }
    }

    private func page(_ node: Node) throws -> String {
        String(decoding: MetricsWriter.page([try node.report().metrics], gauges: []), as: UTF8.self)
    }

    private func line(_ direct: Direct, _ protocols: [ALPN] = [.http1]) throws -> Line {
        let line = try direct.stage.connect(
            direct.apiAddress.withPort(15_006), .raw,
            context: .client(svid: direct.world.workload("web"), trust: direct.world.trust, protocols: protocols),
            serverName: name)
        #expect(direct.stage.run { line.isEstablished || !line.isOpen })
        return line
    }

    @Test func wrongBytesAreCountedEachTimeAndWrittenOnceASecond() throws {
        let journal = try Journal()
        let direct = try Direct { _ in
        } settings: {
            $0.logSink = journal.sink
        }
        let began = direct.stage.wall
        for number in 0..<25 {
            let line = try line(direct)
            let text = number < 20 ? "G(T / HTTP/1.1\r\nHost: a\r\n\r\n" : "GET / HTTP/1.1\r\n\r\n"
            line.send(Array(text.utf8), direct.stage)
            #expect(direct.stage.run { line.ended || line.failure != nil })
            #expect(line.text.hasPrefix("HTTP/1.1 400 "))
            line.close()
        }
        let page = try page(direct.api)
        #expect(page.contains("meshfed_peer_faults_total{side=\"downstream\",reason=\"malformed\"} 20\n"))
        #expect(page.contains("meshfed_peer_faults_total{side=\"downstream\",reason=\"bad_host\"} 5\n"))
        #expect(page.split(separator: "\n").contains { $0.contains("response_code=\"400\"") && $0.hasSuffix("} 25") })
        let seconds = Int(WallTime(seconds: Machine.walltime).seconds - began.seconds) + 2
        let malformed = journal.lines("reason=malformed")
        #expect(!malformed.isEmpty && malformed.count <= seconds && malformed.count < 20)
        #expect(malformed.allSatisfy { $0.contains("event=peer_fault") && $0.contains("sa/web") })
        #expect(!journal.lines("reason=bad_host").isEmpty)
    }

    @Test func aRequestThatTurnsBadIsItsCallersFault() throws {
        let direct = try Direct()
        let line = try line(direct)
        line.send(
            Array(
                ("POST / HTTP/1.1\r\nHost: api.shop.svc.cluster.local\r\nTransfer-Encoding: chunked\r\n\r\n"
                    + "1\r\na\r\nx\r\n").utf8), direct.stage)
        #expect(direct.stage.run { line.ended || line.failure != nil })
        #expect(line.text.hasPrefix("HTTP/1.1 400 "))
        let page = try page(direct.api)
        let requests = page.split(separator: "\n").filter { $0.hasPrefix("meshfed_requests_total{") }
        #expect(requests.count == 1, "\(requests)")
        for wanted in ["response_code=\"400\"", "response_flags=\"DPE\"", "reason=\"request_invalid\""] {
            #expect(requests.allSatisfy { $0.contains(wanted) }, "\(requests)")
        }
        #expect(page.contains("meshfed_peer_faults_total{side=\"downstream\",reason=\"malformed\"} 1\n"))
    }

    @Test func aFloodIsCalledByItsName() throws {
        let direct = try Direct(.http2, app: .http2)
        let line = try line(direct, [.http2])
        var bytes = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + [0, 0, 0, 4, 0, 0, 0, 0, 0]
        for _ in 0..<300 { bytes += [0, 0, 0, 4, 0, 0, 0, 0, 0] }
        line.send(bytes, direct.stage)
        #expect(direct.stage.run { line.ended || line.failure != nil })
        var page = ""
        _ = direct.stage.run {
            page = (try? self.page(direct.api)) ?? ""
            return page.contains("reason=\"flood_settings\"")
        }
        #expect(page.contains("meshfed_peer_faults_total{side=\"downstream\",reason=\"flood_settings\"} 1\n"))
        let glitches = page.split(separator: "\n").first {
            $0.hasPrefix("meshfed_http2_glitches_total{side=\"downstream\",kind=\"settings\"}")
        }
        #expect(
            Int(glitches?.split(separator: " ").last ?? "") ?? 0 == 101,
            "what is behind the one too many is not read: \(glitches ?? "")")
    }

    @Test func handshakesThatFailAreWrittenOnceASecond() throws {
        let journal = try Journal()
        let direct = try Direct { _ in
        } settings: {
            $0.logSink = journal.sink
        }
        for _ in 0..<12 {
            let line = try direct.stage.connect(direct.apiAddress.withPort(15_006), .raw)
            #expect(direct.stage.run { line.isEstablished || !line.isOpen })
            line.send(Array("GET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8), direct.stage)
            #expect(direct.stage.run { line.ended || line.failure != nil })
        }
        #expect(
            try page(direct.api)
                .contains("meshfed_handshake_failures_total{side=\"downstream\",reason=\"tls\"} 12\n"))
        let lines = journal.lines("event=handshake_failure")
        #expect(!lines.isEmpty && lines.count < 12)
    }

    @Test func anAppsNonsenseIsItsFault() throws {
        let direct = try Direct(app: .raw)
        let client = try direct.client()
        #expect(direct.stage.run { client.link?.session?.canOpenStream == true })
        let message = client.open(get(method: "POST"), body: [1])
        #expect(direct.stage.run { direct.app.lines.last?.received.isEmpty == false })
        direct.app.lines.last?.send(Array("nonsense\r\n\r\n".utf8), direct.stage)
        #expect(direct.stage.run { message.isOver })
        #expect(message.error == "upstream_protocol; dispatched=1")
        #expect(try page(direct.api).contains("meshfed_peer_faults_total{side=\"upstream\",reason=\"malformed\"} 1\n"))
    }

    @Test func aHeaderOfNoStreamIsCounted() throws {
        let direct = try Direct(.tcp)
        let line = try line(direct, [.tcp])
        line.send(Array("PROXY TCP4 9.9.9.9 1.1.1.1 1 2\r\n".utf8), direct.stage)
        #expect(direct.stage.run { line.ended || line.failure != nil })
        #expect(
            try page(direct.api).contains("meshfed_peer_faults_total{side=\"downstream\",reason=\"proxy_header\"} 1\n"))
    }

    /// 76: errors for gRPC are trailers-only with 200, those of the parser too.
    @Test func aGRPCHeadAboveTheLimitIsStatus8() throws {
        let direct = try Direct(.grpc, app: .http2)
        let client = try direct.client(.http2)
        let many = (0..<200).map { ("x-\($0)", "y") }
        let answer = direct.stage.ask(
            client, get(method: "POST", [("content-type", "application/grpc"), ("te", "trailers")] + many))
        #expect(answer.status == "200" && answer["grpc-status"] == "8", "\(answer.fields)")
        #expect(answer.isHeadOnly && answer.error == "too_large; dispatched=0")
        let plain = direct.stage.ask(client, get(method: "POST", many))
        #expect(plain.status == "431" && plain.error == "too_large; dispatched=0")
    }

    /// 77: what an app says by RST_STREAM in the middle of its answer reaches the caller, but for an invitation to repeat.
    @Test func anAppsResetPassesWithItsCode() throws {
        for (said, heard): (UInt32, UInt32) in [(8, 8), (0, 0), (11, 11), (7, 2)] {
            let direct = try Direct(.grpc, app: .http2)
            direct.app.answer = { line, message in
                line.link?.session?.sendHead(message.stream, block([(":status", "200")]), .response, endStream: false)
                line.link?.session?.sendData(message.stream, [1, 2, 3].span, endStream: false)
            }
            let client = try direct.client(.http2)
            #expect(direct.stage.run { client.link?.session?.canOpenStream == true })
            let message = client.open(get())
            #expect(direct.stage.run { message.hasHead && message.body.count == 3 })
            guard let line = direct.app.lines.last, let asked = direct.app.requests.last else { return }
            line.reset(asked, code: said)
            #expect(direct.stage.run { message.closed != nil })
            #expect(message.closed == .reset(heard))
        }
    }
}
