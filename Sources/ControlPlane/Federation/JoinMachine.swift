internal import ControlCoding
internal import MeshModel

/// Both ends of `Join`: the sponsor, who takes a token, and the joiner, who trusts what the token's maker says.
enum JoinMachine {
    /// Judges a request without changing anything: layout, signatures, conflicts. The token is the caller's matter.
    static func intent(_ request: JoinRequest, members: MembershipMachine) throws(JoinRefusal) -> JoinIntent {
        let record = request.membership
        guard record.type == .membership, request.bundle.type == .bundle,
            let statement = try? MembershipStatement.decode(record.payload),
            let bundle = try? BundleStatement.decode(request.bundle.payload),
            let name = members.verifier.keyName(of: statement.federationKey)
        else { throw .malformed("the joiner's records cannot be read") }
        guard !members.own.isDead, members.ownRecords != nil else { throw .sponsorUnable }
        guard members.verifier.isSigned(record, .owner, by: statement.federationKey),
            members.verifier.isSigned(request.bundle, .owner, by: statement.federationKey)
        else { throw .badSignature }
        guard bundle.trustDomain == statement.trustDomain else {
            throw .malformed("the bundle is of another trust domain")
        }
        guard name != members.own.signer.keyName else { throw .conflict("this is the sponsor's own federation key") }
        guard !members.dead.contains(name), !members.retired.contains(name) else { throw .keyDead }
        if let known = members.entries[name] {
            guard known.cluster == statement.cluster, known.trustDomain == statement.trustDomain,
                known.statement.epoch == statement.epoch
            else { throw .conflict("the federation key is known as that of \(known.cluster)") }
        }
        if let conflict = members.conflict(statement, name) { throw .conflict(conflict) }
        let roots = Set(bundle.roots.compactMap { members.verifier.rootHash($0) })
        guard roots.count == Set(bundle.roots).count else {
            throw .malformed("the bundle holds something that is no CA certificate")
        }
        if let conflict = members.rootConflict(roots, but: name) { throw .conflict(conflict) }
        return JoinIntent(
            cluster: statement.cluster, trustDomain: statement.trustDomain, federationKey: statement.federationKey,
            tokenSecret: request.tokenSecret, isPlan: request.plan, request: request, statement: statement,
            keyName: name)
    }

    /// Countersigns and admits; a key that we countersigned before gets the stored record again. Nil record: a plan.
    static func sponsor(
        _ intent: JoinIntent, members: inout MembershipMachine
    ) throws(JoinRefusal) -> (membership: SignedRecord?, effects: [MembershipMachine.Effect]) {
        // The state may have moved while the token was bound.
        _ = try self.intent(intent.request, members: members)
        if intent.isPlan { return (nil, []) }
        let name = intent.keyName
        if members.entries[name]?.standing.isAdmitted == true,
            let stored = members.book.record(at: .vouched(owner: name)),
            members.verifier.isSigned(stored, .sponsor, by: members.own.signer.publicKey)
        {
            return (stored, [])
        }
        let record = intent.request.membership
        guard
            let signature = try? members.own.signer.signature(
                role: .sponsor, type: .membership, sequence: record.sequence, payload: record.payload)
        else { throw .sponsorUnable }
        let countersigned = record.adding(signature)
        var effects: [MembershipMachine.Effect] = []
        members.take(countersigned.encoded, from: nil, &effects)
        members.take(intent.request.bundle.encoded, from: nil, &effects)
        // Known already with a newer record, by another sponsor or parted from: the token brings it in again.
        if let known = members.entries[name], !known.standing.isAdmitted {
            effects.append(.row(members.book.keep(countersigned, at: .vouched(owner: name))))
            members.admit(name, .token, &effects)
            members.reconsider(&effects)
        }
        guard members.entries[name]?.standing.isAdmitted == true else {
            throw .conflict("its records are refused; see the sponsor's alarms")
        }
        return (countersigned, effects)
    }

    /// What the joiner sends. Throws `ownKeyDead` after leave or eviction, or before the first `describe`.
    static func request(
        secret: [UInt8], plan: Bool, members: MembershipMachine
    ) throws(FederationError) -> JoinRequest {
        guard !members.own.isDead, let own = members.ownRecords else { throw .ownKeyDead }
        return JoinRequest(tokenSecret: secret, membership: own.membership, bundle: own.bundle, plan: plan)
    }

    /// Takes the sponsor's answer over: the sponsor is admitted and becomes one of ours, then its members by its word.
    /// `trustDomain` is the token's; TLS has proved that the answer is from its broker.
    static func joined(
        _ answer: JoinAnswer, trustDomain: TrustDomain, plan: Bool, members: inout MembershipMachine
    ) throws(FederationError) -> (outcome: JoinOutcome, effects: [MembershipMachine.Effect]) {
        guard !members.own.isDead, let own = members.ownRecords else { throw .ownKeyDead }
        let record = answer.sponsorMembership
        guard record.type == .membership, let statement = try? MembershipStatement.decode(record.payload),
            let name = members.verifier.keyName(of: statement.federationKey)
        else { throw .badAnswer("its membership cannot be read") }
        guard statement.trustDomain == trustDomain else {
            throw .badAnswer("it is of \(statement.trustDomain), not \(trustDomain)")
        }
        guard members.verifier.isSigned(record, .owner, by: statement.federationKey) else {
            throw .badAnswer("its membership is not signed by its federation key")
        }
        guard !members.dead.contains(name) else { throw .badAnswer("\(statement.cluster) left or was evicted") }
        let before = Set(members.members.keys)
        if let conflict = members.conflict(statement, name) { throw .conflict(conflict) }
        var effects: [MembershipMachine.Effect] = []
        if !plan { try keepCountersigned(answer.membership, own.membership, statement, name, &members, &effects) }
        members.take(record.encoded, from: nil, &effects)
        guard members.entries[name] != nil else { throw .badAnswer("its membership is refused") }
        members.usedTokenOf.insert(statement.cluster)
        effects.append(.row(FederationRow(.sponsors, statement.cluster.description, [1])))
        if members.members[statement.cluster] != name { members.admit(name, .token, &effects) }
        members.take(answer.sponsorBundle.encoded, from: nil, &effects)
        for record in answer.records { members.take(record.encoded, from: statement.cluster, &effects) }
        members.reconsider(&effects)
        let pending = members.entries.values.filter { if case .pending = $0.standing { true } else { false } }
        let outcome = JoinOutcome(
            sponsor: statement.cluster, admitted: members.members.keys.filter { !before.contains($0) }.sorted(),
            pending: pending.map(\.cluster).sorted(), exports: answer.exports,
            alreadyJoined: before.contains(statement.cluster))
        return (outcome, effects)
    }

    private static func keepCountersigned(
        _ countersigned: SignedRecord?, _ own: SignedRecord, _ sponsor: MembershipStatement, _ sponsorKey: KeyName,
        _ members: inout MembershipMachine, _ effects: inout [MembershipMachine.Effect]
    ) throws(FederationError) {
        guard let record = countersigned, record.type == .membership, let signature = record.signature(.sponsor),
            signature.keyName == sponsorKey, members.verifier.isSigned(record, .sponsor, by: sponsor.federationKey),
            members.verifier.isSigned(record, .owner, by: members.own.signer.publicKey)
        else { throw .badAnswer("our membership is not countersigned") }
        // The stored answer of an earlier try may hold an older record of ours; what its content is we signed ourselves.
        guard record.sequence <= own.sequence else { throw .badAnswer("it countersigned a record that we never made") }
        effects.append(.row(members.book.keep(record, at: .vouched(owner: members.own.signer.keyName))))
    }
}
