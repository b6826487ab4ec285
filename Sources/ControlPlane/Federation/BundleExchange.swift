internal import ControlCoding
internal import MeshModel

/// Bundles: one record of each owner, signed by its federation key, so that a root can be replaced under it. Key rotations.
extension MembershipMachine {
    mutating func takeBundle(_ record: SignedRecord, from source: ClusterID?, _ effects: inout [Effect]) {
        guard let name = record.signature(.owner)?.keyName, name != own.signer.keyName, !dead.contains(name),
            !retired.contains(name)
        else { return }
        guard var entry = entries[name] else { return park(record.encoded, from: source) }
        guard verifier.isSigned(record, .owner, by: entry.statement.federationKey) else {
            return effects.append(
                .alarm(FederationAlarm(.badSignature, source, "sent a bundle of \(entry.cluster) that it did not sign"))
            )
        }
        guard let statement = try? BundleStatement.decode(record.payload), statement.trustDomain == entry.trustDomain
        else {
            return effects.append(
                .alarm(FederationAlarm(.misbehaviour, entry.cluster, "signed a bundle that is not one of its domain")))
        }
        switch book.judge(record, owner: name) {
        case .same: return
        case .older:
            if source == entry.cluster {
                effects.append(
                    .alarm(FederationAlarm(.replay, entry.cluster, "an old bundle: sequence \(record.sequence)")))
            }
            return
        case .equivocation:
            return effects.append(
                .alarm(FederationAlarm(.equivocation, entry.cluster, "two bundles with sequence \(record.sequence)")))
        case .newer: break
        }
        var roots: Set<[UInt8]> = []
        for root in statement.roots {
            guard let hash = verifier.rootHash(root) else {
                return effects.append(
                    .alarm(FederationAlarm(.misbehaviour, entry.cluster, "signed a bundle with a root that is none")))
            }
            roots.insert(hash)
        }
        if let conflict = rootConflict(roots, but: name) {
            return effects.append(.alarm(FederationAlarm(.conflict, entry.cluster, conflict)))
        }
        entry.bundleRoots = roots
        entry.bundle = TrustBundle(
            trustDomain: statement.trustDomain, roots: statement.roots, revokedSerials: statement.revokedSerials,
            sequence: record.sequence)
        entries[name] = entry
        effects.append(.row(book.keep(record, at: .latest(owner: name, .bundle))))
        effects.append(.tell(record))
        if entry.standing.isAdmitted { effects.append(.changed(entry.cluster)) }
    }

    /// A member replaces its federation key: signed by the pinned one and by the new one.
    mutating func takeRotation(_ record: SignedRecord, from source: ClusterID?, _ effects: inout [Effect]) {
        guard let statement = try? KeyRotationStatement.decode(record.payload),
            let old = verifier.keyName(of: statement.oldKey), let new = verifier.keyName(of: statement.newKey),
            old != new
        else {
            return effects.append(.alarm(FederationAlarm(.misbehaviour, source, "sent a rotation that cannot be read")))
        }
        guard !retired.contains(old), !dead.contains(old), old != own.signer.keyName, !own.formerKeys.contains(old)
        else {
            return
        }
        guard var entry = entries[old] else { return park(record.encoded, from: source) }
        guard verifier.isSigned(record, .oldKey, by: statement.oldKey),
            verifier.isSigned(record, .newKey, by: statement.newKey), statement.cluster == entry.cluster
        else {
            return effects.append(
                .alarm(
                    FederationAlarm(.badSignature, source, "sent a rotation of \(entry.cluster) that it did not sign")))
        }
        guard entries[new] == nil, new != own.signer.keyName, !dead.contains(new), !retired.contains(new) else {
            return effects.append(
                .alarm(FederationAlarm(.conflict, entry.cluster, "rotates to a federation key that is known already")))
        }
        guard entry.formerKeys.count < FederationLimits.rotations else {
            return effects.append(
                .alarm(FederationAlarm(.misbehaviour, entry.cluster, "rotated its key too often; it has to join again"))
            )
        }
        entry.formerKeys[old] = statement.oldKey
        entry.statement.federationKey = statement.newKey
        entry.keyName = new
        entry.sequence = 0
        entries[old] = nil
        entries[new] = entry
        retired.insert(old)
        if members[entry.cluster] == old { members[entry.cluster] = new }
        effects.append(.row(book.keep(record, at: .rotation(old: old))))
        // The vouched record stays: it begins the chain for those who have to follow it.
        let left: [RecordBook.Place] = [.latest(owner: old, .membership), .latest(owner: old, .bundle)]
        effects += left.compactMap { book.drop($0) }.map(Effect.row)
        effects.append(.row(FederationRow(.members, old.description, nil)))
        effects.append(.row(row(of: entry)))
        effects.append(.tell(record))
        reconsider(&effects)
    }
}
