import Identity
import MeshModel
import MeshTestKit
import Routing
import Testing

/// HOSTILE 13, 14, 24, 88, 92 and 93: names that look alike are not alike, and nobody learns of what is not shown to them.
@Suite struct NameTests {
    private func domain(_ text: String) throws -> TrustDomain { try #require(TrustDomain(text)) }
    private func cluster(_ text: String) throws -> ClusterID { try #require(ClusterID(text)) }
    private func label(_ text: String) throws -> Label { try #require(Label(text)) }

    /// Cluster east with members west and north; in namespace shop one service for each kind of export and import.
    private func mesh() throws -> Snapshot {
        var snapshot = Snapshot(
            cluster: try cluster("east"), trustDomain: try domain("east.mesh"), epoch: 1, revision: 1)
        for name in ["west", "north"] {
            snapshot.members.append(
                Member(
                    cluster: try cluster(name), trustDomain: try domain("\(name).mesh"),
                    gateways: [
                        GatewayAddress(name: try label("gw-1"), address: "192.0.2.9", port: 15_443, locality: .unknown)
                    ], freshness: .fresh))
        }
        let scopes: [(String, ExportScope, Bool)] = [
            ("none", .none, false), ("all", .all, false), ("west-only", .clusters([try cluster("west")]), false),
            ("imported", .none, true), ("both", .clusters([try cluster("north")]), true),
        ]
        for (index, (name, scope, isImported)) in scopes.enumerated() {
            let ports = [ServicePort(name: "http", port: 80, appProtocol: .http)]
            var service = Service(
                id: ServiceID(index + 1), name: ObjectName(namespace: try label("shop"), name: try label(name)),
                ports: ports)
            service.export = scope
            service.isLocal = name != "imported"
            if service.isLocal {
                service.endpoints.append(
                    Endpoint(
                        id: EndpointID(index + 1),
                        workload: ObjectName(namespace: try label("shop"), name: try label("\(name)-1")),
                        address: "10.1.0.9",
                        targetPorts: [80: 8_080], security: .mesh,
                        identity: SPIFFEID.workload(
                            in: try domain("east.mesh"), namespace: try label("shop"), serviceAccount: try label(name)),
                        locality: .unknown))
            }
            if isImported {
                service.remotes.append(
                    RemoteService(
                        cluster: try cluster("west"), ports: ports,
                        capacities: [RemoteCapacity(locality: .unknown, healthyCount: 1, capacity: 1)],
                        authorization: Authorization()))
            }
            snapshot.services.append(service)
        }
        return snapshot
    }

    private static let suffix = "shop.svc.clusterset.local"

    /// 92, 93: for every peer and every name, the gateway routes exactly what the owner shows to that peer's cluster.
    @Test func aGatewayShowsNobodyMoreThanTheOwnerDoes() throws {
        let snapshot = try mesh()
        let table = RoutingTable(
            snapshot, ownRole: .gateway(name: try label("gw-1"), locality: .unknown), limits: nil)
        let paths = ["ns/shop/sa/web", "meshfed/gateway/gw-1", "meshfed/broker/b", "meshfed/admin/root", "else/where"]
        for home in ["east", "west", "north", "stranger"] {
            for path in paths {
                let peer = try #require(SPIFFEID("spiffe://\(home).mesh/\(path)"))
                let part = table.part(of: peer)
                for service in snapshot.services {
                    let name = Array("80.\(service.name.name).\(Self.suffix)".utf8)
                    let found = table.destination(serverName: name.span, from: part)
                    let isMember = home == "west" || home == "north"
                    let scope = try cluster(home)
                    let isShown = isMember && service.isLocal && service.export.covers(scope)
                    if home == "stranger" || path.hasPrefix("meshfed/admin") {
                        #expect(found == nil, "\(peer) \(service.name)")
                    } else if isMember, !path.hasPrefix("meshfed/broker") {
                        #expect((found != nil) == isShown, "\(peer) \(service.name)")
                        if let found { #expect(table.isVisible(found, to: try domain("\(home).mesh"))) }
                    }
                }
            }
        }
    }

    /// 24: only the one spelling is a name; everything else is as unknown as what does not exist.
    @Test func onlyOneSpellingIsAServerName() throws {
        let table = RoutingTable(
            try mesh(), ownRole: .gateway(name: try label("gw-1"), locality: .unknown), limits: nil)
        let part = table.part(of: try #require(SPIFFEID("spiffe://west.mesh/meshfed/gateway/gw-1")))
        let good = Array("80.all.\(Self.suffix)".utf8)
        #expect(table.destination(serverName: good.span, from: part) != nil)
        for text in [
            "80.ALL.\(Self.suffix)", "80.all.\(Self.suffix).", "080.all.\(Self.suffix)", "+80.all.\(Self.suffix)",
            "all.\(Self.suffix)", "80.all.shop.svc.cluster.local", "80.all.shop.svc.west.clusterset.local",
            "*.\(Self.suffix)",
            "80.all.\(Self.suffix)\u{0}", "80.\u{212A}ll.\(Self.suffix)", "192.0.2.1", "", "81.all.\(Self.suffix)",
        ] {
            let name = Array(text.utf8)
            #expect(table.destination(serverName: name.span, from: part) == nil, "\(text.debugDescription)")
        }
        var random = SplitMix64.announced()
        for _ in 0..<20_000 {
            let name = random.damaged(good)
            if name != good { #expect(table.destination(serverName: name.span, from: part) == nil, "\(name)") }
        }
    }

    /// 88: one service, whatever its host looks like, or none.
    @Test func aHostHasOneMeaning() throws {
        let table = RoutingTable(
            try mesh(),
            ownRole: .sidecar(
                workload: ObjectName(namespace: try label("shop"), name: try label("web-1")), locality: .unknown))
        func place(_ host: String) throws -> Int? {
            let bytes = Array(host.utf8)
            guard case .destination(let found) = table.destination(host: bytes.span, namespace: try label("shop"))
            else {
                return nil
            }
            return found.index
        }
        let all = try #require(try place("all.\(Self.suffix)"))
        for host in [
            "ALL.\(Self.suffix)", "all.\(Self.suffix).", "all.\(Self.suffix):80", "All.Shop.svc.ClusterSet.Local.:80",
        ] {
            #expect(try place(host) == all, "\(host)")
        }
        for host in [
            "all.\(Self.suffix):8443", "all.\(Self.suffix):080", "all.\(Self.suffix):", "all.\(Self.suffix):+80",
            "all..\(Self.suffix)",
            ".all.\(Self.suffix)", "a\u{301}ll.\(Self.suffix)", "xn--all.\(Self.suffix)", "user@all.\(Self.suffix)",
            "all.\(Self.suffix)/x", "all.\(Self.suffix),none.\(Self.suffix)", "all.\(Self.suffix) ",
            "%61ll.\(Self.suffix)",
        ] {
            #expect(try place(host) == nil, "\(host)")
        }
    }

    /// 13: bytes decide, not how a text looks or folds.
    @Test func lookAlikesAreNotAlike() throws {
        for text in [
            "spiffe://east.mesh/ns/shop/sa/\u{212A}ey", "spiffe://east.mesh/ns/shop/sa/caf\u{e9}",
            "spiffe://east.mesh/ns/shop/sa/cafe\u{301}", "spiffe://east.mesh/ns/shop/sa/key\u{a0}",
            "spiffe://e\u{430}st.mesh/x",
            "spiffe://east.mesh\u{200b}/x", " spiffe://east.mesh/x", "spiffe://east.mesh/x\n",
        ] {
            #expect(SPIFFEID(text) == nil, "\(text.debugDescription)")
        }
        for text in ["\u{212A}ey", "caf\u{e9}", "web\u{a0}", "we\u{200b}b", "\u{ff57}eb"] {
            #expect(Label(text) == nil && TrustDomain(text) == nil, "\(text.debugDescription)")
        }
        let upper = try #require(SPIFFEID("spiffe://east.mesh/ns/shop/sa/Web"))
        let lower = try #require(SPIFFEID("spiffe://east.mesh/ns/shop/sa/web"))
        #expect(upper != lower && Set([upper, lower]).count == 2)
    }

    /// 14: a dot in a policy is a dot.
    @Test func patternsAreLiteral() throws {
        let owner = try domain("east.mesh")
        let named = try #require(SPIFFEID("spiffe://west.mesh/ns/a.b/sa/x"))
        let policy = Authorization(rules: [AuthorizationRule(name: "p#0", action: .allow, callers: [.identity(named)])])
        #expect(Authoriser.decide(policy, caller: named, port: 80, owner: owner).isAllowed)
        for text in ["ns/aXb/sa/x", "ns/a.b/sa/xy", "ns/a.b/sa/X", "ns/a.b/sa/x/y", "ns/a.b/sa"] {
            let caller = try #require(SPIFFEID("spiffe://west.mesh/\(text)"))
            #expect(!Authoriser.decide(policy, caller: caller, port: 80, owner: owner).isAllowed, "\(text)")
        }
    }
}
