/// Bytes of a peer made harmless for a log line or a metrics label.
///
/// A line stays one line, a value stays inside its quotes, and nothing that a terminal acts on gets through: control
/// characters (C0, DEL, C1), bidirectional overrides and line separators are written as `\uXXXX`, bytes that are not
/// UTF-8 as `\ufffd`, one for each (HOSTILE 25 and 127).
enum Escape {
    /// Appends the inside of a JSON string; at most `limit` bytes of `value` are read, more are marked by `…`.
    static func json<Target: ByteTarget & ~Copyable>(_ value: Span<UInt8>, limit: Int, into target: inout Target) {
        var index = 0
        while index < value.count {
            let start = index
            index = endOfPlain(value, from: index, to: min(value.count, limit))
            if index > start { target.append(bytes: value.extracting(start..<index)) }
            if index == value.count { return }
            let byte = value[index]
            if byte < 0x80 {
                guard index < limit else { return target.append(text: "…") }
                ascii(byte, into: &target)
                index += 1
                continue
            }
            let length = sequenceLength(value, at: index)
            guard index + max(length, 1) <= limit else { return target.append(text: "…") }
            if length == 0 {
                target.append(text: "\\ufffd")
                index += 1
                continue
            }
            if let code = dangerous(value, at: index, length: length) {
                unicode(code, into: &target)
            } else {
                for offset in 0..<length { target.append(value[index + offset]) }
            }
            index += length
        }
    }

    /// Appends a value of the text form: bare when it needs no quotes, `-` when empty.
    static func text<Target: ByteTarget & ~Copyable>(_ value: Span<UInt8>, limit: Int, into target: inout Target) {
        if value.isEmpty { return target.append(0x2D) }
        var bare = value.count <= limit && !(value.count == 1 && value[0] == 0x2D)
        if bare { bare = isBare(value) }
        if bare {
            target.append(bytes: value)
        } else {
            target.append(0x22)
            json(value, limit: limit, into: &target)
            target.append(0x22)
        }
    }

    /// Appends the inside of a metrics label: `\`, `"` and line feed escaped as the format has them, all else that is
    /// not printable UTF-8 replaced by `?`.
    static func label<Target: ByteTarget & ~Copyable>(_ value: Span<UInt8>, into target: inout Target) {
        var index = 0
        while index < value.count {
            let byte = value[index]
            switch byte {
            case 0x22, 0x5C:
                target.append(0x5C)
                target.append(byte)
            case 0x0A: target.append(text: "\\n")
            case 0x20...0x7E: target.append(byte)
            case 0x80...0xFF:
                let length = sequenceLength(value, at: index)
                if length > 0, dangerous(value, at: index, length: length) == nil {
                    for offset in 0..<length { target.append(value[index + offset]) }
                    index += length - 1
                } else {
                    target.append(0x3F)
                    index += max(length, 1) - 1
                }
            default: target.append(0x3F)
            }
            index += 1
        }
    }

    /// The end of the run of printable ASCII that stands for itself inside quotes.
    private static func endOfPlain(_ value: Span<UInt8>, from start: Int, to end: Int) -> Int {
        var index = start
        while index + 8 <= end {
            // SAFETY: eight bytes from `index` lie in the span.
            let word = unsafe value.bytes.unsafeLoadUnaligned(fromByteOffset: index, as: UInt64.self)
            let stops = Word.below(word, 0x20) | Word.above7E(word) | Word.equal(word, 0x22) | Word.equal(word, 0x5C)
            if stops != 0 { break }
            index += 8
        }
        while index < end {
            let byte = value[index]
            guard byte >= 0x20, byte < 0x7F, byte != 0x22, byte != 0x5C else { return index }
            index += 1
        }
        return index
    }

