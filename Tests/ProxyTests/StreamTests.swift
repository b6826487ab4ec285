import Containers
import Link
import MeshModel
import MeshTestKit
import Proxy
import Reactor
import TLS
import Testing
import Wire

/// Opaque TCP streams: plain ports, CONNECT, and `meshfed-tcp/1` between proxies.
@Suite(.serialized) struct StreamTests {
    private let host = Array("api.shop:80".utf8)

    /// A TCP service, and an app that calls it by a plain port or by CONNECT.
    private func direct(_ change: (inout Service) -> Void = { _ in }) throws -> Direct {
        try Direct(.tcp, app: .raw, entries: [.explicit, .outboundTCP(host: host)], change: change)
    }

    /// A stream that stands: by the plain port, or inside a CONNECT.
    private func stream(_ direct: Direct, tunnel: Bool) throws -> (near: Line, skip: Int) {
        let line = try direct.stage.connect(direct.web.addresses[tunnel ? 1 : 2], .raw)
        #expect(direct.stage.run { line.isEstablished })
        guard tunnel else { return (line, 0) }
        line.send(Array("CONNECT api.shop:80 HTTP/1.1\r\nHost: api.shop:80\r\n\r\n".utf8), direct.stage)
        #expect(direct.stage.run { line.text.contains("\r\n\r\n") || !line.isOpen || line.ended })
        #expect(line.text.hasPrefix("HTTP/1.1 200"), "\(line.text)")
        let end = Array("\r\n\r\n".utf8)
        let head = line.received.indices.first { line.received[$0...].starts(with: end) }.map { $0 + end.count }
        return (line, head ?? 0)
    }

    @Test(arguments: [false, true])
    func theServerMaySpeakFirst(tunnel: Bool) throws {
        let direct = try direct()
        direct.app.onAccept = { $0.send(Array("220 hello\r\n".utf8), direct.stage) }
        let (near, skip) = try stream(direct, tunnel: tunnel)
        #expect(direct.stage.run { near.received.count >= skip + 11 })
        #expect(Array(near.received.dropFirst(skip)) == Array("220 hello\r\n".utf8))
    }

    @Test(arguments: [false, true])
    func bytesAndHalfClosesPassEachWay(tunnel: Bool) throws {
        let direct = try direct()
        let (near, skip) = try stream(direct, tunnel: tunnel)
        let there = [UInt8](repeating: 7, count: 3 << 20)
        let back = [UInt8](repeating: 9, count: 5 << 20)
        near.send(there, direct.stage)
        near.endOutput(direct.stage)
        #expect(direct.stage.run { direct.app.lines.first?.ended == true })
        let far = try #require(direct.app.lines.first)
        #expect(far.received == there)
        #expect(!near.ended)
        far.send(back, direct.stage)
        far.endOutput(direct.stage)
        #expect(direct.stage.run { near.ended })
        #expect(Array(near.received.dropFirst(skip)) == back)
        #expect(near.failure == nil && far.failure == nil)
    }

    @Test(arguments: [false, true])
    func theServerMayEndFirst(tunnel: Bool) throws {
        let direct = try direct()
        let (near, skip) = try stream(direct, tunnel: tunnel)
        #expect(direct.stage.run { !direct.app.lines.isEmpty })
        let far = try #require(direct.app.lines.first)
        far.send([1, 2], direct.stage)
        far.endOutput(direct.stage)
        #expect(direct.stage.run { near.ended })
        #expect(near.received.count == skip + 2)
        near.send([3, 4, 5], direct.stage)
        #expect(direct.stage.run { far.received == [3, 4, 5] })
        near.endOutput(direct.stage)
        #expect(direct.stage.run { far.ended })
        #expect(near.failure == nil && far.failure == nil)
    }

    @Test func bytesAndAnEndSentBeforeTheStreamStandsArrive() throws {
        let direct = try direct()
        let line = try direct.stage.connect(direct.web.addresses[2], .raw)
        #expect(direct.stage.run { line.isEstablished })
        line.send(Array("early".utf8), direct.stage)
        line.endOutput(direct.stage)
        #expect(direct.stage.run { direct.app.lines.first?.ended == true })
        let far = try #require(direct.app.lines.first)
        #expect(far.received == Array("early".utf8))
        far.send(Array("late".utf8), direct.stage)
        far.endOutput(direct.stage)
        #expect(direct.stage.run { line.ended })
        #expect(line.text == "late")
    }

    @Test func bytesBehindAConnectArrive() throws {
        let direct = try direct()
        let line = try direct.stage.connect(direct.web.addresses[1], .raw)
        #expect(direct.stage.run { line.isEstablished })
        line.send(Array("CONNECT api.shop:80 HTTP/1.1\r\nHost: api.shop:80\r\n\r\nearly".utf8), direct.stage)
        #expect(direct.stage.run { direct.app.lines.first?.text == "early" })
    }

