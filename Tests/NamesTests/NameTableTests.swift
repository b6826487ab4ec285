import MeshModel
import Names
import Testing
import Wire

@Suite struct NameTableTests {
    private struct Missing: Error {}

    private func name(_ text: String) throws -> MeshName {
        guard let name = MeshName(text.utf8) else { throw Missing() }
        return name
    }

    private func table() throws -> NameTable {
        guard let east = Label("east"), let west = Label("west"), let domain = TrustDomain("east.mesh"),
            let shop = Label("shop"), let reviews = ObjectName("shop/reviews"), let cart = ObjectName("shop/cart"),
            let workload = ObjectName("shop/cart-1"), let id = SPIFFEID("spiffe://east.mesh/ns/shop/sa/cart")
        else { throw Missing() }
        var snapshot = Snapshot(cluster: ClusterID(east), trustDomain: domain, epoch: 1, revision: 1)
        var remote = Service(
            id: 1, name: reviews, ports: [ServicePort(name: "http", port: 80, appProtocol: .http)])
        remote.isLocal = false
        remote.plainNames = true
        remote.remotes = [
            RemoteService(
                cluster: ClusterID(west), ports: remote.ports, capacities: [], authorization: Authorization())
        ]
        var local = Service(id: 2, name: cart, ports: [ServicePort(name: "tcp", port: 7000, appProtocol: .tcp)])
        local.endpoints = [
            Endpoint(
                id: 3, workload: workload, address: "10.1.0.9", targetPorts: [7000: 7070], security: .mesh,
                identity: id, locality: .unknown)
        ]
        for (number, text) in [
            (1, "reviews.shop.svc.clusterset.local"), (2, "reviews.shop.svc.west.clusterset.local"),
        ] {
            guard let address = VirtualAddress(name: try name(text), number: UInt32(number)) else { throw Missing() }
            remote.virtualAddresses.append(address)
        }
        guard let address = VirtualAddress(name: try name("cart.shop.svc.cluster.local"), number: 3) else {
            throw Missing()
        }
        local.virtualAddresses = [address]
        guard let bare = ObjectName("shop/bare") else { throw Missing() }
        // The range is used up: it has no address.
        let last = Service(id: 3, name: bare, ports: [ServicePort(name: "", port: 80, appProtocol: .http)])
        snapshot.services = [local, remote, last]
        return NameTable(snapshot, namespace: shop)
    }

    private func query(_ name: String, _ type: UInt16) throws -> DNSQuery {
        var bytes: [UInt8] = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]
        for label in name.split(separator: ".") { bytes += [UInt8(label.utf8.count)] + Array(label.utf8) }
        bytes += [0, UInt8(type >> 8), UInt8(type & 0xFF), 0, 1]
        return try DNSQuery(bytes.span)
    }

    private func ask(_ name: String, _ type: UInt16 = DNSCode.a, v6: Bool = true) throws -> NameTable.Verdict {
        try table().judge(try query(name, type), hasV4: true, hasV6: v6)
    }

    @Test(
        arguments: [
            ("reviews.shop.svc.clusterset.local", [240, 240, 0, 1]),
            ("REVIEWS.shop.SVC.clusterset.LOCAL", [240, 240, 0, 1]),
            ("reviews.shop.svc.west.clusterset.local", [240, 240, 0, 2]), ("reviews", [240, 240, 0, 1]),
            ("reviews.shop", [240, 240, 0, 1]), ("reviews.shop.svc.cluster.local", [240, 240, 0, 1]),
            ("cart.shop.svc.cluster.local", [240, 240, 0, 3]), ("cart", [240, 240, 0, 3]),
            ("cart-1.cart.shop.svc.cluster.local", [10, 1, 0, 9]),
        ] as [(String, [UInt8])]) func everyFormOfANameHasItsAddress(name: String, address: [UInt8]) throws
    {
        #expect(try ask(name) == .answer(DNSAnswer(records: [.address(address)])))
    }

    @Test func theFamilyThatIsNotCapturedIsAbsentButTheNameIsNot() throws {
        guard case .answer(let six) = try ask("cart", DNSCode.aaaa), case .address(let bytes) = six.records.first else {
            Issue.record("no AAAA")
            return
        }
        #expect(bytes.count == 16 && VirtualAddress.isVirtual(bytes))
        guard case .answer(let none) = try ask("cart", DNSCode.aaaa, v6: false) else { throw Missing() }
        #expect(none.code == DNSCode.noError && none.records.isEmpty && !none.zone.isEmpty)
        guard case .answer(let text) = try ask("cart", 16) else { throw Missing() }
        #expect(text.code == DNSCode.noError && text.records.isEmpty)
    }

    @Test func namedPortsAreServices() throws {
        let said = try ask("_tcp._tcp.cart.shop.svc.cluster.local", DNSCode.srv)
        #expect(
            said
                == .answer(
                    DNSAnswer(records: [.service(port: 7000, target: Array("cart.shop.svc.cluster.local".utf8))])))
        guard case .answer(let none) = try ask("_no._tcp.cart.shop.svc.cluster.local", DNSCode.srv) else {
            throw Missing()
        }
        #expect(none.code == DNSCode.nameError)
    }

    @Test(arguments: [
        "nothing.shop.svc.clusterset.local", "reviews.shop.svc.clusterset.local.example.com", "clusterset.local",
        "reviews.shop.svc.clusterset.local.shop.svc.cluster.local", "5.0.240.240.in-addr.arpa",
        "reviews.shop.cluster.local", "reviews.shop.shop.svc.cluster.local",
    ]) func theMeshsOwnNamesAreDeniedHereAndAskedNowhere(name: String) throws {
        guard case .answer(let said) = try ask(name) else { throw Missing() }
        #expect(said.code == DNSCode.nameError && said.records.isEmpty)
    }

    @Test(arguments: ["example.com", "kube-dns.kube-system.svc.cluster.local", "local", "", "notclusterset.local"])
    func whatIsNotTheMeshsIsForwarded(name: String) throws {
        #expect(try ask(name) == .forward)
    }

    @Test(arguments: ["bare.shop.svc.cluster.local", "bare.shop", "bare"])
    func aNameWithoutAnAddressIsNoNameThatIsNotThere(name: String) throws {
        guard case .answer(let said) = try ask(name) else { throw Missing() }
        #expect(said.code == DNSCode.serverFailure)
    }

    @Test func withoutATableTheMeshsZonesFail() throws {
        #expect(
            NameTable.judgeWithoutTable(try query("a.b.svc.clusterset.local", 1))
                == .answer(DNSAnswer(code: DNSCode.serverFailure)))
        #expect(NameTable.judgeWithoutTable(try query("example.com", 1)) == .forward)
    }
}
