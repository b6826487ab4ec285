internal import Containers
internal import MeshModel
internal import Reactor
internal import Routing
internal import Upstream
internal import Wire

/// Active health: a target that failed, or (at gateways) that nobody spoke to, is asked until it answers.
///
/// A sidecar or gateway is asked `OPTIONS *` with `meshfed-probe: health` over the pool's HTTP/2; the sidecar tries its app's port
/// before it answers. What is not behind a sidecar is only connected to.
extension Worker {
    private static let probeTime = Duration.seconds(2)
    /// Probes that are sent at once, and how long the next ones wait: a handshake takes 75 KB while it lasts.
    private static let probesAtOnce = 16
    private static let probePause = Duration.milliseconds(60)

    mutating func sendProbes() {
        guard let configuration, !areProbesPaused else { return }
        var batch: [Health.ProbeTarget] = []
        swap(&batch, &due)
        health.dueProbes(now: reactor.now, limit: Self.probesAtOnce, into: &batch)
        if batch.count == Self.probesAtOnce {
            areProbesPaused = true
            _ = reactor.schedule(
                at: reactor.now + Self.probePause, token: Token(kind: Kind.probes.rawValue, handle: .none))
        }
        for probe in batch { send(probe, configuration) }
        batch.removeAll(keepingCapacity: true)
        swap(&batch, &due)
    }

    mutating func probesGoOn() {
        areProbesPaused = false
        if !isDraining { sendProbes() }
    }

    private mutating func send(_ probe: Health.ProbeTarget, _ configuration: ProxyConfiguration) {
        let now = reactor.now
        guard let target = configuration.probeTarget(probe.what) else {
            if let address = configuration.knockAddress(probe.what) { knock(.health(probe.handle), at: address) }
            return
        }
        var head = HeaderBlock()
        head.append(.method, "OPTIONS")
        head.append(.path, "*")
        head.append(.scheme, "https")
        head.append(.authority, target.serverName)
        guard let exchange = exchanges.insert(Exchange(downstream: .none, stream: 0, head: head, now: now)) else {
            return
        }
        exchanges[exchange].route = .probe(probe.handle)
        exchanges[exchange].requestEnded = true
        exchanges[exchange].deadline = now + Self.probeTime
        exchanges[exchange].upstreamIsProxy = true
        exchanges[exchange].trace = TraceContext.fresh(samplePercent: 0, random: &random)
        armTimer(exchange)
        let name = target.serverName
        switch obtain(exchange, targets.once(target), route: 1 << 62 | UInt64(name.span.stableHash & 0xFFFF_FFFF)) {
        case .ready(let connection): sendRequest(exchange, connection)
        case .waiting: break
        case .refused: finish(exchange)
        case .failed(let error):
            if error.isOwnExhaustion { finish(exchange) } else { finishProbe(exchange, probe.handle, isHealthy: false) }
        }
    }

    mutating func finishProbe(_ exchange: Handle, _ target: HealthHandle, isHealthy: Bool) {
        judge(target, isHealthy: isHealthy)
        finish(exchange)
    }

    private mutating func judge(_ target: HealthHandle, isHealthy: Bool) {
        if isHealthy {
            health.probePassed(target, now: reactor.now)
        } else {
            health.failed(target, .probeFailed, now: reactor.now)
        }
    }

    // MARK: Knocking

    /// Tries the app's port of this sidecar.
    mutating func knock(_ knock: Outbound.Knock, port: UInt16) {
        guard let address = settings.appAddress, port > 0 else { return knocked(knock, isOpen: false) }
        self.knock(knock, at: address.withPort(port))
    }

    private mutating func knock(_ knock: Outbound.Knock, at address: SocketAddress) {
        let target = Target(
            address: address, serverName: [], use: .plainTCP, expectation: .anybody, context: nil, isProxy: false,
            isGateway: false, times: .standard)
        do throws(SocketError) {
            let handle = try dial(target, key: key(target, route: 0), purpose: .knock(knock))
            if !outbound.contains(handle) { knocked(knock, isOpen: false) }
        } catch {
            knocked(knock, isOpen: false)
        }
    }

    mutating func knocked(_ knock: Outbound.Knock, isOpen: Bool) {
        switch knock {
        case .health(let target): judge(target, isHealthy: isOpen)
        case .stream(let handle): streamKnocked(handle, isOpen: isOpen)
        case .exchange(let exchange):
            guard exchanges.contains(exchange) else { return }
            if isOpen { answerProbe(exchange) } else { answer(exchange, .connectFailed) }
        }
    }
}

extension Span<UInt8> {
    /// The same for the same bytes within a process (FNV-1a).
    var stableHash: UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for index in 0..<count { hash = (hash ^ UInt64(self[index])) &* 0x0000_0100_0000_01b3 }
        return hash
    }
}
