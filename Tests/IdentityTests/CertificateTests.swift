import Identity
import MeshModel
import MeshTestKit
import Testing

@Suite struct CertificateTests {
    let now = CertificateMint.now

    @Test func aRootIsWhatTheProfileSays() throws {
        let key = try PrivateKey.generate()
        let domain = try #require(TrustDomain("a.test"))
        let serial = try CertificateBuilder.serial(seededRandom(1))
        let root = try Certificate(
            der: CertificateBuilder.root(trustDomain: domain, key: key, serial: serial, now: now))
        #expect(root.isCA)
        #expect(root.serial == serial && serial.count == 16 && serial[0] < 0x80)
        #expect(root.uriSANs == [Array("spiffe://a.test".utf8)])
        #expect(root.spiffeID == nil)
        #expect(root.publicKey == key.publicKey)
        #expect(root.notBefore == now.advanced(bySeconds: -30))
        #expect(root.subjectKeyID == Array(key.publicKey.fingerprint.prefix(20)))
    }

    @Test func anSVIDIsWhatTheProfileSaysAndEndsWithItsIssuer() throws {
        let mint = try CertificateMint("a.test", lifetime: .seconds(3_600))
        let key = try PrivateKey.generate()
        let id = try #require(SPIFFEID("spiffe://a.test/ns/shop/sa/api"))
        let name = try #require(ASCIIText("api.shop"))
        let der = try CertificateBuilder.svid(
            id, dnsNames: [name], publicKey: key.publicKey, issuer: mint.certificate, issuerKey: mint.key, serial: [5],
            now: now)
        let leaf = try Certificate(der: der)
        #expect(!leaf.isCA && leaf.spiffeID == id && leaf.notBefore == now.advanced(bySeconds: -30))
        #expect(leaf.notAfter == mint.certificate.notAfter)
        let svid = try SVID(chainDER: [der], key: key)
        #expect(svid.id == id)
        let store = try TrustStore([mint.bundle()], generation: 1)
        #expect(try store.verify(chain: svid.chainDER, purpose: .server, now: now).id == id)
    }

