package import MeshModel

/// What an origin assertion says (PROTOCOLS section 5), and its protobuf form, written and read by hand.
///
/// Fields: 1 caller, 2 audience, 3 issued (int64, seconds since 1970), 4 expires, 5 nonce (16 bytes), 6 attestedBy. 7–15 are
/// kept for `perRequest`.
package struct OriginClaims: Hashable, Sendable {
    /// Random bytes in a claim.
    package static let nonceLength = 16
    /// The longest life, in seconds.
    package static let maximumLife: Int64 = 60
    /// The longest audience in bytes: a server name has at most 255.
    package static let maximumAudience = 255

    package var caller: SPIFFEID
    /// `<port>.<mesh name>`, the SNI of the legs it travels.
    package var audience: [UInt8]
    package var issued: WallTime
    package var expires: WallTime
    package var nonce: [UInt8]
    /// The gateway that vouches for a caller without a sidecar.
    package var attestedBy: SPIFFEID?

    package init(
        caller: SPIFFEID, audience: [UInt8], issued: WallTime, expires: WallTime, nonce: [UInt8], attestedBy: SPIFFEID?
    ) {
        self.caller = caller
        self.audience = audience
        self.issued = issued
        self.expires = expires
        self.nonce = nonce
        self.attestedBy = attestedBy
    }

    package func encoded() -> [UInt8] {
        var bytes: [UInt8] = []
        func varint(_ number: UInt64) {
            var rest = number
            while rest >= 0x80 {
                bytes.append(UInt8(rest & 0x7F) | 0x80)
                rest >>= 7
            }
            bytes.append(UInt8(rest))
        }
        func field(_ number: UInt64, _ content: [UInt8]) {
            varint(number << 3 | 2)
            varint(UInt64(content.count))
            bytes += content
        }
        field(1, caller.bytes)
        field(2, audience)
        varint(3 << 3)
        varint(UInt64(bitPattern: issued.seconds))
        varint(4 << 3)
        varint(UInt64(bitPattern: expires.seconds))
        field(5, nonce)
        if let attestedBy { field(6, attestedBy.bytes) }
        return bytes
    }

    /// Nil for what is not exactly one set of claims: a known field twice, of another type or beyond its limit, one that is
    /// missing, groups, a length that runs past the end. Unknown fields are skipped.
    package init?(decoding bytes: ArraySlice<UInt8>) {
        var fields = FieldReader(rest: bytes)
        var texts: [UInt64: [UInt8]] = [:]
        var numbers: [UInt64: Int64] = [:]
        while !fields.rest.isEmpty {
            guard let field = fields.next() else { return nil }
            switch (field.number, field.content) {
            case (1, .bytes(let content)), (2, .bytes(let content)), (5, .bytes(let content)), (6, .bytes(let content)):
                guard texts.updateValue(Array(content), forKey: field.number) == nil else { return nil }
            case (3, .varint(let number)), (4, .varint(let number)):
                guard numbers.updateValue(Int64(bitPattern: number), forKey: field.number) == nil else { return nil }
            case (1...6, _): return nil
            default: break
            }
        }
        guard let caller = texts[1].flatMap({ SPIFFEID($0) }), let audience = texts[2], !audience.isEmpty,
            audience.count <= Self.maximumAudience, let issued = numbers[3], let expires = numbers[4], issued >= 0,
            expires >= 0, let nonce = texts[5], nonce.count == Self.nonceLength
        else { return nil }
        if let text = texts[6] {
            guard let gateway = SPIFFEID(text) else { return nil }
            attestedBy = gateway
        } else {
            attestedBy = nil
        }
        self.caller = caller
        self.audience = audience
        self.issued = WallTime(seconds: issued)
        self.expires = WallTime(seconds: expires)
        self.nonce = nonce
    }
}

/// Reads protobuf fields (encoding.md of protobuf) one after the other, without trust in any length.
struct FieldReader {
    enum Content {
        case varint(UInt64)
        case bytes(ArraySlice<UInt8>)
        case fixed
    }

    var rest: ArraySlice<UInt8>

    /// Nil at anything malformed.
    mutating func next() -> (number: UInt64, content: Content)? {
        guard let key = varint(), key >> 3 != 0, key >> 3 < 1 << 29 else { return nil }
        let number = key >> 3
        switch key & 7 {
        case 0:
            guard let value = varint() else { return nil }
            return (number, .varint(value))
        case 1: return take(8).map { _ in (number, .fixed) }
        case 2:
            guard let count = varint(), count <= UInt64(rest.count), let bytes = take(Int(count)) else { return nil }
            return (number, .bytes(bytes))
        case 5: return take(4).map { _ in (number, .fixed) }
        default: return nil
        }
    }

    private mutating func varint() -> UInt64? {
        var value: UInt64 = 0
        for index in 0..<10 {
            guard let byte = rest.popFirst() else { return nil }
            if index == 9, byte > 1 { return nil }
            value |= UInt64(byte & 0x7F) << UInt64(7 * index)
            if byte < 0x80 { return value }
        }
        return nil
    }

    private mutating func take(_ count: Int) -> ArraySlice<UInt8>? {
        guard rest.count >= count else { return nil }
        let bytes = rest.prefix(count)
        rest = rest.dropFirst(count)
        return bytes
    }
}
