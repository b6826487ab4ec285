import Containers
import MeshTestKit
import Testing
import Wire

/// What one stream may do to its connection (RFC 9113 5, 6, 8): a mistake costs the stream, and however the bytes are cut,
/// they mean the same.
@Suite struct HTTP2StreamTests {
    private static let good = [(":method", "POST"), (":scheme", "https"), (":path", "/"), (":authority", "shop.test")]

    /// Frames on stream 1 of a server, and the code of the RST_STREAM that answers them.
    static let mistakes: [(name: String, code: UInt8, make: @Sendable (inout RawHTTP2) -> Void)] = [
        (
            "WINDOW_UPDATE of 0 (6.9)", 1,
            {
                $0.headers(1, good, endStream: false)
                $0.frame(8, 0, 1, [0, 0, 0, 0])
            }
        ),
        (
            "DATA behind END_STREAM (5.1)", 5,
            {
                $0.headers(1, good, endStream: true)
                $0.frame(0, 0, 1, [1])
            }
        ),
        (
            "HEADERS behind END_STREAM (5.1)", 5,
            {
                $0.headers(1, good, endStream: true)
                $0.headers(1, [("x", "y")], endStream: true)
            }
        ),
        (
            "trailers without END_STREAM (8.1)", 1,
            {
                $0.headers(1, good, endStream: false)
                $0.headers(1, [("x", "y")], endStream: false)
            }
        ),
        (
            "pseudo fields in trailers (8.1)", 1,
            {
                $0.headers(1, good, endStream: false)
                $0.headers(1, [(":path", "/")], endStream: true)
            }
        ),
        (
            "more than content-length says (8.1.1)", 1,
            {
                $0.headers(1, good + [("content-length", "2")], endStream: false)
                $0.frame(0, 0, 1, [1, 2, 3])
            }
        ),
        (
            "less than content-length says (8.1.1)", 1,
            {
                $0.headers(1, good + [("content-length", "2")], endStream: false)
                $0.frame(0, 1, 1, [1])
            }
        ),
        (
            "less, and trailers", 1,
            {
                $0.headers(1, good + [("content-length", "2")], endStream: false)
                $0.frame(0, 0, 1, [1])
                $0.headers(1, [("x", "y")], endStream: true)
            }
        ),
        ("no body where one is said", 1, { $0.headers(1, good + [("content-length", "2")], endStream: true) }),
        ("a pseudo field behind another", 1, { $0.headers(1, [("x", "y")] + good, endStream: true) }),
        ("the pseudo field of a response", 1, { $0.headers(1, good + [(":status", "200")], endStream: true) }),
        (
            "a stream that depends on itself", 1,
            { $0.frame(1, 0x25, 1, [0, 0, 0, 1, 16] + RawHTTP2.literals(good)) }
        ),
        (
            "more than the window of the stream (6.9)", 3,
            {
                $0.headers(1, good, endStream: false)
                for _ in 0..<17 { $0.frame(0, 0, 1, [UInt8](repeating: 1, count: 16_000)) }
            }
        ),
    ]

    @Test(arguments: mistakes.indices)
    func aMistakeCostsItsStream(_ index: Int) throws {
        let mistake = Self.mistakes[index]
        var server = HTTPSession.http2(role: .server)
        var seen = Loop.Seen()
        var raw = RawHTTP2()
        raw.open()
        mistake.make(&raw)
        raw.headers(3, Self.good, endStream: true)
        try server.receive(raw.bytes.span)
        drain(&server, &seen, false)
        var output = ByteBuffer()
        try server.produce(into: &output, upTo: 65_536)
        let resets = RawHTTP2.frames(array(output.bytes)).filter { $0.type == 3 }
        #expect(resets.map(\.payload) == [[0, 0, 0, mistake.code]] && resets[0].stream == 1, "\(mistake.name)")
        #expect(seen.closed[1] == (seen.heads[1] == nil ? nil : .violation), "\(mistake.name)")
        #expect(seen.heads[3] != nil && server.shouldClose == false, "\(mistake.name)")
        #expect(server.activeStreams == 1, "\(mistake.name)")
    }

