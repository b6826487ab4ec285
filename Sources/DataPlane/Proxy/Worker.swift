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
    }

    /// How often timeouts that need no precision are looked at, and due probes sent.
    static let tick = Duration.milliseconds(250)
    /// Request bodies kept for repeating, over all exchanges of the worker.
    static let keptLimit = 67_108_864
    /// Between the two GOAWAYs of a drain: more than a round trip anywhere.
    static let roundTrip = Duration.seconds(1)

    private let place = InPlace()
    let settings: WorkerSettings
    let mailbox: WorkerMailbox
    var reactor: Reactor
    var buffers = WorkerBuffers()
    var scratch = OutputBuffer()
    let memory = HTTP2Memory()
    var configuration: ProxyConfiguration?
    var listeners: Slab<Listener>
    var inbound: Slab<Inbound>
    var outbound: Slab<Outbound>
    var exchanges: Slab<Exchange>
    var relays: Slab<Relay>
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
    var due: [Health.ProbeTarget] = []
    var keptBytes = 0
    var isDraining = false
    var drainEnd = Instant.distantFuture
    /// When draining comes to its second GOAWAY.
    var farewell = Instant.distantFuture
    var nextCalm = Instant.zero

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
        health = Health(probesIdle: settings.isGateway)
        log = AccessLog(format: settings.logFormat)
        random = RandomBits(seed: settings.sampleSeed)
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
        while !isFinished {
            let isBusy = !dirtyInbound.isEmpty || !dirtyOutbound.isEmpty
            reactor.turn(until: isBusy ? reactor.now : nil)
            while let (token, readiness) = reactor.nextReady() { ready(token, readiness) }
            while let token = reactor.nextTimer() { expired(token) }
            settle()
            mailbox.load.store(inbound.count, ordering: .relaxed)
            if let sink = settings.logSink { log.flush(to: sink) }
        }
    }

    private var isFinished: Bool {
        isDraining && (reactor.now >= drainEnd || (inbound.count == 0 && exchanges.count == 0 && relays.count == 0))
    }

    private mutating func ready(_ token: Token, _ readiness: Readiness) {
        switch Kind(rawValue: token.kind) {
        case .mailbox: readLetters()
        case .listener: acceptAll(token.handle)
        case .inbound: inboundReady(token.handle, readiness)
        case .outbound: outboundReady(token.handle, readiness)
        case .exchange, .tick, .none: break
        }
    }

    private mutating func expired(_ token: Token) {
        switch Kind(rawValue: token.kind) {
        case .exchange: exchangeTimer(token.handle)
        case .tick:
            sweep()
            scheduleTick()
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
            case .drain: drain()
            case .hold(let instant): reactor.hold(at: instant)
            case .report(let answer):
                answer(
                    WorkerReport(
                        metrics: metrics.snapshot(), connections: inbound.count, exchanges: exchanges.count,
                        unhealthy: health.unhealthyEndpoints(), healthChanges: health.changes,
                        generation: configuration?.generation ?? 0))
            }
        }
    }

    /// Swaps everything that is decided by, at once. What is under way goes on with what was decided for it.
    private mutating func configure(_ fresh: ProxyConfiguration) {
        let now = reactor.now
        let isNewIdentity = configuration?.svid !== fresh.svid
        configuration = fresh
        targets = TargetCache()
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

    private mutating func drain() {
        guard !isDraining else { return }
        // What the kernel accepted for us is served: closing the listener would reset it.
        for handle in listeners.handles { acceptAll(handle, shares: false) }
        isDraining = true
        drainEnd = reactor.now + settings.grace
        farewell = reactor.now + Self.roundTrip
        for handle in listeners.handles { listeners.remove(handle) }
        for handle in inbound.handles where inbound[handle].connection.link.isHTTP {
            inbound[handle].connection.link.session?.goAway()
            markInbound(handle)
        }
    }

    /// A round trip after the first GOAWAY: HTTP/2 names the last stream it takes; who has not begun to speak is not waited for.
    mutating func sayFarewell() {
        farewell = .distantFuture
        for handle in inbound.handles where inbound.contains(handle) {
            switch inbound[handle].connection.phase {
            case .http:
                inbound[handle].connection.link.session?.shutdown(code: 0)
                markInbound(handle)
            case .handshake, .detect, .header: closeInbound(handle, abort: false)
            case .relay, .closing: break
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