    @Test(arguments: [false, true])
    func aResetPassesAsAReset(byTheCaller: Bool) throws {
        let direct = try direct()
        let (near, _) = try stream(direct, tunnel: false)
        near.send([1], direct.stage)
        #expect(direct.stage.run { direct.app.lines.first?.received == [1] })
        let far = try #require(direct.app.lines.first)
        let seen = byTheCaller ? far : near
        (byTheCaller ? near : far).abort()
        #expect(direct.stage.run { seen.failure != nil || seen.ended })
        guard case .socket(let error) = seen.failure else {
            Issue.record("\(String(describing: seen.failure)) ended \(seen.ended)")
            return
        }
        #expect(error.isRefused)
    }

    @Test func aSlowReaderHoldsTheWriterBack() throws {
        let direct = try direct()
        direct.app.onAccept = { $0.isReading = false }
        let (near, _) = try stream(direct, tunnel: false)
        let bytes = [UInt8](repeating: 3, count: 64 << 20)
        near.send(bytes, direct.stage)
        var last = -1
        while near.link?.transport.pendingOutput != last {
            last = near.link?.transport.pendingOutput ?? 0
            direct.stage.idle(milliseconds: 200)
        }
        #expect(last > 0, "all of it was taken although nobody reads")
        near.endOutput(direct.stage)
        direct.app.lines.first?.isReading = true
        #expect(direct.stage.run { direct.app.lines.first?.ended == true })
        #expect(direct.app.lines.first?.received.count == bytes.count)
    }

    @Test func refusalsOfAConnectAreAnswers() throws {
        func answer(_ direct: Direct, _ target: String) throws -> String {
            let line = try direct.stage.connect(direct.web.addresses[1], .raw)
            #expect(direct.stage.run { line.isEstablished })
            line.send(Array("CONNECT \(target) HTTP/1.1\r\nHost: \(target)\r\n\r\n".utf8), direct.stage)
            #expect(direct.stage.run { line.text.contains("\r\n\r\n") || line.ended || !line.isOpen })
            return line.text
        }
        let open = try direct()
        #expect(try answer(open, "nobody.shop:80").hasPrefix("HTTP/1.1 404"))
        #expect(try answer(open, "127.0.0.1:80").hasPrefix("HTTP/1.1 404"))
        let dead = try direct { $0.endpoints[0].targetPorts = [80: 1] }
        let refused = try answer(dead, "api.shop:80")
        #expect(refused.hasPrefix("HTTP/1.1 503"))
        #expect(refused.contains("meshfed-error: connect_failed; dispatched=0"))
        let forbidden = try direct {
            $0.authorization.rules = [AuthorizationRule(name: "x", action: .deny, callers: [.any])]
        }
        let denied = try answer(forbidden, "api.shop:80")
        #expect(denied.hasPrefix("HTTP/1.1 403"))
        #expect(denied.contains("meshfed-error: not_allowed; dispatched=0"))
        #expect(forbidden.app.lines.isEmpty)
        // A plain port has no other word than a reset.
        let line = try forbidden.stage.connect(forbidden.web.addresses[2], .raw)
        #expect(forbidden.stage.run { line.failure != nil || line.ended })
        #expect(line.received.isEmpty && line.failure != nil)
    }

    @Test func deadEndpointsArePassedOver() throws {
        let direct = try Direct(.tcp, app: .raw, dead: 3, entries: [.outboundTCP(host: host)])
        for _ in 0..<8 {
            let count = direct.app.lines.count
            let line = try direct.stage.connect(direct.web.addresses[1], .raw)
            #expect(direct.stage.run { line.isEstablished })
            line.send([1, 2, 3], direct.stage)
            #expect(direct.stage.run { direct.app.lines.count > count || !line.isOpen })
            #expect(direct.stage.run { direct.app.lines.last?.received == [1, 2, 3] })
        }
    }

    @Test(arguments: [Line.Version.http1, .http2])
    func aConnectToAnHTTPPortCarriesRequests(version: Line.Version) throws {
        let direct = try Direct()
        let line = try direct.stage.connect(direct.web.addresses[1], .raw)
        #expect(direct.stage.run { line.isEstablished })
        line.send(Array("CONNECT api.shop:80 HTTP/1.1\r\nHost: api.shop:80\r\n\r\n".utf8), direct.stage)
        #expect(direct.stage.run { line.text.hasSuffix("\r\n\r\n") })
        #expect(line.text.hasPrefix("HTTP/1.1 200"), "\(line.text)")
        line.startHTTP(version)
        for number in 0..<3 {
            let answer = direct.stage.ask(line, get("anything.example", "/\(number)", method: "POST"), body: [1])
            #expect(answer.status == "200", "\(answer.fields)")
            #expect(direct.app.requests.last?[":path"] == "/\(number)")
            #expect(direct.app.requests.last?[":authority"] == "anything.example")
            #expect(direct.app.requests.last?["x-forwarded-client-cert"]?.hasSuffix("/sa/web") == true)
        }
    }

