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
/// 3. `dispatch` (TrySteps.swift): the next candidate and a connection to it.
/// 4. `sendRequest` (TrySteps.swift): the head of this try and what came of the body.
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
        if inbound[handle].entry.isMesh, let named = inbound[handle].destination {
            let verdict = admit(exchange, handle, to: named, configuration)
            guard follow(verdict, exchange, handle) else { return }
            if exchanges[exchange].isFor(named) {
                dispatch(exchange, to: named, isNew: false, configuration)
            } else {
                dispatch(exchange, configuration)
            }
        } else {
            let verdict = admit(exchange, handle, configuration)
            guard follow(verdict, exchange, handle) else { return }
            dispatch(exchange, configuration)
        }
        // What is on its way has its timer.
        if exchanges.contains(exchange), case .waiting = exchanges[exchange].phase { armTimer(exchange) }
    }

    /// True: the request goes on now.
    private mutating func follow(_ verdict: Verdict, _ exchange: Handle, _ handle: Handle) -> Bool {
        switch verdict {
        case .go:
            // Taken back by the caller before it was looked at: its `closed` is the next event. What went on to the next hop would be a
            // cancel there, on a connection of many callers.
            let stream = exchanges[exchange].stream
            if inbound[handle].connection.link.session?.isClosed(stream) == true {
                armTimer(exchange)
                return false
            }
            guard takePlace(exchange, handle) else {
                answer(exchange, .overload)
                return false
            }
            if takesTurn(exchange, handle) { return true }
            armTimer(exchange)
        case .refuse(let reason): answer(exchange, reason)
        case .tunnel: break
        case .healthy: answerProbe(exchange)
        case .knock(let port): knock(.exchange(exchange), port: port)
        }
        return false
    }

    private mutating func readHead(_ exchange: Handle) {
        exchanges[exchange].readMethod()
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
        guard let next = exchanges[exchange].nearerDeadline else { return }
        reactor.cancel(exchanges[exchange].timer)
        let timer = reactor.schedule(at: next, token: Token(kind: Kind.exchange.rawValue, handle: exchange))
        exchanges[exchange].timer = timer
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
    /// When its timer has to fire, where that is sooner than it will; it counts as set.
    var nearerDeadline: Instant? {
        mutating get {
            let next = nextDeadline
            guard next.nanoseconds < timerDeadline.nanoseconds else { return nil }
            timerDeadline = next
            return next
        }
    }

    /// When its timer has something to look at; `distantFuture` for never.
    var nextDeadline: Instant {
        // In nanoseconds: each step of an Instant is a call into another module.
        let end = min(deadline.nanoseconds, tryDeadline.nanoseconds)
        if case .answered = phase { return Instant(nanoseconds: end) }
        var idleEnd = UInt64.max
        if let idle = destination?.traffic.idleTimeout.nanoseconds, idle > 0 {
            let (sum, overflow) = lastActive.nanoseconds.addingReportingOverflow(idle)
            if !overflow { idleEnd = sum }
        }
        if case .responding = phase { return Instant(nanoseconds: idleEnd) }
        return Instant(nanoseconds: min(end, idleEnd))
    }

    func isFor(_ other: Destination) -> Bool { destination === other }

    enum Next { case mesh, app }

    /// The next hop is spoken to by HTTP/2: gRPC is, what the service says is; where it says nothing, what the caller spoke.
    func prefersHTTP2(at next: Next) -> Bool {
        switch destination?.port.appProtocol ?? .http {
        case .auto: isGRPC || spokeHTTP2
        case .http: isGRPC
        case .http2, .grpc: true
        case .tcp: isGRPC || next == .mesh
        }
    }

    /// The next candidate is looked for.
    mutating func startSearch() {
        phase = .waiting
        awaited = .none
        tryDeadline = .distantFuture
    }

    /// The head of a try is on its way.
    mutating func sent(on connection: Handle, _ stream: StreamID, _ now: Instant) {
        upstream = connection
        upstreamStream = stream
        phase = .sent
        lastActive = now
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
