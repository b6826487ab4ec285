internal import Containers
internal import Identity
internal import MeshModel
internal import Reactor
internal import TLS
internal import Wire

/// One connection of either side: connect, handshake, the HTTP conversation, its clocks and its end.
///
/// Verbs of calls only change the session and mark the connection; bytes move in `ready` and `settle`, which the loop
/// calls, so that no callback runs inside a verb.
final class RPCConnection {
    enum Part {
        case server(RPCListener)
        case client(RPCChannel)
    }

    private enum Phase {
        /// TCP connect and TLS handshake.
        case opening(until: Instant)
        case open
        /// Our direction is closed; what still comes is thrown away until the peer closes too.
        case lingering(until: Instant)
        case closed
    }

    /// What a live stream of the session belongs to.
    enum Use {
        case call(RPCStream)
        case page(HTTPCall)
    }

    /// Reads of one turn (64 KiB each): other connections wait meanwhile.
    private static let readsPerTurn = 16
    /// How long a closed connection is read to its end: closing with unread bytes would reset what was sent last.
    private static let linger = Duration.seconds(1)

    let loop: RPCLoop
    let part: Part
    let limits: RPCLimits
    let isSecure: Bool
    private(set) var peer: RPCPeer
    var link: RPCLink?
    var uses: [StreamID: Use] = [:]
    /// Bytes of incomplete messages and bodies over all calls.
    private var held = 0
    var isDirty = false
    var isAgain = false
    private var phase: Phase
    private var handle = Handle.none
    private var interest: Interest = []
    private var timer = RPCTimer.none
    private var lostReason: String?
    private var checkedAt: Instant
    private var lastInput: Instant
    /// The end of the last call, or the beginning.
    private var idleSince: Instant
    /// When the first byte of a head that is not complete arrived.
    private var headSince: Instant?
    private var pingedAt: Instant?
    private var isDraining = false
    private(set) var sawSettings = false
    /// Calls that a full queue has refused a message of.
    var waiting: [RPCStream] = []

    init(
        loop: RPCLoop, part: Part, peer: RPCPeer, conduit: consuming Conduit, isSecure: Bool, limits: RPCLimits
    ) {
        self.loop = loop
        self.part = part
        self.peer = peer
        self.limits = limits
        self.isSecure = isSecure
        link = RPCLink(conduit)
        let now = loop.now
        let patience: Duration
        switch part {
        case .server:
            patience = limits.handshake
            headSince = now
        case .client(let channel): patience = channel.patience
        }
        phase = .opening(until: now + patience)
        checkedAt = now
        lastInput = now
        idleSince = now
    }

    var isServer: Bool {
        switch part {
        case .server: true
        case .client: false
        }
    }

    var isHTTP2: Bool { link?.conduit.session.isHTTP2 ?? false }

    var isOpen: Bool {
        switch phase {
        case .open: true
        case .opening, .lingering, .closed: false
        }
    }

    // MARK: Life

    /// Registers with the loop.
    func begin() {
        guard let link, let handle = loop.add(self) else { return close("too many connections") }
        self.handle = handle
        let wanted = link.conduit.transport.wantedInterest(reading: true)
        do throws(SocketError) {
            try loop.reactor.watch(
                link.conduit.transport.descriptor, wanted, Token(kind: RPCLoop.Kind.connection, handle: handle))
            interest = wanted
        } catch { return close(error.description) }
        if case .opening(let until) = phase { arm(until - loop.now) }
        // A plain accepted connection is open at once, and bytes may wait.
        if isServer, link.conduit.transport.isEstablished { established() }
    }

    func ready(_ readiness: Readiness) {
        guard link != nil else { return }
        if case .opening = phase {
            guard advance() else { return settle() }
            receive()
        } else if readiness.contains(.readable) || readiness.contains(.hangup) {
            receive()
        }
        settle()
    }

    /// True when the handshake is done and the peer is accepted.
    private func advance() -> Bool {
        guard let link else { return false }
        do throws(TransportError) {
            guard try link.conduit.transport.advance(&loop.buffers, wall: loop.wall) else { return false }
        } catch {
            close(error.description)
            return false
        }
        established()
        return link === self.link
    }

