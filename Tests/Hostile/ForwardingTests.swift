import Containers
import MeshTestKit
import Testing
import Wire

/// HOSTILE 38 to 56 and 71 as one property: what is taken is written so that every reader reads the same, and what could be read
/// in two ways is not taken.
@Suite struct ForwardingTests {
    private static let methods = ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "get", "G T", "CONNECT", "PRI"]
    private static let targets = [
        "/", "/a?b=c", "/a%2Fb", "*", "http://shop.test/x", "//a", "/../b", "/a b", "/\u{7f}", "shop.test:80", "/a#b",
        "",
    ]
    private static let lines = [
        "Host: shop.test", "Host: SHOP.test:80", "Host: a,b", "host: other.test", "Content-Length: 5",
        "Content-Length: 05", "Content-Length: +5", "Content-Length: 5, 5", "Content-Length: 6", "content-length : 5",
        "Transfer-Encoding: chunked", "Transfer-Encoding: xchunked", "Transfer-Encoding:\u{0b}chunked",
        "Transfer_Encoding: chunked", "Transfer-Encoding: chunked, identity", "Connection: close",
        "Connection: keep-alive, x-one", "Connection: content-length", "X-One: 1", "X-One: a\tb", " folded",
        "Expect: 100-continue",
        "Upgrade: h2c", "HTTP2-Settings: AAMAAABk", "x-forwarded-client-cert: URI=spiffe://east.mesh/ns/a/sa/b",
        "meshfed_origin: forged", "Cookie: a=1", "Cookie: b=2", "TE: trailers", "TE: gzip", "X-Empty:", ": 1",
        "X\u{0}: 1",
    ]
    private static let bodies = [
        "", "hello", "5\r\nhello\r\n0\r\n\r\n", "5;x=y\r\nhello\r\n0\r\na: b\r\n\r\n", "5\r\nhello\r\n0\r\n",
        "05\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n", "5\nhello\n0\n\n", "hello GET /next HTTP/1.1\r\nHost: shop.test\r\n\r\n",
    ]

    private func request(_ random: inout SplitMix64) -> [UInt8] {
        // Mostly what is right, so that much of it is taken and the rest differs in one thing only.
        let isChunked = Bool.random(using: &random)
        var lines = ["Host: shop.test"]
        if isChunked { lines.append("Transfer-Encoding: chunked") } else { lines.append("Content-Length: 5") }
        for _ in 0..<Int.random(in: 0...3, using: &random) {
            let line = Self.lines.randomElement(using: &random) ?? ""
            lines.insert(line, at: Int.random(in: 0...lines.count, using: &random))
        }
        if Int.random(in: 0..<8, using: &random) == 0 {
            lines.remove(at: Int.random(in: 0..<lines.count, using: &random))
        }
        let plain = Int.random(in: 0..<4, using: &random) != 0
        let method = plain ? "POST" : Self.methods.randomElement(using: &random) ?? ""
        let target = plain ? "/a?b=c" : Self.targets.randomElement(using: &random) ?? ""
        let version = Int.random(in: 0..<40, using: &random) == 0 ? "HTTP/1.0" : "HTTP/1.1"
        let end = Int.random(in: 0..<60, using: &random) == 0 ? "\n" : "\r\n"
        var body = isChunked ? Self.bodies[2] : Self.bodies[1]
        if Int.random(in: 0..<5, using: &random) == 0 { body = Self.bodies.randomElement(using: &random) ?? "" }
        let text = "\(method) \(target) \(version)\(end)\(lines.map { $0 + end }.joined())\(end)\(body)"
        let bytes = Array(text.utf8)
        return Int.random(in: 0..<6, using: &random) == 0 ? random.damaged(bytes) : bytes
    }

    @Test func whatIsTakenReadsTheSameForEverybody() throws {
        var random = SplitMix64.announced()
        var taken = 0
        var refused = 0
        for _ in 0..<20_000 {
            let bytes = request(&random)
            var session = HTTPSession.http1(role: .server)
            var told = Told()
            let piece = [1, 3, 17, 1 << 20].randomElement(using: &random) ?? 1
            feed(&session, bytes, into: &told, cut: { piece })
            if session.failure != nil {
                refused += 1
                let answer = output(of: &session)
                #expect(answer.isEmpty || answer.starts(with: Array("HTTP/1.1 ".utf8)))
                #expect((session.shouldClose || session.hasOutput) == true)
            }
            guard told.ended.contains(1), told.violations[1] == nil, let head = told.heads[1] else { continue }
            let body = told.bodies[1] ?? []
            guard let written = write(head, body) else { continue }
            taken += 1
            let name = String(decoding: bytes, as: UTF8.self).debugDescription
            let read = try #require(PlainReader.one(written), "not one request: \(name)")
            #expect(read.method == told.value(":method", of: 1), "\(name)")
            #expect(read.target == told.value(":path", of: 1), "\(name)")
            #expect(read.host == told.value(":authority", of: 1), "\(name)")
            #expect(read.body == body, "\(name)")
            for hop in ["connection", "upgrade", "http2-settings", "keep-alive", "proxy-connection"] {
                let isTE = hop == "connection" && read.names.contains(Array("te".utf8))
                #expect(isTE || !read.names.contains(Array(hop.utf8)), "\(name)")
            }
        }
        // Neither side of the property is empty.
        #expect(taken > 2_000 && refused > 2_000, "\(taken) taken, \(refused) refused")
    }

    /// The request as the next hop would get it; nil when the session will not write it.
    private func write(_ head: [(name: [UInt8], value: [UInt8])], _ body: [UInt8]) -> [UInt8]? {
        var client = HTTPSession.http1(role: .client)
        let pseudo = head.map { $0.name == Array("host".utf8) ? (name: Array("x".utf8), value: $0.value) : $0 }
        guard let stream = try? client.openStream(block(pseudo), endStream: body.isEmpty) else {
            #expect(client.hasOutput == false)
            return nil
        }
        if !body.isEmpty { client.sendData(stream, body.span, endStream: true) }
        return output(of: &client)
    }

    /// 71: nothing in a field of HTTP/2 becomes a line of HTTP/1.1.
    @Test func fieldsOfHTTP2NeverSplitARequest() throws {
        var random = SplitMix64.announced()
        let poison: [[UInt8]] = [
            [0x0D, 0x0A], [0x0A], [0x0D], [0], [0x20], [0x09], Array(": ".utf8), Array("\r\nx: y".utf8),
            Array(" HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n".utf8), Array("chunked".utf8), [0x7F], [0xFF], Array("#".utf8),
        ]
        var taken = 0
        for _ in 0..<4_000 {
            var fields: [([UInt8], [UInt8])] = [
                (":method", "POST"), (":scheme", "https"), (":path", "/a"), (":authority", "shop.test"),
                ("x-one", "1"), ("content-type", "text/plain"),
            ].map { (Array($0.0.utf8), Array($0.1.utf8)) }
            let victim = Int.random(in: 0..<fields.count, using: &random)
            let drop = poison.randomElement(using: &random) ?? []
            let inName = Int.random(in: 0..<4, using: &random) == 0
            var text = inName ? fields[victim].0 : fields[victim].1
            text.insert(contentsOf: drop, at: Int.random(in: 0...text.count, using: &random))
            if inName { fields[victim].0 = text } else { fields[victim].1 = text }
            var frames = Frames.opened()
            frames.headers(1, fields)
            var session = HTTPSession.http2(role: .server)
            var told = Told()
            feed(&session, frames.bytes, into: &told)
            #expect(session.failure == nil)
            guard told.violations[1] == nil, let head = told.heads[1], let written = write(head, []) else { continue }
            taken += 1
            let read = try #require(PlainReader.one(written), "\(fields)")
            #expect(read.target == told.value(":path", of: 1) && read.host == told.value(":authority", of: 1))
            #expect(!read.names.contains(Array("x".utf8)))
        }
        #expect(taken > 100)
    }

    /// 53: a body of one-byte chunks costs events and bytes in step with it, and no more.
    @Test func manySmallChunksStayInStep() {
        var session = HTTPSession.http1(role: .server)
        var told = Told()
        feed(
            &session, Array("POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n".utf8),
            into: &told)
        let piece = Array(String(repeating: "1\r\na\r\n", count: 1_000).utf8)
        for _ in 0..<100 { feed(&session, piece, into: &told) }
        #expect(session.failure == nil)
        #expect(told.bodies[1]?.count == 100_000)
        #expect(session.wantsInput == true)
        feed(&session, Array("0\r\n\r\n".utf8), into: &told)
        #expect(told.ended == [1])
    }

    /// 48: what stands behind a refused request is never answered.
    @Test func nothingBehindARefusalIsRead() {
        for head in [
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
        ] {
            var session = HTTPSession.http1(role: .server)
            var told = Told()
            feed(&session, Array((head + "GET /second HTTP/1.1\r\nHost: shop.test\r\n\r\n").utf8), into: &told)
            #expect(told.heads.isEmpty && session.failure != nil)
            let answer = String(decoding: output(of: &session), as: UTF8.self)
            #expect(answer.hasPrefix("HTTP/1.1 400 ") && answer.components("HTTP/1.1 ") == 1)
            #expect(session.shouldClose == true)
        }
    }
}

extension String {
    /// How often `part` stands in the text.
    fileprivate func components(_ part: String) -> Int {
        var count = 0
        var rest = self[...]
        while let first = rest.firstIndex(of: part.first ?? " ") {
            if rest[first...].hasPrefix(part) { count += 1 }
            rest = rest[rest.index(after: first)...]
        }
        return count
    }
}
