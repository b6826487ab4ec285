import Authority
import Identity
import MeshModel
import MeshTestKit
import Store
import Testing

@Suite struct AuthorityTests {
    let now = Office.now
    let office = Office()

    private func id(_ path: String, _ domain: String = "east.mesh") throws -> SPIFFEID {
        try #require(SPIFFEID("spiffe://\(domain)/\(path)"))
    }

    @Test func itIsFoundedOnceAndFoundAgain() throws {
        let first = try office.open()
        let bundle = try first.bundle(now: now)
        #expect(bundle.roots.count == 1 && bundle.sequence == 1 && bundle.trustDomain == first.trustDomain)
        let again = try office.open(now: now.after(60))
        #expect(try again.bundle(now: now) == bundle)
        #expect(again.federationKey == first.federationKey)
        #expect(try office.vault.confirmedNames().count == 2 && office.vault.stagedNames().isEmpty)
    }

    @Test func otherClustersAndPartsOfABackupAreRefused() throws {
        _ = try office.open()
        #expect(throws: AuthorityError.self) { try office.open("west", "east.mesh") }
        #expect(throws: AuthorityError.self) { try office.open("east", "west.mesh") }
        #expect(throws: AuthorityError.self) { try Office(vault: office.vault).open() }
        #expect(throws: AuthorityError.self) { try Office(store: office.store).open() }
        for name in try office.vault.confirmedNames() {
            let vault = MemoryVault()
            for other in try office.vault.confirmedNames() where other != name {
                guard let key = try office.vault.key(other) else { continue }
                try vault.stage(other, key)
                try vault.confirm(other)
            }
            #expect(throws: AuthorityError.self) { try Office(vault: vault, store: office.store).open() }
            try vault.stage(name, try PrivateKey.generate())
            try vault.confirm(name)
            #expect(throws: AuthorityError.self) { try Office(vault: vault, store: office.store).open() }
        }
        let extra = Office()
        _ = try extra.open()
        try extra.vault.stage("authority-0123456789abcdef", try PrivateKey.generate())
        try extra.vault.confirm("authority-0123456789abcdef")
        #expect(throws: AuthorityError.self) { try extra.open() }
        let used = MemoryStore()
        try used.write { (tx) throws(StoreError) in try tx.put(StoreKey(StoreTable("x"), "y"), []) }
        #expect(throws: AuthorityError.self) { try Office(store: used).open() }
    }

    @Test func aCrashWhileFoundingLeavesNothingOrOneRoot() throws {
        for after in [false, true] {
            for call in 0..<6 {
                let vault = MemoryVault()
                let store = MemoryStore()
                let first = try? Office(vault: CrashingVault(vault, at: call, after: after), store: store).open()
                let authority = try Office(vault: vault, store: store).open()
                if let first { #expect(first.federationKey == authority.federationKey) }
                #expect(try authority.bundle(now: now).roots.count == 1)
                #expect(try vault.confirmedNames().count == 2 && vault.stagedNames().isEmpty, "call \(call)")
            }
            let vault = MemoryVault()
            let store = MemoryStore()
            #expect(throws: AuthorityError.self) {
                try Office(vault: vault, store: CrashingStore(store, at: 0, after: after)).open()
            }
            #expect(try Office(vault: vault, store: store).open().bundle(now: now).roots.count == 1)
        }
    }

    @Test func aCrashWhileRotatingLosesNothing() throws {
        for after in [false, true] {
            for call in 0..<5 {
                let vault = MemoryVault()
                let store = MemoryStore()
                let before = try Office(vault: vault, store: store).open().bundle(now: now)
                // Opening confirms two keys; the calls after that belong to the rotation.
                let shaky = try Office(vault: CrashingVault(vault, at: 2 + call, after: after), store: store).open()
                if let next = try? shaky.prepare(now: now) {
                    try shaky.activate(next, acknowledged: .max, now: now)
                    let old = try shaky.read { (view) throws(AuthorityError) in try view.machine() }
                        .entries.first { $0.phase == .tainted }
                    if let old { try? shaky.revoke(old.id, now: now) }
                }
                let reopened = try Office(vault: vault, store: store).open()
                let bundle = try reopened.bundle(now: now)
                #expect(!bundle.roots.isEmpty && bundle.sequence >= before.sequence)
                #expect(try vault.stagedNames().isEmpty)
                _ = try reopened.write { (desk) throws(AuthorityError) in
                    try desk.issue(try self.known("ns/a/sa/b"), request: try self.newRequest(), now: now)
                }
            }
        }
    }

    private func known(_ path: String) throws(AuthorityError) -> SPIFFEID {
        guard let id = SPIFFEID("spiffe://east.mesh/\(path)") else { throw .badRequest(path) }
        return id
    }

    private func newRequest() throws(AuthorityError) -> CertificateRequest {
        do throws(IdentityError) { return try Applicant().request } catch { throw .identity(error) }
    }

