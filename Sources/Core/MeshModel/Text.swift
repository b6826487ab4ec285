/// Text that is known to be ASCII, held and compared as bytes.
///
/// Swift compares `String` by canonical equivalence, so identities, hosts and names are never `String` where they decide
/// something; this is what they are made of.
package struct ASCIIText: Hashable, Comparable, Sendable, CustomStringConvertible {
    package let bytes: [UInt8]

    /// Nil when a byte is not printable ASCII (0x21–0x7E): no space, no control byte.
    package init?(_ bytes: [UInt8]) {
        for byte in bytes where byte < 0x21 || byte > 0x7E { return nil }
        self.bytes = bytes
    }

    package init?(_ text: String) { self.init(Array(text.utf8)) }

    /// For bytes that a stricter grammar has already accepted.
    init(checked bytes: [UInt8]) { self.bytes = bytes }

    package var count: Int { bytes.count }
    package var isEmpty: Bool { bytes.isEmpty }
    package var description: String { String(decoding: bytes, as: UTF8.self) }

    package static func < (left: ASCIIText, right: ASCIIText) -> Bool {
        left.bytes.lexicographicallyPrecedes(right.bytes)
    }

    package func hasPrefix(_ prefix: ASCIIText) -> Bool { bytes.starts(with: prefix.bytes) }

    /// True when the bytes are equal to those of `span`.
    package func equals(_ span: Span<UInt8>) -> Bool {
        guard span.count == bytes.count else { return false }
        for index in 0..<bytes.count where span[index] != bytes[index] { return false }
        return true
    }
}

/// Grammar checks shared by the names of this module. All of them judge bytes.
enum Grammar {
    static func isLowerAlphanumeric(_ byte: UInt8) -> Bool {
        (byte >= 0x61 && byte <= 0x7A) || isDigit(byte)
    }

    static func isDigit(_ byte: UInt8) -> Bool { byte >= 0x30 && byte <= 0x39 }

    /// RFC 1123 label: 1–63 of `[a-z0-9-]`, no hyphen at either end.
    static func isLabel(_ bytes: some Collection<UInt8>) -> Bool {
        guard let first = bytes.first, bytes.count <= 63 else { return false }
        var last = first
        for byte in bytes {
            guard isLowerAlphanumeric(byte) || byte == 0x2D else { return false }
            last = byte
        }
        return isLowerAlphanumeric(first) && isLowerAlphanumeric(last)
    }

    /// A decimal without sign or leading zero, 1–65535.
    static func port(_ bytes: some Collection<UInt8>) -> UInt16? {
        guard let first = bytes.first, first != 0x30, bytes.count <= 5 else { return nil }
        var value: UInt32 = 0
        for byte in bytes {
            guard isDigit(byte) else { return nil }
            value = value * 10 + UInt32(byte - 0x30)
        }
        return value <= 65_535 ? UInt16(value) : nil
    }
}
