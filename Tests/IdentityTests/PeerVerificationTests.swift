import Identity
import MeshModel
import MeshTestKit
import Testing

@Suite struct PeerVerificationTests {
    let now = CertificateMint.now
    let mint: CertificateMint
    let store: TrustStore

    init() throws {
        mint = try CertificateMint("a.test")
        store = try TrustStore([mint.bundle()], generation: 1)
    }

    private func refusal(
        _ chain: [[UInt8]], purpose: PeerPurpose = .client, store: TrustStore? = nil, now: WallTime? = nil
    ) -> PeerRefusal? {
        do throws(PeerRefusal) {
            _ = try (store ?? self.store).verify(chain: chain, purpose: purpose, now: now ?? self.now)
            return nil
        } catch {
            return error
        }
    }

    private func refusal(_ change: (inout CertificateMint.Leaf) -> Void) throws -> PeerRefusal? {
        var leaf = CertificateMint.Leaf("spiffe://a.test/ns/shop/sa/api")
        change(&leaf)
        return refusal([try mint.leaf(leaf)])
    }

    @Test func acceptsAGoodChainAndNamesThePeer() throws {
        var options = CertificateMint.Leaf("spiffe://a.test/ns/shop/sa/api")
        options.serial = [0x00, 0x81, 0x02]
        let leaf = try mint.leaf(options)
        for purpose in [PeerPurpose.client, .server] {
            let peer = try store.verify(chain: [leaf], purpose: purpose, now: now)
            #expect(peer.id.description == "spiffe://a.test/ns/shop/sa/api")
            #expect(peer.serial == [0x81, 0x02])
            #expect(peer.leafHash == SHA256.hash(leaf))
            #expect(peer.notAfter == options.notAfter)
        }
        #expect(refusal([leaf, mint.certificate.der]) == nil)
    }

    @Test func acceptsOneIntermediateAndNoMore() throws {
        let middle = try mint.intermediate()
        let leaf = try middle.leaf(CertificateMint.Leaf("spiffe://a.test/w"))
        #expect(refusal([leaf, middle.certificate.der]) == nil)
        #expect(refusal([leaf, middle.certificate.der, mint.certificate.der]) == nil)
        #expect(refusal([leaf]) == .unknownCA)
        let deep = try middle.intermediate()
        let deepLeaf = try deep.leaf(CertificateMint.Leaf("spiffe://a.test/w"))
        #expect(refusal([deepLeaf, deep.certificate.der, middle.certificate.der]) == .chainTooLong)
        #expect(refusal([[UInt8]](repeating: leaf, count: 50)) == .chainTooLong)
    }

