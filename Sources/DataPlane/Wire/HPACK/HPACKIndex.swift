internal import Containers

/// Where the encoder finds the entry with a name and a value: the last one of each known name first, then a table by hash.
///
/// It holds numbers only, and each is proved against the entry's bytes before it is used: a hash that two values share, or
/// a number of an entry that is gone, costs a miss. Looking takes a fixed number of steps, whatever a peer sends.
struct HPACKIndex: ~Copyable {
    /// Entries that share a place: this many are looked at, the oldest is overwritten.
    private static let ways = 4

    /// By the known name's number; empty until something is inserted.
    private var last: [UInt32] = []
    /// Its count is a power of two, or 0.
    private var slots: [UInt32] = []

    /// The number of the last entry of that known name that was inserted or found; it may be gone.
    @inline(__always)
    func latest(_ name: HeaderName) -> UInt32 {
        let place = Int(name.rawValue)
        return place < last.count ? last[place] : 0
    }

    @inline(__always)
    mutating func setLatest(_ name: HeaderName, _ number: UInt32) {
        let place = Int(name.rawValue)
        if place < last.count { last[place] = number }
    }

    /// The number of the entry with exactly these bytes.
    func find(
        _ hash: UInt32, _ name: HeaderName, _ nameBytes: Span<UInt8>, _ value: Span<UInt8>,
        in table: borrowing HPACKTable
    ) -> UInt32? {
        guard !slots.isEmpty else { return nil }
        let start = place(of: hash)
        for slot in start..<start &+ Self.ways {
            let number = slots[slot]
            if let entry = table.entry(numbered: number), entry.hash == hash,
                table.holds(entry, name, nameBytes, value)
            {
                return number
            }
        }
        return nil
    }

    /// The table has just inserted `number`.
    mutating func insert(_ number: UInt32, _ hash: UInt32, in table: borrowing HPACKTable) {
        guard slots.count == table.ringCount &* 2 else { return rebuild(table) }
        put(number, hash, table)
    }

    private mutating func rebuild(_ table: borrowing HPACKTable) {
        if last.isEmpty { last = [UInt32](repeating: 0, count: Int(UInt8.max) / 2 + 1) }
        slots = [UInt32](repeating: 0, count: table.ringCount &* 2)
        for age in 0..<table.count {
            let number = table.nextNumber &- UInt32(truncatingIfNeeded: table.count &- age)
            if let entry = table.entry(numbered: number) { put(number, entry.hash, table) }
        }
    }

    private mutating func put(_ number: UInt32, _ hash: UInt32, _ table: borrowing HPACKTable) {
        guard !slots.isEmpty else { return }
        let start = place(of: hash)
        var chosen = start
        var oldest: UInt32 = 0
        for slot in start..<start &+ Self.ways {
            guard table.entry(numbered: slots[slot]) != nil else {
                chosen = slot
                break
            }
            let age = number &- slots[slot]
            if age > oldest {
                oldest = age
                chosen = slot
            }
        }
        slots[chosen] = number
    }

    @inline(__always)
    private func place(of hash: UInt32) -> Int { Int(hash) & (slots.count &- Self.ways) }
}

extension HPACKTable {
    /// The entry has exactly this name and value.
    @inline(__always)
    func holds(_ entry: Entry, _ name: HeaderName, _ nameBytes: Span<UInt8>, _ value: Span<UInt8>) -> Bool {
        guard entry.name == name, Int(entry.valueCount) == value.count else { return false }
        guard self.value(of: entry).equals(value) else { return false }
        return name != .other || self.nameBytes(of: entry).equals(nameBytes)
    }
}

extension Span where Element == UInt8 {
    /// Mixes the bytes into `seed`, eight at a time.
    func mixed(into seed: UInt64) -> UInt64 {
        var hash = seed ^ UInt64(truncatingIfNeeded: count)
        let own = unsafe bytes
        if count >= 8 {
            var start = 0
            while start < count {
                let offset = Swift.min(start, count &- 8)
                // SAFETY: offset + 8 <= count.
                hash ^= unsafe own.unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt64.self)
                hash = hash &* 0x9E37_79B9_7F4A_7C15
                hash ^= hash >> 32
                start &+= 8
            }
            return hash
        }
        for index in 0..<count { hash = hash << 8 &+ hash ^ UInt64(self[index]) }
        hash = hash &* 0x9E37_79B9_7F4A_7C15
        return hash ^ hash >> 32
    }
}
