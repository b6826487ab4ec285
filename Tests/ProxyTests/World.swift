import Identity
import MeshModel
import MeshTestKit
import Proxy
import Reactor
import Routing
import TLS
import Telemetry

func label(_ text: String) -> Label {
    guard let value = Label(text) else { preconditionFailure("label \(text)") }
    return value
}

func clusterID(_ text: String) -> ClusterID { ClusterID(label(text)) }

func domain(_ text: String) -> TrustDomain {
    guard let value = TrustDomain(text) else { preconditionFailure("domain \(text)") }
    return value
}

func spiffe(_ text: String) -> SPIFFEID {
    guard let value = SPIFFEID(text) else { preconditionFailure("id \(text)") }
    return value
}

func object(_ name: String) -> ObjectName { ObjectName(namespace: label("shop"), name: label(name)) }

/// The certificates of the clusters east and west, made for the time of the test.
struct World {
    let stage = Stage()
    let east: CertificateMint
    let west: CertificateMint
    let trust: TrustStore
    private let wall: WallTime

    init() throws {
        wall = stage.wall
        east = try CertificateMint("east.mesh", now: wall)
        west = try CertificateMint("west.mesh", now: wall)
        trust = try TrustStore([east.bundle(), west.bundle()], generation: 1)
    }

    /// An SVID of the domain that the ID names.
    func svid(_ id: String, by other: CertificateMint? = nil) throws -> SVID {
        let mint = other ?? (id.hasPrefix("spiffe://east.mesh/") ? east : west)
        return try mint.svid(id) {
            $0.notBefore = wall.advanced(bySeconds: -60)
            $0.notAfter = wall.advanced(bySeconds: 86_400)
        }
    }

    func workload(_ name: String, of cluster: String = "east") throws -> SVID {
        try svid("spiffe://\(cluster).mesh/ns/shop/sa/\(name)")
    }

    func gateway(of cluster: String) throws -> SVID { try svid("spiffe://\(cluster).mesh/meshfed/gateway/g1") }

    /// A connection of the mesh from whoever `svid` is.
    func dial(
        _ address: SocketAddress, as svid: SVID, _ serverName: String, _ version: Line.Version = .http2,
        namesProtocol: Bool = true
    ) throws -> Line {
        let protocols: [ALPN] =
            switch version {
            case _ where !namesProtocol: []
            case .raw: [.tcp]
            case .http1: [.http1]
            case .http2: [.http2]
            }
        return try stage.connect(
            address, version, context: .client(svid: svid, trust: trust, protocols: protocols), serverName: serverName)
    }

    /// An assertion of `svid`'s own workload for `audience`.
    func assertion(_ svid: SVID, audience: String) throws -> String {
        var maker = try OriginMaker(svid: svid, random: SystemRandom.source)
        let bytes = Array(audience.utf8)
        return String(decoding: try maker.assertion(audience: bytes.span, now: wall), as: UTF8.self)
    }

    func attested(_ gateway: SVID, caller: SPIFFEID, audience: String) throws -> String {
        var maker = try OriginMaker(svid: gateway, random: SystemRandom.source)
        let bytes = Array(audience.utf8)
        return String(
            decoding: try maker.assertion(attesting: caller, audience: bytes.span, now: wall), as: UTF8.self)
    }

    /// A sidecar of `workload`: 15006 on its own address, then `entries` on free ports of it.
    func sidecar(
        _ workload: String, of cluster: String = "east", at address: SocketAddress, _ snapshot: Snapshot,
        app: SocketAddress? = nil, entries: [Entry] = [], id: String? = nil, generation: UInt32 = 1,
        change: (inout WorkerSettings) -> Void = { _ in }
    ) throws -> Node {
        var settings = WorkerSettings(
            isGateway: false, entries: [.mesh] + entries, logFormat: .text, sampleSeed: 1)
        settings.namespace = label("shop")
        settings.appAddress = app
        settings.grace = .milliseconds(1)
        change(&settings)
        return try Node(
            settings, listening: [address.withPort(15_006)] + entries.map { _ in address.withPort(0) },
            configuration(workload, of: cluster, snapshot, id: id, generation: generation))
    }

    /// `trust` and `mint`: other bundles than the world's, another root of its domain to sign the SVID.
    func configuration(
        _ workload: String, of cluster: String = "east", _ snapshot: Snapshot, id: String? = nil,
        generation: UInt32 = 1, trust: TrustStore? = nil, mint: CertificateMint? = nil
    ) throws -> ProxyConfiguration {
        let name = id ?? workload.split(separator: "-").first.map(String.init) ?? workload
        return try ProxyConfiguration(
            snapshot: snapshot, ownRole: .sidecar(workload: object(workload), locality: .unknown),
            trust: trust ?? self.trust, svid: svid("spiffe://\(cluster).mesh/ns/shop/sa/\(name)", by: mint),
            generation: generation, limits: nil)
    }

