/// A point on the monotonic clock that also counts suspended time (CLOCK_BOOTTIME), in nanoseconds.
///
/// It is handed to every machine with each event; tests and simulations start at `Instant.zero`.
package struct Instant: Hashable, Comparable, Sendable {
    package var nanoseconds: UInt64

    package init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }
    package static var zero: Instant { Instant(nanoseconds: 0) }
    /// Later than any deadline.
    package static var distantFuture: Instant { Instant(nanoseconds: .max) }

    // All of them: what is derived from one of them is found through a witness table by other modules.
    package static func == (left: Instant, right: Instant) -> Bool { left.nanoseconds == right.nanoseconds }
    package static func < (left: Instant, right: Instant) -> Bool { left.nanoseconds < right.nanoseconds }
    package static func > (left: Instant, right: Instant) -> Bool { left.nanoseconds > right.nanoseconds }
    package static func <= (left: Instant, right: Instant) -> Bool { left.nanoseconds <= right.nanoseconds }
    package static func >= (left: Instant, right: Instant) -> Bool { left.nanoseconds >= right.nanoseconds }

    /// Saturates as the sum with a duration does.
    package func advanced(by step: Wait) -> Instant {
        let (sum, overflow) = nanoseconds.addingReportingOverflow(step.nanoseconds)
        return overflow ? .distantFuture : Instant(nanoseconds: sum)
    }

    /// Saturates: a deadline never wraps round to the past. A negative duration counts as zero.
    package static func + (start: Instant, step: Duration) -> Instant {
        let (sum, overflow) = start.nanoseconds.addingReportingOverflow(step.wholeNanoseconds)
        return overflow ? .distantFuture : Instant(nanoseconds: sum)
    }

    /// Time from `earlier` to `later`; zero where `earlier` is not earlier.
    package static func - (later: Instant, earlier: Instant) -> Duration {
        later.nanoseconds <= earlier.nanoseconds
            ? .zero : .nanoseconds(Int64(clamping: later.nanoseconds - earlier.nanoseconds))
    }
}

/// A duration in whole nanoseconds, for what is added to the clock with every request: a `Duration` has 128 bits, which are
/// divided each time. Negative ones count as zero.
package struct Wait: Hashable, Sendable {
    package let nanoseconds: UInt64

    package init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }
    package init(_ duration: Duration) { nanoseconds = duration.wholeNanoseconds }

    /// When it is over; never, where zero means that there is no limit.
    package func end(after start: Instant) -> Instant { nanoseconds == 0 ? .distantFuture : start.advanced(by: self) }
}

/// Seconds since 1970-01-01T00:00:00Z, as certificates and assertions carry them. Never used to measure a wait.
package struct WallTime: Hashable, Comparable, Sendable {
    package var seconds: Int64

    package init(seconds: Int64) { self.seconds = seconds }
    package static func < (left: WallTime, right: WallTime) -> Bool { left.seconds < right.seconds }

    /// Saturates at both ends.
    package func advanced(bySeconds step: Int64) -> WallTime {
        let (sum, overflow) = seconds.addingReportingOverflow(step)
        return WallTime(seconds: overflow ? (step < 0 ? .min : .max) : sum)
    }
}

extension Duration {
    /// Nanoseconds, rounded down; zero when negative, the largest value when too large.
    package var wholeNanoseconds: UInt64 {
        let value = attoseconds
        if value < 0 { return 0 }
        let high = UInt64(truncatingIfNeeded: value >> 64)
        let divisor: UInt64 = 1_000_000_000
        // One division instruction; `components` costs a division of 128 bits by 128.
        guard high < divisor else { return .max }
        return divisor.dividingFullWidth((high, UInt64(truncatingIfNeeded: value))).quotient
    }

    /// Milliseconds, rounded down; zero when negative.
    package var wholeMilliseconds: UInt64 { wholeNanoseconds / 1_000_000 }
}