    /// Answers of an app, the method that they answer, and whether they are one.
    static let answers: [(method: String, head: [(String, String)], body: [UInt8]?, isGood: Bool)] = [
        ("GET", [(":status", "200"), ("content-length", "1")], [1], true),
        ("GET", [(":status", "200"), ("content-length", "1")], [1, 2], false),
        ("GET", [(":status", "200"), ("content-length", "2")], [1], false),
        ("GET", [(":status", "200"), ("content-length", "1")], nil, false),
        ("GET", [(":status", "200"), ("content-length", "1"), ("content-length", "1")], [1], false),
        ("GET", [(":status", "200"), ("content-length", "-1")], [1], false),
        ("HEAD", [(":status", "200"), ("content-length", "9")], nil, true),
        ("HEAD", [(":status", "200"), ("content-length", "1")], [1], false),
        ("GET", [(":status", "304"), ("content-length", "9")], nil, true),
        ("GET", [(":status", "304")], [1], false),
        ("GET", [(":status", "204")], nil, true),
        ("GET", [(":status", "204"), ("content-length", "0")], nil, true),
        ("GET", [(":status", "204"), ("content-length", "1")], nil, false),
        ("GET", [(":status", "204")], [1], false),
        ("GET", [(":status", "101")], nil, false),
        ("GET", [(":status", "100")], [1], false),
        ("GET", [(":status", "200"), (":path", "/")], nil, false),
        ("GET", [("x", "y")], nil, false),
    ]

    @Test(arguments: answers.indices)
    func bodiesAreAsLongAsTheirHeadsSay(_ index: Int) throws {
        let answer = Self.answers[index]
        var client = HTTPSession.http2(role: .client)
        var seen = Loop.Seen()
        let stream = try client.openStream(request(answer.method), endStream: true)
        var output = ByteBuffer()
        try client.produce(into: &output, upTo: 65_536)
        var raw = RawHTTP2()
        raw.frame(4, 0, 0, [])
        raw.headers(stream, answer.head, endStream: answer.body == nil)
        if let body = answer.body { raw.frame(0, 1, stream, body) }
        try client.receive(raw.bytes.span)
        drain(&client, &seen)
        #expect((seen.closed[stream] == HTTPStreamError.none) == answer.isGood, "\(answer)")
        #expect(seen.closed[stream] == (answer.isGood ? HTTPStreamError.none : .violation), "\(answer)")
        #expect(client.canOpenStream == true)
    }

    /// Streams above the limit are refused, which their owner may repeat; those below it go on.
    @Test func streamsAboveTheLimitAreRefused() throws {
        var settings = HTTP2Settings()
        settings.maxConcurrentStreams = 2
        var server = HTTPSession.http2(role: .server, settings: settings)
        var seen = Loop.Seen()
        var raw = RawHTTP2()
        raw.open()
        for id in [1, 3, 5, 7] as [StreamID] { raw.headers(id, Self.good, endStream: true) }
        try server.receive(raw.bytes.span)
        drain(&server, &seen)
        var output = ByteBuffer()
        try server.produce(into: &output, upTo: 65_536)
        let resets = RawHTTP2.frames(array(output.bytes)).filter { $0.type == 3 }
        #expect(resets.map(\.stream) == [5, 7] && resets.allSatisfy { $0.payload == [0, 0, 0, 7] })
        #expect(seen.heads.keys.sorted() == [1, 3])
        server.sendHead(1, response(), .response, endStream: true)
        output.removeAll()
        try server.produce(into: &output, upTo: 65_536)
        raw.bytes = []
        raw.headers(9, Self.good, endStream: true)
        try server.receive(raw.bytes.span)
        drain(&server, &seen)
        #expect(seen.heads[9] != nil)
    }

