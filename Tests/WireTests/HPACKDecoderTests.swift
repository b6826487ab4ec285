import Containers
import Testing
import Wire

@Suite struct HPACKDecoderTests {
    /// `name: value` as a plain literal with the pattern of its first byte.
    private func literal(_ pattern: UInt8, _ name: String, _ value: String) -> [UInt8] {
        [pattern, UInt8(name.utf8.count)] + Array(name.utf8) + [UInt8(value.utf8.count)] + Array(value.utf8)
    }

    @Test(arguments: [
        ("80", "index 0"), ("be", "beyond the tables"), ("ff80 8080 8001", "far beyond the tables"),
        ("7e 0161", "a name beyond the tables"), ("82 20", "a size update behind a field"),
        ("3fe2 1f", "a size above what we announced"), ("20 20 20", "three size updates"), ("ff", "an integer cut off"),
        ("ff80", "an integer cut off later"),
        ("ff80 8080 8000", "five continuation bytes that say nothing are read as 127"),
        ("ffff ffff ffff ff01", "an integer of too many bytes"), ("7f ffff ffff 7f", "an integer above 2^28"),
        ("00", "no name"), ("0001", "a name cut off"), ("0001 61", "no value"), ("0001 6103 6262", "a value cut off"),
        ("0001 617f ffff ff7f", "a length beyond the block"), ("04", "no value of a known name"),
        ("0001 6184 ffff ffff", "EOS"), ("0001 6185 ffff ffff ff", "EOS and more"),
        ("0001 6182 1fff", "padding of more than seven bits"), ("0001 6181 ff", "padding alone, of eight bits"),
        ("0001 6181 18", "padding that is not all ones"), ("0001 6181 00", "padding of zeros"),
        ("0081 ff00", "a name of padding alone"), ("3f", "a size cut off"),
    ])
    func refuses(_ block: String, _ why: String) {
        #expect(OwnDecoder().decode(hex(block)) == nil, "\(why)")
    }

    @Test func readsWhatIsJustAllowed() {
        #expect(OwnDecoder().decode([]) == [])
        #expect(OwnDecoder().decode(hex("20 3fe1 1f 82")) == [PlainField(":method", "GET")])
        #expect(OwnDecoder().decode(hex("0001 6180")) == [PlainField("a", "")])
        #expect(OwnDecoder().decode(hex("0001 6181 1f")) == [PlainField("a", "a")])
        // 2 by a prefix and zeros in the continuation.
        #expect(OwnDecoder().decode(hex("0f80 8080 0000")) == [PlainField("accept-charset", "")])
        #expect(OwnDecoder(capacity: 0).decode(hex("20")) == [])
        #expect(OwnDecoder(capacity: 0).decode(hex("21")) == nil)
    }

    @Test(arguments: [
        ("", "1"), ("A", "1"), ("Content-Type", "1"), ("x y", "1"), ("x:y", "1"), (":new", "1"), (":", "1"),
        (":Path", "/"), ("a\u{7f}", "1"), ("\u{e9}", "1"), ("a", " 1"), ("a", "1 "), ("a", "\t"), ("a", "1\r\n"),
        ("a", "\0"), ("a", "\u{7f}"), ("content-type", "text/plain\ncharset"), (":path", "/ "),
    ])
    func malformedFieldsAreToldAndTheTablesStayInStep(_ name: String, _ value: String) {
        for pattern: UInt8 in [0x40, 0x00, 0x10] {
            let decoder = OwnDecoder()
            #expect(decoder.decode(literal(pattern, name, value) + [0x82]) == [PlainField(":method", "GET")])
            #expect(decoder.isMalformed)
            // By index it is malformed again, and the entry before it is where it was.
            #expect(decoder.decode(literal(0x40, "b", "2")) == [PlainField("b", "2")])
            #expect(!decoder.isMalformed)
            guard pattern == 0x40 else { continue }
            #expect(decoder.decode([0xbf, 0xbe]) == [PlainField("b", "2")])
            #expect(decoder.isMalformed)
            // Its name with another value: malformed if the name was.
            let isName = decoder.decode([0x0f, 0x30, 0x01, 0x31]) == []
            let again = OwnDecoder()
            _ = again.decode(literal(0x00, name, "1"))
            #expect(isName == again.isMalformed)
        }
    }

