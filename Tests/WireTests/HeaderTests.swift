import Containers
import Testing
import Wire

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

@Suite struct HeaderNameTests {
    @Test func everyNameFindsItself() {
        for raw in UInt8.min...UInt8.max {
            guard let name = HeaderName(rawValue: raw), name != .other else { continue }
            let wire = text(name.wireBytes)
            #expect(HeaderName(bytes(wire).span) == name)
            #expect(HeaderName(bytes(wire.uppercased()).span) == name)
            #expect(HeaderName(bytes(wire + "x").span) == .other)
            #expect(HeaderName(bytes("x" + wire.dropFirst()).span) != name || wire.hasPrefix("x"))
        }
        #expect(HeaderName(bytes("").span) == .other)
    }

    @Test func meshfedNamesAreKnownInEverySpelling() {
        var block = HeaderBlock()
        for name in ["meshfed-hops", "Meshfed_Hops", "MESHFED-new", "meshfed_", "xmeshfed-hops", "meshfe", "x-other"] {
            block.append(name: bytes(name).span, value: bytes("1").span)
        }
        var found: [Bool] = []
        for index in 0..<block.count { found.append(block.isMeshfed(at: index)) }
        #expect(found == [true, true, true, true, false, false, false])
        #expect(bytes("X_Forwarded_Client-Cert").span.nameWithUnderscoresMapped == .xForwardedClientCert)
        #expect(bytes("x_other").span.nameWithUnderscoresMapped == .other)
    }
}

@Suite struct HeaderBlockTests {
    @Test func copiedFieldsAreTheSame() {
        let source = block([(":status", "200"), ("X-One", "1"), ("date", "today"), ("x-empty", "")])
        var copy = block([("server", "s")])
        for index in 0..<source.count { copy.append(copying: index, of: source) }
        copy.remove(at: 0)
        #expect(lines(copy) == lines(source))
        let sizes = (copy.byteCount, source.byteCount)
        #expect(sizes.0 == sizes.1)
        let places = (copy.first(.date), copy.first(named: bytes("x-one").span))
        #expect(places == (2, 1))
    }

    @Test func whatOnlyTheMeshSaysIsSeenInEverySpelling() {
        let plain = block([(":status", "200"), ("x-other", "1"), ("date", "d")])
        let isFree = plain.isFreeOfMeshFields
        #expect(isFree)
        for name in [
            "meshfed-error", "meshfed-hops", "Meshfed_Hops", "meshfed-new", "meshfed-origin", "meshfed-probe",
            "x-forwarded-client-cert", "X_Forwarded_Client_Cert",
        ] {
            let block = block([("x-other", "1"), (name, "1")])
            let isFree = block.isFreeOfMeshFields
            #expect(!isFree, "\(name)")
        }
    }

    @Test func fieldsAreFoundReplacedAndRemoved() {
        var fields = block([(":method", "GET"), ("X-One", "1"), ("cookie", "a"), ("Cookie", "b"), ("x-two", "2")])
        #expect(fields.count == 5)
        #expect(lines(fields) == [":method: GET", "x-one: 1", "cookie: a", "cookie: b", "x-two: 2"])
        #expect(fields.first(.cookie) == 2 && fields.next(.cookie, from: 3) == 3)
        #expect(fields.first(named: bytes("X-TWO").span) == 4)
        #expect(fields.first(.host) == nil)
        let size = fields.byteCount
        #expect(size == 5 * 32 + 7 + 3 + 5 + 1 + 6 + 1 + 6 + 1 + 5 + 1)
        fields.replace(.cookie, bytes("long value"))
        #expect(lines(fields) == [":method: GET", "x-one: 1", "cookie: long value", "x-two: 2"])
        #expect(fields.byteCount == size - 32 - 7 + 9)
        fields.remove(named: bytes("x-one").span)
        fields.remove { _, name, _ in name.equals("x-two") }
        #expect(lines(fields) == [":method: GET", "cookie: long value"])
        fields.remove(.cookie)
        #expect(fields.byteCount == 32 + 7 + 3)
        let copy = fields.copy()
        fields.removeAll()
        #expect(fields.isEmpty && fields.byteCount == 0 && fields.first(.method) == nil)
        #expect(lines(copy) == [":method: GET"])
    }

    @Test func numbersAreWrittenInDecimal() {
        var fields = HeaderBlock()
        for number in [0, 7, 10, 200, 1_234_567_890, Int.max, -5] { fields.append(.contentLength, number: number) }
        var values: [String] = []
        for index in 0..<fields.count { values.append(text(fields.value(at: index))) }
        #expect(values == ["0", "7", "10", "200", "1234567890", "9223372036854775807", "0"])
    }
}

