/// base64url without padding (RFC 4648 section 5), and base64 for PEM. Only the canonical spelling is read.
package enum Base64 {
    private static let url = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)
    private static let standard = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    /// base64url, no padding.
    package static func encodeURL(_ bytes: [UInt8]) -> [UInt8] { encode(bytes, url, padded: false) }

    /// base64 with padding, no line breaks.
    package static func encode(_ bytes: [UInt8]) -> [UInt8] { encode(bytes, standard, padded: true) }

    /// Nil on padding, white space, a foreign byte, an impossible length, or bits left over that are not zero.
    package static func decodeURL(_ text: Span<UInt8>) -> [UInt8]? {
        decode(text, count: text.count, sixtyTwo: 0x2D, sixtyThree: 0x5F)
    }

    /// Nil on a foreign byte, missing padding, or bits left over that are not zero.
    package static func decode(_ text: [UInt8]) -> [UInt8]? {
        guard text.count % 4 == 0 else { return nil }
        var count = text.count
        while count > 0, text.count - count < 2, text[count - 1] == 0x3D { count -= 1 }
        return decode(text.span, count: count, sixtyTwo: 0x2B, sixtyThree: 0x2F)
    }

    private static func encode(_ bytes: [UInt8], _ alphabet: [UInt8], padded: Bool) -> [UInt8] {
        var text: [UInt8] = []
        text.reserveCapacity((bytes.count + 2) / 3 * 4)
        var index = 0
        while index < bytes.count {
            let left = bytes.count - index
            let first = UInt32(bytes[index]) << 16
            let second = left > 1 ? UInt32(bytes[index + 1]) << 8 : 0
            let group = first | second | (left > 2 ? UInt32(bytes[index + 2]) : 0)
            text.append(alphabet[Int(group >> 18)])
            text.append(alphabet[Int(group >> 12 & 63)])
            if left > 1 { text.append(alphabet[Int(group >> 6 & 63)]) } else if padded { text.append(0x3D) }
            if left > 2 { text.append(alphabet[Int(group & 63)]) } else if padded { text.append(0x3D) }
            index += 3
        }
        return text
    }

    private static func decode(_ text: Span<UInt8>, count: Int, sixtyTwo: UInt8, sixtyThree: UInt8) -> [UInt8]? {
        guard count % 4 != 1 else { return nil }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count / 4 * 3 + 2)
        var group: UInt32 = 0
        var held = 0
        for index in 0..<count {
            let value: UInt32
            switch text[index] {
            case 0x41...0x5A: value = UInt32(text[index]) - 0x41
            case 0x61...0x7A: value = UInt32(text[index]) - 0x61 + 26
            case 0x30...0x39: value = UInt32(text[index]) - 0x30 + 52
            case sixtyTwo: value = 62
            case sixtyThree: value = 63
            default: return nil
            }
            group = (group & 0xFFFF) << 6 | value
            held += 6
            if held >= 8 {
                held -= 8
                bytes.append(UInt8(truncatingIfNeeded: group >> UInt32(held)))
            }
        }
        guard group & ((1 << UInt32(held)) - 1) == 0 else { return nil }
        return bytes
    }
}

/// Lower-case hexadecimal.
package enum Hex {
    private static let digits = Array("0123456789abcdef".utf8)

    /// Two lower-case digits a byte.
    package static func encode(_ bytes: [UInt8]) -> String {
        var text: [UInt8] = []
        text.reserveCapacity(bytes.count * 2)
        for byte in bytes {
            text.append(digits[Int(byte >> 4)])
            text.append(digits[Int(byte & 15)])
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// Nil on an odd length or a byte that is no hexadecimal digit; both cases of letters are read.
    package static func decode(_ text: String) -> [UInt8]? {
        let symbols = Array(text.utf8)
        guard symbols.count % 2 == 0 else { return nil }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(symbols.count / 2)
        for index in stride(from: 0, to: symbols.count, by: 2) {
            guard let high = value(symbols[index]), let low = value(symbols[index + 1]) else { return nil }
            bytes.append(high << 4 | low)
        }
        return bytes
    }

    private static func value(_ symbol: UInt8) -> UInt8? {
        switch symbol {
        case 0x30...0x39: symbol - 0x30
        case 0x61...0x66: symbol - 0x61 + 10
        case 0x41...0x46: symbol - 0x41 + 10
        default: nil
        }
    }
}
