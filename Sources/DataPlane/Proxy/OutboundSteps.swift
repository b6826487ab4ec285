internal import Containers
internal import Identity
internal import Link
internal import MeshModel
internal import Reactor
internal import Routing
internal import Telemetry
internal import TLS
internal import Upstream
internal import Wire

/// Step 5: connections to the next hop: found in the pool, dialled, established, read, closed.
extension Worker {
    /// HTTP/2 connections of one key. Each carries up to the peer's stream limit, and peers may allow very few (an app that allows
    /// 10 gets 2,560 calls at a time).
    private static let sharedLimit = 256
    /// Exchanges that wait for one HTTP/2 connection to be established.
    private static let waitingLimit = 128

    enum Obtained {
        case ready(Handle)
        case waiting
        case refused(Reason)
        case failed(SocketError)
    }

    func key(_ target: Target, route: UInt64) -> PoolKey {
        PoolKey(
            address: target.address, route: route, use: target.use,
            generation: target.context == nil ? 0 : configuration?.generation ?? 0)
    }

    /// A connection that can take an exchange now, one that soon can, or why there is none.
    mutating func obtain(_ exchange: Handle, _ hop: Hop, route: UInt64) -> Obtained {
        let key = PoolKey(
            address: hop.address, route: route, use: hop.use,
            generation: hop.hasContext ? configuration?.generation ?? 0 : 0)
        if let known = known(key, hop) { return .ready(known) }
        guard let target = targets.target(hop) else { return .refused(.noEndpoint) }
        return obtain(exchange, target, key, hop)
    }

    /// A connection that was found good for this hop before and has room.
    private mutating func known(_ key: PoolKey, _ hop: Hop) -> Handle? {
        guard let place = pool.place(of: key) else { return nil }
        for index in 0..<pool.count(at: place) {
            let handle = pool.connection(index, at: place)
            guard outbound.contains(handle) else { continue }
            if outbound[handle].hasRoom(for: hop) { return handle }
            // Connections whose fitness is not known come in their order.
            if outbound[handle].goodFor != hop.number { return nil }
        }
        return nil
    }

    private mutating func obtain(_ exchange: Handle, _ target: Target, _ key: PoolKey, _ hop: Hop) -> Obtained {
        var isShared = target.use.isShared
        var count = 0
        let place = pool.place(of: key)
        if let place {
            count = pool.count(at: place)
            var connecting = Handle.none
            for index in 0..<count {
                let handle = pool.connection(index, at: place)
                guard outbound.contains(handle) else { continue }
                switch outbound[handle].connection.phase {
                case .http:
                    // What the server chose is better known than what was hoped for.
                    isShared = outbound[handle].connection.link.isHTTP2
                    if outbound[handle].accepts(target, shared: isShared) {
                        outbound[handle].goodFor = hop.number
                        return .ready(handle)
                    }
                case .connecting:
                    let waits = outbound[handle].connection.waiting.count < Self.waitingLimit
                    if connecting.isNone, waits, outbound[handle].expectation == target.expectation,
                        outbound[handle].serverName == target.serverName
                    {
                        connecting = handle
                    }
                case .header, .relay, .draining: break
                }
            }
            if isShared, !connecting.isNone {
                wait(exchange, for: connecting)
                return .waiting
            }
        }
        guard count < (isShared ? Self.sharedLimit : settings.maximumUpstreams), !outbound.isFull else {
            return .refused(.overload)
        }
        if !isShared, let place, isAtItsShare(exchange, place: place, limit: settings.maximumUpstreams) {
            countLimit(.callerUpstreams)
            return .refused(.overload)
        }
        do throws(SocketError) {
            let handle = try dial(target, key: key, purpose: .pooled)
            guard outbound.contains(handle) else { return .refused(.overload) }
            wait(exchange, for: handle)
            return .waiting
        } catch {
            return .failed(error)
        }
    }

