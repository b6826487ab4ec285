/// How near the process is to its memory limit, and what is done about it: each stage does what the ones before do.
package enum MemoryPressure: UInt8, Comparable, Sendable, CaseIterable {
    case calm
    /// Nothing is kept for later: HTTP/1.1 answers end their connections, idle connections close soon, idle buffers go back.
    case lean
    /// New requests and streams get `overload`: first those of callers that hold more than their share.
    case shedding
    /// Nothing is accepted; the exchanges and relays that hold the most are cut.
    case closed

    package static func < (first: MemoryPressure, second: MemoryPressure) -> Bool { first.rawValue < second.rawValue }

    /// Percent of the limit at which the stage begins. What grows while nobody looks (10 ms) is far below the last 8 %, which at
    /// 256 MiB are 20 MiB: own measurement, 1 GB/s of bodies into windows that are bounded.
    package var threshold: Int {
        switch self {
        case .calm: 0
        case .lean: 75
        case .shedding: 84
        case .closed: 92
        }
    }

    /// A stage ends so many percent below where it begins, so that it does not come and go with every request.
    private static let hysteresis = 4

    /// The stage for `used` of `limit` bytes, coming from this one.
    package func next(used: Int, limit: Int) -> MemoryPressure {
        guard limit > 0 else { return .calm }
        let (scaled, isTooLarge) = used.multipliedReportingOverflow(by: 100)
        let percent = isTooLarge ? 100 : scaled / limit
        var stage = MemoryPressure.calm
        for candidate in MemoryPressure.allCases {
            let begins = candidate <= self ? candidate.threshold - Self.hysteresis : candidate.threshold
            if percent >= begins { stage = candidate }
        }
        return stage
    }
}
