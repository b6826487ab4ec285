import Containers
import MeshTestKit
import Testing
import Wire

/// Both codecs against nghttp2's, and against each other, on random blocks.
@Suite struct HPACKOracleTests {
    private static let usual: [(String, [String])] = [
        (":method", ["GET", "POST", "PUT", "DELETE"]), (":scheme", ["http", "https"]),
        (":path", ["/", "/index.html", "/api/v1/orders?id=17", "/a%20b/~c"]),
        (":authority", ["shop.test", "a.b:8080"]),
        (":status", ["200", "204", "206", "301", "304", "400", "404", "429", "500", "503"]),
        ("accept-encoding", ["gzip, deflate", "gzip, deflate, br", "identity"]), ("accept", ["*/*", "text/html"]),
        (
            "user-agent",
            ["curl/7.88.1", "grpc-go/1.60.1", "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/118.0"]
        ),
        ("content-type", ["application/grpc", "application/json; charset=utf-8"]),
        ("content-length", ["0", "17", "123456"]),
        ("cookie", ["a=b", "session=0123456789abcdef0123456789abcdef"]), ("authorization", ["Bearer abc.def.ghi"]),
        ("date", ["Sat, 21 Nov 2026 15:00:00 GMT"]), ("etag", ["\"33a64df5\"", "W/\"1\""]), ("age", ["1", "20"]),
        ("link", ["</a>; rel=preload"]), ("x-custom", ["1", "2", ""]), ("x-b3-traceid", ["80f198ee56343ba8"]),
        ("traceparent", ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]), ("te", ["trailers"]),
        ("grpc-timeout", ["1S", "250m"]), ("grpc-status", ["0", "14"]), ("set-cookie", ["a=b; Path=/; Secure"]),
        ("strict-transport-security", ["max-age=31536000"]), ("www-authenticate", ["Basic"]), ("vary", ["accept"]),
        ("x-forwarded-for", ["10.0.0.1", "192.0.2.7, 10.0.0.1"]), ("proxy-authorization", ["Basic eA=="]),
    ]
    private static let token = Array("abcdefghijklmnopqrstuvwxyz0123456789-_.!#$%&'*+^`|~".utf8)

    private static func field(_ random: inout SplitMix64) -> PlainField {
        let isSensitive = Int.random(in: 0..<20, using: &random) == 0
        var name: [UInt8]
        var value: [UInt8]
        if Int.random(in: 0..<4, using: &random) > 0 {
            let (usual, values) = Self.usual[Int.random(in: 0..<Self.usual.count, using: &random)]
            name = Array(usual.utf8)
            value = Array(values[Int.random(in: 0..<values.count, using: &random)].utf8)
        } else {
            name = (0..<Int.random(in: 1...20, using: &random)).map { _ in
                token[Int.random(in: 0..<token.count, using: &random)]
            }
            value = []
        }
        switch Int.random(in: 0..<60, using: &random) {
        case 0..<6:
            // Text as it is.
            value = (0..<Int.random(in: 0...40, using: &random)).map { _ in
                UInt8.random(in: 0x21...0x7e, using: &random)
            }
        case 6..<9:
            // Any byte that a value may hold.
            value = random.bytes(Int.random(in: 0...30, using: &random)).map { $0 < 0x21 || $0 == 0x7f ? 0x80 : $0 }
        case 9:
            value = Array(
                repeating: UInt8.random(in: 0x30...0x7e, using: &random),
                count: Int.random(in: 0...5_000, using: &random))
        case 10..<16: value = Array("\(Int.random(in: 0..<300, using: &random))".utf8)
        default: break
        }
        return PlainField(name, value, sensitive: isSensitive)
    }

    private static func fields(_ random: inout SplitMix64) -> [PlainField] {
        (0..<Int.random(in: 0...9, using: &random)).map { _ in field(&random) }
    }

    private static func isGuarded(_ field: PlainField) -> Bool {
        field.text == "authorization" || field.text == "cookie" && field.value.count < 20
    }

    /// Pseudo fields first, nothing that HTTP/2 forbids; secrets are never indexed.
    private static func sent(_ fields: [PlainField]) -> [PlainField] {
        let fields = fields.filter {
            $0.text != "te" || String(decoding: $0.value, as: UTF8.self).lowercased() == "trailers"
        }
        var sent = fields.filter { $0.name.first == 0x3a } + fields.filter { $0.name.first != 0x3a }
        for index in sent.indices where isGuarded(sent[index]) || sent[index].text == "proxy-authorization" {
            sent[index].isSensitive = true
        }
        return sent
    }

    /// Capacities that are changed while blocks go over.
    private static let sizes = [0, 0, 40, 100, 256, 1_000, 4_096, 4_096, 16_384, 65_536]

    @Test(arguments: [0, 100, 4_096, 65_536])
    func whatNGHTTP2WritesIsReadTheSame(_ capacity: Int) {
        var random = SplitMix64.announced()
        let deflater = Deflater(capacity: capacity)
        let decoder = OwnDecoder(capacity: 65_536)
        if capacity > 4_096 { deflater.resize(capacity) }
        for round in 0..<5_000 {
            if round % 50 == 49 {
                for _ in 0..<Int.random(in: 0...3, using: &random) {
                    deflater.resize(Self.sizes[Int.random(in: 0..<Self.sizes.count, using: &random)])
                }
            }
            if round % 100 == 0 { decoder.shrink() }
            let fields = Self.fields(&random)
            var expected = fields
            for index in expected.indices where Self.isGuarded(expected[index]) { expected[index].isSensitive = true }
            let found = decoder.decode(deflater.encode(fields))
            guard found == expected, !decoder.isMalformed, !decoder.isOversized else {
                Issue.record("block \(round): \(expected) was read as \(found.map { "\($0)" } ?? "an error")")
                return
            }
        }
    }

    @Test(arguments: [0, 100, 4_096, 65_536])
    func whatWeWriteIsReadTheSame(_ capacity: Int) {
        var random = SplitMix64.announced()
        let encoder = OwnEncoder(capacity: capacity)
        let inflater = Inflater()
        let decoder = OwnDecoder(capacity: 65_536)
        for round in 0..<5_000 {
            if round % 50 == 49 {
                for _ in 0..<Int.random(in: 0...3, using: &random) {
                    let size = Self.sizes[Int.random(in: 0..<Self.sizes.count, using: &random)]
                    encoder.limit(size)
                    inflater.resize(size)
                }
            }
            let fields = Self.fields(&random)
            let expected = Self.sent(fields)
            let written = encoder.encode(fields)
            let theirs = inflater.decode(written)
            guard theirs == expected else {
                Issue.record(
                    "block \(round): \(expected) was read by nghttp2 as \(theirs.map { "\($0)" } ?? "an error")")
                return
            }
            guard decoder.decode(written) == expected else {
                Issue.record("block \(round): our own decoder reads something else")
                return
            }
        }
    }

    /// Each byte in a Huffman string: long codes too.
    @Test func everyByteHasItsCode() {
        for byte in UInt8.min...UInt8.max where byte.isFieldContent {
            let value = Array(repeating: UInt8(ascii: "e"), count: 40) + [byte, byte, byte] + Array("e".utf8)
            let field = PlainField(Array("x".utf8), value)
            let written = Deflater().encode([field])
            #expect(written.count < 46)
            #expect(OwnDecoder().decode(written) == [field], "\(byte)")
        }
    }

    /// Nothing traps, and what we take for valid nghttp2 reads the same.
    @Test func damageIsReadAsNGHTTP2ReadsIt() {
        var random = SplitMix64.announced()
        var differences = 0
        for _ in 0..<2_000 {
            let deflater = Deflater()
            let encoder = OwnEncoder()
            let decoder = OwnDecoder()
            let inflater = Inflater()
            for _ in 0..<3 {
                let fields = Self.fields(&random)
                let bytes = Bool.random(using: &random) ? deflater.encode(fields) : encoder.encode(fields)
                let damaged = Bool.random(using: &random) ? bytes : random.damaged(bytes)
                let own = decoder.decode(damaged)
                let theirs = inflater.decode(damaged)
                if let own, let theirs {
                    #expect(own == theirs.filter { own.contains($0) })
                    #expect(decoder.isMalformed || own == theirs)
                } else {
                    if (own == nil) != (theirs == nil) { differences += 1 }
                    #expect(own == nil, "nghttp2 refuses what we take: \(damaged)")
                    break
                }
            }
        }
        // What only we refuse: integers of too many bytes, and the like.
        #expect(differences < 20)
    }

    @Test func noiseNeverTraps() {
        var random = SplitMix64.announced()
        for _ in 0..<5_000 {
            let decoder = OwnDecoder(capacity: Self.sizes[Int.random(in: 0..<Self.sizes.count, using: &random)])
            while decoder.decode(random.bytes(Int.random(in: 1...60, using: &random)), count: 5, size: 400) != nil {}
        }
    }
}
