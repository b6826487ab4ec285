internal import Containers
package import MeshModel

/// A snapshot indexed for lookups with borrowed bytes; immutable, built off the path, shared by all workers.
///
/// It holds what may be routed for whom, never how anything fares: that is `Health`, which outlives it.
package final class RoutingTable: Sendable {
    /// A gateway as a target: the own ones first, then each member's.
    package struct GatewayTarget: Sendable {
        /// Index into `Snapshot.members`; -1 for the own cluster.
        package let member: Int
        /// Index into the gateways of the cluster.
        package let gateway: Int
        package let address: GatewayAddress
    }

    /// (service, other cluster): the unit to which errors behind a remote gateway are charged.
    struct Path: Hashable, Sendable {
        let service: ServiceID
        let cluster: ClusterID
    }

    /// Whose word counts for calls to a service, here or in another cluster.
    struct Owner: Sendable {
        let authorization: Authorization
        /// Nil for a cluster that is no member: nobody is allowed.
        let trustDomain: TrustDomain?
    }

    struct HostEntry: Sendable {
        struct Port: Sendable {
            let number: UInt16
            let destination: Int
        }
        let ports: [Port]
        /// The destination without a port; -1 when that is ambiguous.
        let portless: Int
    }

    /// What the address means that a captured connection was dialled to.
    struct Capture: Sendable {
        let destination: Int32
        let endpoint: EndpointID?
    }

    /// Where a local endpoint stands in the snapshot.
    struct EndpointPlace: Sendable {
        let id: EndpointID
        let service: Int32
        let endpoint: Int32
    }

    /// The limits of one service that act here, with the cells that count them.
    package let limits: [[LimitBinding]]
    /// What requests ask of them, of all services one after the other.
    let gates: [LimitGate]
    /// First gate of each service, one more entry than services.
    let gateBases: [Int]
    package let snapshot: Snapshot
    package let ownRole: OwnRole
    package let destinations: [Destination]
    /// Own gateways first, then those of the members in order.
    package let gateways: [GatewayTarget]
    /// `<cluster>/<gateway>`, what this gateway writes into `meshfed-hops`; empty for a sidecar.
    package let hopName: [UInt8]

    let stamp: UInt64
    let tiers: [LocalTiers]
    let paths: [Path]
    private let pathOwners: [Owner]
    /// First path of each service in `paths`, one more entry than services.
    private let pathBases: [Int]
    private let owners: [Owner]
    /// First gateway of each member in `gateways`, one more entry than members; the own ones stand before the first.
    let memberGateways: [Int]
    /// First endpoint of each service in the dense numbering, one more entry than services.
    let endpointBase: [Int]
    private let serverNames: ByteTable
    /// Positions in `destinations`, by reference.
    private let references: [Int32]
    private let hosts: ByteTable
    private let hostEntries: [HostEntry]
    private let captureKeys: ByteTable
    private let captures: [Capture]
    private let outsideIndex: Int
    /// A destination of each service port by the port of this sidecar's app that it leads to.
    private let appPorts: [UInt16: [Destination]]
    private let memberDomains: ByteTable
    /// By ID.
    private let endpointPlaces: [EndpointPlace]
    /// One bit per (service, member): is the service exported to it.
    private let exportBits: [UInt64]
    private let exportStride: Int

    /// Builds the table. `limits` holds the cells of rules by name; nil (a sidecar) leaves rate limits out.
    package init(_ snapshot: Snapshot, ownRole: OwnRole, limits cells: LimitCells? = nil) {
        var builder = TableBuilder(snapshot, ownRole: ownRole)
        builder.build()
        self.snapshot = snapshot
        self.ownRole = ownRole
        stamp = builder.stamp
        destinations = builder.destinations
        gateways = builder.gateways
        memberGateways = builder.memberGateways
        tiers = builder.tiers
        paths = builder.paths
        pathOwners = builder.pathOwners
        pathBases = builder.pathBases
        owners = snapshot.services.map { service in
            Owner(authorization: service.authorization, trustDomain: snapshot.trustDomain)
        }
        endpointBase = builder.endpointBase
        serverNames = ByteTable(builder.serverNames)
        references = builder.references
        hosts = ByteTable(builder.hosts)
        hostEntries = builder.hostEntries
        captureKeys = ByteTable(builder.captureKeys)
        // Copied: what was appended one by one has room for twice as many.
        captures = builder.captures.map { $0 }
        outsideIndex = builder.outside
        appPorts = builder.appPorts
        memberDomains = ByteTable(snapshot.members.enumerated().map { ($0.element.trustDomain.bytes, $0.offset) })
        exportStride = (snapshot.members.count + 63) / 64
        exportBits = TableBuilder.exportBits(snapshot, stride: exportStride)
        endpointPlaces = builder.endpointPlaces
        if case .gateway(let name, _) = ownRole {
            hopName = snapshot.cluster.bytes + [0x2F] + name.bytes
        } else {
            hopName = []
        }
        if let cells, ownRole.isGateway {
            limits = snapshot.services.map { service in cells.bindings(for: service.limits) }
        } else {
            limits = Array(repeating: [], count: snapshot.services.count)
        }
        gates = limits.flatMap { bindings in bindings.map(\.gate) }
        var bases = [0]
        bases.reserveCapacity(limits.count + 1)
        for bindings in limits { bases.append(bases[bases.count - 1] + bindings.count) }
        gateBases = bases
    }

    /// True when a service (index into the snapshot's services) has limits that act here.
    package func hasLimits(_ service: Int) -> Bool {
        service >= 0 && service + 1 < gateBases.count && gateBases[service] < gateBases[service + 1]
    }

    /// The part of a peer, by its verified ID.
    package func part(of peer: SPIFFEID) -> PeerPart {
        let kind: PeerPart.Kind
        switch peer.kind {
        case .workload, .other: kind = .workload
        case .gateway: kind = .gateway
        case .broker: kind = .broker
        case .admin: return .unknown
        }
        if peer.trustDomain.text == snapshot.trustDomain.text {
            switch kind {
            case .workload: return .ownWorkload
            case .gateway: return .ownGateway
            case .broker: return .ownBroker
            }
        }
        guard let member = memberDomains.value(for: peer.trustDomain.bytes) else { return .unknown }
        return .foreign(member: member, kind)
    }

    /// The member whose trust domain this is; nil for the own and for unknown ones.
    package func member(of domain: TrustDomain) -> Int? { memberDomains.value(for: domain.bytes) }

    /// A gateway's destination for an SNI, for this peer. Nil is `no_route`: unknown, not exported to the peer's cluster
    /// and not imported look alike, by one path.
    package func destination(serverName: Span<UInt8>, from part: PeerPart) -> Destination? {
        guard let index = serverNames.value(for: serverName) else { return nil }
        let found = destinations[index]
        return isRoutable(found, for: part) ? found : nil
    }

    /// A sidecar's inbound destination for an SNI: only services that its workload serves.
    package func destination(serverName: Span<UInt8>) -> Destination? {
        guard let index = serverNames.value(for: serverName) else { return nil }
        return destinations[index]
    }

    /// True for a destination of this table.
    package func holds(_ place: Destination.Place) -> Bool { place.stamp == stamp }

    /// The same destination in this table; nil when it is gone. For exchanges that live over a snapshot swap.
    package func current(_ destination: Destination) -> Destination? {
        if destination.stamp == stamp { return destination }
        if let found = find(destination.reference) { return found }
        // A service that has been exported since goes by its mesh name now.
        guard case .local = destination.scope, destination.service >= 0 else { return nil }
        let name = destination.address.name
        let exported = ServiceAddress(
            name: MeshName(service: name.service, namespace: name.namespace, scope: .clusterset),
            port: destination.address.port)
        return find(
            Destination.Reference(tag: destination.reference.tag, serverName: Array(exported.serverName.utf8)))
    }

    private func find(_ reference: Destination.Reference) -> Destination? {
        var low = 0
        var high = references.count
        while low < high {
            let middle = (low + high) / 2
            if destinations[Int(references[middle])].reference < reference { low = middle + 1 } else { high = middle }
        }
        guard low < references.count else { return nil }
        let found = destinations[Int(references[low])]
        return found.reference == reference ? found : nil
    }

    /// What an app's host means, `host` or `host:port` in any case; `namespace` is the caller's own, for one-label names.
    package func destination(host: Span<UInt8>, namespace: Label) -> HostMatch {
        HostName.withParts(host, namespace: namespace.bytes) { name, port in
            guard let index = hosts.value(for: name) else { return .unknown }
            return match(hostEntries[index], port)
        }
    }

    private func match(_ entry: HostEntry, _ port: UInt16?) -> HostMatch {
        guard let port else {
            return entry.portless >= 0 ? .destination(destinations[entry.portless]) : .ambiguousPort
        }
        for candidate in entry.ports where candidate.number == port {
            return .destination(destinations[candidate.destination])
        }
        return .unknown
    }

    static func captureKey(_ address: [UInt8], _ port: UInt16) -> [UInt8] {
        address + [UInt8(port >> 8), UInt8(truncatingIfNeeded: port)]
    }

    /// What an app meant that dialled `address` (four or sixteen bytes): a sidecar's question for captured connections.
    package func captured(address: [UInt8], port: UInt16) -> CaptureMatch {
        if let index = captureKeys.value(for: Self.captureKey(address, port)) {
            return .destination(destinations[Int(captures[index].destination)], endpoint: captures[index].endpoint)
        }
        return VirtualAddress.isVirtual(address) ? .unknown : .outside
    }

    /// What this sidecar's app serves at one of its own ports: a destination of each service port that leads there.
    package func behind(appPort: UInt16) -> [Destination] { appPorts[appPort] ?? [] }

    /// Stands for all that is not the mesh's; nil in a gateway's table.
    package var outside: Destination? { outsideIndex < 0 ? nil : destinations[outsideIndex] }

    /// Where an endpoint stands in this snapshot.
    package func endpoint(_ id: EndpointID) -> (service: Int, endpoint: Int)? {
        var low = 0
        var high = endpointPlaces.count
        while low < high {
            let middle = (low + high) / 2
            if endpointPlaces[middle].id < id { low = middle + 1 } else { high = middle }
        }
        guard low < endpointPlaces.count, endpointPlaces[low].id == id else { return nil }
        return (Int(endpointPlaces[low].service), Int(endpointPlaces[low].endpoint))
    }

    /// True when the destination's service is exported to the member of `domain`; the own domain always sees it.
    package func isVisible(_ destination: Destination, to domain: TrustDomain) -> Bool {
        if domain.text == snapshot.trustDomain.text { return true }
        guard let member = member(of: domain), destination.service >= 0 else { return false }
        return isExported(destination.service, to: member)
    }

    /// The owner's authorisation: the own service's, or with `remote` (index into `Service.remotes`) the other owner's.
    /// Denied for a probe and for a destination of another table (`current(_:)` first).
    package func decide(_ destination: Destination, caller: SPIFFEID, remote: Int? = nil) -> AuthorizationDecision {
        guard destination.stamp == stamp, destination.service >= 0, destination.service < owners.count else {
            return .denied(rule: nil)
        }
        guard let remote else { return decide(owners[destination.service], destination, caller) }
        let path = pathBases[destination.service] + remote
        guard remote >= 0, path < pathBases[destination.service + 1] else { return .denied(rule: nil) }
        return decide(pathOwners[path], destination, caller)
    }

    private func decide(_ owner: Owner, _ destination: Destination, _ caller: SPIFFEID) -> AuthorizationDecision {
        guard let domain = owner.trustDomain else { return .denied(rule: nil) }
        return Authoriser.decide(
            owner.authorization, caller: caller, port: destination.port.port, owner: domain)
    }

    private func isRoutable(_ destination: Destination, for part: PeerPart) -> Bool {
        switch part {
        case .ownWorkload: !destination.isProbe && destination.scope != .local
        case .ownBroker: destination.scope != .local
        case .foreign(let member, _):
            switch destination.scope {
            case .clusterset, .pinnedHere:
                destination.isProbe || isExported(destination.service, to: member)
            case .pinned, .local: false
            }
        case .ownGateway, .unknown: false
        }
    }

    private func isExported(_ service: Int, to member: Int) -> Bool {
        let word = service * exportStride + member / 64
        guard service >= 0, word < exportBits.count else { return false }
        return exportBits[word] >> UInt64(member % 64) & 1 == 1
    }
}
