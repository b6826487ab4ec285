import MeshModel
import Testing

/// The table of go-spiffe's spiffeid/id_test.go, where it is about parsing, and PROTOCOLS section 1 where it is stricter.
@Suite struct SPIFFEIDTests {
    @Test(arguments: [
        "spiffe://trustdomain/path", "spiffe://trustdomain/path/element", "spiffe://trustdomain/path.-_ABC/0",
        "spiffe://trustdomain/.path", "spiffe://trustdomain/path.", "spiffe://trustdomain/...", "spiffe://a/b",
        "spiffe://trust.domain-1_x/p", "spiffe://a.test/ns/default/sa/api",
    ])
    func accepts(_ text: String) throws {
        let id = try #require(SPIFFEID(text))
        #expect(id.description == text)
    }

    @Test(arguments: [
        "", "spiffe://", "spiffe://trustdomain", "spiffe://trustdomain/", "SPIFFE://trustdomain/path",
        "sPiFfE://trustdomain/path", "spiffe://TrustDomain/path", "spiffe:///path", "spiffe:/trustdomain/path",
        "xspiffe://trustdomain/path", "spiffe:/path", "spiffe:path", "http://trustdomain/path", "trustdomain/path",
        "spiffe://trustdomain//path", "spiffe://trustdomain/path//element", "spiffe://trustdomain/path/",
        "spiffe://trustdomain/./path", "spiffe://trustdomain/../path", "spiffe://trustdomain/path/.",
        "spiffe://trustdomain/path/..", "spiffe://trustdomain/%41", "spiffe://trustdomain/path%5F",
        "spiffe://trust%20domain/path", "spiffe://user@trustdomain/path", "spiffe://trustdomain:80/path",
        "spiffe://trustdomain:/path", "spiffe://trustdomain/path?query", "spiffe://trustdomain/path#fragment",
        "spiffe://trustdomain?", "spiffe://trustdomain#", "spiffe://trustdomain/pa th", " spiffe://trustdomain/path",
        "spiffe://trustdomain/path\n", "spiffe://trustdomain/pa\u{0}th", "spiffe://[::1]/path",
        "spiffe://tr\u{e9}s/path",
        "spiffe://trustdomain/p\u{e4}th", "spiffe://trustdomain/\u{212A}", "spiffe://trustdomain/a\u{A0}",
    ])
    func refuses(_ text: String) { #expect(SPIFFEID(text) == nil) }

    @Test func everyByteInDomainAndPathIsJudged() {
        let domainSet = Set("abcdefghijklmnopqrstuvwxyz0123456789.-_".utf8)
        let pathSet = domainSet.union("ABCDEFGHIJKLMNOPQRSTUVWXYZ".utf8)
        for byte in UInt8.min...UInt8.max {
            let inDomain = Array("spiffe://a".utf8) + [byte] + Array("b/path".utf8)
            #expect((SPIFFEID(inDomain) != nil) == (domainSet.contains(byte) || byte == 0x2F), "domain byte \(byte)")
            let inPath = Array("spiffe://a/b".utf8) + [byte] + Array("c".utf8)
            #expect((SPIFFEID(inPath) != nil) == (pathSet.contains(byte) || byte == 0x2F), "path byte \(byte)")
        }
    }

    @Test func lengthsAreExact() {
        let domain = String(repeating: "d", count: 255)
        #expect(SPIFFEID("spiffe://\(domain)/p") != nil)
        #expect(SPIFFEID("spiffe://\(domain)d/p") == nil)
        let path = String(repeating: "p", count: SPIFFEID.maximumLength - "spiffe://a/".utf8.count)
        #expect(SPIFFEID("spiffe://a/\(path)") != nil)
        #expect(SPIFFEID("spiffe://a/\(path)p") == nil)
    }

    @Test func kindsFollowThePath() throws {
        let workload = try #require(SPIFFEID("spiffe://a.test/ns/shop/sa/api.v1"))
        guard case .workload(let namespace, let account) = workload.kind else {
            Issue.record("a workload's path")
            return
        }
        #expect(namespace.description == "shop" && account.description == "api.v1")
        for (path, isGateway) in [
            ("meshfed/gateway/g", true), ("meshfed/gateway", false), ("meshfed/gateway/g/x", false),
        ] {
            let id = try #require(SPIFFEID("spiffe://a.test/\(path)"))
            if case .gateway = id.kind { #expect(isGateway) } else { #expect(!isGateway) }
        }
    }
}
