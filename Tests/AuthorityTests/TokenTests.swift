import Authority
import Identity
import MeshModel
import MeshTestKit
import Store
import Synchronization
import Testing

@Suite struct TokenTests {
    let now = Office.now
    let office = Office()
    let authority: Authority
    let name: Label
    let west: ClusterID
    let westDomain: TrustDomain

    init() throws {
        authority = try office.open()
        name = try #require(Label("g1"))
        west = try #require(ClusterID("west"))
        westDomain = try #require(TrustDomain("west.mesh"))
    }

    private func create(_ request: TokenRequest, _ authority: Authority? = nil) throws -> JoinToken {
        try (authority ?? self.authority).write { (desk) throws(AuthorityError) in
            try desk.createToken(request, now: now)
        }
    }

    private func gatewayToken(uses: Int = 1, lifetime: Duration = TokenRequest.defaultLifetime) throws -> JoinToken {
        try create(
            TokenRequest(subject: .gateway(name: name), lifetime: lifetime, uses: uses, addresses: ["b.east:8443"]))
    }

    private func redeem(
        _ token: JoinToken, _ request: CertificateRequest, at time: WallTime? = nil, _ authority: Authority? = nil
    ) throws -> IssuedSVID {
        try (authority ?? self.authority).write { (desk) throws(AuthorityError) in
            try desk.redeem(secret: token.secret, request: request, now: time ?? now)
        }
    }

    @Test func aTokenSaysWhereAndWhomAndIsKeptAsAHash() throws {
        let token = try gatewayToken()
        #expect(token.subject == "spiffe://east.mesh/meshfed/gateway/g1" && token.purpose == .gateway)
        #expect(token.expires == now.after(900) && token.addresses == ["b.east:8443"])
        let root = try Certificate(der: authority.bundle(now: now).roots[0])
        #expect(token.rootPin == root.publicKey.fingerprint)
        let dump = try office.store.read { (reading) throws(StoreError) in
            try reading.list(StoreTable("authority/token")).map(\.value)
        }
        let secret = Hex.encode(token.secret)
        #expect(dump.count == 1 && !String(decoding: dump[0], as: UTF8.self).contains(secret))
        let listed = try authority.read { (view) throws(AuthorityError) in try view.tokens() }
        #expect(listed.map(\.name) == [token.name] && listed[0].uses == 0 && listed[0].maximumUses == 1)
    }

    @Test func everySubjectGetsItsID() throws {
        let (shop, web) = (try #require(Label("shop")), try #require(Label("web")))
        let subjects: [(TokenSubject, String)] = [
            (.sidecar(namespace: shop, serviceAccount: web), "ns/shop/sa/web"),
            (.gateway(name: name), "meshfed/gateway/g1"),
            (.admin(name: name), "meshfed/admin/g1"),
        ]
        for (subject, path) in subjects {
            let token = try create(TokenRequest(subject: subject, addresses: ["b:1"]))
            #expect(try redeem(token, Applicant().request).id.description == "spiffe://east.mesh/\(path)")
        }
    }

    @Test func aSingleUseBindsTheFirstKey() throws {
        let token = try gatewayToken()
        let first = try Applicant().request
        let issued = try redeem(token, first)
        #expect(!issued.isRepeat)
        let again = try redeem(token, first, at: now.after(899))
        #expect(again.isRepeat && again.chain == issued.chain)
        #expect(throws: AuthorityError.tokenUsed) { try redeem(token, Applicant().request) }
        #expect(throws: AuthorityError.tokenExpired) { try redeem(token, first, at: now.after(900)) }
    }

    @Test func aReusableOneAdmitsAtMostItsKeys() throws {
        let token = try gatewayToken(uses: 3, lifetime: .seconds(30 * 86_400))
        let first = try Applicant().request
        _ = try redeem(token, first)
        for _ in 0..<2 { _ = try redeem(token, Applicant().request) }
        #expect(throws: AuthorityError.tokenUsed) { try redeem(token, Applicant().request) }
        #expect(try redeem(token, first).isRepeat)
        let later = try redeem(token, first, at: now.after(5 * 86_400))
        #expect(!later.isRepeat && later.notAfter > now.after(5 * 86_400))
        #expect(throws: AuthorityError.tokenUsed) { try redeem(token, Applicant().request, at: now.after(5 * 86_400)) }
    }

    @Test func aRevokedAnswerIsNotGivenAgain() throws {
        let token = try gatewayToken()
        let first = try Applicant().request
        let issued = try redeem(token, first)
        try authority.write { (desk) throws(AuthorityError) in _ = try desk.revoke(serial: issued.serial, now: now) }
        #expect(throws: AuthorityError.revoked) { try redeem(token, first) }
    }

    @Test func aRevokedTokenGivesNothing() throws {
        let token = try gatewayToken()
        let first = try Applicant().request
        _ = try redeem(token, first)
        let ended = try authority.write { (desk) throws(AuthorityError) in try desk.revokeToken(token.name) }
        #expect(ended.isRevoked && ended.uses == 1)
        #expect(throws: AuthorityError.tokenRevoked) { try redeem(token, first) }
        #expect(throws: AuthorityError.tokenUnknown) {
            try authority.write { (desk) throws(AuthorityError) in try desk.revokeToken("0000") }
        }
    }

