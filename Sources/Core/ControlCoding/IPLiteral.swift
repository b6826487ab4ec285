/// Judges address literals; bytes in, yes or no out. No zone identifiers, no brackets, no leading zeros.
package enum IPLiteral {
    package static func isValid(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        return isIPv4(bytes[...]) || isIPv6(bytes)
    }

    /// Four decimal octets (RFC 6943 section 3.1.1, strict form).
    static func isIPv4(_ bytes: ArraySlice<UInt8>) -> Bool {
        guard bytes.count <= 15 else { return false }
        let parts = bytes.split(separator: 0x2E, omittingEmptySubsequences: false)
        guard parts.count == 4 else { return false }
        for part in parts {
            guard (1...3).contains(part.count), part.count == 1 || part.first != 0x30 else { return false }
            var value = 0
            for byte in part {
                guard byte >= 0x30, byte <= 0x39 else { return false }
                value = value * 10 + Int(byte - 0x30)
            }
            guard value <= 255 else { return false }
        }
        return true
    }

    /// RFC 4291 section 2.2: eight groups, at most one `::`, perhaps an IPv4 tail.
    static func isIPv6(_ bytes: [UInt8]) -> Bool {
        guard bytes.count >= 2, bytes.count <= 45 else { return false }
        var halves: [ArraySlice<UInt8>] = []
        var gap: Int?
        for index in 0..<(bytes.count - 1) where bytes[index] == 0x3A && bytes[index + 1] == 0x3A {
            guard gap == nil else { return false }
            gap = index
        }
        if let gap {
            halves = [bytes[..<gap], bytes[(gap + 2)...]]
        } else {
            halves = [bytes[...]]
        }
        var groups = 0
        for (index, half) in halves.enumerated() where !half.isEmpty {
            let parts = half.split(separator: 0x3A, omittingEmptySubsequences: false)
            for (position, part) in parts.enumerated() {
                let last = index == halves.count - 1 && position == parts.count - 1
                if last, part.contains(0x2E) {
                    guard isIPv4(part) else { return false }
                    groups += 2
                } else {
                    guard (1...4).contains(part.count), part.allSatisfy(isHexadecimal) else { return false }
                    groups += 1
                }
            }
        }
        return gap == nil ? groups == 8 : groups <= 7
    }

    private static func isHexadecimal(_ byte: UInt8) -> Bool {
        (byte >= 0x30 && byte <= 0x39) || (byte >= 0x61 && byte <= 0x66) || (byte >= 0x41 && byte <= 0x46)
    }

    /// `host:port`, where host is an IPv4 literal, an IPv6 literal in brackets, or a DNS name in lower case.
    package static func isHostAndPort(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        guard bytes.count <= 300, let colon = bytes.lastIndex(of: 0x3A) else { return false }
        let host = bytes[..<colon]
        let port = bytes[(colon + 1)...]
        guard (1...5).contains(port.count), port.first != 0x30, port.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }),
            port.reduce(0, { $0 * 10 + Int($1 - 0x30) }) <= 65_535
        else { return false }
        if host.first == 0x5B {
            return host.last == 0x5D && host.count > 2 && isIPv6(Array(host.dropFirst().dropLast()))
        }
        guard !host.isEmpty, host.count <= 253 else { return false }
        return host.split(separator: 0x2E, omittingEmptySubsequences: false).allSatisfy { label in
            (1...63).contains(label.count) && label.first != 0x2D && label.last != 0x2D
                && label.allSatisfy {
                    ($0 >= 0x61 && $0 <= 0x7A) || ($0 >= 0x30 && $0 <= 0x39) || $0 == 0x2D || $0 == 0x5F
                }
        }
    }
}
