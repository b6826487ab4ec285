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

/// The life of a request, in order:
///
/// 1. `startExchange`: the head is here.
/// 2. `admit` (Admission.swift): which service, who calls, may they, is there room.
/// 3. `dispatch`: the next candidate and a connection to it.
/// 4. `sendRequest`: the head of this try and what came of the body.
/// 5. `requestData` … `requestEnded`: the rest of the body, under backpressure.
/// 6. `responseHead` … `responseEnded` (ResponseSteps.swift): the answer goes back, or the try is repeated.
/// 7. `finish`: counters, log, everything let go.
extension Worker {
    /// The most of a body that is kept for repeating it (PROTOCOLS section 4).
    static let repeatLimit = 65_536
    /// Whoever keeps a stream's queue full for longer reads slowly: below 4 MB/s its window stays small.
    static var lag: Wait { Wait(nanoseconds: 50_000_000) }

    mutating func startExchange(_ handle: Handle, _ stream: StreamID, endStream: Bool) {
        let now = reactor.now
        var head = HeaderBlock()
        if let taken = inbound[handle].connection.link.session?.takeHead(stream) { head = taken }
        inbound[handle].connection.waitingSince = nil
        inbound[handle].connection.lastActive = now
        guard let exchange = exchanges.insert(Exchange(downstream: handle, stream: stream, head: head, now: now)) else {
            refuseForRoom(handle, stream)
            return
        }
        inbound[handle].connection.streams.add(stream, exchange)
        exchanges[exchange].requestEnded = endStream
        // Of a draining proxy this is the last one that HTTP/1.1 gets; HTTP/2 peers hear GOAWAY.
        if isDraining || (pressure >= .lean && !inbound[handle].connection.link.isHTTP2) {
            inbound[handle].connection.link.session?.goAway()
        }
        readHead(exchange)
        guard let configuration else {
            answer(exchange, .draining)
            return
        }
        if inbound[handle].isExcess {
            // Not before it asks: a peer that hears GOAWAY first would only dial again.
            inbound[handle].connection.link.session?.goAway()
            return answer(exchange, .overload)
        }
        switch admit(exchange, handle, configuration) {
        case .go:
            guard takePlace(exchange, handle) else { return answer(exchange, .overload) }
            armTimer(exchange)
            if takesTurn(exchange, handle) { dispatch(exchange, configuration) }
        case .refuse(let reason): answer(exchange, reason)
        case .tunnel: break
        case .healthy: answerProbe(exchange)
        case .knock(let port): knock(.exchange(exchange), port: port)
        }
    }

    private mutating func readHead(_ exchange: Handle) {
        exchanges[exchange].readMethod()
    }

    // MARK: 3. The next hop

    /// Chooses the next candidate and gets a connection to it; answers when there is none.
    mutating func dispatch(_ exchange: Handle) {
        if let configuration { dispatch(exchange, configuration) }
    }

    private mutating func dispatch(_ exchange: Handle, _ configuration: ProxyConfiguration) {
        var rounds = 0
        while rounds <= CandidateWalk.maximumTried {
            rounds += 1
            guard exchanges.contains(exchange) else { return }
            exchanges[exchange].phase = .waiting
            exchanges[exchange].awaited = .none
            exchanges[exchange].tryDeadline = .distantFuture
            guard let target = nextTarget(exchange, configuration) else { return }
            exchanges[exchange].upstreamIsProxy = target.isProxy
            let route = routeNumber(exchange)
            switch obtain(exchange, target, route: route) {
            case .ready(let connection):
                sendRequest(exchange, connection, configuration)
                return
            case .waiting: return
            case .refused(let reason):
                answer(exchange, reason)
                return
            case .failed(let error):
                let cause = FailureCause(.socket(error), wasConnecting: true, isUnanswered: false)
                guard judgeFailure(exchange, cause) else { return }
            }
        }
        answer(exchange, .noEndpoint)
    }