    @Test(arguments: [
        ("x-a", "1"), ("a", ""), ("!#$%&'*+-.^_`|~09az", "a b\tc"), (":protocol", "websocket"), ("a", "\u{e9}\u{20ac}"),
        ("te", "trailers"), ("connection", "close"),
    ])
    func wellFormedFieldsAreRead(_ name: String, _ value: String) {
        let decoder = OwnDecoder()
        #expect(
            decoder.decode(literal(0x40, name, value) + [0xbe]) == Array(repeating: PlainField(name, value), count: 2))
        #expect(!decoder.isMalformed)
    }

    @Test func sensitiveFieldsStaySo() {
        let decoder = OwnDecoder()
        let fields = decoder.decode(
            literal(0x10, "x-key", "1") + literal(0x00, "x-key", "2") + literal(0x40, "x-key", "3"))
        #expect(fields?.map(\.isSensitive) == [true, false, false])
        #expect(decoder.decode([0xbe])?.map(\.isSensitive) == [false])
        #expect(decoder.decode([0xbf]) == nil)
    }

    @Test func limitsEndTheFieldsAndNotTheDecoding() {
        let three = literal(0x40, "a", "1") + literal(0x40, "b", "2") + literal(0x40, "c", "3")
        for (count, size, kept) in [(3, 102, 3), (2, 102, 2), (3, 101, 2), (3, 67, 1), (0, 1_000, 0), (3, 33, 0)] {
            let decoder = OwnDecoder()
            #expect(decoder.decode(three, count: count, size: size)?.count == kept)
            #expect(decoder.isOversized == (kept < 3))
            #expect(decoder.decode([0xbe, 0xbf, 0xc0])?.map(\.text) == ["c", "b", "a"])
            #expect(!decoder.isOversized)
        }
        // A small field behind the one that was too much is not kept either.
        let decoder = OwnDecoder()
        let long = String(repeating: "v", count: 100)
        #expect(
            decoder.decode(literal(0, "a", "1") + literal(0, "b", long) + literal(0, "c", "3"), size: 100)?.count == 1)
    }

    @Test func entriesAreEvictedInOrder() {
        let decoder = OwnDecoder()
        // Two of 34 bytes each have room, no third.
        #expect(decoder.decode([0x3f, 0x25]) == [])
        #expect(decoder.decode(literal(0x40, "a", "1") + literal(0x40, "b", "2")) != nil)
        #expect(decoder.decode([0xbf, 0xbe])?.map(\.text) == ["a", "b"])
        #expect(decoder.decode(literal(0x40, "c", "3") + [0xbf, 0xbe])?.map(\.text) == ["c", "b", "c"])
        #expect(OwnDecoder().decode([0xc0]) == nil)
        // The name of an entry that its own insertion evicts (RFC 7541 4.4).
        let value = [UInt8](repeating: 0x76, count: 5)
        #expect(decoder.decode([0x7f, 0x00, 0x05] + value) == [PlainField(Array("b".utf8), value)])
        #expect(decoder.decode([0xbe])?.map(\.text) == ["b"])
        #expect(decoder.decode([0xbf]) == nil)
    }

    @Test func anEntryLargerThanTheTableEmptiesIt() {
        let decoder = OwnDecoder()
        #expect(decoder.decode([0x3f, 0x25] + literal(0x40, "a", "1") + [0xbe])?.count == 2)
        let long = String(repeating: "v", count: 60)
        #expect(decoder.decode(literal(0x40, "b", long)) == [PlainField("b", long)])
        #expect(decoder.decode([0xbe]) == nil)
    }

    @Test func theTableShrinksAndGrows() {
        let decoder = OwnDecoder(capacity: 65_536)
        #expect(decoder.decode(literal(0x40, "a", "1") + literal(0x40, "b", "2")) != nil)
        // To 40 bytes and back: the older one is gone.
        #expect(decoder.decode([0x3f, 0x09, 0x3f, 0xe1, 0xff, 0x03, 0xbe])?.map(\.text) == ["b"])
        #expect(decoder.decode([0xbf]) == nil)
        let grown = OwnDecoder(capacity: 65_536)
        #expect(grown.decode([0x3f, 0xe1, 0xff, 0x03]) == [])
        for index in 0..<1_000 { #expect(grown.decode(literal(0x40, "n\(index)", "1")) != nil) }
        grown.shrink()
        // 999 entries back: 61 + 1,000.
        #expect(grown.decode([0xff, 0xa6, 0x07])?.map(\.text) == ["n0"])
        #expect(grown.decode([0x20, 0x82])?.count == 1)
        #expect(grown.decode([0xbe]) == nil)
    }
}