    private func established() {
        guard let link else { return }
        phase = .open
        lastInput = loop.now
        idleSince = loop.now
        peer = RPCPeer(identity: link.conduit.transport.peer, uid: peer.uid, address: peer.address)
        arm(limits.checkInterval)
        switch part {
        case .server:
            headSince = loop.now
            switch link.conduit.transport.negotiated {
            case .http2?: link.conduit.become(makeHTTP2())
            case .http1?, nil: break
            case .tcp?: close("no HTTP was agreed on")
            }
        case .client(let channel):
            if isSecure, link.conduit.transport.negotiated != .http2 {
                return close("the server does not speak HTTP/2")
            }
            if let root = link.conduit.transport.learnedRoot { channel.learned(root) }
            if let refusal = channel.judge(peer) { return close(refusal) }
            channel.opened(self)
        }
    }

    func makeHTTP2() -> HTTPSession {
        var settings = HTTP2Settings()
        settings.maxConcurrentStreams = limits.streamsPerConnection
        settings.connectionWindow = 4_194_304
        settings.seed = .random(in: 0...(.max))
        return .http2(
            role: isServer ? .server : .client, limits: RPCListener.httpLimits(isSecure: isSecure), settings: settings)
    }

    /// The owner wants no new calls on it; those under way may end.
    func drain() {
        guard !isDraining, let link else { return }
        isDraining = true
        switch phase {
        case .opening: lose("the process stops")
        case .open:
            link.conduit.session.goAway()
            if isHTTP2, isServer { link.conduit.session.ping(0) }
            mark()
        case .lingering, .closed: break
        }
    }

    /// The connection is to end at once; its calls end with `unavailable` and this reason.
    func lose(_ reason: String) {
        guard lostReason == nil, link != nil else { return }
        lostReason = reason
        mark()
    }

    func mark() {
        guard !isDirty, link != nil else { return }
        isDirty = true
        loop.mark(self)
    }

    // MARK: Bytes

    /// Reads what there is, at most a turn's share.
    func receive() {
        guard let link, lostReason == nil else { return }
        var reads = 0
        while self.link === link, lostReason == nil {
            let isLingering: Bool
            switch phase {
            case .opening, .closed: return
            case .open: isLingering = false
            case .lingering: isLingering = true
            }
            guard isLingering || link.conduit.session.wantsInput else { return }
            reads += 1
            if reads > Self.readsPerTurn {
                if !isAgain {
                    isAgain = true
                    loop.markAgain(self)
                }
                return
            }
            do throws(TransportError) {
                if isLingering {
                    guard case .bytes = try link.conduit.transport.receive(&loop.buffers) else {
                        if link.conduit.transport.inputClosed { close("") }
                        return
                    }
                    continue
                }
                switch try link.conduit.receive(&loop.buffers, makeHTTP2: makeHTTP2) {
                case .some:
                    lastInput = loop.now
                    pingedAt = nil
                    if uses.isEmpty, headSince == nil, !isHTTP2 { headSince = loop.now }
                    readEvents()
                case .nothing:
                    guard link.conduit.transport.holdsInput else { return }
                case .end, .failed:
                    readEvents()
                    return
                }
            } catch {
                let text = error.description
                link.conduit.session.connectionLost()
                readEvents(lostBecause: text)
                return close(text)
            }
        }
    }

    /// Brings the connection in order after callbacks and verbs: resumed calls, output, interest, end.
    func settle() {
        guard let link else { return }
        if let lostReason {
            link.conduit.session.connectionLost()
            readEvents(lostBecause: lostReason)
            if case .open = phase {} else { return close(lostReason) }
            link.conduit.transport.abort()
            return close(lostReason)
        }
        switch phase {
        case .opening: return updateInterest(reading: true)
        case .closed: return
        case .lingering, .open: break
        }
        if isDraining, !isServer, link.conduit.session.activeStreams == 0 {
            link.conduit.session.shutdown(code: HTTP2Code.none)
        }
        do throws(TransportError) {
            // What is sent makes events, and they make more to send; each round needs progress.
            repeat {
                _ = try link.conduit.send(&loop.buffers, &loop.scratch)
                readEvents()
                guard self.link === link, lostReason == nil else { return mark() }
                wakeWriters()
            } while link.conduit.session.hasOutput && link.conduit.transport.pendingOutput == 0
        } catch {
            let text = error.description
            link.conduit.session.connectionLost()
            readEvents(lostBecause: text)
            return close(text)
        }
        guard case .open = phase else { return updateInterest(reading: true) }
        if link.conduit.session.shouldClose, link.conduit.transport.pendingOutput == 0 { return finish() }
        if link.conduit.transport.holdsInput, link.conduit.session.wantsInput, !isAgain {
            isAgain = true
            loop.markAgain(self)
        }
        updateInterest(reading: link.conduit.session.wantsInput)
    }

