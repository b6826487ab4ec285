/// What one cluster offers of one exported service to the other members (PROTOCOLS section 7); never a pod.
package struct CatalogRecord: Hashable, Sendable {
    package var service: ObjectName
    /// The owner.
    package var cluster: ClusterID
    /// Sorted by number.
    package var ports: [ServicePort]
    /// One for each locality that has a workload, sorted by locality.
    package var capacities: [RemoteCapacity]
    /// The owner's policies, which every gateway on the way runs too.
    package var authorization: Authorization
    /// Whom the owner shows it. The owner filters by it; it is never sent, and `.all` in a received record.
    package var exportTo: ExportScope

    package init(
        service: ObjectName, cluster: ClusterID, ports: [ServicePort], capacities: [RemoteCapacity],
        authorization: Authorization, exportTo: ExportScope = .all
    ) {
        self.service = service
        self.cluster = cluster
        self.ports = ports
        self.capacities = capacities
        self.authorization = authorization
        self.exportTo = exportTo
    }
}

/// All that one member offers here: what its broker's stream has delivered so far, or what this cluster sends to one.
package struct MemberCatalog: Hashable, Sendable {
    /// The owner.
    package var cluster: ClusterID
    /// The incarnation of the owner's broker; a new one means a fresh snapshot.
    package var epoch: UInt64
    package var revision: UInt64
    /// Where the owner's gateways take east-west mTLS, sorted by name.
    package var gateways: [GatewayAddress]
    /// Sorted by service name, one for each.
    package var records: [CatalogRecord]

    package init(
        cluster: ClusterID, epoch: UInt64, revision: UInt64, gateways: [GatewayAddress] = [],
        records: [CatalogRecord]
    ) {
        self.cluster = cluster
        self.epoch = epoch
        self.revision = revision
        self.gateways = gateways
        self.records = records
    }
}