    private mutating func wait(_ exchange: Handle, for connection: Handle) {
        outbound[connection].connection.waiting.append(exchange)
        exchanges[exchange].awaited = connection
    }

    /// It still waits for this connection: meanwhile it may have gone to another candidate.
    private func isWaiting(_ exchange: Handle, for connection: Handle) -> Bool {
        exchanges.contains(exchange) && exchanges[exchange].phase == .waiting
            && exchanges[exchange].awaited == connection
    }

    /// Starts to connect. The handle is `none` when the slab is full.
    mutating func dial(_ target: Target, key: PoolKey, purpose: Outbound.Purpose) throws(SocketError) -> Handle {
        let socket = try Socket.connect(to: target.address)
        let transport: Transport
        if let context = target.context {
            transport = Transport(client: socket, context: context, serverName: target.serverName)
        } else {
            transport = Transport(socket: socket, connecting: true)
        }
        let connection = UpstreamConnection(transport, key: key, now: reactor.now)
        let element = Outbound(
            connection, purpose: purpose, expectation: target.expectation, serverName: target.serverName,
            times: target.times, tilt: random.next())
        guard let handle = outbound.insert(element) else { return .none }
        if purpose == .pooled { pool.add(handle, to: key) }
        try outbound[handle].connection.link.watch(
            reactor, Token(kind: Kind.outbound.rawValue, handle: handle), reading: true)
        return handle
    }

    mutating func outboundReady(_ handle: Handle, _ readiness: Readiness) {
        guard outbound.contains(handle) else { return }
        if !outbound[handle].connection.link.transport.isEstablished {
            do throws(TransportError) {
                guard try outbound[handle].connection.link.transport.advance(&buffers, wall: reactor.wall) else {
                    noteConnected(handle)
                    watchOutbound(handle)
                    return
                }
            } catch {
                closeOutbound(handle, error)
                return
            }
            outboundEstablished(handle)
            guard outbound.contains(handle) else { return }
            guard outbound[handle].connection.link.transport.holdsInput else {
                markOutbound(handle)
                return
            }
        } else if readiness.contains(.writable) {
            markOutbound(handle)
        }
        if readiness.contains(.readable) || readiness.contains(.hangup) { readOutbound(handle) }
        if readiness.contains(.hangup), outbound.contains(handle) { outboundHungUp(handle) }
    }

    private mutating func noteConnected(_ handle: Handle) {
        if outbound[handle].connectedAt == nil, outbound[handle].connection.link.transport.isConnected {
            outbound[handle].connectedAt = reactor.now
        }
    }

    /// Nobody reads the connection now: a reset ends it all the same.
    private mutating func outboundHungUp(_ handle: Handle) {
        guard let failure = outbound[handle].connection.link.hungUp(reactor) else { return }
        outbound[handle].connection.link.session?.connectionLost()
        drainOutbound(handle, after: .socket(failure))
        closeOutbound(handle, .socket(failure))
    }

