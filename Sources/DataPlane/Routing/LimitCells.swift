package import MeshModel
internal import Synchronization

/// A caller as the per-caller cells know it: a keyed hash of its SPIFFE ID. Made once per connection or assertion.
package struct CallerKey: Hashable, Sendable {
    let hash: UInt64

    package init(_ caller: SPIFFEID) {
        var hasher = Hasher()
        hasher.combine(caller.text)
        hash = UInt64(bitPattern: Int64(hasher.finalize()))
    }

    init(hash: UInt64) { self.hash = hash }
}

/// One rate limit in the terms of GCRA (ITU-T I.371): nanoseconds between requests and the tolerance for bursts.
package struct LimitRate: Hashable, Sendable {
    /// Nanoseconds between two requests at the steady rate, rounded up, so that the rule is never exceeded.
    let interval: UInt64
    /// How far ahead of time the theoretical arrival may be: one interval for each request of the burst after the first.
    let tolerance: UInt64

    /// Requests of the burst after the first.
    let burst: UInt64

    /// `burst` pass at once; less than `requests` + `burst` in any window of length `per` (its end not included).
    package init(_ rule: LimitRule) {
        let requests = UInt64(max(rule.requests, 1))
        let per = max(rule.per.wholeNanoseconds, 1)
        interval = max(1, per / requests + (per % requests == 0 ? 0 : 1))
        burst = UInt64(max(rule.burst, 1) - 1)
        let (product, overflow) = interval.multipliedReportingOverflow(by: burst)
        tolerance = overflow ? UInt64.max / 4 : min(product, UInt64.max / 4)
    }
}

/// What a cell says of one request.
struct CellAnswer: Sendable {
    let isAllowed: Bool
    /// Requests that would still pass now.
    let remaining: UInt64
    /// Nanoseconds until the next one passes (limited) or until the whole burst is there again (allowed).
    let wait: UInt64
}

