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
    private static let earlyLimit = 65_536
    /// Bytes that may wait for one side before the other is not read on.
    private static let queueLimit = 262_144
    /// Dialling, headers, the next hop's word.
    private static let setupTime = Duration.seconds(10)

    // MARK: Beginnings

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
            handle, destination, framing: .tunnel(exchange), plan: .source, caller: configuration.svid.id, configuration)
    }

    /// Sends 200 to a CONNECT and takes the connection out of HTTP.
    private mutating func openTunnel(_ exchange: Handle, _ handle: Handle) {
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

    private func headerValue(_ handle: Handle, _ header: ProxyHeader?, _ field: ProxyHeader.Field) -> [UInt8]? {
        header?.copy(field, of: inbound[handle].connection.early)
    }

    /// The same judgement as a request's: route, hops, origin, authorisation, limits.
    private mutating func admitRelay(
        _ handle: Handle, _ held: Destination, framing: Relay.Framing, header: ProxyHeader?
    ) {
        guard let configuration, let peer = inbound[handle].peer, let destination = configuration.table.current(held)
        else {
            refuseStream(handle, framing, .noRoute)
            return
        }
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
        if settings.isGateway, Hops.judge(hops.span, at: configuration.table.snapshot.cluster) != .passable(hopCount(hops)) {
            refuseStream(handle, framing, .loop)
            return
        }
        let caller: OriginCaller
        do throws(OriginRefusal) {
            let role: OriginRole =
                settings.isGateway ? .gateway(configuration.ownDomain) : .sidecar(configuration.ownDomain)
            let attested =
                probe != nil || configuration.table.snapshot.settings.acceptAttested.contains(peer.trustDomain)
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
        if let deadline, let tightened = CallDeadline.tightened(relays[relay].deadline, by: deadline.span, now: reactor.now)
        {
            relays[relay].deadline = tightened
        }
        if let parent, let trace = TraceContext(parent.span) { relays[relay].trace = trace }
        relays[relay].reporter = !settings.isGateway ? .destination : plan == .ingress ? .ingress : .egress
        if !settings.isGateway { relays[relay].route = .app(port: destination.ownTargetPort) }
        dispatchRelay(relay)
    }

    private func isBroker(_ part: PeerPart) -> Bool {
        if case .foreign(_, .broker) = part { return true }
        return false
    }

    private func hopCount(_ hops: [UInt8]) -> Int { hops.isEmpty ? 0 : Hops.count(hops.span) ?? -1 }

    private func isStreamAllowed(
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
    private mutating func makeRelay(
        _ handle: Handle, _ destination: Destination, framing: Relay.Framing, plan: CandidateWalk.Plan,
        caller: SPIFFEID, _ configuration: ProxyConfiguration, dispatches: Bool = true
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
        knowCaller(handle, caller)
        if dispatches { dispatchRelay(relay) }
        return relay
    }

    // MARK: The next hop

    private mutating func dispatchRelay(_ relay: Handle) {
        for _ in 0...CandidateWalk.maximumTried {
            guard relays.contains(relay), let configuration else { return }
            guard let target = relayTarget(relay, configuration) else { return }
            let key = key(target, route: 1 << 63)
            do throws(SocketError) {
                let connection = try dial(target, key: key, purpose: .relay(relay))
                guard outbound.contains(connection) else { return refuseRelay(relay, .overload) }
                relays[relay].upstream = connection
                if let candidate = relays[relay].candidate {
                    health.started(candidate.handle)
                    relays[relay].started = true
                }
                return
            } catch {
                let cause = FailureCause(.socket(error), wasConnecting: true, isUnanswered: false)
                guard mayRetryRelay(relay, cause) else { return }
            }
        }
        refuseRelay(relay, .noEndpoint)
    }

    private mutating func relayTarget(_ relay: Handle, _ configuration: ProxyConfiguration) -> Target? {
        if case .app(let port) = relays[relay].route {
            guard let address = settings.appAddress else {
                refuseRelay(relay, .noEndpoint)
                return nil
            }
            return Target(
                address: address.withPort(port), serverName: [], use: .plainTCP, expectation: .anybody, context: nil,
                isProxy: false, isGateway: false,
                connectTimeout: relays[relay].destination.traffic.connectTimeout)
        }
        guard let destination = configuration.table.current(relays[relay].destination) else {
            refuseRelay(relay, .noRoute)
            return nil
        }
        relays[relay].destination = destination
        for _ in 0..<CandidateWalk.maximumTried {
            guard
                let candidate = relays[relay].walk.next(
                    destination, configuration.table, health, now: reactor.now, random: &random)
            else {
                refuseRelay(relay, relays[relay].reason ?? relays[relay].walk.reason)
                return nil
            }
            if settings.isGateway, let caller = relays[relay].caller {
                let isAllowed: Bool
                switch candidate.kind {
                case .endpoint: isAllowed = configuration.table.decide(destination, caller: caller).isAllowed
                case .remoteGateway(_, _, let remote):
                    isAllowed = configuration.table.decide(destination, caller: caller, remote: remote).isAllowed
                case .localGateway: isAllowed = true
                }
                guard isAllowed else {
                    refuseRelay(relay, .notAllowed)
                    return nil
                }
            }
            relays[relay].candidate = candidate
            if case .remoteGateway(let member, _, _) = candidate.kind { relays[relay].destinationMember = member }
            guard let target = configuration.target(candidate, destination, http: false, prefersHTTP2: false) else {
                continue
            }
            if candidate.isFailover { countFailover(destination, candidate) }
            return target
        }
        refuseRelay(relay, .noEndpoint)
        return nil
    }

    /// The connection stands: our header goes out, or (to an app) the stream is open.
    mutating func relayConnected(_ relay: Handle, _ connection: Handle) {
        guard relays.contains(relay), relays[relay].upstream == connection, let configuration else {
            outbound.remove(connection)
            return
        }
        guard outbound[connection].connection.key.use == .meshTCP else {
            outbound[connection].connection.phase = .relay
            if let candidate = relays[relay].candidate { health.succeeded(candidate.handle, now: reactor.now) }
            openRelay(relay, connection)
            return
        }
        scratch.removeAll()
        do throws(ProxyFault) {
            try writeHeader(relay, configuration)
            outbound[connection].connection.phase = .relay
            try? outbound[connection].connection.link.transport.send(scratch, &buffers)
            watchOutbound(connection)
        } catch {
            refuseRelay(relay, .tooLarge)
        }
    }

    private mutating func writeHeader(_ relay: Handle, _ configuration: ProxyConfiguration) throws(ProxyFault) {
        let destination = relays[relay].destination
        let isProbe = relays[relay].isProbe
        var writer = ProxyHeaderWriter(isProbe ? .local : .proxy)
        writer.append(.authority, destination.meshName)
        if settings.isGateway {
            text.removeAll()
            let hops = relays[relay].hops
            Hops.append(hops.span, own: configuration.table.hopName, into: &text)
            writer.append(.hops, text)
        }
        if let token = originToken(relay, destination) { writer.append(.assertion, token) }
        text.removeAll()
        relays[relay].trace.child(random: &random).append(into: &text)
        writer.append(.traceparent, text)
        text.removeAll()
        if CallDeadline.append(relays[relay].deadline, now: reactor.now, into: &text) {
            writer.append(.deadline, text)
        }
        if isProbe, let caller = relays[relay].caller { writer.append(.probe, caller.bytes) }
        try writer.finish(into: &scratch)
    }

    private mutating func originToken(_ relay: Handle, _ destination: Destination) -> [UInt8]? {
        if !relays[relay].origin.isEmpty { return relays[relay].origin }
        if settings.isGateway {
            guard let caller = relays[relay].caller else { return nil }
            return try? maker?.assertion(attesting: caller, for: destination, now: reactor.wall)
        }
        guard case .localGateway = relays[relay].candidate?.kind else { return nil }
        return try? maker?.assertion(for: destination, now: reactor.wall)
    }

    /// The stream stands end to end: the caller hears it, what was kept goes out.
    private mutating func openRelay(_ relay: Handle, _ connection: Handle) {
        let handle = relays[relay].downstream
        guard inbound.contains(handle) else { return endRelay(relay, abort: true) }
        if relays[relay].isProbe {
            refuseStreamWithWord(handle, "ok")
            endRelayUpstream(relay)
            return
        }
        relays[relay].phase = .open
        relays[relay].reason = nil
        relays[relay].lastActive = reactor.now
        relayOpened(relay)
        switch relays[relay].framing {
        case .mesh: sendWord(handle, "ok")
        case .raw: break
        case .tunnel(let exchange):
            if exchanges.contains(exchange) { openTunnel(exchange, handle) }
            guard inbound.contains(handle) else { return }
            inbound[handle].connection.phase = .relay
        }
        let kept = inbound[handle].connection.early.count
        if kept > 0 {
            relays[relay].received &+= UInt64(kept)
            do throws(TransportError) {
                try outbound[connection].connection.link.transport.send(inbound[handle].connection.early, &buffers)
            } catch {
                return endRelay(relay, abort: true)
            }
            inbound[handle].connection.early.removeAll()
            inbound[handle].connection.early.shrink()
        }
        if inbound[handle].connection.link.transport.inputClosed { downstreamEnded(relay, handle) }
        if inbound.contains(handle) { markInbound(handle) }
        markOutbound(connection)
    }

    // MARK: Bytes

    func relayReadsDownstream(_ relay: Handle) -> Bool {
        guard relays.contains(relay) else { return true }
        let handle = relays[relay].downstream
        switch relays[relay].phase {
        case .waiting: return inbound[handle].connection.early.count < Self.earlyLimit
        case .open:
            let connection = relays[relay].upstream
            guard outbound.contains(connection) else { return false }
            return outbound[connection].connection.link.transport.pendingOutput < Self.queueLimit
        }
    }

    func relayReadsUpstream(_ relay: Handle) -> Bool {
        guard relays.contains(relay), relays[relay].phase == .open else { return true }
        let handle = relays[relay].downstream
        return inbound.contains(handle)
            && inbound[handle].connection.link.transport.pendingOutput < Self.queueLimit
    }

    mutating func relayFromDownstream(_ relay: Handle, _ handle: Handle, _ count: Int) {
        guard relays.contains(relay) else {
            // Nothing is relayed any more: the caller is only heard out.
            return
        }
        relays[relay].lastActive = reactor.now
        guard relays[relay].phase == .open else {
            inbound[handle].connection.early.append(received: buffers)
            return
        }
        relays[relay].received &+= UInt64(count)
        let connection = relays[relay].upstream
        guard outbound.contains(connection) else { return }
        do throws(TransportError) {
            try outbound[connection].connection.link.transport.forward(&buffers)
        } catch {
            endRelay(relay, abort: true)
            return
        }
        watchOutbound(connection)
    }

    mutating func relayFromUpstream(_ relay: Handle, _ connection: Handle, _ count: Int) {
        guard relays.contains(relay) else { return }
        relays[relay].lastActive = reactor.now
        if relays[relay].phase == .open {
            let handle = relays[relay].downstream
            relays[relay].sent &+= UInt64(count)
            guard inbound.contains(handle) else { return }
            do throws(TransportError) {
                try inbound[handle].connection.link.transport.forward(&buffers)
            } catch {
                endRelay(relay, abort: true)
                return
            }
            watchInbound(handle)
            return
        }
        outbound[connection].connection.early.append(received: buffers)
        readWord(relay, connection)
    }

    /// The next hop's word: ok, or why not.
    private mutating func readWord(_ relay: Handle, _ connection: Handle) {
        let header: ProxyHeader
        do throws(ProxyFault) {
            guard let parsed = try ProxyHeader.parse(outbound[connection].connection.early) else { return }
            header = parsed
        } catch {
            relayTryFailed(
                relay, FailureCause(reason: .upstreamProtocol, cause: .unreached, health: .status5xx, isDispatched: false))
            return
        }
        let word = header.copy(.answer, of: outbound[connection].connection.early) ?? []
        outbound[connection].connection.early.consume(header.count)
        if word == Array("ok".utf8) {
            if let candidate = relays[relay].candidate {
                health.succeeded(candidate.handle, now: reactor.now)
                health.succeeded(candidate.pathHandle, now: reactor.now)
            }
            openRelay(relay, connection)
            passEarly(relay, connection)
            return
        }
        let reason = Reason(rawValue: String(decoding: word, as: UTF8.self)) ?? .upstreamProtocol
        if let candidate = relays[relay].candidate {
            if case .endpoint = candidate.kind, reason == .connectFailed {
                health.failed(candidate.handle, .connectRefused, now: reactor.now)
            } else {
                health.remoteAnswered(candidate, reason, now: reactor.now)
            }
        }
        relayTryFailed(
            relay, FailureCause(reason: reason, cause: .answered(reason), health: nil, isDispatched: false))
    }

    /// Bytes of a server that speaks first may stand right behind the word.
    private mutating func passEarly(_ relay: Handle, _ connection: Handle) {
        guard relays.contains(relay), outbound.contains(connection) else { return }
        let handle = relays[relay].downstream
        let count = outbound[connection].connection.early.count
        guard count > 0, inbound.contains(handle) else { return }
        relays[relay].sent &+= UInt64(count)
        do throws(TransportError) {
            try inbound[handle].connection.link.transport.send(outbound[connection].connection.early, &buffers)
        } catch {
            endRelay(relay, abort: true)
            return
        }
        outbound[connection].connection.early.removeAll()
        outbound[connection].connection.early.shrink()
        watchInbound(handle)
    }

    mutating func downstreamEnded(_ relay: Handle, _ handle: Handle) {
        guard relays.contains(relay) else { return closeInbound(handle, abort: false) }
        guard relays[relay].phase == .open else { return }
        let connection = relays[relay].upstream
        guard outbound.contains(connection) else { return endRelay(relay, abort: false) }
        try? outbound[connection].connection.link.transport.endOutput(&buffers)
        watchOutbound(connection)
        finishRelayIfDone(relay)
    }

    mutating func upstreamEnded(_ relay: Handle, _ connection: Handle) {
        guard relays.contains(relay) else {
            outbound.remove(connection)
            return
        }
        guard relays[relay].phase == .open else {
            closeOutbound(connection, .truncated)
            return
        }
        let handle = relays[relay].downstream
        guard inbound.contains(handle) else { return endRelay(relay, abort: false) }
        try? inbound[handle].connection.link.transport.endOutput(&buffers)
        watchInbound(handle)
        finishRelayIfDone(relay)
    }

    mutating func downstreamDrained(_ relay: Handle, _ handle: Handle) {
        guard relays.contains(relay) else { return }
        let connection = relays[relay].upstream
        if outbound.contains(connection) { watchOutbound(connection) }
        finishRelayIfDone(relay)
    }

    mutating func upstreamDrained(_ relay: Handle, _ connection: Handle) {
        guard relays.contains(relay) else { return }
        let handle = relays[relay].downstream
        if inbound.contains(handle) { watchInbound(handle) }
        finishRelayIfDone(relay)
    }

    private mutating func finishRelayIfDone(_ relay: Handle) {
        guard relays.contains(relay), relays[relay].phase == .open else { return }
        let handle = relays[relay].downstream
        let connection = relays[relay].upstream
        guard inbound.contains(handle), outbound.contains(connection) else { return endRelay(relay, abort: false) }
        let isDone =
            inbound[handle].connection.link.transport.inputClosed
            && outbound[connection].connection.link.transport.inputClosed
            && inbound[handle].connection.link.transport.outputClosed
            && outbound[connection].connection.link.transport.outputClosed
        if isDone { endRelay(relay, abort: false) }
    }

    // MARK: Failures and ends

    /// The upstream connection of a relay is gone.
    mutating func relayLost(_ relay: Handle, _ connection: Handle, _ cause: FailureCause, _ error: TransportError) {
        guard relays[relay].upstream == connection else { return }
        relays[relay].upstream = .none
        if relays[relay].phase == .open {
            relays[relay].reason = .upstreamReset
            endRelay(relay, abort: true)
            return
        }
        // Until it said ok, nothing of the caller's was sent: another candidate may have it.
        let undispatched = FailureCause(
            reason: cause.reason, cause: cause.cause == .brokenOff ? .unreached : cause.cause, health: cause.health,
            isDispatched: false)
        relayTryFailed(relay, undispatched)
    }

    private mutating func relayTryFailed(_ relay: Handle, _ cause: FailureCause) {
        endRelayUpstream(relay)
        if mayRetryRelay(relay, cause) { dispatchRelay(relay) }
    }

    /// False: it was refused.
    private mutating func mayRetryRelay(_ relay: Handle, _ cause: FailureCause) -> Bool {
        let now = reactor.now
        if let candidate = relays[relay].candidate, let failure = cause.health {
            health.failed(candidate.handle, failure, now: now)
        }
        relays[relay].reason = cause.reason
        let failed = FailedTry(
            method: .other, body: .kept, grpc: .no, cause: cause.cause, isDispatched: false, isResponseStarted: false,
            attempts: relays[relay].attempts, freeRepeats: relays[relay].freeRepeats)
        var answer = RetryRules.judge(failed, allowed: relays[relay].destination.traffic.maximumAttempts)
        if case .app = relays[relay].route { answer = .no }
        if answer == .charged, !budgets.withdraw(relays[relay].destination, now: now) { answer = .no }
        switch answer {
        case .free:
            relays[relay].freeRepeats += 1
            return true
        case .charged:
            relays[relay].attempts += 1
            return true
        case .no:
            refuseRelay(relay, cause.reason)
            return false
        }
    }

    private mutating func endRelayUpstream(_ relay: Handle) {
        guard relays.contains(relay) else { return }
        if let candidate = relays[relay].candidate, relays[relay].started {
            health.ended(candidate.handle)
            relays[relay].started = false
        }
        let connection = relays[relay].upstream
        relays[relay].upstream = .none
        if outbound.contains(connection) { outbound.remove(connection) }
    }

    /// The stream cannot be had: the caller hears why in the way it understands.
    mutating func refuseRelay(_ relay: Handle, _ reason: Reason) {
        guard relays.contains(relay) else { return }
        relays[relay].reason = reason
        endRelayUpstream(relay)
        reportRelay(relay)
        let handle = relays[relay].downstream
        let framing = relays[relay].framing
        relays.remove(relay)
        guard inbound.contains(handle) else { return }
        inbound[handle].relay = .none
        refuseStream(handle, framing, reason)
    }

    private mutating func refuseStream(_ handle: Handle, _ framing: Relay.Framing, _ reason: Reason) {
        guard inbound.contains(handle) else { return }
        switch framing {
        case .mesh: answerStream(handle, reason)
        case .raw: closeInbound(handle, abort: true)
        case .tunnel(let exchange): answer(exchange, reason)
        }
    }

    private mutating func answerStream(_ handle: Handle, _ reason: Reason) {
        refuseStreamWithWord(handle, reason.rawValue)
    }

    private mutating func answerStream(_ handle: Handle, _ word: StaticString) {
        refuseStreamWithWord(handle, "\(word)")
    }

    /// One last word, then the end of our direction; the peer closes, or is closed a moment later.
    private mutating func refuseStreamWithWord(_ handle: Handle, _ word: String) {
        let relay = inbound[handle].relay
        inbound[handle].relay = .none
        if relays.contains(relay) {
            endRelayUpstream(relay)
            relays.remove(relay)
        }
        sendWord(handle, word)
        guard inbound.contains(handle) else { return }
        try? inbound[handle].connection.link.transport.endOutput(&buffers)
        inbound[handle].connection.phase = .closing
        inbound[handle].connection.lastActive = reactor.now
        watchInbound(handle)
    }

    private mutating func sendWord(_ handle: Handle, _ word: String) {
        scratch.removeAll()
        var writer = ProxyHeaderWriter(.local)
        writer.append(.answer, Array(word.utf8))
        do throws(ProxyFault) {
            try writer.finish(into: &scratch)
        } catch {
            return
        }
        try? inbound[handle].connection.link.transport.send(scratch, &buffers)
    }

    /// A knock for a LOCAL header came back.
    mutating func streamKnocked(_ handle: Handle, isOpen: Bool) {
        guard inbound.contains(handle) else { return }
        if isOpen { answerStream(handle, "ok") } else { answerStream(handle, Reason.connectFailed) }
    }

    mutating func endRelay(_ relay: Handle, abort: Bool) {
        guard relays.contains(relay) else { return }
        let connection = relays[relay].upstream
        if abort, outbound.contains(connection) { outbound[connection].connection.link.transport.abort() }
        endRelayUpstream(relay)
        reportRelay(relay)
        let handle = relays[relay].downstream
        relays.remove(relay)
        guard inbound.contains(handle) else { return }
        inbound[handle].relay = .none
        closeInbound(handle, abort: abort)
    }
}
