internal import Containers
internal import Downstream
internal import Identity
internal import Link
internal import MeshModel
internal import Reactor
internal import Routing
internal import Telemetry
internal import TLS
internal import Wire

/// Step 1 and 2 of a request's life: a connection comes in, says who it is and what it speaks.
extension Worker {
    /// Body bytes queued for one stream above which its source is not read on.
    static let streamQueue = 262_144

    mutating func inboundReady(_ handle: Handle, _ readiness: Readiness) {
        guard inbound.contains(handle) else { return }
        if !inbound[handle].connection.link.transport.isEstablished {
            guard mayShakeHands() else { return }
            do throws(TransportError) {
                guard try inbound[handle].connection.link.transport.advance(&buffers, wall: reactor.wall) else {
                    watchInbound(handle)
                    return
                }
            } catch {
                handshakeFailed(handle, error)
                closeInbound(handle, abort: false)
                return
            }
            established(handle)
            guard inbound.contains(handle) else { return }
            guard inbound[handle].connection.link.transport.holdsInput else {
                markInbound(handle)
                return
            }
        } else if readiness.contains(.writable) {
            markInbound(handle)
        }
        if readiness.contains(.readable) || readiness.contains(.hangup) { readInbound(handle) }
        if readiness.contains(.hangup), inbound.contains(handle) { inboundHungUp(handle) }
    }

    /// Nobody reads the connection now: a reset ends it all the same.
    private mutating func inboundHungUp(_ handle: Handle) {
        guard inbound[handle].connection.link.hungUp(reactor) != nil else { return }
        inbound[handle].connection.link.session?.connectionLost()
        if inbound[handle].connection.link.isHTTP { drainInbound(handle) }
        closeInbound(handle, abort: true)
    }

    private mutating func handshakeFailed(_ handle: Handle, _ error: TransportError) {
        guard error.isTLS else { return }
        let word: [UInt8] =
            switch error {
            case .peerRefused: Array("peer_refused".utf8)
            case .tls(_, let alert?): Array("alert_\(alert)".utf8)
            case .tls(_, nil), .socket, .truncated: Array("tls".utf8)
            }
        let side = metrics.intern(Array("downstream".utf8))
        let reason = metrics.intern(word)
        metrics.count(.handshakeFailures, side, reason)
        writeFault(
            "handshake_failure", .downstream, word, inbound[handle].connection.peerAddress, nil, [], error.description)
    }

    /// TLS stands: who is it, what does it want, what does it speak.
    private mutating func established(_ handle: Handle) {
        guard let configuration, let peer = inbound[handle].connection.link.transport.peer,
            configuration.trust.stillTrusts(peer)
        else {
            closeInbound(handle, abort: false)
            return
        }
        inbound[handle].peer = peer
        endHandshake(handle)
        openAccount(handle, peer.id)
        inbound[handle].serverName = inbound[handle].connection.link.transport.serverName
        inbound[handle].connection.lastActive = reactor.now
        inbound[handle].connection.waitingSince = reactor.now
        place(handle, peer, configuration)
        let isHTTP = inbound[handle].destination?.port.appProtocol.isHTTP
        switch inbound[handle].connection.link.transport.negotiated {
        case .tcp:
            inbound[handle].connection.phase = .header
        // What is no HTTP is refused request by request: a neighbour may still ask how the app behind a TCP port is.
        case .http2: startHTTP(handle, http2: true)
        case .http1: startHTTP(handle, http2: false)
        case nil:
            if isHTTP == false, let destination = inbound[handle].destination {
                inbound[handle].connection.phase = .relay
                startRawRelay(handle, destination)
            } else {
                startHTTP(handle, http2: false)
            }
        }
    }

    private func lookUp(
        _ serverName: [UInt8], _ part: PeerPart?, _ configuration: ProxyConfiguration
    ) -> Destination? {
        guard let part else { return configuration.table.destination(serverName: serverName.span) }
        return configuration.table.destination(serverName: serverName.span, from: part)
    }

