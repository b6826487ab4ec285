import Containers
import Glibc
import Link
import MeshModel
import MeshTestKit
import Proxy
import Reactor
import Routing
import TLS
import Testing
import Wire

/// What a worker does at its limits, with hostile bytes, and when things come back.
@Suite(.serialized) struct LimitTests {
    private let name = "80.api.shop.svc.cluster.local"
    private let authority = "api.shop.svc.cluster.local:80"

    @Test func connectionsAreReused() throws {
        let direct = try Direct()
        for _ in 0..<3 {
            let client = try direct.client()
            for _ in 0..<5 { #expect(direct.stage.ask(client, get()).status == "200") }
            client.close()
        }
        #expect(direct.app.lines.count == 1)
        #expect(try direct.api.report().connections == 1)
    }

    @Test func aConnectionThatTheAppClosesIsNotUsedAgain() throws {
        let direct = try Direct()
        direct.app.answer = { line, message in
            line.respond(message, "200", [("content-length", "0")])
            line.endOutput(direct.stage)
        }
        let client = try direct.client()
        for number in 0..<10 {
            direct.app.answer = { line, message in
                line.respond(message, "200", [("content-length", "0")])
            }
            let answer = direct.stage.ask(client, get("api.shop", "/\(number)", method: "POST"), body: [1])
            #expect(answer.status == "200", "\(answer.fields)")
            // Closed while idle; the sidecar sees the FIN before the next request.
            direct.app.lines.last?.close()
            for _ in 0..<3 { _ = try direct.api.report() }
        }
        #expect(direct.app.requests.count == 10)
    }

    @Test func aFullEndpointIsOverload() throws {
        let direct = try Direct { $0.traffic.maximumRequestsPerEndpoint = 1 }
        var held: (Line, Message)?
        direct.app.answer = { held = ($0, $1) }
        let client = try direct.client(.http2)
        #expect(direct.stage.run { client.link?.session?.canOpenStream == true })
        let first = client.open(get())
        #expect(direct.stage.run { held != nil })
        let second = direct.stage.ask(client, get())
        #expect(second.status == "503")
        #expect(second.error == "overload; dispatched=0")
        #expect(second["retry-after"] != nil)
        if let (line, message) = held { line.respond(message, "200", [("content-length", "0")]) }
        #expect(direct.stage.run { first.isOver })
        #expect(first.status == "200")
    }

    @Test func anEndpointThatComesBackIsUsedAgain() throws {
        let world = try World()
        let app = try App(world.stage, .http1)
        let address = try Loopback.next(port: 0)
        var snapshot = Snapshot("east")
        snapshot.add("api", at: [address], target: app.address.port) { $0.traffic.probeInterval = .milliseconds(100) }
        let web = try world.sidecar("web-0", at: Loopback.next(port: 0), snapshot, entries: [.explicit])
        let client = try world.stage.connect(web.addresses[1], .http1)
        #expect(world.stage.ask(client, get()).error == "connect_failed; dispatched=0")
        #expect(world.stage.ask(client, get()).error == "no_endpoint; dispatched=0")
        let api = try world.sidecar("api-0", at: address, snapshot, app: app.address)
        var status = ""
        _ = world.stage.run {
            status = world.stage.ask(client, get()).status
            if status != "200" { usleep(20_000) }
            return status == "200"
        }
        #expect(status == "200")
        #expect(try web.report().unhealthy.isEmpty)
        _ = api
    }

    @Test func whoeverSaysNothingIsCutOff() throws {
        let direct = try Direct {
            $0.traffic.headersTimeout = .milliseconds(300)
        } settings: {
            $0.headTimeout = .milliseconds(300)
        }
        // A connection that never begins TLS, one that never sends a request, one that sends half of one.
        let silent = try direct.stage.connect(direct.apiAddress.withPort(15_006), .raw)
        let idle = try direct.dial(as: direct.world.workload("web"))
        let half = try direct.stage.connect(
            direct.apiAddress.withPort(15_006), .raw,
            context: .client(svid: direct.world.workload("web"), trust: direct.world.trust, protocols: [.http1]),
            serverName: name)
        #expect(direct.stage.run { half.isEstablished && idle.isEstablished })
        half.send(Array("GET / HTTP/1.1\r\nHost: api".utf8), direct.stage)
        #expect(
            direct.stage.run { [silent, half].allSatisfy { $0.ended || $0.failure != nil } })
        #expect(half.text.hasPrefix("HTTP/1.1 408"), "\(half.text)")
        for _ in 0..<2_000 where try direct.api.report().connections > 1 { usleep(5_000) }
        #expect(try direct.api.report().connections <= 1)
    }

    @Test func connectionsAboveTheLimitWait() throws {
        let direct = try Direct { _ in
        } settings: {
            $0.maximumConnections = 4
        }
        var lines: [Line] = []
        for _ in 0..<8 { lines.append(try direct.dial(as: direct.world.workload("web"))) }
        #expect(direct.stage.run { lines.filter(\.isEstablished).count == 4 })
        #expect(try direct.api.report().connections == 4)
        let waiting = lines.filter { !$0.isEstablished }
        for line in lines where line.isEstablished { line.close() }
        #expect(direct.stage.run { waiting.allSatisfy(\.isEstablished) })
        for line in waiting { line.close() }
        #expect(direct.stage.run { (try? direct.api.report().connections) == 0 })
        let answer = direct.stage.ask(try direct.dial(as: direct.world.workload("web")), get(authority))
        #expect(answer.status == "200", "\(answer.fields)")
    }

