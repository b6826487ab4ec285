/// Roots of one trust domain. Bundles are kept apart by domain and never merged.
package struct TrustBundle: Hashable, Sendable {
    package var trustDomain: TrustDomain
    /// DER certificates; empty means that nothing of this domain is accepted.
    package var roots: [[UInt8]]
    package var revokedSerials: [[UInt8]]
    package var sequence: UInt64

    package init(trustDomain: TrustDomain, roots: [[UInt8]], revokedSerials: [[UInt8]] = [], sequence: UInt64 = 0) {
        self.trustDomain = trustDomain
        self.roots = roots
        self.revokedSerials = revokedSerials
        self.sequence = sequence
    }
}

/// Where a gateway takes east-west mTLS.
package struct GatewayAddress: Hashable, Sendable {
    package var name: Label
    /// An IP literal.
    package var address: String
    package var port: UInt16
    package var locality: Locality

    package init(name: Label, address: String, port: UInt16, locality: Locality) {
        self.name = name
        self.address = address
        self.port = port
        self.locality = locality
    }
}

/// Another cluster of the federation, as admitted here.
package struct Member: Hashable, Sendable {
    package var cluster: ClusterID
    package var trustDomain: TrustDomain
    package var gateways: [GatewayAddress]
    package var freshness: Freshness

    package init(cluster: ClusterID, trustDomain: TrustDomain, gateways: [GatewayAddress], freshness: Freshness) {
        self.cluster = cluster
        self.trustDomain = trustDomain
        self.gateways = gateways
        self.freshness = freshness
    }
}

/// A service as this cluster knows it: local endpoints, imports, the owner's policies.
package struct Service: Hashable, Sendable {
    /// Stable for the name over revisions and restarts of the broker.
    package var id: ServiceID
    package var name: ObjectName
    package var ports: [ServicePort]
    package var export: ExportScope
    /// `svc` and `svc.ns` mean the clusterset name.
    package var plainNames: Bool
    package var endpoints: [Endpoint]
    /// Imported only; what is merely available is not here.
    package var remotes: [RemoteService]
    package var traffic: TrafficSettings
    package var limits: [LimitRule]
    package var authorization: Authorization
    /// Nil: the mesh's mode.
    package var mutualTLS: MutualTLSMode?
    /// One for each of its names, in their order; empty before the broker gave any.
    package var virtualAddresses: [VirtualAddress] = []

    package init(id: ServiceID, name: ObjectName, ports: [ServicePort]) {
        self.id = id
        self.name = name
        self.ports = ports
        export = .none
        plainNames = false
        endpoints = []
        remotes = []
        traffic = TrafficSettings()
        limits = []
        authorization = Authorization()
    }

    /// True when a local Service object exists (not only imports).
    package var isLocal = true
    /// The clusterset form if an import or the own export covers it, else the cluster.local form (PROTOCOLS section 3).
    package var meshName: MeshName {
        MeshName(
            service: name.name, namespace: name.namespace,
            scope: export.isExported || !remotes.isEmpty ? .clusterset : .local)
    }
}

/// Everything that the proxies of one cluster route by; immutable, one per revision, the same for both roles.
package struct Snapshot: Hashable, Sendable {
    /// The layout of the encoded form; raised when an older reader would misread it.
    package static let schema: UInt32 = 1

    package var cluster: ClusterID
    package var trustDomain: TrustDomain
    package var epoch: UInt64
    package var revision: UInt64
    package var bundles: [TrustBundle]
    package var members: [Member]
    package var gateways: [GatewayAddress]
    package var services: [Service]
    package var settings: MeshSettings

    package init(cluster: ClusterID, trustDomain: TrustDomain, epoch: UInt64, revision: UInt64) {
        self.cluster = cluster
        self.trustDomain = trustDomain
        self.epoch = epoch
        self.revision = revision
        bundles = []
        members = []
        gateways = []
        services = []
        settings = MeshSettings()
    }
}
