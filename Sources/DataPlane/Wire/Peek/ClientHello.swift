/// What a TLS client says before anything is secret: the name that it wants and the protocols that it offers.
///
/// Read from the first record only (RFC 8446 section 5.1 lets a ClientHello span several; nobody's does below 16 KiB).
/// Nothing is believed: a handshake decides, this only says whom to hand the connection to.
package struct ClientHello: Hashable, Sendable {
    /// The host_name of RFC 6066 section 3; empty when there is none.
    package private(set) var serverName: [UInt8] = []
    /// ALPN names (RFC 7301), in the client's order.
    package private(set) var protocols: [[UInt8]] = []

    /// The first byte of a TLS handshake record.
    package static let firstByte: UInt8 = 0x16
    /// A record's header and the most that it may hold (RFC 8446 section 5.1).
    package static let limit = 5 + 16_384

    package enum Answer: Hashable, Sendable {
        case needsMore
        /// No ClientHello, or one that breaks its own lengths.
        case other
        case hello(ClientHello)
    }

    package static func read(_ bytes: Span<UInt8>) -> Answer {
        guard bytes.count > 0 else { return .needsMore }
        guard bytes[0] == firstByte else { return .other }
        guard bytes.count >= 5 else { return .needsMore }
        let length = Int(bytes[3]) << 8 | Int(bytes[4])
        guard bytes[1] == 3, length >= 4, length <= 16_384 else { return .other }
        guard bytes.count >= 5 + length else { return .needsMore }
        var reader = Reader(bytes, 5, 5 + length)
        guard reader.byte() == 1, let body = reader.block(3), reader.isAtEnd else { return .other }
        var hello = ClientHello()
        return hello.readBody(bytes, body) ? .hello(hello) : .other
    }

    private mutating func readBody(_ bytes: Span<UInt8>, _ body: Range<Int>) -> Bool {
        var reader = Reader(bytes, body.lowerBound, body.upperBound)
        // Version, random, session, cipher suites, compression (RFC 8446 section 4.1.2).
        guard reader.skip(34), let session = reader.block(1), session.count <= 32, let suites = reader.block(2),
            !suites.isEmpty, let compression = reader.block(1), !compression.isEmpty
        else { return false }
        if reader.isAtEnd { return true }
        guard let extensions = reader.block(2), reader.isAtEnd else { return false }
        var list = Reader(bytes, extensions.lowerBound, extensions.upperBound)
        while !list.isAtEnd {
            guard let kind = list.short(), let value = list.block(2) else { return false }
            switch kind {
            case 0: guard readName(bytes, value) else { return false }
            case 16: guard readProtocols(bytes, value) else { return false }
            default: break
            }
        }
        return true
    }

    private mutating func readName(_ bytes: Span<UInt8>, _ value: Range<Int>) -> Bool {
        var outer = Reader(bytes, value.lowerBound, value.upperBound)
        guard serverName.isEmpty, let list = outer.block(2), outer.isAtEnd else { return false }
        var reader = Reader(bytes, list.lowerBound, list.upperBound)
        while !reader.isAtEnd {
            guard let kind = reader.byte(), let name = reader.block(2) else { return false }
            if kind == 0, serverName.isEmpty { for index in name { serverName.append(bytes[index]) } }
        }
        return true
    }

    private mutating func readProtocols(_ bytes: Span<UInt8>, _ value: Range<Int>) -> Bool {
        var outer = Reader(bytes, value.lowerBound, value.upperBound)
        guard protocols.isEmpty, let list = outer.block(2), outer.isAtEnd else { return false }
        var reader = Reader(bytes, list.lowerBound, list.upperBound)
        while !reader.isAtEnd {
            guard let name = reader.block(1), !name.isEmpty else { return false }
            var word: [UInt8] = []
            for index in name { word.append(bytes[index]) }
            protocols.append(word)
        }
        return true
    }

    /// Length-prefixed parts of a borrowed range, each inside the one around it.
    private struct Reader: ~Escapable {
        private let bytes: Span<UInt8>
        private var at: Int
        private let end: Int

        @_lifetime(copy bytes)
        init(_ bytes: Span<UInt8>, _ start: Int, _ end: Int) {
            self.bytes = bytes
            at = start
            self.end = end
        }

        var isAtEnd: Bool { at == end }

        mutating func byte() -> UInt8? {
            guard at < end else { return nil }
            at += 1
            return bytes[at - 1]
        }

        mutating func short() -> Int? {
            guard let high = byte(), let low = byte() else { return nil }
            return Int(high) << 8 | Int(low)
        }

        mutating func skip(_ count: Int) -> Bool {
            guard count <= end - at else { return false }
            at += count
            return true
        }

        /// A part behind its own length of `width` bytes.
        mutating func block(_ width: Int) -> Range<Int>? {
            var length = 0
            for _ in 0..<width {
                guard let next = byte() else { return nil }
                length = length << 8 | Int(next)
            }
            guard length <= end - at else { return nil }
            at += length
            return (at - length)..<at
        }
    }
}

/// What the first bytes of a connection look like.
package enum FirstBytes: Hashable, Sendable {
    case needsMore
    /// The preface of HTTP/2 (RFC 9113 section 3.4).
    case http2
    /// A method and a space, as HTTP/1.1 begins.
    case http1
    case tls(ClientHello)
    case other

    private static let preface: [UInt8] = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
    /// Longer ones exist in no registry of methods.
    private static let longestMethod = 24

    package static func judge(_ bytes: Span<UInt8>) -> FirstBytes {
        guard bytes.count > 0 else { return .needsMore }
        if bytes[0] == ClientHello.firstByte {
            switch ClientHello.read(bytes) {
            case .needsMore: return .needsMore
            case .hello(let hello): return .tls(hello)
            case .other: return .other
            }
        }
        var length = 0
        while length < bytes.count, length < preface.count, bytes[length] == preface[length] { length += 1 }
        if length == preface.count { return .http2 }
        if length == bytes.count { return .needsMore }
        // `PRI` is a method nobody else may use: what begins like the preface and goes on otherwise is no HTTP.
        if length > 3 { return .other }
        for index in 0..<min(bytes.count, longestMethod + 1) {
            switch bytes[index] {
            case 0x41...0x5A, 0x2D, 0x5F: continue
            case 0x20:
                guard index >= 3, index + 1 < bytes.count else { return index >= 3 ? .needsMore : .other }
                let target = bytes[index + 1]
                let isTarget = target == 0x2F || target == 0x2A || isLetterOrDigit(target)
                return isTarget ? .http1 : .other
            default: return .other
            }
        }
        return bytes.count > longestMethod ? .other : .needsMore
    }

    private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
    }
}
