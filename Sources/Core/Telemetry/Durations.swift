/// The buckets of every duration histogram: nine per decade (1, 2, … 9 × 10ⁿ) from 10 µs to 90 s, and what is above.
///
/// Log-linear, so that any quantile is known to about 10 %; the writers show the bounds 1, 2 and 5 of each decade, which
/// are edges of these buckets, so what they show is exact.
enum DurationBuckets {
    static let decades = 7
    /// Buckets of one histogram; the last holds everything above 90 s.
    static let count = decades * 9 + 1
    /// Upper edge of the first bucket, in nanoseconds.
    static let smallest: UInt64 = 10_000

    /// The bucket whose upper edge is the first that is not below `nanoseconds`.
    static func index(_ nanoseconds: UInt64) -> Int {
        var edge = smallest
        var decade = 0
        while decade < decades {
            if nanoseconds <= edge * 9 {
                let steps = (nanoseconds &+ (edge - 1)) / edge
                return decade * 9 + Int(max(steps, 1)) - 1
            }
            edge *= 10
            decade += 1
        }
        return count - 1
    }

    /// Upper edge of bucket `index` in nanoseconds; nil for the last.
    static func upperEdge(_ index: Int) -> UInt64? {
        guard index < count - 1 else { return nil }
        var edge = smallest
        for _ in 0..<(index / 9) { edge *= 10 }
        return edge * UInt64(index % 9 + 1)
    }

    /// The bounds shown to a scraper: (buckets up to and including, text of the bound in seconds).
    static let shown: [(last: Int, bound: [UInt8])] = {
        var result: [(last: Int, bound: [UInt8])] = []
        for index in 0..<(count - 1) where [0, 1, 4].contains(index % 9) {
            guard let edge = upperEdge(index) else { continue }
            var text: [UInt8] = []
            Decimal.appendSeconds(edge, into: &text, trimmed: true)
            result.append((index, text))
        }
        return result
    }()
}

/// One histogram read back: for the admin pages.
package struct DurationSummary: Sendable, Hashable {
    package let count: UInt64
    package let sum: Duration
    let buckets: [UInt64]

    /// The upper edge of the bucket in which the quantile (0…1) falls, 90 s for all above; nil when nothing was counted.
    package func quantile(_ share: Double) -> Duration? {
        guard count > 0 else { return nil }
        let rank = UInt64((Double(count) * min(max(share, 0), 1)).rounded(.up))
        var seen: UInt64 = 0
        for index in buckets.indices {
            seen &+= buckets[index]
            if seen >= max(rank, 1) {
                return .nanoseconds(Int64(clamping: DurationBuckets.upperEdge(index) ?? 90_000_000_000))
            }
        }
        return nil
    }
}
