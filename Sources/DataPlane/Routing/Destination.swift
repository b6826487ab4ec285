package import MeshModel

/// What a proxy is in its cluster, as far as routing depends on it.
package enum OwnRole: Hashable, Sendable {
    case sidecar(workload: ObjectName, locality: Locality)
    case gateway(name: Label, locality: Locality)

    var locality: Locality {
        switch self {
        case .sidecar(_, let locality), .gateway(_, let locality): locality
        }
    }

    var isGateway: Bool {
        switch self {
        case .sidecar: false
        case .gateway: true
        }
    }
}

/// The traffic policy of a service, shared by its destinations, and by services that have the same one.
package final class ServiceTraffic: Sendable {
    package let settings: TrafficSettings
    /// Three of them as each request needs them; zero: no limit.
    package let requestTimeout: Wait
    package let perTryTimeout: Wait
    package let idleTimeout: Wait

    init(_ settings: TrafficSettings) {
        self.settings = settings
        requestTimeout = Wait(settings.requestTimeout)
        perTryTimeout = Wait(settings.perTryTimeout)
        idleTimeout = Wait(settings.idleTimeout)
    }
}

/// One (service, port, scope) that can be routed to, with everything that a request on it needs already formatted.
///
/// Immutable and shared by all workers. An exchange may keep it over a snapshot swap for its bytes; to choose a
/// candidate again it asks `RoutingTable.current(_:)` first.
package final class Destination: Sendable {
    package enum Scope: Hashable, Sendable {
        /// Local endpoints and every importing cluster, nearest healthy first.
        case clusterset
        /// The own cluster by its pinned name.
        case pinnedHere
        /// One other member by its pinned name; the index into `Snapshot.members`.
        case pinned(member: Int)
        /// Local endpoints only: plain and `cluster.local` names.
        case local
    }

    /// One other cluster that may serve, in the order in which they are tried.
    struct RemoteChoice: Sendable {
        let member: Int32
        /// Index into `Service.remotes`; -1 for a probe.
        let remote: Int32
        /// Index into `RoutingTable.paths`; -1 for a probe.
        let path: Int32
        let hasHealthy: Bool
        let freshness: Freshness
    }

    /// Where a destination stands, as a plain value: what a request asks tables and counters by, which a reference would retain.
    package struct Place: Sendable {
        let stamp: UInt64
        let index: Int32
        /// Index into `Snapshot.services`; -1 for a probe.
        package let service: Int32

        /// Of no table.
        package static var none: Place { Place(stamp: 0, index: -1, service: -1) }

        package func isSame(as other: Place) -> Bool { stamp == other.stamp && index == other.index }
    }

    /// Position in `RoutingTable.destinations`.
    package let index: Int
    /// Names the table it belongs to.
    let stamp: UInt64
    /// Index into `Snapshot.services`; -1 for a probe.
    package let service: Int
    package let serviceID: ServiceID
    package let port: ServicePort
    package let scope: Scope
    /// The mesh's own probe service, which gateways answer themselves.
    package let isProbe: Bool
    package let address: ServiceAddress
    /// `<port>.<mesh name>`: the SNI of the next leg, and the audience of an assertion.
    package let serverName: [UInt8]
    /// `<mesh name>:<port>`: `:authority` between proxies.
    package let authority: [UInt8]
    /// `<mesh name>`: the metrics label and the AUTHORITY of `meshfed-tcp/1`.
    package let meshName: [UInt8]
    package let namespace: [UInt8]
    /// Timeouts, retries and failover of the service.
    package let traffic: ServiceTraffic
    /// For a sidecar that serves this service: the app's port behind it; 0 otherwise.
    package let ownTargetPort: UInt16
    /// Index into `RoutingTable.tiers`; -1 without local endpoints.
    let tiers: Int
    let remotes: [RemoteChoice]
    package let place: Place

    init(
        index: Int, stamp: UInt64, service: Int, serviceID: ServiceID, port: ServicePort, scope: Scope, isProbe: Bool,
        address: ServiceAddress, traffic: ServiceTraffic, ownTargetPort: UInt16, tiers: Int, remotes: [RemoteChoice]
    ) {
        self.index = index
        self.stamp = stamp
        self.service = service
        self.serviceID = serviceID
        self.port = port
        self.scope = scope
        self.isProbe = isProbe
        self.address = address
        serverName = Array(address.serverName.utf8)
        authority = Array(address.authority.utf8)
        meshName = Array(address.name.description.utf8)
        namespace = address.name.namespace.bytes
        self.traffic = traffic
        self.ownTargetPort = ownTargetPort
        self.tiers = tiers
        self.remotes = remotes
        place = Place(stamp: stamp, index: Int32(clamping: index), service: Int32(clamping: service))
    }

    /// What stays the same over snapshots, in an order of its own.
    struct Reference: Comparable {
        let tag: UInt8
        let serverName: [UInt8]

        static func < (left: Reference, right: Reference) -> Bool {
            left.tag != right.tag
                ? left.tag < right.tag : left.serverName.lexicographicallyPrecedes(right.serverName)
        }
    }

    var reference: Reference {
        let tag: UInt8 =
            switch scope {
            case .clusterset: 0x63
            case .pinnedHere, .pinned: 0x70
            case .local: 0x6C
            }
        return Reference(tag: tag, serverName: serverName)
    }

    /// True when another cluster might serve this; a sidecar then has the gateways as candidates.
    package var hasRemotes: Bool { !remotes.isEmpty }
}

/// The part that a direct peer plays, by its verified ID (PROTOCOLS sections 4 and 5).
package enum PeerPart: Hashable, Sendable {
    package enum Kind: Hashable, Sendable { case workload, gateway, broker }

    case ownWorkload
    case ownGateway
    case ownBroker
    /// Someone of an admitted member; the index into `Snapshot.members`.
    case foreign(member: Int, Kind)
    /// Of no known domain, or an admin: nothing is routed for it.
    case unknown
}

/// What a host that an app wrote means.
package enum HostMatch: Sendable {
    case destination(Destination)
    /// The service is known but has several ports, none of them 80, and none was named: 400.
    case ambiguousPort
    /// Not a name of the mesh, or not one of its ports: 404 `no_route`.
    case unknown
    /// Not a host at all: 400.
    case malformed
}

/// What the address means that a captured connection was dialled to.
package enum CaptureMatch: Sendable {
    /// A mesh service; by an endpoint's own address, that endpoint.
    case destination(Destination, endpoint: EndpointID?)
    /// A virtual address, or a port of one, that nothing stands behind.
    case unknown
    /// Not the mesh's.
    case outside
}
