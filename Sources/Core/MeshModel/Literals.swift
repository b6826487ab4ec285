/// IP address literals, read strictly: no leading zero, no zone, no brackets, no shorthand of IPv4.
package enum IPLiteral {
    /// The four bytes of `a.b.c.d`; nil for anything else.
    package static func v4(_ text: some Collection<UInt8>) -> [UInt8]? {
        let parts = text.split(separator: 0x2E, omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var bytes: [UInt8] = []
        for part in parts {
            guard let first = part.first, part.count <= 3, first != 0x30 || part.count == 1 else { return nil }
            var value: UInt32 = 0
            for byte in part {
                guard Grammar.isDigit(byte) else { return nil }
                value = value * 10 + UInt32(byte - 0x30)
            }
            guard value <= 255 else { return nil }
            bytes.append(UInt8(value))
        }
        return bytes
    }

    /// The sixteen bytes of an RFC 4291 literal, also with `::` and with a dotted tail; nil for anything else.
    package static func v6(_ text: some Collection<UInt8>) -> [UInt8]? {
        let all = Array(text)
        guard all.count >= 2, all.count <= 45 else { return nil }
        guard let gap = firstGap(all) else {
            guard let bytes = groups(all), bytes.count == 16 else { return nil }
            return bytes
        }
        let before = Array(all[..<gap])
        let after = Array(all[(gap + 2)...])
        guard let head = before.isEmpty ? [] : groups(before, dottedTail: false),
            let tail = after.isEmpty ? [] : groups(after), head.count + tail.count <= 14
        else { return nil }
        return head + Array(repeating: 0, count: 16 - head.count - tail.count) + tail
    }

    /// True for an IPv4 or IPv6 literal.
    package static func isAddress(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        return v4(bytes) != nil || v6(bytes) != nil
    }

    /// True for 127.0.0.0/8, ::1 and ::ffff:127.0.0.0/104.
    package static func isLoopback(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        if let four = v4(bytes) { return four[0] == 127 }
        guard let six = v6(bytes) else { return false }
        let zeros = six[..<10].allSatisfy { $0 == 0 }
        if zeros, six[10] == 0xFF, six[11] == 0xFF { return six[12] == 127 }
        return zeros && six[10..<15].allSatisfy { $0 == 0 } && six[15] == 1
    }

    /// True for an address that one host can have: not the unspecified one, not multicast, not broadcast.
    package static func isUnicast(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        if let four = v4(bytes) { return four[0] != 0 && four[0] < 224 }
        guard let six = v6(bytes) else { return false }
        return six[0] != 0xFF && six.contains { $0 != 0 }
    }

    private static func firstGap(_ text: [UInt8]) -> Int? {
        for index in 0..<(text.count - 1) where text[index] == 0x3A && text[index + 1] == 0x3A { return index }
        return nil
    }

    private static func groups(_ text: [UInt8], dottedTail: Bool = true) -> [UInt8]? {
        let parts = text.split(separator: 0x3A, omittingEmptySubsequences: false)
        guard parts.count <= 8 else { return nil }
        var bytes: [UInt8] = []
        for (index, part) in parts.enumerated() {
            if dottedTail, index == parts.count - 1, let four = v4(part) {
                bytes += four
                continue
            }
            guard !part.isEmpty, part.count <= 4 else { return nil }
            var value: UInt16 = 0
            for byte in part {
                guard let digit = hexadecimal(byte) else { return nil }
                value = value << 4 | UInt16(digit)
            }
            bytes.append(UInt8(value >> 8))
            bytes.append(UInt8(truncatingIfNeeded: value))
        }
        return bytes.count <= 16 ? bytes : nil
    }

    private static func hexadecimal(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x41...0x46: byte - 0x37
        case 0x61...0x66: byte - 0x57
        default: nil
        }
    }
}

/// `host:port` as flags and objects carry it: an IPv4 literal, a bracketed IPv6 literal or a DNS name, and a port.
package struct HostPort: Hashable, Sendable, CustomStringConvertible {
    /// Without brackets.
    package let host: String
    package let port: UInt16

    package init(host: String, port: UInt16) {
        self.host = host
        self.port = port
    }

    /// Reads `a.b.c.d:port`, `[v6]:port` or `name:port`; port 0 only where `zeroPort` allows it.
    package init?(_ text: String, zeroPort: Bool = false) {
        let bytes = Array(text.utf8)
        guard let colon = bytes.lastIndex(of: 0x3A) else { return nil }
        let number = Array(bytes[(colon + 1)...])
        var name = Array(bytes[..<colon])
        if zeroPort, number == [0x30] {
            port = 0
        } else {
            guard let value = Grammar.port(number) else { return nil }
            port = value
        }
        if name.first == 0x5B {
            guard name.last == 0x5D, name.count > 2 else { return nil }
            name = Array(name[1..<(name.count - 1)])
            guard IPLiteral.v6(name) != nil else { return nil }
        } else {
            guard IPLiteral.v4(name) != nil || Self.isHostName(name) else { return nil }
        }
        host = String(decoding: name, as: UTF8.self)
    }

    package var description: String {
        IPLiteral.v6(host.utf8) == nil ? "\(host):\(port)" : "[\(host)]:\(port)"
    }

    /// A DNS name (RFC 1123): labels with dots, at most 253 bytes, the last label not all digits.
    package static func isHostName(_ bytes: [UInt8]) -> Bool {
        guard !bytes.isEmpty, bytes.count <= 253 else { return false }
        let labels = bytes.split(separator: 0x2E, omittingEmptySubsequences: false)
        for label in labels {
            let lowered = label.map { $0 >= 0x41 && $0 <= 0x5A ? $0 | 0x20 : $0 }
            guard Grammar.isLabel(lowered) else { return false }
        }
        return labels.last?.contains { !Grammar.isDigit($0) } ?? false
    }
}

extension Duration {
    /// Reads a Gateway API duration (GEP-2257): one to four of `<1–5 digits><h|m|s|ms>`, as in `1h30m` or `250ms`.
    package init?(gep2257 text: String) {
        let bytes = Array(text.utf8)
        var milliseconds: Int64 = 0
        var index = 0
        var parts = 0
        while index < bytes.count {
            var value: Int64 = 0
            let start = index
            while index < bytes.count, Grammar.isDigit(bytes[index]) {
                guard index - start < 5 else { return nil }
                value = value * 10 + Int64(bytes[index] - 0x30)
                index += 1
            }
            guard index > start, index < bytes.count, parts < 4 else { return nil }
            let unit = bytes[index]
            index += 1
            switch unit {
            case 0x68: milliseconds += value * 3_600_000
            case 0x6D where index < bytes.count && bytes[index] == 0x73:
                index += 1
                milliseconds += value
            case 0x6D: milliseconds += value * 60_000
            case 0x73: milliseconds += value * 1_000
            default: return nil
            }
            parts += 1
        }
        guard parts > 0 else { return nil }
        self = .milliseconds(milliseconds)
    }

    /// The shortest GEP-2257 spelling, rounded down to milliseconds: `1h30m`, `0s`.
    package var gep2257: String {
        var rest = wholeMilliseconds
        var text = ""
        for (unit, size) in [("h", UInt64(3_600_000)), ("m", 60_000), ("s", 1_000), ("ms", 1)] where rest >= size {
            text += "\(rest / size)\(unit)"
            rest %= size
        }
        return text.isEmpty ? "0s" : text
    }
}
