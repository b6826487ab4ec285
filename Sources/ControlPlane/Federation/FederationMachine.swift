package import ControlCoding
package import MeshModel

/// What does not change while the broker runs.
package struct FederationConfiguration: Sendable {
    package var cluster: ClusterID
    package var trustDomain: TrustDomain
    package var signer: FederationSigner
    package var verifier: RecordVerifier
    /// Release, told to peers.
    package var version: String
    /// Any number; spreads dials.
    package var random: @Sendable () -> UInt64

    package init(
        cluster: ClusterID, trustDomain: TrustDomain, signer: FederationSigner, verifier: RecordVerifier,
        version: String, random: @escaping @Sendable () -> UInt64
    ) {
        self.cluster = cluster
        self.trustDomain = trustDomain
        self.signer = signer
        self.verifier = verifier
        self.version = version
        self.random = random
    }
}

/// One broker's part in the federation: members, bundles, catalogs, streams, links.
///
/// Sans-I/O. Every event returns actions, in order; put them through an `ActionQueue`, so that nothing is seen before what it
/// rests on is durable. Call `tick` at `deadline` at the latest. A value: a copy is an independent machine (plans use that).
package struct FederationMachine: Sendable {
    struct Stream: Sendable {
        var sync: SyncMachine
        /// When all records were sent last.
        var exchanged: Instant?
        /// Why the peer refused our last frame; nil when it did not.
        var refusal: String?
    }

    let configuration: FederationConfiguration
    var members: MembershipMachine
    package private(set) var links = LinkTable()
    var streams: [StreamID: Stream] = [:]
    var inbound: [ClusterID: InboundCatalog] = [:]
    var outbound: [ClusterID: OutboundCatalog] = [:]
    var catalog: MemberCatalog?
    private var alarms: [FederationAlarm.Kind: [ClusterID?: Instant]] = [:]
    private var needsOwnRow: Bool

    /// Rebuilds the machine from all rows of its tables. Throws `corruptRow`.
    package init(
        _ configuration: FederationConfiguration, rows: [FederationRow], at moment: Moment
    ) throws(FederationError) {
        self.configuration = configuration
        members = MembershipMachine(
            cluster: configuration.cluster, trustDomain: configuration.trustDomain, signer: configuration.signer,
            verifier: configuration.verifier)
        needsOwnRow = !rows.contains { $0.table == .own }
        try members.restore(rows)
        try restoreCatalogs(rows, at: moment)
    }

    private mutating func restoreCatalogs(_ rows: [FederationRow], at moment: Moment) throws(FederationError) {
        var heard: [ClusterID: WallTime] = [:]
        for row in rows where row.table == .cursors {
            guard let cluster = ClusterID(row.key) else { throw .corruptRow(row.table, key: row.key) }
            var catalog = InboundCatalog(owner: cluster)
            guard let wall = catalog.restoreCursor(row) else { throw .corruptRow(row.table, key: row.key) }
            heard[cluster] = wall
            inbound[cluster] = catalog
        }
        for row in rows where row.table == .catalog {
            let owner = row.key.split(separator: "/").first.flatMap { ClusterID(String($0)) }
            guard let owner, inbound[owner]?.restoreRecord(row) == true else {
                throw .corruptRow(row.table, key: row.key)
            }
        }
        for cluster in members.members.keys.sorted() {
            links.add(cluster, since: heard[cluster], at: moment, dialDelay: dialDelay(cluster))
        }
    }

    /// The side whose dialled stream stays dials first; the other waits, so that most pairs dial once.
    func dialDelay(_ cluster: ClusterID) -> Duration {
        configuration.cluster < cluster ? .zero : .milliseconds(500)
    }

    // MARK: Own state

    /// What others are to know of this cluster: after the start, and whenever addresses, gateways or roots change.
    package mutating func describe(
        _ description: OwnDescription, at moment: Moment
    ) throws(FederationError) -> [FederationAction] {
        var effects = try members.describe(description)
        if needsOwnRow {
            effects.insert(.row(members.ownRow()), at: 0)
            needsOwnRow = false
        }
        return finish(effects, from: nil, at: moment)
    }

    /// The own catalog: all services with the scope of their export. Its revision rises within an epoch.
    package mutating func offer(_ catalog: MemberCatalog, at moment: Moment) -> [FederationAction] {
        if let known = self.catalog, known.epoch == catalog.epoch, known.revision >= catalog.revision { return [] }
        self.catalog = catalog
        var actions: [FederationAction] = []
        for stream in streams.keys.sorted() { publish(stream, whole: false, at: moment, &actions) }
        return actions
    }

    /// `MeshPolicy.federation.sponsors`; nil is the default rule.
    package mutating func setSponsors(_ sponsors: [ClusterID]?, at moment: Moment) -> [FederationAction] {
        members.configuredSponsors = sponsors.map(Set.init)
        var effects: [MembershipMachine.Effect] = []
        members.reconsider(&effects)
        return finish(effects, from: nil, at: moment)
    }

    // MARK: Verbs

    /// Ends a membership; everything of it is gone here with the returned actions.
    package mutating func evict(
        _ cluster: ClusterID, reason: String, at moment: Moment
    ) throws(FederationError) -> [FederationAction] {
        let effects = try members.evict(cluster, reason: reason)
        return finish(effects, from: nil, at: moment)
    }

    /// Tells all connected members, then trusts nobody. `told` are those with an open stream.
    package mutating func leave(
        reason: String, at moment: Moment
    ) throws(FederationError) -> (actions: [FederationAction], told: [ClusterID], unreached: [ClusterID]) {
        let known = Set(members.members.keys)
        let told = Set(streams.values.filter(\.sync.isOpen).map(\.sync.peer)).intersection(known)
        let effects = try members.leave(reason: reason)
        let actions = finish(effects, from: nil, at: moment, end: .leaving)
        return (actions, told.sorted(), known.subtracting(told).sorted())
    }

    /// Admits a pending cluster by hand; `key` where several claim the name.
    package mutating func accept(
        _ cluster: ClusterID, key: KeyName?, at moment: Moment
    ) throws(FederationError) -> [FederationAction] {
        let effects = try members.accept(cluster, key: key)
        return finish(effects, from: nil, at: moment)
    }

    /// True after `leave`, or when a sponsor evicted this cluster: `revive` with a new key before the next join.
    package var isOwnKeyDead: Bool { members.own.isDead }

    /// A new federation key after leave or eviction. The key must be durable before.
    package mutating func revive(
        _ signer: FederationSigner, at moment: Moment
    ) throws(FederationError) -> [FederationAction] {
        let effects = try members.revive(signer)
        return finish(effects, from: nil, at: moment)
    }

    /// Replaces the federation key while a member. The key must be durable before.
    package mutating func rotate(
        to signer: FederationSigner, at moment: Moment
    ) throws(FederationError) -> [FederationAction] {
        let effects = try members.rotate(to: signer)
        return finish(effects, from: nil, at: moment)
    }

    // MARK: Joining

    /// As sponsor, first step: judges the bytes of a `JoinRequest` without changing anything.
    package func joinIntent(_ bytes: [UInt8]) throws(JoinRefusal) -> JoinIntent {
        let request: JoinRequest
        do { request = try JoinRequest.decode(bytes) } catch { throw .malformed("\(error)") }
        return try JoinMachine.intent(request, members: members)
    }

    /// As sponsor, last step, after the ledger has bound the token to the key (a plan: after it said that it would). The answer
    /// comes as `answerJoin(call, …)`.
    package mutating func join(_ call: UInt64, _ intent: JoinIntent, at moment: Moment) -> [FederationAction] {
        do throws(JoinRefusal) {
            let (membership, effects) = try JoinMachine.sponsor(intent, members: &members)
            guard let own = members.ownRecords else { throw JoinRefusal.sponsorUnable }
            let kept = [own.membership.encoded, own.bundle.encoded, membership?.encoded]
            let vouched = members.book.record(at: .vouched(owner: members.own.signer.keyName))
            let answer = JoinAnswer(
                membership: membership, sponsorMembership: own.membership, sponsorBundle: own.bundle,
                records: members.book.all.filter { !kept.contains($0.encoded) && $0 != vouched },
                exports: catalog?.records.filter { $0.exportTo.covers(intent.cluster) }.map(\.service) ?? [],
                brokerAddresses: members.own.statement.brokerAddresses)
            return finish(effects, from: nil, at: moment) + [.answerJoin(call, .success(answer.encode()))]
        } catch {
            return [.answerJoin(call, .failure(error))]
        }
    }

    /// As joiner: the bytes of the `JoinRequest`.
    package func joinRequest(tokenSecret: [UInt8], plan: Bool) throws(FederationError) -> [UInt8] {
        try JoinMachine.request(secret: tokenSecret, plan: plan, members: members).encode()
    }

    /// As joiner: takes the sponsor's answer over. `trustDomain` is the token's, and that of the broker that TLS verified.
    package mutating func joined(
        _ answer: [UInt8], trustDomain: TrustDomain, at moment: Moment
    ) throws(FederationError) -> (outcome: JoinOutcome, actions: [FederationAction]) {
        let answer = try decode(answer)
        var next = members
        let (outcome, effects) = try JoinMachine.joined(answer, trustDomain: trustDomain, plan: false, members: &next)
        members = next
        return (outcome, finish(effects, from: nil, at: moment))
    }

    /// As joiner: what `joined` would bring; changes nothing.
    package func planned(_ answer: [UInt8], trustDomain: TrustDomain) throws(FederationError) -> JoinOutcome {
        var trial = members
        let answer = try decode(answer)
        return try JoinMachine.joined(answer, trustDomain: trustDomain, plan: true, members: &trial).outcome
    }

    private func decode(_ bytes: [UInt8]) throws(FederationError) -> JoinAnswer {
        do { return try JoinAnswer.decode(bytes) } catch { throw .badAnswer("\(error)") }
    }

    // MARK: Time

    /// When `tick` has something to do next.
    package func deadline(at now: Instant) -> Instant {
        // Links and dials are looked at once per second while there are members; streams say when.
        let coarse = links.links.isEmpty ? Instant.distantFuture : now + .seconds(1)
        return streams.values.reduce(coarse) { min($0, $1.sync.deadline) }
    }

    /// Leases, dead streams, stale links, dials.
    package mutating func tick(at moment: Moment) -> [FederationAction] {
        var actions: [FederationAction] = []
        for id in streams.keys.sorted() { tick(id, at: moment, &actions) }
        if links.expire(at: moment) { actions.append(.linksChanged(links.states)) }
        let connected = Set(streams.values.map(\.sync.peer))
        for cluster in links.due(connected: connected, at: moment, jitter: configuration.random) {
            let addresses = members.member(cluster)?.statement.brokerAddresses ?? []
            if addresses.isEmpty {
                links.dialEnded(cluster, opened: false)
            } else {
                actions.append(.dial(cluster, addresses: addresses))
            }
        }
        return actions
    }

    // MARK: Effects

    /// Turns effects into actions: first all rows, then what others and the rest of the broker see.
    mutating func finish(
        _ effects: [MembershipMachine.Effect], from source: StreamID?, at moment: Moment, end: StreamEnd = .notAMember
    ) -> [FederationAction] {
        var rows: [FederationRow] = []
        var visible: [FederationAction] = []
        var told: [SignedRecord] = []
        var announced: [SignedRecord] = []
        var linksChanged = false
        var viewChanged = false
        for effect in effects {
            switch effect {
            case .row(let row): rows.append(row)
            case .tell(let record): told.append(record)
            case .announce(let record): announced.append(record)
            case .admitted(let cluster):
                links.add(cluster, since: nil, at: moment, dialDelay: dialDelay(cluster))
                (linksChanged, viewChanged) = (true, true)
            case .expelled(let cluster, let domain):
                // The peer itself hears why before its stream ends.
                visible += tell(announced, but: nil) + tell(told, but: source)
                (announced, told) = ([], [])
                rows += inbound.removeValue(forKey: cluster)?.removal() ?? []
                outbound[cluster] = nil
                links.remove(cluster)
                for id in streams.keys.sorted() where streams[id]?.sync.peer == cluster {
                    streams[id] = nil
                    visible.append(.close(id, end))
                }
                visible.append(.expel(cluster, domain))
                (linksChanged, viewChanged) = (true, true)
            case .changed: viewChanged = true
            case .alarm(let alarm): if mayRaise(alarm, at: moment.instant) { visible.append(.alarm(alarm)) }
            }
        }
        visible += tell(announced, but: nil) + tell(told, but: source)
        if linksChanged { visible.append(.linksChanged(links.states)) }
        if viewChanged { visible.append(.viewChanged) }
        return rows.isEmpty ? visible : [.persist(rows)] + visible
    }

    private func tell(_ records: [SignedRecord], but source: StreamID?) -> [FederationAction] {
        guard !records.isEmpty else { return [] }
        return streams.keys.sorted().flatMap { id -> [FederationAction] in
            guard id != source, streams[id]?.sync.isOpen == true else { return [] }
            return Self.frames(of: records.map(\.encoded)).map { .send(id, $0.encode()) }
        }
    }

    /// Records in frames that the other side takes.
    static func frames(of records: [[UInt8]]) -> [SyncFrame] {
        var frames: [[[UInt8]]] = []
        var length = 0
        for record in records {
            if frames.isEmpty || length + record.count > FederationLimits.sentFrameBytes
                || frames[frames.count - 1].count >= CodingLimits.recordsPerFrame
            {
                frames.append([])
                length = 0
            }
            frames[frames.count - 1].append(record)
            length += record.count + 8
        }
        return frames.map(SyncFrame.records)
    }

    mutating func mayRaise(_ alarm: FederationAlarm, at now: Instant) -> Bool {
        if let last = alarms[alarm.kind]?[alarm.cluster], now - last < FederationLimits.alarmInterval { return false }
        // Names come from peers too: a bounded memory, forgotten whole.
        if alarms[alarm.kind, default: [:]].count >= CodingLimits.members { alarms[alarm.kind] = [:] }
        alarms[alarm.kind, default: [:]][alarm.cluster] = now
        return true
    }
}

extension FederationMachine {
    /// Changes to the private link table, for the stream part of this type.
    mutating func withLinks<Result>(_ body: (inout LinkTable) -> Result) -> Result { body(&links) }
}
