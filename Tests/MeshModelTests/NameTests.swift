import MeshModel
import Testing

@Suite struct NameTests {
    @Test(arguments: ["a", "0", "a-b", "a--b", "1a", String(repeating: "a", count: 63)])
    func labelsAreTaken(text: String) { #expect(Label(text)?.description == text) }

    @Test(arguments: [
        "", "-", "-a", "a-", "A", "a.b", "a_b", "a b", "ä", "a\u{0}", "a\n", String(repeating: "a", count: 64),
    ])
    func otherLabelsAreRefused(text: String) { #expect(Label(text) == nil) }

    @Test func objectNamesHaveTwoParts() {
        #expect(ObjectName("shop/web")?.description == "shop/web")
        for text in ["shop", "shop/", "/web", "shop/web/x", "Shop/web", "", "/"] { #expect(ObjectName(text) == nil) }
    }

    @Test(arguments: [
        "reviews.shop.svc.clusterset.local", "reviews.shop.svc.east.clusterset.local", "reviews.shop.svc.cluster.local",
    ])
    func meshNamesAreReadAndWritten(text: String) {
        #expect(MeshName(Array(text.utf8))?.description == text)
        #expect(ServiceAddress(serverName: Array("80.\(text)".utf8))?.serverName == "80.\(text)")
        #expect(ServiceAddress(serverName: Array("80.\(text)".utf8))?.authority == "\(text):80")
    }

    @Test(arguments: [
        "", ".", "reviews.shop", "reviews.shop.svc", "reviews.shop.svc.clusterset.local.",
        "Reviews.shop.svc.clusterset.local",
        "reviews..svc.clusterset.local", "reviews.shop.svc.clusterset.example", "reviews.shop.pod.clusterset.local",
        "reviews.shop.svc.east.cluster.local", "a.reviews.shop.svc.east.clusterset.local",
        "*.shop.svc.clusterset.local",
        "reviews.shop.svc.-.clusterset.local", "reviews.shop.svc.EAST.clusterset.local",
        ".reviews.shop.svc.clusterset.local",
        "rev\u{0}iews.shop.svc.clusterset.local", "reviews.shop.svc.clusterset.local\n",
    ])
    func otherMeshNamesAreRefused(text: String) { #expect(MeshName(Array(text.utf8)) == nil) }

    @Test(arguments: [
        "reviews.shop.svc.clusterset.local", "0.reviews.shop.svc.clusterset.local",
        "080.reviews.shop.svc.clusterset.local",
        "65536.reviews.shop.svc.clusterset.local", "+80.reviews.shop.svc.clusterset.local", "80", "80.",
        ".80.a.b.svc.x.local",
        "80.reviews.shop.svc.clusterset.local.", "10.1.2.3",
    ])
    func otherServerNamesAreRefused(text: String) { #expect(ServiceAddress(serverName: Array(text.utf8)) == nil) }

    @Test func serverNamesAreAtMost253Bytes() {
        let long = String(repeating: "a", count: 63)
        let name = "80.\(long).\(long).svc.\(long).clusterset.local"
        #expect(name.utf8.count <= 253)
        #expect(ServiceAddress(serverName: Array(name.utf8)) != nil)
    }

    @Test func theProbeNamesItsCluster() throws {
        let cluster = try #require(ClusterID("east"))
        #expect(ServiceAddress.probe(of: cluster).serverName == "80.probe.meshfed-system.svc.east.clusterset.local")
    }

    @Test func meshNameFollowsExportAndImport() throws {
        let name = try #require(ObjectName("shop/web"))
        var service = Service(id: 1, name: name, ports: [])
        #expect(service.meshName.scope == .local)
        service.export = .all
        #expect(service.meshName.scope == .clusterset)
        service.export = .none
        let west = try #require(ClusterID("west"))
        service.remotes = [RemoteService(cluster: west, ports: [], capacities: [], authorization: Authorization())]
        #expect(service.meshName.scope == .clusterset)
    }

    @Test func exportScopesCover() throws {
        let east = try #require(ClusterID("east"))
        let west = try #require(ClusterID("west"))
        #expect(ExportScope.all.covers(east) && ExportScope.all.isExported)
        #expect(!ExportScope.none.covers(east) && !ExportScope.none.isExported)
        #expect(ExportScope.clusters([west]).covers(west) && !ExportScope.clusters([west]).covers(east))
    }

    @Test func asciiTextComparesBytes() {
        #expect(ASCIIText("é") == nil && ASCIIText("a b") == nil && ASCIIText("\u{7F}") == nil)
        #expect(ASCIIText("") != nil && ASCIIText("~!") != nil)
        let text = ASCIIText("abc")
        #expect(text?.equals([0x61, 0x62, 0x63].span) == true)
        #expect(text?.equals([0x61, 0x62].span) == false)
        #expect(text?.equals([0x61, 0x62, 0x64].span) == false)
    }
}