    /// Looks the peer's part and its SNI up in the current table.
    mutating func place(_ handle: Handle, _ peer: PeerIdentity, _ configuration: ProxyConfiguration) {
        let part = configuration.table.part(of: peer.id)
        inbound[handle].part = part
        inbound[handle].permit = Permit()
        inbound[handle].isDirectKnown = false
        inbound[handle].directNumber = 0
        if settings.isGateway {
            inbound[handle].destination = lookUp(inbound[handle].serverName, part, configuration)
        } else {
            inbound[handle].destination = lookUp(inbound[handle].serverName, nil, configuration)
        }
        switch part {
        case .ownWorkload, .ownGateway, .ownBroker: inbound[handle].sourceCluster = labels?.ownCluster ?? .unknown
        case .foreign(let member, _):
            inbound[handle].sourceCluster = labels?.cluster(ofMember: member) ?? .unknown
        case .unknown: inbound[handle].sourceCluster = .unknown
        }
        if case .gateway = peer.id.kind {
            inbound[handle].carriesOthers = true
        } else {
            inbound[handle].carriesOthers = false
        }
        switch part {
        case .ownGateway, .foreign(_, .gateway): inbound[handle].isProxy = true
        case .ownWorkload: inbound[handle].isProxy = !settings.isGateway
        case .ownBroker, .foreign, .unknown: inbound[handle].isProxy = false
        }
    }

    func http2Settings(isForeign: Bool) -> HTTP2Settings {
        var chosen = isForeign ? HTTP2Settings.foreign : settings.shared
        chosen.seed = UInt32(truncatingIfNeeded: settings.sampleSeed >> 16)
        return chosen
    }

    private mutating func startHTTP(_ handle: Handle, http2: Bool) {
        var limits = HTTPLimits()
        let isMesh = inbound[handle].entry == .mesh
        limits.isSecure = isMesh
        limits.allowsUpgrade = true
        limits.allowsConnect = inbound[handle].entry == .explicit && !inbound[handle].isTunnel
        if http2 {
            let isOurs = inbound[handle].isProxy || inbound[handle].part == .ownWorkload
            inbound[handle].connection.link.session = HTTPSession.http2(
                role: .server, limits: limits, settings: http2Settings(isForeign: isMesh && !isOurs))
        } else {
            inbound[handle].connection.link.session = HTTPSession.http1(role: .server, limits: limits)
        }
        inbound[handle].connection.phase = .http
        if isDraining, http2 { inbound[handle].connection.link.session?.goAway() }
        markInbound(handle)
    }

    mutating func readInbound(_ handle: Handle) {
        var reads = 0
        while inbound.contains(handle), reads < 16, !inbound[handle].isDeferred {
            reads += 1
            if inbound[handle].connection.phase == .relay {
                guard relayReadsDownstream(inbound[handle].relay) else { break }
            } else if !inbound[handle].connection.link.wantsInput, inbound[handle].connection.phase != .closing {
                break
            }
            let reading = inbound[handle].connection.link.read(&buffers)
            switch reading {
            case .idle: reads = 16
            case .fed:
                inboundSpoke(handle)
                if inbound[handle].connection.waitingSince == nil, inbound[handle].connection.streams.isEmpty,
                    !inbound[handle].connection.link.isHTTP2
                {
                    inbound[handle].connection.waitingSince = reactor.now
                }
                drainInbound(handle)
                if inbound.contains(handle) { timeHead(handle) }
                markInbound(handle)
            case .raw(let count):
                inboundSpoke(handle)
                rawInbound(handle, count)
            case .end:
                reads = 16
                inboundEnded(handle)
            case .failed:
                reads = 16
                if inbound[handle].connection.link.isHTTP { drainInbound(handle) }
                if inbound.contains(handle) { closeInbound(handle, abort: true) }
            }
            guard inbound.contains(handle), inbound[handle].connection.link.transport.holdsInput else { break }
        }
        if inbound.contains(handle) { watchInbound(handle) }
    }

    /// HTTP/2: a head that has begun holds up everything else on the connection until it is complete.
    private mutating func timeHead(_ handle: Handle) {
        guard inbound[handle].connection.link.isHTTP2, inbound[handle].connection.sawSettings else { return }
        if !inbound[handle].connection.link.isInHead {
            inbound[handle].connection.waitingSince = nil
        } else if inbound[handle].connection.waitingSince == nil {
            inbound[handle].connection.waitingSince = reactor.now
        }
    }

