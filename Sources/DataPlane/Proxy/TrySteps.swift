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

/// Steps 3 and 4: where the next try of a request goes, and its head.
///
/// What a try needs of the destination and the configuration is handed on by whoever holds them: each load of a reference from a slab
/// is a retain.
extension Worker {
    // MARK: 3. The next hop

    /// Chooses the next candidate and gets a connection to it; answers when there is none.
    mutating func dispatch(_ exchange: Handle) {
        if let configuration { dispatch(exchange, configuration) }
    }

    mutating func dispatch(_ exchange: Handle, _ configuration: ProxyConfiguration) {
        guard exchanges.contains(exchange) else { return }
        guard case .mesh = exchanges[exchange].route else { return dispatchFixed(exchange, configuration) }
        guard let held = exchanges[exchange].destination else {
            exchanges[exchange].startSearch()
            return answer(exchange, .noRoute)
        }
        if configuration.table.holds(held.place) {
            return dispatch(exchange, to: held, isNew: false, configuration)
        }
        // Another configuration has come since.
        guard let fresh = configuration.table.current(held) else {
            exchanges[exchange].startSearch()
            return answer(exchange, .noRoute)
        }
        exchanges[exchange].destination = fresh
        exchanges[exchange].spelling = .unknown
        exchanges[exchange].isOwnerAllowed = false
        dispatch(exchange, to: fresh, isNew: true, configuration)
    }

    /// `destination` is the exchange's, and of `configuration`. `isNew`: the last try was one of another configuration.
    mutating func dispatch(
        _ exchange: Handle, to destination: Destination, isNew: Bool, _ configuration: ProxyConfiguration
    ) {
        if case .mesh = exchanges[exchange].route {} else { return dispatchFixed(exchange, configuration) }
        for round in 0...CandidateWalk.maximumTried {
            guard exchanges.contains(exchange) else { return }
            exchanges[exchange].startSearch()
            let mayRepeat = !isNew || round > 0
            guard let hop = nextHop(exchange, to: destination, mayRepeat, configuration) else { return }
            switch reach(exchange, hop) {
            case .ready(let connection): return sendRequest(exchange, connection, to: destination, configuration)
            case .again: continue
            case .over: return
            }
        }
        answer(exchange, .noEndpoint)
    }

    /// The app, or the target of a probe: there is no choice.
    private mutating func dispatchFixed(_ exchange: Handle, _ configuration: ProxyConfiguration) {
        for _ in 0...CandidateWalk.maximumTried {
            guard exchanges.contains(exchange) else { return }
            exchanges[exchange].startSearch()
            guard let hop = currentHop(exchange, configuration) else { break }
            switch reach(exchange, hop) {
            case .ready(let connection): return sendRequest(exchange, connection)
            case .again: continue
            case .over: return
            }
        }
        answer(exchange, .noEndpoint)
    }

    private enum Reached {
        case ready(Handle)
        case again
        /// It waits for a connection, or was answered.
        case over
    }

    private mutating func reach(_ exchange: Handle, _ hop: Hop) -> Reached {
        exchanges[exchange].upstreamIsProxy = hop.isProxy
        switch obtain(exchange, hop, route: routeNumber(exchange)) {
        case .ready(let connection): return .ready(connection)
        case .waiting: return .over
        case .refused(let reason):
            answer(exchange, reason)
            return .over
        case .failed(let error):
            let cause = FailureCause(.socket(error), wasConnecting: true, isUnanswered: false)
            return judgeFailure(exchange, cause) ? .again : .over
        }
    }

    /// Again with the same candidate: the connection that was waited for has no room.
    mutating func redispatch(_ exchange: Handle) {
        guard let configuration, exchanges.contains(exchange) else { return }
        guard let hop = currentHop(exchange, configuration) else {
            dispatch(exchange)
            return
        }
        switch obtain(exchange, hop, route: routeNumber(exchange)) {
        case .ready(let connection): sendRequest(exchange, connection)
        case .waiting: break
        case .refused(let reason): answer(exchange, reason)
        case .failed(let error):
            tryFailed(exchange, FailureCause(.socket(error), wasConnecting: true, isUnanswered: false))
        }
    }