    @Test func anSVIDLoadsFromFilesAndNamesTheFault() throws {
        let mint = try CertificateMint("a.test")
        let svid = try mint.svid("spiffe://a.test/w")
        let key = try svid.key.pem()
        #expect(try SVID.load(pemChain: svid.pemChain, keyPEM: key).id == svid.id)
        let other = try mint.svid("spiffe://a.test/other")
        #expect(throws: IdentityError.keyMismatch) {
            try SVID.load(pemChain: svid.pemChain, keyPEM: try other.key.pem())
        }
        #expect(throws: IdentityError.self) { try SVID.load(pemChain: Array(svid.pemChain.dropLast(40)), keyPEM: key) }
        #expect(throws: IdentityError.self) { try SVID.load(pemChain: svid.pemChain, keyPEM: Array(key.dropLast(40))) }
        #expect(throws: IdentityError.self) {
            try SVID.load(pemChain: PEM.encode("CERTIFICATE", mint.certificate.der), keyPEM: try mint.key.pem())
        }
    }

    @Test func renewsAroundHalfLife() throws {
        let svid = try CertificateMint("a.test").svid("spiffe://a.test/w")
        let life = svid.notAfter.seconds - svid.notBefore.seconds
        let half = svid.notBefore.advanced(bySeconds: life / 2)
        #expect(svid.renewal(jitter: 0.5) == half)
        #expect(svid.renewal(jitter: 0) < half && half < svid.renewal(jitter: 1))
        #expect(svid.renewal(jitter: 7) < svid.notAfter)
    }

    @Test func aRequestBringsAKeyAndItsProof() throws {
        let key = try PrivateKey.generate()
        let der = try CertificateRequest.make(key: key)
        #expect(try CertificateRequest(der: der).publicKey == key.publicKey)
        var forged = der
        forged[forged.count - 1] ^= 1
        #expect(throws: IdentityError.self) { try CertificateRequest(der: forged) }
        #expect(throws: IdentityError.self) { try CertificateRequest(der: der + [0]) }
    }

    @Test func aRequestForMoreOrWithAnotherKeyIsRefused() throws {
        let key = try PrivateKey.generate()
        let names = CertificateBuilder.alternativeNames(uris: [Array("spiffe://a.test/evil".utf8)], dnsNames: [])
        let wish = DER.sequence(
            DER.object([1, 2, 840, 113_549, 1, 9, 14]), DER.set(DER.value(0x30, names)))
        func request(spki: [UInt8], attributes: [UInt8]) throws -> [UInt8] {
            let body = DER.sequence(
                DER.integer([0]), DER.sequence(), spki, DER.tagged(0, attributes, constructed: true))
            return DER.sequence(body, CertificateBuilder.ecdsaWithSHA256, DER.bits(try key.signDER(body)))
        }
        #expect(
            try CertificateRequest(der: request(spki: key.publicKey.spki, attributes: [])).publicKey == key.publicKey)
        #expect(throws: IdentityError.self) {
            try CertificateRequest(der: request(spki: key.publicKey.spki, attributes: wish))
        }
        for spki in [Vectors.p384, Vectors.rsa1024, try PrivateKey.generate().publicKey.spki] {
            #expect(throws: IdentityError.self) { try CertificateRequest(der: request(spki: spki, attributes: [])) }
        }
    }

    @Test func damagedRequestsNeverTrapOrPass() throws {
        var random = SplitMix64.announced()
        let der = try CertificateRequest.make(key: PrivateKey.generate())
        for _ in 0..<3_000 {
            let bytes = random.damaged(der)
            if bytes != der { #expect((try? CertificateRequest(der: bytes)) == nil) }
        }
    }

    @Test func theOldKeyRenews() throws {
        let mint = try CertificateMint("a.test")
        let svid = try mint.svid("spiffe://a.test/w")
        let request = try CertificateRequest.make(key: PrivateKey.generate())
        let proof = try RenewalProof.sign(oldLeaf: svid.leaf.der, request: request, key: svid.key)
        #expect(RenewalProof.verify(proof, oldLeaf: svid.leaf, request: request))
        #expect(!RenewalProof.verify(proof, oldLeaf: try mint.svid("spiffe://a.test/w").leaf, request: request))
        #expect(!RenewalProof.verify(proof, oldLeaf: svid.leaf, request: request + [0]))
    }

    @Test func aJoinTokenSurvivesItsText() throws {
        let token = try JoinToken(
            purpose: .federation, cluster: try #require(ClusterID("east")),
            trustDomain: try #require(TrustDomain("east.mesh")), addresses: ["broker.east:8443", "[::1]:8443"],
            rootPin: SHA256.hash([1]), secret: try seededRandom(3)(JoinToken.secretLength), expires: now,
            subject: "west")
        #expect(try JoinToken(text: " \(token.text)\n") == token)
        #expect(!token.description.contains(Hex.encode(token.secret)))
        #expect(!"\(token)".contains(token.text) && !String(reflecting: token).contains(token.text))
        var random = SplitMix64.announced()
        for _ in 0..<2_000 {
            let bytes = random.damaged(Array(token.text.utf8))
            let text = String(decoding: bytes, as: UTF8.self)
            if text != token.text, let read = try? JoinToken(text: text) { #expect(read == token) }
        }
        #expect(throws: IdentityError.self) { try JoinToken(text: "") }
        #expect(throws: IdentityError.self) { try JoinToken(text: "meshfed1.AAAA") }
    }

    @Test func theFuzzEntryTakesAnything() throws {
        var random = SplitMix64.announced()
        for parser in 0..<IdentityFuzzEntry.parserCount {
            for count in 0..<200 { IdentityFuzzEntry.judge(random.bytes(count), parser: parser) }
        }
        IdentityFuzzEntry.judge([])
        #expect(IdentityFuzzEntry.judge(try CertificateMint("a.test").certificate.der, parser: 0))
        #expect(IdentityFuzzEntry.judge(try CertificateRequest.make(key: PrivateKey.generate()), parser: 1))
    }
}
