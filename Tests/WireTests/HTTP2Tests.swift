import Containers
import Testing
import Wire

@Suite struct HTTP2Tests {
    @Test func requestAndResponseTravelWithBodiesAndTrailers() throws {
        for pieces in [1, 7, 65_536] {
            var loop = Loop.http2()
            let stream = try loop.client.openStream(
                request("POST", "/pay", [("te", "trailers"), ("x-one", "1")]), endStream: false)
            loop.client.sendData(stream, Array("hello".utf8).span, endStream: true)
            try loop.run(pieces: pieces)
            #expect(loop.seenByServer.bodies[stream] == Array("hello".utf8))
            #expect(
                loop.seenByServer.heads[stream]?.first == [
                    ":method: POST", ":scheme: https", ":authority: shop.test", ":path: /pay", "te: trailers",
                    "x-one: 1",
                ])
            loop.server.sendHead(stream, response("103", [("link", "x")]), .interim, endStream: false)
            loop.server.sendHead(stream, response("200", [("content-type", "a/b")]), .response, endStream: false)
            loop.server.sendData(stream, Array("world".utf8).span, endStream: false)
            loop.server.sendTrailers(stream, block([("grpc-status", "0")]))
            try loop.run(pieces: pieces)
            #expect(loop.seenByClient.bodies[stream] == Array("world".utf8))
            #expect(
                loop.seenByClient.heads[stream] == [
                    [":status: 103", "link: x"], [":status: 200", "content-type: a/b"], ["grpc-status: 0"],
                ])
            #expect(loop.seenByClient.events.contains(.head(stream, .interim, endStream: false)))
            #expect(loop.seenByClient.events.contains(.trailers(stream)))
            #expect(loop.seenByClient.closed[stream] == HTTPStreamError.none)
            #expect(loop.seenByServer.closed[stream] == HTTPStreamError.none)
            #expect(loop.client.activeStreams == 0 && loop.server.activeStreams == 0)
            #expect(!loop.client.shouldClose && !loop.server.shouldClose)
        }
    }

    @Test func trailersFollowWithoutABody() throws {
        var loop = Loop.http2()
        let stream = try loop.client.openStream(request(), endStream: true)
        try loop.run()
        loop.server.sendHead(stream, response(), .response, endStream: false)
        try loop.run()
        loop.server.sendTrailers(stream, block([("grpc-status", "5")]))
        try loop.run()
        #expect(loop.seenByClient.heads[stream]?.last == ["grpc-status: 5"])
        #expect(loop.seenByClient.closed[stream] == HTTPStreamError.none)
    }

    @Test func aLargeBodyPassesABoundedQueue() throws {
        let total = 20_000_000
        var loop = Loop.http2()
        let stream = try loop.client.openStream(request("PUT"), endStream: false)
        let chunk = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        var sent = 0
        var largest = 0
        var received = 0
        while received < total {
            while sent < total, loop.client.queued(stream) < 262_144 {
                sent += chunk.count
                loop.client.sendData(stream, chunk.span, endStream: sent == total)
            }
            largest = max(largest, loop.client.queued(stream))
            try loop.run()
            received += loop.seenByServer.bodies[stream]?.count ?? 0
            loop.seenByServer.bodies[stream] = []
        }
        #expect(received == total)
        #expect(largest < 400_000)
        #expect(loop.seenByClient.events.contains(.writable(stream)))
        #expect(loop.seenByServer.events.contains(.endStream(stream)))
    }

    @Test func theSenderWaitsForCredit() throws {
        var settings = HTTP2Settings()
        settings.streamWindow = 65_536
        var loop = Loop.http2(settings: settings)
        loop.consumes = false
        let stream = try loop.client.openStream(request("PUT"), endStream: false)
        loop.client.sendData(stream, [UInt8](repeating: 1, count: 200_000).span, endStream: true)
        try loop.run()
        #expect(loop.seenByServer.bodies[stream]?.count == 65_536)
        #expect(loop.client.queued(stream) == 200_000 - 65_536)
        #expect(loop.client.hasOutput == false)
        loop.server.consume(stream, 65_536)
        try loop.run()
        #expect(loop.seenByServer.bodies[stream]?.count == 131_072)
        loop.server.consume(stream, 65_536)
        try loop.run()
        loop.server.consume(stream, 1_000_000)
        try loop.run()
        #expect(loop.seenByServer.bodies[stream]?.count == 200_000)
    }

    /// A stream that closes before its body was consumed gives its bytes back to the connection's window.
    @Test func theConnectionWindowSurvivesAbandonedBodies() throws {
        var loop = Loop.http2()
        loop.consumes = false
        for round in 0..<30 {
            let stream = try loop.client.openStream(request("PUT"), endStream: false)
            loop.client.sendData(stream, [UInt8](repeating: 1, count: 200_000).span, endStream: true)
            try loop.run()
            #expect(loop.seenByServer.bodies[stream]?.count == 200_000, "round \(round)")
            if round % 3 == 0 {
                loop.server.reset(stream, code: HTTP2Code.cancel)
            } else if round % 3 == 1 {
                loop.client.reset(stream, code: HTTP2Code.cancel)
            } else {
                loop.server.sendHead(stream, response(), .response, endStream: true)
                try loop.run()
                loop.server.consume(stream, 100_000)
                loop.server.consume(stream, 100_000)
            }
            try loop.run()
        }
        #expect(loop.server.activeStreams == 0)
    }

    @Test func resetsAreReported() throws {
        var loop = Loop.http2()
        let first = try loop.client.openStream(request(), endStream: false)
        let second = try loop.client.openStream(request(), endStream: false)
        try loop.run()
        loop.client.reset(first, code: HTTP2Code.cancel)
        loop.server.reset(second, code: HTTP2Code.refusedStream)
        try loop.run()
        #expect(loop.seenByServer.closed == [first: .reset(HTTP2Code.cancel)])
        #expect(loop.seenByClient.closed == [second: .refused])
        #expect(loop.client.activeStreams == 0 && loop.server.activeStreams == 0)
    }

    /// Its head is encoded already: the tables of both sides must stay the same.
    @Test func aResetBeforeTheRequestIsSentIsACancel() throws {
        var loop = Loop.http2()
        try loop.run()
        let stream = try loop.client.openStream(request(), endStream: true)
        loop.client.reset(stream, code: HTTP2Code.cancel)
        try loop.run()
        #expect(loop.seenByServer.closed == [stream: .reset(HTTP2Code.cancel)])
        #expect(loop.client.activeStreams == 0 && loop.server.activeStreams == 0)
        let next = try loop.client.openStream(request(), endStream: true)
        try loop.run()
        #expect(loop.seenByServer.heads[next] != nil)
    }

    @Test func anEarlyAnswerEndsTheRequest() throws {
        var loop = Loop.http2()
        let stream = try loop.client.openStream(request("POST"), endStream: false)
        loop.client.sendData(stream, [1, 2, 3].span, endStream: false)
        try loop.run()
        loop.server.sendHead(stream, response("413"), .response, endStream: true)
        try loop.run()
        #expect(loop.seenByClient.heads[stream]?.last == [":status: 413"])
        #expect(loop.seenByClient.closed[stream] == HTTPStreamError.none)
        #expect(loop.seenByServer.closed[stream] == HTTPStreamError.none)
    }

    @Test func thePeersStreamLimitHolds() throws {
        var settings = HTTP2Settings()
        settings.maxConcurrentStreams = 3
        var loop = Loop.http2(settings: settings)
        try loop.run()
        var streams: [StreamID] = []
        while loop.client.canOpenStream { streams.append(try loop.client.openStream(request(), endStream: true)) }
        #expect(streams == [1, 3, 5])
        try loop.run()
        loop.server.sendHead(3, response(), .response, endStream: true)
        try loop.run()
        #expect(loop.client.canOpenStream == true)
        _ = try loop.client.openStream(request(), endStream: true)
        do {
            _ = try loop.client.openStream(request(), endStream: true)
            Issue.record("a stream above the limit was opened")
        } catch {
            #expect(error.reason == .notReady)
        }
    }

    @Test func aServerDrainsByGoAway() throws {
        var loop = Loop.http2()
        let stream = try loop.client.openStream(request(), endStream: true)
        try loop.run()
        loop.server.goAway()
        try loop.run()
        #expect(loop.client.canOpenStream == false)
        loop.server.shutdown(code: HTTP2Code.none)
        try loop.run()
        #expect(loop.seenByClient.events.contains(.goAway(lastStream: stream, code: 0)))
        #expect(!loop.server.shouldClose && !loop.client.shouldClose)
        loop.server.sendHead(stream, response(), .response, endStream: true)
        try loop.run()
        #expect(loop.seenByClient.closed[stream] == HTTPStreamError.none)
        #expect(loop.server.shouldClose && loop.client.shouldClose)
    }

    @Test func aClientDrainsWhenItsStreamsEnd() throws {
        var loop = Loop.http2()
        let stream = try loop.client.openStream(request(), endStream: true)
        try loop.run()
        loop.client.goAway()
        try loop.run()
        #expect(loop.client.shouldClose == false)
        loop.server.sendHead(stream, response(), .response, endStream: true)
        try loop.run()
        try loop.run()
        #expect(loop.client.shouldClose && loop.server.shouldClose)
    }

    @Test func aLostConnectionClosesItsStreams() throws {
        var loop = Loop.http2()
        let sent = try loop.client.openStream(request(), endStream: true)
        try loop.run()
        let unsent = try loop.client.openStream(request(), endStream: true)
        loop.client.connectionLost()
        drain(&loop.client, &loop.seenByClient)
        #expect(loop.seenByClient.closed == [sent: .connection, unsent: .refused])
        #expect(loop.client.shouldClose && !loop.client.hasOutput)
    }

    @Test func pingsAreAnswered() throws {
        var loop = Loop.http2()
        loop.client.ping(0x0102_0304_0506_0708)
        try loop.run()
        #expect(loop.seenByClient.events.contains(.pong(0x0102_0304_0506_0708)))
        #expect(loop.seenByClient.events.contains(.settings) && loop.seenByServer.events.contains(.settings))
    }

    @Test(arguments: [
        ("host differs", [("host", "other.test")], false), ("host equals", [("host", "SHOP.test")], true),
    ])
    func hostMustEqualAuthority(_ name: String, _ more: [(String, String)], _ passes: Bool) throws {
        // Our own client drops Host, so the request is written as raw frames.
        var server = HTTPSession.http2(role: .server)
        var seen = Loop.Seen()
        var raw = RawHTTP2()
        raw.open()
        raw.headers(
            1,
            [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "shop.test")] + more,
            endStream: true)
        try server.receive(raw.bytes.span)
        drain(&server, &seen)
        #expect(seen.heads.isEmpty != passes)
        #expect(server.shouldClose == false)
    }

    @Test(arguments: [
        [(":method", "CONNECT"), (":authority", "shop.test:443")]
    ])
    func connectIsAnsweredWith405(_ fields: [(String, String)]) throws {
        var server = HTTPSession.http2(role: .server)
        var seen = Loop.Seen()
        var raw = RawHTTP2()
        raw.open()
        raw.headers(1, fields, endStream: false)
        try server.receive(raw.bytes.span)
        drain(&server, &seen)
        #expect(seen.events.contains(.violation(1, status: 405)))
    }

    static let hostileHeads: [[(String, String)]] = [
        [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "a@shop.test")],
        [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "")],
        [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "shop.test"), ("host", "a,b")],
        [(":method", "GET"), (":scheme", "file"), (":path", "/"), (":authority", "shop.test")],
        [(":method", "GET"), (":scheme", "HtTpS"), (":path", "/"), (":authority", "shop.test")],
        [(":method", "GET"), (":scheme", "https"), (":path", "*"), (":authority", "shop.test")],
        [(":method", "GET"), (":scheme", "https"), (":path", "/#f"), (":authority", "shop.test")],
        [(":method", "GET"), (":scheme", "https"), (":path", "http://x/"), (":authority", "shop.test")],
        [(":method", "GET / HTTP/1.1\r\nX"), (":scheme", "https"), (":path", "/"), (":authority", "shop.test")],
        [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "shop.test"), ("a", "b\r\nc: d")],
        [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "shop.test"), ("A", "b")],
        [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "shop.test"), ("", "b")],
        [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "shop.test"), ("a b", "c")],
        [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "shop.test"), ("te", "gzip")],
        [
            (":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "shop.test"),
            ("transfer-encoding", "chunked"),
        ],
        [
            (":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "shop.test"),
            ("connection", "close"),
        ],
        [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":path", "/x"), (":authority", "shop.test")],
        [
            (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", "/"),
            (":authority", "shop.test"),
        ],
    ]

    /// A malformed request costs its stream, never the connection, and no event is made of it.
    @Test(arguments: Self.hostileHeads.indices)
    func malformedRequestsAreReset(_ index: Int) throws {
        var server = HTTPSession.http2(role: .server)
        var seen = Loop.Seen()
        var raw = RawHTTP2()
        raw.open()
        raw.headers(1, Self.hostileHeads[index], endStream: true)
        raw.headers(
            3, [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "shop.test")], endStream: true)
        try server.receive(raw.bytes.span)
        drain(&server, &seen)
        var output = ByteBuffer()
        try server.produce(into: &output, upTo: 65_536)
        drain(&server, &seen)
        #expect(seen.heads[1] == nil && seen.heads[3] != nil)
        #expect(RawHTTP2.frames(array(output.bytes)).contains { $0.type == 3 && $0.stream == 1 })
        #expect(server.activeStreams == 1)
        #expect(server.shouldClose == false)
    }

    @Test func headsAboveTheLimitGet431() throws {
        var server = HTTPSession.http2(role: .server)
        var seen = Loop.Seen()
        var raw = RawHTTP2()
        raw.open()
        let many = (0..<140).map { ("x-\($0)", "v") }
        raw.headers(
            1, [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "shop.test")] + many,
            endStream: true)
        try server.receive(raw.bytes.span)
        drain(&server, &seen)
        #expect(seen.events.contains(.violation(1, status: 431)))
        server.sendHead(1, response("431"), .response, endStream: true)
        var output = ByteBuffer()
        try server.produce(into: &output, upTo: 65_536)
        drain(&server, &seen)
        #expect(seen.closed[1] == HTTPStreamError.none)
    }
}