    private func routeNumber(_ exchange: Handle) -> UInt64 {
        switch exchanges[exchange].route {
        case .mesh: exchanges[exchange].destination?.poolRoute ?? 0
        case .app: 0
        case .probe: 1 << 62
        }
    }

    /// The next candidate. Nil: the exchange was answered. `mayRepeat`: the last try was one of this configuration.
    private mutating func nextHop(
        _ exchange: Handle, to destination: Destination, _ mayRepeat: Bool, _ configuration: ProxyConfiguration
    ) -> Hop? {
        for _ in 0..<CandidateWalk.maximumTried {
            guard
                let candidate = exchanges[exchange].walk.next(
                    destination, configuration.table, health, now: reactor.now, random: &random)
                    ?? (mayRepeat ? sameAgain(exchange) : nil)
            else {
                // What the last try met says more than that nothing is left.
                answer(exchange, exchanges[exchange].reason ?? exchanges[exchange].walk.reason)
                return nil
            }
            guard mayGo(exchange, candidate, destination, configuration) else {
                answer(exchange, .notAllowed)
                return nil
            }
            exchanges[exchange].candidate = candidate
            if let hop = meshHop(exchange, candidate, destination, configuration) {
                if candidate.isFailover { countFailover(destination, candidate) }
                return hop
            }
        }
        answer(exchange, .noEndpoint)
        return nil
    }

    /// Nobody else is left, and it was a connection that ended: its peer is replaced, or closed it as the request came.
    private mutating func sameAgain(_ exchange: Handle) -> Candidate? {
        guard exchanges[exchange].lostConnection, let candidate = exchanges[exchange].candidate,
            health.isUsable(candidate.handle, now: reactor.now)
        else { return nil }
        exchanges[exchange].lostConnection = false
        return candidate
    }

    private mutating func currentHop(_ exchange: Handle, _ configuration: ProxyConfiguration) -> Hop? {
        switch exchanges[exchange].route {
        case .mesh:
            guard let candidate = exchanges[exchange].candidate, let destination = exchanges[exchange].destination,
                configuration.table.holds(destination.place)
            else { return nil }
            return meshHop(exchange, candidate, destination, configuration)
        case .app(let port):
            guard let address = settings.appAddress else { return nil }
            return targets.app(
                address.withPort(port), exchanges[exchange].destination,
                prefersHTTP2: exchanges[exchange].prefersHTTP2(at: .app))
        // A probe that waited and found no room is dropped: it says nothing of the target.
        case .probe: return nil
        }
    }

    private mutating func meshHop(
        _ exchange: Handle, _ candidate: Candidate, _ destination: Destination, _ configuration: ProxyConfiguration
    ) -> Hop? {
        targets.mesh(
            candidate.kind, destination, prefersHTTP2: exchanges[exchange].prefersHTTP2(at: .mesh), configuration)
    }

    /// The owner's authorisation, where it is a remote owner's: known only with the candidate.
    private mutating func mayGo(
        _ exchange: Handle, _ candidate: Candidate, _ destination: Destination, _ configuration: ProxyConfiguration
    ) -> Bool {
        guard settings.isGateway, !destination.isProbe, exchanges[exchange].hasCaller else { return true }
        switch candidate.kind {
        case .endpoint: return ownerAllows(exchange, destination, configuration.table)
        case .remoteGateway(_, _, let remote):
            guard let caller = caller(of: exchange) else { return true }
            return configuration.table.decide(destination, caller: caller, remote: remote).isAllowed
        case .localGateway: return true
        }
    }

    // MARK: 4. The try

    /// Writes the head of this try to an established connection, and what came of the body.
    mutating func sendRequest(_ exchange: Handle, _ connection: Handle) {
        guard let configuration, exchanges.contains(exchange) else { return }
        if let destination = exchanges[exchange].destination {
            return sendRequest(exchange, connection, to: destination, configuration)
        }
        let writer = headWriter(exchange, connection)
        guard writer.begin(exchanges[exchange], into: &outgoing, &text) else { return answer(exchange, .deadline) }
        writer.finish(exchanges[exchange], introduction.text, into: &outgoing)
        launch(exchange, connection, now: writer.now)
    }

