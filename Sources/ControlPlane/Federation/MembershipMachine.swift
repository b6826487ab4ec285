package import ControlCoding
package import MeshModel

/// Who is a member: admission by sponsor, acceptance by hand, conflicts, evictions (PROTOCOLS section 7).
///
/// Sans-I/O: a record, a verb or a change of policy in; effects out. It decides on signed records only; what travels on streams
/// between two members is not its matter. All of its state is in the rows that it emits.
package struct MembershipMachine: Sendable {
    /// How a cluster came in.
    package enum Admission: Hashable, Sendable {
        /// It used our token, or we used its.
        case token
        /// This sponsor countersigned it.
        case sponsor(ClusterID)
        /// `meshfed member accept`.
        case accepted
    }

    package enum Standing: Hashable, Sendable {
        case pending(reason: String)
        case admitted(Admission)
        case gone(reason: String)

        package var isAdmitted: Bool {
            if case .admitted = self { return true }
            return false
        }
    }

    /// What is known of one federation key.
    package struct Entry: Hashable, Sendable {
        package var statement: MembershipStatement
        package var keyName: KeyName
        package var standing: Standing
        package var sequence: UInt64
        /// Names of keys that were replaced by the present one, with their SPKI.
        package var formerKeys: [KeyName: [UInt8]]
        /// Which member brought it, while it is pending.
        package var source: ClusterID?
        package var bundle: TrustBundle?
        /// SHA-256 of the SPKI of the bundle's roots.
        var bundleRoots: Set<[UInt8]>

        package var cluster: ClusterID { statement.cluster }
        package var trustDomain: TrustDomain { statement.trustDomain }
        var roots: Set<[UInt8]> { bundleRoots.union(statement.rootHashes) }
    }

    /// What a change means for the rest of the broker; in order.
    enum Effect {
        case row(FederationRow)
        /// To all open streams but the one it came by.
        case tell(SignedRecord)
        /// Made here: to all open streams.
        case announce(SignedRecord)
        case admitted(ClusterID)
        /// No longer trusted.
        case expelled(ClusterID, TrustDomain)
        /// A member's addresses or bundle.
        case changed(ClusterID)
        case alarm(FederationAlarm)
    }

    /// This cluster itself.
    struct Own: Sendable {
        var cluster: ClusterID
        var trustDomain: TrustDomain
        var signer: FederationSigner
        /// Keys that the present one replaced.
        var formerKeys: Set<KeyName> = []
        var epoch: UInt64 = 1
        /// Left or evicted: nothing is signed any more until a new key is there.
        var isDead = false
        var statement: MembershipStatement
        var roots: Set<[UInt8]> = []
    }

    /// A cluster whose membership ended: its name may return with a higher epoch only.
    struct Grave: Hashable, Sendable {
        var cluster: ClusterID
        var trustDomain: TrustDomain
        var epoch: UInt64
    }

    let verifier: RecordVerifier
    var own: Own
    var book: RecordBook
    var entries: [KeyName: Entry] = [:]
    /// Admitted members by name.
    var members: [ClusterID: KeyName] = [:]
    /// Keys that an applied tombstone ended.
    var dead: Set<KeyName> = []
    var graves: [ClusterID: Grave] = [:]
    /// Replaced keys: their records are ignored.
    var retired: Set<KeyName> = []
    /// Clusters whose token this one used.
    var usedTokenOf: Set<ClusterID> = []
    /// `MeshPolicy.federation.sponsors`; nil: the default.
    var configuredSponsors: Set<ClusterID>?
    var parked: [(encoded: [UInt8], source: ClusterID?)] = []
    var strangeTombstones: [ClusterID: Int] = [:]

    init(cluster: ClusterID, trustDomain: TrustDomain, signer: FederationSigner, verifier: RecordVerifier) {
        self.verifier = verifier
        book = RecordBook(hash: verifier.hash)
        own = Own(
            cluster: cluster, trustDomain: trustDomain, signer: signer,
            statement: MembershipStatement(
                cluster: cluster, trustDomain: trustDomain, federationKey: signer.publicKey, rootHashes: [],
                brokerAddresses: [], gateways: [], epoch: 1))
    }

    /// Members whose countersignature, or tombstone, is enough here.
    var sponsors: Set<ClusterID> { configuredSponsors ?? usedTokenOf }

    func member(_ cluster: ClusterID) -> Entry? { members[cluster].flatMap { entries[$0] } }

    func member(of domain: TrustDomain) -> Entry? {
        members.values.lazy.compactMap { entries[$0] }.first { $0.trustDomain == domain }
    }

    /// Judges one record that `source` sent (nil: it came with a join, or is tried again). Any bytes are safe.
    mutating func take(_ encoded: [UInt8], from source: ClusterID?) -> [Effect] {
        var effects: [Effect] = []
        take(encoded, from: source, &effects)
        return effects
    }

    mutating func take(_ encoded: [UInt8], from source: ClusterID?, _ effects: inout [Effect]) {
        guard !own.isDead, !book.holds(encoded) else { return }
        guard let record = try? SignedRecord.decode(encoded) else {
            return effects.append(.alarm(FederationAlarm(.misbehaviour, source, "sent a record that cannot be read")))
        }
        switch record.type {
        case .membership: takeMembership(record, from: source, &effects)
        case .bundle: takeBundle(record, from: source, &effects)
        case .tombstone: takeTombstone(record, from: source, &effects)
        case .keyRotation: takeRotation(record, from: source, &effects)
        }
    }

    // MARK: Membership records

    private mutating func takeMembership(_ record: SignedRecord, from source: ClusterID?, _ effects: inout [Effect]) {
        guard let statement = try? MembershipStatement.decode(record.payload),
            let name = verifier.keyName(of: statement.federationKey)
        else {
            return effects.append(
                .alarm(FederationAlarm(.misbehaviour, source, "sent a membership that cannot be read")))
        }
        guard !dead.contains(name), !retired.contains(name), !own.formerKeys.contains(name) else { return }
        guard verifier.isSigned(record, .owner, by: statement.federationKey) else {
            return effects.append(
                .alarm(
                    FederationAlarm(
                        .badSignature, source, "sent a membership of \(statement.cluster) that it did not sign")))
        }
        if name == own.signer.keyName { return takeOwn(record, &effects) }
        if entries[name] != nil { return update(name, record, statement, from: source, &effects) }
        if let conflict = conflict(statement, name) {
            park(record.encoded, from: source)
            return effects.append(.alarm(FederationAlarm(.conflict, statement.cluster, conflict)))
        }
        let admission = admission(of: record)
        if admission == nil, let alarm = pendingRefusal(source) { return effects.append(.alarm(alarm)) }
        var entry = Entry(
            statement: statement, keyName: name, standing: .pending(reason: Self.waiting), sequence: record.sequence,
            formerKeys: [:], source: source, bundle: nil, bundleRoots: [])
        if let admission { entry.standing = .admitted(admission) }
        entries[name] = entry
        effects.append(.row(book.keep(record, at: .latest(owner: name, .membership))))
        if admission != nil {
            members[statement.cluster] = name
            effects.append(.row(book.keep(record, at: .vouched(owner: name))))
        }
        effects.append(.row(row(of: entry)))
        effects.append(.tell(record))
        if admission != nil { effects.append(.admitted(statement.cluster)) }
        reconsider(&effects)
    }

    private mutating func update(
        _ name: KeyName, _ record: SignedRecord, _ statement: MembershipStatement, from source: ClusterID?,
        _ effects: inout [Effect]
    ) {
        guard var entry = entries[name] else { return }
        guard statement.cluster == entry.cluster, statement.trustDomain == entry.trustDomain,
            statement.epoch == entry.statement.epoch
        else {
            return effects.append(
                .alarm(
                    FederationAlarm(
                        .conflict, entry.cluster,
                        "its key also signs as \(statement.cluster) (\(statement.trustDomain))")))
        }
        let admission = admission(of: record)
        switch book.judge(record, owner: name) {
        case .equivocation:
            return effects.append(
                .alarm(
                    FederationAlarm(.equivocation, entry.cluster, "two memberships with sequence \(record.sequence)")))
        case .older where admission == nil:
            if source == entry.cluster {
                effects.append(.alarm(FederationAlarm(.replay, entry.cluster, "an old membership: \(record.sequence)")))
            }
            return
        case .same where admission == nil: return
        case .older, .same:
            guard book.record(at: .vouched(owner: name)).map({ $0.sequence < record.sequence }) ?? true else { return }
        case .newer:
            if entry.standing.isAdmitted, let conflict = rootConflict(Set(statement.rootHashes), but: name) {
                return effects.append(.alarm(FederationAlarm(.conflict, entry.cluster, conflict)))
            }
            entry.statement = statement
            entry.sequence = record.sequence
            entries[name] = entry
            effects.append(.row(book.keep(record, at: .latest(owner: name, .membership))))
            if entry.standing.isAdmitted { effects.append(.changed(entry.cluster)) }
        }
        if admission != nil { effects.append(.row(book.keep(record, at: .vouched(owner: name)))) }
        effects.append(.tell(record))
        if !entry.standing.isAdmitted { reconsider(&effects) }
    }

    /// A peer has a record of ours that we do not keep.
    private mutating func takeOwn(_ record: SignedRecord, _ effects: inout [Effect]) {
        switch book.judge(record, owner: own.signer.keyName) {
        case .same, .older: return
        case .newer, .equivocation:
            effects.append(
                .alarm(
                    FederationAlarm(
                        .restored, own.cluster,
                        "a member holds our record \(record.sequence), which this store does not know")))
            book.raise(own.signer.keyName, .membership, to: record.sequence)
            publishOwn(&effects)
        }
    }

    /// Whether a sponsor that counts here countersigned the record.
    private func admission(of record: SignedRecord) -> Admission? {
        guard let signature = record.signature(.sponsor) else { return nil }
        if signature.keyName == own.signer.keyName {
            return verifier.isSigned(record, .sponsor, by: own.signer.publicKey) ? .token : nil
        }
        for cluster in sponsors {
            guard let entry = member(cluster) else { continue }
            let key =
                entry.keyName == signature.keyName
                ? entry.statement.federationKey : entry.formerKeys[signature.keyName]
            if let key, verifier.isSigned(record, .sponsor, by: key) { return .sponsor(cluster) }
        }
        return nil
    }

    /// With whom a newcomer collides; nil when with nobody. Pending ones reserve nothing.
    func conflict(_ statement: MembershipStatement, _ name: KeyName) -> String? {
        let cluster = statement.cluster
        if cluster == own.cluster { return "\(cluster) is this cluster's own name" }
        if statement.trustDomain == own.trustDomain { return "\(cluster) claims our trust domain \(own.trustDomain)" }
        if let known = members[cluster], known != name { return "\(cluster) is known under another federation key" }
        if let other = member(of: statement.trustDomain), other.keyName != name {
            return "\(cluster) claims the trust domain of \(other.cluster), \(statement.trustDomain)"
        }
        if let grave = graves[cluster], statement.epoch <= grave.epoch {
            return "\(cluster) left or was evicted with epoch \(grave.epoch); a return needs a higher one"
        }
        if let grave = graves.values.first(where: { $0.trustDomain == statement.trustDomain && $0.cluster != cluster })
        {
            return "\(cluster) claims the trust domain of the former member \(grave.cluster)"
        }
        return rootConflict(Set(statement.rootHashes), but: name).map { "\(cluster): \($0)" }
    }

    func rootConflict(_ roots: Set<[UInt8]>, but name: KeyName) -> String? {
        if !own.roots.isDisjoint(with: roots) { return "a root of this cluster" }
        for member in members.values where member != name {
            if let entry = entries[member], !entry.roots.isDisjoint(with: roots) { return "a root of \(entry.cluster)" }
        }
        return nil
    }

    private func pendingRefusal(_ source: ClusterID?) -> FederationAlarm? {
        var pending = 0
        var fromSource = 0
        for entry in entries.values {
            guard case .pending = entry.standing else { continue }
            pending += 1
            if entry.source == source { fromSource += 1 }
        }
        if pending >= FederationLimits.pending {
            return FederationAlarm(.pendingFull, source, "\(pending) clusters wait for `meshfed member accept`")
        }
        if source != nil, fromSource >= FederationLimits.pendingPerSource {
            return FederationAlarm(.misbehaviour, source, "brought \(fromSource) clusters that nobody sponsors")
        }
        return nil
    }

    // MARK: What one change makes possible

    static let waiting = "its sponsor is none of ours"

    /// Looks again at what waited: pending ones whose sponsor is known by now, tombstones of new sponsors, parked records.
    mutating func reconsider(_ effects: inout [Effect]) {
        var changed = true
        while changed, !own.isDead {
            changed = applyWaitingTombstones(&effects)
            for name in entries.keys.sorted() {
                guard let entry = entries[name], case .pending = entry.standing else { continue }
                let candidates = [RecordBook.Place.vouched(owner: name), .latest(owner: name, .membership)]
                for record in candidates.compactMap({ book.record(at: $0) }) {
                    guard let admission = admission(of: record), conflict(entry.statement, name) == nil else {
                        continue
                    }
                    effects.append(.row(book.keep(record, at: .vouched(owner: name))))
                    admit(name, admission, &effects)
                    changed = true
                    break
                }
            }
            let waiting = parked
            parked = []
            for item in waiting {
                let before = effects.count
                takeAgain(item.encoded, item.source, &effects)
                // A parked record that only parked itself again changed nothing.
                changed = changed || effects[before...].contains { if case .row = $0 { true } else { false } }
            }
        }
    }

    /// As `take`, but silent about a conflict that was alarmed when the record came.
    private mutating func takeAgain(_ encoded: [UInt8], _ source: ClusterID?, _ effects: inout [Effect]) {
        var fresh: [Effect] = []
        take(encoded, from: source, &fresh)
        effects += fresh.filter { if case .alarm = $0 { false } else { true } }
    }

    mutating func park(_ encoded: [UInt8], from source: ClusterID?) {
        guard !parked.contains(where: { $0.encoded == encoded }) else { return }
        if parked.count >= FederationLimits.parked { parked.removeFirst() }
        parked.append((encoded, source))
    }

    mutating func admit(_ name: KeyName, _ admission: Admission, _ effects: inout [Effect]) {
        guard var entry = entries[name] else { return }
        entry.standing = .admitted(admission)
        entry.source = nil
        entries[name] = entry
        members[entry.cluster] = name
        effects.append(.row(row(of: entry)))
        effects.append(.admitted(entry.cluster))
    }
}
