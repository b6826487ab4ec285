import MeshModel
import Routing

/// A generator of its own, so that these tests need nothing but Routing; its seed stands in each failure.
struct TestRandom {
    private var bits: RandomBits
    let seed: UInt64

    init(_ seed: UInt64) {
        self.seed = seed
        bits = RandomBits(seed: seed)
    }

    mutating func below(_ bound: Int) -> Int { Int(bits.below(UInt64(bound))) }
    mutating func chance(_ percent: Int) -> Bool { below(100) < percent }
}

func label(_ text: String) -> Label {
    guard let value = Label(text) else { preconditionFailure("label \(text)") }
    return value
}

func cluster(_ text: String) -> ClusterID { ClusterID(label(text)) }

func domain(_ text: String) -> TrustDomain {
    guard let value = TrustDomain(text) else { preconditionFailure("domain \(text)") }
    return value
}

func spiffe(_ text: String) -> SPIFFEID {
    guard let value = SPIFFEID(text) else { preconditionFailure("id \(text)") }
    return value
}

func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

/// Cluster east with members west, north and south, and three services in namespace shop.
struct Mesh {
    var snapshot: Snapshot
    static let here = Locality(region: "us-east", zone: "a")

    init() {
        snapshot = Snapshot(cluster: cluster("east"), trustDomain: domain("east.mesh"), epoch: 1, revision: 1)
        snapshot.gateways = [gateway("east-1", "10.0.0.1"), gateway("east-2", "10.0.0.2")]
        for name in ["west", "north", "south"] {
            snapshot.members.append(
                Member(
                    cluster: cluster(name), trustDomain: domain("\(name).mesh"),
                    gateways: [gateway("\(name)-1", "10.9.0.1"), gateway("\(name)-2", "10.9.0.2")], freshness: .fresh))
        }
    }

    private func gateway(_ name: String, _ address: String) -> GatewayAddress {
        GatewayAddress(name: label(name), address: address, port: 15_443, locality: Self.here)
    }

    /// A service with endpoints at `zones` (region us-east unless it holds a slash); IDs count up from `firstID`.
    @discardableResult
    mutating func add(
        _ name: String, ports: [UInt16] = [80], zones: [String] = [], remotes: [String] = [],
        export: ExportScope = .none, firstID: EndpointID = 1, _ change: (inout Service) -> Void = { _ in }
    ) -> Int {
        let list = ports.map { ServicePort(name: "p\($0)", port: $0, appProtocol: .http) }
        var service = Service(
            id: ServiceID(snapshot.services.count + 1), name: ObjectName(namespace: label("shop"), name: label(name)),
            ports: list)
        service.export = export
        service.isLocal = !zones.isEmpty || remotes.isEmpty
        for (index, zone) in zones.enumerated() {
            let parts = zone.split(separator: "/").map(String.init)
            let locality =
                parts.count == 2 ? Locality(region: parts[0], zone: parts[1]) : Locality(region: "us-east", zone: zone)
            var targets: [UInt16: UInt16] = [:]
            for port in ports { targets[port] = port + 8_000 }
            service.endpoints.append(
                Endpoint(
                    id: firstID + EndpointID(index),
                    workload: ObjectName(namespace: label("shop"), name: label("\(name)-\(index)")),
                    address: "10.1.0.\(index + 1)", targetPorts: targets, security: .mesh,
                    identity: spiffe("spiffe://east.mesh/ns/shop/sa/\(name)"), locality: locality))
        }
        for remote in remotes {
            service.remotes.append(
                RemoteService(
                    cluster: cluster(remote), ports: list,
                    capacities: [RemoteCapacity(locality: .unknown, healthyCount: 2, capacity: 2)],
                    authorization: Authorization()))
        }
        change(&service)
        snapshot.services.append(service)
        return snapshot.services.count - 1
    }

    func gatewayTable(_ cells: LimitCells? = nil) -> RoutingTable {
        RoutingTable(snapshot, ownRole: .gateway(name: label("east-1"), locality: Self.here), limits: cells)
    }

    func sidecarTable(_ workload: String = "web-0") -> RoutingTable {
        RoutingTable(
            snapshot,
            ownRole: .sidecar(
                workload: ObjectName(namespace: label("shop"), name: label(workload)), locality: Self.here))
    }
}

extension RoutingTable {
    func named(_ text: String, from part: PeerPart) -> Destination? {
        let name = bytes(text)
        return destination(serverName: name.span, from: part)
    }

    func inbound(_ text: String) -> Destination? {
        let name = bytes(text)
        return destination(serverName: name.span)
    }

    func host(_ text: String, namespace: String = "shop") -> HostMatch {
        let name = bytes(text)
        return destination(host: name.span, namespace: label(namespace))
    }

    /// The destination an app's host means; the test fails when there is none.
    func reached(_ text: String) -> Destination {
        guard case .destination(let found) = host(text) else { preconditionFailure("no destination for \(text)") }
        return found
    }
}

extension Destination {
    var name: String { String(decoding: serverName, as: UTF8.self) }
}

extension Candidate {
    /// A short word for expectations: the endpoint's ID, `gw<i>`, or the member and gateway.
    var word: String {
        switch kind {
        case .endpoint(_, _, let id): "\(id)"
        case .localGateway(let index): "gw\(index)"
        case .remoteGateway(let member, let gateway, _): "m\(member).\(gateway)"
        }
    }

    var member: Int? {
        if case .remoteGateway(let member, _, _) = kind { member } else { nil }
    }

    var endpointID: EndpointID? {
        if case .endpoint(_, _, let id) = kind { id } else { nil }
    }
}

func instant(_ seconds: Double) -> Instant { Instant(nanoseconds: UInt64(seconds * 1e9)) }
