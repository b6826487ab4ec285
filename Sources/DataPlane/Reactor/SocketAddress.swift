internal import CLinux
internal import MeshModel

/// An IPv4 or IPv6 address with a port.
package struct SocketAddress: Hashable, Sendable, CustomStringConvertible {
    /// Network order; IPv4 in the first four bytes.
    private let high: UInt64
    private let low: UInt64
    private let scope: UInt32
    package let port: UInt16
    private let family: UInt8

    init?(_ raw: clinux_address) {
        guard raw.family == 4 || raw.family == 6 else { return nil }
        let bytes = raw.ip
        func word(_ parts: (UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8)) -> UInt64 {
            var value = UInt64(parts.0)
            value = value << 8 | UInt64(parts.1)
            value = value << 8 | UInt64(parts.2)
            value = value << 8 | UInt64(parts.3)
            value = value << 8 | UInt64(parts.4)
            value = value << 8 | UInt64(parts.5)
            value = value << 8 | UInt64(parts.6)
            return value << 8 | UInt64(parts.7)
        }
        let first = word((bytes.0, bytes.1, bytes.2, bytes.3, bytes.4, bytes.5, bytes.6, bytes.7))
        let second = word((bytes.8, bytes.9, bytes.10, bytes.11, bytes.12, bytes.13, bytes.14, bytes.15))
        if raw.family == 6, first == 0, second >> 32 == 0xFFFF {
            // A v4-mapped peer of a dual-stack listener is an IPv4 peer.
            high = second << 32
            low = 0
            family = 4
        } else {
            high = first
            low = raw.family == 4 ? 0 : second
            family = raw.family
        }
        scope = family == 6 ? raw.scope : 0
        port = raw.port
    }

    private init(high: UInt64, low: UInt64, scope: UInt32, port: UInt16, family: UInt8) {
        self.high = high
        self.low = low
        self.scope = scope
        self.port = port
        self.family = family
    }

    /// From an IP literal without brackets; nil for anything else.
    package init?(ip: String, port: UInt16) {
        // The C text would end at a NUL: what stands behind it must not be overlooked.
        guard !ip.utf8.contains(0) else { return nil }
        var raw = clinux_address()
        // SAFETY: the text and the address live for the length of the call.
        guard unsafe ip.withCString({ unsafe clinux_parse_address($0, &raw) }) == 0 else { return nil }
        raw.port = port
        self.init(raw)
    }

    /// From `1.2.3.4:80` or `[::1]:80`.
    package init?(_ text: String) {
        let bytes = Array(text.utf8)
        guard let colon = bytes.lastIndex(of: 0x3A), let port = Self.port(bytes[(colon + 1)...]) else { return nil }
        var host = bytes[..<colon]
        if host.first == 0x5B, host.last == 0x5D {
            host = host.dropFirst().dropLast()
            // Brackets are IPv6's (RFC 3986 section 3.2.2).
            guard host.contains(0x3A) else { return nil }
        } else if host.contains(0x3A) {
            return nil
        }
        self.init(ip: String(decoding: host, as: UTF8.self), port: port)
    }

    private static func port(_ digits: ArraySlice<UInt8>) -> UInt16? {
        guard !digits.isEmpty, digits.count <= 5 else { return nil }
        var value: UInt32 = 0
        for digit in digits {
            guard digit >= 0x30, digit <= 0x39 else { return nil }
            value = value * 10 + UInt32(digit - 0x30)
        }
        return UInt16(exactly: value)
    }

    /// Address and port in one word, for tables whose keys no stranger chooses.
    package var mixed: UInt64 { (high ^ low &* 0x9E37_79B9_7F4A_7C15) &+ UInt64(port) << 32 &+ UInt64(scope) }

    package var isIPv6: Bool { family == 6 }
    package var isLoopback: Bool { family == 4 ? high >> 56 == 127 : high == 0 && low == 1 }
    /// `0.0.0.0` or `::`.
    package var isAny: Bool { high == 0 && low == 0 }

    /// The address in network order: four or sixteen bytes.
    package var ipBytes: [UInt8] {
        let all = [high, low].flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> (56 - 8 * $0)) } }
        return family == 4 ? Array(all[..<4]) : all
    }

    package func withPort(_ port: UInt16) -> SocketAddress {
        SocketAddress(high: high, low: low, scope: scope, port: port, family: family)
    }

    /// The address without port and brackets.
    package var ipText: String {
        var value = raw
        var text = [CChar](repeating: 0, count: 64)
        // SAFETY: the shim writes at most `room` bytes and says how many.
        let count = unsafe clinux_format_address(&value, &text, text.count)
        return String(decoding: text.prefix(max(0, Int(count))).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    package var description: String { family == 6 ? "[\(ipText)]:\(port)" : "\(ipText):\(port)" }

    /// The addresses of a host name or literal by the system's resolver. Blocking: start-up and control plane only.
    package static func resolve(_ host: String, port: UInt16) -> [SocketAddress] {
        if let literal = SocketAddress(ip: host, port: port) { return [literal] }
        var found = [clinux_address](repeating: clinux_address(), count: 16)
        // SAFETY: the shim writes at most `room` addresses and says how many.
        let count = unsafe host.withCString { unsafe clinux_resolve($0, &found, Int32(found.count)) }
        return found.prefix(max(0, Int(count))).compactMap { raw in
            var raw = raw
            raw.port = port
            return SocketAddress(raw)
        }
    }

    var raw: clinux_address {
        var value = clinux_address()
        value.scope = scope
        value.port = port
        value.family = family
        func byte(_ word: UInt64, _ index: UInt64) -> UInt8 { UInt8(truncatingIfNeeded: word >> (56 - 8 * index)) }
        value.ip = (
            byte(high, 0), byte(high, 1), byte(high, 2), byte(high, 3), byte(high, 4), byte(high, 5), byte(high, 6),
            byte(high, 7), byte(low, 0), byte(low, 1), byte(low, 2), byte(low, 3), byte(low, 4), byte(low, 5),
            byte(low, 6), byte(low, 7)
        )
        return value
    }
}
