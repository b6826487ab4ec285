import ControlCoding
import MeshModel
import Testing

/// Bytes from anywhere never trap a parser.
@Suite struct MutationTests {
    /// Bit flips, cuts, insertions and copies of valid messages; 100,000 in all, spread over cases that run side by side.
    @Test(arguments: 0..<10) func mutatedMessagesNeverTrap(parser: UInt8) {
        var samples = Samples(seed: 0xC0DE + UInt64(parser))
        let seeds = (0..<12).map { _ in Self.valid(parser, &samples) }
        for seed in seeds where parser != 9 { #expect(FuzzEntry.judge(seed, parser: parser)) }
        var accepted = 0
        for _ in 0..<10_000 {
            var bytes = seeds[samples.below(seeds.count)]
            for _ in 0...samples.below(4) { Self.mutate(&bytes, &samples) }
            if FuzzEntry.judge(bytes, parser: parser) { accepted += 1 }
        }
        // Both answers occur, else the mutations test nothing. (The file parser wants a digest that nobody makes here.)
        #expect(accepted < 10_000)
        #expect(accepted > 0 || parser == 9)
    }

    @Test func noiseNeverTraps() {
        var samples = Samples(seed: 0xDEAD)
        for _ in 0..<5_000 { FuzzEntry.judge(samples.bytes(samples.below(80))) }
        FuzzEntry.judge([])
    }

    @Test func deepNestingIsRefused() {
        // Field 1, wire type 2, again and again: a message within a message.
        var bytes: [UInt8] = []
        for _ in 0..<3_000 {
            var length = bytes.count
            var head: [UInt8] = [0x42]
            while length >= 0x80 {
                head.append(UInt8(length & 0x7F) | 0x80)
                length >>= 7
            }
            head.append(UInt8(length))
            bytes = head + bytes
        }
        #expect(!FuzzEntry.judge(bytes, parser: 0))
    }

    private static func mutate(_ bytes: inout [UInt8], _ samples: inout Samples) {
        guard !bytes.isEmpty else { return bytes = samples.bytes(3) }
        let index = samples.below(bytes.count)
        switch samples.below(6) {
        case 0: bytes[index] ^= 1 << UInt8(samples.below(8))
        case 1: bytes[index] = [0, 0x7F, 0x80, 0xFF][samples.below(4)]
        case 2: bytes.removeSubrange(index..<min(bytes.count, index + 1 + samples.below(8)))
        case 3: bytes.insert(contentsOf: samples.bytes(1 + samples.below(8)), at: index)
        case 4: bytes.insert(contentsOf: bytes[index..<min(bytes.count, index + 1 + samples.below(40))], at: index)
        default: bytes.removeSubrange(index...)
        }
    }

    private static func valid(_ parser: UInt8, _ samples: inout Samples) -> [UInt8] {
        switch parser {
        case 0: (try? SnapshotCoding.encode(samples.snapshot())) ?? []
        case 1: samples.subscriberFrame().encode()
        case 2:
            BrokerFrame.links(
                epoch: 1, [LinkState(cluster: samples.cluster(1), freshness: .stale(since: WallTime(seconds: 4)))]
            ).encode()
        case 3: samples.record(.membership, samples.membership().encode()).encoded
        case 4: samples.membership().encode()
        case 5: samples.bundleStatement().encode()
        case 6: samples.syncFrame().encode()
        case 7: samples.joinRequest().encode()
        case 8: samples.enrolment().encode()
        default: (try? SnapshotFile.encode(samples.snapshot()) { _ in [] }) ?? []
        }
    }
}
