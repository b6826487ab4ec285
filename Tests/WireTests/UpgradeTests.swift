import Containers
import Testing
import Wire

/// Another protocol inside HTTP: Upgrade (RFC 9110 7.8) and extended CONNECT (RFC 8441) are one thing to their owner.
@Suite struct UpgradeTests {
    private static var limits: HTTPLimits {
        var limits = HTTPLimits()
        limits.allowsUpgrade = true
        return limits
    }

    private func wish(_ more: [(String, String)] = []) -> HeaderBlock {
        request("GET", "/chat", [(":protocol", "websocket")] + more)
    }

    @Test(arguments: [false, true], [1, 7, 65_536])
    func bytesPassBothWaysUntilBothEnds(_ isHTTP2: Bool, _ pieces: Int) throws {
        var loop = isHTTP2 ? Loop.http2(limits: Self.limits) : Loop.http1(limits: Self.limits)
        try loop.run()
        let stream = try loop.client.openStream(wish([("sec-websocket-key", "k")]), endStream: false)
        try loop.run(pieces: pieces)
        #expect(loop.seenByServer.events.contains(.head(stream, .request, endStream: false)))
        let head = try #require(loop.seenByServer.heads[stream]?.first)
        #expect(head.contains(":method: GET") && head.contains(":protocol: websocket"))
        #expect(head.contains("sec-websocket-key: k"))
        loop.server.sendHead(stream, response("101", [("sec-websocket-accept", "a")]), .response, endStream: false)
        try loop.run(pieces: pieces)
        let answer = try #require(loop.seenByClient.heads[stream]?.first)
        #expect(answer.contains(":status: 101") && answer.contains("sec-websocket-accept: a"))

        let bytes = Array("GET / HTTP/1.1\r\n\r\n\u{0}0\r\n\r\n".utf8)
        loop.client.sendData(stream, bytes.span, endStream: false)
        loop.server.sendData(stream, bytes.span, endStream: false)
        try loop.run(pieces: pieces)
        #expect(loop.seenByServer.bodies[stream] == bytes)
        #expect(loop.seenByClient.bodies[stream] == bytes)

        loop.client.sendData(stream, Span(), endStream: true)
        try loop.run(pieces: pieces)
        if !isHTTP2 {
            let mustEnd = loop.client.takeOutputEnd()
            let again = loop.client.takeOutputEnd()
            #expect(mustEnd && !again)
            try loop.server.receiveEnd()
            drain(&loop.server, &loop.seenByServer)
        }
        #expect(loop.seenByServer.events.contains(.endStream(stream)))
        #expect(loop.seenByServer.closed[stream] == nil)
        loop.server.sendData(stream, bytes.span, endStream: true)
        try loop.run(pieces: pieces)
        #expect(loop.seenByServer.closed[stream] == HTTPStreamError.none)
        #expect(loop.seenByClient.bodies[stream] == bytes + bytes)
        if !isHTTP2 {
            try loop.client.receiveEnd()
            drain(&loop.client, &loop.seenByClient)
            let isOver = (loop.server.shouldClose, loop.client.shouldClose)
            #expect(isOver.0 && isOver.1)
        }
        #expect(loop.seenByClient.closed[stream] == HTTPStreamError.none)
    }

    @Test func whatComesBehindTheWishWaitsForTheAnswer() throws {
        var server = HTTPSession.http1(role: .server, limits: Self.limits)
        var seen = Loop.Seen()
        let text =
            "GET /a HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\n\r\nGET /b HTTP/1.1\r\n"
        try server.receive(Array(text.utf8).span)
        drain(&server, &seen)
        #expect(seen.heads.count == 1 && seen.bodies.isEmpty)
        #expect(seen.heads[1]?.first?.contains(":protocol: websocket") == true)
        let isReading = server.wantsInput
        #expect(!isReading)
        server.sendHead(1, response("101"), .response, endStream: false)
        drain(&server, &seen)
        #expect(seen.bodies[1] == Array("GET /b HTTP/1.1\r\n".utf8))
        var out = ByteBuffer()
        try server.produce(into: &out, upTo: 65_536)
        #expect(
            written(out)
                == "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
    }

    @Test func aRefusalEndsTheConnectionAndReadsNothingMore() throws {
        var server = HTTPSession.http1(role: .server, limits: Self.limits)
        var seen = Loop.Seen()
        let text =
            "GET /a HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nGET /b HTTP/1.1\r\nhost: a\r\n\r\n"
        try server.receive(Array(text.utf8).span)
        drain(&server, &seen)
        server.sendHead(1, response("403", [("content-length", "0")]), .response, endStream: true)
        var out = ByteBuffer()
        try server.produce(into: &out, upTo: 65_536)
        drain(&server, &seen)
        #expect(written(out).hasSuffix("connection: close\r\n\r\n"))
        #expect(seen.heads.count == 1 && seen.bodies.isEmpty)
        let isOver = server.shouldClose
        #expect(isOver)
    }

    @Test(arguments: [
        "connection: upgrade\r\nupgrade: h2c\r\n", "upgrade: websocket\r\n", "connection: upgrade\r\nupgrade: a, b\r\n",
        "connection: upgrade\r\nupgrade: a\r\nupgrade: b\r\n", "connection: upgrade\r\nupgrade: TLS/1.2\r\n",
        "connection: upgrade\r\nupgrade: \r\n", "connection: upgrade\r\nupgrade: websocket\r\ncontent-length: 1\r\n",
    ])
    func otherWishesAreIgnored(_ fields: String) throws {
        var server = HTTPSession.http1(role: .server, limits: Self.limits)
        var seen = Loop.Seen()
        try server.receive(Array("GET / HTTP/1.1\r\nhost: a\r\n\(fields)\r\n".utf8).span)
        drain(&server, &seen)
        let head = try #require(seen.heads[1]?.first)
        #expect(!head.contains { $0.hasPrefix(":protocol") || $0.hasPrefix("upgrade") })
    }

    @Test func onlyConsentOpensATunnel() throws {
        for status in ["200", "204", "101"] {
            var loop = Loop.http1(limits: Self.limits)
            let stream = try loop.client.openStream(wish(), endStream: false)
            var out = ByteBuffer()
            try loop.client.produce(into: &out, upTo: 65_536)
            #expect(written(out).contains("connection: upgrade\r\nupgrade: websocket\r\n"))
            #expect(!written(out).contains("transfer-encoding"))
            let answer = "HTTP/1.1 \(status) x\r\ncontent-length: 0\r\n\r\n"
            if status == "101" {
                try loop.client.receive(Array(answer.utf8).span)
            } else {
                #expect(throws: HTTPFailure.self) { try loop.client.receive(Array(answer.utf8).span) }
            }
            drain(&loop.client, &loop.seenByClient)
            #expect(loop.seenByClient.closed[stream] == (status == "101" ? nil : .violation))
        }
        // Nobody asked for it.
        var loop = Loop.http1(limits: Self.limits)
        _ = try loop.client.openStream(request(), endStream: true)
        #expect(throws: HTTPFailure.self) { try loop.client.receive(Array("HTTP/1.1 101 x\r\n\r\n".utf8).span) }
    }

    @Test func peersThatAreNotAskedToAllowItAnswer405() throws {
        var loop = Loop.http2()
        try loop.run()
        #expect(throws: HTTPFailure.self) { _ = try loop.client.openStream(wish(), endStream: false) }
    }
}

private func written(_ buffer: borrowing ByteBuffer) -> String { text(buffer.bytes) }
