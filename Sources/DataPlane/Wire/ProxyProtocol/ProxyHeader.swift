internal import Containers

/// Why the bytes are not a PROXY v2 header that meshfed takes.
package enum ProxyFault: Error, Equatable, Sendable {
    /// Not the signature, version 2, a known command, or family UNSPEC.
    case malformed
    /// Longer than `ProxyHeader.limit`.
    case tooLarge
}

/// The header in front of a `meshfed-tcp/1` stream: PROXY protocol version 2 with TLVs and no addresses (PROTOCOLS 6).
///
/// It refers to the bytes that it was parsed from; nothing is copied. Written by `ProxyHeaderWriter`.
package struct ProxyHeader: Sendable {
    package enum Command: UInt8, Sendable {
        /// Not on behalf of anybody: answers and probes.
        case local = 0x20
        case proxy = 0x21
    }

    /// TLV types. 0xE0 to 0xEF are for applications (PROXY protocol 2.2.7).
    package enum Field: UInt8, Sendable {
        /// PP2_TYPE_AUTHORITY: the mesh name.
        case authority = 0x02
        case assertion = 0xe0
        case hops = 0xe1
        /// The receiver's word: a reason, or `ok`.
        case answer = 0xe2
        case traceparent = 0xe3
        case deadline = 0xe4
        case probe = 0xe5
    }

    /// The most bytes of a header, signature included.
    package static let limit = 4_096
    static let fixed = 16
    static let signature: [UInt8] = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]

    package let command: Command
    /// Bytes of the whole header; the stream begins behind them.
    package let count: Int

    /// Parses the header at the start of `bytes`. Nil: more bytes are needed. Refuses as early as the bytes allow.
    package static func parse(_ bytes: Span<UInt8>) throws(ProxyFault) -> ProxyHeader? {
        for index in 0..<min(bytes.count, signature.count) where bytes[index] != signature[index] { throw .malformed }
        guard bytes.count > signature.count else { return nil }
        guard let command = Command(rawValue: bytes[12]) else { throw .malformed }
        guard bytes.count > 13 else { return nil }
        // Family and transport UNSPEC: no address of a pod crosses clusters, and none is believed.
        guard bytes[13] == 0 else { throw .malformed }
        guard bytes.count >= fixed else { return nil }
        let count = fixed + Int(bytes[14]) << 8 + Int(bytes[15])
        guard count <= limit else { throw .tooLarge }
        guard bytes.count >= count else { return nil }
        try check(bytes.extracting(fixed..<count))
        return ProxyHeader(command: command, count: count)
    }

    /// Every TLV lies inside the header, and no type of ours stands twice.
    private static func check(_ fields: Span<UInt8>) throws(ProxyFault) {
        var seen: UInt64 = 0
        var start = 0
        while start < fields.count {
            guard fields.count - start >= 3 else { throw .malformed }
            let end = start + 3 + Int(fields[start + 1]) << 8 + Int(fields[start + 2])
            guard end <= fields.count else { throw .malformed }
            if let field = Field(rawValue: fields[start]) {
                let bit: UInt64 = 1 << UInt64(field.rawValue & 63)
                guard seen & bit == 0 else { throw .malformed }
                seen |= bit
            }
            start = end
        }
    }

    /// The value of a field; nil when it is absent. `bytes` are those that were parsed.
    package func value(_ field: Field, in bytes: Span<UInt8>) -> Range<Int>? {
        var start = Self.fixed
        while start + 3 <= count, start + 3 <= bytes.count {
            let end = start + 3 + Int(bytes[start + 1]) << 8 + Int(bytes[start + 2])
            guard end <= count, end <= bytes.count else { return nil }
            if bytes[start] == field.rawValue { return (start + 3)..<end }
            start = end
        }
        return nil
    }
}

/// Builds one PROXY v2 header.
package struct ProxyHeaderWriter: ~Copyable {
    private let command: ProxyHeader.Command
    private var fields = ByteBuffer()
    private var isTooLarge = false

    package init(_ command: ProxyHeader.Command) { self.command = command }

    package mutating func append(_ field: ProxyHeader.Field, _ value: Span<UInt8>) {
        guard fields.count + value.count + 3 + ProxyHeader.fixed <= ProxyHeader.limit else {
            isTooLarge = true
            return
        }
        fields.append(field.rawValue)
        fields.append(UInt8(truncatingIfNeeded: value.count >> 8))
        fields.append(UInt8(truncatingIfNeeded: value.count))
        fields.append(value)
    }

    package mutating func append(_ field: ProxyHeader.Field, _ value: [UInt8]) { append(field, value.span) }

    package mutating func append(_ field: ProxyHeader.Field, _ text: borrowing OutputBuffer) {
        append(field, text.bytes)
    }

    /// Appends the header to `buffer`. Throws when its fields did not fit into `ProxyHeader.limit`.
    package consuming func finish(into buffer: inout OutputBuffer) throws(ProxyFault) {
        if isTooLarge { throw .tooLarge }
        buffer.append(ProxyHeader.signature)
        buffer.append(command.rawValue)
        buffer.append(0)
        buffer.append(UInt8(truncatingIfNeeded: fields.count >> 8))
        buffer.append(UInt8(truncatingIfNeeded: fields.count))
        buffer.append(fields.bytes)
    }
}

extension ProxyHeader {
    /// Parses the header at the start of what waits in `buffer`.
    package static func parse(_ buffer: borrowing OutputBuffer) throws(ProxyFault) -> ProxyHeader? {
        try parse(buffer.bytes)
    }

    /// A copy of a field's value; nil when it is absent.
    package func copy(_ field: Field, of buffer: borrowing OutputBuffer) -> [UInt8]? {
        let bytes = buffer.bytes
        guard let range = value(field, in: bytes) else { return nil }
        var copy: [UInt8] = []
        for index in range { copy.append(bytes[index]) }
        return copy
    }
}
