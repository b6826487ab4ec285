internal import Containers

/// `host[:port]` of a Host field, an `:authority` or a CONNECT target, by the strict grammar that meshfed routes by.
///
/// A registered name (letters, digits, `-`, `.`, `_`), an IPv4 address or a bracketed IPv6 address, and a port from 1
/// to 65535. No userinfo, no percent-encoding, no comma, no path, nothing empty: what one reader takes for a host and
/// another for something else is refused (RFC 9110 7.2, HOSTILE 43 and 88).
package struct HostAuthority: Equatable, Sendable {
    package enum Kind: Sendable { case name, ipv4, ipv6 }

    /// The longest host, as DNS has it (RFC 1035 3.1), with one byte for a trailing dot.
    private static let hostLimit = 254

    package let kind: Kind
    /// Where the host stands in the bytes that were parsed; for IPv6 without the brackets, for names without one
    /// trailing dot.
    package let host: Range<Int>
    /// Nil when there was none.
    package let port: UInt16?

    /// Nil when `bytes` is not exactly one authority of the grammar above.
    package init?(_ bytes: Span<UInt8>) {
        guard let first = bytes.isEmpty ? nil : bytes[0] else { return nil }
        if first == UInt8(ascii: "[") {
            guard let close = bytes.firstIndex(of: UInt8(ascii: "]")), close <= 40 else { return nil }
            guard Self.isIPv6(bytes.extracting(1..<close)) else { return nil }
            guard let port = Self.port(bytes, after: close + 1) else { return nil }
            self.port = port == 0 ? nil : port
            kind = .ipv6
            host = 1..<close
            return
        }
        let end = bytes.firstIndex(of: UInt8(ascii: ":")) ?? bytes.count
        guard let port = Self.port(bytes, after: end) else { return nil }
        self.port = port == 0 ? nil : port
        guard let kind = Self.kind(of: bytes.extracting(0..<end)) else { return nil }
        self.kind = kind
        host = 0..<(bytes[end - 1] == UInt8(ascii: ".") ? end - 1 : end)
    }

    /// Appends the host in lower case, without port and brackets: the form that routes and policies compare.
    package func appendHost(of bytes: Span<UInt8>, to buffer: inout OutputBuffer) {
        for index in host { buffer.append(bytes[index].lowercased) }
    }

    /// The port behind `start`: 0 stands for none; nil for a malformed one.
    private static func port(_ bytes: Span<UInt8>, after start: Int) -> UInt16? {
        guard start < bytes.count else { return 0 }
        guard bytes[start] == UInt8(ascii: ":"), bytes.count - start <= 6 else { return nil }
        guard let value = bytes.extracting((start + 1)...).decimal, value >= 1 else { return nil }
        return UInt16(exactly: value)
    }

    private static func kind(of host: Span<UInt8>) -> Kind? {
        guard host.count > 0, host.count <= hostLimit else { return nil }
        var start = 0
        var index = 0
        while index < host.count {
            let byte = host[index]
            if byte == UInt8(ascii: ".") {
                guard index > start, index &- start <= 63 else { return nil }
                // One trailing dot is the root; anything else empty is malformed.
                if index &+ 1 == host.count { break }
                start = index &+ 1
            } else if !byte.isHostName {
                return nil
            }
            index &+= 1
        }
        guard index > start, index - start <= 63 else { return nil }
        guard isNumber(host.extracting(start..<index)) else { return .name }
        return isIPv4(host) ? .ipv4 : nil
    }

    /// All digits, or "0x…": names may not end so, because some resolvers read them as addresses.
    private static func isNumber(_ label: Span<UInt8>) -> Bool {
        let hex = label.count > 1 && label[0] == 48 && label[1].lowercased == UInt8(ascii: "x")
        for index in (hex ? 2 : 0)..<label.count {
            if hex ? label[index].hexValue == nil : !label[index].isDigit { return false }
        }
        return true
    }

    private static func isIPv4(_ host: Span<UInt8>) -> Bool {
        var parts = 0
        var start = 0
        for index in 0...host.count where index == host.count || host[index] == UInt8(ascii: ".") {
            guard let value = host.extracting(start..<index).decimal, value <= 255 else { return false }
            parts += 1
            start = index + 1
        }
        return parts == 4
    }

    /// RFC 4291 2.2: eight groups, or fewer with one `::`; the last two may be an IPv4 address. No zone.
    private static func isIPv6(_ text: Span<UInt8>) -> Bool {
        var groups = 0
        var compressed = false
        var index = 0
        if text.count >= 2, text[0] == UInt8(ascii: ":") {
            guard text[1] == UInt8(ascii: ":") else { return false }
            compressed = true
            index = 2
            if index == text.count { return true }
        }
        while index < text.count {
            let start = index
            while index < text.count, text[index].hexValue != nil { index += 1 }
            if index < text.count, text[index] == UInt8(ascii: ".") {
                guard isIPv4(text.extracting(start...)) else { return false }
                groups += 2
                index = text.count
                break
            }
            guard index > start, index - start <= 4 else { return false }
            groups += 1
            if index == text.count { break }
            guard text[index] == UInt8(ascii: ":") else { return false }
            index += 1
            guard index < text.count else { return false }
            if text[index] == UInt8(ascii: ":") {
                guard !compressed else { return false }
                compressed = true
                index += 1
            }
        }
        return compressed ? groups <= 7 : groups == 8
    }
}