    @Test func whatItIssuesVerifiesUnderItsBundle() throws {
        let authority = try office.open()
        let applicant = try Applicant()
        let request = applicant.request
        let web = try id("ns/shop/sa/web")
        let issued = try authority.write { (desk) throws(AuthorityError) in
            try desk.issue(web, request: request, now: now)
        }
        let trust = try TrustStore([authority.bundle(now: now)], generation: 1)
        let peer = try trust.verify(chain: issued.chain, purpose: .client, now: now)
        #expect(peer.id == web && peer.serial == issued.serial)
        #expect(issued.notAfter == now.after(86_400) && issued.notBefore == now.after(-30))
        let svid = try SVID(chainDER: issued.chain, key: try applicant.key.duplicate())
        #expect(svid.id == web)
        let rows = try authority.read { (view) throws(AuthorityError) in try view.issued(limit: 10) }
        #expect(rows.map(\.id) == [web.description] && rows[0].isRevoked == false && rows[0].cause == "policy")
    }

    @Test func foreignIDsAreRefused() throws {
        let authority = try office.open()
        let request = try Applicant().request
        let foreign = try id("ns/shop/sa/web", "west.mesh")
        #expect(throws: AuthorityError.self) {
            try authority.write { (desk) throws(AuthorityError) in try desk.issue(foreign, request: request, now: now) }
        }
    }

    @Test func aRotationServesOldAndNew() throws {
        let authority = try office.open()
        let request = try Applicant().request
        let web = try id("ns/shop/sa/web")
        func issue(_ time: WallTime) throws -> IssuedSVID {
            try authority.write { (desk) throws(AuthorityError) in try desk.issue(web, request: request, now: time) }
        }
        let old = try issue(now)
        let next = try authority.prepare(now: now)
        let beforeActivation = try issue(now)
        #expect(throws: AuthorityError.notAcknowledged(needed: 2, acknowledged: 1)) {
            try authority.activate(next, acknowledged: 1, now: now)
        }
        try authority.activate(next, acknowledged: 2, now: now)
        let new = try issue(now)
        let rotating = try TrustStore([authority.bundle(now: now)], generation: 1)
        for svid in [old, beforeActivation, new] {
            #expect(try rotating.verify(chain: svid.chain, purpose: .client, now: now).id == web)
        }
        let machine = try authority.read { (view) throws(AuthorityError) in try view.machine() }
        let tainted = try #require(machine.entries.first { $0.phase == .tainted })
        #expect(throws: AuthorityError.self) { try authority.revoke(tainted.id, now: now.after(86_400)) }
        try authority.revoke(tainted.id, now: now.after(86_431))
        let bundle = try authority.bundle(now: now)
        #expect(bundle.roots.count == 1 && bundle.sequence == 3)
        let after = try TrustStore([bundle], generation: 2)
        #expect(throws: PeerRefusal.unknownCA) { try after.verify(chain: old.chain, purpose: .client, now: now) }
        #expect(try after.verify(chain: new.chain, purpose: .client, now: now).id == web)
        #expect(try office.vault.confirmedNames().count == 2)
        #expect(try office.open().bundle(now: now) == bundle)
    }

    @Test func revokedSerialsReachTheBundleUntilTheyEnd() throws {
        let authority = try office.open()
        let request = try Applicant().request
        let web = try id("ns/shop/sa/web")
        let issued = try authority.write { (desk) throws(AuthorityError) in
            try desk.issue(web, request: request, now: now)
        }
        let revoked = try authority.write { (desk) throws(AuthorityError) in
            try desk.revoke(serial: issued.serial, now: now)
        }
        let again = try authority.write { (desk) throws(AuthorityError) in
            try desk.revoke(serial: issued.serial, now: now)
        }
        #expect(revoked && !again)
        let bundle = try authority.bundle(now: now)
        #expect(bundle.revokedSerials == [issued.serial] && bundle.sequence == 2)
        let trust = try TrustStore([bundle], generation: 1)
        #expect(throws: PeerRefusal.revoked) { try trust.verify(chain: issued.chain, purpose: .client, now: now) }
        #expect(try authority.bundle(now: now.after(90_000)).revokedSerials.isEmpty)
        #expect(throws: AuthorityError.self) {
            try authority.write { (desk) throws(AuthorityError) in try desk.revoke(serial: [1, 2, 3], now: now) }
        }
    }

    @Test func allOfAnIDIsRevoked() throws {
        let authority = try office.open()
        let request = try Applicant().request
        let (web, api) = (try id("ns/shop/sa/web"), try id("ns/shop/sa/api"))
        try authority.write { (desk) throws(AuthorityError) in
            for _ in 0..<3 { _ = try desk.issue(web, request: request, now: now) }
            _ = try desk.issue(api, request: request, now: now)
        }
        let serials = try authority.write { (desk) throws(AuthorityError) in try desk.revoke(id: web, now: now) }
        #expect(serials.count == 3)
        #expect(try authority.bundle(now: now).revokedSerials.count == 3)
    }

    @Test func anSVIDThatRanOutRenewsWithinSevenDays() throws {
        let authority = try office.open()
        let old = try Applicant()
        let oldRequest = old.request
        let web = try id("ns/shop/sa/web")
        let issued = try authority.write { (desk) throws(AuthorityError) in
            try desk.issue(web, request: oldRequest, now: now)
        }
        let leaf = issued.chain[0]
        let fresh = try Applicant().request
        let proof = try RenewalProof.sign(oldLeaf: leaf, request: fresh.der, key: old.key)
        func renew(_ time: WallTime, leaf: [UInt8], proof: [UInt8], permitted: Bool = true) throws -> IssuedSVID {
            try authority.write { (desk) throws(AuthorityError) in
                try desk.renewExpired(
                    oldLeaf: leaf, request: fresh, signature: proof, now: time, permits: { _ in permitted })
            }
        }
        let end = issued.notAfter
        let renewed = try renew(end.after(7 * 86_400), leaf: leaf, proof: proof)
        #expect(renewed.id == web && renewed.cause == .expiredRenewal(oldSerial: issued.serial))
        #expect(throws: AuthorityError.self) { try renew(end.after(7 * 86_400 + 1), leaf: leaf, proof: proof) }
        #expect(throws: AuthorityError.self) { try renew(end, leaf: leaf, proof: proof, permitted: false) }
        var forged = proof
        forged[0] ^= 1
        #expect(throws: AuthorityError.self) { try renew(end, leaf: leaf, proof: forged) }
        let thief = try Applicant()
        let stolen = try RenewalProof.sign(oldLeaf: leaf, request: fresh.der, key: thief.key)
        #expect(throws: AuthorityError.self) { try renew(end, leaf: leaf, proof: stolen) }
        let mint = try CertificateMint("east.mesh")
        let foreign = try mint.svid(web.description)
        let foreignProof = try RenewalProof.sign(oldLeaf: foreign.leaf.der, request: fresh.der, key: foreign.key)
        #expect(throws: AuthorityError.self) { try renew(now, leaf: foreign.leaf.der, proof: foreignProof) }
        try authority.write { (desk) throws(AuthorityError) in _ = try desk.revoke(serial: issued.serial, now: now) }
        #expect(throws: AuthorityError.revoked) { try renew(end, leaf: leaf, proof: proof) }
    }

    @Test func oldThingsAreForgotten() throws {
        let authority = try office.open()
        let request = try Applicant().request
        let web = try id("ns/shop/sa/web")
        for _ in 0..<5 {
            try authority.write { (desk) throws(AuthorityError) in
                let issued = try desk.issue(web, request: request, now: now)
                _ = try desk.revoke(serial: issued.serial, now: now)
                _ = try desk.createToken(
                    TokenRequest(subject: .gateway(name: try label("g")), addresses: ["b:8443"]), now: now)
            }
        }
        func forget(_ time: WallTime) throws -> Int {
            try authority.write { (desk) throws(AuthorityError) in try desk.forget(now: time, limit: 3) }
        }
        #expect(try forget(now) == 0)
        #expect(try forget(now.after(2 * 86_400)) == 3)
        #expect(try forget(now.after(2 * 86_400)) == 2)
        var total = 0
        while case let count = try forget(now.after(10 * 86_400)), count > 0 { total += count }
        #expect(total == 5)
        let rows = try authority.read { (view) throws(AuthorityError) in try view.issued(limit: 10) }
        #expect(rows.isEmpty)
    }

    private func label(_ text: String) throws(AuthorityError) -> Label {
        guard let label = Label(text) else { throw .badRequest(text) }
        return label
    }

    @Test func theBundleDocumentIsAJWKSet() throws {
        let authority = try office.open()
        let bundle = try authority.bundle(now: now)
        let text = String(decoding: BundleDocument.json(bundle), as: UTF8.self)
        #expect(
            text.hasPrefix(#"{"spiffe_sequence":1,"spiffe_refresh_hint":300,"keys":[{"use":"x509-svid","kty":"EC""#))
        let root = String(decoding: Base64.encode(bundle.roots[0]), as: UTF8.self)
        #expect(text.contains(#""x5c":["\#(root)"]"#) && text.hasSuffix("]}\n"))
    }

    @Test func theFederationKeySignsRecords() throws {
        let authority = try office.open()
        let signature = try authority.signWithFederationKey([1, 2, 3])
        #expect(authority.federationKey.verify(signature, message: [1, 2, 3], context: .record))
    }

    @Test func refusedWorkWritesNothing() throws {
        let authority = try office.open()
        let revision = office.store.revision
        let request = try Applicant().request
        let web = try id("ns/shop/sa/web")
        #expect(throws: AuthorityError.tokenUsed) {
            try authority.write { (desk) throws(AuthorityError) in
                _ = try desk.issue(web, request: request, now: now)
                throw .tokenUsed
            }
        }
        #expect(office.store.revision == revision)
    }
}
