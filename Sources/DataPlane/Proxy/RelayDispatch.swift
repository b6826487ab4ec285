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

/// The next hop of a stream: candidates in turn, our header, its word.
extension Worker {
    mutating func dispatchRelay(_ relay: Handle) {
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

    mutating func relayTarget(_ relay: Handle, _ configuration: ProxyConfiguration) -> Target? {
        if let address = relays[relay].outside {
            return Target(
                address: address, serverName: [], use: .plainTCP, expectation: .anybody, context: nil, isProxy: false,
                isGateway: false, times: ConnectionTimes(relays[relay].destination.traffic.settings))
        }
        if case .app(let port) = relays[relay].route {
            guard let address = settings.appAddress else {
                refuseRelay(relay, .noEndpoint)
                return nil
            }
            return Target(
                address: address.withPort(port), serverName: [], use: .plainTCP, expectation: .anybody, context: nil,
                isProxy: false, isGateway: false,
                times: ConnectionTimes(relays[relay].destination.traffic.settings))
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
            guard let target = configuration.target(candidate.kind, destination, http: false, prefersHTTP2: false)
            else {
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

    mutating func writeHeader(_ relay: Handle, _ configuration: ProxyConfiguration) throws(ProxyFault) {
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

    mutating func originToken(_ relay: Handle, _ destination: Destination) -> [UInt8]? {
        if !relays[relay].origin.isEmpty { return relays[relay].origin }
        if settings.isGateway {
            guard let caller = relays[relay].caller else { return nil }
            return try? maker?.assertion(attesting: caller, for: destination, now: reactor.wall)
        }
        guard case .localGateway = relays[relay].candidate?.kind else { return nil }
        return try? maker?.assertion(for: destination, now: reactor.wall)
    }

    /// The stream stands end to end: the caller hears it, what was kept goes out.
    mutating func openRelay(_ relay: Handle, _ connection: Handle) {
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
}
