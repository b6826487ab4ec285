import MeshModel
import Testing

/// HOSTILE 11: what go-spiffe's spiffeid/id_test.go accepts and refuses, and upper case refused everywhere.
@Suite struct SPIFFEIDTests {
    private func id(domain: [UInt8] = Array("trustdomain".utf8), path: [UInt8] = Array("path".utf8)) -> SPIFFEID? {
        SPIFFEID(Array("spiffe://".utf8) + domain + [0x2F] + path)
    }

    private func isLowerAlphanumeric(_ byte: UInt8) -> Bool {
        (0x61...0x7A).contains(byte) || (0x30...0x39).contains(byte)
    }

    @Test func everyByteOfADomain() {
        for byte in UInt8.min...UInt8.max {
            let good = isLowerAlphanumeric(byte) || [0x2E, 0x2D, 0x5F].contains(byte)
            // A slash ends the domain and starts the path: a valid ID of another domain.
            #expect(
                (id(domain: Array("a".utf8) + [byte] + Array("b".utf8)) != nil) == (good || byte == 0x2F), "\(byte)")
            #expect((TrustDomain([byte]) != nil) == good, "\(byte)")
        }
    }

    @Test func everyByteOfAPath() {
        for byte in UInt8.min...UInt8.max {
            let good =
                isLowerAlphanumeric(byte) || (0x41...0x5A).contains(byte) || [0x2E, 0x2D, 0x5F, 0x2F].contains(byte)
            #expect((id(path: Array("a".utf8) + [byte] + Array("b".utf8)) != nil) == good, "\(byte)")
        }
    }

    @Test(arguments: [
        "spiffe://trustdomain/path", "spiffe://trustdomain/path/element", "spiffe://t/...", "spiffe://t/.a",
        "spiffe://t/a.",
        "spiffe://t/..a", "spiffe://1.2.3.4/x", "spiffe://a_b-c.d/X_Y-Z.9", "spiffe://.../x",
    ])
    func validIDsAreKept(text: String) {
        #expect(SPIFFEID(text)?.description == text)
    }

    @Test(arguments: [
        "", "s", "spiffe", "spiffe:", "spiffe:/", "spiffe://", "spiffe:///", "spiffe:///path", "spiffe://trustdomain",
        "spiffe://trustdomain/", "spiffe://trustdomain//", "spiffe://trustdomain//path", "spiffe://trustdomain/path/",
        "spiffe://trustdomain/path//element", "spiffe://trustdomain/.", "spiffe://trustdomain/./path",
        "spiffe://trustdomain/path/.", "spiffe://trustdomain/..", "spiffe://trustdomain/path/..",
        "spiffe://trustdomain/../path", "SPIFFE://trustdomain/path", "Spiffe://trustdomain/path",
        "spiffe://TrustDomain/path", "spiffe://trustdomain/%41", "spiffe://trust%64omain/path",
        "spiffe://user@host/path",
        "spiffe://user:pw@host/path", "spiffe://trustdomain:80/path", "spiffe://trustdomain/path?q=1",
        "spiffe://trustdomain/path#f", "spiffe://trustdomain?q/path", "http://trustdomain/path", "/path",
        "spiffe://trustdomain/päth", "spiffe://trust domain/path", " spiffe://trustdomain/path",
        "spiffe://trustdomain/path\n", "spiffe://[::1]/path",
    ])
    func anythingElseIsRefused(text: String) {
        #expect(SPIFFEID(text) == nil)
    }

    @Test func lengthsAreLimited() {
        #expect(TrustDomain(String(repeating: "a", count: 255)) != nil)
        #expect(TrustDomain(String(repeating: "a", count: 256)) == nil)
        #expect(TrustDomain("") == nil)
        let head = "spiffe://t/"
        #expect(SPIFFEID(head + String(repeating: "a", count: 2_048 - head.utf8.count)) != nil)
        #expect(SPIFFEID(head + String(repeating: "a", count: 2_049 - head.utf8.count)) == nil)
    }

    @Test func kindFollowsThePath() throws {
        func kind(_ path: String) -> SPIFFEID.Kind? { SPIFFEID("spiffe://east.mesh/" + path)?.kind }
        let web = try #require(ASCIIText("web"))
        let shop = try #require(Label("shop"))
        #expect(kind("ns/shop/sa/web") == .workload(namespace: shop, serviceAccount: web))
        #expect(kind("meshfed/gateway/web") == .gateway(name: web))
        #expect(kind("meshfed/broker/web") == .broker(name: web))
        #expect(kind("meshfed/admin/web") == .admin(name: web))
        for path in [
            "ns/shop/sa", "ns/shop/sa/web/x", "ns/SHOP/sa/web", "ns/shop/SA/web", "meshfed/gateway",
            "meshfed/gateway/a/b",
            "meshfed/other/web", "Meshfed/gateway/web", "x/meshfed/gateway/web", "path",
        ] { #expect(kind(path) == .other, "\(path)") }
    }

    @Test func makersAgreeWithTheReader() throws {
        let domain = try #require(TrustDomain("east.mesh"))
        let name = try #require(Label("gw-1"))
        #expect(SPIFFEID.gateway(in: domain, name: name).description == "spiffe://east.mesh/meshfed/gateway/gw-1")
        #expect(SPIFFEID.broker(in: domain, name: name).kind == .broker(name: name.text))
        #expect(SPIFFEID.admin(in: domain, name: name).trustDomain == domain)
        let workload = SPIFFEID.workload(in: domain, namespace: name, serviceAccount: name)
        #expect(workload.description == "spiffe://east.mesh/ns/gw-1/sa/gw-1")
    }

    @Test func patternsMatchWholeSegments() throws {
        let caller = try #require(SPIFFEID("spiffe://east.mesh/ns/shop/sa/web"))
        let other = try #require(SPIFFEID("spiffe://east.mesh.evil/ns/shop/sa/web"))
        let prefix = CallerPattern.prefix(try #require(ASCIIText("spiffe://east.mesh/ns/shop/")))
        #expect(prefix.matches(caller) && !prefix.matches(other))
        #expect(!prefix.matches(try #require(SPIFFEID("spiffe://east.mesh/ns/shopping/sa/web"))))
        #expect(CallerPattern.identity(caller).matches(caller) && !CallerPattern.identity(caller).matches(other))
        #expect(CallerPattern.trustDomain(caller.trustDomain).matches(caller))
        #expect(!CallerPattern.trustDomain(caller.trustDomain).matches(other))
        #expect(CallerPattern.any.matches(other))
    }
}
