internal import Containers
internal import Downstream
internal import Identity
internal import Link
internal import MeshModel
package import Reactor
internal import Routing
internal import Synchronization
internal import Telemetry
internal import TLS
internal import Upstream
internal import Wire

/// One thread of the data path with all that it owns: connections, exchanges, relays, pools, health, counters.
///
/// Born on its thread, it never leaves it. Connections and exchanges stand in slabs and name each other by handles; what a
/// handle named may be gone at any time, and then it names nothing.
package struct Worker: ~Copyable {
    /// What a token of the reactor belongs to.
    enum Kind: UInt8 {
        case mailbox = 1
        case listener
        case inbound
        case outbound
        case exchange
        case tick
        case arrival
        case probes
    }

    /// How often timeouts that need no precision are looked at, and due probes sent.
    static let tick = Duration.milliseconds(250)
    /// Request bodies kept for repeating, over all exchanges of the worker.
    static let keptLimit = 67_108_864
    /// Who connected so short a time before the second GOAWAY may still be shaking hands on a machine under load.
    static let lateHandshake = Duration.seconds(3)
    /// Between the two GOAWAYs of a drain: more than a round trip anywhere.
    static let roundTrip = Duration.seconds(1)

    private let place = InPlace()
    let settings: WorkerSettings
    let mailbox: WorkerMailbox
    var reactor: Reactor
    var buffers = WorkerBuffers()
    var scratch = OutputBuffer()
    var configuration: ProxyConfiguration?
    var listeners: Slab<Listener>
    var inbound: Slab<Inbound>
    var outbound: Slab<Outbound>
    var exchanges: Slab<Exchange>
    var relays: Slab<Relay>
    var arrivals: Slab<Arrival>
    /// One for each service that the workload has served in plaintext: few.
    var plaintext: [PlaintextCount] = []
    var pool = ConnectionPool()
    var targets = TargetCache()
    var health: Health
    var budgets = RetryBudgets()
    var verifier: OriginVerifier?
    var maker: OriginMaker?
    var metrics = WorkerMetrics()
    var labels: RouteLabels?
    var log: AccessLog
    var faults = FaultGate()
    var random: RandomBits
    var dirtyInbound: [Handle] = []
    var dirtyOutbound: [Handle] = []
    /// The head of the try that is being written.
    var outgoing = HeaderBlock()
    /// Text of a field that is being written.
    var text = OutputBuffer()
    /// Who called, as the last app was told.
    var introduction = CallerIntroduction()
    var due: [Health.ProbeTarget] = []
    /// More of them are due, and wait a moment.
    var areProbesPaused = false
    var keptBytes = 0
    var isDraining = false
    var drainEnd = Instant.distantFuture
    /// When draining comes to its second GOAWAY.
    var farewell = Instant.distantFuture
    var nextCalm = Instant.zero
    var shares = CallerShares()
    /// Connections with events that wait for the next turn.
    var deferred: [Handle] = []
    /// Requests that came over shared connections and wait for the next turn.
    var postponed: [Handle] = []
    var turnNumber: UInt64 = 0
    var pressure = MemoryPressure.calm
    var memoryBeside = 0
    var nextMemoryLook = Instant.zero
    /// `buffers.received` at the last look.
    var receivedAtLook: UInt64 = 0
    /// TLS handshakes of others in progress, and those of this turn.
    var handshaking = 0
    var handshakeTurn: UInt64 = 0
    var handshakeSteps = 0
    /// The listeners are not watched: a limit was met.
    var isHoldingBack = false

    package init(settings: WorkerSettings, mailbox: WorkerMailbox) throws(SocketError) {
        let reactor = try Reactor()
        try reactor.watch(mailbox.waker.descriptor, .readable, Token(kind: Kind.mailbox.rawValue, handle: .none))
        self.settings = settings
        self.mailbox = mailbox
        self.reactor = reactor
        listeners = Slab(capacity: 256)
        inbound = Slab(capacity: settings.maximumConnections)
        outbound = Slab(capacity: settings.maximumConnections)
        exchanges = Slab(capacity: settings.maximumExchanges)
        relays = Slab(capacity: settings.maximumConnections)
        arrivals = Slab(capacity: settings.capturesInbound ? settings.maximumConnections : 1)
        health = Health(probesIdle: settings.isGateway)
        log = AccessLog(format: settings.logFormat)
        random = RandomBits(seed: settings.sampleSeed)
        buffers.chains.certificates = settings.knownCertificates
    }

    /// Adds a listening socket; `role` is an index into `WorkerSettings.entries`.
    package mutating func listen(_ socket: consuming ListenerSocket, role: Int) throws(SocketError) {
        guard let handle = listeners.insert(Listener(socket, role: role)) else {
            throw SocketError(code: 24, operation: "add a listener")
        }
        try watchListener(handle)
    }

    /// Runs until it has drained.
    package mutating func run() {
        scheduleTick()
        // What was posted before the start counts before the first connection is taken.
        readLetters()
        while !isFinished {
            let isBusy = !dirtyInbound.isEmpty || !dirtyOutbound.isEmpty || !deferred.isEmpty || !postponed.isEmpty
            reactor.turn(until: isBusy ? reactor.now : nil)
            beginTurn()
            watchMemory()
            while let (token, readiness) = reactor.nextReady() {
                ready(token, readiness)
                watchMemory()
            }
            while let token = reactor.nextTimer() { expired(token) }
            settle()
            // Nobody hands a connection to a worker that drains.
            mailbox.load.store(isDraining ? .max / 2 : inbound.count, ordering: .relaxed)
            if let sink = settings.logSink { log.flush(to: sink) }
        }
    }

    private var isFinished: Bool {
        guard isDraining, reactor.now < drainEnd else { return isDraining }
        // Another worker may just have handed over what it accepted.
        if !settings.crew.isEmpty, reactor.now < farewell, farewell != .distantFuture { return false }
        return inbound.count == 0 && arrivals.count == 0 && exchanges.count == 0 && relays.count == 0
    }

    private mutating func ready(_ token: Token, _ readiness: Readiness) {
        switch Kind(rawValue: token.kind) {
        case .mailbox: readLetters()
        case .listener: acceptAll(token.handle)
        case .inbound: inboundReady(token.handle, readiness)
        case .outbound: outboundReady(token.handle, readiness)
        case .arrival: judgeArrival(token.handle, isLate: false)
        case .exchange, .tick, .probes, .none: break
        }
    }

    private mutating func expired(_ token: Token) {
        switch Kind(rawValue: token.kind) {
        case .exchange: exchangeTimer(token.handle)
        case .arrival: judgeArrival(token.handle, isLate: true)
        case .tick:
            sweep()
            scheduleTick()
        case .probes: probesGoOn()
        case .mailbox, .listener, .inbound, .outbound, .none: break
        }
    }

    private mutating func scheduleTick() {
        _ = reactor.schedule(at: reactor.now + Self.tick, token: Token(kind: Kind.tick.rawValue, handle: .none))
    }

    private mutating func readLetters() {
        for letter in mailbox.takeAll() {
            switch letter {
            case .configure(let configuration): configure(configuration)
            case .adopt(let descriptor, let role, let peer):
                admitSocket(Socket(adopting: descriptor), role: role, peer: peer)
            case .drain: drain(takesBacklog: true)
            case .handOver: drain(takesBacklog: false)
            case .memory(let beside): memoryBeside = beside
            case .hold(let instant): reactor.hold(at: instant)
            case .drainInbound: drainInbound()
            case .report(let answer):
                answer(
                    WorkerReport(
                        metrics: metrics.snapshot(), connections: inbound.count, exchanges: exchanges.count,
                        unhealthy: health.unhealthyEndpoints(), healthChanges: health.changes,
                        generation: configuration?.generation ?? 0, plaintext: plaintext, pressure: pressure))
            }
        }
    }

    /// Swaps everything that is decided by, at once. What is under way goes on with what was decided for it.
    private mutating func configure(_ fresh: ProxyConfiguration) {
        let now = reactor.now
        let isNewIdentity = configuration?.svid !== fresh.svid
        configuration = fresh
        targets.removeAll()
        introduction.forget()
        health.reconcile(with: fresh.table, now: now)
        budgets.reconcile(with: fresh.table, now: now)
        labels = RouteLabels(fresh.table, metrics: &metrics)
        if verifier == nil {
            verifier = try? OriginVerifier(trust: fresh.trust, random: SystemRandom.source)
        } else {
            verifier?.adopt(fresh.trust)
        }
        if isNewIdentity || maker == nil { maker = try? OriginMaker(svid: fresh.svid, random: SystemRandom.source) }
        reconsiderPeers(fresh)
        reconsiderCalls(fresh)
    }

    /// Peers that the new configuration does not believe are cut off; SNIs are looked up again.
    private mutating func reconsiderPeers(_ fresh: ProxyConfiguration) {
        for handle in inbound.handles {
            guard inbound.contains(handle), let peer = inbound[handle].peer else { continue }
            if !fresh.trust.stillTrusts(peer) {
                closeInbound(handle, abort: true)
                continue
            }
            place(handle, peer, fresh)
        }
        for handle in outbound.handles {
            guard outbound.contains(handle), let peer = outbound[handle].connection.peer else { continue }
            if !fresh.trust.stillTrusts(peer) { closeOutbound(handle, .tls(reason: "no longer trusted", alert: nil)) }
        }
    }

    private mutating func drain(takesBacklog: Bool) {
        guard !isDraining else { return }
        // What the kernel accepted for us is served: closing the listener would reset it.
        if takesBacklog { for handle in listeners.handles { acceptAll(handle, shares: false) } }
        isDraining = true
        drainEnd = reactor.now + settings.grace
        farewell = reactor.now + Self.roundTrip
        for handle in listeners.handles {
            closeListener(handle)
        }
        for handle in inbound.handles where inbound[handle].connection.link.isHTTP {
            inbound[handle].connection.link.session?.goAway()
            markInbound(handle)
        }
    }

    /// Closing alone would not do: another process may have the socket too.
    private mutating func closeListener(_ handle: Handle) {
        reactor.forget(listeners[handle].descriptor)
        listeners.remove(handle)
    }

    /// A round trip after the first GOAWAY: HTTP/2 names the last stream it takes; who has not begun to speak is not waited for.
    mutating func sayFarewell() {
        farewell = .distantFuture
        for handle in inbound.handles where inbound.contains(handle) {
            switch inbound[handle].connection.phase {
            case .http:
                inbound[handle].connection.link.session?.shutdown(code: 0)
                markInbound(handle)
            case .handshake where inbound[handle].connection.acceptedAt + Self.lateHandshake > reactor.now: break
            case .handshake, .detect, .header: closeInbound(handle, abort: false)
            case .relay, .closing: break
            }
        }
        dropSilentArrivals()
    }

    /// What comes to the app is drained; its own calls go on until it has ended.
    private mutating func drainInbound() {
        for handle in listeners.handles where settings.entries[listeners[handle].role].isInbound {
            closeListener(handle)
        }
        for handle in inbound.handles where inbound.contains(handle) && inbound[handle].entry.isInbound {
            if inbound[handle].connection.link.isHTTP {
                inbound[handle].connection.link.session?.goAway()
                markInbound(handle)
            } else if inbound[handle].connection.phase != .relay {
                closeInbound(handle, abort: false)
            }
        }
    }

    mutating func markInbound(_ handle: Handle) {
        guard inbound.contains(handle), !inbound[handle].connection.link.isDirty else { return }
        inbound[handle].connection.link.isDirty = true
        dirtyInbound.append(handle)
    }

    mutating func markOutbound(_ handle: Handle) {
        guard outbound.contains(handle), !outbound[handle].connection.link.isDirty else { return }
        outbound[handle].connection.link.isDirty = true
        dirtyOutbound.append(handle)
    }

    /// The end of a turn: one write per connection that has something to say. Writing makes events, events more to write.
    private mutating func settle() {
        var rounds = 0
        while rounds < 32, !dirtyInbound.isEmpty || !dirtyOutbound.isEmpty {
            rounds += 1
            var batch: [Handle] = []
            swap(&batch, &dirtyOutbound)
            for handle in batch { flushOutbound(handle) }
            batch.removeAll(keepingCapacity: true)
            if dirtyOutbound.isEmpty { swap(&batch, &dirtyOutbound) }
            var answers: [Handle] = []
            swap(&answers, &dirtyInbound)
            for handle in answers { flushInbound(handle) }
            answers.removeAll(keepingCapacity: true)
            if dirtyInbound.isEmpty { swap(&answers, &dirtyInbound) }
        }
    }
}
