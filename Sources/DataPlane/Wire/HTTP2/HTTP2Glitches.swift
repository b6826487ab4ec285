/// Counts what costs us more than it costs the peer and helps nobody: the floods that nghttp2 1.52 does not count
/// itself (HOSTILE M6, 59 to 66).
///
/// No clock: work that is of use (heads, body bytes, body frames sent) and `pass(seconds:)` earn allowance back.
struct HTTP2Glitches {
    struct Allowance {
        private(set) var used = 0
        let limit: Int

        init(limit: Int) { self.limit = limit }

        var isExceeded: Bool { used > limit }
        mutating func spend(_ count: Int = 1) { used = min(used + count, limit + 1) }
        mutating func earn(_ count: Int) { if !isExceeded { used = max(0, used - count) } }
    }

    /// RST_STREAM that the peer's mistakes make us send ("MadeYouReset"). A peer in good order causes none; 200 lets a
    /// burst above a new MAX_CONCURRENT_STREAMS pass, 5,000 were free before.
    var resets = Allowance(limit: 200)
    /// PINGs: gRPC probes bandwidth once per burst of data and liveness every 10 s at most.
    var pings = Allowance(limit: 2_000)
    /// SETTINGS: one per connection, rarely one more.
    var settings = Allowance(limit: 100)
    /// DATA without bytes and without END_STREAM.
    var emptyData = Allowance(limit: 500)
    /// WINDOW_UPDATE of less than 1 KiB: some peers send one per small message, which the data frames sent pay for.
    var smallUpdates = Allowance(limit: 5_000)
    /// PRIORITY: browsers of the past sent a few per connection.
    var priorities = Allowance(limit: 1_000)
    /// Heads without use: trailers without fields, heads above the limits.
    var heads = Allowance(limit: 100)

    var isExceeded: Bool {
        resets.isExceeded || pings.isExceeded || settings.isExceeded || emptyData.isExceeded || smallUpdates.isExceeded
            || priorities.isExceeded || heads.isExceeded
    }

    /// A message head of use arrived.
    mutating func earnHead() {
        pings.earn(2)
        emptyData.earn(2)
        priorities.earn(2)
    }

    /// A stream ended cleanly: work was done.
    mutating func earnStream() {
        resets.earn(1)
        heads.earn(1)
    }

    /// Body bytes arrived.
    mutating func earnData(_ count: Int) {
        pings.earn(1)
        if count >= 64 { emptyData.earn(1) }
    }

    /// A DATA frame was sent; its window comes back in at most a few updates.
    mutating func earnSent() { smallUpdates.earn(4) }

    mutating func pass(seconds: Int) {
        let seconds = max(0, min(seconds, 3_600))
        pings.earn(seconds)
        settings.earn(seconds / 10)
        emptyData.earn(seconds)
        smallUpdates.earn(seconds * 10)
        priorities.earn(seconds)
        resets.earn(seconds / 10)
        heads.earn(seconds / 10)
    }
}