    /// The connection's window is a limit too, and padding counts against it.
    @Test func theConnectionsWindowHolds() throws {
        var settings = HTTP2Settings()
        settings.connectionWindow = 65_535
        settings.heldBytes = 0
        var server = HTTPSession.http2(role: .server, settings: settings)
        var seen = Loop.Seen()
        var raw = RawHTTP2()
        raw.open()
        raw.headers(1, Self.good, endStream: false)
        for _ in 0..<4 { raw.frame(0, 8, 1, [255] + [UInt8](repeating: 0, count: 15_999)) }
        try server.receive(raw.bytes.span)
        drain(&server, &seen, false)
        #expect(seen.bodies[1]?.count == 4 * (16_000 - 256))
        raw.bytes = []
        raw.frame(0, 0, 1, [UInt8](repeating: 0, count: 1_536))
        #expect(throws: HTTPFailure(.protocolError, status: 0, code: HTTP2Code.flowControl)) {
            try server.receive(raw.bytes.span)
        }
    }

    /// A head that needs more than one frame goes out in CONTINUATIONs and comes in whole.
    @Test func largeHeadsTakeSeveralFrames() throws {
        var loop = Loop.http2()
        let value = String(repeating: "v", count: 50_000)
        let stream = try loop.client.openStream(request("GET", "/", [("x-large", value)]), endStream: true)
        var output = ByteBuffer()
        try loop.client.produce(into: &output, upTo: 200_000)
        let frames = RawHTTP2.frames(Array(array(output.bytes).dropFirst(24))).filter { $0.stream == stream }
        #expect(frames.map(\.type) == [1, 9, 9, 9] && frames.map { $0.flags & 4 } == [0, 0, 0, 4])
        #expect(frames.allSatisfy { $0.payload.count <= 16_384 } && frames[0].flags & 1 == 1)
        try loop.server.receive(output.bytes)
        drain(&loop.server, &loop.seenByServer)
        #expect(loop.seenByServer.heads[stream]?.first?.last == "x-large: " + value)
    }

    /// Frames of unknown kinds are read over, whatever their length (4.1), but not within a head (6.10).
    @Test func unknownFramesAreReadOver() throws {
        var server = HTTPSession.http2(role: .server)
        var seen = Loop.Seen()
        var raw = RawHTTP2()
        raw.open()
        raw.frame(0x42, 255, 77, [UInt8](repeating: 9, count: 16_384))
        raw.frame(0x10, 0, 0, [])
        raw.headers(1, Self.good, endStream: true)
        try feed(&server, raw.bytes.span, 1_000)
        drain(&server, &seen)
        #expect(seen.heads[1] != nil)
        raw.bytes = []
        raw.headers(3, Self.good, endStream: true, endHeaders: false)
        raw.frame(0x42, 0, 3, [])
        #expect(throws: HTTPFailure(.protocolError, status: 0, code: HTTP2Code.protocolError)) {
            try server.receive(raw.bytes.span)
        }
    }

    /// A peer that takes nothing of what it is owed is not read any more, and no stream is opened on its connection.
    @Test func whoTakesNoAnswersIsNotRead() throws {
        var server = HTTPSession.http2(role: .server)
        var seen = Loop.Seen()
        var raw = RawHTTP2()
        raw.open()
        try server.receive(raw.bytes.span)
        var id: StreamID = 1
        let head = response("200", [("x-large", String(repeating: "v", count: 20_000))])
        while server.wantsInput, id < 1_000 {
            raw.bytes = []
            raw.headers(id, Self.good, endStream: true)
            try server.receive(raw.bytes.span)
            drain(&server, &seen)
            server.sendHead(id, head, .response, endStream: true)
            id += 2
        }
        #expect(id < 500)
        var output = ByteBuffer()
        while server.hasOutput { try server.produce(into: &output, upTo: output.count + 10_000) }
        #expect(server.wantsInput == true)
        var client = HTTPSession.http2(role: .client)
        var opened = 0
        while client.canOpenStream, opened < 90 {
            _ = try client.openStream(
                request("GET", "/", [("x", String(repeating: "v", count: 20_000))]), endStream: true)
            opened += 1
        }
        #expect(opened < 60)
        output.removeAll()
        try client.produce(into: &output, upTo: 900_000)
        #expect(client.canOpenStream == false, "the socket left much over")
        while client.hasOutput { try client.produce(into: &output, upTo: output.count + 100_000) }
        #expect(client.canOpenStream == true)
    }

    /// A conversation is the same however its bytes are cut.
    @Test func cutsChangeNothing() throws {
        var raw = RawHTTP2()
        raw.open()
        raw.headers(1, Self.good + [("content-length", "5")], endStream: false, endHeaders: false)
        raw.frame(9, 0, 1, RawHTTP2.literals([("x-a", "b")]))
        raw.frame(9, 4, 1, RawHTTP2.literals([("x-c", "d")]))
        raw.frame(0, 8, 1, [2, 1, 2, 3, 0, 0])
        raw.frame(8, 0, 0, [0, 0, 16, 0])
        raw.frame(0, 0, 1, [4, 5])
        raw.frame(0x77, 0, 0, [1, 2, 3])
        raw.headers(1, [("x-trailer", "z")], endStream: true)
        raw.frame(6, 0, 0, [1, 2, 3, 4, 5, 6, 7, 8])
        raw.frame(1, 0x2D, 3, [1, 0, 0, 0, 0, 16] + RawHTTP2.literals(Self.good) + [0])
        raw.frame(7, 0, 0, [0, 0, 0, 0, 0, 0, 0, 0])
        var expected: Loop.Seen?
        var answers: [UInt8]?
        var random = SplitMix64.announced()
        for round in 0..<200 {
            var server = HTTPSession.http2(role: .server)
            var seen = Loop.Seen()
            var start = 0
            while start < raw.bytes.count {
                let most = round == 0 ? raw.bytes.count : round == 1 ? 1 : Int.random(in: 1...40, using: &random)
                let end = min(raw.bytes.count, start + most)
                try server.receive(raw.bytes.span.extracting(start..<end))
                drain(&server, &seen)
                start = end
            }
            var output = ByteBuffer()
            try server.produce(into: &output, upTo: 65_536)
            let first = expected ?? seen
            #expect(seen.events == first.events && seen.heads == first.heads && seen.bodies == first.bodies)
            #expect(array(output.bytes) == answers ?? array(output.bytes))
            expected = first
            answers = answers ?? array(output.bytes)
        }
        #expect(expected?.bodies[1] == [1, 2, 3, 4, 5] && expected?.heads[1]?.count == 2)
        #expect(expected?.heads[3]?.count == 1)
    }

    /// Streams with bodies to send take turns, a frame each.
    @Test func bodiesTakeTurns() throws {
        var loop = Loop.http2()
        var streams: [StreamID] = []
        for _ in 0..<3 {
            let stream = try loop.client.openStream(request("PUT"), endStream: false)
            loop.client.sendData(stream, [UInt8](repeating: 1, count: 20_000).span, endStream: true)
            streams.append(stream)
        }
        var output = ByteBuffer()
        try loop.client.produce(into: &output, upTo: 1_000_000)
        let order = RawHTTP2.frames(Array(array(output.bytes).dropFirst(24))).filter { $0.type == 0 }
        #expect(order.prefix(3).map(\.stream) == streams && order.suffix(3).map(\.stream) == streams)
        #expect(order.suffix(3).allSatisfy { $0.flags & 1 == 1 })
    }
}

