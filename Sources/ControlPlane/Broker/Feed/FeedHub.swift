internal import ControlCoding
internal import Identity
internal import MeshModel
internal import RPC
internal import Wire

/// `Feed/Subscribe` on 15012: the same encoded snapshot for every proxy of the cluster, one under way to each at a time.
final class FeedHub {
    /// Proxies of one cluster: well above the aim of 10,000 endpoints.
    private static let maximumSubscribers = 20_000
    /// A keepalive is sent after this much silence of ours, and a stream is dead after this much of the proxy's (feed.proto).
    private static let keepAlive = Duration.seconds(5)
    private static let silence = Duration.seconds(15)
    /// A proxy that judges no snapshot for this long hangs.
    private static let verdict = Duration.seconds(30)
    /// Bytes of snapshots on their way to all proxies together: each stream holds a copy of what it has not sent.
    private static let flightBudget = 67_108_864

    private unowned let broker: Broker
    private(set) var subscribers: [UInt64: Subscriber] = [:]
    private var next: UInt64 = 1
    private var flying = 0
    /// Those that wait for their turn, the next one last; and those behind them, in order.
    private var queue: [UInt64] = []
    private var queueBehind: [UInt64] = []

    init(_ broker: Broker) { self.broker = broker }

    func install(on service: RPCService) {
        service.stream("/meshfed.proxy.v1.Feed/Subscribe") { [unowned self] stream in accept(stream) }
    }

    // MARK: Streams

    private func accept(_ stream: RPCStream) {
        guard let peer = stream.peer.identity, broker.isOwnProxy(peer) else {
            broker.counts.refusedCalls += 1
            return stream.finish(.permissionDenied, "only workloads and gateways of this cluster subscribe")
        }
        guard subscribers.count < Self.maximumSubscribers else {
            return stream.finish(.resourceExhausted, "too many proxies subscribe")
        }
        let number = next
        next += 1
        let subscriber = Subscriber(
            number: number, stream: stream, identity: peer, now: broker.loop.now, wall: broker.loop.wall)
        subscribers[number] = subscriber
        stream.onMessage = { [unowned self] bytes in received(number, bytes) }
        stream.onEnd = { [unowned self] _ in ended(number) }
        stream.onHalfClose = { [unowned self, unowned stream] in
            stream.finish()
            ended(number)
        }
    }

    private func received(_ number: UInt64, _ bytes: [UInt8]) {
        guard let subscriber = subscribers[number] else { return }
        subscriber.heard = broker.loop.now
        let frame: SubscriberFrame
        do throws(CodingError) { frame = try SubscriberFrame.decode(bytes) } catch {
            return end(subscriber, .invalidArgument, "the frame is refused: \(error)")
        }
        switch frame {
        case .hello(let hello): greet(subscriber, hello)
        case .ack, .health, .draining, .keepalive, .plaintext:
            guard subscriber.hello != nil else {
                return end(subscriber, .invalidArgument, "the first frame is not Hello")
            }
            handle(frame, subscriber)
        }
    }

    private func greet(_ subscriber: Subscriber, _ hello: SubscriberHello) {
        guard subscriber.hello == nil else { return end(subscriber, .invalidArgument, "a second Hello") }
        if let refusal = broker.refusal(of: hello, from: subscriber.identity) {
            broker.counts.refusedCalls += 1
            broker.log.warning(
                "subscriber refused", ["identity": "\(subscriber.identity.id)", "reason": refusal.text])
            return end(subscriber, refusal.status, refusal.text)
        }
        subscriber.hello = hello
        broker.log.info(
            "proxy subscribed",
            ["name": subscriber.name, "identity": "\(subscriber.identity.id)", "version": hello.version])
        if case .gateway(_, let address?) = hello.role {
            broker.gateways.registered(address, subscriber: subscriber.number)
        }
        if case .sidecar(let workload) = hello.role { broker.health.subscribed(workload) }
        offer(subscriber)
    }

    private func handle(_ frame: SubscriberFrame, _ subscriber: Subscriber) {
        switch frame {
        case .ack(let epoch, let revision, let refused): judged(subscriber, epoch, revision, refused)
        case .health(let list):
            guard let gateway = subscriber.gateway, !subscriber.isDraining else { return }
            broker.health.reported(gateway, list)
        case .draining:
            subscriber.isDraining = true
            if let gateway = subscriber.gateway { broker.gateways.draining(gateway, subscriber: subscriber.number) }
            if case .sidecar(let workload)? = subscriber.hello?.role, !isServed(workload) {
                broker.health.draining(workload)
            }
        case .plaintext(let since, let counts):
            if subscriber.gateway == nil { subscriber.plaintext = (since, counts) }
        case .keepalive, .hello: return
        }
    }

