import Identity
import MeshModel
import MeshTestKit
import Testing

@Suite struct OriginTests {
    let now = CertificateMint.now
    let audience = Array("80.api.shop.svc.clusterset.local".utf8)
    let east: CertificateMint
    let west: CertificateMint
    let trust: TrustStore
    let caller: SVID

    init() throws {
        east = try CertificateMint("east.mesh")
        west = try CertificateMint("west.mesh")
        trust = try TrustStore([east.bundle(), west.bundle()], generation: 1)
        caller = try east.svid("spiffe://east.mesh/ns/shop/sa/web")
    }

    private func peer(_ mint: CertificateMint, _ path: String) throws -> PeerIdentity {
        try trust.verify(
            chain: mint.svid("spiffe://\(mint.trustDomain)/\(path)").chainDER, purpose: .client, now: now)
    }

    private func token(_ svid: SVID? = nil, at time: WallTime? = nil) throws -> [UInt8] {
        var maker = try OriginMaker(svid: svid ?? caller, random: SystemRandom.source)
        return try maker.assertion(audience: audience.span, now: time ?? now)
    }

    private func attested(_ gateway: SVID, _ id: String) throws -> [UInt8] {
        var maker = try OriginMaker(svid: gateway, random: SystemRandom.source)
        return try maker.assertion(attesting: try #require(SPIFFEID(id)), audience: audience.span, now: now)
    }

    /// A token with claims of the test's own choice, signed by `svid`.
    private func forged(_ svid: SVID, _ change: (inout OriginClaims) -> Void) throws -> [UInt8] {
        var claims = OriginClaims(
            caller: svid.id, audience: audience, issued: now, expires: now.advanced(bySeconds: 60),
            nonce: try SystemRandom.bytes(16), attestedBy: nil)
        change(&claims)
        return try OriginToken.make(claims, chain: svid.chainDER, key: svid.key)
    }

    private func judge(
        _ token: [UInt8]?, peer: PeerIdentity, role: OriginRole, acceptAttested: Bool = false, now: WallTime? = nil,
        audience: [UInt8]? = nil, parents: [[UInt8]] = [], trust: TrustStore? = nil
    ) -> Result<OriginCaller, OriginRefusal> {
        do {
            var verifier = try OriginVerifier(trust: trust ?? self.trust, random: SystemRandom.source)
            return verify(
                &verifier, token, peer: peer, role: role, acceptAttested: acceptAttested, now: now ?? self.now,
                audience: audience ?? self.audience, parents: parents)
        } catch {
            Issue.record(error)
            return .failure(.overload)
        }
    }

    private func verify(
        _ verifier: inout OriginVerifier, _ token: [UInt8]?, peer: PeerIdentity, role: OriginRole,
        acceptAttested: Bool = false, now: WallTime, audience: [UInt8], parents: [[UInt8]] = []
    ) -> Result<OriginCaller, OriginRefusal> {
        do throws(OriginRefusal) {
            guard let token else {
                return .success(
                    try verifier.verify(
                        nil, audience: audience.span, parentServices: parents, peer: peer, role: role,
                        acceptAttested: acceptAttested, now: now))
            }
            return .success(
                try verifier.verify(
                    token.span, audience: audience.span, parentServices: parents, peer: peer, role: role,
                    acceptAttested: acceptAttested, now: now))
        } catch {
            return .failure(error)
        }
    }

    private var eastGateway: OriginRole { .gateway(east.trustDomain) }
    private var westGateway: OriginRole { .gateway(west.trustDomain) }
    private var westSidecar: OriginRole { .sidecar(west.trustDomain) }

    @Test func aCallIsProvenOnEveryLeg() throws {
        let text = try token()
        let expected = Verdict(caller: caller.id, attestedBy: nil)
        let source = try trust.verify(chain: caller.chainDER, purpose: .client, now: now)
        #expect(Verdict(judge(text, peer: source, role: eastGateway)) == expected)
        let remote = try peer(east, "meshfed/gateway/g1")
        #expect(Verdict(judge(text, peer: remote, role: westGateway)) == expected)
        let local = try peer(west, "meshfed/gateway/g1")
        #expect(Verdict(judge(text, peer: local, role: westSidecar)) == expected)
    }

    @Test func withoutOneThePeerIsTheCallerOrItIsMissing() throws {
        let workload = try peer(west, "ns/shop/sa/x")
        #expect(try judge(nil, peer: workload, role: westSidecar).get().caller == workload.id)
        #expect(try judge(nil, peer: workload, role: westGateway).get().asserted == false)
        let foreign = try peer(east, "ns/shop/sa/x")
        #expect(try judge(nil, peer: foreign, role: westGateway).get().caller == foreign.id)
        for (mint, role) in [(east, westGateway), (west, westSidecar), (west, westGateway), (east, westSidecar)] {
            let gateway = try peer(mint, "meshfed/gateway/g")
            #expect(judge(nil, peer: gateway, role: role) == .failure(.missing))
        }
    }

    @Test func onlyTheRightPeersMayPresentOne() throws {
        let text = try token()
        let unexpected: [(CertificateMint, String, OriginRole)] = [
            (west, "ns/shop/sa/x", westSidecar), (east, "ns/shop/sa/web", westSidecar),
            (east, "ns/shop/sa/web", westGateway),
            (east, "meshfed/gateway/g", westSidecar), (west, "meshfed/gateway/g", westGateway),
            (west, "meshfed/broker/b", westGateway), (west, "meshfed/admin/a", westSidecar),
            (west, "other", westGateway),
        ]
        for (mint, path, role) in unexpected {
            let peer = try peer(mint, path)
            #expect(judge(text, peer: peer, role: role) == .failure(.unexpected), "\(peer.id)")
        }
    }

    @Test func ruleOneBindsTheSession() throws {
        let other = try peer(east, "ns/shop/sa/other")
        #expect(judge(try token(), peer: other, role: eastGateway) == .failure(.invalid(.caller)))
        let gateway = try east.svid("spiffe://east.mesh/meshfed/gateway/g")
        let workload = try peer(east, "ns/shop/sa/web")
        let vouched = try attested(gateway, "spiffe://east.mesh/ns/shop/sa/web")
        #expect(judge(vouched, peer: workload, role: eastGateway) == .failure(.invalid(.attestation)))
    }

    @Test func ruleTwoAllowsNoTransitAndNoReplayByAThird() throws {
        let north = try CertificateMint("north.mesh")
        let all = try TrustStore([east.bundle(), west.bundle(), north.bundle()], generation: 2)
        let thief = try all.verify(
            chain: north.svid("spiffe://north.mesh/meshfed/gateway/g").chainDER, purpose: .client, now: now)
        #expect(judge(try token(), peer: thief, role: westGateway, trust: all) == .failure(.invalid(.caller)))
        let ownCaller = try west.svid("spiffe://west.mesh/ns/shop/sa/x")
        let remote = try peer(east, "meshfed/gateway/g")
        #expect(judge(try token(ownCaller), peer: remote, role: westGateway) == .failure(.invalid(.caller)))
    }

    @Test func aGatewayVouchesAtHomeAndAbroadOnlyWhereAccepted() throws {
        let gateway = try east.svid("spiffe://east.mesh/meshfed/gateway/g")
        let text = try attested(gateway, "spiffe://east.mesh/ns/shop/sa/legacy")
        let remote = try peer(east, "meshfed/gateway/g")
        #expect(judge(text, peer: remote, role: westGateway) == .failure(.invalid(.attestation)))
        let accepted = judge(text, peer: remote, role: westGateway, acceptAttested: true)
        #expect(try accepted.get().attestedBy == gateway.id)
        let home = try peer(west, "meshfed/gateway/g")
        #expect(judge(text, peer: home, role: westSidecar) == .failure(.invalid(.attestation)))
        #expect(
            try judge(text, peer: home, role: westSidecar, acceptAttested: true).get().caller.description
                == "spiffe://east.mesh/ns/shop/sa/legacy")
        let ownGateway = try west.svid("spiffe://west.mesh/meshfed/gateway/g")
        for id in ["spiffe://west.mesh/ns/shop/sa/legacy", "spiffe://east.mesh/ns/shop/sa/direct"] {
            let vouched = try attested(ownGateway, id)
            #expect(try judge(vouched, peer: home, role: westSidecar).get().caller.description == id)
            #expect(
                judge(vouched, peer: remote, role: westGateway, acceptAttested: true) == .failure(.invalid(.caller)))
        }
        let impostor = try attested(gateway, "spiffe://west.mesh/ns/shop/sa/admin")
        #expect(
            judge(impostor, peer: remote, role: westGateway, acceptAttested: true) == .failure(.invalid(.attestation)))
        #expect(
            judge(impostor, peer: home, role: westSidecar, acceptAttested: true) == .failure(.invalid(.attestation)))
    }

    @Test func onlyACallerOrAGatewaySigns() throws {
        let local = try peer(west, "meshfed/gateway/g")
        let other = try #require(SPIFFEID("spiffe://east.mesh/ns/shop/sa/other"))
        let stolen = try forged(caller) { $0.caller = other }
        #expect(judge(stolen, peer: local, role: westSidecar) == .failure(.invalid(.signer)))
        let selfMade = try forged(caller) {
            $0.attestedBy = caller.id
            $0.caller = other
        }
        #expect(judge(selfMade, peer: local, role: westSidecar, acceptAttested: true) == .failure(.invalid(.signer)))
        let gatewayID = try #require(SPIFFEID("spiffe://east.mesh/meshfed/gateway/g"))
        let borrowed = try forged(caller) { $0.attestedBy = gatewayID }
        #expect(judge(borrowed, peer: local, role: westSidecar, acceptAttested: true) == .failure(.invalid(.signer)))
    }

    @Test func aTokenServesOneService() throws {
        let local = try peer(west, "meshfed/gateway/g")
        let text = try token()
        let other = Array("80.pay.shop.svc.clusterset.local".utf8)
        #expect(judge(text, peer: local, role: westSidecar, audience: other) == .failure(.invalid(.audience)))
        let otherPort = Array("81.api.shop.svc.clusterset.local".utf8)
        #expect(judge(text, peer: local, role: westSidecar, audience: otherPort) == .failure(.invalid(.audience)))
        #expect((try? judge(text, peer: local, role: westSidecar, audience: other, parents: [audience]).get()) != nil)
    }

    @Test func timesAreHeld() throws {
        let local = try peer(west, "meshfed/gateway/g")
        let text = try token()
        func at(_ seconds: Int64) -> Result<OriginCaller, OriginRefusal> {
            judge(text, peer: local, role: westSidecar, now: now.advanced(bySeconds: seconds))
        }
        #expect((try? at(-30).get()) != nil && (try? at(90).get()) != nil)
        #expect(at(-31) == .failure(.invalid(.notYetValid)))
        #expect(at(91) == .failure(.invalid(.expired)))
        let long = try forged(caller) { $0.expires = now.advanced(bySeconds: 61) }
        #expect(judge(long, peer: local, role: westSidecar) == .failure(.invalid(.lifetime)))
        let backward = try forged(caller) { $0.expires = now }
        #expect(judge(backward, peer: local, role: westSidecar) == .failure(.invalid(.lifetime)))
        let endless = try forged(caller) {
            $0.issued = WallTime(seconds: .max)
            $0.expires = WallTime(seconds: .max)
        }
        #expect(judge(endless, peer: local, role: westSidecar) == .failure(.invalid(.lifetime)))
        let short = try east.svid("spiffe://east.mesh/ns/shop/sa/web") {
            $0.notAfter = CertificateMint.now.advanced(bySeconds: 20)
        }
        let outliving = try forged(short) { _ in }
        #expect(judge(outliving, peer: local, role: westSidecar) == .failure(.invalid(.lifetime)))
        #expect((try? judge(try token(short), peer: local, role: westSidecar).get()) != nil)
    }

    @Test func chainAndSignatureAreHeld() throws {
        let local = try peer(west, "meshfed/gateway/g")
        let impostor = try CertificateMint("east.mesh").svid("spiffe://east.mesh/ns/shop/sa/web")
        #expect(
            judge(try token(impostor), peer: local, role: westSidecar) == .failure(.invalid(.chain(.unknownCA))))
        let thief = try east.svid("spiffe://east.mesh/ns/shop/sa/thief")
        let claims = OriginClaims(
            caller: caller.id, audience: audience, issued: now, expires: now.advanced(bySeconds: 60),
            nonce: [UInt8](repeating: 1, count: 16), attestedBy: nil)
        let wrongKey = try OriginToken.make(claims, chain: caller.chainDER, key: thief.key)
        #expect(judge(wrongKey, peer: local, role: westSidecar) == .failure(.invalid(.signature)))
        let revoking = try TrustStore([east.bundle(revoked: [caller.leaf.serial]), west.bundle()], generation: 2)
        #expect(
            judge(try token(), peer: local, role: westSidecar, trust: revoking) == .failure(.invalid(.chain(.revoked))))
    }

    @Test func aKnownTokenIsJudgedAgainOnEveryRequest() throws {
        let local = try peer(west, "meshfed/gateway/g")
        let text = try token()
        var verifier = try OriginVerifier(trust: trust, random: seededRandom(1))
        func ask(_ time: WallTime, _ audience: [UInt8]) -> Result<OriginCaller, OriginRefusal> {
            verify(&verifier, text, peer: local, role: westSidecar, now: time, audience: audience)
        }
        #expect((try? ask(now, audience).get()) != nil)
        #expect((try? ask(now, audience).get()) != nil)
        #expect(ask(now, [1]) == .failure(.invalid(.audience)))
        #expect(ask(now.advanced(bySeconds: 100), audience) == .failure(.invalid(.expired)))
        verifier.adopt(try TrustStore([east.bundle(revoked: [caller.leaf.serial]), west.bundle()], generation: 2))
        #expect(ask(now, audience) == .failure(.invalid(.chain(.revoked))))
    }

    @Test func newTokensAreCountedPerPeer() throws {
        let local = try peer(west, "meshfed/gateway/g")
        let other = try peer(west, "meshfed/gateway/h")
        let good = try token()
        var verifier = try OriginVerifier(trust: trust, random: seededRandom(1))
        func ask(_ text: [UInt8], _ peer: PeerIdentity, _ time: WallTime) -> Result<OriginCaller, OriginRefusal> {
            verify(&verifier, text, peer: peer, role: westSidecar, now: time, audience: audience)
        }
        #expect((try? ask(good, local, now).get()) != nil)
        for number in 0..<OriginVerifier.maximumNewPerSecond - 1 {
            #expect(ask(Array("x\(number)".utf8), local, now) == .failure(.invalid(.malformed)))
        }
        #expect(ask(Array("one more".utf8), local, now) == .failure(.overload))
        #expect((try? ask(good, local, now).get()) != nil)
        #expect(ask(Array("x".utf8), other, now) == .failure(.invalid(.malformed)))
        #expect(ask(Array("x".utf8), local, now.advanced(bySeconds: 1)) == .failure(.invalid(.malformed)))
    }

    @Test func theMakerKeepsATokenUntilHalfLife() throws {
        var maker = try OriginMaker(svid: caller, random: seededRandom(9))
        let first = try maker.assertion(audience: audience.span, now: now)
        #expect(try maker.assertion(audience: audience.span, now: now.advanced(bySeconds: 29)) == first)
        #expect(try maker.assertion(audience: audience.span, now: now.advanced(bySeconds: 30)) != first)
        let other = Array("81.api.shop.svc.clusterset.local".utf8)
        #expect(try maker.assertion(audience: other.span, now: now) != first)
        #expect(throws: IdentityError.self) {
            _ = try maker.assertion(audience: audience.span, now: caller.notAfter.advanced(bySeconds: 1))
        }
    }

    @Test func theTableStaysBounded() throws {
        var maker = try OriginMaker(svid: caller, capacity: 8, random: seededRandom(9))
        for number in 0..<100 {
            let audience = Array("\(number).api.shop.svc.clusterset.local".utf8)
            let text = try maker.assertion(audience: audience.span, now: now)
            #expect(try maker.assertion(audience: audience.span, now: now) == text)
        }
    }

    @Test func claimsRoundTripAndUnknownFieldsAreSkipped() throws {
        let claims = OriginClaims(
            caller: caller.id, audience: audience, issued: now, expires: now.advanced(bySeconds: 60),
            nonce: [UInt8](repeating: 3, count: 16), attestedBy: SPIFFEID("spiffe://a/meshfed/gateway/g"))
        let bytes = claims.encoded()
        #expect(OriginClaims(decoding: bytes[...]) == claims)
        #expect(OriginClaims(decoding: (bytes + [0x7A, 2, 1, 1, 0x80, 1, 5, 0x85, 1, 1, 2, 3, 4])[...]) == claims)
        #expect(OriginClaims(decoding: (bytes + bytes)[...]) == nil)
        #expect(OriginClaims(decoding: (bytes + [0x0B])[...]) == nil)
        #expect(OriginClaims(decoding: (bytes + [0x08, 1])[...]) == nil)
        #expect(
            OriginClaims(decoding: (bytes + [0x7A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1])[...])
                == nil)
        #expect(OriginClaims(decoding: bytes.dropLast()) == nil)
        #expect(OriginClaims(decoding: []) == nil)
    }

    @Test func damagedTokensNeverTrapOrPass() throws {
        let local = try peer(west, "meshfed/gateway/g")
        let text = try token()
        let decoded = Base64.decodeURL(text.span)
        let raw = try #require(decoded)
        var random = SplitMix64.announced()
        for round in 0..<1_500 {
            let bytes = round % 2 == 0 ? random.damaged(text) : Base64.encodeURL(random.damaged(raw))
            guard bytes != text else { continue }
            if case .success = judge(bytes, peer: local, role: westSidecar) { Issue.record("a damaged token passed") }
        }
        let long = [UInt8](repeating: 0x41, count: OriginToken.maximumLength + 1)
        #expect(judge(long, peer: local, role: westSidecar) == .failure(.invalid(.malformed)))
    }

    @Test func refusalsHaveTheirWords() {
        #expect(OriginRefusal.missing.reason == .originMissing)
        #expect(OriginRefusal.unexpected.reason == .originUnexpected)
        #expect(OriginRefusal.invalid(.signature).reason == .originInvalid)
        #expect(OriginRefusal.overload.reason == .overload)
    }
}

/// A verdict in short, for comparing.
private struct Verdict: Equatable {
    var caller: SPIFFEID?
    var attestedBy: SPIFFEID?

    init(caller: SPIFFEID?, attestedBy: SPIFFEID?) {
        self.caller = caller
        self.attestedBy = attestedBy
    }

    init(_ result: Result<OriginCaller, OriginRefusal>) {
        caller = try? result.get().caller
        attestedBy = try? result.get().attestedBy
    }
}
