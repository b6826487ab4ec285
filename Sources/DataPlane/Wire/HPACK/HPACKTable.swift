internal import Containers

/// The dynamic table of one direction (RFC 7541 2.3.2): bytes in one run that is drained from the front, and a ring of
/// plain entries. An entry keeps its number from insertion to eviction; numbers wrap.
struct HPACKTable: ~Copyable {
    struct Entry {
        /// Of its bytes among all that were ever inserted; wraps.
        var place: UInt32 = 0
        /// Also that of a known name, which has no bytes here.
        var nameCount: UInt32 = 0
        var valueCount: UInt32 = 0
        /// Only the encoder's.
        var hash: UInt32 = 0
        var name = HeaderName.other
        /// Only the decoder's: what RFC 9113 8.2.1 forbids.
        var isNameMalformed = false
        var isValueMalformed = false

        /// What it counts (RFC 7541 4.1).
        @inline(__always) var size: Int { Int(nameCount) &+ Int(valueCount) &+ HeaderBlock.fieldOverhead }

        @inline(__always) fileprivate var ownNameCount: Int { name == .other ? Int(nameCount) : 0 }
    }

    /// Both sides begin with this (RFC 9113 6.5.2).
    static let initialCapacity = 4_096
    /// Room made for the first entry.
    private static let usualEntries = 16

    private var slab = ByteBuffer()
    /// Its count is a power of two, or 0; the entry of number n stands at n modulo that.
    private var ring: [Entry] = []
    /// How many bytes were drained so far; wraps.
    private var drained: UInt32 = 0
    /// The number of the oldest entry.
    private var oldest: UInt32 = 1
    private(set) var count = 0
    /// The sum of the entries' sizes.
    private(set) var size = 0
    private(set) var capacity = HPACKTable.initialCapacity

    init() {}

    /// How many entries there is room for before the ring grows: an index beside it grows then as well.
    var ringCount: Int { ring.count }

    /// The number that the next entry gets.
    @inline(__always) var nextNumber: UInt32 { oldest &+ UInt32(truncatingIfNeeded: count) }

    /// Evicts what does not fit. An empty table gives its memory back.
    mutating func resize(to capacity: Int) {
        self.capacity = capacity
        evict(for: 0)
        guard count == 0 else { return }
        slab.shrink()
        ring = []
    }

    /// The entry of that number; nil once it was evicted, and for a number that was never given.
    @inline(__always)
    func entry(numbered number: UInt32) -> Entry? {
        guard number &- oldest < UInt32(truncatingIfNeeded: count) else { return nil }
        return ring[Int(number) & (ring.count &- 1)]
    }

    /// The index on the wire of the entry of that number, which is in the table.
    @inline(__always)
    func index(numbered number: UInt32) -> Int {
        HPACKStaticTable.count &+ Int(nextNumber &- number)
    }

    /// The entry of an index beyond the static table.
    @inline(__always)
    func entry(at index: Int) throws(HPACKError) -> Entry {
        let age = index &- HPACKStaticTable.count
        guard age >= 1, age <= count else { throw HPACKError() }
        return ring[Int(nextNumber &- UInt32(truncatingIfNeeded: age)) & (ring.count &- 1)]
    }

    /// The bytes of an unknown name; empty for a known one.
    @_lifetime(borrow self)
    @inline(__always)
    func nameBytes(of entry: Entry) -> Span<UInt8> {
        let start = Int(entry.place &- drained)
        let bytes = slab.bytes
        return bytes.extracting(start..<start &+ entry.ownNameCount)
    }

    @_lifetime(borrow self)
    @inline(__always)
    func value(of entry: Entry) -> Span<UInt8> {
        let start = Int(entry.place &- drained) &+ entry.ownNameCount
        let bytes = slab.bytes
        return bytes.extracting(start..<start &+ Int(entry.valueCount))
    }

    /// Inserts `entry` (its `place` is set here); `name` is empty for a known one. An entry larger than the table empties
    /// it (RFC 7541 4.4).
    mutating func insert(_ entry: Entry, name: Span<UInt8>, value: Span<UInt8>) {
        evict(for: entry.size)
        guard entry.size <= capacity else { return }
        if count == ring.count { grow() }
        var entry = entry
        entry.place = drained &+ UInt32(truncatingIfNeeded: slab.count)
        slab.append(name)
        slab.append(value)
        ring[Int(nextNumber) & (ring.count &- 1)] = entry
        count &+= 1
        size &+= entry.size
    }

    private mutating func evict(for more: Int) {
        while size &+ more > capacity, count > 0 {
            let entry = ring[Int(oldest) & (ring.count &- 1)]
            let bytes = entry.ownNameCount &+ Int(entry.valueCount)
            slab.consume(bytes)
            drained &+= UInt32(truncatingIfNeeded: bytes)
            oldest &+= 1
            count &-= 1
            size &-= entry.size
        }
    }

    private mutating func grow() {
        var larger = [Entry](repeating: Entry(), count: max(Self.usualEntries, ring.count &* 2))
        for offset in 0..<count {
            let number = Int(oldest &+ UInt32(truncatingIfNeeded: offset))
            larger[number & (larger.count &- 1)] = ring[number & (ring.count &- 1)]
        }
        ring = larger
    }
}
