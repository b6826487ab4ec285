internal import MeshModel

/// Local endpoints of one (service, port), nearest first: own zone, own region, the rest of the cluster.
struct LocalTiers: Sendable {
    struct Choice: Sendable {
        /// Index into `Service.endpoints`.
        let endpoint: Int32
        /// Position in the dense numbering of all endpoints.
        let dense: Int32
        let id: EndpointID
        let weight: UInt32
        /// Sum of the weights of the tier up to and including this one.
        let cumulative: UInt64
    }

    let choices: [Choice]
    /// Ends of the tiers in `choices`.
    let zoneEnd: Int
    let regionEnd: Int

    func range(_ tier: Int) -> Range<Int> {
        switch tier {
        case 0: 0..<zoneEnd
        case 1: zoneEnd..<regionEnd
        default: regionEnd..<choices.count
        }
    }
}

/// Turns a snapshot into the parts of a `RoutingTable`. Off the path: it allocates freely.
struct TableBuilder {
    private let snapshot: Snapshot
    private let ownRole: OwnRole
    let stamp: UInt64
    private(set) var destinations: [Destination] = []
    private(set) var gateways: [RoutingTable.GatewayTarget] = []
    private(set) var memberGateways: [Int] = []
    private(set) var tiers: [LocalTiers] = []
    private(set) var paths: [RoutingTable.Path] = []
    private(set) var pathOwners: [RoutingTable.Owner] = []
    private(set) var pathBases: [Int] = []
    private(set) var endpointBase: [Int] = []
    private(set) var serverNames: [(key: [UInt8], value: Int)] = []
    private(set) var hosts: [(key: [UInt8], value: Int)] = []
    private(set) var hostEntries: [RoutingTable.HostEntry] = []
    private(set) var captureKeys: [(key: [UInt8], value: Int)] = []
    private(set) var captures: [RoutingTable.Capture] = []
    /// What the app of a sidecar's own workload serves, by its port.
    private(set) var appPorts: [UInt16: [Destination]] = [:]
    /// Index of what is not the mesh's, in a sidecar's `destinations`; -1 in a gateway's.
    private(set) var outside = -1
    private var memberIndex: [ClusterID: Int] = [:]
    /// That of the service before: most have the same.
    private var traffic = ServiceTraffic(TrafficSettings())

    init(_ snapshot: Snapshot, ownRole: OwnRole) {
        self.snapshot = snapshot
        self.ownRole = ownRole
        var hasher = Hasher()
        hasher.combine(snapshot)
        hasher.combine(ownRole)
        stamp = UInt64(bitPattern: Int64(hasher.finalize()))
    }

    mutating func build() {
        for (index, member) in snapshot.members.enumerated() { memberIndex[member.cluster] = index }
        for (index, gateway) in snapshot.gateways.enumerated() {
            gateways.append(RoutingTable.GatewayTarget(member: -1, gateway: index, address: gateway))
        }
        for (member, value) in snapshot.members.enumerated() {
            memberGateways.append(gateways.count)
            for (index, gateway) in value.gateways.enumerated() {
                gateways.append(RoutingTable.GatewayTarget(member: member, gateway: index, address: gateway))
            }
        }
        memberGateways.append(gateways.count)
        var base = 0
        for (index, service) in snapshot.services.enumerated() {
            endpointBase.append(base)
            add(service, at: index, base: base)
            base += service.endpoints.count
        }
        endpointBase.append(base)
        pathBases.append(paths.count)
        if ownRole.isGateway { addProbes() } else { addOutside() }
    }

    /// Positions in `destinations`, by reference; of those with the same one the first stands first.
    var references: [Int32] {
        destinations.indices.sorted { left, right in
            let (first, second) = (destinations[left].reference, destinations[right].reference)
            return first == second ? left < right : first < second
        }.map { Int32($0) }
    }

    /// All local endpoints by ID.
    var endpointPlaces: [RoutingTable.EndpointPlace] {
        var places: [RoutingTable.EndpointPlace] = []
        places.reserveCapacity(endpointBase.last ?? 0)
        for (service, entry) in snapshot.services.enumerated() {
            for (index, endpoint) in entry.endpoints.enumerated() {
                places.append(
                    RoutingTable.EndpointPlace(id: endpoint.id, service: Int32(service), endpoint: Int32(index)))
            }
        }
        places.sort { $0.id < $1.id }
        return places
    }

