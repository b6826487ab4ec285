package import MeshModel

/// `meshfed snapshot build`: objects alone → a snapshot, with Member and Gateway objects in place of a federation.
package enum StandaloneCompiler {
    /// Compiles `objects` for `cluster`; the trust domain is that of its Cluster object, else `<cluster>.mesh`.
    ///
    /// Numbers are given in the order of names, so the same objects make the same snapshot. Bundles hold what Member
    /// objects carry; a proxy adds its own by `--bundle`.
    ///
    /// - Parameter revision: of the snapshot; the epoch is 1.
    /// - Throws: `CompileError`.
    package static func compile(_ objects: [MeshObject], cluster: ClusterID, revision: UInt64 = 1)
        throws(CompileError) -> Compilation
    {
        let index = ObjectIndex(objects)
        let own = index.clusters.first { $0.body.cluster == cluster }
        guard let domain = own?.body.trustDomain ?? TrustDomain("\(cluster).mesh") else {
            preconditionFailure("a label and .mesh make a trust domain")
        }
        var problems: [ObjectProblem] = []
        var domains: [TrustDomain: String] = [domain: "this cluster"]
        var members: [MemberInput] = []
        var bundles: [TrustBundle] = []
        for object in index.members {
            let name = ClusterID(object.metadata.name)
            if name == cluster {
                problems.append(object.problem("metadata.name", "is the own cluster", "a Member is another cluster"))
            }
            if let other = domains[object.body.trustDomain] {
                problems.append(
                    object.problem(
                        "spec.trustDomain", "is that of \(other) too", "each cluster has its own trust domain"))
            }
            domains[object.body.trustDomain] = object.subject
            if let roots = PEMText.certificates(object.body.bundle) {
                bundles.append(TrustBundle(trustDomain: object.body.trustDomain, roots: roots))
            }
            members.append(input(object, name, &problems))
        }
        guard problems.isEmpty else { throw CompileError(problems: problems + index.problems) }
        var identifiers = IDTable()
        var compilation = try SnapshotCompiler.compile(
            CompilerInput(
                cluster: cluster, trustDomain: domain, epoch: 1, revision: revision, objects: objects,
                gateways: index.gateways.map { gateway in
                    GatewayAddress(
                        name: gateway.metadata.name, address: gateway.body.address, port: gateway.body.port,
                        locality: gateway.body.locality)
                }, members: members, bundles: bundles),
            identifiers: &identifiers, standalone: true)
        var addresses = AddressPool()
        addresses.assign(&compilation.snapshot, now: WallTime(seconds: 0))
        return compilation
    }

    /// The owner's policies are not in a Member object: the consumer's gateway lets every caller pass, and the owner's
    /// own gateway and sidecars decide.
    private static let ownerDecides = Authorization(rules: [
        AuthorizationRule(name: "standalone#0", action: .allow, callers: [.any])
    ])

    /// Several offers of one service are its localities; their ports must agree.
    private static func input(
        _ object: Placed<MemberObject>, _ name: ClusterID, _ problems: inout [ObjectProblem]
    ) -> MemberInput {
        var records: [ObjectName: CatalogRecord] = [:]
        for (position, offer) in object.body.services.enumerated() {
            guard var record = records[offer.name] else {
                records[offer.name] = CatalogRecord(
                    service: offer.name, cluster: name, ports: offer.ports, capacities: [offer.capacity],
                    authorization: ownerDecides)
                continue
            }
            if record.ports != offer.ports
                || record.capacities.contains(where: { $0.locality == offer.capacity.locality })
            {
                problems.append(
                    object.problem(
                        "spec.services[\(position)]", "\(offer.name) is there twice",
                        "several entries of a service have the same ports and each its own region and zone"))
            }
            record.capacities.append(offer.capacity)
            records[offer.name] = record
        }
        return MemberInput(
            member: Member(
                cluster: name, trustDomain: object.body.trustDomain, gateways: object.body.gateways, freshness: .fresh),
            catalog: MemberCatalog(
                cluster: name, epoch: 1, revision: 1, gateways: object.body.gateways,
                records: records.values.sorted { $0.service < $1.service }))
    }
}