    /// A sidecar of the workload subscribes that does not drain.
    private func isServed(_ workload: ObjectName) -> Bool {
        subscribers.values.contains { $0.hello?.role == .sidecar(workload: workload) && !$0.isDraining }
    }

    private func judged(_ subscriber: Subscriber, _ epoch: UInt64, _ revision: UInt64, _ refused: String?) {
        guard let flight = subscriber.inFlight, flight.epoch == epoch, flight.revision == revision else { return }
        subscriber.inFlight = nil
        subscriber.judged = revision
        landed(flight)
        if let refused {
            subscriber.refused = refused
            broker.counts.refusedSnapshots += 1
            broker.log.warning(
                "snapshot refused", ["proxy": subscriber.name, "revision": "\(revision)", "reason": refused])
        } else {
            subscriber.refused = ""
            subscriber.acked = revision
        }
        offer(subscriber)
    }

    private func end(_ subscriber: Subscriber, _ status: GRPCStatus, _ text: String) {
        subscriber.stream.finish(status, text)
        ended(subscriber.number)
    }

    private func drop(_ subscriber: Subscriber, _ why: String) {
        broker.log.warning("proxy dropped", ["name": subscriber.name, "reason": why])
        subscriber.stream.cancel()
        ended(subscriber.number)
    }

    private func ended(_ number: UInt64) {
        guard let subscriber = subscribers.removeValue(forKey: number) else { return }
        if let gateway = subscriber.gateway { broker.gateways.lost(gateway, subscriber: number) }
        if let flight = subscriber.inFlight {
            subscriber.inFlight = nil
            landed(flight)
        }
    }

    // MARK: Fan-out

    /// A new snapshot is there.
    func publish() { for subscriber in Array(subscribers.values) { offer(subscriber) } }

    private func offer(_ subscriber: Subscriber) {
        guard subscriber.hello != nil, subscriber.inFlight == nil, let published = broker.snapshots.published,
            published.snapshot.revision > subscriber.judged
        else { return }
        let bytes = published.frame.count
        guard flying == 0 || flying + bytes <= Self.flightBudget else {
            if !subscriber.isWaiting {
                subscriber.isWaiting = true
                queueBehind.append(subscriber.number)
            }
            return
        }
        flying += bytes
        subscriber.inFlight = Subscriber.InFlight(
            epoch: published.snapshot.epoch, revision: published.snapshot.revision, since: broker.loop.now, bytes: bytes
        )
        if !subscriber.send(published.frame, now: broker.loop.now) { drop(subscriber, "it does not read") }
    }

    /// A snapshot was judged, or its proxy went: there is room for others.
    private func landed(_ flight: Subscriber.InFlight) {
        flying -= flight.bytes
        guard let bytes = broker.snapshots.published?.frame.count else { return }
        while flying == 0 || flying + bytes <= Self.flightBudget {
            if queue.isEmpty {
                queue = queueBehind.reversed()
                queueBehind = []
            }
            guard let number = queue.popLast() else { return }
            guard let subscriber = subscribers[number] else { continue }
            subscriber.isWaiting = false
            offer(subscriber)
        }
    }

    /// The age of links changed: told at once, ahead of the snapshot that will say so too.
    func tell(_ links: [LinkState]) {
        let frame = BrokerFrame.links(epoch: broker.snapshots.epoch, links).encode()
        for subscriber in Array(subscribers.values) where subscriber.hello != nil && subscriber.judged > 0 {
            if !subscriber.send(frame, now: broker.loop.now) { drop(subscriber, "it does not read") }
        }
    }

    /// Called each second: keepalives, and the end of streams that are silent or hang.
    func sweep() {
        let now = broker.loop.now
        for subscriber in Array(subscribers.values) {
            if now - subscriber.heard > Self.silence {
                drop(subscriber, "silent")
            } else if let flight = subscriber.inFlight, now - flight.since > Self.verdict {
                drop(subscriber, "no verdict on revision \(flight.revision)")
            } else if now - subscriber.spoken >= Self.keepAlive, !subscriber.keepAlive(now: now) {
                drop(subscriber, "it does not read")
            }
        }
    }

    /// The broker stops; proxies serve on from what they have.
    func closeAll() {
        for subscriber in subscribers.values {
            subscriber.stream.onEnd = nil
            subscriber.stream.finish(.unavailable, "the broker stops")
        }
        subscribers = [:]
    }

    /// Those that said who they are: gateways first, then by name.
    var proxies: [Subscriber] {
        subscribers.values.filter { $0.hello != nil }.sorted {
            ($0.gateway == nil ? 1 : 0, $0.name) < ($1.gateway == nil ? 1 : 0, $1.name)
        }
    }
}
