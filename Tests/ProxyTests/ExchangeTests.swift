import Glibc
import Link
import MeshModel
import Proxy
import Reactor
import Testing
import Wire

@Suite(.serialized) struct ExchangeTests {
    /// Bytes whose every shift would show.
    private func pattern(_ count: Int) -> [UInt8] {
        let block = (0..<65_537).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 11) }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count + block.count)
        while bytes.count < count { bytes += block }
        return Array(bytes.prefix(count))
    }

    @Test(arguments: [(Line.Version.http1, Line.Version.http1), (.http2, .http2), (.http1, .http2), (.http2, .http1)])
    func fiveMebibytesGoBothWays(client: Line.Version, app: Line.Version) throws {
        let direct = try Direct(app == .http2 ? .http2 : .http, app: app)
        let line = try direct.client(client)
        let body = pattern(5 << 20)
        let answer = direct.stage.ask(
            line, get(method: "POST", [("content-length", "\(body.count)")]), body: body)
        #expect(answer.status == "200", "\(answer.fields)")
        #expect(answer.body == body)
        #expect(direct.app.requests.last?.body == body)
    }

    @Test func aBodyWithoutALengthGoesBothWays() throws {
        let direct = try Direct()
        direct.app.answer = { line, message in line.respond(message, "200", [], body: message.body) }
        let body = pattern(300_000)
        let answer = direct.stage.ask(try direct.client(.http2), get(method: "POST"), body: body)
        #expect(answer.body == body)
    }

    @Test func aSlowAppHoldsItsCallerBack() throws {
        let direct = try Direct()
        direct.app.isEarly = true
        direct.app.answer = { _, _ in }
        direct.app.onAccept = { $0.isReading = false }
        let line = try direct.client(.http1)
        let body = pattern(24 << 20)
        #expect(direct.stage.run { line.link?.session?.canOpenStream == true })
        let message = line.open(get(method: "POST", [("content-length", "\(body.count)")]), body: body)
        var last = -1
        // Until nothing moves any more: every buffer on the way is full.
        while line.link?.session?.queued(message.stream) != last {
            last = line.link?.session?.queued(message.stream) ?? 0
            direct.stage.idle(milliseconds: 200)
        }
        #expect(last > 0, "all of it was taken although nobody reads")
        let app = try #require(direct.app.lines.first)
        app.isReading = true
        #expect(direct.stage.run { app.messages.values.first?.isEnded == true })
        #expect(app.messages.values.first?.body == body)
        let request = try #require(app.messages.values.first)
        app.respond(request, "204", body: nil)
        app.link?.session?.sendData(request.stream, Span(), endStream: true)
        #expect(direct.stage.run { message.isOver })
        #expect(message.status == "204")
    }

    @Test(arguments: [Line.Version.http1, .http2])
    func aSlowCallerHoldsTheAppBack(version: Line.Version) throws {
        let direct = try Direct()
        let body = pattern(24 << 20)
        direct.app.answer = { line, message in
            line.respond(message, "200", [("content-length", "\(body.count)")], body: body)
        }
        let line = try direct.client(version)
        line.isConsuming = false
        if version == .http1 { line.isReading = false }
        #expect(direct.stage.run { line.link?.session?.canOpenStream == true })
        let message = line.open(get())
        #expect(direct.stage.run { direct.app.requests.count == 1 })
        let app = try #require(direct.app.lines.first)
        let request = try #require(direct.app.requests.first)
        var last = -1
        while app.link?.session?.queued(request.stream) != last {
            last = app.link?.session?.queued(request.stream) ?? 0
            direct.stage.idle(milliseconds: 200)
        }
        #expect(last > 0, "all of it was taken although nobody reads")
        line.isReading = true
        line.release()
        #expect(direct.stage.run { message.isOver })
        #expect(message.body == body)
    }

    @Test func whatWasDispatchedIsNotRepeatedForPOST() throws {
        let direct = try Direct()
        direct.app.answer = { line, _ in line.close() }
        let answer = direct.stage.ask(try direct.client(), get(method: "POST"), body: [1])
        #expect(answer.status == "503", "\(answer.fields)")
        #expect(answer.error == "upstream_reset; dispatched=1")
        #expect(direct.app.requests.count == 1)
    }

    @Test func aGETIsRepeated() throws {
        let direct = try Direct()
        direct.app.answer = { line, message in
            if direct.app.requests.count == 1 { return line.close() }
            line.respond(message, "200", [("content-length", "2")], body: [1, 2])
        }
        let answer = direct.stage.ask(try direct.client(), get())
        #expect(answer.status == "200", "\(answer.fields)")
        #expect(direct.app.requests.count == 2)
    }

    @Test func threeTriesOverAllHopsAreTheMost() throws {
        let direct = try Direct()
        direct.app.answer = { line, _ in line.close() }
        let answer = direct.stage.ask(try direct.client(), get())
        #expect(answer.status == "503")
        #expect(answer.error == "upstream_reset; dispatched=1")
        #expect(direct.app.requests.count == 3)
    }

    @Test func aSmallBodyIsKeptAndALargeOneIsNot() throws {
        for (size, tries) in [(60_000, 2), (70_000, 1)] {
            let direct = try Direct()
            direct.app.answer = { line, message in
                if direct.app.requests.count == 1 { return line.close() }
                line.respond(message, "200", [("content-length", "\(message.body.count)")], body: message.body)
            }
            let body = pattern(size)
            let answer = direct.stage.ask(
                try direct.client(), get(method: "PUT", [("content-length", "\(size)")]), body: body)
            #expect(direct.app.requests.count == tries)
            #expect(answer.status == (tries == 2 ? "200" : "503"), "\(answer.fields)")
            if tries == 2 { #expect(answer.body == body) }
        }
    }

    @Test func aGRPCCallWithAMessageIsNotRepeated() throws {
        let direct = try Direct(.grpc, app: .http2)
        direct.app.answer = { line, _ in line.close() }
        let answer = direct.stage.ask(
            try direct.client(.http2), get(method: "POST", [("content-type", "application/grpc"), ("te", "trailers")]),
            body: [0, 0, 0, 0, 0])
        #expect(answer.status == "200")
        #expect(answer["grpc-status"] == "14")
        #expect(answer.error == "upstream_reset; dispatched=1")
        #expect(answer.isHeadOnly)
        #expect(direct.app.requests.count == 1)
    }

    @Test func aRefusedStreamIsRepeatedForEveryMethod() throws {
        let direct = try Direct(.grpc, app: .http2)
        direct.app.answer = { line, message in
            if direct.app.requests.count == 1 { return line.reset(message, code: 7) }
            line.respond(
                message, "200", [("content-type", "application/grpc")], body: [], trailers: [("grpc-status", "0")])
        }
        let answer = direct.stage.ask(
            try direct.client(.http2), get(method: "POST", [("content-type", "application/grpc"), ("te", "trailers")]),
            body: [0, 0, 0, 0, 0])
        #expect(answer.status == "200", "\(answer.fields)")
        #expect(answer.trailers.first { $0.name == "grpc-status" }?.value == "0", "\(answer.fields) \(answer.trailers)")
        #expect(direct.app.requests.count == 2)
    }

    @Test func anAnswerThatBreaksOffIsCutShort() throws {
        let direct = try Direct()
        direct.app.answer = { line, message in
            line.respond(message, "200", [("content-length", "100")], body: nil)
            line.link?.session?.sendData(message.stream, [1, 2, 3].span, endStream: false)
        }
        let line = try direct.client(.http2)
        #expect(direct.stage.run { line.link?.session?.canOpenStream == true })
        let message = line.open(get())
        #expect(direct.stage.run { message.body.count == 3 })
        direct.app.lines.first?.abort()
        #expect(direct.stage.run { message.closed != nil })
        #expect(!message.isEnded, "\(message.fields)")
        #expect(message.closed != HTTPStreamError.none)
        #expect(direct.app.requests.count == 1, "never after the first byte of the answer")
    }

    @Test func theDeadlineIs504() throws {
        let direct = try Direct { $0.traffic.requestTimeout = .milliseconds(300) }
        direct.app.answer = { _, _ in }
        let answer = direct.stage.ask(try direct.client(.http2), get())
        #expect(answer.status == "504")
        #expect(answer.error == "deadline; dispatched=1", "the app saw it")
    }

    @Test func theDeadlineOfAGRPCCallIsStatus4() throws {
        let direct = try Direct(.grpc, app: .http2) { $0.traffic.requestTimeout = .milliseconds(300) }
        direct.app.answer = { _, _ in }
        let grpc = direct.stage.ask(
            try direct.client(.http2), get(method: "POST", [("content-type", "application/grpc")]), body: [0])
        #expect(grpc.status == "200")
        #expect(grpc["grpc-status"] == "4", "\(grpc.fields)")
        #expect(grpc.isHeadOnly)
        #expect(try direct.web.report().exchanges <= 2)
    }

    @Test func anotherTryHasItsOwnDeadline() throws {
        let direct = try Direct(dead: 1) { $0.traffic.perTryTimeout = .milliseconds(300) }
        let second = try direct.world.sidecar(
            "api-1", at: direct.addresses[1], direct.snapshot, app: direct.app.address)
        direct.app.answer = { line, message in
            if direct.app.requests.count > 1 { line.respond(message, "200", [("content-length", "0")]) }
        }
        let answer = direct.stage.ask(try direct.client(), get())
        #expect(answer.status == "200", "\(answer.fields)")
        #expect(direct.app.requests.count == 2)
        // With one candidate there is nowhere else to go, and the app did see it.
        let one = try Direct { $0.traffic.perTryTimeout = .milliseconds(300) }
        one.app.answer = { _, _ in }
        let failed = one.stage.ask(try one.client(), get())
        #expect(failed.error == "deadline; dispatched=1")
        _ = second
    }

    @Test func errorsForGRPCAreTrailersOnly() throws {
        let direct = try Direct()
        let line = try direct.client(.http2)
        for (host, status) in [("nobody.shop", "12"), ("api", "0")] {
            if status == "0" { continue }
            let answer = direct.stage.ask(
                line, get(host, "/a.B/C", method: "POST", [("content-type", "application/grpc+proto")]), body: [0])
            #expect(answer.status == "200")
            #expect(answer["grpc-status"] == status)
            #expect(answer["content-type"] == "application/grpc")
            #expect(answer.error == "no_route; dispatched=0")
            #expect(answer.isHeadOnly && answer.body.isEmpty)
        }
    }

    @Test func aCallerThatLeavesEndsItsRequest() throws {
        let direct = try Direct()
        direct.app.answer = { _, _ in }
        let line = try direct.client(.http2)
        #expect(direct.stage.run { line.link?.session?.canOpenStream == true })
        _ = line.open(get())
        #expect(direct.stage.run { direct.app.requests.count == 1 })
        line.abort()
        let app = try #require(direct.app.lines.first)
        #expect(direct.stage.run { app.ended || !app.isOpen }, "the app is told")
        for _ in 0..<1_000 where try direct.web.report().exchanges > 0 { usleep(1_000) }
        #expect(try direct.web.report().exchanges == 0)
        #expect(try direct.api.report().exchanges == 0)
    }

    @Test func manyAtOnceShareConnections() throws {
        let direct = try Direct(.http2, app: .http2)
        let line = try direct.client(.http2)
        #expect(direct.stage.run { line.link?.session?.canOpenStream == true })
        var messages: [Message] = []
        for number in 0..<90 { messages.append(line.open(get("api.shop", "/\(number)"))) }
        #expect(direct.stage.run { messages.allSatisfy(\.isOver) })
        #expect(messages.allSatisfy { $0.status == "200" })
        #expect(Set(direct.app.requests.map { $0[":path"] ?? "" }).count == 90)
        #expect(direct.app.lines.count < 20)
    }

    @Test func drainingFinishesWhatIsUnderWay() throws {
        let direct = try Direct { _ in
        } settings: {
            $0.grace = .seconds(10)
        }
        var held: (Line, Message)?
        direct.app.answer = { held = ($0, $1) }
        let line = try direct.client(.http2)
        #expect(direct.stage.run { line.link?.session?.canOpenStream == true })
        let message = line.open(get())
        #expect(direct.stage.run { held != nil })
        direct.api.mailbox.post(.drain)
        _ = try direct.api.report()
        #expect(!direct.api.hasEnded)
        let late = direct.stage.ask(try direct.client(.http2), get())
        #expect(late.status == "503", "\(late.fields)")
        #expect(late.error?.hasSuffix("dispatched=0") == true)
        if let (app, request) = held {
            app.respond(request, "200", [("content-length", "4")], body: Array("done".utf8))
        }
        #expect(direct.stage.run { message.isOver })
        #expect(message.status == "200" && message.text == "done")
        #expect(direct.stage.run { direct.api.hasEnded })
    }

    @Test func drainingTellsAnHTTP1PeerToClose() throws {
        let direct = try Direct { _ in
        } settings: {
            $0.grace = .seconds(10)
        }
        var held: (Line, Message)?
        direct.app.answer = { held = ($0, $1) }
        let line = try direct.dial(as: direct.world.workload("web"), "80.api.shop.svc.cluster.local", .http1)
        let idle = try direct.dial(as: direct.world.workload("web"), "80.api.shop.svc.cluster.local", .http2)
        #expect(direct.stage.run { line.link?.session?.canOpenStream == true && idle.isEstablished })
        let message = line.open(get("api.shop.svc.cluster.local:80"))
        #expect(direct.stage.run { held != nil })
        direct.api.mailbox.post(.drain)
        #expect(direct.stage.run { idle.sawGoAway }, "an idle HTTP/2 connection is told")
        if let (app, request) = held { app.respond(request, "200", [("content-length", "2")], body: [1, 2]) }
        #expect(direct.stage.run { message.isOver })
        #expect(message.status == "200" && message.body == [1, 2])
        #expect(direct.stage.run { line.ended || !line.isOpen || line.link?.session?.canOpenStream == false })
        idle.close()
        line.close()
        #expect(direct.stage.run { direct.api.hasEnded })
    }

    @Test func graceEndsWhatDoesNotFinish() throws {
        let direct = try Direct { _ in
        } settings: {
            $0.grace = .milliseconds(200)
        }
        direct.app.answer = { _, _ in }
        let line = try direct.client(.http2)
        #expect(direct.stage.run { line.link?.session?.canOpenStream == true })
        let message = line.open(get(method: "POST"))
        #expect(direct.stage.run { direct.app.requests.count == 1 })
        direct.api.mailbox.post(.drain)
        #expect(direct.stage.run { direct.api.hasEnded && message.isOver })
        #expect(message.status == "503")
        #expect(message.error == "upstream_reset; dispatched=1")
    }

    @Test func plaintextNeedsAPermissivePolicy() throws {
        for mode in [MutualTLSMode.permissive, .strict] {
            // The app's port is known only once the app stands, so the entry is made for it.
            let world = try World()
            let app = try App(world.stage, .http1)
            let address = try Loopback.next(port: 0)
            var snapshot = Snapshot("east")
            snapshot.add("api", at: [address], target: app.address.port) { $0.mutualTLS = mode }
            let api = try world.sidecar(
                "api-0", at: address, snapshot, app: app.address, entries: [.inboundPlain(appPort: app.address.port)])
            let line = try world.stage.connect(api.addresses[1], .http1)
            let answer = world.stage.ask(
                line, get("whatever.example", "/", method: "GET", [("x-forwarded-client-cert", "By=evil")]))
            if mode == .permissive {
                #expect(answer.status == "200", "\(answer.fields)")
                #expect(app.requests.last?["x-forwarded-client-cert"] == nil)
                #expect(app.requests.last?[":authority"] == "whatever.example")
            } else {
                #expect(answer.error == "not_allowed; dispatched=0")
                #expect(app.requests.isEmpty)
            }
        }
    }

    @Test func onePortOfTwoServicesTakesPlaintextOnlyWhenBothDo() throws {
        for (first, second) in [
            (MutualTLSMode.permissive, MutualTLSMode.permissive), (.permissive, .strict), (.strict, .permissive),
        ] {
            let world = try World()
            let app = try App(world.stage, .http1)
            let address = try Loopback.next(port: 0)
            var snapshot = Snapshot("east")
            for (name, mode) in [("api", first), ("admin", second)] {
                snapshot.add(name, at: [address], target: app.address.port) {
                    $0.mutualTLS = mode
                    $0.endpoints[0].workload = object("api-0")
                }
            }
            let api = try world.sidecar(
                "api-0", at: address, snapshot, app: app.address, entries: [.inboundPlain(appPort: app.address.port)])
            let answer = world.stage.ask(try world.stage.connect(api.addresses[1], .http1), get("whatever.example"))
            if first == second {
                #expect(answer.status == "200", "\(answer.fields)")
            } else {
                #expect(answer.error == "not_allowed; dispatched=0" && app.requests.isEmpty, "\(first), \(second)")
            }
        }
    }
}