    /// A peer whose connection is closing is heard for a moment only, however long it speaks.
    private mutating func inboundSpoke(_ handle: Handle) {
        if inbound[handle].connection.phase != .closing { inbound[handle].connection.lastActive = reactor.now }
    }

    /// Bytes without a session: detection, a PROXY header, or a relay.
    private mutating func rawInbound(_ handle: Handle, _ count: Int) {
        switch inbound[handle].connection.phase {
        case .detect:
            inbound[handle].connection.early.append(received: buffers)
            detect(handle)
        case .header:
            inbound[handle].connection.early.append(received: buffers)
            readHeader(handle)
        case .relay: relayFromDownstream(inbound[handle].relay, handle, count)
        case .handshake, .http, .closing: break
        }
    }

    /// Tells HTTP/2 from HTTP/1.1 and hands over what came.
    mutating func detect(_ handle: Handle) {
        switch PrefaceDetector.judge(inbound[handle].connection.early) {
        case .needsMore: return
        case .http2: startHTTP(handle, http2: true)
        case .http1: startHTTP(handle, http2: false)
        }
        var early = ByteBuffer()
        swap(&early, &inbound[handle].connection.early)
        inbound[handle].connection.link.feed(early)
        drainInbound(handle)
        if inbound.contains(handle) { timeHead(handle) }
        markInbound(handle)
    }

    private mutating func inboundEnded(_ handle: Handle) {
        switch inbound[handle].connection.phase {
        case .relay: downstreamEnded(inbound[handle].relay, handle)
        case .http, .closing:
            drainInbound(handle)
            markInbound(handle)
        case .handshake, .detect, .header: closeInbound(handle, abort: false)
        }
    }

    /// Reads the session's events until there are none.
    mutating func drainInbound(_ handle: Handle) {
        while inbound.contains(handle), mayTakeEvents(handle),
            let event = inbound[handle].connection.link.session?.nextEvent()
        {
            switch event {
            case .head(let stream, .request, let endStream):
                shares.take(inbound[handle].account, turn: turnNumber)
                startExchange(handle, stream, endStream: endStream)
            case .head: break
            case .violation(let stream, let status): answerViolation(handle, stream, status)
            case .data(let stream, let offset, let count):
                let exchange = inbound[handle].connection.streams.owner(of: stream)
                if exchanges.contains(exchange) {
                    requestData(exchange, handle, offset, count)
                } else {
                    inbound[handle].connection.link.session?.consume(stream, count)
                }
            case .trailers(let stream):
                let exchange = inbound[handle].connection.streams.owner(of: stream)
                if exchanges.contains(exchange) { requestTrailers(exchange, handle) }
            case .endStream(let stream):
                let exchange = inbound[handle].connection.streams.owner(of: stream)
                if exchanges.contains(exchange) { requestEnded(exchange) }
            case .closed(let stream, let error):
                let exchange = inbound[handle].connection.streams.owner(of: stream)
                inbound[handle].connection.streams.remove(stream)
                if exchanges.contains(exchange) {
                    if error == .violation { blameCaller(exchange, handle) }
                    downstreamClosed(exchange)
                }
            case .writable(let stream):
                let exchange = inbound[handle].connection.streams.owner(of: stream)
                if exchanges.contains(exchange) { downstreamWritable(exchange) }
            // An HTTP/2 peer may wait with its first request as long as it likes.
            case .settings:
                inbound[handle].connection.sawSettings = true
                inbound[handle].connection.waitingSince = nil
            case .goAway, .pong: break
            }
        }
    }

    /// The rest of a request was no HTTP: that is what is reported, not that its caller left.
    private mutating func blameCaller(_ exchange: Handle, _ handle: Handle) {
        guard exchanges[exchange].status == 0, exchanges[exchange].reason == nil else { return }
        let status = inbound[handle].connection.link.session?.failure?.status ?? 0
        inbound[handle].hasFailedExchange = true
        exchanges[exchange].status = UInt16(clamping: status == 0 ? 400 : status)
        exchanges[exchange].reason = status.isTooLarge ? .tooLarge : .requestInvalid
    }

