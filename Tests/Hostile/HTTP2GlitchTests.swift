import Containers
import Testing
import Wire

/// HOSTILE 59 to 66, 70 and 74: what nghttp2 does not count is counted here, ends by GOAWAY ENHANCE_YOUR_CALM, and is told to the
/// metrics; what a peer in good order does never comes near it.
@Suite struct HTTP2GlitchTests {
    typealias Part = @Sendable (inout Frames, Int) -> Void

    private static let cancel: [UInt8] = [0, 0, 0, 8]

    static let floods: [(name: String, glitch: HTTP2Glitch, setUp: @Sendable (inout Frames) -> Void, part: Part)] = [
        (
            "61: HEADERS and RST_STREAM", .cancels, { _ in },
            {
                $0.request(UInt32($1 * 2 + 1))
                $0.add(3, 0, UInt32($1 * 2 + 1), cancel)
            }
        ),
        (
            "61: a stream's window above the most", .resets, { _ in },
            {
                $0.request(UInt32($1 * 2 + 1), endStream: false)
                $0.add(8, 0, UInt32($1 * 2 + 1), [0x7F, 0xFF, 0xFF, 0xFF])
            }
        ),
        (
            "61: a field of HTTP/1.1", .resets, { _ in },
            { $0.headers(UInt32($1 * 2 + 1), [(Array("connection".utf8), Array("close".utf8))]) }
        ),
        ("63: PING", .pings, { _ in }, { frames, _ in frames.add(6, 0, 0, [UInt8](repeating: 7, count: 8)) }),
        ("63: answers to no PING", .pings, { _ in }, { frames, _ in frames.add(6, 1, 0, [1, 2, 3, 4, 5, 6, 7, 8]) }),
        ("63: SETTINGS", .settings, { _ in }, { frames, _ in frames.add(4, 0, 0, []) }),
        // Without a stream the first one ends the connection.
        (
            "64: GOAWAY", .goAways, { $0.request(1, endStream: false) },
            { frames, _ in frames.add(7, 0, 0, [UInt8](repeating: 0, count: 8)) }
        ),
        ("64: empty DATA", .emptyData, { $0.request(1, endStream: false) }, { frames, _ in frames.add(0, 0, 1, []) }),
        (
            "64: DATA of padding", .emptyData, { $0.request(1, endStream: false) },
            { frames, _ in frames.add(0, 8, 1, [3, 0, 0, 0]) }
        ),
        ("64: WINDOW_UPDATE of 1", .windowUpdates, { _ in }, { frames, _ in frames.add(8, 0, 0, [0, 0, 0, 1]) }),
        (
            "64: PRIORITY", .priorities, { _ in },
            { frames, index in frames.add(2, 0, UInt32(index * 2 + 1), [0, 0, 0, 0, 16]) }
        ),
    ]

    @Test(arguments: floods.indices)
    func aFloodEndsInCalm(_ index: Int) {
        let flood = Self.floods[index]
        var session = HTTPSession.http2(role: .server)
        var told = Told()
        var frames = Frames.opened()
        flood.setUp(&frames)
        var answer: [UInt8] = []
        var rounds = 0
        while rounds < 12_000, session.shouldClose == false {
            for number in rounds..<(rounds + 100) { flood.part(&frames, number) }
            rounds += 100
            feed(&session, frames.bytes, into: &told)
            answer = output(of: &session)
            frames = Frames()
        }
        answer += output(of: &session)
        drain(&session, &told)
        #expect(session.failure?.reason == .flood, "\(flood.name)")
        #expect(session.flood == flood.glitch, "\(flood.name)")
        #expect(Frames.parse(answer).last { $0.type == 7 }?.payload[7] == 11, "\(flood.name)")
        let counted = session.takeGlitches()
        #expect((counted.first { $0.kind == flood.glitch }?.count ?? 0) > 100, "\(flood.name): \(counted)")
        #expect(session.takeGlitches().isEmpty == true)
        #expect(told.closed.values.allSatisfy { $0 != .none }, "\(flood.name)")
    }