@Suite struct ByteClassTests {
    @Test func tokensAreThoseOfTheRFC() {
        let token = Set("!#$%&'*+-.^_`|~0123456789".utf8 + Array(97...122) + Array(65...90))
        for byte in UInt8.min...UInt8.max {
            #expect(byte.isToken == token.contains(byte))
            #expect(byte.isFieldContent == (byte == 9 || (byte >= 32 && byte != 127)))
        }
    }

    /// The versions that look at eight bytes at once agree with one byte at a time, wherever the odd byte stands.
    @Test func wordsAndBytesAgree() {
        for count in [1, 7, 8, 9, 15, 16, 17, 31] {
            for position in 0..<count {
                for byte in UInt8.min...UInt8.max {
                    var line = [UInt8](repeating: UInt8(ascii: "a"), count: count)
                    line[position] = byte
                    #expect(line.span.isFieldContent == byte.isFieldContent)
                    if byte != UInt8(ascii: "a") {
                        #expect(line.span.firstIndex(of: byte) == position)
                        #expect(line.span.firstIndex(of: byte, from: position + 1) == nil)
                    }
                }
            }
        }
        let wire = Array("x-forwarded-client-cert".utf8)
        for position in wire.indices {
            for byte in UInt8.min...UInt8.max {
                var name = wire
                name[position] = byte
                let isSame = byte.lowercased == wire[position]
                #expect((HeaderName(name.span) == .xForwardedClientCert) == isSame)
            }
        }
    }

    @Test func decimalsAreStrict() {
        for (text, value) in [
            ("0", 0), ("10", 10), ("999999999999999999", 999_999_999_999_999_999), ("", nil), ("+1", nil), ("-0", nil),
            ("01", nil), ("1 ", nil), ("1000000000000000000", nil), ("٣", nil),
        ] as [(String, Int?)] {
            #expect(bytes(text).span.decimal == value, "\(text)")
        }
    }
}

@Suite struct HostAuthorityTests {
    @Test func goodAuthoritiesAreTakenApart() {
        for (input, host, port, kind) in [
            ("Shop.Test", "shop.test", nil, .name), ("shop.test.:443", "shop.test", 443, .name), ("a", "a", nil, .name),
            ("a_b-c.d:1", "a_b-c.d", 1, .name), ("10.0.0.1:65535", "10.0.0.1", 65_535, .ipv4),
            ("[::1]:80", "::1", 80, .ipv6), ("[FE80::1:2]", "fe80::1:2", nil, .ipv6),
            ("[1:2:3:4:5:6:7:8]", "1:2:3:4:5:6:7:8", nil, .ipv6), ("[::ffff:10.0.0.1]", "::ffff:10.0.0.1", nil, .ipv6),
            ("[::]", "::", nil, .ipv6), ("1a.test", "1a.test", nil, .name),
        ] as [(String, String, UInt16?, HostAuthority.Kind)] {
            let raw = bytes(input)
            let authority = HostAuthority(raw.span)
            #expect(authority?.port == port && authority?.kind == kind, "\(input)")
            var folded = ByteBuffer()
            authority?.appendHost(of: raw.span, to: &folded)
            #expect(text(folded.bytes) == host)
        }
    }

    @Test(arguments: [
        "", ":80", "a:", "a:0", "a:65536", "a:080", "a:+1", "a:1:2", "u@a", "a/b", "a,b", "a b", "a%41", "a..b", ".a",
        ".",
        "..", "[::1", "[::1]80", "[::1]:", "[]", "[1:2]", "[::1::2]", "[1:2:3:4:5:6:7:8:9]", "[:1]", "[1:]",
        "[::1%eth0]",
        "[12345::]", "[::g]", "[::10.0.0.256]", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "0x7f.1", "a.1", "127.1",
        "ü.test", "a\0b", "a\t", "*", "a?b", "a#b", "a\\b", "::1",
    ])
    func ambiguousAuthoritiesAreRefused(_ input: String) {
        #expect(HostAuthority(bytes(input).span) == nil)
    }

    @Test func lengthsAreThoseOfDNS() {
        let label = String(repeating: "a", count: 63)
        #expect(HostAuthority(bytes("\(label).\(label).\(label)").span) != nil)
        #expect(HostAuthority(bytes(label + "a").span) == nil)
        #expect(HostAuthority(bytes("\(label).\(label).\(label).\(label)").span) == nil)
    }
}