/// The cells of one rule: one for the service, or a bounded table of callers; shared by the workers of the process.
package final class LimitCell: Sendable {
    /// Callers that one rule keeps apart at a time: 32 KiB of cells.
    static let callerSlots = 4_096
    /// Slots looked at for one caller.
    static let probes = 8
    /// A caller's slot holds 18 bits of its hash and 46 bits of time in steps of 4,096 ns: nine years since boot. A
    /// caller's rate is rounded down by up to two steps per request: 0.8 % at 1,000 requests per second.
    private static let timeBits: UInt64 = 46
    private static let timeMask: UInt64 = (1 << timeBits) - 1
    private static let timeShift: UInt64 = 12

    private let shared = Atomic<UInt64>(0)
    private let callers: CallerCells?
    private let overflowCount = Atomic<UInt64>(0)

    init(subject: LimitRule.Subject) { callers = subject == .caller ? CallerCells() : nil }

    /// Requests that had to use the common cell because too many callers were active.
    package var overflow: UInt64 { overflowCount.load(ordering: .relaxed) }

    /// Counts one request of the whole service.
    func take(_ rate: LimitRate, now: Instant) -> CellAnswer {
        var held = shared.load(ordering: .relaxed)
        while true {
            let (answer, next) = Self.judge(
                held, now.nanoseconds, interval: rate.interval, tolerance: rate.tolerance)
            guard answer.isAllowed else { return answer }
            let result = shared.compareExchange(expected: held, desired: next, ordering: .relaxed)
            if result.exchanged { return answer }
            held = result.original
        }
    }

    /// Gives back what `take` took, when another rule then refused the request.
    func giveBack(_ rate: LimitRate) { shared.wrappingSubtract(rate.interval, ordering: .relaxed) }

    /// Counts one request of one caller. A slot is used again once its caller has its whole burst back, for then it
    /// holds nothing; while all slots of a caller are busy with others it shares one cell with all such callers.
    func take(_ rate: LimitRate, caller: CallerKey, now: Instant) -> (answer: CellAnswer, isOverflow: Bool) {
        guard let callers else { return (take(rate, now: now), false) }
        let tag = (caller.hash >> Self.timeBits) << Self.timeBits
        let steps = now.nanoseconds >> Self.timeShift & Self.timeMask
        // One step longer than exact, so that rounding times down lets nothing more through in any window.
        let interval = min(rate.interval >> Self.timeShift + 2, Self.timeMask / 4)
        let (product, overflow) = interval.multipliedReportingOverflow(by: rate.burst)
        let tolerance = overflow ? Self.timeMask / 4 : min(product, Self.timeMask / 4)
        while true {
            guard let slot = find(callers, caller, tag: tag, steps: steps) else {
                overflowCount.wrappingAdd(1, ordering: .relaxed)
                return (take(rate, now: now), true)
            }
            let held = callers.slots[slot].load(ordering: .relaxed)
            let isOwn = held & ~Self.timeMask == tag
            // Another worker may have taken the slot since it was found.
            if !isOwn, held & Self.timeMask > steps { continue }
            let (answer, next) = Self.judge(
                isOwn ? held & Self.timeMask : 0, steps, interval: interval, tolerance: tolerance)
            let scaled = CellAnswer(
                isAllowed: answer.isAllowed, remaining: answer.remaining,
                wait: answer.wait.multipliedReportingOverflow(by: 1 << Self.timeShift).partialValue)
            guard answer.isAllowed else { return (scaled, false) }
            let desired = tag | min(next, Self.timeMask)
            if callers.slots[slot].compareExchange(expected: held, desired: desired, ordering: .relaxed).exchanged {
                return (scaled, false)
            }
        }
    }

    /// The caller's slot, else one that holds nothing any more; nil when all are busy.
    private func find(_ callers: CallerCells, _ caller: CallerKey, tag: UInt64, steps: UInt64) -> Int? {
        var free: Int?
        for probe in 0..<Self.probes {
            let slot = (Int(truncatingIfNeeded: caller.hash & 0xFFF) + probe) & (Self.callerSlots - 1)
            let held = callers.slots[slot].load(ordering: .relaxed)
            if held != 0, held & ~Self.timeMask == tag { return slot }
            if free == nil, held & Self.timeMask <= steps { free = slot }
        }
        return free
    }

    /// GCRA: `held` is the theoretical arrival time of the next request.
    private static func judge(
        _ held: UInt64, _ now: UInt64, interval: UInt64, tolerance: UInt64
    ) -> (CellAnswer, UInt64) {
        let arrival = max(held, now)
        let ahead = arrival - now
        if ahead > tolerance {
            return (CellAnswer(isAllowed: false, remaining: 0, wait: ahead - tolerance), held)
        }
        let (next, overflow) = arrival.addingReportingOverflow(interval)
        let used = ahead.addingReportingOverflow(interval).partialValue
        let left = used > tolerance ? 0 : (tolerance - used) / interval + 1
        return (CellAnswer(isAllowed: true, remaining: left, wait: used), overflow ? held : next)
    }
}

/// The slots of the callers of one rule; a slot is 0 until it is used for the first time.
private final class CallerCells: Sendable {
    let slots = InlineArray<4_096, Atomic<UInt64>> { _ in Atomic<UInt64>(0) }
}

/// All limit cells of a process by rule name. They outlive snapshots, so that a swap gives nobody a fresh quota.
///
/// Asked when a table is built, never on the path.
package final class LimitCells: Sendable {
    private struct Held: Sendable {
        let subject: LimitRule.Subject
        let cell: LimitCell
    }

    private let cells = Mutex<[String: Held]>([:])

    package init() {}

    /// The rules of one service with their cells; a rule whose subject changed starts anew.
    func bindings(for rules: [LimitRule]) -> [LimitBinding] {
        cells.withLock { cells in
            rules.map { rule in
                if let held = cells[rule.name], held.subject == rule.subject {
                    return LimitBinding(rule: rule, cell: held.cell)
                }
                let cell = LimitCell(subject: rule.subject)
                cells[rule.name] = Held(subject: rule.subject, cell: cell)
                return LimitBinding(rule: rule, cell: cell)
            }
        }
    }

    /// Forgets the cells of rules that the table no longer has. Called when no worker uses an older table any more.
    package func reconcile(with table: RoutingTable) {
        var names: Set<String> = []
        for service in table.snapshot.services { for rule in service.limits { names.insert(rule.name) } }
        cells.withLock { $0 = $0.filter { names.contains($0.key) } }
    }
}
