package import ControlCoding
package import MeshModel

/// What the Compiler needs of the federation. Members that are pending or gone are not in it.
package struct FederationView: Hashable, Sendable {
    /// Admitted members with their gateways and the age of their data, by name.
    package var members: [Member]
    /// One for each member that has shown one, by trust domain; never the own.
    package var bundles: [TrustBundle]
    /// What each member offers here, by name; not yet narrowed by import rules.
    package var catalogs: [MemberCatalog]
}

/// One cluster for `member list` and `status`.
package struct FederationMemberStatus: Hashable, Sendable {
    package var statement: MembershipStatement
    package var keyName: KeyName
    package var standing: MembershipMachine.Standing
    package var sequence: UInt64
    /// Who countersigned, where it is known.
    package var sponsor: ClusterID?
    /// Nil unless admitted.
    package var freshness: Freshness?
    /// Time since the last good lease; nil when there was none in this run.
    package var age: Duration?
    package var isConnected: Bool
    /// Its wall clock minus ours, in seconds.
    package var skew: Int64?
    package var serviceCount: Int
    package var version: String
    /// Why it refused what we sent last.
    package var refusal: String?
}

extension FederationMachine {
    package var view: FederationView {
        let entries = members.members.values.compactMap { members.entries[$0] }.sorted { $0.cluster < $1.cluster }
        return FederationView(
            members: entries.map { entry in
                Member(
                    cluster: entry.cluster, trustDomain: entry.trustDomain, gateways: entry.statement.gateways,
                    freshness: links.links[entry.cluster]?.freshness ?? .gone)
            },
            bundles: entries.compactMap(\.bundle).sorted { $0.trustDomain < $1.trustDomain },
            catalogs: entries.compactMap { entry in
                inbound[entry.cluster].map { catalog in
                    MemberCatalog(
                        cluster: entry.cluster, epoch: catalog.cursor.epoch, revision: catalog.cursor.revision,
                        gateways: entry.statement.gateways.sorted { $0.name < $1.name }, records: catalog.sorted)
                }
            })
    }

    /// The trust domain whose broker may open `Sync`: that of an admitted member.
    package func isMember(_ trustDomain: TrustDomain) -> Bool { members.member(of: trustDomain) != nil }

    /// Addresses, key and epoch of this cluster as its membership record says them.
    package var ownStatement: MembershipStatement { members.own.statement }
    package var ownKeyName: KeyName { members.own.signer.keyName }
    /// Sequence of the own record of a type; 0 before the first.
    package func ownSequence(_ type: RecordType) -> UInt64 {
        members.book.highestSequence(members.own.signer.keyName, type)
    }

    /// All clusters that are known: admitted, pending, gone; by name.
    package func status(at now: Instant) -> [FederationMemberStatus] {
        members.entries.values.sorted { ($0.cluster, $0.keyName) < ($1.cluster, $1.keyName) }.map { entry in
            let isAdmitted = entry.standing.isAdmitted
            let link = isAdmitted ? links.links[entry.cluster] : nil
            let stream = isAdmitted ? streams.values.first { $0.sync.peer == entry.cluster } : nil
            return FederationMemberStatus(
                statement: entry.statement, keyName: entry.keyName, standing: entry.standing, sequence: entry.sequence,
                sponsor: sponsor(of: entry), freshness: link?.freshness, age: link?.heard.map { now - $0 },
                isConnected: stream?.sync.isOpen ?? false, skew: link?.skew,
                serviceCount: isAdmitted ? inbound[entry.cluster]?.records.count ?? 0 : 0,
                version: stream?.sync.peerVersion ?? "", refusal: stream?.refusal)
        }
    }

    private func sponsor(of entry: MembershipMachine.Entry) -> ClusterID? {
        let places = [RecordBook.Place.vouched(owner: entry.keyName), .latest(owner: entry.keyName, .membership)]
        guard let name = places.lazy.compactMap({ members.book.record(at: $0)?.signature(.sponsor)?.keyName }).first
        else {
            return nil
        }
        if name == members.own.signer.keyName || members.own.formerKeys.contains(name) { return members.own.cluster }
        return members.entries.values.first { $0.keyName == name || $0.formerKeys[name] != nil }?.cluster
    }
}
