import Glibc
package import Identity
import Synchronization

/// SplitMix64 (Steele, Lea and Flood 2014): small, fast and the same everywhere. For tests only.
package struct SplitMix64: RandomNumberGenerator, Sendable {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    /// A generator for one property test: its seed is printed, and `MESHFED_SEED` repeats a run.
    package static func announced(_ test: String = #function) -> SplitMix64 {
        var seed = UInt64.random(in: 0...UInt64(UInt32.max))
        // SAFETY: the text is read before anything can change the environment.
        if let text = unsafe getenv("MESHFED_SEED"), let given = UInt64(unsafe String(cString: text)) { seed = given }
        print("\(test): MESHFED_SEED=\(seed)")
        return SplitMix64(seed: seed)
    }

    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ word >> 30) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ word >> 27) &* 0x94D0_49BB_1331_11EB
        return word ^ word >> 31
    }

    /// `count` bytes.
    package mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8(truncatingIfNeeded: next() >> 32) }
    }

    /// `bytes` with one to four small damages: a flipped bit, a byte lost, one put in, a tail cut off.
    package mutating func damaged(_ bytes: [UInt8]) -> [UInt8] {
        var bytes = bytes
        for _ in 0..<Int.random(in: 1...4, using: &self) where !bytes.isEmpty {
            let place = Int.random(in: 0..<bytes.count, using: &self)
            switch Int.random(in: 0..<5, using: &self) {
            case 0, 1: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &self)
            case 2: bytes.remove(at: place)
            case 3: bytes.insert(UInt8(truncatingIfNeeded: next()), at: place)
            default: bytes.removeLast(bytes.count - place)
            }
        }
        return bytes
    }
}

/// A `RandomSource` that gives the same bytes for the same seed.
package func seededRandom(_ seed: UInt64) -> RandomSource {
    final class Owner: Sendable {
        let generator: Mutex<SplitMix64>
        init(_ seed: UInt64) { generator = Mutex(SplitMix64(seed: seed)) }
    }
    let owner = Owner(seed)
    return { (count: Int) throws(IdentityError) -> [UInt8] in owner.generator.withLock { $0.bytes(count) } }
}