    static func exportBits(_ snapshot: Snapshot, stride: Int) -> [UInt64] {
        var bits = [UInt64](repeating: 0, count: stride * snapshot.services.count)
        for (service, entry) in snapshot.services.enumerated() where entry.isLocal {
            for (member, value) in snapshot.members.enumerated() where entry.export.covers(value.cluster) {
                bits[service * stride + member / 64] |= 1 << UInt64(member % 64)
            }
        }
        return bits
    }

    /// A port that is left to be guessed carries requests only where every owner leaves it so.
    private static func agreed(_ port: ServicePort, _ service: Service) -> ServicePort {
        guard port.appProtocol == .auto else { return port }
        var agreed = port
        for remote in service.remotes {
            for theirs in remote.ports where theirs.port == port.port && theirs.appProtocol == .tcp {
                agreed.appProtocol = .tcp
            }
        }
        return agreed
    }

    /// Destinations of one service by scope and port number, to be named by hosts.
    private struct Found {
        var clusterset: [RoutingTable.HostEntry.Port] = []
        var local: [RoutingTable.HostEntry.Port] = []
        var here: [RoutingTable.HostEntry.Port] = []
        var pinned: [Int: [RoutingTable.HostEntry.Port]] = [:]
    }

    private mutating func add(_ service: Service, at index: Int, base: Int) {
        var ports = service.ports
        for remote in service.remotes {
            for port in remote.ports where !ports.contains(where: { $0.port == port.port }) { ports.append(port) }
        }
        let pathBase = paths.count
        pathBases.append(pathBase)
        for remote in service.remotes {
            paths.append(RoutingTable.Path(service: service.id, cluster: remote.cluster))
            pathOwners.append(
                RoutingTable.Owner(
                    authorization: remote.authorization,
                    trustDomain: memberIndex[remote.cluster].map { snapshot.members[$0].trustDomain }))
        }
        let isClusterset = service.meshName.scope == .clusterset
        let own = ownEndpoint(of: service)
        if service.traffic != traffic.settings { traffic = ServiceTraffic(service.traffic) }
        var found = Found()
        for declared in ports {
            let port = Self.agreed(declared, service)
            let local = service.isLocal ? addTiers(service, port: port.port, base: base) : -1
            let remotes = remoteChoices(service, port: port, pathBase: pathBase)
            let target = own?.targetPorts[port.port] ?? 0
            func make(
                _ scope: Destination.Scope, _ name: MeshName.Scope, _ tiers: Int,
                _ remotes: [Destination.RemoteChoice]
            ) -> Destination {
                Destination(
                    index: destinations.count, stamp: stamp, service: index, serviceID: service.id, port: port,
                    scope: scope, isProbe: false,
                    address: ServiceAddress(
                        name: MeshName(service: service.name.name, namespace: service.name.namespace, scope: name),
                        port: port.port), traffic: traffic, ownTargetPort: target, tiers: tiers,
                    remotes: remotes)
            }
            if isClusterset {
                let entry = append(make(.clusterset, .clusterset, local, remotes), servedHere: own != nil)
                found.clusterset.append(.init(number: port.port, destination: entry))
            }
            if service.isLocal, service.export.isExported {
                let entry = append(make(.pinnedHere, .pinned(snapshot.cluster), local, []), servedHere: own != nil)
                found.here.append(.init(number: port.port, destination: entry))
            }
            for (position, remote) in service.remotes.enumerated() {
                guard let member = memberIndex[remote.cluster],
                    let theirs = remote.ports.first(where: { $0.port == port.port }),
                    theirs.appProtocol.isHTTP == port.appProtocol.isHTTP
                else { continue }
                let only = remotes.filter { $0.remote == Int32(position) }
                let entry = append(
                    make(.pinned(member: member), .pinned(remote.cluster), -1, only), servedHere: false)
                found.pinned[member, default: []].append(.init(number: port.port, destination: entry))
            }
            if service.isLocal, !ownRole.isGateway {
                // On the wire an exported service goes by its mesh name, whatever the app called it; by its local one it is
                // found where it is served.
                var entry = -1
                if own != nil || !isClusterset {
                    entry = append(make(.local, .local, local, []), servedHere: own != nil)
                }
                if isClusterset { entry = append(make(.local, .clusterset, local, []), servedHere: false) }
                found.local.append(.init(number: port.port, destination: entry))
            }
        }
        if !ownRole.isGateway {
            addHosts(service, found, plainNames: service.plainNames && isClusterset)
            addCaptures(service, found)
        }
    }