    /// Connected and, with TLS, verified: the identity decides whether anything is sent.
    private mutating func outboundEstablished(_ handle: Handle) {
        noteConnected(handle)
        let peer = outbound[handle].connection.link.transport.peer
        if let peer, configuration?.trust.stillTrusts(peer) != true {
            closeOutbound(handle, .tls(reason: "no longer trusted", alert: nil))
            return
        }
        guard outbound[handle].expectation.accepts(peer?.id) else {
            let found = peer.map { "\($0.id)" } ?? "nobody"
            closeOutbound(handle, .tls(reason: "the peer is \(found), not who the snapshot names", alert: nil))
            return
        }
        outbound[handle].connection.peer = peer
        outbound[handle].connection.lastActive = reactor.now
        switch outbound[handle].purpose {
        case .knock(let knock):
            outbound.remove(handle)
            knocked(knock, isOpen: true)
        case .relay(let relay): relayConnected(relay, handle)
        case .pooled:
            let negotiated = outbound[handle].connection.link.transport.negotiated
            var limits = HTTPLimits()
            let isHTTP2: Bool
            switch outbound[handle].connection.key.use {
            case .meshHTTP:
                guard negotiated == .http2 else {
                    closeOutbound(handle, .tls(reason: "the peer does not speak h2", alert: nil))
                    return
                }
                isHTTP2 = true
            case .plainHTTP2: isHTTP2 = true
            case .plainHTTP1, .mutualHTTP1, .simpleHTTP1, .meshTCP, .plainTCP, .mutualTCP, .simpleTCP: isHTTP2 = false
            case .mutualHTTP2, .simpleHTTP2: isHTTP2 = negotiated == .http2
            }
            limits.isSecure = outbound[handle].connection.link.transport.isSecure
            outbound[handle].connection.link.session =
                isHTTP2
                ? HTTPSession.http2(role: .client, limits: limits, settings: http2Settings(isForeign: false))
                : HTTPSession.http1(role: .client, limits: limits)
            // How many streams a peer that is not ours takes is known with its SETTINGS; what it would refuse is not sent.
            if !isHTTP2 || outbound[handle].connection.key.use == .meshHTTP { startServing(handle) }
            markOutbound(handle)
        }
    }

    private mutating func startServing(_ handle: Handle) {
        outbound[handle].connection.phase = .http
        serveWaiting(handle)
    }

    private mutating func serveWaiting(_ handle: Handle) {
        var waiting: [Handle] = []
        swap(&waiting, &outbound[handle].connection.waiting)
        for exchange in waiting where isWaiting(exchange, for: handle) {
            let isFree =
                outbound.contains(handle) && outbound[handle].connection.phase == .http
                && outbound[handle].connection.link.session?.canOpenStream == true
            if isFree { sendRequest(exchange, handle) } else { redispatch(exchange) }
        }
    }

    mutating func readOutbound(_ handle: Handle) {
        var reads = 0
        while outbound.contains(handle), reads < 16 {
            reads += 1
            if outbound[handle].connection.phase == .relay {
                guard case .relay(let relay) = outbound[handle].purpose, relayReadsUpstream(relay) else { break }
            } else if !outbound[handle].connection.link.wantsInput {
                break
            }
            switch outbound[handle].connection.link.read(&buffers) {
            case .idle: reads = 16
            case .fed:
                outbound[handle].connection.lastActive = reactor.now
                outbound[handle].lastHeard = reactor.now
                outbound[handle].pingedAt = nil
                drainOutbound(handle)
                markOutbound(handle)
            case .raw(let count):
                outbound[handle].connection.lastActive = reactor.now
                if case .relay(let relay) = outbound[handle].purpose { relayFromUpstream(relay, handle, count) }
            case .end:
                reads = 16
                outboundEnded(handle)
            case .failed(let error):
                reads = 16
                if outbound[handle].connection.link.isHTTP { drainOutbound(handle, after: error) }
                closeOutbound(handle, error)
            }
            guard outbound.contains(handle), outbound[handle].connection.link.transport.holdsInput else { break }
        }
        if outbound.contains(handle) { watchOutbound(handle) }
    }

    private mutating func outboundEnded(_ handle: Handle) {
        if case .relay(let relay) = outbound[handle].purpose {
            upstreamEnded(relay, handle)
            return
        }
        drainOutbound(handle)
        if outbound.contains(handle) { closeOutbound(handle, .truncated) }
    }

