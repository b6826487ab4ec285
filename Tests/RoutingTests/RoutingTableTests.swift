import MeshModel
import Routing
import Testing

@Suite struct RoutingTableTests {
    private let suffix = "shop.svc.clusterset.local"

    private func mesh() -> Mesh {
        var mesh = Mesh()
        mesh.add("web", ports: [80, 8_443], zones: ["a"])
        mesh.add("api", ports: [80, 9_090], zones: ["a"], export: .clusters([cluster("west")]), firstID: 10)
        mesh.add("pay", ports: [7_000], remotes: ["west"], firstID: 20)
        mesh.add("both", ports: [80], zones: ["b"], remotes: ["north"], firstID: 30) { $0.plainNames = true }
        mesh.add("odd", ports: [81, 82], zones: ["b"], firstID: 40)
        return mesh
    }

    private func part(_ table: RoutingTable, _ id: String) -> PeerPart { table.part(of: spiffe(id)) }

    @Test func knowsThePartOfEveryPeer() {
        let table = mesh().gatewayTable()
        #expect(part(table, "spiffe://east.mesh/ns/a/sa/b") == .ownWorkload)
        #expect(part(table, "spiffe://east.mesh/something") == .ownWorkload)
        #expect(part(table, "spiffe://east.mesh/meshfed/gateway/x") == .ownGateway)
        #expect(part(table, "spiffe://east.mesh/meshfed/broker/x") == .ownBroker)
        #expect(part(table, "spiffe://east.mesh/meshfed/admin/x") == .unknown)
        #expect(part(table, "spiffe://west.mesh/meshfed/gateway/x") == .foreign(member: 0, .gateway))
        #expect(part(table, "spiffe://north.mesh/ns/a/sa/b") == .foreign(member: 1, .workload))
        #expect(part(table, "spiffe://west.mesh/meshfed/admin/x") == .unknown)
        #expect(part(table, "spiffe://mars.mesh/ns/a/sa/b") == .unknown)
    }

    @Test func showsAMemberOnlyWhatIsExportedToIt() {
        let table = mesh().gatewayTable()
        let west = PeerPart.foreign(member: 0, .gateway)
        let north = PeerPart.foreign(member: 1, .gateway)
        #expect(table.named("80.api.\(suffix)", from: west)?.scope == .clusterset)
        #expect(table.named("80.api.shop.svc.east.clusterset.local", from: west)?.scope == .pinnedHere)
        #expect(table.named("80.api.\(suffix)", from: north) == nil)
        #expect(table.named("80.web.\(suffix)", from: west) == nil)
        #expect(table.named("80.web.shop.svc.cluster.local", from: west) == nil)
        #expect(table.named("80.api.shop.svc.cluster.local", from: west) == nil)
        // No transit: what is imported from west is not lent to west or north.
        #expect(table.named("7000.pay.\(suffix)", from: west) == nil)
        #expect(table.named("7000.pay.shop.svc.west.clusterset.local", from: north) == nil)
        #expect(table.named("80.both.\(suffix)", from: north) == nil)
        for wrong in ["81.api.\(suffix)", "api.\(suffix)", "80.API.\(suffix)", "80.api.\(suffix).", ""] {
            #expect(table.named(wrong, from: west) == nil, "\(wrong)")
        }
        #expect(table.isVisible(table.named("80.api.\(suffix)", from: west)!, to: domain("west.mesh")))
        #expect(!table.isVisible(table.named("80.api.\(suffix)", from: west)!, to: domain("north.mesh")))
    }

    @Test func egressRoutesImportsAndExportsOnly() {
        let table = mesh().gatewayTable()
        #expect(table.named("7000.pay.\(suffix)", from: .ownWorkload)?.hasRemotes == true)
        #expect(table.named("7000.pay.shop.svc.west.clusterset.local", from: .ownWorkload)?.scope == .pinned(member: 0))
        #expect(table.named("7000.pay.shop.svc.north.clusterset.local", from: .ownWorkload) == nil)
        #expect(table.named("80.api.\(suffix)", from: .ownWorkload) != nil)
        #expect(table.named("80.web.\(suffix)", from: .ownWorkload) == nil)
        #expect(table.named("80.web.shop.svc.cluster.local", from: .ownWorkload) == nil)
        #expect(table.named("7000.pay.\(suffix)", from: .ownGateway) == nil)
        #expect(table.named("7000.pay.\(suffix)", from: .unknown) == nil)
    }

    @Test func probesAreForMembersAndTheBroker() {
        let table = mesh().gatewayTable()
        let own = "80.probe.meshfed-system.svc.east.clusterset.local"
        let west = "80.probe.meshfed-system.svc.west.clusterset.local"
        let found = table.named(own, from: .foreign(member: 2, .gateway))
        #expect(found?.isProbe == true && found?.scope == .pinnedHere)
        #expect(table.named(own, from: .ownBroker)?.isProbe == true)
        #expect(table.named(west, from: .ownBroker)?.scope == .pinned(member: 0))
        #expect(table.named(west, from: .foreign(member: 1, .gateway)) == nil)
        #expect(table.named(own, from: .ownWorkload) == nil)
        #expect(mesh().sidecarTable().inbound(own) == nil)
    }

