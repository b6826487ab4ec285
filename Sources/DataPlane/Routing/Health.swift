package import MeshModel

/// Names one target of `Health`: an endpoint, a gateway, or a (service, cluster). Stale once the target is gone.
package struct HealthHandle: Hashable, Sendable {
    let slot: Int32
    let generation: UInt32

    package static let none = HealthHandle(slot: -1, generation: 0)
    package var isNone: Bool { slot < 0 }
}

/// What went wrong with a try, as far as it says something of the target.
package enum HealthFailure: Hashable, Sendable {
    /// Refused or reset while connecting. Our own EMFILE or EADDRNOTAVAIL is no failure of the target.
    case connectRefused
    case connectTimeout
    /// The TLS handshake failed or showed another identity.
    case handshake
    case status5xx
    case probeFailed
}

/// How the targets fare, in the eyes of one worker; outside the snapshot, keyed by what is stable over snapshots.
///
/// - A refused connect or a failed probe: unhealthy at once, until a probe passes; no cap.
/// - `ejectAfter` consecutive 5xx, handshake errors or connect timeouts: ejected for `ejectionTime` × n, at most
///   `maximumEjectionPercent` of a (service, locality).
/// - A gateway is never ejected for 5xx: those are charged to the (service, cluster) by `remoteAnswered`.
package struct Health: ~Copyable {
    /// How long a (service, cluster) is avoided after its gateway said that it cannot serve, or a gateway that drains:
    /// about two catalog updates. Then it is tried again.
    package static let avoidance = Duration.seconds(2)
    /// The n of 30 s × n stops here: five minutes, as Envoy's `max_ejection_time`.
    static let maximumEjections: UInt32 = 10

    package struct ProbeTarget: Sendable {
        package enum What: Hashable, Sendable {
            case endpoint(service: Int, endpoint: Int, id: EndpointID)
            /// Index into `RoutingTable.gateways`.
            case gateway(Int)
        }
        package let handle: HealthHandle
        package let what: What
    }

    struct Target {
        var generation: UInt32 = 0
        var isUsed = false
        var isGateway = false
        var isUnhealthy = false
        /// A connect timed out: the next probe decides.
        var isSuspect = false
        var consecutive: UInt32 = 0
        var ejections: UInt32 = 0
        var inFlight: UInt32 = 0
        var limit: UInt32 = .max
        var group: Int32 = -1
        /// Index of the endpoint's service, or -1 for a gateway, and of what it is; -2 for a (service, cluster).
        var service: Int32 = -2
        var index: Int32 = -1
        var endpoint: EndpointID = 0
        var ejectedUntil = Instant.zero
        var avoidedUntil = Instant.zero
        var lastHeard = Instant.zero
        var nextProbe = Instant.zero

        var place: ProbeTarget.What? {
            switch service {
            case -2: nil
            case -1: .gateway(Int(index))
            default: .endpoint(service: Int(service), endpoint: Int(index), id: endpoint)
            }
        }
    }

    /// Endpoints of one service in one locality, or gateways of one cluster: the unit of the ejection cap.
    struct Group {
        /// Its members are among these, which stand side by side in `endpointSlots` or `gatewaySlots`.
        var among: Range<Int32>
        var count: Int32 = 0
        var isOfGateways: Bool
        /// Index into `policies`.
        var policy: Int32
    }

    /// What a service's TrafficPolicy says of health; shared by those who have the same one.
    struct Policy: Hashable {
        let ejectAfter: UInt32
        let ejectionTime: Duration
        let maximumPercent: Int
        let probeInterval: Duration

        init(_ traffic: TrafficSettings) {
            ejectAfter = UInt32(clamping: max(traffic.ejectAfter, 0))
            ejectionTime = traffic.ejectionTime
            maximumPercent = min(max(traffic.maximumEjectionPercent, 0), 100)
            probeInterval = max(traffic.probeInterval, .milliseconds(10))
        }
    }

    private let probesIdle: Bool
    private(set) var stamp: UInt64 = 0
    private(set) var targets: [Target] = []
    /// What each target is known by, as long as `targets`: the address, with a port where that is its own.
    private var addresses: [String] = []
    private var free: [Int32] = []
    /// The slot that is looked at first for due probes.
    private var nextLook = 0
    private var groups: [Group] = []
    private var policies: [Policy] = []
    private var endpointSlots: [Int32] = []
    private var gatewaySlots: [Int32] = []
    private var pathSlots: [Int32] = []
    private var slotOfEndpoint: [EndpointID: Int32] = [:]
    private var slotOfGateway: [String: Int32] = [:]
    private var slotOfPath: [RoutingTable.Path: Int32] = [:]
    /// Rises when an endpoint becomes healthy or unhealthy: something to report in the feed's next ack.
    package private(set) var changes: UInt64 = 0
    /// Ejections since the start, for the metrics.
    package private(set) var ejectionCount: UInt64 = 0

    /// `probesIdle`: gateways probe every local endpoint that nobody spoke to for a probe interval; sidecars only those
    /// that failed.
    package init(probesIdle: Bool) { self.probesIdle = probesIdle }

    // MARK: what exchanges tell

    /// A request starts on the target.
    package mutating func started(_ handle: HealthHandle) {
        guard contains(handle) else { return }
        targets[Int(handle.slot)].inFlight &+= 1
    }

    /// The request ended, however it went. Exactly once for each `started`.
    package mutating func ended(_ handle: HealthHandle) {
        guard contains(handle), targets[Int(handle.slot)].inFlight > 0 else { return }
        targets[Int(handle.slot)].inFlight -= 1
    }

    /// An answer that is no 5xx came from the target. It does not bring an unhealthy target back: a probe does.
    package mutating func succeeded(_ handle: HealthHandle, now: Instant) {
        guard contains(handle) else { return }
        targets[Int(handle.slot)].consecutive = 0
        targets[Int(handle.slot)].isSuspect = false
        targets[Int(handle.slot)].lastHeard = now
        settle(Int(handle.slot), now)
    }

    /// True when this failure took the target out (unhealthy or ejected).
    @discardableResult
    package mutating func failed(_ handle: HealthHandle, _ failure: HealthFailure, now: Instant) -> Bool {
        guard contains(handle) else { return false }
        let slot = Int(handle.slot)
        switch failure {
        case .connectRefused, .probeFailed:
            targets[slot].nextProbe = now + probeInterval(slot)
            targets[slot].isSuspect = false
            if targets[slot].isUnhealthy { return false }
            setUnhealthy(slot, true)
            return true
        case .connectTimeout, .handshake:
            if !targets[slot].isSuspect {
                targets[slot].isSuspect = true
                targets[slot].nextProbe = now
            }
            return countFailure(slot, now)
        case .status5xx:
            targets[slot].lastHeard = now
            return targets[slot].isGateway ? false : countFailure(slot, now)
        }
    }

    /// A probe of the target passed: it is healthy again. An ejection for 5xx runs on.
    package mutating func probePassed(_ handle: HealthHandle, now: Instant) {
        guard contains(handle) else { return }
        let slot = Int(handle.slot)
        targets[slot].lastHeard = now
        if targets[slot].isSuspect { targets[slot].consecutive = 0 }
        targets[slot].isSuspect = false
        if targets[slot].isUnhealthy {
            targets[slot].consecutive = 0
            setUnhealthy(slot, false)
        }
    }

    /// A remote gateway answered a request itself with `meshfed-error`: charged to the (service, cluster), or to the
    /// gateway when it drains.
    package mutating func remoteAnswered(_ candidate: Candidate, _ reason: Reason, now: Instant) {
        switch reason {
        case .noEndpoint, .stale, .overload, .connectFailed, .connectTimeout, .upstreamTLS:
            avoid(candidate.pathHandle, now)
        case .draining: avoid(candidate.handle, now)
        case .noRoute, .wrongAuthority, .notAllowed, .originMissing, .originInvalid, .originUnexpected, .rateLimited,
            .upstreamReset, .upstreamProtocol, .deadline, .loop, .requestInvalid, .tooLarge:
            break
        }
    }

    private mutating func avoid(_ handle: HealthHandle, _ now: Instant) {
        guard contains(handle) else { return }
        targets[Int(handle.slot)].avoidedUntil = now + Self.avoidance
    }

    // MARK: what the balancer asks

    package func isUsable(_ handle: HealthHandle, now: Instant) -> Bool {
        contains(handle) && isUsable(slot: Int(handle.slot), now)
    }

    /// Not known to be dead: what may be used when nothing better is left.
    package func isAlive(_ handle: HealthHandle) -> Bool {
        contains(handle) && !targets[Int(handle.slot)].isUnhealthy
    }

    package func inFlight(_ handle: HealthHandle) -> Int {
        contains(handle) ? Int(targets[Int(handle.slot)].inFlight) : 0
    }

    func isUsable(slot: Int, _ now: Instant) -> Bool {
        !targets[slot].isUnhealthy && targets[slot].ejectedUntil <= now && targets[slot].avoidedUntil <= now
    }

    func endpoint(_ dense: Int) -> HealthHandle { handle(endpointSlots, dense) }
    func gateway(_ index: Int) -> HealthHandle { handle(gatewaySlots, index) }
    func path(_ index: Int) -> HealthHandle { handle(pathSlots, index) }

    /// The handle of an endpoint by its stable ID; `.none` when it is gone.
    package func handle(of endpoint: EndpointID) -> HealthHandle {
        guard let slot = slotOfEndpoint[endpoint] else { return .none }
        return HealthHandle(slot: slot, generation: targets[Int(slot)].generation)
    }

    /// The handle of a gateway by its index in the current table.
    package func handle(ofGateway index: Int) -> HealthHandle { gateway(index) }

    /// Endpoints that this worker holds unhealthy, for the feed's ack.
    package func unhealthyEndpoints() -> [EndpointID] {
        slotOfEndpoint.filter { targets[Int($0.value)].isUnhealthy }.map(\.key).sorted()
    }

    // MARK: probes

    /// Appends the targets that want a probe now, at most `limit`; each is due again one probe interval later unless a
    /// result comes first. Called a few times per second.
    package mutating func dueProbes(now: Instant, limit: Int = 64, into due: inout [ProbeTarget]) {
        var left = limit
        for _ in targets.indices {
            if left == 0 { break }
            // Where the last look ended: who comes first would else be asked again before the last ones were.
            let slot = nextLook < targets.count ? nextLook : 0
            nextLook = slot + 1
            guard targets[slot].isUsed, let place = targets[slot].place, targets[slot].nextProbe <= now else {
                continue
            }
            let interval = probeInterval(slot)
            let isIdle = probesIdle && !targets[slot].isGateway && targets[slot].lastHeard + interval <= now
            guard targets[slot].isUnhealthy || targets[slot].isSuspect || isIdle else { continue }
            targets[slot].nextProbe = now + interval
            due.append(
                ProbeTarget(
                    handle: HealthHandle(slot: Int32(slot), generation: targets[slot].generation), what: place))
            left -= 1
        }
    }

    // MARK: snapshots

    /// Takes over a new table: keeps what is known of targets that stay, forgets the others, adds the new ones.
    /// A target whose address changed is a new one.
    package mutating func reconcile(with table: RoutingTable, now: Instant) {
        stamp = table.stamp
        groups.removeAll()
        policies.removeAll()
        let most = (table.endpointBase.last ?? 0) + table.gateways.count + table.paths.count
        targets.reserveCapacity(most)
        addresses.reserveCapacity(most)
        var seen = [Bool](repeating: false, count: targets.count)
        reconcileEndpoints(table, now, &seen)
        reconcileGateways(table, now, &seen)
        pathSlots.removeAll(keepingCapacity: true)
        for path in table.paths {
            let slot = claim(slotOfPath[path], "", &seen)
            slotOfPath[path] = slot
            pathSlots.append(slot)
        }
        for slot in seen.indices where !seen[slot] && targets[slot].isUsed { release(slot) }
        slotOfEndpoint = slotOfEndpoint.filter { seen[Int($0.value)] }
        slotOfGateway = slotOfGateway.filter { seen[Int($0.value)] }
        slotOfPath = slotOfPath.filter { seen[Int($0.value)] }
        changes &+= 1
    }

    private mutating func reconcileEndpoints(_ table: RoutingTable, _ now: Instant, _ seen: inout [Bool]) {
        endpointSlots.removeAll(keepingCapacity: true)
        endpointSlots.reserveCapacity(table.endpointBase.last ?? 0)
        slotOfEndpoint.reserveCapacity(table.endpointBase.last ?? 0)
        for (serviceIndex, service) in table.snapshot.services.enumerated() {
            var groupOf: [Locality: Int32] = [:]
            let base = Int32(endpointSlots.count)
            let among = base..<base + Int32(service.endpoints.count)
            for (index, endpoint) in service.endpoints.enumerated() {
                let slot = claim(slotOfEndpoint[endpoint.id], endpoint.address, &seen)
                let position = Int(slot)
                if targets[position].place == nil {
                    // A gateway finds out for itself about what the feed holds unhealthy; a sidecar leaves it out.
                    targets[position].isUnhealthy = table.ownRole.isGateway && !endpoint.healthy
                    targets[position].lastHeard = now
                }
                slotOfEndpoint[endpoint.id] = slot
                targets[position].endpoint = endpoint.id
                targets[position].service = Int32(serviceIndex)
                targets[position].index = Int32(index)
                targets[position].limit = UInt32(clamping: max(service.traffic.maximumRequestsPerEndpoint, 1))
                join(slot, groupOf[endpoint.locality] ?? addGroup(service.traffic, among, isOfGateways: false))
                groupOf[endpoint.locality] = targets[position].group
                endpointSlots.append(slot)
            }
        }
    }

    private mutating func reconcileGateways(_ table: RoutingTable, _ now: Instant, _ seen: inout [Bool]) {
        gatewaySlots.removeAll(keepingCapacity: true)
        var groupOf: [Int: Int32] = [:]
        let among = 0..<Int32(table.gateways.count)
        for (index, gateway) in table.gateways.enumerated() {
            let cluster = gateway.member < 0 ? table.snapshot.cluster : table.snapshot.members[gateway.member].cluster
            let name = "\(cluster)/\(gateway.address.name)"
            let slot = claim(slotOfGateway[name], "\(gateway.address.address) \(gateway.address.port)", &seen)
            slotOfGateway[name] = slot
            targets[Int(slot)].isGateway = true
            targets[Int(slot)].service = -1
            targets[Int(slot)].index = Int32(index)
            join(slot, groupOf[gateway.member] ?? addGroup(TrafficSettings(), among, isOfGateways: true))
            groupOf[gateway.member] = targets[Int(slot)].group
            gatewaySlots.append(slot)
        }
    }

    private mutating func addGroup(_ traffic: TrafficSettings, _ among: Range<Int32>, isOfGateways: Bool) -> Int32 {
        let policy = Policy(traffic)
        if policies.last != policy { policies.append(policy) }
        groups.append(Group(among: among, isOfGateways: isOfGateways, policy: Int32(policies.count - 1)))
        return Int32(groups.count - 1)
    }

    private mutating func join(_ slot: Int32, _ group: Int32) {
        groups[Int(group)].count += 1
        targets[Int(slot)].group = group
    }

    /// The known slot when its address is the same, else a fresh one.
    private mutating func claim(_ known: Int32?, _ address: String, _ seen: inout [Bool]) -> Int32 {
        if let known, addresses[Int(known)] == address, !seen[Int(known)] {
            seen[Int(known)] = true
            return known
        }
        let slot: Int32
        if let reused = free.popLast() {
            slot = reused
        } else {
            slot = Int32(targets.count)
            targets.append(Target())
            addresses.append("")
            seen.append(false)
        }
        let generation = targets[Int(slot)].generation &+ 1
        targets[Int(slot)] = Target()
        targets[Int(slot)].generation = generation
        targets[Int(slot)].isUsed = true
        addresses[Int(slot)] = address
        seen[Int(slot)] = true
        return slot
    }

    private mutating func release(_ slot: Int) {
        let generation = targets[slot].generation &+ 1
        targets[slot] = Target()
        targets[slot].generation = generation
        addresses[slot] = ""
        free.append(Int32(slot))
    }

    // MARK: the rules

    private mutating func countFailure(_ slot: Int, _ now: Instant) -> Bool {
        targets[slot].consecutive &+= 1
        guard targets[slot].group >= 0 else { return false }
        let number = targets[slot].group
        let group = groups[Int(number)]
        let policy = policies[Int(group.policy)]
        guard policy.ejectAfter > 0, targets[slot].consecutive >= policy.ejectAfter, targets[slot].ejectedUntil <= now
        else { return false }
        var ejected = 1
        for position in group.among {
            let member = Int(group.isOfGateways ? gatewaySlots[Int(position)] : endpointSlots[Int(position)])
            if targets[member].group == number, targets[member].ejectedUntil > now { ejected += 1 }
        }
        guard ejected * 100 <= Int(group.count) * policy.maximumPercent else { return false }
        settle(slot, now)
        targets[slot].consecutive = 0
        targets[slot].ejections = min(targets[slot].ejections + 1, Self.maximumEjections)
        targets[slot].ejectedUntil = now + policy.ejectionTime * Int(targets[slot].ejections)
        ejectionCount &+= 1
        return true
    }

    /// n starts anew when a target has served as long as its last ejection took.
    private mutating func settle(_ slot: Int, _ now: Instant) {
        guard targets[slot].ejections > 0, targets[slot].group >= 0 else { return }
        let time = policy(slot).ejectionTime * Int(targets[slot].ejections)
        if targets[slot].ejectedUntil + time <= now { targets[slot].ejections = 0 }
    }

    private mutating func setUnhealthy(_ slot: Int, _ value: Bool) {
        targets[slot].isUnhealthy = value
        if !targets[slot].isGateway { changes &+= 1 }
    }

    private func probeInterval(_ slot: Int) -> Duration {
        targets[slot].group >= 0 ? policy(slot).probeInterval : .seconds(1)
    }

    /// Of a target that has a group.
    private func policy(_ slot: Int) -> Policy { policies[Int(groups[Int(targets[slot].group)].policy)] }

    private func contains(_ handle: HealthHandle) -> Bool {
        handle.slot >= 0 && Int(handle.slot) < targets.count
            && targets[Int(handle.slot)].generation == handle.generation
    }

    private func handle(_ slots: [Int32], _ index: Int) -> HealthHandle {
        guard index >= 0, index < slots.count else { return .none }
        return HealthHandle(slot: slots[index], generation: targets[Int(slots[index])].generation)
    }
}
