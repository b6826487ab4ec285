package import MeshModel

/// Everything that a cluster's snapshot is made of.
package struct CompilerInput: Sendable {
    package var cluster: ClusterID
    package var trustDomain: TrustDomain
    package var epoch: UInt64
    package var revision: UInt64
    /// In any order; the result does not depend on it.
    package var objects: [MeshObject]
    /// The cluster's own gateways that are enrolled and live.
    package var gateways: [GatewayAddress]
    /// The admitted members and what their streams have delivered.
    package var members: [MemberInput]
    /// Own bundle and those of the admitted members.
    package var bundles: [TrustBundle]
    /// Endpoints that no gateway holds healthy, by their number.
    package var unhealthy: Set<EndpointID>

    package init(
        cluster: ClusterID, trustDomain: TrustDomain, epoch: UInt64, revision: UInt64, objects: [MeshObject],
        gateways: [GatewayAddress] = [], members: [MemberInput] = [], bundles: [TrustBundle] = [],
        unhealthy: Set<EndpointID> = []
    ) {
        self.cluster = cluster
        self.trustDomain = trustDomain
        self.epoch = epoch
        self.revision = revision
        self.objects = objects
        self.gateways = gateways
        self.members = members
        self.bundles = bundles
        self.unhealthy = unhealthy
    }
}

/// One admitted member with its catalog, nil before its stream delivered one.
package struct MemberInput: Hashable, Sendable {
    /// Its `gateways` stand only as long as the catalog names none.
    package var member: Member
    package var catalog: MemberCatalog?

    package init(member: Member, catalog: MemberCatalog? = nil) {
        self.member = member
        self.catalog = catalog
    }
}

/// A service that a member offers and no import rule covers.
package struct AvailableService: Hashable, Sendable {
    package var cluster: ClusterID
    package var service: ObjectName
    package var ports: [ServicePort]
    package var healthyCount: UInt32

    package init(cluster: ClusterID, service: ObjectName, ports: [ServicePort], healthyCount: UInt32) {
        self.cluster = cluster
        self.service = service
        self.ports = ports
        self.healthyCount = healthyCount
    }
}

/// What comes out: the same for the same input, whatever the order of its parts.
package struct Compilation: Hashable, Sendable {
    package var snapshot: Snapshot
    /// Offered and not imported, sorted by cluster and name.
    package var available: [AvailableService]
    /// What this cluster offers, with whom it offers it to, sorted by name.
    package var exports: [CatalogRecord]
    /// Of the mesh-wide MeshPolicy; nil is the default of PROTOCOLS section 7.
    package var sponsors: [ClusterID]?
    /// Of the Cluster object.
    package var brokerAddresses: [String]
    /// What stands but is probably not meant.
    package var warnings: [ObjectProblem]

    /// What `cluster` may see of this cluster: the records exported to it, without the list of the others.
    package func catalog(for cluster: ClusterID) -> MemberCatalog {
        let records = exports.filter { $0.exportTo.covers(cluster) }.map { record in
            var shown = record
            shown.exportTo = .all
            return shown
        }
        return MemberCatalog(
            cluster: snapshot.cluster, epoch: snapshot.epoch, revision: snapshot.revision,
            gateways: snapshot.gateways, records: records)
    }
}

/// Why a set of objects is refused: every problem between them, sorted by place.
package struct CompileError: Error, Hashable, Sendable, CustomStringConvertible {
    /// As in a manifest's error.
    package static let maximumProblems = 50

    package var problems: [ObjectProblem]
    /// How many more were found.
    package var omitted: Int

    package init(problems: [ObjectProblem]) {
        let sorted = problems.inReadingOrder
        self.problems = Array(sorted.prefix(Self.maximumProblems))
        omitted = max(0, sorted.count - Self.maximumProblems)
    }

    /// One line for each problem.
    package var description: String {
        var lines = problems.map(\.description)
        if omitted > 0 { lines.append("… and \(omitted) more") }
        return lines.joined(separator: "\n")
    }
}

extension [ObjectProblem] {
    var inReadingOrder: [ObjectProblem] {
        sorted {
            ($0.location.file, $0.location.line, $0.subject, $0.path, $0.what)
                < ($1.location.file, $1.location.line, $1.subject, $1.path, $1.what)
        }
    }
}

extension ObjectProblem {
    init(_ metadata: ObjectMetadata, _ subject: String, _ path: String, _ what: String, _ advice: String) {
        self.init(location: metadata.location, subject: subject, path: path, what: what, advice: advice)
    }
}