    @Test func guessesAndOtherPurposesAreRefused() throws {
        let token = try gatewayToken()
        var random = SplitMix64.announced()
        let request = try Applicant().request
        for _ in 0..<200 {
            let secret = random.bytes(Int.random(in: 0...64, using: &random))
            #expect(throws: AuthorityError.tokenUnknown) {
                try authority.write { (desk) throws(AuthorityError) in
                    try desk.redeem(secret: secret, request: request, now: now)
                }
            }
        }
        let joining = try create(
            TokenRequest(subject: .federation(cluster: west, trustDomain: westDomain), addresses: ["b:1"]))
        #expect(throws: AuthorityError.self) { try redeem(joining, request) }
        let key = try PrivateKey.generate().publicKey
        #expect(throws: AuthorityError.self) { try admit(token, key) }
    }

    private func admit(
        _ token: JoinToken, _ key: PublicKey, cluster: ClusterID? = nil, domain: TrustDomain? = nil, plan: Bool = false
    ) throws -> FederationGrant {
        try authority.write { (desk) throws(AuthorityError) in
            try desk.admit(
                secret: token.secret, cluster: cluster ?? west, trustDomain: domain ?? westDomain, federationKey: key,
                plan: plan, now: now)
        }
    }

    @Test func aFederationTokenAdmitsOneClusterWithOneKey() throws {
        let token = try create(
            TokenRequest(subject: .federation(cluster: west, trustDomain: westDomain), addresses: ["b:1"]))
        let key = try PrivateKey.generate().publicKey
        let revision = office.store.revision
        #expect(try admit(token, key, plan: true).isRepeat == false)
        #expect(office.store.revision == revision)
        #expect(throws: AuthorityError.self) { try admit(token, key, cluster: ClusterID("north")) }
        #expect(throws: AuthorityError.self) { try admit(token, key, domain: TrustDomain("north.mesh")) }
        #expect(try admit(token, key).isRepeat == false)
        #expect(try admit(token, key).isRepeat)
        #expect(throws: AuthorityError.tokenUsed) { try admit(token, PrivateKey.generate().publicKey) }
        #expect(throws: AuthorityError.tokenUsed) { try admit(token, PrivateKey.generate().publicKey, plan: true) }
        let ended = try authority.write { (desk) throws(AuthorityError) in try desk.revokeTokens(admitting: west) }
        #expect(ended == [token.name])
        #expect(throws: AuthorityError.tokenRevoked) { try admit(token, key) }
    }

    @Test func badRequestsAreRefused() throws {
        let gateway = TokenSubject.gateway(name: name)
        let east = try #require(ClusterID("east"))
        let bad: [TokenRequest] = [
            TokenRequest(subject: gateway, lifetime: .zero, addresses: ["b:1"]),
            TokenRequest(subject: gateway, lifetime: .seconds(366 * 86_400), addresses: ["b:1"]),
            TokenRequest(subject: gateway, uses: 0, addresses: ["b:1"]),
            TokenRequest(subject: gateway, uses: 100_001, addresses: ["b:1"]),
            TokenRequest(subject: gateway, addresses: []),
            TokenRequest(subject: gateway, addresses: ["b 1"]),
            TokenRequest(subject: .admin(name: name), uses: 2, addresses: ["b:1"]),
            TokenRequest(subject: .federation(cluster: west, trustDomain: westDomain), uses: 2, addresses: ["b:1"]),
            TokenRequest(subject: .federation(cluster: east, trustDomain: westDomain), addresses: ["b:1"]),
            TokenRequest(subject: .federation(cluster: west, trustDomain: authority.trustDomain), addresses: ["b:1"]),
        ]
        for request in bad { #expect(throws: AuthorityError.self) { try create(request) } }
    }

    @Test func aThousandAtOnceAdmitOne() throws {
        let token = try gatewayToken()
        let thread = StoreThread(store: office.store)
        let outcomes = Mutex<[Result<IssuedSVID, AuthorityError>]>([])
        let now = now
        for _ in 0..<200 {
            let request = try Applicant().request
            try authority.submit(to: thread) { (desk) throws(AuthorityError) in
                try desk.redeem(secret: token.secret, request: request, now: now)
            } completion: { outcome in
                outcomes.withLock { $0.append(outcome) }
            }
        }
        thread.close()
        let all = outcomes.withLock { $0 }
        #expect(all.count == 200)
        #expect(all.count { (try? $0.get()) != nil } == 1)
        #expect(all.count { $0 == .failure(.tokenUsed) } == 199)
        let rows = try authority.read { (view) throws(AuthorityError) in try view.issued(limit: 10) }
        #expect(rows.count == 1)
    }

    /// A crash at any commit: nothing acknowledged is lost, and a token is never both free and used.
    @Test func crashesLoseNothingAcknowledged() throws {
        for after in [false, true] {
            for commit in 0..<8 {
                let vault = MemoryVault()
                let store = MemoryStore()
                _ = try Office(vault: vault, store: store).open()
                let shaky = try Office(vault: vault, store: CrashingStore(store, at: commit, after: after)).open()
                var tokens: [JoinToken] = []
                var issued: [(JoinToken, CertificateRequest, IssuedSVID)] = []
                for _ in 0..<4 {
                    guard
                        let token = try? create(
                            TokenRequest(subject: .gateway(name: name), addresses: ["b:1"]), shaky)
                    else { continue }
                    tokens.append(token)
                    let request = try Applicant().request
                    if let svid = try? redeem(token, request, shaky) { issued.append((token, request, svid)) }
                }
                let reopened = try Office(vault: vault, store: store).open()
                for (token, request, svid) in issued {
                    #expect(try redeem(token, request, reopened).chain == svid.chain)
                    #expect(throws: AuthorityError.tokenUsed) { try redeem(token, Applicant().request, reopened) }
                }
                let rows = try reopened.read { (view) throws(AuthorityError) in try view.issued(limit: .max) }
                let known = try reopened.read { (view) throws(AuthorityError) in try view.tokens() }
                for token in tokens { #expect(known.contains { $0.name == token.name }) }
                #expect(rows.count == known.reduce(0) { $0 + $1.uses }, "each use has its certificate")
            }
        }
    }

    private func redeem(_ token: JoinToken, _ request: CertificateRequest, _ authority: Authority) throws -> IssuedSVID
    {
        try redeem(token, request, at: now, authority)
    }
}
