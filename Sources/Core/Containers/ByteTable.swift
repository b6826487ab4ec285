/// An immutable map from byte strings to small integers, looked up with borrowed bytes and no allocation.
///
/// Built once with a snapshot. Keys are ours (configuration), so an adversary chooses lookups only, never the keys.
public struct ByteTable: Sendable {
    private struct Slot: Sendable {
        var hash: UInt64 = 0
        var start: UInt32 = 0
        var count: UInt32 = 0
        var value: Int32 = -1
    }

    private var slab: [UInt8] = []
    private var slots: [Slot]
    private let mask: Int
    public private(set) var count = 0

    /// Later duplicates of a key are ignored: the first one given wins.
    public init(_ entries: [(key: [UInt8], value: Int)]) {
        var size = 8
        while size < entries.count * 2 { size *= 2 }
        slots = Array(repeating: Slot(), count: size)
        mask = size - 1
        for entry in entries { insert(entry.key, entry.value) }
    }

    public func value(for key: Span<UInt8>) -> Int? {
        let hash = Self.hash(key)
        var index = Int(truncatingIfNeeded: hash) & mask
        while slots[index].value >= 0 {
            let slot = slots[index]
            if slot.hash == hash, matches(slot, key) { return Int(slot.value) }
            index = (index + 1) & mask
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
        var index = Int(truncatingIfNeeded: hash) & mask
        while slots[index].value >= 0 { index = (index + 1) & mask }
        slots[index] = Slot(
            hash: hash, start: UInt32(slab.count), count: UInt32(key.count), value: Int32(clamping: value))
        slab.append(contentsOf: key)
        count += 1
    }

    /// FNV-1a, 64 bit, with a final mix.
    private static func hash(_ key: Span<UInt8>) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for index in 0..<key.count { hash = (hash ^ UInt64(key[index])) &* 0x0000_0100_0000_01b3 }
        return hash ^ (hash >> 29)
    }
}
