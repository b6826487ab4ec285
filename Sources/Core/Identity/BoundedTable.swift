internal import Glibc
internal import MeshModel

/// A bounded table from bytes to values, found by a seeded hash and compared in full. A set holds four entries; a new one takes
/// the place of the one that ends first. Not for two threads.
struct BoundedTable<Value> {
    private struct Entry {
        var key: [UInt8]
        var end: WallTime
        var value: Value
    }
    private static var ways: Int { 4 }

    /// Beside the entries, so that a miss reads one cache line; 0 is an empty place.
    private var hashes: [UInt64]
    private var entries: [Entry?]
    private let mask: UInt64
    private let seed: UInt64

    /// Room for `capacity` entries, rounded up to a power of two, at least four; `seed` is secret from peers.
    init(capacity: Int, seed: UInt64) {
        var sets = 1
        while sets * Self.ways < min(capacity, 1 << 20) { sets *= 2 }
        hashes = Array(repeating: 0, count: sets * Self.ways)
        entries = Array(repeating: nil, count: sets * Self.ways)
        mask = UInt64(sets - 1)
        self.seed = seed
    }

    subscript(key: Span<UInt8>) -> Value? {
        let hash = hash(key)
        for index in slots(hash) where hashes[index] == hash {
            if let entry = entries[index], Self.equal(entry.key, key) { return entry.value }
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
            if hashes[index] == hash, Self.equal(entry.key, key) {
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
        hashes[victim] = hash
        entries[victim] = Entry(key: copy, end: end, value: value)
    }

    mutating func removeAll() {
        for index in entries.indices {
            hashes[index] = 0
            entries[index] = nil
        }
    }

    private func slots(_ hash: UInt64) -> Range<Int> {
        let first = Int(hash >> 32 & mask) * Self.ways
        return first..<(first + Self.ways)
    }

    /// Multiply and fold over eight bytes a step; the seed keeps peers from choosing the set. Never 0.
    private func hash(_ key: Span<UInt8>) -> UInt64 {
        var state = seed ^ UInt64(key.count) &* 0x9E37_79B9_7F4A_7C15
        // SAFETY: every load stays below `count`.
        unsafe key.withUnsafeBytes { bytes in
            var place = 0
            while place + 8 <= bytes.count {
                state ^= unsafe bytes.loadUnaligned(fromByteOffset: place, as: UInt64.self)
                state = state &* 0xFF51_AFD7_ED55_8CCD
                state ^= state >> 32
                place += 8
            }
            while place < bytes.count {
                state = (state ^ UInt64(unsafe bytes[place])) &* 0xC4CE_B9FE_1A85_EC53
                place += 1
            }
        }
        state ^= state >> 29
        return state | 1
    }

    private static func equal(_ left: [UInt8], _ right: Span<UInt8>) -> Bool {
        guard left.count == right.count else { return false }
        guard !left.isEmpty else { return true }
        // SAFETY: both buffers hold `count` bytes.
        return unsafe left.withUnsafeBytes { left in
            unsafe right.withUnsafeBytes { right in
                guard let first = left.baseAddress, let second = right.baseAddress else { return false }
                return unsafe memcmp(first, second, left.count) == 0
            }
        }
    }
}