    /// Keeps a destination; a gateway finds all by SNI, a sidecar only what its workload serves.
    private mutating func append(_ destination: Destination, servedHere: Bool) -> Int {
        destinations.append(destination)
        if ownRole.isGateway || servedHere { serverNames.append((destination.serverName, destination.index)) }
        if servedHere { serve(destination) }
        return destination.index
    }

    /// Both scopes of a service's port are under the same policy: one of them stands for it.
    private mutating func serve(_ destination: Destination) {
        let isKnown = appPorts[destination.ownTargetPort]?.contains {
            $0.service == destination.service && $0.port.port == destination.port.port
        }
        if isKnown != true { appPorts[destination.ownTargetPort, default: []].append(destination) }
    }

    private func ownEndpoint(of service: Service) -> Endpoint? {
        guard case .sidecar(let workload, _) = ownRole else { return nil }
        return service.endpoints.first { $0.workload == workload }
    }

    private mutating func addTiers(_ service: Service, port: UInt16, base: Int) -> Int {
        let own = ownRole.locality
        var parts: [[Int]] = [[], [], []]
        for (index, endpoint) in service.endpoints.enumerated() {
            guard endpoint.weight > 0, endpoint.targetPorts.isEmpty || endpoint.targetPorts[port] != nil,
                ownRole.isGateway || endpoint.healthy
            else { continue }
            let sameRegion = !own.region.isEmpty && endpoint.locality.region == own.region
            let sameZone = sameRegion && !own.zone.isEmpty && endpoint.locality.zone == own.zone
            parts[sameZone ? 0 : sameRegion ? 1 : 2].append(index)
        }
        var choices: [LocalTiers.Choice] = []
        choices.reserveCapacity(parts.reduce(0) { $0 + $1.count })
        for part in parts {
            var sum: UInt64 = 0
            for index in part {
                let endpoint = service.endpoints[index]
                sum += UInt64(endpoint.weight)
                choices.append(
                    LocalTiers.Choice(
                        endpoint: Int32(index), dense: Int32(base + index), id: endpoint.id, weight: endpoint.weight,
                        cumulative: sum))
            }
        }
        tiers.append(
            LocalTiers(choices: choices, zoneEnd: parts[0].count, regionEnd: parts[0].count + parts[1].count))
        return tiers.count - 1
    }

    /// Clusters that serve `port`: fresh before stale, each in failover order, then by name; never excluded or gone ones.
    private func remoteChoices(_ service: Service, port: ServicePort, pathBase: Int) -> [Destination.RemoteChoice] {
        struct Ranked {
            let stale: Bool
            let rank: Int
            let cluster: ClusterID
            let choice: Destination.RemoteChoice
        }
        var ranked: [Ranked] = []
        for (position, remote) in service.remotes.enumerated() {
            guard let member = memberIndex[remote.cluster],
                let theirs = remote.ports.first(where: { $0.port == port.port }),
                theirs.appProtocol.isHTTP == port.appProtocol.isHTTP,
                !service.traffic.failoverExcluded.contains(remote.cluster)
            else { continue }
            let freshness = snapshot.members[member].freshness
            if freshness == .gone { continue }
            ranked.append(
                Ranked(
                    stale: freshness != .fresh,
                    rank: service.traffic.failoverOrder.firstIndex(of: remote.cluster) ?? Int.max,
                    cluster: remote.cluster,
                    choice: Destination.RemoteChoice(
                        member: Int32(member), remote: Int32(position), path: Int32(pathBase + position),
                        hasHealthy: remote.healthyCount > 0, freshness: freshness)))
        }
        ranked.sort { left, right in
            if left.stale != right.stale { return !left.stale }
            return left.rank != right.rank ? left.rank < right.rank : left.cluster < right.cluster
        }
        return ranked.map(\.choice)
    }