/// What a connection owes its streams when it ends, drains, or is used against itself.
@Suite struct HTTP2ConnectionTests {
    private static let good = [(":method", "POST"), (":scheme", "https"), (":path", "/"), (":authority", "shop.test")]

    /// What is told as `refused`, so that its owner may repeat it, must never reach the peer.
    @Test func whatIsRefusedIsNotSent() throws {
        var client = HTTPSession.http2(role: .client)
        var seen = Loop.Seen()
        var output = ByteBuffer()
        let sent = try client.openStream(request("POST"), endStream: true)
        try client.produce(into: &output, upTo: 65_536)
        let unsent = try client.openStream(request("POST", "/second"), endStream: true)
        var raw = RawHTTP2()
        raw.frame(4, 0, 0, [])
        raw.frame(6, 0, 0, [1])
        #expect(throws: HTTPFailure.self) { try client.receive(raw.bytes.span) }
        drain(&client, &seen)
        #expect(seen.closed == [sent: .connection, unsent: .refused])
        output.removeAll()
        try client.produce(into: &output, upTo: 65_536)
        let frames = RawHTTP2.frames(array(output.bytes))
        #expect(!frames.contains { $0.type == 1 } && frames.last?.type == 7)
    }

    /// A peer cannot know a stream of which nothing was written.
    @Test func answersToWhatWasNotSentEndTheConnection() throws {
        for frame in [(3, [0, 0, 0, 7]), (8, [0, 0, 1, 0]), (1, [0x88])] as [(UInt8, [UInt8])] {
            var client = HTTPSession.http2(role: .client)
            var seen = Loop.Seen()
            let unsent = try client.openStream(request("POST"), endStream: true)
            var raw = RawHTTP2()
            raw.frame(4, 0, 0, [])
            raw.frame(frame.0, 5, unsent, frame.1)
            #expect(throws: HTTPFailure.self) { try client.receive(raw.bytes.span) }
            drain(&client, &seen)
            #expect(seen.closed[unsent] == .refused)
        }
    }

    /// Requests that the peer sent before it read our GOAWAY are read over, with what belongs to them (6.8).
    @Test func streamsBehindAGoAwayAreReadOver() throws {
        var server = HTTPSession.http2(role: .server)
        var seen = Loop.Seen()
        var output = ByteBuffer()
        var raw = RawHTTP2()
        raw.open()
        raw.headers(1, Self.good, endStream: true)
        try server.receive(raw.bytes.span)
        drain(&server, &seen)
        server.shutdown(code: HTTP2Code.none)
        try server.produce(into: &output, upTo: 65_536)
        raw.bytes = []
        raw.headers(3, Self.good, endStream: false)
        raw.frame(0, 0, 3, [1, 2, 3])
        raw.frame(8, 0, 3, [0, 0, 1, 0])
        raw.frame(3, 0, 3, [0, 0, 0, 8])
        try server.receive(raw.bytes.span)
        drain(&server, &seen)
        #expect(seen.heads[3] == nil && server.failure == nil && server.activeStreams == 1)
        server.sendHead(1, response(), .response, endStream: true)
        try server.produce(into: &output, upTo: 65_536)
        drain(&server, &seen)
        #expect(seen.closed[1] == HTTPStreamError.none && server.shouldClose == true)
    }

