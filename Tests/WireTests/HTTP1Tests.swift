import Containers
import Testing
import Wire

/// What a server session makes of raw bytes.
private func serve(
    _ text: String, limits: HTTPLimits = HTTPLimits(), pieces: Int = .max
) -> (seen: Loop.Seen, failure: HTTPFailure?, output: String) {
    serve(Array(text.utf8), limits: limits, pieces: pieces)
}

private func serve(
    _ bytes: [UInt8], limits: HTTPLimits = HTTPLimits(), pieces: Int = .max
) -> (seen: Loop.Seen, failure: HTTPFailure?, output: String) {
    var session = HTTPSession.http1(role: .server, limits: limits)
    var seen = Loop.Seen()
    do { try feed(&session, bytes.span, min(pieces, max(1, bytes.count))) } catch {}
    drain(&session, &seen)
    var output = ByteBuffer()
    try? session.produce(into: &output, upTo: 65_536)
    return (seen, session.failure, text(output.bytes))
}

/// What a client session makes of a raw response to `method`.
private func ask(
    _ bytes: String, method: String = "GET", end: Bool = false, pieces: Int = .max
) -> (seen: Loop.Seen, failure: HTTPFailure?, reusable: Bool) {
    var session = HTTPSession.http1(role: .client)
    var seen = Loop.Seen()
    var output = ByteBuffer()
    _ = try? session.openStream(request(method), endStream: true)
    try? session.produce(into: &output, upTo: 65_536)
    let raw = Array(bytes.utf8)
    do {
        try feed(&session, raw.span, min(pieces, max(1, raw.count)))
        if end { try session.receiveEnd() }
    } catch {}
    drain(&session, &seen)
    return (seen, session.failure, session.canOpenStream)
}