    /// Needs no quotes in the text form.
    private static func isBare(_ value: Span<UInt8>) -> Bool {
        var index = 0
        while index + 8 <= value.count {
            // SAFETY: eight bytes from `index` lie in the span.
            let word = unsafe value.bytes.unsafeLoadUnaligned(fromByteOffset: index, as: UInt64.self)
            let stops =
                Word.below(word, 0x21) | Word.above7E(word) | Word.equal(word, 0x22) | Word.equal(word, 0x3D)
                | Word.equal(word, 0x5C)
            if stops != 0 { return false }
            index += 8
        }
        while index < value.count {
            let byte = value[index]
            if byte <= 0x20 || byte >= 0x7F || byte == 0x22 || byte == 0x3D || byte == 0x5C { return false }
            index += 1
        }
        return true
    }

    /// Eight bytes at a time: the result is not zero when one of them is what is asked for. (It may name further bytes behind
    /// the first that is, so only zero or not is used.)
    private enum Word {
        private static let ones: UInt64 = 0x0101_0101_0101_0101
        private static let tops: UInt64 = 0x8080_8080_8080_8080

        static func below(_ word: UInt64, _ limit: UInt64) -> UInt64 { (word &- ones &* limit) & ~word & tops }
        static func above7E(_ word: UInt64) -> UInt64 { (word | ((word & ~tops) &+ ones)) & tops }
        static func equal(_ word: UInt64, _ byte: UInt64) -> UInt64 {
            let difference = word ^ (ones &* byte)
            return (difference &- ones) & ~difference & tops
        }
    }

    private static func ascii<Target: ByteTarget & ~Copyable>(_ byte: UInt8, into target: inout Target) {
        switch byte {
        case 0x22, 0x5C:
            target.append(0x5C)
            target.append(byte)
        case 0x0A: target.append(text: "\\n")
        case 0x0D: target.append(text: "\\r")
        case 0x09: target.append(text: "\\t")
        case 0x00...0x1F, 0x7F: unicode(UInt32(byte), into: &target)
        default: target.append(byte)
        }
    }

    private static func unicode<Target: ByteTarget & ~Copyable>(_ code: UInt32, into target: inout Target) {
        target.append(text: "\\u")
        for shift in [UInt32(12), 8, 4, 0] {
            let digit = UInt8(code >> shift & 0xF)
            target.append(digit < 10 ? 0x30 + digit : 0x57 + digit)
        }
    }

    /// Length of the well-formed UTF-8 sequence at `index` (RFC 3629, no overlong form, no surrogate); 0 when there is
    /// none.
    private static func sequenceLength(_ value: Span<UInt8>, at index: Int) -> Int {
        let lead = value[index]
        let length: Int
        var low: UInt8 = 0x80
        var high: UInt8 = 0xBF
        switch lead {
        case 0xC2...0xDF: length = 2
        case 0xE0...0xEF:
            length = 3
            if lead == 0xE0 { low = 0xA0 }
            if lead == 0xED { high = 0x9F }
        case 0xF0...0xF4:
            length = 4
            if lead == 0xF0 { low = 0x90 }
            if lead == 0xF4 { high = 0x8F }
        default: return 0
        }
        guard index + length <= value.count, value[index + 1] >= low, value[index + 1] <= high else { return 0 }
        for offset in 2..<max(length, 2) where value[index + offset] & 0xC0 != 0x80 { return 0 }
        return length
    }

    /// The code point when a terminal or a reader of the log would act on it: C1, line and paragraph separators,
    /// bidirectional controls, the byte order mark.
    private static func dangerous(_ value: Span<UInt8>, at index: Int, length: Int) -> UInt32? {
        if length == 2 {
            let code = UInt32(value[index] & 0x1F) << 6 | UInt32(value[index + 1] & 0x3F)
            return code < 0xA0 || code == 0x061C ? code : nil
        }
        guard length == 3 else { return nil }
        let code =
            UInt32(value[index] & 0x0F) << 12 | UInt32(value[index + 1] & 0x3F) << 6 | UInt32(value[index + 2] & 0x3F)
        switch code {
        case 0x200E, 0x200F, 0x2028...0x202E, 0x2066...0x2069, 0xFEFF: return code
        default: return nil
        }
    }
}