    /// However often one SETTINGS changes the windows, the streams are walked once; and a flood ends within one input.
    @Test func aFloodEndsWithinItsInput() throws {
        var server = HTTPSession.http2(role: .server)
        var raw = RawHTTP2()
        raw.open()
        for id in 0..<1_000 { raw.headers(StreamID(id * 2 + 1), Self.good, endStream: false) }
        try server.receive(raw.bytes.span)
        raw.bytes = []
        let many = (0..<32).flatMap { [0, 4, 0, 0, 255, UInt8($0)] as [UInt8] }
        for _ in 0..<2_000 { raw.frame(4, 0, 0, many) }
        #expect(throws: HTTPFailure(.flood, status: 0, code: HTTP2Code.enhanceYourCalm)) {
            try server.receive(raw.bytes.span)
        }
        #expect(server.takeGlitches().first { $0.kind == .settings }?.count == 101)
    }

    /// A request that was taken back before it was read is over when its head is read.
    @Test func aCancelBehindItsHeadIsKnown() throws {
        var server = HTTPSession.http2(role: .server)
        var raw = RawHTTP2()
        raw.open()
        raw.headers(1, Self.good, endStream: true)
        raw.headers(3, Self.good, endStream: true)
        raw.frame(3, 0, 1, [0, 0, 0, 8])
        try server.receive(raw.bytes.span)
        #expect(server.isClosed(1) && !server.isClosed(3))
        #expect(server.nextEvent() == .settings && server.nextEvent() == .head(1, .request, endStream: true))
    }

    /// Heads for streams that are over cost their sender, but not a client whose calls were cancelled.
    @Test func headsForNobodyAreCounted() throws {
        var server = HTTPSession.http2(role: .server)
        var raw = RawHTTP2()
        raw.open()
        raw.headers(99, Self.good, endStream: true)
        for _ in 0..<200 { raw.headers(3, Self.good, endStream: true) }
        #expect(throws: HTTPFailure.self) { try server.receive(raw.bytes.span) }
        #expect(server.flood == .heads)
        var client = HTTPSession.http2(role: .client)
        var output = ByteBuffer()
        let stream = try client.openStream(request(), endStream: true)
        try client.produce(into: &output, upTo: 65_536)
        client.reset(stream, code: HTTP2Code.cancel)
        raw.bytes = []
        raw.frame(4, 0, 0, [])
        for _ in 0..<200 { raw.headers(stream, [(":status", "200")], endStream: true) }
        try client.receive(raw.bytes.span)
        #expect(client.failure == nil)
    }

    /// The stream of an answer ends when its last byte was produced, not when all that waits was.
    @Test func anEndIsKnownWhenItIsProduced() throws {
        var server = HTTPSession.http2(role: .server)
        var seen = Loop.Seen()
        var output = ByteBuffer()
        var raw = RawHTTP2()
        raw.open()
        for id in [1, 3, 5] as [StreamID] { raw.headers(id, Self.good, endStream: true) }
        try server.receive(raw.bytes.span)
        drain(&server, &seen)
        try server.produce(into: &output, upTo: 65_536)
        let head = response("200", [("x-large", String(repeating: "v", count: 5_000))])
        for id in [1, 3, 5] as [StreamID] { server.sendHead(id, head, .response, endStream: true) }
        output.removeAll()
        try server.produce(into: &output, upTo: 5_100)
        drain(&server, &seen)
        #expect(seen.closed == [1: .none] && server.activeStreams == 2)
        try server.produce(into: &output, upTo: 65_536)
        drain(&server, &seen)
        #expect(seen.closed.count == 3)
    }

    /// Answers that nobody takes stop the reading, however much useful work pays for the questions.
    @Test func whoTakesNoAnswersToPingsIsNotRead() throws {
        var server = HTTPSession.http2(role: .server)
        var raw = RawHTTP2()
        raw.open()
        for id in 0..<1_000 {
            raw.headers(StreamID(id * 2 + 1), Self.good, endStream: true)
            for _ in 0..<4 { raw.frame(6, 0, 0, [0, 0, 0, 0, 0, 0, 0, 1]) }
            if server.wantsInput { try server.receive(raw.bytes.span) }
            raw.bytes = []
            while server.nextEvent() != nil {}
        }
        #expect(server.wantsInput == false && server.failure == nil)
        var output = ByteBuffer()
        while server.hasOutput { try server.produce(into: &output, upTo: output.count + 65_536) }
        #expect(server.wantsInput == true && output.count < 70_000)
    }
}
