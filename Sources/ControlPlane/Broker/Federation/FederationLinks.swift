internal import Federation
internal import Identity
internal import MeshModel
internal import Reactor
internal import RPC
internal import Wire

/// The Sync streams: those that members open here, and those that are dialled from here.
final class FederationLinks {
    static let path = "/meshfed.federation.v1.Federation/Sync"
    /// A dialled stream on which nothing came is given up: earlier than the machine does it.
    private static let dialTimeout = Duration.seconds(8)
    /// Before the first dial of a member: one that has just joined is still writing down that it did.
    private static let courtesy = Duration.milliseconds(200)
    /// How long the peer has to end a stream that was ended here.
    private static let closing = Duration.seconds(2)

    private struct Link {
        let stream: RPCStream
        /// Nil for a stream that the peer opened.
        let channel: RPCChannel?
    }

    private unowned let broker: Broker
    private var links: [Federation.StreamID: Link] = [:]
    private var dials: [ClusterID: UInt64] = [:]
    private var attempts: [ClusterID: Int] = [:]
    private var nextStream: UInt64 = 1

    init(_ broker: Broker) { self.broker = broker }

    /// How many streams are open or under way.
    var count: Int { links.count }

    private func makeID() -> Federation.StreamID {
        defer { nextStream += 1 }
        return Federation.StreamID(nextStream)
    }

    // MARK: Accepting

    /// A stream on 15012.
    func accept(_ stream: RPCStream) {
        guard let peer = stream.peer.identity, case .broker = peer.id.kind,
            broker.federation.machine.isMember(peer.trustDomain)
        else {
            broker.counts.refusedCalls += 1
            return stream.finish(.permissionDenied, "only brokers of admitted members may sync")
        }
        let id = makeID()
        links[id] = Link(stream: stream, channel: nil)
        watch(id, stream)
        let domain = peer.trustDomain
        broker.federation.run { machine, moment in
            machine.streamOpened(id, trustDomain: domain, dialledByUs: false, at: moment)
        }
    }

    private func watch(_ id: Federation.StreamID, _ stream: RPCStream) {
        stream.onMessage = { [unowned self] bytes in
            broker.federation.run { machine, moment in machine.received(id, bytes, at: moment) }
        }
        stream.onEnd = { [unowned self] _ in ended(id) }
        // A peer that sends no more has ended its part of the conversation, and so the whole of it.
        stream.onHalfClose = { [unowned self, unowned stream] in
            stream.finish()
            ended(id)
        }
    }

    private func ended(_ id: Federation.StreamID) {
        guard let link = links.removeValue(forKey: id) else { return }
        link.channel?.close()
        broker.federation.run { machine, moment in machine.streamClosed(id, at: moment) }
    }

    // MARK: Dialling

    /// The machine asked for it. The stream counts as open with the peer's first frame: only then has TLS shown who it is and
    /// the peer agreed to talk.
    func dial(_ cluster: ClusterID, _ addresses: [String]) {
        let attempt = attempts[cluster, default: 0]
        attempts[cluster] = attempt &+ 1
        guard attempt == 0 else { return call(cluster, addresses, attempt) }
        broker.loop.after(Self.courtesy) { [weak self] in self?.call(cluster, addresses, attempt) }
    }

    private func call(_ cluster: ClusterID, _ addresses: [String], _ attempt: Int) {
        guard let member = broker.federation.machine.view.members.first(where: { $0.cluster == cluster }),
            let target = DialTarget.of(addresses, attempt: attempt)
        else { return failed(cluster) }
        broker.counts.dials += 1
        let domain = member.trustDomain
        let channel = broker.loop.channel(
            target,
            security: .tls(
                context: { [unowned broker] in broker.trust.client }, serverName: DialTarget.serverName(cluster),
                accepts: { peer in
                    guard case .broker = peer.id.kind else { return false }
                    return peer.trustDomain == domain
                }))
        let stream = channel.stream(Self.path)
        let number = nextStream
        let id = makeID()
        dials[cluster] = number
        stream.onMessage = { [unowned self] bytes in
            guard dials[cluster] == number else { return stream.cancel() }
            dials[cluster] = nil
            attempts[cluster] = nil
            links[id] = Link(stream: stream, channel: channel)
            watch(id, stream)
            broker.federation.run { machine, moment in
                machine.streamOpened(id, trustDomain: domain, dialledByUs: true, at: moment)
            }
            // The machine may have closed it at once: a duplicate.
            guard links[id] != nil else { return }
            broker.federation.run { machine, moment in machine.received(id, bytes, at: moment) }
        }
        stream.onEnd = { [unowned self] end in
            channel.close()
            guard dials[cluster] == number else { return }
            dials[cluster] = nil
            broker.log.info("dial failed", ["cluster": "\(cluster)", "address": "\(target)", "reason": "\(end)"])
            failed(cluster)
        }
        broker.loop.after(Self.dialTimeout) { [weak self] in
            guard let self, dials[cluster] == number else { return }
            dials[cluster] = nil
            stream.cancel()
            channel.close()
            failed(cluster)
        }
    }

    private func failed(_ cluster: ClusterID) {
        broker.counts.failedDials += 1
        broker.federation.run { machine, moment in machine.dialFailed(cluster, at: moment) }
    }

    // MARK: What the machine says

    func send(_ id: Federation.StreamID, _ bytes: [UInt8]) {
        guard let link = links[id] else { return }
        guard !link.stream.send(bytes) else { return }
        // The peer does not read: what waits for it is bounded, so the stream ends and begins anew.
        link.stream.cancel()
        ended(id)
    }

    /// Ends a stream behind what was sent on it.
    func close(_ id: Federation.StreamID, _ end: StreamEnd) {
        guard let link = links.removeValue(forKey: id) else { return }
        link.stream.onMessage = nil
        link.stream.onHalfClose = nil
        guard let channel = link.channel else { return link.stream.finish(Self.status(end), end.word) }
        link.stream.onEnd = { _ in channel.close() }
        // A caller has no trailers to say why; what was sent before goes out first.
        link.stream.finish()
        broker.loop.after(Self.closing) { channel.close() }
    }

    /// The broker stops: peers dial again when it is back.
    func closeAll() {
        for link in links.values {
            link.stream.onEnd = nil
            if let channel = link.channel {
                channel.close()
            } else {
                link.stream.finish(.unavailable, "the broker stops")
            }
        }
        links = [:]
    }

    private static func status(_ end: StreamEnd) -> GRPCStatus {
        switch end {
        case .duplicate: .aborted
        case .silent: .deadlineExceeded
        case .notAMember: .permissionDenied
        case .leaving: .ok
        case .violation: .invalidArgument
        case .quota: .resourceExhausted
        case .incompatible: .failedPrecondition
        }
    }
}

/// Addresses as records and tokens carry them → whom a channel dials.
enum DialTarget {
    /// Literals all together, in their order; a name by turns, one for each attempt.
    static func of(_ addresses: [String], attempt: Int = 0) -> RPCTarget? {
        let places = addresses.compactMap { HostPort($0) }
        guard !places.isEmpty else { return nil }
        let literals = places.compactMap { SocketAddress(ip: $0.host, port: $0.port) }
        if literals.count == places.count { return .addresses(literals) }
        let place = places[Int(attempt.magnitude % UInt(places.count))]
        return .tcp(host: place.host, port: place.port)
    }

    /// The SNI towards a broker; it decides nothing there.
    static func serverName(_ cluster: ClusterID) -> String { "broker.\(cluster).meshfed" }
}