    @Test func aHandedOverConnectionIsServed() throws {
        let direct = try Direct()
        let listener = try ListenerSocket.bind(Loopback.next(port: 0))
        guard let address = listener.address else { return }
        let client = try direct.stage.connect(address, .http1)
        var accepted: Int32?
        #expect(
            direct.stage.run {
                if let found = try? listener.accept() { accepted = found.takeSocket().release() }
                return accepted != nil
            })
        let descriptor = try #require(accepted)
        direct.web.mailbox.post(.adopt(descriptor: descriptor, role: 1, peer: nil))
        #expect(direct.stage.ask(client, get()).status == "200")
    }

    @Test func pipelinedRequestsAreAnsweredInOrder() throws {
        let direct = try Direct()
        let client = try direct.client(.raw)
        #expect(direct.stage.run { client.isEstablished })
        let one = (0..<5).map { "GET /\($0) HTTP/1.1\r\nHost: \($0 == 2 ? "nobody.shop" : "api.shop")\r\n\r\n" }
        client.send(Array(one.joined().utf8), direct.stage)
        #expect(
            direct.stage.run { direct.app.requests.count == 4 && statuses(client.text).count == 5 || !client.isOpen })
        #expect(statuses(client.text) == ["200", "200", "404", "200", "200"])
        #expect(direct.app.requests.map { $0[":path"] ?? "" } == ["/0", "/1", "/3", "/4"])
    }

    @Test func absoluteFormIsAForwardProxys() throws {
        let direct = try Direct()
        let client = try direct.client(.raw)
        #expect(direct.stage.run { client.isEstablished })
        client.send(
            Array("GET http://api.shop/a?b HTTP/1.1\r\nHost: other.example\r\n\r\n".utf8), direct.stage)
        #expect(direct.stage.run { client.text.contains("\r\n\r\n") || client.ended })
        // The target wins over Host (RFC 9112 section 3.2.2), or the contradiction is refused.
        if client.text.hasPrefix("HTTP/1.1 200") {
            #expect(direct.app.requests.last?[":authority"] == "api.shop")
            #expect(direct.app.requests.last?[":path"] == "/a?b")
        } else {
            #expect(client.text.hasPrefix("HTTP/1.1 400"))
        }
    }

    // MARK: Hostile bytes

    private func stillServes(_ direct: Direct) throws {
        let answer = direct.stage.ask(try direct.client(), get())
        #expect(answer.status == "200", "\(answer.fields)")
    }

    @Test func damagedRequestsHurtNobodyElse() throws {
        var random = SplitMix64.announced()
        let direct = try Direct()
        let samples = [
            "POST /a HTTP/1.1\r\nHost: api.shop\r\nContent-Length: 5\r\n\r\nhello",
            "POST /a HTTP/1.1\r\nHost: api.shop\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "CONNECT api.shop:80 HTTP/1.1\r\nHost: api.shop:80\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: api.shop\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\u{0}\u{0}\u{0}\u{4}\u{0}\u{0}\u{0}\u{0}\u{0}",
        ]
        for round in 0..<200 {
            let line = try direct.client(.raw)
            _ = direct.stage.run { line.isEstablished || !line.isOpen }
            line.send(random.damaged(Array(samples[round % samples.count].utf8)), direct.stage)
            direct.stage.turn(milliseconds: 1)
            if round % 3 == 0 { line.abort() } else { line.close() }
        }
        try stillServes(direct)
        #expect(!direct.web.hasEnded && !direct.api.hasEnded)
    }

    @Test func damagedFramesOfAPeerHurtNobodyElse() throws {
        var random = SplitMix64.announced()
        let direct = try Direct(.http2, app: .http2)
        let web = try direct.world.workload("web")
        for round in 0..<60 {
            let line = try direct.world.stage.connect(
                direct.apiAddress.withPort(15_006), .raw,
                context: .client(svid: web, trust: direct.world.trust, protocols: [.http2]), serverName: name)
            _ = direct.stage.run { line.isEstablished || !line.isOpen }
            // What a good client would say, spoiled.
            var session = HTTPSession.http2(role: .client)
            _ = try session.openStream(
                block(get(authority, "/\(round)", method: "POST", [("x-a", "b")])), endStream: false)
            session.sendData(1, [UInt8](repeating: 1, count: 3_000).span, endStream: true)
            var output = OutputBuffer()
            try session.produce(into: &output, upTo: 1 << 20)
            // SAFETY: the bytes are copied during the call.
            let good = unsafe output.bytes.withUnsafeBufferPointer { unsafe Array($0) }
            line.send(random.damaged(good), direct.stage)
            direct.stage.turn(milliseconds: 1)
            if round % 3 == 0 { line.abort() } else { line.close() }
        }
        let answer = direct.stage.ask(try direct.dial(as: web), get(authority))
        #expect(answer.status == "200", "\(answer.fields)")
        try stillServes(direct)
    }

    @Test func anAppThatTalksNonsenseIsA502() throws {
        let direct = try Direct(app: .raw)
        for words in [
            "nonsense\r\n\r\n", "HTTP/1.1 999999 X\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nxx",
        ] {
            let client = try direct.client()
            #expect(direct.stage.run { client.link?.session?.canOpenStream == true })
            let count = direct.app.lines.count
            let message = client.open(get(method: "POST"), body: [1])
            #expect(
                direct.stage.run { direct.app.lines.count > count && direct.app.lines.last?.received.isEmpty == false })
            direct.app.lines.last?.send(Array(words.utf8), direct.stage)
            #expect(direct.stage.run { message.isOver })
            #expect(message.status == "502", "\(words): \(message.fields)")
            #expect(message.error == "upstream_protocol; dispatched=1")
        }
    }
}

/// The statuses of all answers in `text`, in order.
private func statuses(_ text: String) -> [String] {
    text.split(separator: "HTTP/1.1 ").map { String($0.prefix(3)) }
}