    private mutating func addProbes() {
        var clusters = [(snapshot.cluster, -1)]
        for (member, value) in snapshot.members.enumerated() where value.freshness != .gone {
            clusters.append((value.cluster, member))
        }
        let standard = ServiceTraffic(TrafficSettings())
        for (cluster, member) in clusters {
            let address = ServiceAddress.probe(of: cluster)
            let choice = Destination.RemoteChoice(
                member: Int32(member), remote: -1, path: -1, hasHealthy: true, freshness: .fresh)
            _ = append(
                Destination(
                    index: destinations.count, stamp: stamp, service: -1, serviceID: 0,
                    port: ServicePort(name: "http", port: address.port, appProtocol: .http),
                    scope: member < 0 ? .pinnedHere : .pinned(member: member), isProbe: true, address: address,
                    traffic: standard, ownTargetPort: 0, tiers: -1, remotes: member < 0 ? [] : [choice]),
                servedHere: false)
        }
    }

    /// Addresses that a captured connection may have been dialled to: the names' own, and those of the endpoints behind a
    /// sidecar. What stands behind none takes what it always took.
    private mutating func addCaptures(_ service: Service, _ found: Found) {
        for address in service.virtualAddresses {
            let ports: [RoutingTable.HostEntry.Port]
            switch address.name.scope {
            case .clusterset: ports = found.clusterset
            case .local: ports = found.local
            case .pinned(let cluster):
                ports =
                    cluster == snapshot.cluster ? found.here : memberIndex[cluster].flatMap { found.pinned[$0] } ?? []
            }
            for port in ports {
                captures.append(RoutingTable.Capture(destination: Int32(port.destination), endpoint: nil))
                for bytes in [address.v4, address.v6] {
                    captureKeys.append((RoutingTable.captureKey(bytes, port.number), captures.count - 1))
                }
            }
        }
        let ports = found.clusterset.isEmpty ? found.local : found.clusterset
        for endpoint in service.endpoints {
            guard case .mesh = endpoint.security, let bytes = Self.bytes(endpoint.address) else { continue }
            for port in ports {
                guard let target = endpoint.targetPorts[port.number] else { continue }
                captures.append(RoutingTable.Capture(destination: Int32(port.destination), endpoint: endpoint.id))
                captureKeys.append((RoutingTable.captureKey(bytes, target), captures.count - 1))
            }
        }
    }

    private static func bytes(_ literal: String) -> [UInt8]? {
        let text = Array(literal.utf8)
        return IPLiteral.v4(text) ?? IPLiteral.v6(text)
    }

    /// What is not the mesh's: one destination for all of it, so that it is measured like anything else.
    private mutating func addOutside() {
        guard let service = Label("outside"), let namespace = Label("meshfed-system") else { return }
        var traffic = TrafficSettings()
        // Its own ends decide how long it lives.
        traffic.idleTimeout = .zero
        traffic.requestTimeout = .zero
        traffic.connectTimeout = .seconds(60)
        outside = append(
            Destination(
                index: destinations.count, stamp: stamp, service: -1, serviceID: 0,
                port: ServicePort(name: "", port: 0, appProtocol: .tcp), scope: .local, isProbe: false,
                address: ServiceAddress(
                    name: MeshName(service: service, namespace: namespace, scope: .local), port: 0),
                traffic: ServiceTraffic(traffic), ownTargetPort: 0, tiers: -1, remotes: []), servedHere: false)
    }

    private mutating func addHosts(_ service: Service, _ found: Found, plainNames: Bool) {
        let plain = "\(service.name.name).\(service.name.namespace)"
        let named = plainNames ? found.clusterset : found.local
        addHost(named, [plain, "\(plain).svc", "\(plain).svc.cluster.local"])
        addHost(found.clusterset, ["\(plain).svc.clusterset.local"])
        addHost(found.here, ["\(plain).svc.\(snapshot.cluster).clusterset.local"])
        for (member, ports) in found.pinned {
            addHost(ports, ["\(plain).svc.\(snapshot.members[member].cluster).clusterset.local"])
        }
    }

    private mutating func addHost(_ ports: [RoutingTable.HostEntry.Port], _ names: [String]) {
        guard let first = ports.first else { return }
        let eighty = ports.first { $0.number == 80 }
        let portless = eighty?.destination ?? (ports.count == 1 ? first.destination : -1)
        hostEntries.append(RoutingTable.HostEntry(ports: ports, portless: portless))
        for name in names { hosts.append((Array(name.utf8), hostEntries.count - 1)) }
    }
}
