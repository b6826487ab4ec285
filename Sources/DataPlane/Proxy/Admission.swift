internal import Containers
internal import Downstream
internal import Identity
internal import Link
internal import MeshModel
internal import Reactor
internal import Routing
internal import Telemetry
internal import Wire

/// What admission came to.
enum Verdict {
    case go
    case refuse(Reason)
    /// A CONNECT: the connection carries something else from here on.
    case tunnel
    /// A health probe of this proxy itself.
    case healthy
    /// A question whether the app's port answers.
    case knock(port: UInt16)
}

/// Step 4: which service is meant, who calls, may they, is there room. One place for all listeners.
extension Worker {
    /// What `meshfed-probe` says when only liveness is asked.
    static let healthWord: StaticString = "health"

    mutating func admit(_ exchange: Handle, _ handle: Handle, _ configuration: ProxyConfiguration) -> Verdict {
        switch inbound[handle].entry {
        case .explicit, .captured, .outboundTCP: return admitExplicit(exchange, handle, configuration)
        case .mesh: return admitNameless(exchange, handle)
        case .inboundPlain(let port): return admitPlain(exchange, port, configuration)
        }
    }

    /// A mesh leg whose SNI names a destination.
    mutating func admit(
        _ exchange: Handle, _ handle: Handle, to named: Destination, _ configuration: ProxyConfiguration
    ) -> Verdict {
        settings.isGateway
            ? admitAtGateway(exchange, handle, named, configuration)
            : admitAtSidecar(exchange, handle, named, configuration)
    }

    // MARK: The app's own calls

    private mutating func admitExplicit(
        _ exchange: Handle, _ handle: Handle, _ configuration: ProxyConfiguration
    ) -> Verdict {
        exchanges[exchange].reporter = .source
        exchanges[exchange].caller = configuration.svid.id
        let isConnect = exchanges[exchange].head.says(.method, "CONNECT")
        let destination: Destination
        if inbound[handle].isTunnel {
            guard let fixed = inbound[handle].destination, let current = configuration.table.current(fixed) else {
                return .refuse(.noRoute)
            }
            destination = current
        } else {
            guard let namespace = settings.namespace else { return .refuse(.noRoute) }
            switch exchanges[exchange].match(configuration.table, namespace) {
            case .destination(let found): destination = found
            case .ambiguousPort, .malformed: return .refuse(.requestInvalid)
            case .unknown: return .refuse(.noRoute)
            }
        }
        exchanges[exchange].destination = destination
        if isConnect {
            startTunnel(exchange, handle, destination)
            return .tunnel
        }
        guard destination.port.appProtocol.takesHTTP else { return .refuse(.noRoute) }
        exchanges[exchange].spokeHTTP2 = inbound[handle].connection.link.isHTTP2
        begin(
            exchange, destination, plan: inbound[handle].endpoint.map { .direct($0) } ?? .source, configuration)
        return .go
    }

    // MARK: Mesh legs

    /// What a gateway takes a peer's request for.
    private struct Leg {
        let plan: CandidateWalk.Plan
        let reporter: Reporter
        /// One of our proxies sent it.
        let isOurs: Bool
    }

    /// Nil: nothing is routed for the peer.
    private func leg(_ exchange: Handle, _ part: PeerPart) -> Leg? {
        switch part {
        case .ownWorkload:
            let hasOrigin = exchanges[exchange].head.contains(.meshfedOrigin)
            return Leg(plan: .egress(foreignCaller: !hasOrigin), reporter: .egress, isOurs: hasOrigin)
        case .ownBroker: return Leg(plan: .egress(foreignCaller: true), reporter: .egress, isOurs: false)
        case .foreign(_, .gateway): return Leg(plan: .ingress, reporter: .ingress, isOurs: true)
        case .foreign(_, .workload), .foreign(_, .broker): return Leg(plan: .ingress, reporter: .ingress, isOurs: false)
        case .ownGateway, .unknown: return nil
        }
    }