    @Test func aSidecarTakesOnlyWhatItsWorkloadServes() {
        let web = mesh().sidecarTable("web-0")
        #expect(web.inbound("80.web.shop.svc.cluster.local")?.ownTargetPort == 8_080)
        #expect(web.inbound("8443.web.shop.svc.cluster.local")?.ownTargetPort == 16_443)
        #expect(web.inbound("80.api.\(suffix)") == nil)
        let api = mesh().sidecarTable("api-0")
        #expect(api.inbound("80.api.\(suffix)")?.scope == .clusterset)
        #expect(api.inbound("80.api.shop.svc.east.clusterset.local")?.scope == .pinnedHere)
        #expect(api.inbound("80.api.shop.svc.cluster.local")?.scope == .local)
        #expect(api.inbound("80.api.shop.svc.cluster.local")?.name == "80.api.shop.svc.cluster.local")
    }

    @Test func readsEveryFormOfAName() {
        let table = mesh().sidecarTable()
        for host in ["web", "web:80", "WEB.shop", "web.shop.", "web.shop.svc", "web.shop.svc.cluster.local:80"] {
            #expect(table.reached(host).name == "80.web.shop.svc.cluster.local", "\(host)")
        }
        #expect(table.reached("web:8443").port.port == 8_443)
        // Exported: on the wire by its mesh name, but the plain name stays local.
        #expect(table.reached("api").name == "80.api.\(suffix)")
        #expect(table.reached("api").scope == .local)
        #expect(table.reached("api.\(suffix)").scope == .clusterset)
        #expect(table.reached("api.shop.svc.east.clusterset.local").scope == .pinnedHere)
        // The only port counts where there is no 80.
        #expect(table.reached("pay.\(suffix)").port.port == 7_000)
        #expect(table.reached("pay.shop.svc.west.clusterset.local:7000").scope == .pinned(member: 0))
        // plainNames
        #expect(table.reached("both").scope == .clusterset)
        #expect(table.reached("both.shop.svc.cluster.local").scope == .clusterset)
        #expect(
            String(decoding: table.reached("web:8443").authority, as: UTF8.self) == "web.shop.svc.cluster.local:8443")
        #expect(String(decoding: table.reached("web").meshName, as: UTF8.self) == "web.shop.svc.cluster.local")
    }

    @Test func tellsUnknownAmbiguousAndMalformedApart() {
        let table = mesh().sidecarTable()
        func word(_ host: String, namespace: String = "shop") -> String {
            switch table.host(host, namespace: namespace) {
            case .destination: "found"
            case .ambiguousPort: "ambiguous"
            case .unknown: "unknown"
            case .malformed: "malformed"
            }
        }
        #expect(word("odd") == "ambiguous")
        #expect(word("odd:82") == "found")
        #expect(word("odd:83") == "unknown")
        #expect(word("web", namespace: "other") == "unknown")
        #expect(word("pay") == "unknown")
        #expect(word("pay.shop") == "unknown")
        #expect(word("example.com") == "unknown")
        #expect(word("web.shop.svc.clusterset.local") == "unknown")
        #expect(word("10.0.0.1") == "unknown")
        for host in [
            "", ":80", ".", "web:", "web:0", "web:080", "web:65536", "web:8o", "web:80:80", "we b", "web..shop", ".web",
            "[::1]", "web/", "web@x", String(repeating: "a", count: 254),
        ] {
            #expect(word(host) == "malformed", "\(host)")
        }
    }

    @Test func findsTheSameDestinationInTheNextTable() {
        var mesh = mesh()
        let first = mesh.sidecarTable()
        let api = first.reached("api")
        let wide = first.reached("api.\(suffix)")
        mesh.snapshot.revision = 2
        mesh.snapshot.services.remove(at: 0)
        let second = mesh.sidecarTable()
        #expect(second.current(api)?.scope == .local)
        #expect(second.current(wide)?.scope == .clusterset)
        #expect(second.current(api) !== api)
        #expect(first.current(api) === api)
        mesh.snapshot.services.removeAll()
        #expect(mesh.sidecarTable().current(api) == nil)
    }

    @Test func asksTheRightOwner() {
        var mesh = mesh()
        let rule = AuthorizationRule(
            name: "shop/p#0", action: .allow, callers: [.identity(spiffe("spiffe://east.mesh/ns/shop/sa/web"))])
        mesh.snapshot.services[2].remotes[0].authorization = Authorization(rules: [rule])
        let table = mesh.gatewayTable()
        let pay = table.named("7000.pay.\(suffix)", from: .ownWorkload)!
        let web = spiffe("spiffe://east.mesh/ns/shop/sa/web")
        let other = spiffe("spiffe://east.mesh/ns/shop/sa/other")
        #expect(table.decide(pay, caller: web, remote: 0) == .allowed(rule: 0))
        #expect(table.decide(pay, caller: other, remote: 0) == .denied(rule: nil))
        #expect(table.decide(pay, caller: web, remote: 1) == .denied(rule: nil))
        #expect(table.decide(pay, caller: other) == .allowed(rule: nil))
    }
}