    /// Reads the session's events. `after` is why the transport failed, when it did.
    mutating func drainOutbound(_ handle: Handle, after failure: TransportError? = nil) {
        while outbound.contains(handle), let event = outbound[handle].connection.link.session?.nextEvent() {
            switch event {
            case .head(let stream, let kind, let endStream):
                let exchange = outbound[handle].connection.streams.owner(of: stream)
                if exchanges.contains(exchange) { responseHead(exchange, handle, stream, kind, endStream: endStream) }
            case .data(let stream, let offset, let count):
                let exchange = outbound[handle].connection.streams.owner(of: stream)
                if exchanges.contains(exchange) {
                    responseData(exchange, handle, offset, count)
                } else {
                    outbound[handle].connection.link.session?.consume(stream, count)
                }
            case .trailers(let stream):
                let exchange = outbound[handle].connection.streams.owner(of: stream)
                if exchanges.contains(exchange) { responseTrailers(exchange, handle, stream) }
            case .endStream(let stream):
                let exchange = outbound[handle].connection.streams.owner(of: stream)
                if exchanges.contains(exchange) { responseEnded(exchange) }
            case .closed(let stream, let error):
                let exchange = outbound[handle].connection.streams.owner(of: stream)
                outbound[handle].connection.streams.remove(stream)
                outbound[handle].isReused = true
                if exchanges.contains(exchange) { upstreamClosed(exchange, handle, error, failure) }
            case .violation(let stream, _):
                outbound[handle].connection.link.session?.reset(stream, code: HTTP2Code.protocolError)
                let exchange = outbound[handle].connection.streams.owner(of: stream)
                outbound[handle].connection.streams.remove(stream)
                if exchanges.contains(exchange) { upstreamClosed(exchange, handle, .violation, failure) }
            case .writable(let stream):
                let exchange = outbound[handle].connection.streams.owner(of: stream)
                if exchanges.contains(exchange) { upstreamWritable(exchange) }
            case .goAway: startDraining(handle)
            case .settings:
                outbound[handle].connection.sawSettings = true
                if outbound[handle].connection.phase == .connecting { startServing(handle) }
            case .pong: break
            }
        }
    }

    /// Nothing new is put on it.
    mutating func startDraining(_ handle: Handle) {
        guard outbound[handle].connection.phase == .http else { return }
        outbound[handle].connection.phase = .draining
        pool.remove(handle, from: outbound[handle].connection.key)
    }

    mutating func flushOutbound(_ handle: Handle) {
        guard outbound.contains(handle) else { return }
        outbound[handle].connection.link.isDirty = false
        do throws(TransportError) {
            try outbound[handle].connection.link.write(&buffers, &scratch)
        } catch {
            outbound[handle].connection.link.session?.connectionLost()
            drainOutbound(handle, after: error)
            closeOutbound(handle, error)
            return
        }
        drainOutbound(handle)
        guard outbound.contains(handle) else { return }
        if outbound[handle].connection.phase == .relay {
            if case .relay(let relay) = outbound[handle].purpose { upstreamDrained(relay, handle) }
        } else if outbound[handle].connection.link.isOver {
            if outbound[handle].connection.link.transport.pendingOutput == 0 { closeOutbound(handle, .truncated) }
        } else if outbound[handle].connection.link.hasOutput, !outbound[handle].connection.link.isDirty,
            outbound[handle].connection.link.transport.pendingOutput == 0
        {
            markOutbound(handle)
        }
        if outbound.contains(handle) { watchOutbound(handle) }
        resumeOutbound(handle)
    }

    /// What was read and not given out while nobody wanted it: no readiness announces it.
    mutating func resumeOutbound(_ handle: Handle) {
        if outbound.contains(handle), outbound[handle].connection.link.transport.isEstablished,
            outbound[handle].connection.link.transport.holdsInput
        {
            readOutbound(handle)
        }
    }

    mutating func watchOutbound(_ handle: Handle) {
        var reading = outbound[handle].connection.link.wantsInput
        if outbound[handle].connection.phase == .relay, case .relay(let relay) = outbound[handle].purpose {
            reading = relayReadsUpstream(relay)
        }
        do throws(SocketError) {
            try outbound[handle].connection.link.watch(
                reactor, Token(kind: Kind.outbound.rawValue, handle: handle), reading: reading)
        } catch {
            closeOutbound(handle, .socket(error))
        }
    }