    @Test func acceptsManyNamesButOneURI() throws {
        #expect(try refusal { $0.dnsNames = (0..<500).map { Array("host-\($0).example".utf8) } } == nil)
        #expect(try refusal { $0.uris.append(Array("spiffe://a.test/ns/shop/sa/other".utf8)) } == .notSingleURI)
        #expect(try refusal { $0.uris.append(Array("https://a.test/".utf8)) } == .notSingleURI)
        #expect(try refusal { $0.uris = [] } == .notSingleURI)
        #expect(
            try refusal {
                $0.uris = []
                $0.dnsNames = [Array("a.test".utf8)]
            } == .notSingleURI)
        #expect(
            try refusal {
                $0.more = [CertificateBuilder.alternativeNames(uris: [Array("spiffe://a.test/x".utf8)], dnsNames: [])]
            } == .malformed)
    }

    @Test(arguments: [
        "spiffe://a.test", "spiffe://a.test/", "spiffe://A.test/w", "SPIFFE://a.test/w", "https://a.test/w",
        "spiffe://a.test/w\u{0}", "spiffe://a.test/%77", "spiffe://a.test:1/w",
    ])
    func refusesWhatIsNoID(_ uri: String) throws {
        #expect(try refusal { $0.uris = [Array(uri.utf8)] } == .badSPIFFEID)
    }

    @Test func refusesCAsAndWrongUsage() throws {
        #expect(try refusal { $0.isCA = true } == .leafIsCA)
        #expect(try refusal { $0.keyUsage = [0, 5] } == .keyUsage)
        #expect(try refusal { $0.keyUsage = [0, 6] } == .keyUsage)
        #expect(try refusal { $0.keyUsage = [2] } == .keyUsage)
        #expect(try refusal { $0.keyUsage = nil } == .keyUsage)
        #expect(try refusal { $0.keyUsageIsCritical = false } == .keyUsage)
        #expect(try refusal { $0.extendedKeyUsage = nil } == nil)
        let serverOnly = try mint.leaf(
            {
                var leaf = CertificateMint.Leaf("spiffe://a.test/w")
                leaf.extendedKeyUsage = [CertificateMint.serverAuth]
                return leaf
            }())
        #expect(refusal([serverOnly]) == .extendedKeyUsage)
        #expect(refusal([serverOnly], purpose: .server) == nil)
        #expect(PeerRefusal.extendedKeyUsage.tlsAlert == 43)
    }

    @Test func refusesOtherKeys() throws {
        #expect(try refusal { $0.spki = Vectors.p384 } == .unsupportedKey)
        #expect(try refusal { $0.spki = Vectors.rsa1024 } == .unsupportedKey)
        let leaf = try mint.leaf(CertificateMint.Leaf("spiffe://a.test/w"))
        let heavy = try mint.intermediate { $0.spki = Vectors.rsa16384 }
        #expect(refusal([leaf, heavy.certificate.der]) == .unsupportedKey)
    }

    @Test func holdsTimesWithLeewayForEveryCertificate() throws {
        let leaf = try mint.leaf(CertificateMint.Leaf("spiffe://a.test/w"))
        let start = now.advanced(bySeconds: -30)
        let end = now.advanced(bySeconds: 86_400)
        #expect(refusal([leaf], now: start.advanced(bySeconds: -30)) == nil)
        #expect(refusal([leaf], now: start.advanced(bySeconds: -31)) == .notYetValid)
        #expect(refusal([leaf], now: end.advanced(bySeconds: 30)) == nil)
        #expect(refusal([leaf], now: end.advanced(bySeconds: 31)) == .expired)
        let middle = try mint.intermediate { $0.notAfter = CertificateMint.now.advanced(bySeconds: -60) }
        let under = try middle.leaf(CertificateMint.Leaf("spiffe://a.test/w"))
        #expect(refusal([under, middle.certificate.der]) == .expired)
        let old = try CertificateMint("a.test", now: now.advanced(bySeconds: -1_000), lifetime: .seconds(500))
        let stale = try TrustStore([old.bundle()], generation: 1)
        #expect(refusal([try old.leaf(CertificateMint.Leaf("spiffe://a.test/w"))], store: stale) == .expired)
    }

    @Test func neverMergesDomains() throws {
        let other = try CertificateMint("b.test")
        let both = try TrustStore([mint.bundle(), other.bundle()], generation: 1)
        let forged = try other.leaf(CertificateMint.Leaf("spiffe://a.test/ns/shop/sa/api"))
        #expect(refusal([forged], store: both) == .unknownCA)
        #expect(refusal([forged, other.certificate.der], store: both) == .unknownCA)
        let own = try other.leaf(CertificateMint.Leaf("spiffe://b.test/ns/shop/sa/api"))
        #expect(refusal([own], store: both) == nil)
        #expect(refusal([own]) == .unknownTrustDomain)
    }

    @Test func refusesACAOfAnotherDomain() throws {
        let foreign = try mint.intermediate { $0.uris = [Array("spiffe://b.test".utf8)] }
        let leaf = try foreign.leaf(CertificateMint.Leaf("spiffe://a.test/w"))
        #expect(refusal([leaf, foreign.certificate.der]) == .wrongDomain)
    }

    @Test func anEmptyBundleBelievesNothing() throws {
        let empty = try TrustStore([TrustBundle(trustDomain: mint.trustDomain, roots: [])], generation: 1)
        #expect(refusal([try mint.leaf(CertificateMint.Leaf("spiffe://a.test/w"))], store: empty) == .emptyBundle)
    }

    @Test func revokedSerialsAreRefused() throws {
        let leaf = try mint.leaf(CertificateMint.Leaf("spiffe://a.test/w"))
        let revoking = try TrustStore([mint.bundle(revoked: [[0x00, 0x41]])], generation: 2)
        #expect(refusal([leaf], store: revoking) == .revoked)
        #expect(PeerRefusal.revoked.tlsAlert == 44)
        let middle = try mint.intermediate()
        let under = try middle.leaf(
            {
                var leaf = CertificateMint.Leaf("spiffe://a.test/w")
                leaf.serial = [9]
                return leaf
            }())
        let revokingMiddle = try TrustStore([mint.bundle(revoked: [[0x51]])], generation: 2)
        #expect(refusal([under, middle.certificate.der], store: revokingMiddle) == .revoked)
    }

    @Test func refusesForgeries() throws {
        let leaf = try mint.leaf(CertificateMint.Leaf("spiffe://a.test/w"))
        var broken = leaf
        broken[broken.count - 1] ^= 1
        #expect(refusal([broken]) != nil)
        let impostor = try CertificateMint("a.test")
        #expect(refusal([try impostor.leaf(CertificateMint.Leaf("spiffe://a.test/w"))]) == .unknownCA)
        let leafAsCA = try mint.svid("spiffe://a.test/evil")
        #expect(refusal([leaf, leafAsCA.leaf.der]) == nil)
        #expect(refusal([]) == .noCertificate)
        #expect(refusal([[]]) == .malformed)
        #expect(refusal([leaf + [0]]) == .malformed)
    }

    @Test func aLeafCannotSign() throws {
        let leafKey = try PrivateKey.generate()
        let signer = try Certificate(
            der: mint.leaf(CertificateMint.Leaf("spiffe://a.test/evil"), publicKey: leafKey.publicKey))
        let id = try #require(SPIFFEID("spiffe://a.test/victim"))
        let forged = try CertificateBuilder.svid(
            id, publicKey: PrivateKey.generate().publicKey, issuer: signer, issuerKey: leafKey, serial: [7], now: now)
        let refused = refusal([forged, signer.der])
        #expect(refused == .unknownCA || refused == .chainInvalid || refused == .extendedKeyUsage)
    }

    @Test func pathLengthZeroAllowsNoIntermediate() throws {
        let flat = try CertificateMint("a.test", pathLength: 0)
        let store = try TrustStore([flat.bundle()], generation: 1)
        let middle = try flat.intermediate()
        let leaf = try middle.leaf(CertificateMint.Leaf("spiffe://a.test/w"))
        #expect(refusal([leaf, middle.certificate.der], store: store) == .chainTooLong)
        #expect(refusal([try flat.leaf(CertificateMint.Leaf("spiffe://a.test/w"))], store: store) == nil)
    }

    @Test func twoRootsOfOneDomainServeARotation() throws {
        let next = try CertificateMint("a.test")
        let rotating = try TrustStore(
            [TrustBundle(trustDomain: mint.trustDomain, roots: [mint.certificate.der, next.certificate.der])],
            generation: 2)
        #expect(refusal([try mint.leaf(CertificateMint.Leaf("spiffe://a.test/w"))], store: rotating) == nil)
        #expect(refusal([try next.leaf(CertificateMint.Leaf("spiffe://a.test/w"))], store: rotating) == nil)
    }

    @Test func badBundlesAreNamed() throws {
        let leaf = try mint.leaf(CertificateMint.Leaf("spiffe://a.test/w"))
        for roots in [[[1, 2, 3]], [leaf], [[UInt8]](repeating: mint.certificate.der, count: 17)] {
            let error = #expect(throws: IdentityError.self) {
                try TrustStore([TrustBundle(trustDomain: mint.trustDomain, roots: roots)], generation: 1)
            }
            #expect(error?.description.contains("a.test") == true)
        }
        #expect(throws: IdentityError.self) { try TrustStore([mint.bundle(), mint.bundle()], generation: 1) }
    }

    @Test func alertsAreTheOnesThatPeersExpect() {
        let expected: [PeerRefusal: UInt8] = [
            .unknownCA: 48, .unknownTrustDomain: 48, .expired: 45, .notYetValid: 42, .extendedKeyUsage: 43,
            .revoked: 44,
            .notSingleURI: 42, .leafIsCA: 42, .keyUsage: 42, .badSPIFFEID: 42,
        ]
        for (refusal, alert) in expected { #expect(refusal.tlsAlert == alert) }
        for refusal in PeerRefusal.allCases { #expect(!refusal.reason.isEmpty && refusal.verifyError != 0) }
    }

    @Test func aPinnedRootIsFoundInTheChain() throws {
        let leaf = try mint.leaf(CertificateMint.Leaf("spiffe://a.test/meshfed/broker/b"))
        let pin = RootPin(trustDomain: mint.trustDomain, fingerprint: mint.certificate.publicKey.fingerprint)
        let (peer, root) = try pin.verify(chain: [leaf, mint.certificate.der], now: now)
        #expect(peer.id.description == "spiffe://a.test/meshfed/broker/b")
        #expect(root == mint.certificate.der)
        #expect(throws: PeerRefusal.unknownCA) { try pin.verify(chain: [leaf], now: now) }
        let impostor = try CertificateMint("a.test")
        let forged = try impostor.leaf(CertificateMint.Leaf("spiffe://a.test/meshfed/broker/b"))
        #expect(throws: PeerRefusal.self) { try pin.verify(chain: [forged, impostor.certificate.der], now: now) }
        #expect(throws: PeerRefusal.self) { try pin.verify(chain: [forged, mint.certificate.der], now: now) }
        let other = RootPin(trustDomain: try #require(TrustDomain("b.test")), fingerprint: pin.fingerprint)
        #expect(throws: PeerRefusal.self) { try other.verify(chain: [leaf, mint.certificate.der], now: now) }
    }

    @Test func damagedCertificatesNeverTrapOrPass() throws {
        var random = SplitMix64.announced()
        let leaf = try mint.leaf(CertificateMint.Leaf("spiffe://a.test/ns/shop/sa/api"))
        for _ in 0..<3_000 {
            let bytes = random.damaged(leaf)
            if bytes != leaf { #expect(refusal([bytes]) != nil) }
        }
    }
}