    /// The SNI names nothing that is served here: only a proxy's health is told.
    private mutating func admitNameless(_ exchange: Handle, _ handle: Handle) -> Verdict {
        guard settings.isGateway else {
            exchanges[exchange].reporter = .destination
            _ = healthPort(exchange, handle)
            return .refuse(.noRoute)
        }
        guard inbound[handle].peer != nil else { return .refuse(.noRoute) }
        let part = inbound[handle].part
        if let leg = leg(exchange, part) { exchanges[exchange].reporter = leg.reporter }
        let isAsked = isHealthQuestion(exchange)
        if case .unknown = part { return .refuse(.noRoute) }
        return isAsked ? .healthy : .refuse(.noRoute)
    }

    private mutating func admitAtGateway(
        _ exchange: Handle, _ handle: Handle, _ destination: Destination, _ configuration: ProxyConfiguration
    ) -> Verdict {
        guard inbound[handle].peer != nil else { return .refuse(.noRoute) }
        let part = inbound[handle].part
        guard let leg = leg(exchange, part) else { return admitNameless(exchange, handle) }
        let plan = leg.plan
        let isOurs = leg.isOurs
        exchanges[exchange].reporter = leg.reporter
        if isHealthQuestion(exchange) { return .healthy }
        exchanges[exchange].destination = destination
        inbound[handle].isProxy = isOurs
        let isQuestion = readProbe(exchange, part)
        guard destination.port.appProtocol.takesHTTP || destination.isProbe || isQuestion else {
            return .refuse(.noRoute)
        }
        exchanges[exchange].learnVersion(isBelieved: isOurs, isHTTP2: inbound[handle].connection.link.isHTTP2)
        if let refusal = exchanges[exchange].checkAuthority(destination, isOurs: isOurs || isQuestion) {
            return .refuse(refusal)
        }
        switch exchanges[exchange].judgeHops(at: configuration.table, isBelieved: isOurs) {
        case .passable: break
        case .loop: return .refuse(.loop)
        case .invalid: return .refuse(.requestInvalid)
        }
        // The mesh's own name is answered to members without policy or import; nobody's word is asked for it.
        if destination.isProbe, case .pinnedHere = destination.scope { return .healthy }
        if let refusal = verifyOrigin(exchange, handle, destination, configuration, isQuestion) {
            return .refuse(refusal)
        }
        begin(exchange, destination, plan: plan, configuration)
        if isOurs, let refusal = readLimits(exchange) { return .refuse(refusal) }
        guard !destination.isProbe else { return .go }
        guard isAllowed(exchange, handle, destination, plan, configuration) else { return .refuse(.notAllowed) }
        if !isQuestion, isLimited(exchange, handle, destination, configuration) { return .refuse(.rateLimited) }
        return .go
    }

    private mutating func admitAtSidecar(
        _ exchange: Handle, _ handle: Handle, _ named: Destination, _ configuration: ProxyConfiguration
    ) -> Verdict {
        exchanges[exchange].reporter = .destination
        if let port = healthPort(exchange, handle) { return .knock(port: port) }
        guard inbound[handle].peer != nil else { return .refuse(.noRoute) }
        if configuration.table.holds(named.place) {
            return admitAtSidecar(exchange, handle, current: named, configuration)
        }
        guard let current = configuration.table.current(named) else { return .refuse(.noRoute) }
        return admitAtSidecar(exchange, handle, current: current, configuration)
    }