    @Test func everyKindHasItsPlace() { #expect(HTTP2Glitch.allCases.map(\.rawValue) == Array(0..<9)) }

    /// 59: the library counts these; the answer is ours.
    @Test func continuationsWithoutEndAreCalmed() {
        var session = HTTPSession.http2(role: .server)
        var told = Told()
        var frames = Frames.opened()
        frames.add(1, 0, 1, [])
        for _ in 0..<9 { frames.add(9, 0, 1, []) }
        feed(&session, frames.bytes, into: &told)
        #expect(session.failure?.code == 11 && told.heads.isEmpty)
        #expect(Frames.parse(output(of: &session)).last { $0.type == 7 }?.payload[7] == 11)
    }

    /// 66: each byte of window buys a frame of one byte, which is no work that earns anything.
    @Test func aWindowGrownByteByByteEndsInCalm() {
        var session = HTTPSession.http2(role: .server)
        var told = Told()
        var frames = Frames.opened()
        frames.add(4, 0, 0, [0, 4, 0, 0, 0, 0])
        frames.request(1)
        feed(&session, frames.bytes, into: &told)
        session.sendHead(1, block([(Array(":status".utf8), Array("200".utf8))]), .response, endStream: false)
        session.sendData(1, [UInt8](repeating: 7, count: 60_000).span, endStream: true)
        var sent = 0
        var updates = 0
        while updates < 20_000, session.shouldClose == false {
            var one = Frames()
            one.add(8, 0, 1, [0, 0, 0, 1])
            feed(&session, one.bytes, into: &told)
            sent += Frames.parse(output(of: &session)).filter { $0.type == 0 }.count
            updates += 1
        }
        #expect(session.flood == .windowUpdates && updates <= 5_100 && sent <= updates)
    }

    /// 64: each is answered with 431, which earns nothing back.
    @Test func headsAboveTheLimitEndInCalm() {
        var session = HTTPSession.http2(role: .server)
        var told = Told()
        var frames = Frames.opened()
        let head = block([(Array(":status".utf8), Array("431".utf8))])
        let many = (0..<140).map { (Array("x\($0)".utf8), Array("y".utf8)) }
        let good = [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "shop.test")]
        var answered = 0
        while answered < 1_000, session.shouldClose == false {
            let id = UInt32(answered * 2 + 1)
            frames.headers(id, good.map { (Array($0.0.utf8), Array($0.1.utf8)) } + many)
            feed(&session, frames.bytes, into: &told)
            #expect(session.failure != nil || told.violations[StreamID(id)] == 431)
            session.sendHead(StreamID(id), head, .response, endStream: true)
            _ = output(of: &session)
            drain(&session, &told)
            frames = Frames()
            answered += 1
        }
        #expect(session.flood == .heads && answered <= 102)
    }

    /// Windows that come back in small steps, for work that was done: a peer in good order.
    @Test func smallWindowsForSmallMessagesAreFree() {
        var session = HTTPSession.http2(role: .server)
        var told = Told()
        feed(&session, Frames.opened().bytes, into: &told)
        for number in 0..<8_000 {
            let id = UInt32(number * 2 + 1)
            var frames = Frames()
            frames.request(id)
            feed(&session, frames.bytes, into: &told)
            session.sendHead(
                StreamID(id), block([(Array(":status".utf8), Array("200".utf8))]), .response, endStream: false)
            session.sendData(StreamID(id), [UInt8](repeating: 7, count: 100).span, endStream: true)
            _ = output(of: &session)
            var credit = Frames()
            credit.add(8, 0, 0, [0, 0, 0, 100])
            feed(&session, credit.bytes, into: &told)
        }
        #expect(session.failure == nil && session.flood == nil)
    }

    /// What gRPC does with a stream of tiny messages: each is answered by two windows and a PING that measures.
    @Test func tinyMessagesWithWindowsAndPingsAreFree() {
        var session = HTTPSession.http2(role: .server)
        var told = Told()
        var frames = Frames.opened()
        frames.request(1)
        feed(&session, frames.bytes, into: &told)
        session.sendHead(1, block([(Array(":status".utf8), Array("200".utf8))]), .response, endStream: false)
        for _ in 0..<20_000 {
            session.sendData(1, [UInt8](repeating: 7, count: 7).span, endStream: false)
            _ = output(of: &session)
            var credit = Frames()
            credit.add(8, 0, 0, [0, 0, 0, 7])
            credit.add(8, 0, 1, [0, 0, 0, 7])
            credit.add(6, 0, 0, [1, 2, 3, 4, 5, 6, 7, 8])
            feed(&session, credit.bytes, into: &told)
        }
        #expect(session.failure == nil && session.flood == nil)
    }

