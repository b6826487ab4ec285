/// What a plain YAML scalar means, by a grammar of our own: JSON's.
///
/// libyaml's users differ on YAML 1.1 spellings (`yes`, `1:30`, `0o17`, `+10`); those are refused as ambiguous where a
/// string is wanted and are no number or boolean anywhere.
enum ScalarGrammar {
    /// `-?(0|[1-9][0-9]*)` that fits an Int.
    static func integer(_ bytes: [UInt8]) -> Int? {
        let negative = bytes.first == 0x2D
        let digits = negative ? bytes.dropFirst() : bytes[...]
        guard let first = digits.first, first != 0x30 || digits.count == 1 else { return nil }
        var value = 0
        for byte in digits {
            guard isDigit(byte) else { return nil }
            let (scaled, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carried) = scaled.addingReportingOverflow(Int(byte - 0x30))
            guard !overflow, !carried else { return nil }
            value = sum
        }
        return negative ? -value : value
    }

    /// An integer, or one with a fraction: `0.5`. No exponent.
    static func decimal(_ bytes: [UInt8]) -> Double? {
        let parts = bytes.split(separator: 0x2E, omittingEmptySubsequences: false)
        guard parts.count <= 2, integer(Array(parts[0])) != nil, parts.count == 1 || !parts[1].isEmpty,
            parts.count == 1 || parts[1].allSatisfy(isDigit)
        else { return nil }
        return Double(String(decoding: bytes, as: UTF8.self))
    }

    static func boolean(_ bytes: [UInt8]) -> Bool? {
        if bytes.elementsEqual("true".utf8) { return true }
        return bytes.elementsEqual("false".utf8) ? false : nil
    }

    static func isNull(_ bytes: [UInt8]) -> Bool {
        bytes.isEmpty || bytes.elementsEqual("null".utf8) || bytes.elementsEqual("~".utf8)
    }

    /// True when a plain scalar is a string in no doubt: no boolean, number or null in JSON, YAML 1.1 or YAML 1.2.
    static func isPlainString(_ bytes: [UInt8]) -> Bool {
        guard !isNull(bytes), boolean(bytes) == nil, integer(bytes) == nil, decimal(bytes) == nil else { return false }
        let lowered = bytes.map { $0 >= 0x41 && $0 <= 0x5A ? $0 | 0x20 : $0 }
        let words = ["yes", "no", "on", "off", "true", "false", "null", ".inf", "-.inf", "+.inf", ".nan"]
        if words.contains(where: { lowered.elementsEqual($0.utf8) }) { return false }
        return !looksNumeric(lowered)
    }

    /// YAML 1.1 integers and floats: signs, underscores, `0x`, `0o`, `0b`, exponents, base 60.
    private static func looksNumeric(_ lowered: [UInt8]) -> Bool {
        var rest = lowered[...]
        if let first = rest.first, first == 0x2B || first == 0x2D { rest = rest.dropFirst() }
        guard let first = rest.first, isDigit(first) || (first == 0x2E && rest.dropFirst().first.map(isDigit) == true)
        else { return false }
        for (prefix, digits) in [("0x", "0123456789abcdef_"), ("0o", "01234567_"), ("0b", "01_")]
        where rest.starts(with: prefix.utf8) {
            return rest.count > 2 && rest.dropFirst(2).allSatisfy { digits.utf8.contains($0) }
        }
        if rest.contains(0x3A) { return isBaseSixty(rest) }
        var exponent = false
        var points = 0
        var previous: UInt8 = 0
        for byte in rest {
            switch byte {
            case 0x30...0x39, 0x5F: break
            case 0x2E where !exponent:
                points += 1
                if points > 1 { return false }
            case 0x65 where !exponent && isDigit(previous) || byte == 0x65 && !exponent && previous == 0x2E:
                exponent = true
            case 0x2B where previous == 0x65, 0x2D where previous == 0x65: break
            default: return false
            }
            previous = byte
        }
        return previous != 0x65
    }

    private static func isBaseSixty(_ text: ArraySlice<UInt8>) -> Bool {
        let parts = text.split(separator: 0x3A, omittingEmptySubsequences: false)
        for (index, part) in parts.enumerated() {
            guard !part.isEmpty, part.allSatisfy({ isDigit($0) || $0 == 0x5F }) else { return false }
            if index > 0, part.count > 2 || part.count == 2 && (part.first ?? 0) > 0x35 { return false }
        }
        return true
    }

    private static func isDigit(_ byte: UInt8) -> Bool { byte >= 0x30 && byte <= 0x39 }
}