    private mutating func admitAtSidecar(
        _ exchange: Handle, _ handle: Handle, current: Destination, _ configuration: ProxyConfiguration
    ) -> Verdict {
        exchanges[exchange].destination = current
        let part = inbound[handle].part
        switch part {
        case .ownWorkload, .ownGateway: break
        case .ownBroker, .foreign, .unknown: return .refuse(.notAllowed)
        }
        let isQuestion = readProbe(exchange, part)
        guard current.port.appProtocol.takesHTTP || isQuestion else { return .refuse(.noRoute) }
        let isOurs = exchanges[exchange].head.says(.authority, current.authority)
        exchanges[exchange].learnVersion(
            isBelieved: part == .ownGateway || isOurs, isHTTP2: inbound[handle].connection.link.isHTTP2)
        if let refusal = exchanges[exchange].checkAuthority(current, isOurs: part == .ownGateway || isOurs) {
            return .refuse(refusal)
        }
        if part == .ownGateway, exchanges[exchange].hopCount == nil {
            return .refuse(.requestInvalid)
        }
        if let refusal = verifyOrigin(exchange, handle, current, configuration, isQuestion) { return .refuse(refusal) }
        guard let caller = caller(of: exchange),
            configuration.table.decide(current, caller: caller).isAllowed
        else { return .refuse(.notAllowed) }
        if isQuestion { return .knock(port: current.ownTargetPort) }
        exchanges[exchange].route = .app(port: current.ownTargetPort)
        begin(exchange, current, plan: .ingress, configuration)
        if part == .ownGateway || isOurs, let refusal = readLimits(exchange) { return .refuse(refusal) }
        return .go
    }

    // MARK: Parts

    /// Deadline, trace and budget: the same for every request that goes on.
    mutating func begin(
        _ exchange: Handle, _ destination: Destination, plan: CandidateWalk.Plan, _ configuration: ProxyConfiguration
    ) {
        let now = reactor.now
        exchanges[exchange].walk = CandidateWalk(plan: plan, wall: reactor.wall)
        let sampled = configuration.table.snapshot.settings.tracingSamplePercent
        exchanges[exchange].begin(destination, now: now, samplePercent: sampled, random: &random)
        budgets.requestStarted(destination)
    }

    /// `meshfed-deadline` and `meshfed-attempts` of one of our proxies: they may only tighten.
    private mutating func readLimits(_ exchange: Handle) -> Reason? {
        exchanges[exchange].tighten(now: reactor.now) ? nil : .requestInvalid
    }

    /// The app's port that a neighbour's health probe asks for, of whatever protocol: the question itself is always HTTP.
    private mutating func healthPort(_ exchange: Handle, _ handle: Handle) -> UInt16? {
        switch inbound[handle].part {
        case .ownWorkload, .ownGateway: break
        case .ownBroker, .foreign, .unknown: return nil
        }
        guard isHealthQuestion(exchange) else { return nil }
        guard let named = inbound[handle].destination else { return nil }
        exchanges[exchange].destination = named
        return named.ownTargetPort
    }

    private mutating func isHealthQuestion(_ exchange: Handle) -> Bool {
        guard exchanges[exchange].head.contains(.meshfedProbe),
            exchanges[exchange].head.says(.meshfedProbe, Self.healthWord),
            exchanges[exchange].head.says(.method, "OPTIONS")
        else { return false }
        exchanges[exchange].isQuiet = true
        return true
    }

    /// `meshfed-probe: <caller ID>`: from a broker, or passed on by a gateway. It asks on behalf of a caller and never reaches
    /// the app.
    private mutating func readProbe(_ exchange: Handle, _ part: PeerPart) -> Bool {
        switch part {
        case .ownBroker, .foreign(_, .broker), .foreign(_, .gateway), .ownGateway: break
        case .ownWorkload, .foreign(_, .workload), .unknown: return false
        }
        guard exchanges[exchange].head.contains(.meshfedProbe),
            exchanges[exchange].head.says(.method, "OPTIONS")
        else { return false }
        exchanges[exchange].isProbe = true
        return true
    }