    // MARK: meshfed-tcp/1

    private func header(_ command: ProxyHeader.Command, _ fields: [(ProxyHeader.Field, String)]) throws -> [UInt8] {
        var writer = ProxyHeaderWriter(command)
        for (field, value) in fields { writer.append(field, Array(value.utf8)) }
        var bytes = OutputBuffer()
        try writer.finish(into: &bytes)
        return (0..<bytes.count).map { bytes.bytes[$0] }
    }

    /// The word of the answer, and the bytes behind it; nil when no whole header came.
    private func word(_ line: Line) -> (word: String, rest: [UInt8])? {
        var buffer = OutputBuffer()
        buffer.append(line.received)
        guard let header = try? ProxyHeader.parse(buffer), header.command == .local,
            let word = header.copy(.answer, of: buffer)
        else { return nil }
        return (String(decoding: word, as: UTF8.self), Array(line.received.dropFirst(header.count)))
    }

    private func answer(_ direct: Direct, _ line: Line, _ bytes: [UInt8]) -> String? {
        #expect(direct.stage.run { line.isEstablished || !line.isOpen })
        line.send(bytes, direct.stage)
        _ = direct.stage.run { word(line) != nil || !line.isOpen || line.ended }
        return word(line)?.word
    }

    @Test func aPeersStreamIsJudgedByItsHeader() throws {
        let direct = try direct()
        let web = try direct.world.workload("web")
        let name = "80.api.shop.svc.cluster.local"
        let good = try direct.dial(as: web, name, .raw)
        let head = try header(.proxy, [(.authority, "api.shop.svc.cluster.local")])
        #expect(answer(direct, good, head + Array("hi".utf8)) == "ok")
        #expect(direct.stage.run { direct.app.lines.first?.text == "hi" })
        direct.app.lines.first?.send(Array("there".utf8), direct.stage)
        #expect(direct.stage.run { word(good)?.rest == Array("there".utf8) })

        func refused(_ fields: [(ProxyHeader.Field, String)], _ serverName: String = name) throws -> String? {
            answer(direct, try direct.dial(as: web, serverName, .raw), try header(.proxy, fields))
        }
        #expect(try refused([(.authority, "other.shop.svc.cluster.local")]) == "wrong_authority")
        #expect(try refused([]) == "wrong_authority")
        #expect(
            try refused([(.authority, "api.shop.svc.cluster.local")], "81.api.shop.svc.cluster.local") == "no_route")
        #expect(
            try refused([(.authority, "api.shop.svc.cluster.local"), (.assertion, "x")]) == "origin_unexpected")
        let foreign = try direct.dial(as: direct.world.workload("web", of: "west"), name, .raw)
        #expect(answer(direct, foreign, head) != "ok")
        let gateway = try direct.dial(as: direct.world.gateway(of: "east"), name, .raw)
        #expect(answer(direct, gateway, head) == "origin_missing")
        #expect(direct.app.lines.count == 1)
    }

    @Test func nobodyDialsAnotherClustersSidecar() throws {
        // Even where the owner allows the caller: it comes through the gateways.
        let open = Authorization(rules: [
            AuthorizationRule(name: "x", action: .allow, callers: [.trustDomain(domain("west.mesh"))])
        ])
        let direct = try direct { $0.authorization = open }
        let head = try header(.proxy, [(.authority, "api.shop.svc.cluster.local")])
        for id in ["ns/shop/sa/web", "meshfed/broker/b1", "meshfed/admin/a1"] {
            let peer = try direct.world.svid("spiffe://west.mesh/\(id)")
            let line = try direct.dial(as: peer, "80.api.shop.svc.cluster.local", .raw)
            #expect(answer(direct, line, head) == "not_allowed", "\(id)")
            let raw = try direct.world.dial(
                direct.apiAddress.withPort(15_006), as: peer, "80.api.shop.svc.cluster.local", .raw,
                namesProtocol: false)
            #expect(direct.stage.run { raw.failure != nil || raw.ended }, "\(id)")
        }
        #expect(direct.app.lines.isEmpty)
        let http = try Direct { $0.authorization = open }
        let asked = http.stage.ask(
            try http.dial(as: http.world.workload("web", of: "west")), get("api.shop.svc.cluster.local:80"))
        #expect(asked.error == "not_allowed; dispatched=0")
    }

    @Test func aStreamsHeaderInPiecesIsWaitedFor() throws {
        let direct = try direct()
        let line = try direct.dial(as: direct.world.workload("web"), "80.api.shop.svc.cluster.local", .raw)
        #expect(direct.stage.run { line.isEstablished })
        for byte in try header(.proxy, [(.authority, "api.shop.svc.cluster.local")]) {
            line.send([byte], direct.stage)
            direct.stage.turn(milliseconds: 1)
        }
        #expect(direct.stage.run { word(line)?.word == "ok" })
    }

    @Test func damagedHeadersHurtNobodyElse() throws {
        var random = SplitMix64.announced()
        let direct = try direct()
        let web = try direct.world.workload("web")
        let name = "80.api.shop.svc.cluster.local"
        let good = try header(
            .proxy,
            [
                (.authority, "api.shop.svc.cluster.local"), (.hops, "east/g1"), (.deadline, "5000"), (.probe, "x"),
                (.traceparent, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), (.assertion, "AAAA"),
            ])
        for round in 0..<80 {
            let line = try direct.dial(as: web, name, .raw)
            #expect(direct.stage.run { line.isEstablished || !line.isOpen })
            line.send(random.damaged(good) + random.bytes(20), direct.stage)
            direct.stage.turn(milliseconds: 1)
            if round % 3 == 0 { line.abort() } else { line.close() }
        }
        let head = try header(.proxy, [(.authority, "api.shop.svc.cluster.local")])
        #expect(answer(direct, try direct.dial(as: web, name, .raw), head) == "ok")
    }

    @Test func drainingWaitsForStreams() throws {
        for grace in [Duration.seconds(10), .milliseconds(200)] {
            let direct = try Direct(.tcp, app: .raw, entries: [.explicit, .outboundTCP(host: host)]) { _ in
            } settings: {
                $0.grace = grace
            }
            let (near, _) = try stream(direct, tunnel: false)
            near.send([1], direct.stage)
            #expect(direct.stage.run { direct.app.lines.first?.received == [1] })
            let far = try #require(direct.app.lines.first)
            direct.api.mailbox.post(.drain)
            if grace == .seconds(10) {
                _ = try direct.api.report()
                near.send([2], direct.stage)
                #expect(direct.stage.run { far.received == [1, 2] })
                #expect(!direct.api.hasEnded)
                near.endOutput(direct.stage)
                far.endOutput(direct.stage)
                #expect(direct.stage.run { near.ended && far.ended })
                #expect(near.failure == nil && far.failure == nil)
            } else {
                #expect(direct.stage.run { !near.isOpen || near.ended })
                #expect(direct.stage.run { !far.isOpen || far.ended })
            }
            #expect(direct.stage.run { direct.api.hasEnded })
        }
    }

    @Test func whatIsNoHeaderEndsTheConnection() throws {
        let direct = try direct()
        for bytes in [Array("GET / HTTP/1.1\r\n\r\n".utf8), [UInt8](repeating: 0, count: 16)] {
            let line = try direct.dial(as: direct.world.workload("web"), "80.api.shop.svc.cluster.local", .raw)
            #expect(answer(direct, line, bytes) == nil)
            #expect(line.failure != nil || line.ended)
        }
        #expect(direct.app.lines.isEmpty)
    }

    @Test func aHealthQuestionTriesTheAppsPort() throws {
        let direct = try direct()
        let name = "80.api.shop.svc.cluster.local"
        #expect(
            answer(direct, try direct.dial(as: direct.world.workload("web"), name, .raw), try header(.local, []))
                == "ok")
        let dead = try self.direct { $0.endpoints[0].targetPorts = [80: 1] }
        #expect(
            answer(dead, try dead.dial(as: dead.world.workload("web"), name, .raw), try header(.local, []))
                == "connect_failed")
    }

    @Test func anHTTPPortServesNoStreamsAndAStreamPortNoRequests() throws {
        let http = try Direct()
        let name = "80.api.shop.svc.cluster.local"
        let line = try http.dial(as: http.world.workload("web"), name, .raw)
        #expect(
            answer(http, line, try header(.proxy, [(.authority, "api.shop.svc.cluster.local")])) == "no_route")
        let tcp = try direct()
        let asked = tcp.stage.ask(
            try tcp.dial(as: tcp.world.workload("web"), name), get("api.shop.svc.cluster.local:80"))
        #expect(asked.status == "404")
        #expect(asked.error == "no_route; dispatched=0")
    }
}