    /// Closes a connection that carries nothing.
    mutating func retire(_ handle: Handle) {
        pool.remove(handle, from: outbound[handle].connection.key)
        outbound.remove(handle)
    }

    /// The connection is gone: what waits for it or runs on it hears why.
    mutating func closeOutbound(_ handle: Handle, _ error: TransportError) {
        guard outbound.contains(handle) else { return }
        let wasConnecting = outbound[handle].connection.phase == .connecting
        let sawSettings = outbound[handle].connection.sawSettings
        noteOutboundFault(handle)
        takeGlitches(.upstream, outbound[handle].connection.link.session?.takeGlitches() ?? [])
        if outbound[handle].connection.link.mustAbort { outbound[handle].connection.link.transport.abort() }
        pool.remove(handle, from: outbound[handle].connection.key)
        let purpose = outbound[handle].purpose
        var waiting: [Handle] = []
        swap(&waiting, &outbound[handle].connection.waiting)
        let live = outbound[handle].connection.streams.all
        let isSecure = outbound[handle].connection.link.transport.isSecure
        let address = outbound[handle].connection.key.address
        let serverName = outbound[handle].serverName
        outbound.remove(handle)
        if error.isTLS {
            let side = metrics.intern(Array("upstream".utf8))
            let word = Array("tls".utf8)
            metrics.count(.handshakeFailures, side, metrics.intern(word))
            writeFault("handshake_failure", .upstream, word, address, nil, serverName, error.description)
        }
        let cause = FailureCause(error, wasConnecting: wasConnecting, isUnanswered: isSecure && !sawSettings)
        switch purpose {
        case .pooled:
            for exchange in waiting where isWaiting(exchange, for: handle) { tryFailed(exchange, cause) }
            for exchange in live where exchanges.contains(exchange) { tryFailed(exchange, cause) }
        case .relay(let relay): if relays.contains(relay) { relayLost(relay, handle, cause, error) }
        case .knock(let knock): knocked(knock, isOpen: false)
        }
    }
}

/// Why a try failed, in the terms of reasons, health and repeating.
struct FailureCause {
    let reason: Reason
    let cause: FailedTry.Cause
    let health: HealthFailure?
    let isDispatched: Bool
    /// The connection ended; that says nothing of who is behind it, so the same candidate may be asked by another one.
    var isOfConnection = false

    init(reason: Reason, cause: FailedTry.Cause, health: HealthFailure?, isDispatched: Bool) {
        self.reason = reason
        self.cause = cause
        self.health = health
        self.isDispatched = isDispatched
    }

    /// `isUnanswered`: TLS, and the peer's first SETTINGS have not come: its alert may mean our certificate, so that nothing can
    /// have reached an app (PROTOCOLS section 4).
    init(_ error: TransportError, wasConnecting: Bool, isUnanswered: Bool) {
        if error.isTLS, wasConnecting || isUnanswered {
            self.init(reason: .upstreamTLS, cause: .unreached, health: .handshake, isDispatched: false)
            return
        }
        guard wasConnecting else {
            self.init(reason: .upstreamReset, cause: .brokenOff, health: nil, isDispatched: true)
            isOfConnection = true
            return
        }
        if case .socket(let socket) = error {
            if socket.isOwnExhaustion {
                self.init(reason: .overload, cause: .unreached, health: nil, isDispatched: false)
            } else if socket.isTimeout {
                self.init(reason: .connectTimeout, cause: .unreached, health: .connectTimeout, isDispatched: false)
            } else {
                self.init(reason: .connectFailed, cause: .connect, health: .connectRefused, isDispatched: false)
            }
        } else {
            // FIN in the middle of the handshake.
            self.init(reason: .connectFailed, cause: .connect, health: .connectRefused, isDispatched: false)
        }
    }
}
