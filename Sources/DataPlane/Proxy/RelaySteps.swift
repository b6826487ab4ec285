internal import Containers
internal import Downstream
internal import Identity
internal import Link
internal import MeshModel
internal import Reactor
internal import Routing
internal import Telemetry
internal import TLS
internal import Upstream
internal import Wire

/// The life of an opaque TCP stream: its header or listener says what is meant, the caller is judged as a request's is, the next
/// hop says ok, and then bytes go both ways under backpressure. Half-closes and resets pass as what they are.
extension Worker {
    /// Bytes of the caller kept until the next hop said ok (PROTOCOLS section 6).
    static let earlyLimit = 65_536
    /// Bytes that may wait for one side before the other is not read on.
    static let queueLimit = 262_144
    /// Dialling, headers, the next hop's word.
    static let setupTime = Duration.seconds(10)

    /// An app connected to its plain port for one service.
    mutating func startOutboundTCP(_ handle: Handle, host: [UInt8]) {
        guard let configuration, let namespace = settings.namespace,
            case .destination(let destination) = configuration.table.destination(host: host.span, namespace: namespace)
        else {
            closeInbound(handle, abort: true)
            return
        }
        if destination.port.appProtocol.isHTTP {
            // The port's protocol decides: requests are routed one by one.
            inbound[handle].destination = destination
            inbound[handle].isTunnel = true
            inbound[handle].connection.phase = .detect
            return
        }
        makeRelay(handle, destination, framing: .raw, plan: .source, caller: configuration.svid.id, configuration)
    }

    /// A CONNECT of the app. Bytes for an HTTP port are requests again; others are relayed once the next hop said ok.
    mutating func startTunnel(_ exchange: Handle, _ handle: Handle, _ destination: Destination) {
        guard let configuration else { return }
        inbound[handle].destination = destination
        if destination.port.appProtocol.isHTTP {
            openTunnel(exchange, handle)
            guard inbound.contains(handle) else { return }
            inbound[handle].isTunnel = true
            inbound[handle].connection.phase = .detect
            inbound[handle].connection.waitingSince = reactor.now
            if !inbound[handle].connection.early.isEmpty { detect(handle) }
            return
        }
        exchanges[exchange].phase = .waiting
        makeRelay(
            handle, destination, framing: .tunnel(exchange), plan: .source, caller: configuration.svid.id, configuration
        )
    }

    /// Sends 200 to a CONNECT and takes the connection out of HTTP.
    mutating func openTunnel(_ exchange: Handle, _ handle: Handle) {
        let stream = exchanges[exchange].stream
        reactor.cancel(exchanges[exchange].timer)
        exchanges.remove(exchange)
        inbound[handle].connection.streams.remove(stream)
        inbound[handle].connection.link.session?.enterTunnel()
        do throws(TransportError) {
            try inbound[handle].connection.link.write(&buffers, &scratch)
        } catch {
            closeInbound(handle, abort: true)
            return
        }
        var early = ByteBuffer()
        inbound[handle].connection.link.leaveHTTP(into: &early)
        swap(&early, &inbound[handle].connection.early)
    }

    /// A foreign peer's TLS stream on a TCP port: the TLS identity is the caller.
    mutating func startRawRelay(_ handle: Handle, _ destination: Destination) {
        admitRelay(handle, destination, framing: .raw, header: nil)
    }

    /// Bytes of a PROXY v2 header came.
    mutating func readHeader(_ handle: Handle) {
        let header: ProxyHeader
        do throws(ProxyFault) {
            guard let parsed = try ProxyHeader.parse(inbound[handle].connection.early) else { return }
            header = parsed
        } catch {
            noteFault(.downstream, Array("\(error.word)".utf8), of: handle)
            closeInbound(handle, abort: true)
            return
        }
        inbound[handle].connection.phase = .relay
        inbound[handle].connection.waitingSince = nil
        let isHealth = header.command == .local && header.copy(.probe, of: inbound[handle].connection.early) == nil
        guard let destination = inbound[handle].destination else {
            if isHealth, settings.isGateway, inbound[handle].part != .unknown {
                answerStream(handle, "ok")
            } else {
                answerStream(handle, Reason.noRoute)
            }
            return
        }
        if isHealth {
            switch inbound[handle].part {
            case .ownWorkload, .ownGateway:
                if settings.isGateway {
                    answerStream(handle, Reason.noRoute)
                } else {
                    knock(.stream(handle), port: destination.ownTargetPort)
                }
            case .ownBroker, .foreign, .unknown: answerStream(handle, Reason.noRoute)
            }
            return
        }
        if destination.port.appProtocol.isHTTP {
            answerStream(handle, Reason.noRoute)
            return
        }
        admitRelay(handle, destination, framing: .mesh, header: header)
    }

    func headerValue(_ handle: Handle, _ header: ProxyHeader?, _ field: ProxyHeader.Field) -> [UInt8]? {
        header?.copy(field, of: inbound[handle].connection.early)
    }

