package import Containers
package import MeshModel

/// One rule of one service, ready to be asked.
package struct LimitBinding: Sendable {
    package let rule: LimitRule
    package let cell: LimitCell
    /// What a request asks of it.
    let gate: LimitGate
    /// The rule's name, for headers, log and metrics.
    package let name: [UInt8]
    /// Quota and window as the headers say them: whole seconds.
    let quota: UInt64
    let window: UInt64

    init(rule: LimitRule, cell: LimitCell) {
        gate = LimitGate(rule, cell)
        self.rule = rule
        self.cell = cell
        name = Array(rule.name.utf8)
        let nanoseconds = max(rule.per.wholeNanoseconds, 1)
        let requests = UInt64(max(rule.requests, 1))
        if nanoseconds % 1_000_000_000 == 0 {
            window = nanoseconds / 1_000_000_000
            quota = requests
        } else {
            window = nanoseconds / 1_000_000_000 + 1
            quota = max(1, UInt64(min(Double(requests) * Double(window) * 1e9 / Double(nanoseconds), 1e15)))
        }
    }
}

/// A rule as plain values, so that asking it retains nothing. It belongs to a `LimitBinding`, which holds the cell.
@safe
struct LimitGate: Sendable {
    let rate: LimitRate
    let isShadow: Bool
    let isPerCaller: Bool
    private let cell: Unmanaged<LimitCell>

    init(_ rule: LimitRule, _ cell: LimitCell) {
        rate = LimitRate(rule)
        isShadow = rule.mode == .shadow
        isPerCaller = rule.subject == .caller
        // SAFETY: the binding holds the cell for as long as the gate is there to be asked.
        unsafe self.cell = .passUnretained(cell)
    }

    /// Counts one request.
    func take(_ caller: CallerKey, now: Instant) -> (answer: CellAnswer, isOverflow: Bool) {
        // SAFETY: as in `init`; the table that is asked holds the bindings of its gates.
        unsafe cell._withUnsafeGuaranteedRef { cell in
            isPerCaller ? cell.take(rate, caller: caller, now: now) : (cell.take(rate, now: now), false)
        }
    }

    func giveBack() {
        // SAFETY: as in `take`.
        unsafe cell._withUnsafeGuaranteedRef { $0.giveBack(rate) }
    }
}

/// What one rule said of one request; for `meshfed_limit_decisions_total`.
package enum LimitOutcome: Hashable, Sendable, CaseIterable {
    case allowed
    case limited
    /// Would have been limited, but the rule only watches.
    case shadowLimited
    /// Judged in the common cell because too many callers were active; allowed.
    case overflowAllowed
    case overflowLimited

    /// Its place in `allCases`.
    var position: Int {
        switch self {
        case .allowed: 0
        case .limited: 1
        case .shadowLimited: 2
        case .overflowAllowed: 3
        case .overflowLimited: 4
        }
    }

    package var word: StaticString {
        switch self {
        case .allowed: "allowed"
        case .limited: "limited"
        case .shadowLimited: "shadow_limited"
        case .overflowAllowed: "overflow_allowed"
        case .overflowLimited: "overflow_limited"
        }
    }
}

/// The decision over all rules of a service: the rule that refused, else the enforced one with the least left.
package struct LimitDecision: Hashable, Sendable {
    package let isLimited: Bool
    /// Index into the service's rules.
    package let rule: Int
    package let remaining: UInt64
    /// Seconds, rounded up, until the quota is whole again; when limited, until the next request passes.
    package let resetSeconds: UInt64

    /// Seconds for `Retry-After`; never earlier than `resetSeconds`, at least 1.
    package var retryAfterSeconds: UInt64 { max(1, resetSeconds) }
}

/// Asks the cells. It stands only at gateways: a sidecar's table has no bindings (PROTOCOLS section 4).
package enum RateLimiter {
    /// Counts the request on every rule of `service` (index into the snapshot's services); nil when none is enforced.
    ///
    /// `counted` hears each rule's outcome. When a rule refuses, what the earlier ones took for the service as a whole is
    /// given back, so that refused requests cost no quota; a caller's own cell is not given back.
    package static func decide(
        _ table: RoutingTable, service: Int, caller: CallerKey, now: Instant,
        counted: (_ rule: Int, LimitOutcome) -> Void = { _, _ in }
    ) -> LimitDecision? {
        guard table.hasLimits(service) else { return nil }
        let start = table.gateBases[service]
        var tightest: LimitDecision?
        for index in 0..<(table.gateBases[service + 1] - start) {
            let gate = table.gates[start + index]
            let (answer, isOverflow) = gate.take(caller, now: now)
            let isShadow = gate.isShadow
            if answer.isAllowed {
                counted(index, isOverflow ? .overflowAllowed : .allowed)
            } else if isShadow {
                counted(index, .shadowLimited)
            } else {
                counted(index, isOverflow ? .overflowLimited : .limited)
                giveBack(table, start..<start + index)
                return LimitDecision(
                    isLimited: true, rule: index, remaining: 0, resetSeconds: seconds(answer.wait))
            }
            if isShadow { continue }
            if let held = tightest, held.remaining <= answer.remaining { continue }
            tightest = LimitDecision(
                isLimited: false, rule: index, remaining: answer.remaining, resetSeconds: seconds(answer.wait))
        }
        return tightest
    }

    private static func giveBack(_ table: RoutingTable, _ range: Range<Int>) {
        for index in range where !table.gates[index].isPerCaller && !table.gates[index].isShadow {
            table.gates[index].giveBack()
        }
    }

    private static func seconds(_ nanoseconds: UInt64) -> UInt64 {
        nanoseconds / 1_000_000_000 + (nanoseconds % 1_000_000_000 == 0 ? 0 : 1)
    }
}

extension LimitDecision {
    /// Appends the value of `RateLimit`: `"name";r=50;t=30` (draft-ietf-httpapi-ratelimit-headers).
    package func writeLimit(_ binding: LimitBinding, into target: inout ByteBuffer) {
        Self.writeName(binding, into: &target)
        target.append(";r=")
        target.append(decimal: remaining)
        target.append(";t=")
        target.append(decimal: isLimited ? retryAfterSeconds : resetSeconds)
    }

    /// Appends the value of `RateLimit-Policy`: `"name";q=100;w=1`.
    package func writePolicy(_ binding: LimitBinding, into target: inout ByteBuffer) {
        Self.writeName(binding, into: &target)
        target.append(";q=")
        target.append(decimal: binding.quota)
        target.append(";w=")
        target.append(decimal: binding.window)
    }

    /// Appends the value of `Retry-After`.
    package func writeRetryAfter(into target: inout ByteBuffer) { target.append(decimal: retryAfterSeconds) }

    /// A structured-field string (RFC 8941, 3.3.3): printable ASCII, `"` and `\` escaped.
    private static func writeName(_ binding: LimitBinding, into target: inout ByteBuffer) {
        target.append(0x22)
        for byte in binding.name where byte >= 0x20 && byte <= 0x7E {
            if byte == 0x22 || byte == 0x5C { target.append(0x5C) }
            target.append(byte)
        }
        target.append(0x22)
    }
}

extension ByteBuffer {
    /// Appends a decimal number.
    package mutating func append(decimal value: UInt64) {
        var scale: UInt64 = 1
        while value / scale >= 10 { scale *= 10 }
        while scale > 0 {
            append(0x30 + UInt8(value / scale % 10))
            scale /= 10
        }
    }
}
