/// An immutable map from byte strings to small integers, looked up with borrowed bytes and no allocation.
///
/// Built once with a snapshot. Keys are ours (configuration), so an adversary chooses lookups only, never the keys.
public struct ByteTable: Sendable {
    private struct Slot: Sendable {
        var hash: UInt32 = 0
        var start: UInt32 = 0
        var count: UInt32 = 0
        var value: Int32 = -1
    }

    private var slab: [UInt8] = []
    private var slots: [Slot]
    public private(set) var count = 0

    /// Later duplicates of a key are ignored: the first one given wins.
    public init(_ entries: [(key: [UInt8], value: Int)]) {
        // No power of two: a table of 10,000 keys is in every proxy of a large mesh.
        slots = Array(repeating: Slot(), count: max(8, entries.count + entries.count / 2))
        slab.reserveCapacity(entries.reduce(0) { $0 + $1.key.count })
        for entry in entries { insert(entry.key, entry.value) }
    }

    public func value(for key: Span<UInt8>) -> Int? {
        let hash = Self.hash(key)
        var index = home(hash)
        while slots[index].value >= 0 {
            let slot = slots[index]
            if slot.hash == hash, matches(slot, key) { return Int(slot.value) }
            index = next(index)
        }
        return nil
    }

    public func value(for key: [UInt8]) -> Int? { value(for: key.span) }

    private func matches(_ slot: Slot, _ key: Span<UInt8>) -> Bool {
        guard Int(slot.count) == key.count else { return false }
        for offset in 0..<key.count where slab[Int(slot.start) + offset] != key[offset] { return false }
        return true
    }

    private mutating func insert(_ key: [UInt8], _ value: Int) {
        guard self.value(for: key) == nil else { return }
        let hash = Self.hash(key.span)
        var index = home(hash)
        while slots[index].value >= 0 { index = next(index) }
        slots[index] = Slot(
            hash: hash, start: UInt32(slab.count), count: UInt32(key.count), value: Int32(clamping: value))
        slab.append(contentsOf: key)
        count += 1
    }

    /// The share of the slots that the hash is of all hashes: a division by any number of slots without one.
    private func home(_ hash: UInt32) -> Int { Int((UInt64(hash) &* UInt64(slots.count)) >> 32) }

    private func next(_ index: Int) -> Int { index + 1 == slots.count ? 0 : index + 1 }

    /// FNV-1a, 64 bit, mixed once more: its upper bits depend little on the last bytes of a key.
    private static func hash(_ key: Span<UInt8>) -> UInt32 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for index in 0..<key.count { hash = (hash ^ UInt64(key[index])) &* 0x0000_0100_0000_01b3 }
        return UInt32(truncatingIfNeeded: ((hash ^ (hash >> 32)) &* 0x9e37_79b9_7f4a_7c15) >> 32)
    }
}