    /// Again with the same candidate: the connection that was waited for has no room.
    mutating func redispatch(_ exchange: Handle) {
        guard let configuration, exchanges.contains(exchange) else { return }
        guard let target = currentTarget(exchange, configuration) else {
            dispatch(exchange)
            return
        }
        switch obtain(exchange, target, route: routeNumber(exchange)) {
        case .ready(let connection): sendRequest(exchange, connection, configuration)
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

    /// The target of the next candidate. Nil: the exchange was answered.
    private mutating func nextTarget(_ exchange: Handle, _ configuration: ProxyConfiguration) -> Target? {
        switch exchanges[exchange].route {
        case .app, .probe:
            if let target = currentTarget(exchange, configuration) { return target }
            answer(exchange, .noEndpoint)
            return nil
        case .mesh: break
        }
        guard let held = exchanges[exchange].destination, let destination = configuration.table.current(held) else {
            answer(exchange, .noRoute)
            return nil
        }
        if held !== destination {
            exchanges[exchange].destination = destination
            exchanges[exchange].isOwnerAllowed = false
        }
        for _ in 0..<CandidateWalk.maximumTried {
            guard
                let candidate = exchanges[exchange].walk.next(
                    destination, configuration.table, health, now: reactor.now, random: &random)
                    ?? (held === destination ? sameAgain(exchange) : nil)
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
            if let target = meshTarget(exchange, candidate, destination, configuration) {
                if candidate.isFailover { countFailover(destination, candidate) }
                return target
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

    private mutating func currentTarget(_ exchange: Handle, _ configuration: ProxyConfiguration) -> Target? {
        switch exchanges[exchange].route {
        case .mesh:
            guard let candidate = exchanges[exchange].candidate, let destination = exchanges[exchange].destination,
                configuration.table.current(destination) === destination
            else { return nil }
            return meshTarget(exchange, candidate, destination, configuration)
        case .app(let port):
            guard let address = settings.appAddress else { return nil }
            let appProtocol = exchanges[exchange].destination?.port.appProtocol ?? .http
            let isHTTP2 =
                exchanges[exchange].isGRPC || appProtocol == .grpc || appProtocol == .http2
                || (appProtocol == .auto && exchanges[exchange].spokeHTTP2)
            return Target(
                address: address.withPort(port), serverName: [], use: isHTTP2 ? .plainHTTP2 : .plainHTTP1,
                expectation: .anybody, context: nil, isProxy: false, isGateway: false,
                times: exchanges[exchange].destination.map { ConnectionTimes($0.traffic.settings) } ?? .standard)
        case .probe: return probeTargets(exchange, configuration)
        }
    }

    private mutating func meshTarget(
        _ exchange: Handle, _ candidate: Candidate, _ destination: Destination, _ configuration: ProxyConfiguration
    ) -> Target? {
        let isHTTP2: Bool
        switch destination.port.appProtocol {
        case .auto: isHTTP2 = exchanges[exchange].spokeHTTP2
        case .http: isHTTP2 = false
        case .http2, .grpc, .tcp: isHTTP2 = true
        }
        let prefersHTTP2 = isHTTP2 || exchanges[exchange].isGRPC
        return targets.target(candidate, destination, prefersHTTP2: prefersHTTP2, configuration)
    }

    /// The owner's authorisation, where it is a remote owner's: known only with the candidate.
    private mutating func mayGo(
        _ exchange: Handle, _ candidate: Candidate, _ destination: Destination, _ configuration: ProxyConfiguration
    ) -> Bool {
        guard settings.isGateway, !destination.isProbe, exchanges[exchange].caller != nil else { return true }
        switch candidate.kind {
        case .endpoint: return ownerAllows(exchange, destination, configuration.table)
        case .remoteGateway(_, _, let remote):
            guard let caller = exchanges[exchange].caller else { return true }
            return configuration.table.decide(destination, caller: caller, remote: remote).isAllowed
        case .localGateway: return true
        }
    }

    // MARK: 4. The try

    /// Writes the head of this try to an established connection, and what came of the body.
    mutating func sendRequest(_ exchange: Handle, _ connection: Handle) {
        if let configuration { sendRequest(exchange, connection, configuration) }
    }

    private mutating func sendRequest(_ exchange: Handle, _ connection: Handle, _ configuration: ProxyConfiguration) {
        guard exchanges.contains(exchange) else { return }
        let now = reactor.now
        let writer = RequestHead(
            isGateway: settings.isGateway, isSecure: outbound[connection].connection.link.transport.isSecure,
            configuration: configuration, trace: exchanges[exchange].trace.child(random: &random),
            token: ownToken(exchange), now: now)
        guard writer.write(exchanges[exchange], into: &outgoing, &text) else {
            answer(exchange, .deadline)
            return
        }
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
        exchanges[exchange].upstream = connection
        exchanges[exchange].upstreamStream = stream
        exchanges[exchange].phase = .sent
        exchanges[exchange].lastActive = now
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
    private mutating func ownToken(_ exchange: Handle) -> [UInt8]? {
        guard exchanges[exchange].upstreamIsProxy, !exchanges[exchange].forwardsOrigin,
            let destination = exchanges[exchange].destination
        else { return nil }
        if settings.isGateway {
            guard let caller = exchanges[exchange].caller, !destination.isProbe else { return nil }
            return try? maker?.assertion(attesting: caller, for: destination, now: reactor.wall)
        }
        // A sidecar vouches for its workload only where gateways stand between: on a direct leg TLS says who calls.
        guard case .localGateway = exchanges[exchange].candidate?.kind else { return nil }
        return try? maker?.assertion(for: destination, now: reactor.wall)
    }

    // MARK: 5. The body

    mutating func requestData(_ exchange: Handle, _ handle: Handle, _ offset: Int, _ count: Int) {
        exchanges[exchange].received &+= UInt64(count)
        exchanges[exchange].lastActive = reactor.now
        let stream = exchanges[exchange].stream
        switch exchanges[exchange].phase {
        case .answered:
            inbound[handle].connection.link.session?.consume(stream, count)
            return
        case .waiting:
            // Nothing goes on yet; the window of the stream bounds what can come.
            exchanges[exchange].kept.append(from: inbound[handle].connection.link, offset, count)
            keptBytes += count
            exchanges[exchange].owedDownstream += count
            if keptBytes > Self.keptLimit { return answer(exchange, .overload) }
            if cutsForMemory(exchange: exchange) { return }
        case .sent, .responding:
            let upstream = exchanges[exchange].upstream
            let upstreamStream = exchanges[exchange].upstreamStream
            keep(exchange, handle, offset, count)
            guard outbound.contains(upstream) else {
                inbound[handle].connection.link.session?.consume(stream, count)
                return
            }
            outbound[upstream].connection.link.sendData(
                upstreamStream, from: inbound[handle].connection.link, offset, count)
            exchanges[exchange].owedDownstream += count
            markOutbound(upstream)
            if cutsForMemory(exchange: exchange) { return }
            releaseDownstream(exchange)
        }
    }

    /// Keeps body bytes for another try, as long as all of them fit.
    private mutating func keep(_ exchange: Handle, _ handle: Handle, _ offset: Int, _ count: Int) {
        if exchanges[exchange].isLost { return }
        guard exchanges[exchange].phase == .sent, exchanges[exchange].kept.count + count <= Self.repeatLimit,
            keptBytes + count <= Self.keptLimit
        else {
            dropKept(exchange)
            exchanges[exchange].isLost = true
            return
        }
        exchanges[exchange].kept.append(from: inbound[handle].connection.link, offset, count)
        keptBytes += count
    }

    mutating func dropKept(_ exchange: Handle) {
        keptBytes -= exchanges[exchange].kept.count
        exchanges[exchange].kept.removeAll()
        exchanges[exchange].kept.shrink()
    }

    /// Lets the caller send on, once the next hop has taken enough of what came.
    mutating func releaseDownstream(_ exchange: Handle) {
        let owed = exchanges[exchange].owedDownstream
        guard owed > 0 else { return }
        let upstream = exchanges[exchange].upstream
        if outbound.contains(upstream) {
            let queued = outbound[upstream].connection.link.session?.queued(exchanges[exchange].upstreamStream) ?? 0
            if queued > Self.streamQueue {
                exchanges[exchange].heldDownstream = min(exchanges[exchange].heldDownstream, reactor.now)
                return
            }
        }
        let hasLagged = reactor.now > exchanges[exchange].heldDownstream.advanced(by: Self.lag)
        exchanges[exchange].heldDownstream = .distantFuture
        exchanges[exchange].owedDownstream = 0
        if exchanges[exchange].kept.count > Self.repeatLimit {
            dropKept(exchange)
            exchanges[exchange].isLost = true
        }
        let handle = exchanges[exchange].downstream
        guard inbound.contains(handle) else { return }
        inbound[handle].connection.link.session?.consume(
            exchanges[exchange].stream, owed, lagged: hasLagged || pressure > .calm)
        markInbound(handle)
    }

    mutating func upstreamWritable(_ exchange: Handle) { releaseDownstream(exchange) }

    mutating func requestTrailers(_ exchange: Handle, _ handle: Handle) {
        guard let block = inbound[handle].connection.link.session?.takeHead(exchanges[exchange].stream) else { return }
        exchanges[exchange].requestEnded = true
        exchanges[exchange].hasTrailers = true
        exchanges[exchange].takeTrailers(block)
        inbound[handle].connection.link.session?.recycle(block)
        let upstream = exchanges[exchange].upstream
        guard exchanges[exchange].phase != .waiting, outbound.contains(upstream) else { return }
        outbound[upstream].connection.link.session?.sendTrailers(
            exchanges[exchange].upstreamStream, exchanges[exchange].trailers)
        markOutbound(upstream)
    }

    mutating func requestEnded(_ exchange: Handle) {
        guard !exchanges[exchange].requestEnded else { return }
        exchanges[exchange].requestEnded = true
        let upstream = exchanges[exchange].upstream
        guard exchanges[exchange].phase == .sent || exchanges[exchange].phase == .responding,
            outbound.contains(upstream)
        else { return }
        outbound[upstream].connection.link.endStream(exchanges[exchange].upstreamStream)
        markOutbound(upstream)
    }

    // MARK: 7. The end

    /// The caller's side is over: answered in full, or given up by the caller.
    mutating func downstreamClosed(_ exchange: Handle) {
        exchanges[exchange].downstreamClosed = true
        finish(exchange)
    }

    /// Lets everything go and counts.
    mutating func finish(_ exchange: Handle) {
        guard exchanges.contains(exchange) else { return }
        reactor.cancel(exchanges[exchange].timer)
        detachUpstream(exchange, code: HTTP2Code.cancel)
        dropKept(exchange)
        if case .probe = exchanges[exchange].route { exchanges[exchange].isQuiet = true }
        if !exchanges[exchange].isQuiet { report(exchange) }
        let handle = exchanges[exchange].downstream
        let stream = exchanges[exchange].stream
        let owed = exchanges[exchange].owedDownstream
        shares.end(exchanges[exchange].account)
        if inbound.contains(handle) {
            // What was held back counts against the window of the whole connection.
            if owed > 0 {
                inbound[handle].connection.link.session?.consume(stream, owed)
                markInbound(handle)
            }
            inbound[handle].connection.lastActive = reactor.now
            inbound[handle].connection.streams.remove(stream)
            exchanges[exchange].giveHead(to: &inbound[handle].connection.link)
        }
        exchanges.remove(exchange)
    }

    /// Ends the exchange's stream to the next hop, where it still runs.
    mutating func detachUpstream(_ exchange: Handle, code: UInt32) {
        if let candidate = exchanges[exchange].candidate, exchanges[exchange].started {
            health.ended(candidate.handle)
            exchanges[exchange].started = false
        }
        let upstream = exchanges[exchange].upstream
        exchanges[exchange].upstream = .none
        guard outbound.contains(upstream) else { return }
        let stream = exchanges[exchange].upstreamStream
        if outbound[upstream].connection.streams.owner(of: stream) == exchange {
            outbound[upstream].connection.streams.remove(stream)
            outbound[upstream].connection.link.session?.reset(stream, code: code)
            markOutbound(upstream)
        }
    }

    // MARK: Deadlines

    /// Sees to it that a timer fires not later than the next deadline. One that fires early finds the deadline as it is by then,
    /// so only a nearer one costs another timer.
    mutating func armTimer(_ exchange: Handle) {
        guard exchanges.contains(exchange) else { return }
        let next = exchanges[exchange].nextDeadline
        if next >= exchanges[exchange].timerDeadline { return }
        reactor.cancel(exchanges[exchange].timer)
        exchanges[exchange].timerDeadline = next
        exchanges[exchange].timer = reactor.schedule(
            at: next, token: Token(kind: Kind.exchange.rawValue, handle: exchange))
    }

    mutating func exchangeTimer(_ exchange: Handle) {
        guard exchanges.contains(exchange) else { return }
        let now = reactor.now
        exchanges[exchange].timer = .none
        exchanges[exchange].timerDeadline = .distantFuture
        switch exchanges[exchange].phase {
        case .answered: if exchanges[exchange].deadline <= now { finishLate(exchange) } else { armTimer(exchange) }
        case .responding:
            let idle = exchanges[exchange].destination?.traffic.settings.idleTimeout ?? .zero
            if idle > .zero, exchanges[exchange].lastActive + idle <= now {
                exchanges[exchange].reason = .deadline
                cutShort(exchange)
            } else {
                armTimer(exchange)
            }
        case .waiting, .sent:
            let idle = exchanges[exchange].destination?.traffic.settings.idleTimeout ?? .zero
            let isIdle = idle > .zero && exchanges[exchange].lastActive + idle <= now
            if exchanges[exchange].deadline <= now || isIdle {
                answer(exchange, .deadline, dispatched: exchanges[exchange].phase == .sent)
            } else if exchanges[exchange].tryDeadline <= now {
                exchanges[exchange].tryDeadline = .distantFuture
                tryFailed(
                    exchange,
                    FailureCause(reason: .deadline, cause: .timedOut, health: .status5xx, isDispatched: true))
            } else {
                armTimer(exchange)
            }
        }
    }

    /// The answer is queued and the caller does not take it.
    private mutating func finishLate(_ exchange: Handle) {
        let handle = exchanges[exchange].downstream
        if inbound.contains(handle) {
            inbound[handle].connection.link.session?.reset(exchanges[exchange].stream, code: HTTP2Code.cancel)
            markInbound(handle)
        }
        finish(exchange)
    }
}

extension HeaderBlock {
    /// Its answer, errors too, is gRPC's.
    var isGRPC: Bool {
        let type = value(of: .contentType)
        return type.count >= 16 && type.extracting(0..<16).equals("application/grpc")
    }
}

extension Exchange {
    /// When its timer has something to look at; `distantFuture` for never.
    var nextDeadline: Instant {
        let idleEnd = destination?.traffic.idleTimeout.end(after: lastActive) ?? .distantFuture
        let end = Instant(nanoseconds: min(deadline.nanoseconds, tryDeadline.nanoseconds))
        switch phase {
        case .responding: return idleEnd
        case .waiting, .sent: return end <= idleEnd ? end : idleEnd
        case .answered: return end
        }
    }

    /// One more try is on its way.
    mutating func startTry(_ now: Instant) {
        tryDeadline = destination?.traffic.perTryTimeout.end(after: now) ?? .distantFuture
    }

    /// What repeating it depends on.
    mutating func readMethod() {
        let facts = methodFacts
        method = facts.isRepeatable ? .repeatable : .other
        isGRPC = facts.isGRPC
        isUpgrade = head.contains(.protocol)
        if isUpgrade { method = .other }
    }

    private var methodFacts: (isRepeatable: Bool, isGRPC: Bool) {
        let name = head.value(of: .method)
        let isRepeatable =
            name.equals("GET") || name.equals("HEAD") || name.equals("OPTIONS") || name.equals("PUT")
            || name.equals("DELETE")
        return (isRepeatable, head.isGRPC)
    }

    /// The request's trailers, without what only the mesh may say.
    mutating func takeTrailers(_ block: borrowing HeaderBlock) {
        for index in 0..<block.count
        where !block.isMeshfed(at: index) && block.mappedName(at: index) != .xForwardedClientCert {
            trailers.append(copying: index, of: block)
        }
    }

    /// Gives the head's memory back to the session it came from.
    mutating func giveHead(to link: inout HTTPLink) {
        var given = HeaderBlock()
        swap(&given, &head)
        link.session?.recycle(given)
    }
}