    func gateway(
        of cluster: String, _ snapshot: Snapshot, at address: SocketAddress,
        change: (inout WorkerSettings) -> Void = { _ in }
    ) throws -> Node {
        var settings = WorkerSettings(isGateway: true, entries: [.mesh], logFormat: .text, sampleSeed: 1)
        settings.grace = .milliseconds(1)
        change(&settings)
        return try Node(
            settings, listening: [address], gatewayConfiguration(of: cluster, snapshot, trust: trust, generation: 1))
    }

    func gatewayConfiguration(
        of cluster: String, _ snapshot: Snapshot, trust: TrustStore, generation: UInt32
    ) throws -> ProxyConfiguration {
        try ProxyConfiguration(
            snapshot: snapshot, ownRole: .gateway(name: label("g1"), locality: .unknown), trust: trust,
            svid: gateway(of: cluster), generation: generation, limits: LimitCells())
    }
}

extension Snapshot {
    init(_ name: String) {
        self.init(cluster: clusterID(name), trustDomain: domain("\(name).mesh"), epoch: 1, revision: 1)
    }

    mutating func addGateway(_ address: SocketAddress) {
        gateways.append(
            GatewayAddress(name: label("g1"), address: address.ipText, port: address.port, locality: .unknown))
    }

    mutating func addMember(_ name: String, gateway: SocketAddress) {
        members.append(
            Member(
                cluster: clusterID(name), trustDomain: domain("\(name).mesh"),
                gateways: [
                    GatewayAddress(name: label("g1"), address: gateway.ipText, port: gateway.port, locality: .unknown)
                ], freshness: .fresh))
    }

    /// A service of namespace shop whose endpoints are behind sidecars at `addresses`.
    mutating func add(
        _ name: String, port: UInt16 = 80, _ appProtocol: AppProtocol = .http, at addresses: [SocketAddress] = [],
        target: UInt16 = 1, remotes: [String] = [], _ change: (inout Service) -> Void = { _ in }
    ) {
        var service = Service(
            id: ServiceID(services.count + 1), name: object(name),
            ports: [ServicePort(name: "main", port: port, appProtocol: appProtocol)])
        service.isLocal = remotes.isEmpty || !addresses.isEmpty
        for (index, address) in addresses.enumerated() {
            service.endpoints.append(
                Endpoint(
                    id: EndpointID(services.count * 100 + index + 1), workload: object("\(name)-\(index)"),
                    address: address.ipText, targetPorts: [port: target], security: .mesh,
                    identity: spiffe("spiffe://\(cluster).mesh/ns/shop/sa/\(name)"), locality: .unknown))
        }
        for remote in remotes {
            service.remotes.append(
                RemoteService(
                    cluster: clusterID(remote), ports: service.ports,
                    capacities: [RemoteCapacity(locality: .unknown, healthyCount: 1, capacity: 1)],
                    authorization: Authorization()))
        }
        change(&service)
        services.append(service)
    }
}

/// An app that calls, its sidecar, the sidecar of `api`, and the app behind it: all of one cluster.
final class Direct {
    let world: World
    let app: App
    let api: Node
    let web: Node
    let apiAddress: SocketAddress
    /// Where the endpoints of `api` are, the dead ones too.
    let addresses: [SocketAddress]
    private(set) var snapshot: Snapshot
    var stage: Stage { world.stage }

    /// - Parameters:
    ///   - dead: addresses of further endpoints, at which nobody listens.
    ///   - change: what the test wants different in the service.
    init(
        _ appProtocol: AppProtocol = .http, app version: Line.Version = .http1, dead: Int = 0,
        entries: [Entry] = [.explicit], inbound: [Entry] = [], change: (inout Service) -> Void = { _ in },
        settings: (inout WorkerSettings) -> Void = { _ in }
    ) throws {
        world = try World()
        app = try App(world.stage, version)
        apiAddress = try Loopback.next(port: 0)
        var snapshot = Snapshot("east")
        snapshot.addMember("west", gateway: try Loopback.next(port: 15_443))
        addresses = try [apiAddress] + (0..<dead).map { _ in try Loopback.next(port: 0) }
        snapshot.add("api", appProtocol, at: addresses, target: app.address.port, change)
        self.snapshot = snapshot
        api = try world.sidecar(
            "api-0", at: apiAddress, snapshot, app: app.address, entries: inbound, change: settings)
        web = try world.sidecar("web-0", at: Loopback.next(port: 0), snapshot, entries: entries)
    }

    /// The app's connection to its sidecar's explicit proxy.
    func client(_ version: Line.Version = .http1) throws -> Line { try stage.connect(web.addresses[1], version) }

    /// A mesh connection straight to the sidecar of `api`.
    func dial(
        as svid: SVID, _ serverName: String = "80.api.shop.svc.cluster.local", _ version: Line.Version = .http2
    ) throws -> Line { try world.dial(apiAddress.withPort(15_006), as: svid, serverName, version) }
}

func get(
    _ authority: String = "api.shop", _ path: String = "/", method: String = "GET", _ more: [(String, String)] = []
) -> [(String, String)] {
    [(":method", method), (":scheme", "https"), (":authority", authority), (":path", path)] + more
}
