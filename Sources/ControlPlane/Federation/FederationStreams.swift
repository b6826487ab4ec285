internal import ControlCoding
package import MeshModel

/// Streams: who may open one, what is told on it, what is taken from it.
extension FederationMachine {
    /// A stream whose TLS peer is `/meshfed/broker/*` of `trustDomain`, verified with that domain's bundle. Our Hello is
    /// the first thing to be sent on it.
    package mutating func streamOpened(
        _ id: StreamID, trustDomain: TrustDomain, dialledByUs: Bool, at moment: Moment
    ) -> [FederationAction] {
        guard let member = members.member(of: trustDomain), streams[id] == nil else { return [.close(id, .notAMember)] }
        let peer = member.cluster
        if dialledByUs { withLinks { $0.dialEnded(peer, opened: true) } }
        var actions: [FederationAction] = []
        // The stream that the cluster with the lower name dialled stays; of two by the same side the newer one does.
        let preferred = configuration.cluster < peer
        for other in streams.keys.sorted() where streams[other]?.sync.peer == peer {
            if streams[other]?.sync.isDialledByUs != dialledByUs, dialledByUs != preferred {
                return [.close(id, .duplicate)]
            }
            actions.append(drop(other, .duplicate))
        }
        streams[id] = Stream(
            sync: SyncMachine(peer: peer, isDialledByUs: dialledByUs, now: moment.instant), exchanged: nil, refusal: nil
        )
        let hello = SyncHello(
            cluster: configuration.cluster, version: configuration.version, features: [], wallTime: moment.wall,
            cursor: inbound[peer]?.cursor ?? .none)
        actions.append(.send(id, SyncFrame.hello(hello).encode()))
        return actions
    }

    /// The dial of `cluster` came to nothing.
    package mutating func dialFailed(_ cluster: ClusterID, at moment: Moment) -> [FederationAction] {
        withLinks { $0.dialEnded(cluster, opened: false) }
        return []
    }

    /// The peer or the network ended the stream.
    package mutating func streamClosed(_ id: StreamID, at moment: Moment) -> [FederationAction] {
        if let stream = streams.removeValue(forKey: id) { inbound[stream.sync.peer]?.streamEnded() }
        return []
    }

    private mutating func drop(_ id: StreamID, _ end: StreamEnd) -> FederationAction {
        if let stream = streams.removeValue(forKey: id) { inbound[stream.sync.peer]?.streamEnded() }
        return .close(id, end)
    }

    /// One gRPC message of a stream. Any bytes are safe; frames of streams that ended are dropped.
    package mutating func received(_ id: StreamID, _ bytes: [UInt8], at moment: Moment) -> [FederationAction] {
        guard let outputs = streams[id]?.sync.receive(bytes, now: moment.instant) else { return [] }
        var actions: [FederationAction] = []
        for output in outputs { handle(output, id, at: moment, &actions) }
        return actions
    }

    mutating func tick(_ id: StreamID, at moment: Moment, _ actions: inout [FederationAction]) {
        guard let (isLeaseDue, outputs) = streams[id]?.sync.tick(now: moment.instant) else { return }
        for output in outputs { handle(output, id, at: moment, &actions) }
        guard isLeaseDue, let peer = streams[id]?.sync.peer else { return }
        let lease = streams[id]?.sync.lease(
            cursor: outbound[peer]?.cursor ?? .none, digest: members.book.digest, wall: moment.wall)
        if let lease { actions.append(.send(id, lease.encode())) }
    }

    private mutating func handle(
        _ output: SyncMachine.Output, _ id: StreamID, at moment: Moment, _ actions: inout [FederationAction]
    ) {
        guard let peer = streams[id]?.sync.peer else { return }
        switch output {
        case .send(let frame): actions.append(.send(id, frame.encode()))
        case .opened(let hello):
            withLinks { $0.observe(peer, theirs: hello.wallTime, ours: moment.wall) }
            exchange(id, at: moment, &actions)
            outbound[peer, default: OutboundCatalog()].resume(at: hello.cursor)
            publish(id, whole: outbound[peer]?.cursor == CatalogCursor.none, at: moment, &actions)
            sendLease(id, peer, at: moment, &actions)
        case .records(let records): take(records, id, peer, at: moment, &actions)
        case .delta(let delta):
            let outcome = inbound[peer, default: InboundCatalog(owner: peer)].take(delta)
            settle(outcome, id, peer, at: moment, &actions)
        case .chunk(let chunk, let byteCount):
            let outcome = inbound[peer, default: InboundCatalog(owner: peer)].take(chunk, byteCount: byteCount)
            settle(outcome, id, peer, at: moment, &actions)
        case .lease(let lease): renew(lease, id, peer, at: moment, &actions)
        case .acked(let cursor, let refused): acked(cursor, refused, id, peer, at: moment, &actions)
        case .end(let end):
            if case .violation(let text) = end { misbehaved(peer, text, at: moment, &actions) }
            if case .quota(let text) = end { misbehaved(peer, text, at: moment, &actions) }
            actions.append(drop(id, end))
        }
    }