    private mutating func sendRequest(
        _ exchange: Handle, _ connection: Handle, to destination: Destination, _ configuration: ProxyConfiguration
    ) {
        guard exchanges.contains(exchange) else { return }
        let writer = headWriter(exchange, connection)
        guard writer.begin(exchanges[exchange], into: &outgoing, &text) else { return answer(exchange, .deadline) }
        if exchanges[exchange].upstreamIsProxy {
            let token = ownToken(exchange, destination)
            writer.finish(exchanges[exchange], for: destination, configuration, token, into: &outgoing, &text)
        } else {
            introduce(exchange, configuration)
            writer.finish(exchanges[exchange], to: destination, introduction.text, into: &outgoing)
        }
        launch(exchange, connection, now: writer.now)
    }

    /// Who called, for the app.
    private mutating func introduce(_ exchange: Handle, _ configuration: ProxyConfiguration) {
        let handle = exchanges[exchange].downstream
        if exchanges[exchange].isPeersOwn, inbound.contains(handle) {
            introduction.become(inbound[handle], configuration)
        } else {
            introduction.become(exchanges[exchange], configuration)
        }
    }

    private mutating func headWriter(_ exchange: Handle, _ connection: Handle) -> RequestHead {
        RequestHead(
            isGateway: settings.isGateway, isSecure: outbound[connection].connection.link.transport.isSecure,
            trace: exchanges[exchange].trace.child(random: &random), now: reactor.now)
    }

    /// Puts a try on its way whose head stands in `outgoing`.
    private mutating func launch(_ exchange: Handle, _ connection: Handle, now: Instant) {
        if exchanges[exchange].isUpgrade, !outbound[connection].connection.link.isHTTP2 { completeUpgrade() }
        let hasBody = !exchanges[exchange].kept.isEmpty
        let endsNow = exchanges[exchange].requestEnded && !hasBody && !exchanges[exchange].hasTrailers
        let stream: StreamID
        do throws(HTTPFailure) {
            guard
                let opened = try outbound[connection].connection.link.session?.openStream(outgoing, endStream: endsNow)
            else { return }
            stream = opened
        } catch {
            if error.reason == .notReady {
                redispatch(exchange)
            } else {
                answer(exchange, .requestInvalid)
            }
            return
        }
        outbound[connection].connection.streams.add(stream, exchange)
        outbound[connection].connection.lastActive = now
        exchanges[exchange].sent(on: connection, stream, now)
        if let candidate = exchanges[exchange].candidate {
            health.started(candidate.handle)
            exchanges[exchange].started = true
            if case .remoteGateway(let member, _, _) = candidate.kind { exchanges[exchange].destinationMember = member }
        }
        if hasBody {
            let ends = exchanges[exchange].requestEnded && !exchanges[exchange].hasTrailers
            outbound[connection].connection.link.sendData(stream, exchanges[exchange].kept, endStream: ends)
        }
        if exchanges[exchange].hasTrailers {
            outbound[connection].connection.link.session?.sendTrailers(stream, exchanges[exchange].trailers)
        }
        releaseDownstream(exchange)
        exchanges[exchange].startTry(now)
        armTimer(exchange)
        markOutbound(connection)
    }

    /// HTTP/2 knows no key of a WebSocket (RFC 8441 5); servers of HTTP/1.1 insist on one.
    private mutating func completeUpgrade() {
        guard outgoing.says(.protocol, "websocket") else { return }
        let name: StaticString = "sec-websocket-key"
        if outgoing.contains(named: name) { return }
        text.removeAll()
        WebSocketKey.append(random.next(), random.next(), to: &text)
        outgoing.append(name: name, text)
    }

    /// An assertion of our own, where this hop is the first to say who calls.
    private mutating func ownToken(_ exchange: Handle, _ destination: Destination) -> [UInt8]? {
        if exchanges[exchange].forwardsOrigin { return nil }
        if settings.isGateway {
            guard let caller = caller(of: exchange), !destination.isProbe else { return nil }
            return try? maker?.assertion(attesting: caller, for: destination, now: reactor.wall)
        }
        // A sidecar vouches for its workload only where gateways stand between: on a direct leg TLS says who calls.
        guard case .localGateway = exchanges[exchange].candidate?.kind else { return nil }
        return try? maker?.assertion(for: destination, now: reactor.wall)
    }
}
