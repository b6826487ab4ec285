/// What a peer of HTTP/2 can do that costs us more than it costs the peer and helps nobody (HOSTILE M6, 59 to 66).
package enum HTTP2Glitch: UInt8, CaseIterable, Sendable {
    /// RST_STREAM that the peer's mistakes make us send ("MadeYouReset").
    case resets
    /// RST_STREAM from the peer ("rapid reset").
    case cancels
    /// PING, and answers to PINGs that we did not send.
    case pings
    case settings
    case goAways
    /// DATA without bytes (padding is none) and without END_STREAM.
    case emptyData
    /// WINDOW_UPDATE of less than 1 KiB.
    case windowUpdates
    case priorities
    /// Heads without use: trailers without fields, heads above the limits.
    case heads

    /// The value of the label `kind` of `meshfed_http2_glitches_total`.
    package var word: StaticString {
        switch self {
        case .resets: "resets"
        case .cancels: "cancels"
        case .pings: "pings"
        case .settings: "settings"
        case .goAways: "goaways"
        case .emptyData: "empty_data"
        case .windowUpdates: "window_updates"
        case .priorities: "priorities"
        case .heads: "heads"
        }
    }
}

/// Counts the glitches of one connection. Above a kind's limit it ends with GOAWAY
/// ENHANCE_YOUR_CALM.
///
/// No clock: work that is of use (heads, body bytes, body frames sent) and `pass(seconds:)` earn allowance back.
struct HTTP2Glitches {
    private let role: HTTPRole
    private let cancelBurst: Int32
    private let cancelRate: Int
    private var used = InlineArray<9, Int32>(repeating: 0)
    /// Any of them may be above zero: a peer in good order has nothing to earn back.
    private var hasUsed = false
    /// Counted and not taken yet.
    private var fresh = InlineArray<9, UInt32>(repeating: 0)
    private(set) var hasFresh = false
    /// The first kind that came above its limit.
    private(set) var exceeded: HTTP2Glitch?

    /// - Parameters:
    ///   - cancelBurst: cancels that are free at once.
    ///   - cancelRate: how many more each second.
    init(role: HTTPRole, cancelBurst: Int, cancelRate: Int) {
        self.role = role
        self.cancelBurst = Int32(clamping: cancelBurst)
        self.cancelRate = cancelRate
    }

    mutating func spend(_ kind: HTTP2Glitch) {
        let index = Int(kind.rawValue)
        fresh[index] = fresh[index] &+ 1
        hasFresh = true
        guard exceeded == nil, let limit = limit(kind) else { return }
        used[index] += 1
        hasUsed = true
        if used[index] > limit { exceeded = kind }
    }

    private mutating func earn(_ kind: HTTP2Glitch, _ count: Int) {
        let index = Int(kind.rawValue)
        used[index] = Int32(clamping: max(0, Int(used[index]) - count))
    }

    /// What was counted since the last time, of the kinds that were.
    mutating func take() -> [(kind: HTTP2Glitch, count: Int)] {
        guard hasFresh else { return [] }
        hasFresh = false
        var taken: [(kind: HTTP2Glitch, count: Int)] = []
        for kind in HTTP2Glitch.allCases {
            let index = Int(kind.rawValue)
            if fresh[index] > 0 { taken.append((kind, Int(fresh[index]))) }
            fresh[index] = 0
        }
        return taken
    }

    /// Nil: free. Streams of an upstream connection are opened by us, so that their ends cost no more than we asked for, and one
    /// bad stream must not cost the callers of the others.
    private func limit(_ kind: HTTP2Glitch) -> Int32? {
        switch kind {
        // A peer in good order causes none; this lets a burst above a new MAX_CONCURRENT_STREAMS pass.
        case .resets: role == .server ? 200 : nil
        case .cancels: role == .server ? cancelBurst : nil
        // gRPC probes bandwidth once per burst of data and liveness every 10 s at most.
        case .pings: 2_000
        // One per connection, rarely one more.
        case .settings, .goAways: 100
        case .emptyData: 500
        // Some peers send one or two per message, however small; the data frames sent pay for them.
        case .windowUpdates: 5_000
        // Browsers of the past sent a few per connection.
        case .priorities: 1_000
        case .heads: 100
        }
    }

    /// A message head of use arrived.
    mutating func earnHead() {
        guard hasUsed else { return }
        earn(.pings, 2)
        earn(.emptyData, 2)
        earn(.priorities, 2)
    }

    /// A stream ended cleanly: work was done.
    mutating func earnStream() {
        guard hasUsed else { return }
        earn(.resets, 1)
        earn(.cancels, 1)
        earn(.heads, 1)
    }

    /// Body bytes arrived.
    mutating func earnData(_ count: Int) {
        guard hasUsed else { return }
        earn(.pings, 1)
        if count >= 64 { earn(.emptyData, 1) }
    }

    /// A DATA frame of `count` bytes was sent: its window comes back in at most a few updates, and who measures bandwidth (gRPC)
    /// sends a PING for it. `isAll`: it took all that waited; what a window of some bytes let out of more is no work (HOSTILE 66).
    mutating func earnSent(_ count: Int, isAll: Bool) {
        guard hasUsed, count >= 16 || (isAll && count > 0) else { return }
        earn(.windowUpdates, 4)
        earn(.pings, 2)
    }

    mutating func pass(seconds: Int) {
        guard hasUsed else { return }
        let seconds = max(0, min(seconds, 3_600))
        earn(.pings, seconds)
        earn(.settings, seconds / 10)
        earn(.goAways, seconds / 10)
        earn(.emptyData, seconds)
        earn(.windowUpdates, seconds * 10)
        earn(.priorities, seconds)
        earn(.resets, seconds / 10)
        earn(.cancels, seconds * cancelRate)
        earn(.heads, seconds / 10)
        hasUsed = false
        for index in 0..<used.count where used[index] > 0 { hasUsed = true }
    }
}