    mutating func flushInbound(_ handle: Handle) {
        guard inbound.contains(handle) else { return }
        inbound[handle].connection.link.isDirty = false
        do throws(TransportError) {
            try inbound[handle].connection.link.write(&buffers, &scratch)
        } catch {
            inbound[handle].connection.link.session?.connectionLost()
            drainInbound(handle)
            closeInbound(handle, abort: true)
            return
        }
        drainInbound(handle)
        guard inbound.contains(handle) else { return }
        if inbound[handle].connection.phase == .relay {
            downstreamDrained(inbound[handle].relay, handle)
        } else if inbound[handle].isDeferred {
            // Its events come before its end.
        } else if inbound[handle].connection.link.isOver {
            noteInboundFault(handle)
            finishInbound(handle)
        } else if inbound[handle].connection.phase == .closing, !inbound[handle].connection.link.isHTTP {
            // A stream that was refused: our word is written, and the peer has gone.
            if inbound[handle].connection.link.transport.outputClosed,
                inbound[handle].connection.link.transport.inputClosed
            {
                closeInbound(handle, abort: false)
            }
        } else if inbound[handle].connection.link.hasOutput, !inbound[handle].connection.link.isDirty,
            inbound[handle].connection.link.transport.pendingOutput == 0
        {
            markInbound(handle)
        }
        if inbound.contains(handle) { watchInbound(handle) }
        resumeInbound(handle)
    }

    /// What was read and not given out while nobody wanted it: no readiness announces it.
    mutating func resumeInbound(_ handle: Handle) {
        if inbound.contains(handle), inbound[handle].connection.link.transport.isEstablished,
            inbound[handle].connection.link.transport.holdsInput
        {
            readInbound(handle)
        }
    }

    /// The conversation is over: the last words leave, then FIN; a cut message ends with RST.
    private mutating func finishInbound(_ handle: Handle) {
        if inbound[handle].connection.link.mustAbort {
            closeInbound(handle, abort: true)
            return
        }
        if inbound[handle].connection.link.transport.pendingOutput > 0 { return }
        if inbound[handle].connection.link.hasOutput { return }
        do throws(TransportError) {
            try inbound[handle].connection.link.transport.endOutput(&buffers)
        } catch {
            closeInbound(handle, abort: true)
            return
        }
        // Closing while the peer still sends would reset the connection and lose our last bytes: its FIN, or a moment, first.
        if inbound[handle].connection.link.transport.inputClosed { return closeInbound(handle, abort: false) }
        if inbound[handle].connection.phase != .closing {
            inbound[handle].connection.phase = .closing
            inbound[handle].connection.lastActive = reactor.now
        }
    }

    mutating func watchInbound(_ handle: Handle) {
        let reading: Bool
        switch inbound[handle].connection.phase {
        case .relay: reading = relayReadsDownstream(inbound[handle].relay)
        case .closing: reading = true
        case .handshake, .detect, .http, .header: reading = inbound[handle].connection.link.wantsInput
        }
        do throws(SocketError) {
            try inbound[handle].connection.link.watch(
                reactor, Token(kind: Kind.inbound.rawValue, handle: handle), reading: reading)
        } catch {
            closeInbound(handle, abort: true)
        }
    }

    /// Ends the connection and everything on it.
    mutating func closeInbound(_ handle: Handle, abort: Bool) {
        guard inbound.contains(handle) else { return }
        if abort { inbound[handle].connection.link.transport.abort() }
        noteInboundFault(handle)
        takeGlitches(.downstream, inbound[handle].connection.link.session?.takeGlitches() ?? [])
        let relay = inbound[handle].relay
        inbound[handle].relay = .none
        for exchange in inbound[handle].connection.streams.all where exchanges.contains(exchange) {
            downstreamClosed(exchange)
        }
        closeAccount(handle)
        inbound.remove(handle)
        admitMore()
        if relays.contains(relay) { endRelay(relay, abort: abort) }
    }
}