    /// Tells calls that wait for room in their queues.
    private func wakeWriters() {
        guard !waiting.isEmpty else { return }
        let streams = waiting
        waiting = []
        for stream in streams where !stream.wake() { waiting.append(stream) }
    }

    private func updateInterest(reading: Bool) {
        guard let link else { return }
        let wanted = link.conduit.transport.wantedInterest(reading: reading)
        guard wanted != interest else { return }
        interest = wanted
        do throws(SocketError) {
            try loop.reactor.change(
                link.conduit.transport.descriptor, wanted, Token(kind: RPCLoop.Kind.connection, handle: handle))
        } catch { close(error.description) }
    }

    /// The conversation is over and said its last word.
    private func finish() {
        guard let link else { return }
        let reason = link.conduit.session.failure.map { "HTTP failed: \($0.reason)" } ?? "the connection was closed"
        endUses(reason)
        if link.conduit.session.mustAbort {
            link.conduit.transport.abort()
            return close(reason)
        }
        do throws(TransportError) { try link.conduit.transport.endOutput(&loop.buffers) } catch { return close(reason) }
        if link.conduit.transport.inputClosed || !isServer { return close(reason) }
        phase = .lingering(until: loop.now + Self.linger)
        arm(Self.linger)
        updateInterest(reading: true)
    }

    /// Gives the socket back and ends every call.
    private func close(_ reason: String) {
        guard let link else { return }
        phase = .closed
        self.link = nil
        loop.reactor.forget(link.conduit.transport.descriptor)
        loop.cancel(timer)
        if !handle.isNone { loop.remove(connection: handle) }
        endUses(reason)
        waiting = []
        switch part {
        case .server(let listener): listener.ended()
        case .client(let channel): channel.closed(self, reason)
        }
    }

    // MARK: Clocks

    private func arm(_ delay: Duration) {
        loop.cancel(timer)
        timer = loop.after(delay) { [weak self] in self?.check() }
    }

    private func check() {
        guard let link else { return }
        let now = loop.now
        switch phase {
        case .opening(let until):
            guard now >= until else { return arm(until - now) }
            return close(
                link.conduit.transport.isConnected ? "the TLS handshake took too long" : "no answer to connect")
        case .lingering(let until):
            guard now >= until else { return arm(until - now) }
            return close("")
        case .closed: return
        case .open: break
        }
        link.conduit.session.pass(seconds: Int(clamping: (now - checkedAt).components.seconds))
        if now - checkedAt >= .seconds(1) { checkedAt = now }
        if let identity = peer.identity, loop.wall.advanced(bySeconds: -Leeway.seconds) > identity.notAfter {
            return lose("the peer's certificate has expired")
        }
        if let headSince, uses.isEmpty, now - headSince >= limits.head {
            link.conduit.session.timeOut()
            self.headSince = nil
            mark()
        } else if isHTTP2 {
            if let pingedAt {
                if now - pingedAt >= limits.keepAliveAnswer { return lose("no answer to a keep-alive PING") }
            } else if now - lastInput >= limits.keepAlive {
                pingedAt = now
                link.conduit.session.ping(1)
                mark()
            }
        }
        if isServer, uses.isEmpty, now - idleSince >= limits.idle, !isDraining { drain() }
        arm(limits.checkInterval)
    }

    // MARK: For calls and the reader of events

    /// A call holds `change` bytes more (or less) that wait for their rest. False when that is more than the limits allow.
    func hold(_ change: Int) -> Bool {
        held += change
        guard case .server(let listener) = part else { return held <= limits.heldPerConnection }
        listener.held += change
        return held <= limits.heldPerConnection && listener.held <= limits.heldPerListener
    }

    func sawHead() { headSince = nil }

    func noteSettings() {
        sawSettings = true
        if isHTTP2 { headSince = nil }
    }

    func notePong() {
        guard isDraining, isServer, let link else { return }
        link.conduit.session.shutdown(code: HTTP2Code.none)
        mark()
    }

    /// A call of this connection is over.
    func useEnded(_ id: StreamID) {
        guard uses.removeValue(forKey: id) != nil else { return }
        if uses.isEmpty { idleSince = loop.now }
        if case .client(let channel) = part { channel.roomLeft() }
    }
}
