import Containers
import Testing
import Wire

@Suite struct HPACKEncoderTests {
    private func fields(_ list: [(String, String)]) -> [PlainField] { list.map { PlainField($0.0, $0.1) } }

    @Test func whatComesAgainIsOneByte() {
        let encoder = OwnEncoder()
        let head = fields([
            (":method", "GET"), (":scheme", "https"), (":authority", "shop.test"), ("user-agent", "agent/1"),
            ("x-own", "1"),
        ])
        _ = encoder.encode(head)
        #expect(encoder.encode(head).count == 5)
        // Values that take turns are found too.
        let one = fields([("x-own", "2"), ("user-agent", "agent/2")])
        _ = encoder.encode(one)
        #expect(encoder.encode(head).count == 5)
        #expect(encoder.encode(one).count == 2)
    }

    @Test func staticRowsAreUsed() {
        for (name, value, byte) in [
            (":method", "GET", 0x82), (":method", "POST", 0x83), (":path", "/", 0x84), (":scheme", "http", 0x86),
            (":scheme", "https", 0x87), (":status", "200", 0x88), (":status", "204", 0x89), (":status", "206", 0x8a),
            (":status", "304", 0x8b), (":status", "400", 0x8c), (":status", "404", 0x8d), (":status", "500", 0x8e),
            ("accept-encoding", "gzip, deflate", 0x90),
        ] as [(String, String, UInt8)] {
            #expect(OwnEncoder().encode([PlainField(name, value)]) == [byte])
            #expect(OwnDecoder().decode([byte]) == [PlainField(name, value)])
        }
    }

    /// Every row is read as nghttp2 reads it, and its name is written by its index.
    @Test func everyStaticRowIsRight() {
        for index in 1...61 {
            let bytes = [UInt8(0x80 | index)]
            let field = Inflater().decode(bytes)
            #expect(OwnDecoder().decode(bytes) == field)
            guard var field = field?.first, field.text != "host", field.text != "transfer-encoding" else { continue }
            field.value = Array("other".utf8)
            let written = OwnEncoder().encode([field])
            #expect(written.count <= 8, "\(field)")
            #expect(OwnDecoder().decode(written)?.first?.name == field.name)
            #expect(Inflater().decode(written)?.first?.name == field.name)
        }
    }

    @Test func pseudoFieldsComeFirstAndForbiddenOnesNotAtAll() {
        let written = OwnEncoder().encode(
            fields([
                ("x-a", "1"), ("host", "h"), ("te", "trailers"), ("te", "gzip"), ("connection", "close"),
                ("keep-alive", "1"), ("proxy-connection", "1"), ("transfer-encoding", "chunked"), ("upgrade", "h2c"),
                ("http2-settings", "AA"), (":method", "PUT"), ("trailer", "x-b"), (":path", "/p"),
            ]))
        #expect(
            OwnDecoder().decode(written)
                == fields([(":method", "PUT"), (":path", "/p"), ("x-a", "1"), ("te", "trailers"), ("trailer", "x-b")]))
    }

    @Test func oneValueCanBeReplaced() {
        let encoder = OwnEncoder()
        let decoder = OwnDecoder()
        let head = fields([(":method", "GET"), (":scheme", "https"), ("x-a", "1")])
        #expect(
            decoder.decode(encoder.encode(head, replacing: .scheme, with: "http"))
                == fields([(":method", "GET"), (":scheme", "http"), ("x-a", "1")]))
        #expect(decoder.decode(encoder.encode(head, replacing: .server, with: "http")) == head)
        #expect(
            decoder.decode(encoder.encode(fields([("server", "a")]), replacing: .server, with: "b"))
                == fields([("server", "b")]))
    }

    @Test(arguments: [
        ("traceparent", "00"), ("x-request-id", "1"), ("meshfed-deadline", "1"), ("grpc-timeout", "1S"),
        (":path", "/a"), ("content-length", "5"), ("etag", "\"a\""), ("location", "/"), ("set-cookie", "a=b"),
        ("if-modified-since", "then"), ("if-none-match", "*"), ("age", "5"),
    ])
    func whatIsNewEachTimeIsNotIndexed(_ name: String, _ value: String) {
        let encoder = OwnEncoder()
        let first = encoder.encode([PlainField(name, value)])
        #expect(first[0] & 0xf0 == 0)
        #expect(encoder.encode([PlainField(name, value)]) == first)
        #expect(OwnDecoder().decode(first) == [PlainField(name, value)])
    }

    @Test func secretsAreNeverIndexed() {
        for field in [
            PlainField("authorization", "Bearer a"), PlainField("proxy-authorization", "Basic a"),
            PlainField("cookie", "short=1"), PlainField(Array("x-own".utf8), Array("1".utf8), sensitive: true),
            PlainField(Array(":method".utf8), Array("GET".utf8), sensitive: true),
        ] {
            let encoder = OwnEncoder()
            let first = encoder.encode([field])
            #expect(first[0] & 0xf0 == 0x10, "\(field)")
            #expect(encoder.encode([field]) == first)
            #expect(OwnDecoder().decode(first)?.first?.isSensitive == true)
        }
        let encoder = OwnEncoder()
        let long = fields([("cookie", "session=0123456789abcdef")])
        _ = encoder.encode(long)
        #expect(encoder.encode(long).count == 1)
    }

    @Test func largeFieldsAreNotIndexed() {
        let encoder = OwnEncoder()
        // 3/4 of 4,096 are 3,072.
        for (count, isIndexed) in [(3_072 - 32 - 3, true), (3_072 - 32 - 2, false)] {
            let field = fields([("x-l", String(repeating: "v", count: count))])
            _ = encoder.encode(field)
            #expect((encoder.encode(field).count == 1) == isIndexed)
        }
    }

    @Test func sizeUpdatesComeWhenThePeerChangesTheTable() {
        let head = fields([(":method", "GET")])
        let encoder = OwnEncoder(capacity: 65_536)
        #expect(encoder.encode(head) == [0x82])
        encoder.limit(65_536)
        #expect(encoder.encode(head) == hex("3fe1 ff03 82"))
        #expect(encoder.encode(head) == [0x82])
        encoder.limit(0)
        encoder.limit(100)
        encoder.limit(5_000)
        #expect(encoder.encode(head) == hex("20 3fe9 26 82"))
        encoder.limit(1 << 30)
        #expect(encoder.encode(head) == hex("3fe1 ff03 82"))
        // Up and back again is no change.
        let small = OwnEncoder(capacity: 4_096)
        small.limit(65_536)
        #expect(small.encode(head) == [0x82])
        small.limit(0)
        #expect(small.encode(head) == [0x20, 0x82])
        small.limit(10)
        small.limit(0)
        #expect(small.encode(head) == [0x82])
        #expect(OwnEncoder(capacity: 0).encode(head) == [0x20, 0x82])
        #expect(OwnEncoder(capacity: -1).encode(head) == [0x20, 0x82])
        small.limit(-5)
        #expect(small.encode(head) == [0x82])
    }

    /// 10,000 values of one name, then the first again: nothing is taken for something else, and nothing grows.
    @Test func valuesThatChangeAllTheTimeAreReadAsTheyWere() {
        let encoder = OwnEncoder()
        let decoder = OwnDecoder()
        for index in 0..<10_000 {
            let head = fields([("x-own", "v\(index)"), ("user-agent", "a\(index % 200)"), ("x-b\(index % 7)", "1")])
            guard decoder.decode(encoder.encode(head)) == head else {
                Issue.record("block \(index)")
                return
            }
        }
    }
}
