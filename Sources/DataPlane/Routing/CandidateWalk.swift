package import MeshModel

/// Where one try of a request may go.
package struct Candidate: Hashable, Sendable {
    package enum Kind: Hashable, Sendable {
        /// Indices into the snapshot's services and the service's endpoints.
        case endpoint(service: Int, endpoint: Int, id: EndpointID)
        /// Index into `Snapshot.gateways`, the same in `RoutingTable.gateways`.
        case localGateway(Int)
        /// Indices into `Snapshot.members` and the member's gateways; `remote` is the index into `Service.remotes`
        /// for the owner's authorisation, -1 for a probe.
        case remoteGateway(member: Int, gateway: Int, remote: Int)
    }

    package let kind: Kind
    /// The endpoint or gateway, for `Health`.
    package let handle: HealthHandle
    /// The (service, cluster) behind a remote gateway; `.none` otherwise.
    package let pathHandle: HealthHandle
    /// True when a nearer cluster was passed over: a failover.
    package let isFailover: Bool
}

/// The candidates of one request, best first, each at most once (PROTOCOLS section 4).
///
/// Small, copied with the exchange; it remembers only what was tried. Within a tier: two random choices by weight, the
/// one with fewer requests in flight. A tier with nothing usable leads to the next. When all are through, those ejected
/// for 5xx, avoided for a short time, or without a healthy instance by the catalog are the last resort; a target that
/// refused a connect or failed its probe is never given out.
package struct CandidateWalk: Sendable {
    /// The part of the proxy that asks.
    package enum Plan: Hashable, Sendable {
        /// The caller's sidecar: local endpoints, then the local gateways.
        case source
        /// A gateway whose peer is of its own cluster: other clusters; for a foreign caller local endpoints first.
        case egress(foreignCaller: Bool)
        /// A gateway whose peer is of another cluster: local endpoints.
        case ingress
        /// The caller's sidecar, for an app that dialled one endpoint's own address: that one or none.
        case direct(EndpointID)
    }

    /// Targets that one request may try on one hop: three attempts and five free ones.
    package static let maximumTried = 8

    package let plan: Plan
    private let wall: WallTime
    private var tried = InlineArray<8, HealthHandle>(repeating: .none)
    package private(set) var triedCount = 0
    /// A healthy target was passed over because it has `maximumRequestsPerEndpoint` in flight: `overload`, not
    /// `no_endpoint`.
    package private(set) var sawFull = false
    /// Something was left out because its data is older than `maximumStaleness`: `stale`, not `no_endpoint`.
    package private(set) var sawStale = false

    /// `wall` judges `maximumStaleness` only.
    package init(plan: Plan, wall: WallTime) {
        self.plan = plan
        self.wall = wall
    }

    /// The reason to answer with when `next` has nothing (more).
    package var reason: Reason { sawFull ? .overload : sawStale ? .stale : .noEndpoint }

    /// The next candidate, or nil. `destination` is of `table` and `health` reconciled with it; otherwise nil.
    package mutating func next(
        _ destination: Destination, _ table: RoutingTable, _ health: borrowing Health, now: Instant,
        random: inout RandomBits
    ) -> Candidate? {
        guard destination.stamp == table.stamp, health.stamp == table.stamp, triedCount < Self.maximumTried else {
            return nil
        }
        for lastResort in [false, true] {
            if let found = search(destination, table, health, now, lastResort, &random) {
                tried[triedCount] = found.handle
                triedCount += 1
                return found
            }
        }
        return nil
    }

    private mutating func search(
        _ destination: Destination, _ table: RoutingTable, _ health: borrowing Health, _ now: Instant,
        _ lastResort: Bool, _ random: inout RandomBits
    ) -> Candidate? {
        switch plan {
        case .source:
            if let found = local(destination, table, health, now, lastResort, &random) { return found }
            return destination.hasRemotes ? localGateway(destination, table, health, now, lastResort, &random) : nil
        case .ingress: return local(destination, table, health, now, lastResort, &random)
        case .direct(let id): return direct(id, destination, table, health)
        case .egress(let isForeign):
            if isForeign, let found = local(destination, table, health, now, lastResort, &random) { return found }
            return remote(destination, table, health, now, lastResort, &random)
        }
    }

    /// The app chose: health is shown by the connect itself.
    private func direct(
        _ id: EndpointID, _ destination: Destination, _ table: RoutingTable, _ health: borrowing Health
    ) -> Candidate? {
        guard triedCount == 0, let place = table.endpoint(id), place.service == destination.service else { return nil }
        return Candidate(
            kind: .endpoint(service: place.service, endpoint: place.endpoint, id: id),
            handle: health.endpoint(table.endpointBase[place.service] + place.endpoint), pathHandle: .none,
            isFailover: false)
    }

    private mutating func local(
        _ destination: Destination, _ table: RoutingTable, _ health: borrowing Health, _ now: Instant,
        _ lastResort: Bool, _ random: inout RandomBits
    ) -> Candidate? {
        guard destination.tiers >= 0, destination.tiers < table.tiers.count else { return nil }
        for tier in 0..<3 {
            let range = table.tiers[destination.tiers].range(tier)
            guard !range.isEmpty,
                let position = pick(.endpoints(destination.tiers), range, table, health, now, lastResort, &random)
            else { continue }
            let choice = table.tiers[destination.tiers].choices[position]
            return Candidate(
                kind: .endpoint(service: destination.service, endpoint: Int(choice.endpoint), id: choice.id),
                handle: health.endpoint(Int(choice.dense)), pathHandle: .none, isFailover: false)
        }
        return nil
    }

    private mutating func localGateway(
        _ destination: Destination, _ table: RoutingTable, _ health: borrowing Health, _ now: Instant,
        _ lastResort: Bool, _ random: inout RandomBits
    ) -> Candidate? {
        let range = 0..<table.snapshot.gateways.count
        guard !range.isEmpty, let position = pick(.gateways, range, table, health, now, lastResort, &random) else {
            return nil
        }
        let hasLocal = destination.tiers >= 0 && !table.tiers[destination.tiers].choices.isEmpty
        return Candidate(
            kind: .localGateway(position), handle: health.gateway(position), pathHandle: .none, isFailover: hasLocal)
    }

    private mutating func remote(
        _ destination: Destination, _ table: RoutingTable, _ health: borrowing Health, _ now: Instant,
        _ lastResort: Bool, _ random: inout RandomBits
    ) -> Candidate? {
        for rank in destination.remotes.indices {
            let choice = destination.remotes[rank]
            if isTooOld(choice, destination) {
                sawStale = true
                continue
            }
            let path = health.path(Int(choice.path))
            if !lastResort, !choice.hasHealthy || (!path.isNone && !health.isUsable(path, now: now)) { continue }
            let member = Int(choice.member)
            guard member >= 0, member + 1 < table.memberGateways.count else { continue }
            let range = table.memberGateways[member]..<table.memberGateways[member + 1]
            guard !range.isEmpty, let position = pick(.gateways, range, table, health, now, lastResort, &random)
            else { continue }
            return Candidate(
                kind: .remoteGateway(
                    member: member, gateway: position - range.lowerBound, remote: Int(choice.remote)),
                handle: health.gateway(position), pathHandle: path, isFailover: rank > 0)
        }
        return nil
    }

    private func isTooOld(_ choice: Destination.RemoteChoice, _ destination: Destination) -> Bool {
        guard case .stale(let since) = choice.freshness, let maximum = destination.traffic.settings.maximumStaleness
        else {
            return false
        }
        return since.advanced(bySeconds: Int64(clamping: maximum.wholeNanoseconds / 1_000_000_000)) < wall
    }

    // MARK: two random choices

    private enum Pool {
        /// Index into `RoutingTable.tiers`.
        case endpoints(Int)
        case gateways
    }

    /// Up to this many targets are looked at one by one; above, a few are drawn.
    private static let exact = 16
    private static let draws = 6

    private mutating func pick(
        _ pool: Pool, _ range: Range<Int>, _ table: RoutingTable, _ health: borrowing Health, _ now: Instant,
        _ lastResort: Bool, _ random: inout RandomBits
    ) -> Int? {
        if range.count == 1 {
            return isUsable(pool, range.lowerBound, table, health, now, lastResort) ? range.lowerBound : nil
        }
        if range.count <= Self.exact { return pickExact(pool, range, table, health, now, lastResort, &random) }
        var first: Int?
        for _ in 0..<Self.draws {
            let position = draw(pool, range, table, &random)
            guard position != first, isUsable(pool, position, table, health, now, lastResort) else { continue }
            guard let held = first else {
                first = position
                continue
            }
            return lighter(pool, held, position, table, health)
        }
        if let first { return first }
        let start = Int(random.below(UInt64(range.count)))
        for step in 0..<range.count {
            let position = range.lowerBound + (start + step) % range.count
            if isUsable(pool, position, table, health, now, lastResort) { return position }
        }
        return nil
    }

    private mutating func pickExact(
        _ pool: Pool, _ range: Range<Int>, _ table: RoutingTable, _ health: borrowing Health, _ now: Instant,
        _ lastResort: Bool, _ random: inout RandomBits
    ) -> Int? {
        var usable: UInt64 = 0
        var total: UInt64 = 0
        for position in range where isUsable(pool, position, table, health, now, lastResort) {
            usable |= 1 << UInt64(position - range.lowerBound)
            total += weight(pool, position, table)
        }
        guard usable != 0 else { return nil }
        let first = drawn(pool, range, table, usable, random.below(total))
        usable &= ~(1 << UInt64(first - range.lowerBound))
        guard usable != 0 else { return first }
        let rest = total - weight(pool, first, table)
        return lighter(pool, first, drawn(pool, range, table, usable, random.below(rest)), table, health)
    }

    /// The target among `usable` in whose share of the weights `ticket` falls.
    private func drawn(
        _ pool: Pool, _ range: Range<Int>, _ table: RoutingTable, _ usable: UInt64, _ ticket: UInt64
    ) -> Int {
        var left = ticket
        var last = range.lowerBound
        for position in range where usable >> UInt64(position - range.lowerBound) & 1 == 1 {
            let share = weight(pool, position, table)
            if left < share { return position }
            left -= share
            last = position
        }
        return last
    }

    /// One target of a long tier by weight.
    private func draw(_ pool: Pool, _ range: Range<Int>, _ table: RoutingTable, _ random: inout RandomBits) -> Int {
        switch pool {
        case .gateways: return range.lowerBound + Int(random.below(UInt64(range.count)))
        case .endpoints(let tiers):
            let ticket = random.below(table.tiers[tiers].choices[range.upperBound - 1].cumulative)
            var low = range.lowerBound
            var high = range.upperBound - 1
            while low < high {
                let middle = (low + high) / 2
                if table.tiers[tiers].choices[middle].cumulative > ticket { high = middle } else { low = middle + 1 }
            }
            return low
        }
    }

    /// Fewer requests in flight for its weight; the first drawn when they are equal, so that weights hold at rest.
    private func lighter(
        _ pool: Pool, _ first: Int, _ second: Int, _ table: RoutingTable, _ health: borrowing Health
    ) -> Int {
        let left = UInt64(health.inFlight(handle(pool, first, table, health))) &* weight(pool, second, table)
        let right = UInt64(health.inFlight(handle(pool, second, table, health))) &* weight(pool, first, table)
        return right < left ? second : first
    }

    private mutating func isUsable(
        _ pool: Pool, _ position: Int, _ table: RoutingTable, _ health: borrowing Health, _ now: Instant,
        _ lastResort: Bool
    ) -> Bool {
        let handle = handle(pool, position, table, health)
        guard lastResort ? health.isAlive(handle) : health.isUsable(handle, now: now) else { return false }
        for index in 0..<triedCount where tried[index] == handle { return false }
        if health.isFull(handle) {
            sawFull = true
            return false
        }
        return true
    }

    private func handle(
        _ pool: Pool, _ position: Int, _ table: RoutingTable, _ health: borrowing Health
    ) -> HealthHandle {
        switch pool {
        case .gateways: health.gateway(position)
        case .endpoints(let tiers): health.endpoint(Int(table.tiers[tiers].choices[position].dense))
        }
    }

    private func weight(_ pool: Pool, _ position: Int, _ table: RoutingTable) -> UInt64 {
        switch pool {
        case .gateways: 1
        case .endpoints(let tiers): UInt64(table.tiers[tiers].choices[position].weight)
        }
    }
}

extension Health {
    /// True when the circuit breaker of the endpoint is open.
    func isFull(_ handle: HealthHandle) -> Bool {
        guard handle.slot >= 0, Int(handle.slot) < targets.count else { return false }
        let target = targets[Int(handle.slot)]
        return target.inFlight >= target.limit
    }
}