    /// Who called (PROTOCOLS section 5). Sets the exchange's caller; nil is good.
    private mutating func verifyOrigin(
        _ exchange: Handle, _ handle: Handle, _ destination: Destination, _ configuration: ProxyConfiguration,
        _ isQuestion: Bool
    ) -> Reason? {
        if !isQuestion, inbound[handle].isDirectKnown, !exchanges[exchange].head.contains(.meshfedOrigin) {
            exchanges[exchange].isPeersOwn = true
            exchanges[exchange].callerNumber = inbound[handle].directNumber
            return nil
        }
        guard let peer = inbound[handle].peer else { return .noRoute }
        let domain = configuration.ownDomain
        let role: OriginRole = settings.isGateway ? .gateway(domain) : .sidecar(domain)
        let acceptAttested = isQuestion ? nil : configuration.table.snapshot.settings.acceptAttested
        do throws(OriginRefusal) {
            let origin = try verifier?.judge(
                exchanges[exchange].head, destination, peer: peer, role: role, acceptAttested: acceptAttested,
                now: reactor.wall)
            guard let origin else { return .draining }
            exchanges[exchange].attestedBy = origin.attestedBy
            exchanges[exchange].forwardsOrigin = origin.asserted
            if isQuestion || origin.asserted {
                exchanges[exchange].caller = origin.caller
            } else {
                exchanges[exchange].isPeersOwn = true
                inbound[handle].directCaller = origin.caller
                inbound[handle].isDirectKnown = true
            }
        } catch {
            metrics.count(
                .originRefused, metrics.intern(Array(error.reason.rawValue.utf8)), inbound[handle].sourceCluster)
            return error.reason
        }
        guard isQuestion, !exchanges[exchange].forwardsOrigin else { return nil }
        // A broker asks on behalf of a caller of its own domain.
        guard let caller = SPIFFEID(exchanges[exchange].head.bytes(of: .meshfedProbe)),
            caller.trustDomain == peer.trustDomain
        else { return .requestInvalid }
        exchanges[exchange].caller = caller
        return nil
    }

    /// The owner's policy for the clusters that this hop may choose. Each candidate is asked again before it is tried.
    private mutating func isAllowed(
        _ exchange: Handle, _ handle: Handle, _ destination: Destination, _ plan: CandidateWalk.Plan,
        _ configuration: ProxyConfiguration
    ) -> Bool {
        guard exchanges[exchange].hasCaller else { return false }
        let table = configuration.table
        switch plan {
        case .ingress: return ownerAllows(exchange, destination, table)
        case .egress(foreignCaller: true): if ownerAllows(exchange, destination, table) { return true }
        case .egress(foreignCaller: false), .source, .direct: break
        }
        guard destination.service >= 0, let caller = caller(of: exchange) else { return false }
        for remote in table.snapshot.services[destination.service].remotes.indices
        where table.decide(destination, caller: caller, remote: remote).isAllowed { return true }
        // A local service of the own cluster that no other cluster serves: the own policy is the word.
        return table.snapshot.services[destination.service].remotes.isEmpty
            && ownerAllows(exchange, destination, table)
    }

    /// The own cluster's policy for the caller and the destination of a request; it keeps a yes, and so does its connection.
    mutating func ownerAllows(_ exchange: Handle, _ destination: Destination, _ table: RoutingTable) -> Bool {
        if exchanges[exchange].isOwnerAllowed { return true }
        let handle = exchanges[exchange].downstream
        knowCaller(of: exchange, handle)
        let isKnown = inbound.contains(handle)
        if isKnown, inbound[handle].permit.covers(exchanges[exchange]) {
            exchanges[exchange].isOwnerAllowed = true
            return true
        }
        guard let caller = caller(of: exchange), table.decide(destination, caller: caller).isAllowed else {
            return false
        }
        exchanges[exchange].isOwnerAllowed = true
        if isKnown { inbound[handle].permit.become(exchanges[exchange]) }
        return true
    }

    /// Asks the rate limits; true: over the limit.
    private mutating func isLimited(
        _ exchange: Handle, _ handle: Handle, _ destination: Destination, _ configuration: ProxyConfiguration
    ) -> Bool {
        guard configuration.table.hasLimits(destination.service) else { return false }
        knowCaller(of: exchange, handle)
        guard let key = inbound[handle].callerKey else { return false }
        let decision = takeLimit(destination.service, key, configuration)
        exchanges[exchange].limit = decision
        return decision?.isLimited == true
    }

    /// Counts one request on every rule of a service.
    mutating func takeLimit(
        _ service: Int, _ key: CallerKey, _ configuration: ProxyConfiguration
    ) -> LimitDecision? {
        let now = reactor.now
        // The labels come with the configuration.
        guard labels != nil else {
            return RateLimiter.decide(configuration.table, service: service, caller: key, now: now)
        }
        return labels?.decide(configuration.table, service: service, caller: key, now: now, counting: &metrics)
    }

