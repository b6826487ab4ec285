import Containers
import Testing
import Wire

/// Floods of frames that are allowed one by one (HOSTILE M6): each ends with GOAWAY ENHANCE_YOUR_CALM, and a peer in good order
/// that does a little of the same does not.
@Suite struct HTTP2FloodTests {
    private static let good = [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "shop.test")]

    /// Feeds `part` to a server up to `count` times; answers what is answered by itself. Returns the failure.
    private func flood(
        _ count: Int, setUp: (inout RawHTTP2) -> Void = { _ in }, _ part: (inout RawHTTP2, Int) -> Void
    ) throws -> (failure: HTTPFailure?, rounds: Int, goAway: UInt8?) {
        var server = HTTPSession.http2(role: .server)
        var seen = Loop.Seen()
        var raw = RawHTTP2()
        raw.open()
        setUp(&raw)
        var output = ByteBuffer()
        var rounds = 0
        while rounds < count, server.shouldClose == false {
            for index in rounds..<(rounds + 100) { part(&raw, index) }
            rounds += 100
            do {
                try server.receive(raw.bytes.span)
                drain(&server, &seen)
                output.removeAll()
                try server.produce(into: &output, upTo: 1_000_000)
            } catch {
                drain(&server, &seen)
                output.removeAll()
                try? server.produce(into: &output, upTo: 1_000_000)
            }
            raw.bytes = []
        }
        let last = RawHTTP2.frames(array(output.bytes)).last { $0.type == 7 }
        return (server.failure, rounds, last?.payload[7])
    }

    @Test func pings() throws {
        let result = try flood(10_000) { raw, _ in raw.frame(6, 0, 0, [0, 0, 0, 0, 0, 0, 0, 1]) }
        #expect(result.failure?.reason == .flood && result.goAway == 11)
    }

    @Test func settings() throws {
        let result = try flood(10_000) { raw, _ in raw.frame(4, 0, 0, []) }
        #expect(result.failure?.reason == .flood && result.rounds <= 300)
    }

    @Test func emptyData() throws {
        let result = try flood(10_000, setUp: { $0.headers(1, Self.good, endStream: false) }) { raw, _ in
            raw.frame(0, 0, 1, [])
        }
        #expect(result.failure?.reason == .flood && result.rounds <= 700)
    }

    @Test func tinyWindowUpdates() throws {
        let result = try flood(20_000) { raw, _ in raw.frame(8, 0, 0, [0, 0, 0, 1]) }
        #expect(result.failure?.reason == .flood)
    }

    @Test func priorities() throws {
        let result = try flood(20_000) { raw, index in
            raw.frame(2, 0, StreamID(index * 2 + 1), [0, 0, 0, 0, 16])
        }
        #expect(result.failure?.reason == .flood)
    }

    @Test func resetsThatThePeerProvokes() throws {
        let result = try flood(10_000) { raw, index in
            raw.headers(StreamID(index * 2 + 1), Self.good + [("connection", "close")], endStream: true)
        }
        #expect(result.failure?.reason == .flood && result.goAway == 11 && result.rounds <= 400)
    }

    @Test func rapidReset() throws {
        let result = try flood(20_000) { raw, index in
            raw.headers(StreamID(index * 2 + 1), Self.good, endStream: true)
            raw.frame(3, 0, StreamID(index * 2 + 1), [0, 0, 0, 8])
        }
        #expect(result.failure != nil && result.rounds <= 3_000)
    }

    @Test func continuations() throws {
        var server = HTTPSession.http2(role: .server)
        var raw = RawHTTP2()
        raw.open()
        raw.headers(1, Self.good, endStream: true, endHeaders: false)
        for _ in 0..<20 { raw.frame(9, 0, 1, []) }
        do {
            try server.receive(raw.bytes.span)
            Issue.record("accepted")
        } catch {
            #expect(server.shouldClose == true)
        }
    }

    @Test func otherProtocolsGetGoAway() throws {
        var server = HTTPSession.http2(role: .server)
        var output = ByteBuffer()
        do {
            try server.receive(Array("GET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8).span)
            Issue.record("accepted")
        } catch {
            #expect(error.reason == .malformed)
        }
        try? server.produce(into: &output, upTo: 65_536)
        let last = RawHTTP2.frames(array(output.bytes)).last
        #expect(last?.type == 7 && last?.payload[7] == 1)
        #expect(server.hasOutput == false && server.shouldClose == true)
    }

    @Test func aConnectionErrorIsAnsweredByGoAway() throws {
        var server = HTTPSession.http2(role: .server)
        var seen = Loop.Seen()
        var output = ByteBuffer()
        var raw = RawHTTP2()
        raw.open()
        raw.headers(1, Self.good, endStream: false)
        raw.frame(0, 0, 0, [1])
        #expect(throws: HTTPFailure.self) { try server.receive(raw.bytes.span) }
        drain(&server, &seen)
        try server.produce(into: &output, upTo: 65_536)
        #expect(server.shouldClose == true)
        #expect(seen.closed[1] == .connection)
        #expect(RawHTTP2.frames(array(output.bytes)).contains { $0.type == 7 && $0.payload[7] == 1 })
    }

    @Test func aPeerInGoodOrderIsNotMistaken() throws {
        var loop = Loop.http2()
        for round in 0..<3_000 {
            loop.client.ping(UInt64(round))
            let stream = try loop.client.openStream(request("POST"), endStream: false)
            loop.client.sendData(stream, Array("x".utf8).span, endStream: true)
            try loop.run()
            loop.server.sendHead(stream, response(), .response, endStream: false)
            loop.server.sendData(stream, Array("y".utf8).span, endStream: true)
            try loop.run()
            #expect(loop.seenByClient.closed[stream] == HTTPStreamError.none)
        }
        #expect(loop.server.failure == nil && loop.client.failure == nil)
    }
}
