import ControlCoding
import MeshModel

/// Deterministic generator (SplitMix64) of everything that this module encodes.
struct Samples {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }

    mutating func below(_ limit: Int) -> Int { Int(next() % UInt64(limit)) }
    mutating func flag() -> Bool { next() & 1 == 0 }
    mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) } }
    mutating func list<Element>(_ most: Int, _ make: (inout Samples, Int) -> Element) -> [Element] {
        let count = below(most + 1)
        return (0..<count).map { make(&self, $0) }
    }

    mutating func label(_ index: Int = 0) -> Label { Label("n\(index)-\(next() % 1_000)")! }
    mutating func cluster(_ index: Int) -> ClusterID { ClusterID("c\(index)")! }
    mutating func object(_ index: Int) -> ObjectName { ObjectName(namespace: Label("ns")!, name: Label("o\(index)")!) }
    mutating func domain(_ index: Int) -> TrustDomain { TrustDomain("c\(index).mesh")! }
    mutating func locality() -> Locality {
        Locality(region: flag() ? "us-east" : "", zone: flag() ? "us-east-1\(below(9))" : "")
    }
    mutating func address() -> String { flag() ? "10.\(below(256)).0.\(below(256))" : "fd00::\(below(9_999))" }
    mutating func port() -> UInt16 { UInt16(1 + below(65_535)) }
    mutating func duration() -> Duration { .nanoseconds(Int64(next() % 1_000_000_000_000)) }
    mutating func workloadID(_ domain: TrustDomain) -> SPIFFEID {
        .workload(in: domain, namespace: label(), serviceAccount: label(1))
    }

    mutating func gateway(_ index: Int) -> GatewayAddress {
        GatewayAddress(name: Label("gw\(index)")!, address: address(), port: port(), locality: locality())
    }

    mutating func bundle(_ domain: TrustDomain) -> TrustBundle {
        TrustBundle(
            trustDomain: domain, roots: list(3) { samples, _ in samples.bytes(1 + samples.below(40)) },
            revokedSerials: list(4) { samples, _ in samples.bytes(1 + samples.below(20)) }, sequence: next())
    }

    mutating func authorization() -> Authorization {
        Authorization(
            rules: list(3) { samples, index in
                AuthorizationRule(
                    name: "ns/p#\(index)", action: samples.flag() ? .allow : .deny,
                    callers: samples.list(3) { samples, _ in
                        switch samples.below(4) {
                        case 0: .any
                        case 1: .identity(samples.workloadID(samples.domain(1)))
                        case 2: .prefix(ASCIIText("spiffe://c1.mesh/ns/shop/")!)
                        default: .trustDomain(samples.domain(2))
                        }
                    }, ports: samples.list(2) { samples, _ in samples.port() })
            })
    }

    mutating func ports() -> [ServicePort] {
        list(3) { samples, index in
            ServicePort(
                name: index == 0 ? "" : "p\(index)", port: UInt16(80 + index),
                appProtocol: AppProtocol.allCases[samples.below(AppProtocol.allCases.count)])
        }
    }

    mutating func capacities() -> [RemoteCapacity] {
        list(3) { samples, index in
            RemoteCapacity(
                locality: Locality(region: "r\(index)", zone: ""), healthyCount: UInt32(samples.below(9)),
                capacity: UInt32(samples.below(99)))
        }
    }

    mutating func traffic() -> TrafficSettings {
        var settings = TrafficSettings()
        settings.failoverOrder = list(2) { samples, index in samples.cluster(index) }
        settings.failoverExcluded = list(2) { samples, index in samples.cluster(index + 5) }
        settings.connectTimeout = duration()
        settings.perTryTimeout = duration()
        settings.handshakeTimeout = duration()
        settings.headersTimeout = duration()
        settings.connectionIdleTimeout = duration()
        settings.maximumConnectionAge = duration()
        settings.maximumAttempts = 1 + below(9)
        settings.maximumStaleness = flag() ? duration() : nil
        return settings
    }

    mutating func snapshot() -> Snapshot {
        let own = domain(0)
        var snapshot = Snapshot(cluster: cluster(0), trustDomain: own, epoch: next(), revision: next())
        snapshot.members = list(4) { samples, index in
            Member(
                cluster: samples.cluster(index + 1), trustDomain: samples.domain(index + 1),
                gateways: samples.list(2) { samples, index in samples.gateway(index) },
                freshness: [.fresh, .gone, .stale(since: WallTime(seconds: Int64(samples.below(1 << 40))))][
                    samples.below(3)])
        }
        snapshot.bundles = [bundle(own)] + snapshot.members.map { bundle($0.trustDomain) }
        snapshot.gateways = list(3) { samples, index in samples.gateway(index) }
        let members = snapshot.members.map(\.cluster)
        snapshot.services = list(4) { samples, index in samples.service(index, own, members) }
        snapshot.settings.mutualTLS = flag() ? .strict : .permissive
        snapshot.settings.acceptAttested = list(2) { samples, index in samples.domain(index) }
        snapshot.settings.tracingSamplePercent = Double(below(101))
        snapshot.settings.accessLog = flag()
        return snapshot
    }

    mutating func service(_ index: Int, _ own: TrustDomain, _ members: [ClusterID]) -> Service {
        var service = Service(id: UInt32(index), name: object(index), ports: ports())
        service.export = [ExportScope.none, .all, .clusters(members)][below(3)]
        service.plainNames = flag()
        service.isLocal = flag()
        service.endpoints = list(3) { samples, position in
            Endpoint(
                id: UInt32(index * 100 + position), workload: samples.object(position), address: samples.address(),
                targetPorts: [80: samples.port(), 81: samples.port()],
                security: [.mesh, .mutual, .plain, .simple(roots: "-----BEGIN CERTIFICATE-----\nAA==\n")][
                    samples.below(4)], identity: samples.workloadID(own), locality: samples.locality(),
                weight: UInt32(samples.below(65_536)), healthy: samples.flag())
        }
        for member in members where flag() {
            service.remotes.append(
                RemoteService(
                    cluster: member, ports: ports(), capacities: capacities(), authorization: authorization()))
        }
        service.traffic = traffic()
        service.limits = list(2) { samples, index in
            LimitRule(
                name: "ns/limit#\(index)", requests: samples.below(1_000), per: .seconds(1 + samples.below(60)),
                burst: samples.below(100), subject: samples.flag() ? .service : .caller,
                mode: samples.flag() ? .enforce : .shadow)
        }
        service.authorization = authorization()
        service.mutualTLS = [nil, .strict, .permissive][below(3)]
        return service
    }

    mutating func keyName() -> KeyName { KeyName(bytes(32))! }

    mutating func record(_ type: RecordType, _ payload: [UInt8]) -> SignedRecord {
        let roles = Array(SignatureRole.allCases.prefix(1 + below(4)))
        return SignedRecord(
            type: type, sequence: next(), payload: payload,
            signatures: roles.map { RecordSignature(role: $0, keyName: keyName(), signature: bytes(64)) })
    }

    mutating func membership() -> MembershipStatement {
        MembershipStatement(
            cluster: cluster(1), trustDomain: domain(1), federationKey: bytes(91),
            rootHashes: list(3) { samples, _ in samples.bytes(32) },
            brokerAddresses: ["10.0.0.1:15012", "[fd00::1]:15012", "broker.east.example:15012"],
            gateways: list(3) { samples, index in samples.gateway(index) }, epoch: 1 + next() % 9)
    }

    mutating func bundleStatement() -> BundleStatement {
        let bundle = self.bundle(domain(1))
        return BundleStatement(
            trustDomain: bundle.trustDomain, roots: bundle.roots, revokedSerials: bundle.revokedSerials)
    }

    mutating func cursor() -> CatalogCursor { CatalogCursor(epoch: next(), revision: next()) }

    mutating func catalogRecords() -> [CatalogRecord] {
        list(3) { samples, index in
            CatalogRecord(
                service: samples.object(index), cluster: ClusterID("peer")!, ports: samples.ports(),
                capacities: samples.capacities(), authorization: samples.authorization())
        }
    }

    mutating func syncFrame() -> SyncFrame {
        switch below(6) {
        case 0:
            .hello(
                SyncHello(
                    cluster: cluster(1), version: "0.1", features: ["digests"], wallTime: WallTime(seconds: 17),
                    cursor: cursor()))
        case 1: .records([record(.membership, membership().encode()).encoded])
        case 2:
            .delta(
                CatalogDelta(
                    epoch: next(), from: 4, to: 5, changed: catalogRecords(),
                    removed: list(2) { samples, index in samples.object(index + 9) }))
        case 3:
            .snapshot(
                CatalogChunk(cursor: cursor(), index: UInt32(below(9)), isLast: flag(), records: catalogRecords()))
        case 4: .lease(SyncLease(counter: next(), cursor: cursor(), wallTime: WallTime(seconds: -5)))
        default: .ack(cursor(), refused: flag() ? nil : "too many services")
        }
    }

    mutating func subscriberFrame() -> SubscriberFrame {
        switch below(6) {
        case 0:
            .hello(
                SubscriberHello(
                    role: flag()
                        ? .sidecar(workload: object(1))
                        : .gateway(name: Label("gw")!, advertised: nil), version: "0.1", features: ["links"],
                    locality: locality(), epoch: next(), revision: next(), instance: bytes(16)))
        case 1: .ack(epoch: next(), revision: next(), refused: flag() ? nil : "bad")
        case 2:
            .health(
                list(3) { samples, index in
                    EndpointHealth(
                        endpoint: UInt32(index), healthy: samples.flag(), since: WallTime(seconds: 1))
                })
        case 3: .keepalive(counter: next())
        case 4:
            .plaintext(
                since: WallTime(seconds: 7),
                list(3) { samples, index in
                    PlaintextCount(
                        service: UInt32(index), allowed: samples.next(), refused: samples.next(),
                        last: WallTime(seconds: 9))
                })
        default: .draining
        }
    }

    mutating func joinRequest() -> JoinRequest {
        JoinRequest(
            tokenSecret: bytes(32), membership: record(.membership, membership().encode()),
            bundle: record(.bundle, bundleStatement().encode()), plan: flag())
    }

    mutating func enrolment() -> EnrolmentAnswer {
        let own = domain(0)
        return EnrolmentAnswer(
            chain: [bytes(30), bytes(40)], bundle: bundle(own), cluster: cluster(0), identity: workloadID(own),
            brokerAddresses: ["10.0.0.1:15012"], enrolmentAddresses: ["10.0.0.1:8443"],
            notBefore: WallTime(seconds: 1), notAfter: WallTime(seconds: 2))
    }
}
