/// An origin assertion's bytes (PROTOCOLS section 5): version 0x01 ‖ u16 claims length ‖ claims ‖ u8 count ‖ (u16 length ‖ DER)…
/// ‖ r‖s. The signature covers the context and all before it; the header carries it as base64url without padding.
package struct OriginToken: Hashable, Sendable {
    /// The longest text, in bytes.
    package static let maximumLength = 8_192
    private static let version: UInt8 = 1

    package let claims: OriginClaims
    /// Leaf first.
    package let chain: [[UInt8]]
    /// All that is signed, without the context.
    package let signed: [UInt8]
    /// r‖s, 64 bytes.
    package let signature: [UInt8]

    /// Signs `claims` with `key`, whose certificates are `chain`. Throws `malformed` when the text would be too long.
    package static func make(
        _ claims: OriginClaims, chain: [[UInt8]], key: borrowing PrivateKey
    ) throws(IdentityError) -> [UInt8] {
        let content = claims.encoded()
        guard let length = UInt16(exactly: content.count), let count = UInt8(exactly: chain.count), count > 0 else {
            throw .malformed("the origin assertion has too many claims or certificates")
        }
        var bytes = [version, UInt8(length >> 8), UInt8(length & 0xFF)] + content + [count]
        for der in chain {
            guard let length = UInt16(exactly: der.count) else { throw .malformed("a certificate is too long") }
            bytes += [UInt8(length >> 8), UInt8(length & 0xFF)] + der
        }
        let text = Base64.encodeURL(bytes + (try key.sign(bytes, context: .origin)))
        guard text.count <= maximumLength else { throw .malformed("the origin assertion is too long") }
        return text
    }

    /// Reads the text form. Nil for anything that is not one; nothing in it is believed yet.
    package init?(text: Span<UInt8>) {
        guard text.count <= Self.maximumLength, let bytes = Base64.decodeURL(text), bytes.count > SignatureForm.length
        else {
            return nil
        }
        let end = bytes.count - SignatureForm.length
        var rest = bytes[..<end]
        func length(_ rest: inout ArraySlice<UInt8>) -> Int? {
            guard let high = rest.popFirst(), let low = rest.popFirst() else { return nil }
            let value = Int(high) << 8 | Int(low)
            return value <= rest.count ? value : nil
        }
        guard rest.popFirst() == Self.version, let size = length(&rest),
            let claims = OriginClaims(decoding: rest.prefix(size))
        else { return nil }
        rest = rest.dropFirst(size)
        guard let count = rest.popFirst(), count >= 1, Int(count) <= TrustStore.maximumPresented else { return nil }
        var chain: [[UInt8]] = []
        for _ in 0..<count {
            guard let size = length(&rest) else { return nil }
            chain.append(Array(rest.prefix(size)))
            rest = rest.dropFirst(size)
        }
        guard rest.isEmpty else { return nil }
        self.claims = claims
        self.chain = chain
        signed = Array(bytes[..<end])
        signature = Array(bytes[end...])
    }
}
