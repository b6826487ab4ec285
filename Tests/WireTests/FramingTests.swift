import Containers
import Testing
import Wire

@Suite struct GRPCTests {
    @Test func messagesComeOutWholeHoweverTheyAreCut() throws {
        var wire = ByteBuffer()
        let messages = [[], [1], [UInt8](repeating: 7, count: 70_000), Array("hello".utf8)]
        for message in messages { GRPCFrame.append(message.span, to: &wire) }
        for pieces in [1, 3, 1_000, 1_000_000] {
            var decoder = GRPCFrameDecoder()
            var seen: [[UInt8]] = []
            var start = 0
            while start < wire.count {
                let end = min(wire.count, start + pieces)
                decoder.append(wire.bytes.extracting(start..<end))
                while try decoder.next() { seen.append(array(decoder.message)) }
                start = end
            }
            try decoder.finish()
            #expect(seen == messages)
            #expect(decoder.message.isEmpty && decoder.waiting == 0)
        }
    }

    @Test func badPrefixesAreRefusedAtOnce() {
        for (bytes, fault) in [
            ([1, 0, 0, 0, 1], GRPCFault.compressed), ([2, 0, 0, 0, 0], .compressed), ([0, 0, 0, 0, 11], .tooLarge),
            ([0, 255, 255, 255, 255], .tooLarge),
        ] as [([UInt8], GRPCFault)] {
            var decoder = GRPCFrameDecoder(limit: 10)
            decoder.append(bytes.span)
            do {
                _ = try decoder.next()
                Issue.record("accepted")
            } catch {
                #expect(error == fault)
            }
        }
    }

    @Test func aCutMessageIsTruncated() throws {
        var decoder = GRPCFrameDecoder()
        decoder.append([0, 0, 0, 0, 5, 1].span)
        #expect(try decoder.next() == false)
        do {
            try decoder.finish()
            Issue.record("accepted")
        } catch {
            #expect(error == .truncated)
        }
    }

    @Test func statusMessagesArePercentEncoded() {
        let original = Array("50% of ünits\n".utf8)
        var encoded = ByteBuffer()
        GRPCStatus.appendMessage(original.span, to: &encoded)
        #expect(text(encoded.bytes) == "50%25 of %C3%BCnits%0A")
        var decoded = ByteBuffer()
        GRPCStatus.appendDecoded(encoded.bytes, to: &decoded)
        #expect(array(decoded.bytes) == original)
        var odd = ByteBuffer()
        GRPCStatus.appendDecoded(Array("a%zz%4".utf8).span, to: &odd)
        #expect(text(odd.bytes) == "a%zz%4")
    }

    @Test func statusesAndTheirHTTPCounterparts() {
        #expect(GRPCStatus(Array("14".utf8).span) == .unavailable)
        for bad in ["", "17", "-1", "014", "1a"] { #expect(GRPCStatus(Array(bad.utf8).span) == nil) }
        #expect(GRPCStatus(httpStatus: 503) == .unavailable)
        #expect(GRPCStatus(httpStatus: 404) == .unimplemented)
        #expect(GRPCStatus(httpStatus: 418) == .unknown)
    }

    @Test func timeoutsAreParsedWithoutOverflow() {
        for (value, expected) in [
            ("1n", 1), ("100m", 100_000_000), ("5S", 5_000_000_000), ("2M", 120_000_000_000), ("0S", 0),
            ("99999999H", Int64.max), ("", nil), ("S", nil), ("5", nil), ("5s", nil), ("123456789S", nil), ("-1S", nil),
            ("1.5S", nil), ("5 S", nil),
        ] as [(String, Int64?)] {
            #expect(GRPCTimeout.nanoseconds(Array(value.utf8).span) == expected, "\(value)")
        }
        for (nanoseconds, expected) in [
            (0, "0n"), (99_999_999, "99999999n"), (100_000_000, "100000u"), (30_000_000_000, "30000000u"),
            (Int64.max, "2562047H"), (-5, "0n"),
        ] as [(Int64, String)] {
            var out = ByteBuffer()
            GRPCTimeout.append(nanoseconds: nanoseconds, to: &out)
            #expect(text(out.bytes) == expected)
        }
    }
}

@Suite struct ProxyHeaderTests {
    private func header(_ command: ProxyHeader.Command, _ fields: [(ProxyHeader.Field, String)]) throws -> [UInt8] {
        var writer = ProxyHeaderWriter(command)
        for (field, value) in fields { writer.append(field, Array(value.utf8)) }
        var out = ByteBuffer()
        try writer.finish(into: &out)
        return array(out.bytes)
    }

    @Test func headersComeBackAsTheyWere() throws {
        let bytes = try header(.proxy, [(.authority, "mysql.default"), (.deadline, "1000"), (.assertion, "")])
        for count in 0..<bytes.count { #expect(try ProxyHeader.parse(bytes.span.extracting(first: count)) == nil) }
        let stream = bytes + Array("SELECT 1".utf8)
        let parsed = try #require(try ProxyHeader.parse(stream.span))
        #expect(parsed.command == .proxy && parsed.count == bytes.count)
        let authority = parsed.value(.authority, in: stream.span) ?? 0..<0
        #expect(Array(stream[authority]) == Array("mysql.default".utf8))
        #expect(parsed.value(.assertion, in: stream.span)?.isEmpty == true)
        #expect(parsed.value(.hops, in: stream.span) == nil)
        let answer = try header(.local, [(.answer, "ok")])
        #expect(try ProxyHeader.parse(answer.span)?.command == .local)
    }

    @Test func everyBrokenByteIsRefusedOrWaits() throws {
        let bytes = try header(.proxy, [(.authority, "a.b"), (.hops, "x")])
        for index in 0..<16 {
            var broken = bytes
            broken[index] ^= 0xff
            var isHeader = false
            do { isHeader = try ProxyHeader.parse(broken.span) != nil } catch {}
            #expect(!isHeader, "byte \(index)")
        }
        var lying = bytes
        lying[18] = 200
        var twice = try header(.proxy, [(.hops, "x"), (.hops, "y")])
        var addressed = bytes
        addressed[13] = 0x11
        twice.append(0)
        for broken in [lying, twice, addressed, Array("PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n".utf8)] {
            do {
                _ = try ProxyHeader.parse(broken.span)
                Issue.record("accepted")
            } catch {
                #expect(error == .malformed)
            }
        }
    }

    @Test func headersAreAtMost4KiB() throws {
        var writer = ProxyHeaderWriter(.proxy)
        writer.append(.assertion, [UInt8](repeating: 1, count: 5_000))
        var out = ByteBuffer()
        do {
            try writer.finish(into: &out)
            Issue.record("written")
        } catch {
            #expect(error == .tooLarge)
        }
        var claim = ProxyHeaderTests.signature + [0x21, 0, 0x20, 0]
        claim += [UInt8](repeating: 0, count: 100)
        do {
            _ = try ProxyHeader.parse(claim.span)
            Issue.record("accepted")
        } catch {
            #expect(error == .tooLarge)
        }
    }

    private static let signature: [UInt8] = [13, 10, 13, 10, 0, 13, 10, 0x51, 0x55, 0x49, 0x54, 10]
}