    private mutating func misbehaved(
        _ peer: ClusterID, _ text: String, at moment: Moment, _ actions: inout [FederationAction]
    ) {
        let alarm = FederationAlarm(.misbehaviour, peer, text)
        if mayRaise(alarm, at: moment.instant) { actions.append(.alarm(alarm)) }
    }

    // MARK: Telling

    /// The first lease goes out at once: the peer's data is confirmed, not only in five seconds.
    private mutating func sendLease(
        _ id: StreamID, _ peer: ClusterID, at moment: Moment, _ actions: inout [FederationAction]
    ) {
        let lease = streams[id]?.sync.lease(
            cursor: outbound[peer]?.cursor ?? .none, digest: members.book.digest, wall: moment.wall)
        if let lease { actions.append(.send(id, lease.encode())) }
    }

    /// All signed records, verbatim.
    private mutating func exchange(_ id: StreamID, at moment: Moment, _ actions: inout [FederationAction]) {
        streams[id]?.exchanged = moment.instant
        for frame in Self.frames(of: members.book.all.map(\.encoded)) { actions.append(.send(id, frame.encode())) }
    }

    /// The own catalog as the peer may see it.
    mutating func publish(
        _ id: StreamID, whole: Bool, at moment: Moment, _ actions: inout [FederationAction]
    ) {
        guard let catalog, let stream = streams[id], stream.sync.isOpen else { return }
        let peer = stream.sync.peer
        let frames = outbound[peer, default: OutboundCatalog()].frames(
            of: catalog, for: peer, whole: whole, at: moment.instant)
        for frame in frames { actions.append(.send(id, frame.encode())) }
    }

    private mutating func acked(
        _ cursor: CatalogCursor, _ refused: String?, _ id: StreamID, _ peer: ClusterID, at moment: Moment,
        _ actions: inout [FederationAction]
    ) {
        streams[id]?.refusal = refused == Self.gap ? nil : refused
        guard refused == Self.gap, outbound[peer]?.maySendWhole(at: moment.instant) ?? true else { return }
        publish(id, whole: true, at: moment, &actions)
    }

    // MARK: Taking

    /// "What you sent does not follow on what I hold."
    private static let gap = "gap"

    private mutating func take(
        _ records: [[UInt8]], _ id: StreamID, _ peer: ClusterID, at moment: Moment, _ actions: inout [FederationAction]
    ) {
        var effects: [MembershipMachine.Effect] = []
        var isOverQuota = false
        for record in records {
            if members.book.holds(record) { continue }
            guard streams[id]?.sync.mayVerify(now: moment.instant) == true else {
                isOverQuota = true
                break
            }
            members.take(record, from: peer, &effects)
        }
        actions += finish(effects, from: id, at: moment)
        guard isOverQuota, streams[id] != nil else { return }
        misbehaved(peer, "sent too many new records", at: moment, &actions)
        actions.append(drop(id, .quota("too many new records")))
    }

    private mutating func settle(
        _ outcome: InboundCatalog.Outcome, _ id: StreamID, _ peer: ClusterID, at moment: Moment,
        _ actions: inout [FederationAction]
    ) {
        let cursor = inbound[peer]?.cursor ?? .none
        switch outcome {
        case .partial: return
        case .repeated: actions.append(.send(id, SyncFrame.ack(cursor, refused: nil).encode()))
        case .gap: actions.append(.send(id, SyncFrame.ack(cursor, refused: Self.gap).encode()))
        case .moved(let rows):
            guard let catalog = inbound[peer] else { return }
            let heard = links.links[peer]?.heardWall ?? moment.wall
            actions.append(.persist(rows + [catalog.cursorRow(heard: heard)]))
            actions.append(.send(id, SyncFrame.ack(cursor, refused: nil).encode()))
            actions.append(.viewChanged)
        case .quota(let text):
            misbehaved(peer, text, at: moment, &actions)
            actions.append(.send(id, SyncFrame.ack(cursor, refused: "quota: \(text)").encode()))
        }
    }

    /// A lease counts when what is held here is what the owner says it has: the age of the data, not of the connection.
    private mutating func renew(
        _ lease: SyncLease, _ id: StreamID, _ peer: ClusterID, at moment: Moment, _ actions: inout [FederationAction]
    ) {
        withLinks { $0.observe(peer, theirs: lease.wallTime, ours: moment.wall) }
        if !lease.recordsDigest.isEmpty, lease.recordsDigest != members.book.digest,
            streams[id]?.exchanged.map({ moment.instant - $0 >= FederationLimits.exchangeInterval }) ?? true
        {
            exchange(id, at: moment, &actions)
        }
        let held = inbound[peer]?.cursor ?? .none
        guard held == lease.cursor else {
            return actions.append(.send(id, SyncFrame.ack(held, refused: Self.gap).encode()))
        }
        if withLinks({ $0.renew(peer, at: moment) }) { actions.append(.linksChanged(links.states)) }
        if withLinks({ $0.isWriteDue(peer, at: moment) }) {
            let catalog = inbound[peer] ?? InboundCatalog(owner: peer)
            actions.append(.persist([catalog.cursorRow(heard: moment.wall)]))
        }
    }
}
