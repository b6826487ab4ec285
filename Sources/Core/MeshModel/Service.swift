package typealias ServiceID = UInt32
package typealias EndpointID = UInt32

/// What the bytes of a port mean; it decides the ALPN of a mesh leg, not the peer.
package enum AppProtocol: String, Hashable, Sendable, CaseIterable {
    case http
    case http2
    case grpc
    case tcp
    /// Not said: a capturing sidecar looks at the first bytes. Between proxies it serves both; it counts as TCP for
    /// authorisation.
    case auto

    /// True for the protocols whose requests are routed one by one.
    package var isHTTP: Bool { self == .http || self == .http2 || self == .grpc }

    /// True where requests may come: the port says so, or it does not say.
    package var takesHTTP: Bool { isHTTP || self == .auto }
}

package struct ServicePort: Hashable, Sendable {
    package var name: String
    package var port: UInt16
    package var appProtocol: AppProtocol

    package init(name: String, port: UInt16, appProtocol: AppProtocol) {
        self.name = name
        self.port = port
        self.appProtocol = appProtocol
    }
}

/// How the last hop reaches the workload (PROTOCOLS section 5, `Workload.spec.tls`).
package enum EndpointSecurity: Hashable, Sendable {
    case mesh
    case mutual
    /// Server certificate checked against these roots (PEM text).
    indirect case simple(roots: String)
    case plain
}

/// One workload that serves a service, reachable in this cluster.
package struct Endpoint: Hashable, Sendable {
    /// Stable for (service, workload) over revisions and restarts of the broker.
    package var id: EndpointID
    package var workload: ObjectName
    /// An IP literal.
    package var address: String
    /// Service port → port of the app on the workload.
    package var targetPorts: [UInt16: UInt16]
    package var security: EndpointSecurity
    /// The identity that its mTLS must show.
    package var identity: SPIFFEID
    package var locality: Locality
    package var weight: UInt32
    /// False when no gateway holds it healthy (health reports); a proxy's own view narrows this further.
    package var healthy: Bool

    package init(
        id: EndpointID, workload: ObjectName, address: String, targetPorts: [UInt16: UInt16],
        security: EndpointSecurity, identity: SPIFFEID, locality: Locality, weight: UInt32 = 1, healthy: Bool = true
    ) {
        self.id = id
        self.workload = workload
        self.address = address
        self.targetPorts = targetPorts
        self.security = security
        self.identity = identity
        self.locality = locality
        self.weight = weight
        self.healthy = healthy
    }
}

/// What one member offers of a service in one locality: never a pod (PROTOCOLS section 7).
package struct RemoteCapacity: Hashable, Sendable {
    package var locality: Locality
    package var healthyCount: UInt32
    package var capacity: UInt32

    package init(locality: Locality, healthyCount: UInt32, capacity: UInt32) {
        self.locality = locality
        self.healthyCount = healthyCount
        self.capacity = capacity
    }
}

/// An imported service in one other cluster.
package struct RemoteService: Hashable, Sendable {
    package var cluster: ClusterID
    package var ports: [ServicePort]
    package var capacities: [RemoteCapacity]
    /// The owner's policies, which every gateway on the way runs too.
    package var authorization: Authorization

    package init(
        cluster: ClusterID, ports: [ServicePort], capacities: [RemoteCapacity], authorization: Authorization
    ) {
        self.cluster = cluster
        self.ports = ports
        self.capacities = capacities
        self.authorization = authorization
    }

    package var healthyCount: UInt32 { capacities.reduce(0) { $0 &+ $1.healthyCount } }
}

/// Who may see an exported service.
package enum ExportScope: Hashable, Sendable {
    case none
    case all
    case clusters([ClusterID])

    package func covers(_ cluster: ClusterID) -> Bool {
        switch self {
        case .none: false
        case .all: true
        case .clusters(let clusters): clusters.contains(cluster)
        }
    }

    package var isExported: Bool { self != .none }
}