    /// The same judgement as a request's: route, hops, origin, authorisation, limits.
    mutating func admitRelay(
        _ handle: Handle, _ held: Destination, framing: Relay.Framing, header: ProxyHeader?
    ) {
        guard let configuration, let peer = inbound[handle].peer, let destination = configuration.table.current(held)
        else {
            refuseStream(handle, framing, .noRoute)
            return
        }
        if inbound[handle].isExcess || !takesStreams() { return refuseStream(handle, framing, .overload) }
        let token = headerValue(handle, header, .assertion)
        let hops = headerValue(handle, header, .hops) ?? []
        let authority = headerValue(handle, header, .authority)
        let probe = headerValue(handle, header, .probe)
        let deadline = headerValue(handle, header, .deadline)
        let parent = headerValue(handle, header, .traceparent)
        if let header { inbound[handle].connection.early.consume(header.count) }
        if framing == .mesh, authority != destination.meshName {
            refuseStream(handle, framing, .wrongAuthority)
            return
        }
        let part = inbound[handle].part
        // Nobody dials another cluster's sidecar, and brokers have no business at an app (PROTOCOLS section 4).
        if !settings.isGateway, part != .ownWorkload, part != .ownGateway {
            refuseStream(handle, framing, .notAllowed)
            return
        }
        let plan: CandidateWalk.Plan
        switch part {
        case .ownWorkload: plan = settings.isGateway ? .egress(foreignCaller: token == nil) : .ingress
        case .ownBroker: plan = .egress(foreignCaller: true)
        case .foreign: plan = .ingress
        case .ownGateway: plan = .ingress
        case .unknown:
            refuseStream(handle, framing, .noRoute)
            return
        }
        if settings.isGateway {
            switch Hops.judge(hops.span, at: configuration.table.snapshot.cluster) {
            case .passable: break
            case .loop: return refuseStream(handle, framing, .loop)
            case .invalid: return refuseStream(handle, framing, .requestInvalid)
            }
        }
        let caller: OriginCaller
        do throws(OriginRefusal) {
            let role: OriginRole =
                settings.isGateway ? .gateway(configuration.ownDomain) : .sidecar(configuration.ownDomain)
            let attested = probe != nil ? nil : configuration.table.snapshot.settings.acceptAttested
            let judged = try verifier?.judge(
                token, destination, peer: peer, role: role, acceptAttested: attested, now: reactor.wall)
            guard let judged else { return refuseStream(handle, framing, .draining) }
            caller = judged
        } catch {
            metrics.count(
                .originRefused, metrics.intern(Array(error.reason.rawValue.utf8)), inbound[handle].sourceCluster)
            refuseStream(handle, framing, error.reason)
            return
        }
        var who = caller.caller
        if let probe, !caller.asserted, part == .ownBroker || isBroker(part) {
            guard let claimed = SPIFFEID(probe), claimed.trustDomain == peer.trustDomain else {
                return refuseStream(handle, framing, .requestInvalid)
            }
            who = claimed
        }
        let isQuestion = probe != nil && part != .ownWorkload
        guard isStreamAllowed(destination, who, plan, configuration) else {
            return refuseStream(handle, framing, .notAllowed)
        }
        if settings.isGateway, !isQuestion, destination.service >= 0,
            !configuration.table.limits[destination.service].isEmpty,
            takeLimit(destination.service, CallerKey(who), configuration)?.isLimited == true
        {
            return refuseStream(handle, framing, .rateLimited)
        }
        guard
            let relay = makeRelay(
                handle, destination, framing: framing, plan: plan, caller: who, configuration, dispatches: false)
        else { return }
        relays[relay].isProbe = isQuestion
        relays[relay].origin = caller.asserted ? token ?? [] : []
        relays[relay].hops = hops
        if let deadline,
            let tightened = CallDeadline.tightened(relays[relay].deadline, by: deadline.span, now: reactor.now)
        {
            relays[relay].deadline = tightened
        }
        if let parent, let trace = TraceContext(parent.span) { relays[relay].trace = trace }
        relays[relay].reporter = !settings.isGateway ? .destination : plan == .ingress ? .ingress : .egress
        if !settings.isGateway { relays[relay].route = .app(port: destination.ownTargetPort) }
        dispatchRelay(relay)
    }

    func isBroker(_ part: PeerPart) -> Bool {
        if case .foreign(_, .broker) = part { return true }
        return false
    }

    func isStreamAllowed(
        _ destination: Destination, _ caller: SPIFFEID, _ plan: CandidateWalk.Plan, _ configuration: ProxyConfiguration
    ) -> Bool {
        let table = configuration.table
        if plan == .ingress { return table.decide(destination, caller: caller).isAllowed }
        if plan == .egress(foreignCaller: true), table.decide(destination, caller: caller).isAllowed { return true }
        guard destination.service >= 0 else { return false }
        for remote in table.snapshot.services[destination.service].remotes.indices
        where table.decide(destination, caller: caller, remote: remote).isAllowed { return true }
        return false
    }

    @discardableResult
    mutating func makeRelay(
        _ handle: Handle, _ destination: Destination, framing: Relay.Framing, plan: CandidateWalk.Plan,
        caller: SPIFFEID?, _ configuration: ProxyConfiguration, dispatches: Bool = true
    ) -> Handle? {
        let now = reactor.now
        let trace = TraceContext.fresh(
            samplePercent: configuration.table.snapshot.settings.tracingSamplePercent, random: &random)
        var fresh = Relay(
            downstream: handle, framing: framing, destination: destination,
            walk: CandidateWalk(plan: plan, wall: reactor.wall), trace: trace, deadline: now + Self.setupTime, now: now)
        fresh.caller = caller
        guard let relay = relays.insert(fresh) else {
            refuseStream(handle, framing, .overload)
            return nil
        }
        inbound[handle].relay = relay
        inbound[handle].connection.waitingSince = nil
        if let caller { knowCaller(handle, caller) }
        if dispatches { dispatchRelay(relay) }
        return relay
    }
}
