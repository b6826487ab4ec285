internal import ControlCoding
internal import MeshModel

/// The ends of memberships: tombstones of others, our own verbs, and what is left of us when somebody ends ours.
extension MembershipMachine {
    mutating func takeTombstone(_ record: SignedRecord, from source: ClusterID?, _ effects: inout [Effect]) {
        guard let statement = try? TombstoneStatement.decode(record.payload),
            let subject = verifier.keyName(of: statement.federationKey), let signer = record.signature(.owner)?.keyName
        else {
            return effects.append(
                .alarm(FederationAlarm(.misbehaviour, source, "sent a tombstone that cannot be read")))
        }
        guard book.record(at: .tombstone(subject: subject, signer: signer)) == nil else { return }
        guard let key = key(named: signer, or: subject, statement.federationKey) else {
            return park(record.encoded, from: source)
        }
        guard verifier.isSigned(record, .owner, by: key) else {
            return effects.append(
                .alarm(
                    FederationAlarm(
                        .badSignature, source, "sent a tombstone of \(statement.cluster) that is not signed")))
        }
        if let entry = entries[subject], entry.cluster != statement.cluster || entry.statement.epoch != statement.epoch
        {
            return effects.append(
                .alarm(FederationAlarm(.misbehaviour, source, "sent a tombstone that does not fit \(entry.cluster)")))
        }
        if let refusal = tombstoneRefusal(subject, source) { return effects.append(.alarm(refusal)) }
        effects.append(.row(book.keep(record, at: .tombstone(subject: subject, signer: signer))))
        if subject == own.signer.keyName || own.formerKeys.contains(subject) {
            return evicted(by: signer, statement.reason, &effects)
        }
        effects.append(.tell(record))
        if counts(signer, against: subject) {
            bury(subject, statement, by: signer, &effects)
            reconsider(&effects)
        } else if let entry = entries[subject], entry.standing.isAdmitted {
            let evictor = entries[signer].map { "\($0.cluster)" } ?? "a former member"
            effects.append(
                .alarm(
                    FederationAlarm(
                        .eviction, entry.cluster,
                        "\(evictor) evicted it; that is no sponsor of ours: `meshfed evict \(entry.cluster)` to follow")
                ))
        }
    }

    /// The SPKI behind a signer's name: the subject itself, us, or a cluster that we know as a member or former member.
    private func key(named signer: KeyName, or subject: KeyName, _ subjectKey: [UInt8]) -> [UInt8]? {
        if signer == subject { return subjectKey }
        if signer == own.signer.keyName { return own.signer.publicKey }
        if let entry = entries[signer] {
            if case .pending = entry.standing { return nil }
            return entry.statement.federationKey
        }
        return entries.values.compactMap { $0.standing.isAdmitted ? $0.formerKeys[signer] : nil }.first
    }

    private mutating func tombstoneRefusal(_ subject: KeyName, _ source: ClusterID?) -> FederationAlarm? {
        guard entries[subject] == nil, let source else { return nil }
        if book.tombstoneCount >= FederationLimits.tombstones {
            return FederationAlarm(.misbehaviour, source, "sent more tombstones than are kept")
        }
        if sponsors.contains(source) { return nil }
        strangeTombstones[source, default: 0] += 1
        guard strangeTombstones[source, default: 0] <= FederationLimits.strangeTombstonesPerSource else {
            return FederationAlarm(.misbehaviour, source, "sent many tombstones of keys that nobody knows")
        }
        return nil
    }

    /// A tombstone ends a membership here when the member itself, this cluster, or a sponsor of ours made it.
    private func counts(_ signer: KeyName, against subject: KeyName) -> Bool {
        if signer == subject || signer == own.signer.keyName { return true }
        return sponsors.contains { cluster in
            guard let entry = member(cluster) else { return false }
            return entry.keyName == signer || entry.formerKeys[signer] != nil
        }
    }

    /// Applies tombstones whose signer became a sponsor only later. True when one did.
    mutating func applyWaitingTombstones(_ effects: inout [Effect]) -> Bool {
        var applied = false
        for name in entries.keys.sorted() {
            guard let entry = entries[name] else { continue }
            if case .gone = entry.standing { continue }
            for record in book.tombstones(of: name) {
                guard let signer = record.signature(.owner)?.keyName, counts(signer, against: name),
                    let statement = try? TombstoneStatement.decode(record.payload)
                else { continue }
                applied = bury(name, statement, by: signer, &effects) || applied
                break
            }
        }
        return applied
    }

