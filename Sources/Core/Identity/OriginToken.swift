internal import MeshModel

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

/// A bounded table from bytes to values, found by a seeded hash and compared in full. A set holds four entries; a new one takes
/// the place of the one that ends first. Not for two threads.
struct BoundedTable<Value> {
    private struct Entry {
        var hash: UInt64
        var key: [UInt8]
        var end: WallTime
        var value: Value
    }
    private static var ways: Int { 4 }

    private var entries: [Entry?]
    private let mask: UInt64
    private let seed: UInt64

    /// Room for `capacity` entries, rounded up to a power of two, at least four; `seed` is secret from peers.
    init(capacity: Int, seed: UInt64) {
        var sets = 1
        while sets * Self.ways < min(capacity, 1 << 20) { sets *= 2 }
        entries = Array(repeating: nil, count: sets * Self.ways)
        mask = UInt64(sets - 1)
        self.seed = seed
    }

    subscript(key: Span<UInt8>) -> Value? {
        let hash = hash(key)
        for index in slots(hash) {
            guard let entry = entries[index], entry.hash == hash, Self.equal(entry.key, key) else { continue }
            return entry.value
        }
        return nil
    }

    mutating func insert(_ key: Span<UInt8>, _ value: Value, end: WallTime) {
        let hash = hash(key)
        var victim = slots(hash).lowerBound
        var earliest = WallTime(seconds: .max)
        for index in slots(hash) {
            guard let entry = entries[index] else {
                victim = index
                break
            }
            if entry.hash == hash, Self.equal(entry.key, key) {
                victim = index
                break
            }
            if entry.end < earliest {
                earliest = entry.end
                victim = index
            }
        }
        var copy: [UInt8] = []
        copy.reserveCapacity(key.count)
        for index in 0..<key.count { copy.append(key[index]) }
        entries[victim] = Entry(hash: hash, key: copy, end: end, value: value)
    }

    mutating func removeAll() {
        for index in entries.indices { entries[index] = nil }
    }

    private func slots(_ hash: UInt64) -> Range<Int> {
        let first = Int(hash & mask) * Self.ways
        return first..<(first + Self.ways)
    }

    /// Multiply and rotate over eight bytes a step; the seed keeps peers from choosing the set.
    private func hash(_ key: Span<UInt8>) -> UInt64 {
        var state = seed ^ UInt64(key.count) &* 0x9E37_79B9_7F4A_7C15
        var word: UInt64 = 0
        for index in 0..<key.count {
            word = word << 8 | UInt64(key[index])
            if index & 7 == 7 {
                state = (state ^ word) &* 0xFF51_AFD7_ED55_8CCD
                state ^= state >> 32
                word = 0
            }
        }
        state = (state ^ word) &* 0xC4CE_B9FE_1A85_EC53
        return state ^ state >> 29
    }

    private static func equal(_ left: [UInt8], _ right: Span<UInt8>) -> Bool {
        guard left.count == right.count else { return false }
        let left = left.span
        for index in 0..<right.count where left[index] != right[index] { return false }
        return true
    }
}