@Suite struct HTTP1ServerTests {
    @Test func requestsBecomePseudoFields() {
        let cut = "POST /a?b=c HTTP/1.1\r\nHost: Shop.test:8080\r\nX-One:  1 \t\r\nContent-Length: 3\r\n\r\nabc"
        for pieces in [1, 2, 5, 1_000] {
            let result = serve(cut, pieces: pieces)
            #expect(
                result.seen.heads[1]?.first == [
                    ":method: POST", ":scheme: https", ":path: /a?b=c", ":authority: Shop.test:8080", "x-one: 1",
                    "content-length: 3",
                ])
            #expect(result.seen.events == [.head(1, .request, endStream: false), .endStream(1)])
            #expect(result.seen.bodies[1] == Array("abc".utf8))
            #expect(result.failure == nil)
        }
    }

    static let hostile: [(String, Int)] = [
        // 38, 39: two lengths, and every spelling of Transfer-Encoding.
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked \r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tchunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:  chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\n Transfer-Encoding: chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \u{0b}chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\u{01}\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \u{7f}chunked\r\n\r\n", 400),
        ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 03\r\n\r\nabc", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551619\r\n\r\nabc", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400),
        // 41: bare LF, bare CR, NUL.
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n", 400),
        ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        // 42: shapes of field lines.
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n X: a\r\nHost: a\r\n\r\n", 400),
        (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
        ("GET / x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\r\nHost: a\r\n\r\n", 400),
        ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        // 43, 44: Host and targets.
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a:0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400),
        ("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", 400),
        ("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET a/b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /#f HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\\admin HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405),
        // Versions.
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1x\r\nHost: a\r\n\r\n", 400),
        // 47: what Connection may not name.
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: content-length\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: a b\r\n\r\n", 400),
        // 51, 53: limits.
        ("GET /" + String(repeating: "a", count: 9_000) + " HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: " + String(repeating: "a", count: 100_000) + "\r\n\r\n", 431),
        ("GET / HTTP/1.1\r\nHost: a\r\n" + String(repeating: "x: y\r\n", count: 128) + "\r\n", 431),
        (String(repeating: "M", count: 200) + " / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    ]

    @Test(arguments: Self.hostile.indices)
    func whatTwoReadersCouldTakeInTwoWaysIsRefused(_ index: Int) {
        for pieces in [Int.max, 1, 13] {
            let result = serve(Self.hostile[index].0, pieces: pieces)
            var expected = Self.hostile[index].1
            // "PRI * HTTP/2.0": the method is a token, "*" is for OPTIONS only, the version is judged first.
            if Self.hostile[index].0.hasPrefix("PRI ") { expected = 505 }
            #expect(result.failure?.status == expected, "\(Self.hostile[index].0.debugDescription.prefix(90))")
            #expect(result.seen.events.isEmpty)
            #expect(result.output.hasPrefix("HTTP/1.1 \(expected) "))
            #expect(result.output.hasSuffix("connection: close\r\n\r\n"))
        }
    }

    static let hostileBodies: [String] = [
        "3\nabc\r\n0\r\n\r\n", "3\r\nabc\n0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n", "3\r\nab\r\n0\r\n\r\n", "\r\n", "g\r\n",
        "-1\r\n", "+3\r\nabc\r\n", "0x3\r\nabc\r\n", " 3\r\nabc\r\n", "3 \r\nabc\r\n", "3;a\0\r\nabc\r\n",
        "3;\r\nabc\r\n", "3;;a\r\nabc\r\n", "3;a=\r\nabc\r\n", "3;a=\"b\r\nabc\r\n", "3;a b\r\nabc\r\n",
        "3;=b\r\nabc\r\n",
        "3;a=\"b\\\"\r\nabc\r\n", "3;a=\"b\"c\r\nabc\r\n", "3;a \r\nabc\r\n",
        "3;a=\rb\r\nabc\r\n", "ffffffffffffffff\r\n", "3;" + String(repeating: "x", count: 300) + "\r\nabc\r\n",
        "0\r\nX : y\r\n\r\n", "0\r\n x\r\n\r\n", "0\r\nx: y\n\r\n", "0\r\nx: \0\r\n\r\n", "0\r\n: y\r\n\r\n", "0\n\r\n",
        "0\r\n" + String(repeating: "x: y\r\n", count: 200) + "\r\n",
        String(repeating: "1;abcdefgh\r\na\r\n", count: 500),
    ]

    @Test(arguments: Self.hostileBodies.indices)
    func malformedChunksEndTheConnection(_ index: Int) {
        for pieces in [Int.max, 1] {
            let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            let result = serve(head + Self.hostileBodies[index], pieces: pieces)
            #expect(result.failure != nil, "\(Self.hostileBodies[index].debugDescription.prefix(60))")
            #expect(result.seen.closed[1] == .violation)
            #expect(!result.seen.events.contains(.endStream(1)) && !result.seen.events.contains(.trailers(1)))
        }
    }

    @Test func chunksAndTrailersAreTakenApart() {
        let text =
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: cHunked\r\n\r\n5;x=\"y\" ; z;a\t=\tb;c=\"\\\";\"\r\nhello\r\n00A\r\n0123456789\r\n0\r\n"
            + "X-Sum: 7\r\nContent-Length: 3\r\nHost: b\r\nTransfer_Encoding: x\r\n\r\n"
        for pieces in [1, 3, 1_000] {
            let result = serve(text, pieces: pieces)
            #expect(result.seen.bodies[1] == Array("hello0123456789".utf8))
            #expect(result.seen.heads[1]?.last == ["x-sum: 7"])
            #expect(result.seen.events.last == .trailers(1))
        }
    }

    @Test func connectionFieldsEndHere() {
        let result = serve(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Drop, keep-alive ,TE\r\nX-Drop: 1\r\nKeep-Alive: 5\r\nTE: trailers;q=1, trailers\r\n"
                + "Upgrade: h2c\r\nHTTP2-Settings: AAMA\r\nProxy-Connection: x\r\nX-Keep: 1\r\n\r\n")
        #expect(
            result.seen.heads[1]?.first == [
                ":method: GET", ":scheme: https", ":path: /", ":authority: a", "x-keep: 1", "te: trailers",
            ])
        #expect(result.failure == nil)
    }

    @Test func absoluteTargetsNameTheAuthority() {
        let result = serve("GET HTTP://Shop.test/x HTTP/1.1\r\nHost: shop.TEST\r\n\r\n")
        #expect(
            result.seen.heads[1]?.first == [":method: GET", ":scheme: http", ":authority: Shop.test", ":path: /x"])
        let bare = serve("OPTIONS http://a:81 HTTP/1.1\r\nHost: a:81\r\n\r\n")
        #expect(bare.seen.heads[1]?.first?.last == ":path: *")
    }

    @Test func pipelinedRequestsWaitForTheAnswerBefore() throws {
        var server = HTTPSession.http1(role: .server)
        var seen = Loop.Seen()
        var output = ByteBuffer()
        let raw =
            "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n"
        try server.receive(Array(raw.utf8).span)
        for stream: StreamID in [1, 3, 5] {
            drain(&server, &seen)
            #expect(seen.heads.count == Int(stream + 1) / 2)
            #expect(seen.heads[stream]?.first?.contains(":path: /\((stream + 1) / 2)") == true)
            #expect(server.wantsInput == (stream == 5))
            server.sendHead(stream, response("200", [("content-length", "2")]), .response, endStream: false)
            server.sendData(stream, Array("ok".utf8).span, endStream: true)
            try server.produce(into: &output, upTo: 65_536)
        }
        drain(&server, &seen)
        #expect(text(output.bytes) == String(repeating: "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", count: 3))
        #expect(seen.closed == [1: .none, 3: .none, 5: .none])
        #expect(server.shouldClose == false)
    }

    @Test func anAnswerBeforeTheBodyEndsTheConnection() throws {
        var server = HTTPSession.http1(role: .server)
        var seen = Loop.Seen()
        var output = ByteBuffer()
        let raw = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60\r\n\r\nGET /secret HTTP/1.1\r\nHost: a\r\n\r\n"
        try server.receive(Array(raw.utf8).span)
        drain(&server, &seen)
        server.sendHead(1, response("413"), .response, endStream: true)
        try server.produce(into: &output, upTo: 65_536)
        drain(&server, &seen)
        try server.receive(Array(repeating: 65, count: 100).span)
        drain(&server, &seen)
        #expect(seen.heads.count == 1)
        #expect(server.shouldClose == true)
    }

    @Test func aFailureInWhatWasPipelinedIsAnswered() throws {
        var server = HTTPSession.http1(role: .server)
        var seen = Loop.Seen()
        var output = ByteBuffer()
        try server.receive(Array("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n".utf8).span)
        drain(&server, &seen)
        server.sendHead(1, response(), .response, endStream: true)
        try server.produce(into: &output, upTo: 65_536)
        drain(&server, &seen)
        try server.produce(into: &output, upTo: 65_536)
        #expect(server.shouldClose == true)
        #expect(server.failure?.reason == .badHost)
        #expect(text(output.bytes).contains("HTTP/1.1 400 Bad Request"))
    }

    @Test func oldPeersGetBodiesThatEndWithTheConnection() throws {
        var server = HTTPSession.http1(role: .server)
        var seen = Loop.Seen()
        var output = ByteBuffer()
        try server.receive(Array("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".utf8).span)
        drain(&server, &seen)
        server.sendHead(1, response(), .response, endStream: false)
        server.sendData(1, Array("abc".utf8).span, endStream: true)
        try server.produce(into: &output, upTo: 65_536)
        #expect(text(output.bytes) == "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabc")
        #expect(server.shouldClose == true)
    }

    @Test func bodiesThatBreakTheirLengthAreCut() throws {
        for (count, body) in [("2", "abc"), ("5", "abc")] {
            var server = HTTPSession.http1(role: .server)
            var seen = Loop.Seen()
            try server.receive(Array("GET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8).span)
            drain(&server, &seen)
            server.sendHead(1, response("200", [("content-length", count)]), .response, endStream: false)
            server.sendData(1, Array(body.utf8).span, endStream: true)
            drain(&server, &seen)
            #expect(seen.closed[1] == .violation)
            #expect(server.mustAbort == true)
        }
    }

    @Test func readingStopsWhenTheBodyIsNotConsumed() throws {
        var server = HTTPSession.http1(role: .server)
        var seen = Loop.Seen()
        try server.receive(Array("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n".utf8).span)
        try server.receive([UInt8](repeating: 7, count: 262_144).span)
        drain(&server, &seen, false)
        #expect(server.wantsInput == false)
        server.consume(1, 200_000)
        #expect(server.wantsInput == true)
    }

    @Test func tunnelsCarryRawBytes() throws {
        var limits = HTTPLimits()
        limits.allowsConnect = true
        var server = HTTPSession.http1(role: .server, limits: limits)
        var seen = Loop.Seen()
        var output = ByteBuffer()
        try server.receive(Array("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\nGET / HTTP/1.1\r\n\r\n".utf8).span)
        drain(&server, &seen)
        #expect(seen.heads[1] == [[":method: CONNECT", ":authority: a:443"]])
        #expect(server.wantsInput == false)
        server.enterTunnel()
        try server.produce(into: &output, upTo: 65_536)
        #expect(text(output.bytes) == "HTTP/1.1 200 OK\r\n\r\n")
        var raw = ByteBuffer()
        server.takeTunnelBytes(into: &raw)
        #expect(text(raw.bytes) == "GET / HTTP/1.1\r\n\r\n")
        #expect(server.shouldClose == false)
    }

    @Test func aRefusedTunnelClosesAndReadsNothing() throws {
        var limits = HTTPLimits()
        limits.allowsConnect = true
        var server = HTTPSession.http1(role: .server, limits: limits)
        var seen = Loop.Seen()
        var output = ByteBuffer()
        try server.receive(
            Array("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8).span)
        drain(&server, &seen)
        server.sendHead(1, response("404"), .response, endStream: true)
        try server.produce(into: &output, upTo: 65_536)
        drain(&server, &seen)
        #expect(text(output.bytes).contains("connection: close"))
        #expect(seen.heads.count == 1)
        #expect(server.shouldClose == true)
    }

    @Test func slowHeadsGet408() throws {
        var server = HTTPSession.http1(role: .server)
        try server.receive(Array("GET / HT".utf8).span)
        server.timeOut()
        var output = ByteBuffer()
        try server.produce(into: &output, upTo: 65_536)
        #expect(text(output.bytes).hasPrefix("HTTP/1.1 408 "))
        #expect(server.shouldClose == true)
    }

    @Test func halfClosedPeersStillGetTheirAnswer() throws {
        var server = HTTPSession.http1(role: .server)
        var seen = Loop.Seen()
        var output = ByteBuffer()
        try server.receive(Array("GET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8).span)
        try server.receiveEnd()
        drain(&server, &seen)
        #expect(server.shouldClose == false)
        server.sendHead(1, response(), .response, endStream: true)
        try server.produce(into: &output, upTo: 65_536)
        #expect(text(output.bytes) == "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        #expect(server.shouldClose == true)
    }
}

@Suite struct HTTP1ClientTests {
    static let hostile: [String] = [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", "HTTP/1.1 99 X\r\n\r\n",
        "HTTP/1.1 1000 X\r\n\r\n", "HTTP/1.1 600 X\r\n\r\n", "HTTP/1.1  200 X\r\n\r\n", "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 101 Switching\r\n\r\n", "HTTP/1.1 204 X\r\nContent-Length: 3\r\n\r\nabc", "ICY 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 O\0K\r\n\r\n",
        String(repeating: "HTTP/1.1 100 Continue\r\n\r\n", count: 40),
        "HTTP/1.1 200 OK\r\nX: " + String(repeating: "a", count: 100_000) + "\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 204 OK\r\n\r\nx",
    ]

    @Test(arguments: Self.hostile.indices)
    func hostileUpstreamsLoseTheirConnection(_ index: Int) {
        for pieces in [Int.max, 1] {
            let result = ask(Self.hostile[index], pieces: pieces)
            #expect(result.failure != nil, "\(Self.hostile[index].debugDescription.prefix(60))")
            #expect(!result.reusable)
        }
    }

    @Test func bodiesAreDelimitedAsTheRulesSay() {
        let cases: [(String, String, Bool, String, Bool)] = [
            ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", false, "abc", true),
            ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", false, "abc", true),
            ("GET", "HTTP/1.1 200 OK\r\n\r\nabc", true, "abc", false),
            ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", false, "", true),
            ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", false, "", true),
            ("GET", "HTTP/1.1 204 No Content\r\n\r\n", false, "", true),
            ("GET", "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", false, "", true),
            ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", false, "", false),
            ("GET", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", false, "abc", false),
        ]
        for (method, raw, end, body, reusable) in cases {
            for pieces in [1, 1_000] {
                let result = ask(raw, method: method, end: end, pieces: pieces)
                #expect(result.failure == nil, "\(raw.debugDescription)")
                #expect(result.seen.bodies[1] ?? [] == Array(body.utf8), "\(raw.debugDescription)")
                #expect(result.seen.closed[1] == HTTPStreamError.none, "\(raw.debugDescription)")
                #expect(result.reusable == reusable, "\(raw.debugDescription)")
            }
        }
    }

    @Test(arguments: [
        "", "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ])
    func cutResponsesAreNeverComplete(_ raw: String) {
        let result = ask(raw, end: true)
        #expect(result.failure?.reason == .truncated)
        #expect(result.seen.closed[1] == .connection)
        #expect(!result.seen.events.contains(.endStream(1)))
    }

    @Test func aResponseWithoutARequestIsAFailure() {
        var client = HTTPSession.http1(role: .client)
        do {
            try client.receive(Array("HTTP/1.1 200 OK\r\n\r\n".utf8).span)
            Issue.record("accepted")
        } catch {
            #expect(error.reason == .unsolicited)
        }
    }

    @Test func requestsAreWrittenAnew() throws {
        var client = HTTPSession.http1(role: .client)
        var output = ByteBuffer()
        let head = request(
            "POST", "/a",
            [
                ("cookie", "a=1"), ("x-bad", "a\r\nb: c"), ("cookie", "b=2"), ("te", "trailers"), ("connection", "x"),
                ("content_length", "9"), ("host", "evil"), ("transfer-encoding", "gzip"),
            ])
        let stream = try client.openStream(head, endStream: false)
        client.sendData(stream, Array("hello".utf8).span, endStream: false)
        client.sendTrailers(stream, block([("x-sum", "1"), ("content-length", "5")]))
        try client.produce(into: &output, upTo: 65_536)
        #expect(
            text(output.bytes)
                == "POST /a HTTP/1.1\r\nhost: shop.test\r\ncookie: a=1; b=2\r\ntransfer-encoding: chunked\r\nte: trailers\r\n"
                + "connection: te\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n")
    }

    @Test func requestsThatWouldSplitAreNotWritten() {
        for (name, value) in [
            (":path", "/ HTTP/1.1\r\nX: y"), (":path", "/a b"), (":authority", "a\r\nb"), (":method", "GET /"),
        ] {
            var client = HTTPSession.http1(role: .client)
            var head = request()
            head.replace(HeaderName(Array(name.utf8).span), Array(value.utf8).span)
            do {
                _ = try client.openStream(head, endStream: true)
                Issue.record("\(name) \(value) was written")
            } catch {
                #expect(error.reason == .malformed)
            }
            #expect(client.hasOutput == false)
        }
    }

    @Test func exchangesFollowOneAnotherOnOneConnection() throws {
        var loop = Loop.http1()
        for round in 0..<5 {
            let stream = try loop.client.openStream(request("POST", "/\(round)"), endStream: false)
            #expect(stream == StreamID(round * 2 + 1))
            loop.client.sendData(stream, Array("ping".utf8).span, endStream: true)
            try loop.run(pieces: round + 1)
            #expect(loop.seenByServer.bodies[stream] == Array("ping".utf8))
            loop.server.sendHead(stream, response("100"), .interim, endStream: false)
            loop.server.sendHead(stream, response(), .response, endStream: false)
            loop.server.sendData(stream, Array("pong".utf8).span, endStream: false)
            loop.server.sendTrailers(stream, block([("x-sum", "1")]))
            try loop.run(pieces: round + 1)
            #expect(loop.seenByClient.bodies[stream] == Array("pong".utf8))
            #expect(
                loop.seenByClient.heads[stream] == [[":status: 100"], [":status: 200"], ["x-sum: 1"]])
            #expect(loop.seenByClient.closed[stream] == HTTPStreamError.none)
            #expect(loop.seenByServer.closed[stream] == HTTPStreamError.none)
        }
        loop.server.goAway()
        #expect(loop.server.shouldClose == true)
    }

    @Test func aLargeBodyPassesABoundedQueue() throws {
        var loop = Loop.http1()
        let stream = try loop.client.openStream(request("PUT"), endStream: false)
        let chunk = [UInt8](repeating: 5, count: 100_000)
        var sent = 0
        var received = 0
        while received < 20_000_000 {
            while sent < 20_000_000, loop.client.queued(stream) < 262_144 {
                sent += chunk.count
                loop.client.sendData(stream, chunk.span, endStream: sent == 20_000_000)
            }
            try loop.run()
            received += loop.seenByServer.bodies[stream]?.count ?? 0
            loop.seenByServer.bodies[stream] = []
        }
        #expect(received == 20_000_000)
        #expect(loop.seenByClient.events.contains(.writable(stream)))
    }
}

@Suite struct HTTP1SplitTests {
    /// The same events and bytes, however the stream is cut.
    @Test func cutsDoNotMatter() throws {
        let samples = [
            "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nWiki\r\n5;e\r\npedia\r\n0\r\nx: y\r\n\r\n",
            "\r\nPUT /b HTTP/1.1\r\nHost: [::1]:8080\r\nContent-Length: 12\r\nX: y\r\n\r\nhello, world",
            "GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nWikix",
        ]
        var random = Seeded(state: 42)
        for sample in samples {
            let bytes = Array(sample.utf8)
            let whole = serve(bytes)
            for _ in 0..<200 {
                var session = HTTPSession.http1(role: .server)
                var seen = Loop.Seen()
                var start = 0
                while start < bytes.count {
                    let end = min(bytes.count, start + Int.random(in: 1...9, using: &random))
                    do { try session.receive(bytes.span.extracting(start..<end)) } catch { break }
                    if Bool.random(using: &random) { drain(&session, &seen) }
                    start = end
                }
                drain(&session, &seen)
                #expect(seen.events == whole.seen.events && seen.bodies == whole.seen.bodies)
                #expect(seen.heads == whole.seen.heads && session.failure == whole.failure)
            }
        }
    }
}
