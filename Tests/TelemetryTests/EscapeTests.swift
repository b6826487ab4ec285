import MeshModel
import Telemetry
import Testing

@Suite struct EscapeTests {
    private func line(_ format: AccessLog.Format, _ key: LogKey, _ value: [UInt8]) -> [UInt8] {
        var log = AccessLog(format: format)
        log.begin(at: WallTime(seconds: 0), milliseconds: 7)
        log.field(key, value)
        log.end()
        return log.take()
    }

    private func text(_ format: AccessLog.Format, _ key: LogKey, _ value: String) -> String {
        String(decoding: line(format, key, Array(value.utf8)), as: UTF8.self)
    }

    @Test func keepsOneLineWhateverASNIHolds() {
        let hostile = "80.api\r\n{\"fake\":1}\u{1B}[2J\u{0}.local"
        for format in [AccessLog.Format.json, .text] {
            let bytes = line(format, .serverName, Array(hostile.utf8))
            #expect(bytes.filter { $0 == 0x0A }.count == 1)
            #expect(bytes.last == 0x0A)
            #expect(!bytes.dropLast().contains { $0 < 0x20 || $0 == 0x7F })
        }
        #expect(
            text(.json, .serverName, hostile)
                == "{\"time\":\"1970-01-01T00:00:00.007Z\",\"server_name\":"
                + "\"80.api\\r\\n{\\\"fake\\\":1}\\u001b[2J\\u0000.local\"}\n")
    }

    @Test func replacesWhatIsNotUTF8() {
        let bytes: [UInt8] = [0x61, 0xFF, 0xC0, 0x80, 0xED, 0xA0, 0x80, 0x62]
        let written = String(decoding: line(.json, .path, bytes), as: UTF8.self)
        let bad = String(repeating: "\\ufffd", count: 6)
        #expect(written.contains("\"path\":\"a\(bad)b\""))
    }

    @Test func writesReadableTextAsItIs() {
        #expect(text(.json, .path, "/größe/漢字/😀").contains("\"/größe/漢字/😀\""))
        #expect(text(.text, .path, "/plain?a=b").contains(" path=\"/plain?a=b\""))
        #expect(text(.text, .path, "/plain").contains(" path=/plain\n"))
    }

    @Test func neutralisesBidirectionalAndC1Controls() {
        let written = text(.json, .path, "/a\u{202E}b\u{9B}c\u{2028}d\u{FEFF}")
        #expect(written.contains("/a\\u202eb\\u009bc\\u2028d\\ufeff"))
    }

    @Test func capsLongValuesOnAWholeCharacter() {
        let long = [UInt8](repeating: 0x61, count: 1_023) + Array("é".utf8) + [0x62]
        let written = String(decoding: line(.json, .path, long), as: UTF8.self)
        #expect(written.contains("a…\"}"))
        #expect(!written.contains("é"))
        let fits = String(decoding: line(.json, .path, [UInt8](repeating: 0x61, count: 1_024)), as: UTF8.self)
        #expect(!fits.contains("…"))
    }

    @Test func anyBytesGiveValidUTF8AndBalancedQuotes() {
        var state: UInt64 = 0x5EED
        for _ in 0..<2_000 {
            var value: [UInt8] = []
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            for _ in 0..<Int(state >> 33 % 40) {
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                value.append(UInt8(truncatingIfNeeded: state >> 40))
            }
            let bytes = line(.json, .path, value)
            #expect(String(validating: bytes, as: UTF8.self) != nil)
            #expect(bytes.filter { $0 == 0x0A }.count == 1)
            var isOpen = false
            var index = 0
            while index < bytes.count {
                if bytes[index] == 0x5C { index += 1 } else if bytes[index] == 0x22 { isOpen.toggle() }
                index += 1
            }
            #expect(!isOpen)
        }
    }

    @Test func writesTimesOfAllCenturies() {
        func time(_ seconds: Int64) -> String {
            var text: [UInt8] = []
            TimeText.appendWhole(WallTime(seconds: seconds), into: &text)
            return String(decoding: text, as: UTF8.self)
        }
        #expect(time(0) == "1970-01-01T00:00:00Z")
        #expect(time(951_782_400) == "2000-02-29T00:00:00Z")
        #expect(time(1_709_164_799) == "2024-02-28T23:59:59Z")
        #expect(time(4_107_542_399) == "2100-02-28T23:59:59Z")
        #expect(time(4_107_542_400) == "2100-03-01T00:00:00Z")
        #expect(time(-1) == "1969-12-31T23:59:59Z")
        #expect(time(.max) == "9999-12-31T23:59:59Z")
        #expect(time(.min) == "0000-01-01T00:00:00Z")
    }
}