    /// As `knowCaller`, for the caller of a request, who is looked at once.
    mutating func knowCaller(of exchange: Handle, _ handle: Handle) {
        let number = exchanges[exchange].callerNumber
        guard inbound.contains(handle), number == 0 || number != inbound[handle].callerNumber else { return }
        guard let caller = caller(of: exchange) else { return }
        knowCaller(handle, caller)
        exchanges[exchange].callerNumber = inbound[handle].callerNumber
        if exchanges[exchange].isPeersOwn { inbound[handle].directNumber = inbound[handle].callerNumber }
    }

    /// Who called, for whoever needs the ID itself.
    func caller(of exchange: Handle) -> SPIFFEID? {
        guard exchanges[exchange].isPeersOwn else { return exchanges[exchange].caller }
        let handle = exchanges[exchange].downstream
        return inbound.contains(handle) ? inbound[handle].directCaller : nil
    }

    /// The labels and the limit key of a caller, kept on the connection: the next request is mostly from the same one.
    mutating func knowCaller(_ handle: Handle, _ caller: SPIFFEID) {
        guard inbound.contains(handle), inbound[handle].caller != caller else { return }
        inbound[handle].caller = caller
        inbound[handle].callerNumber = max(inbound[handle].callerNumber &+ 1, 1)
        let account = shares.retain(caller)
        shares.release(inbound[handle].callerAccount)
        inbound[handle].callerAccount = account
        inbound[handle].callerLabel = metrics.intern(caller.bytes)
        inbound[handle].callerKey = CallerKey(caller)
    }
}

extension Exchange {
    /// What the host that the app wrote means.
    func match(_ table: RoutingTable, _ namespace: Label) -> HostMatch {
        table.destination(host: head.value(of: .authority), namespace: namespace)
    }

    /// Nil is good.
    mutating func checkAuthority(_ destination: Destination, isOurs: Bool) -> Reason? {
        spelling = OwnAuthority.spelling(head, destination)
        return OwnAuthority.check(head, spelling, isOurs: isOurs)
    }

    /// How its caller wrote the authority of `destination`, which is its own.
    func spelling(of destination: Destination) -> OwnAuthority.Spelling {
        if case .unknown = spelling { OwnAuthority.spelling(head, destination) } else { spelling }
    }

    /// Who is not believed says nothing of hops.
    func judgeHops(at table: RoutingTable, isBelieved: Bool) -> Hops.Judgement {
        guard isBelieved, head.contains(.meshfedHops) else { return .passable(0) }
        if head.isRepeated(.meshfedHops) { return .invalid }
        return Hops.judge(head.value(of: .meshfedHops), at: table.snapshot.cluster)
    }

    var hopCount: Int? { Hops.count(head.value(of: .meshfedHops)) }

    /// Deadline and trace, as the app or the peer wrote them.
    mutating func begin(
        _ destination: Destination, now: Instant, samplePercent: Double, random: inout RandomBits
    ) {
        var end = destination.traffic.requestTimeout.end(after: now)
        if isGRPC, let asked = GRPCTimeout.nanoseconds(head.value(of: .grpcTimeout)) {
            end = min(end, now + .nanoseconds(asked))
        }
        let parent = TraceContext(head.value(of: .traceparent))
        deadline = end
        trace = parent ?? TraceContext.fresh(samplePercent: samplePercent, random: &random)
    }

    /// `meshfed-deadline` and `meshfed-attempts`, which may only tighten. False: one is not in its grammar.
    mutating func tighten(now: Instant) -> Bool {
        if head.isRepeated(.meshfedDeadline) || head.isRepeated(.meshfedAttempts) { return false }
        if head.contains(.meshfedDeadline) {
            guard let end = CallDeadline.tightened(deadline, by: head.value(of: .meshfedDeadline), now: now) else {
                return false
            }
            deadline = end
        }
        if head.contains(.meshfedAttempts) {
            guard let number = CallAttempts.parse(head.value(of: .meshfedAttempts)) else { return false }
            attempts = number
        }
        return true
    }
}
