/// A label text interned in one worker's `WorkerMetrics`; it means nothing in another's.
package struct LabelHandle: Hashable, Sendable {
    let raw: UInt16

    /// The label `unknown`: the value is not known here (Istio's word).
    package static let unknown = LabelHandle(raw: 0)
    /// The label `other`: the value came after the table was full.
    package static let other = LabelHandle(raw: 1)
    /// A label that this family of series does not carry.
    static let omitted = LabelHandle(raw: .max)
}

/// Label texts → small handles. Bounded: what does not fit any more is `other`, and is counted.
struct LabelTable: Sendable {
    /// Texts: room for 10,000 series with a caller each and the names of the services besides.
    static let capacity = 16_384
    /// Bytes of one text that are kept; a SPIFFE ID may have 2,048, those in use stay far below.
    static let maximumLength = 512

    private(set) var texts: [[UInt8]] = []
    private(set) var overflow: UInt64 = 0
    private var slots: [Int32] = Array(repeating: -1, count: 64)

    init() {
        _ = intern(Array("unknown".utf8).span)
        _ = intern(Array("other".utf8).span)
    }

    mutating func intern(_ bytes: Span<UInt8>) -> LabelHandle {
        let kept = bytes.count > Self.maximumLength ? bytes.extracting(0..<Self.maximumLength) : bytes
        var index = Self.hash(kept) & (slots.count - 1)
        while slots[index] >= 0 {
            if Self.equal(texts[Int(slots[index])], kept) { return LabelHandle(raw: UInt16(slots[index])) }
            index = (index + 1) & (slots.count - 1)
        }
        guard texts.count < Self.capacity else {
            overflow &+= 1
            return .other
        }
        slots[index] = Int32(texts.count)
        var text: [UInt8] = []
        text.reserveCapacity(kept.count)
        for offset in 0..<kept.count { text.append(kept[offset]) }
        texts.append(text)
        if texts.count * 2 > slots.count { grow() }
        return LabelHandle(raw: UInt16(texts.count - 1))
    }

    private mutating func grow() {
        slots = Array(repeating: -1, count: slots.count * 2)
        for position in texts.indices {
            let text = texts[position]
            var index = Self.hash(text.span) & (slots.count - 1)
            while slots[index] >= 0 { index = (index + 1) & (slots.count - 1) }
            slots[index] = Int32(position)
        }
    }

    private static func equal(_ left: [UInt8], _ right: Span<UInt8>) -> Bool {
        guard left.count == right.count else { return false }
        for offset in 0..<left.count where left[offset] != right[offset] { return false }
        return true
    }

    /// FNV-1a with a final mix. An adversary may choose texts, so a long probe is possible; the capacity bounds it,
    /// and callers intern once per connection, not per request.
    private static func hash(_ key: Span<UInt8>) -> Int {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for offset in 0..<key.count { hash = (hash ^ UInt64(key[offset])) &* 0x0000_0100_0000_01b3 }
        return Int(truncatingIfNeeded: (hash ^ (hash >> 32)) & 0x7FFF_FFFF)
    }
}