    /// A connection between our own proxies carries many callers, who may all cancel at once.
    @Test func aMeshLinkCarriesTheCancelsOfMany() {
        for (settings, survives) in [(HTTP2Settings.mesh, true), (HTTP2Settings.foreign, false)] {
            var session = HTTPSession.http2(role: .server, settings: settings)
            var told = Told()
            var frames = Frames.opened()
            for number in 0..<8_000 {
                frames.request(UInt32(number * 2 + 1))
                frames.add(3, 0, UInt32(number * 2 + 1), Self.cancel)
                if number % 200 == 0 {
                    feed(&session, frames.bytes, into: &told)
                    _ = output(of: &session)
                    frames = Frames()
                }
            }
            #expect((session.failure == nil) == survives)
        }
    }

    /// Streams that we opened: an app that ends each of them badly does not cost the callers beside it.
    @Test func whatAnUpstreamResetsIsNoFlood() {
        var session = HTTPSession.http2(role: .client)
        var told = Told()
        var settings = Frames()
        settings.add(4, 0, 0, [0, 3, 0, 0, 0x10, 0])
        feed(&session, settings.bytes, into: &told)
        let head = block(
            [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "shop.test")].map {
                (name: Array($0.0.utf8), value: Array($0.1.utf8))
            })
        for number in 0..<2_000 {
            guard let id = try? session.openStream(head, endStream: true) else {
                Issue.record("no stream \(number)")
                return
            }
            _ = output(of: &session)
            var answer = Frames()
            if number % 2 == 0 {
                answer.add(3, 0, UInt32(id), [0, 0, 0, 2])
            } else {
                answer.headers(UInt32(id), [(Array(":status".utf8), Array("99".utf8))])
            }
            feed(&session, answer.bytes, into: &told)
            _ = output(of: &session)
            drain(&session, &told)
            #expect(told.closed[id] == (number % 2 == 0 ? .reset(2) : .violation))
        }
        #expect(session.failure == nil && session.canOpenStream == true)
    }

    /// 74: before a peer's stream ids run out it is told to come again on another connection; nothing wraps.
    @Test func aPeerWhoseIDsRunOutIsToldToComeAgain() {
        var session = HTTPSession.http2(role: .server)
        var told = Told()
        var frames = Frames.opened()
        frames.request(0x7FFF_FFFD)
        feed(&session, frames.bytes, into: &told)
        let goAway = Frames.parse(output(of: &session)).last { $0.type == 7 }
        #expect(goAway?.payload == [0x7F, 0xFF, 0xFF, 0xFD, 0, 0, 0, 0])
        #expect(told.heads[0x7FFF_FFFD] != nil && session.failure == nil && session.shouldClose == false)
        frames = Frames()
        frames.request(0x7FFF_FFFF)
        feed(&session, frames.bytes, into: &told)
        #expect(told.heads[0x7FFF_FFFF] == nil)
        session.sendHead(
            0x7FFF_FFFD, block([(Array(":status".utf8), Array("204".utf8))]), .response, endStream: true)
        _ = output(of: &session)
        drain(&session, &told)
        #expect(told.closed[0x7FFF_FFFD] == HTTPStreamError.none)
        #expect(session.shouldClose == true && session.failure == nil)
    }

    /// 70: one spelling of the scheme, and the one that the connection has.
    @Test func theSchemeIsThatOfTheConnection() {
        for (isSecure, scheme, isTaken) in [
            (true, "https", true), (true, "http", false), (true, "HTTPS", false), (true, "HtTpS", false),
            (true, "file", false), (false, "http", true), (false, "https", true), (false, "HTTP", false),
            (false, "", false),
        ] {
            var limits = HTTPLimits()
            limits.isSecure = isSecure
            var session = HTTPSession.http2(role: .server, limits: limits)
            var told = Told()
            var frames = Frames.opened()
            frames.headers(
                1,
                [(":method", "GET"), (":scheme", scheme), (":path", "/"), (":authority", "shop.test")].map {
                    (Array($0.0.utf8), Array($0.1.utf8))
                })
            feed(&session, frames.bytes, into: &told)
            #expect((told.heads[1] != nil) == isTaken, "\(scheme) with TLS \(isSecure)")
            #expect(session.failure == nil)
            let reset = Frames.parse(output(of: &session)).first { $0.type == 3 }
            #expect((reset?.payload == [0, 0, 0, 1]) == !isTaken)
        }
    }
}