    /// Ends what `subject` was here, for good. False when it had ended before.
    @discardableResult
    private mutating func bury(
        _ subject: KeyName, _ statement: TombstoneStatement, by signer: KeyName, _ effects: inout [Effect]
    ) -> Bool {
        guard dead.insert(subject).inserted else { return false }
        guard var entry = entries[subject] else {
            // Never known here: the key is dead, but its word does not close a name.
            effects.append(.row(FederationRow(.members, subject.description, Self.deadRow)))
            return true
        }
        let wasAdmitted = entry.standing.isAdmitted
        let reason =
            signer == subject
            ? "left"
            : "evicted by \(signer == own.signer.keyName ? "this cluster" : entries[signer]?.cluster.description ?? "a sponsor")"
        entry.standing = .gone(reason: statement.reason.isEmpty ? reason : "\(reason): \(statement.reason)")
        entry.source = nil
        entry.bundle = nil
        entry.bundleRoots = []
        entries[subject] = entry
        if wasAdmitted {
            members[entry.cluster] = nil
            let epoch = max(graves[entry.cluster]?.epoch ?? 0, entry.statement.epoch)
            graves[entry.cluster] = Grave(cluster: entry.cluster, trustDomain: entry.trustDomain, epoch: epoch)
        }
        let places: [RecordBook.Place] = [
            .vouched(owner: subject), .latest(owner: subject, .membership), .latest(owner: subject, .bundle),
        ]
        effects += places.compactMap { book.drop($0) }.map(Effect.row)
        for former in entry.formerKeys.keys.sorted() {
            let places: [RecordBook.Place] = [
                .rotation(old: former), .vouched(owner: former), .latest(owner: former, .membership),
                .latest(owner: former, .bundle),
            ]
            effects += places.compactMap { book.drop($0) }.map(Effect.row)
        }
        effects.append(.row(row(of: entry, buried: wasAdmitted)))
        if wasAdmitted { effects.append(.expelled(entry.cluster, entry.trustDomain)) }
        return true
    }

    /// Somebody ended our membership. A sponsor's word puts us out; another member's only parts us from it.
    private mutating func evicted(by signer: KeyName, _ reason: String, _ effects: inout [Effect]) {
        let known = entries.values.filter(\.standing.isAdmitted)
        guard let evictor = known.first(where: { $0.keyName == signer || $0.formerKeys[signer] != nil }) else { return }
        let text = "\(evictor.cluster) evicted this cluster\(reason.isEmpty ? "" : ": \(reason)")"
        effects.append(.alarm(FederationAlarm(.eviction, own.cluster, text)))
        if sponsors.contains(evictor.cluster) {
            standDown(text, &effects)
        } else {
            part(from: evictor.keyName, text, &effects)
        }
    }

    /// Nothing is shared with anybody until a new key joins.
    mutating func standDown(_ reason: String, _ effects: inout [Effect]) {
        for name in members.values.sorted() { part(from: name, reason, &effects) }
        own.isDead = true
        effects += usedTokenOf.sorted().map { .row(FederationRow(.sponsors, $0.description, nil)) }
        usedTokenOf = []
        parked = []
        effects.append(.row(ownRow()))
    }

    /// Takes trust back without a tombstone: a join or `member accept` may restore it.
    private mutating func part(from name: KeyName, _ reason: String, _ effects: inout [Effect]) {
        guard var entry = entries[name], entry.standing.isAdmitted else { return }
        entry.standing = .pending(reason: reason)
        entries[name] = entry
        members[entry.cluster] = nil
        // Without its countersignature by us: that would let it in again at once.
        if let row = book.drop(.vouched(owner: name)) { effects.append(.row(row)) }
        effects.append(.row(row(of: entry)))
        effects.append(.expelled(entry.cluster, entry.trustDomain))
    }

    // MARK: Verbs

    mutating func evict(_ cluster: ClusterID, reason: String) throws(FederationError) -> [Effect] {
        guard let entry = member(cluster) else { throw .unknownMember(cluster) }
        guard !own.isDead else { throw .ownKeyDead }
        var effects: [Effect] = []
        try end(entry.statement, reason: reason, &effects)
        reconsider(&effects)
        return effects
    }

    /// Own tombstone; afterwards nobody is trusted and nothing is signed.
    mutating func leave(reason: String) throws(FederationError) -> [Effect] {
        guard !own.isDead else { throw .ownKeyDead }
        var effects: [Effect] = []
        try end(own.statement, reason: reason, &effects)
        standDown("this cluster left", &effects)
        return effects
    }

    private mutating func end(
        _ statement: MembershipStatement, reason: String, _ effects: inout [Effect]
    ) throws(FederationError) {
        let signer = own.signer.keyName
        guard let sequence = book.nextSequence(signer, .tombstone),
            let subject = verifier.keyName(of: statement.federationKey)
        else { throw .signing }
        let tombstone = TombstoneStatement(
            cluster: statement.cluster, federationKey: statement.federationKey, epoch: statement.epoch, reason: reason)
        let record = try own.signer.record(.tombstone, sequence: sequence, payload: tombstone.encode())
        effects.append(.row(book.keep(record, at: .tombstone(subject: subject, signer: signer))))
        effects.append(.announce(record))
        if subject != signer { bury(subject, tombstone, by: signer, &effects) }
    }

    /// Admits a pending cluster by hand.
    mutating func accept(_ cluster: ClusterID, key: KeyName?) throws(FederationError) -> [Effect] {
        guard !own.isDead else { throw .ownKeyDead }
        let candidates = entries.values.filter { entry in
            guard case .pending = entry.standing else { return false }
            return entry.cluster == cluster && (key == nil || entry.keyName == key)
        }
        guard let entry = candidates.first else {
            throw members[cluster] == nil ? .unknownMember(cluster) : .notPending(cluster)
        }
        guard candidates.count == 1 else { throw .ambiguous(cluster) }
        if let conflict = conflict(entry.statement, entry.keyName) ?? rootConflict(entry.roots, but: entry.keyName) {
            throw .conflict(conflict)
        }
        var effects: [Effect] = []
        admit(entry.keyName, .accepted, &effects)
        reconsider(&effects)
        return effects
    }
}
