package import Identity
package import MeshModel
import Store

/// For whom a token is made.
package enum TokenSubject: Hashable, Sendable {
    case sidecar(namespace: Label, serviceAccount: Label)
    case gateway(name: Label)
    case admin(name: Label)
    case federation(cluster: ClusterID, trustDomain: TrustDomain)
}

/// What `meshfed token create` asks for.
package struct TokenRequest: Hashable, Sendable {
    /// 15 minutes (PROTOCOLS section 1, Enrolment).
    package static let defaultLifetime: Duration = .seconds(900)
    /// A year: longer than any template should live.
    package static let maximumLifetime: Duration = .seconds(365 * 86_400)
    package static let maximumUses = 100_000

    package var subject: TokenSubject
    package var lifetime: Duration
    /// Keys that it may admit: 1 is single use.
    package var uses: Int
    /// `host:port` of the broker's port for joining.
    package var addresses: [String]

    package init(
        subject: TokenSubject, lifetime: Duration = defaultLifetime, uses: Int = 1, addresses: [String]
    ) {
        self.subject = subject
        self.lifetime = lifetime
        self.uses = uses
        self.addresses = addresses
    }
}

/// A token as it is listed, without its secret.
package struct TokenDescription: Hashable, Sendable {
    package let name: String
    package let purpose: JoinToken.Purpose
    /// The SPIFFE ID that it gives; empty for a federation.
    package let identity: String
    /// For a federation: who may join; else empty.
    package let cluster: String
    package let trustDomain: String
    package let created: WallTime
    package let expires: WallTime
    package let uses: Int
    package let maximumUses: Int
    package let isRevoked: Bool

    init(name: String, _ record: TokenRecord) throws(AuthorityError) {
        guard let purpose = JoinToken.Purpose(rawValue: record.purpose) else {
            throw .store(.corrupt("a token's record in the database is damaged"))
        }
        self.name = name
        self.purpose = purpose
        identity = record.identity
        cluster = record.cluster
        trustDomain = record.trustDomain
        created = WallTime(seconds: record.created)
        expires = WallTime(seconds: record.expires)
        uses = record.uses
        maximumUses = record.maximumUses
        isRevoked = record.revoked
    }
}

/// What a federation token grants.
package struct FederationGrant: Hashable, Sendable {
    package let token: TokenDescription
    /// True when the same key came with the same token before: give the stored answer.
    package let isRepeat: Bool
}

extension AuthorityView {
    /// All tokens that are not forgotten, by time of creation.
    package func tokens() throws(AuthorityError) -> [TokenDescription] {
        var found: [TokenDescription] = []
        for entry in try stored({ () throws(StoreError) in try reading.list(AuthorityTable.tokens) }) {
            found.append(
                try TokenDescription(
                    name: String(decoding: entry.key.key, as: UTF8.self), RecordCoding.decode(TokenRecord.self, entry)))
        }
        return found.sorted { ($0.created, $0.name) < ($1.created, $1.name) }
    }

    /// Looks a secret up without using it. Throws what redeeming it would throw because of its time or revocation.
    package func token(secret: [UInt8], now: WallTime) throws(AuthorityError) -> TokenDescription {
        let found = try lookUp(secret, now: now)
        return try TokenDescription(name: found.name, found.record)
    }

    func lookUp(
        _ secret: [UInt8], now: WallTime
    ) throws(AuthorityError) -> (name: String, record: TokenRecord, entry: StoreEntry) {
        guard secret.count == JoinToken.secretLength else { throw .tokenUnknown }
        let hash = SHA256.hash(secret)
        let name = JoinToken.name(secretHash: hash)
        let entry = try stored { () throws(StoreError) in try reading.get(StoreKey(AuthorityTable.tokens, name)) }
        guard let entry else { throw .tokenUnknown }
        let record = try RecordCoding.decode(TokenRecord.self, entry)
        guard constantTimeEquals(try RecordCoding.bytes(record.secretHash), hash) else { throw .tokenUnknown }
        if record.revoked { throw .tokenRevoked }
        if now.seconds >= record.expires { throw .tokenExpired }
        return (name, record, entry)
    }
}

extension AuthorityDesk {
    /// Tokens that are known at once: more are a sign of a loop.
    package static let maximumTokens = 4_096

    /// Makes a token. Its secret is in the answer and nowhere else: the store keeps its hash.
    package func createToken(_ request: TokenRequest, now: WallTime) throws(AuthorityError) -> JoinToken {
        guard request.lifetime >= .seconds(1), request.lifetime <= TokenRequest.maximumLifetime else {
            throw .badRequest("a token lives between a second and a year")
        }
        guard (1...TokenRequest.maximumUses).contains(request.uses) else {
            throw .badRequest("a token admits between 1 and \(TokenRequest.maximumUses) keys")
        }
        let known = try stored { () throws(StoreError) in try transaction.count(AuthorityTable.tokens) }
        guard known < Self.maximumTokens else {
            throw .full("\(known) tokens are known: wait until old ones have expired")
        }
        guard let root = try view.machine().active?.root else { throw .wrongPhase("there is no active authority") }
        let pin = try identified { () throws(IdentityError) in try Certificate(der: root).publicKey.fingerprint }
        let random = authority.random
        let secret = try identified { () throws(IdentityError) in try random(JoinToken.secretLength) }
        let (purpose, identity, cluster, domain) = try describe(request)
        let expires = now.advanced(bySeconds: request.lifetime.components.seconds)
        let (owner, trustDomain) = (authority.cluster, authority.trustDomain)
        let token = try identified { () throws(IdentityError) in
            try JoinToken(
                purpose: purpose, cluster: owner, trustDomain: trustDomain, addresses: request.addresses, rootPin: pin,
                secret: secret, expires: expires, subject: identity.isEmpty ? cluster : identity)
        }
        let record = TokenRecord(
            secretHash: Hex.encode(token.secretHash), purpose: purpose.rawValue, identity: identity, cluster: cluster,
            trustDomain: domain, created: now.seconds, expires: expires.seconds, uses: 0, maximumUses: request.uses,
            revoked: false)
        guard try put(StoreKey(AuthorityTable.tokens, token.name), record, if: .absent) else {
            throw .store(.conflict("a token's name came twice"))
        }
        return token
    }

    /// Gives the SVID that a sidecar's, gateway's or admin's token stands for to the key of `request`. The same key gets the
    /// same answer again until the token expires; another key is `tokenUsed` once the uses are up.
    package func redeem(secret: [UInt8], request: CertificateRequest, now: WallTime) throws(AuthorityError)
        -> IssuedSVID
    {
        let token = try view.lookUp(secret, now: now)
        guard token.record.purpose != JoinToken.Purpose.federation.rawValue, let id = SPIFFEID(token.record.identity)
        else {
            throw .tokenMismatch("the token is for a cluster that joins ('meshfed join'), not for a proxy")
        }
        let use = useKey(token.name, request.publicKey)
        let earlier = try stored { () throws(StoreError) in try transaction.get(use) }
        if let earlier {
            let record = try RecordCoding.decode(UseRecord.self, earlier)
            if let repeated = try answer(record, id: id, token: token.name, now: now) { return repeated }
            // A long-lived token may outlive what it gave: the key was admitted, so it gets a new one.
            let issued = try issue(id, publicKey: request.publicKey, cause: .token(name: token.name), now: now)
            try put(use, UseRecord(issued, now), if: .at(earlier.revision))
            return issued
        }
        try consume(token)
        let issued = try issue(id, publicKey: request.publicKey, cause: .token(name: token.name), now: now)
        guard try put(use, UseRecord(issued, now), if: .absent) else { throw .store(.conflict("a use came twice")) }
        return issued
    }

    /// Binds a federation token to the key of the cluster that joins. The caller stores its answer in the same transaction.
    /// With `plan` nothing is bound or used.
    package func admit(
        secret: [UInt8], cluster: ClusterID, trustDomain: TrustDomain, federationKey: PublicKey, plan: Bool = false,
        now: WallTime
    ) throws(AuthorityError) -> FederationGrant {
        let token = try view.lookUp(secret, now: now)
        guard token.record.purpose == JoinToken.Purpose.federation.rawValue else {
            throw .tokenMismatch("the token is for a \(try TokenDescription(name: "", token.record).purpose.word)")
        }
        guard token.record.cluster == cluster.description, token.record.trustDomain == trustDomain.description else {
            throw .tokenMismatch(
                "the token admits cluster \(token.record.cluster), trust domain \(token.record.trustDomain), "
                    + "not \(cluster), \(trustDomain)")
        }
        let use = useKey(token.name, federationKey)
        let description = try TokenDescription(name: token.name, token.record)
        if try stored({ () throws(StoreError) in try transaction.get(use) }) != nil {
            return FederationGrant(token: description, isRepeat: true)
        }
        if plan {
            guard token.record.uses < token.record.maximumUses else { throw .tokenUsed }
            return FederationGrant(token: description, isRepeat: false)
        }
        try consume(token)
        guard try put(use, UseRecord(at: now.seconds, chain: [], serial: ""), if: .absent) else {
            throw .store(.conflict("a use came twice"))
        }
        return FederationGrant(token: description, isRepeat: false)
    }

    /// Ends a token. What it gave stays valid; repeats are refused from now on.
    package func revokeToken(_ name: String) throws(AuthorityError) -> TokenDescription {
        let key = StoreKey(AuthorityTable.tokens, name)
        guard let entry = try stored({ () throws(StoreError) in try transaction.get(key) }) else { throw .tokenUnknown }
        var record = try RecordCoding.decode(TokenRecord.self, entry)
        record.revoked = true
        try put(key, record, if: .at(entry.revision))
        return try TokenDescription(name: name, record)
    }

    /// Ends every federation token for `cluster` that is not used up: for an eviction. Returns their names.
    package func revokeTokens(admitting cluster: ClusterID) throws(AuthorityError) -> [String] {
        var names: [String] = []
        for token in try view.tokens()
        where token.purpose == .federation && token.cluster == cluster.description && !token.isRevoked {
            names.append(try revokeToken(token.name).name)
        }
        return names
    }

    func forgetTokens(before horizon: WallTime, limit: Int) throws(AuthorityError) -> Int {
        var count = 0
        for token in try view.tokens() where token.expires < horizon && count < limit {
            let uses = try stored { () throws(StoreError) in
                try transaction.list(
                    AuthorityTable.uses, prefix: Array(token.name.utf8) + [0x2F], after: nil, limit: limit - count)
            }
            for use in uses { try stored { () throws(StoreError) in _ = try transaction.delete(use.key) } }
            count += uses.count
            guard count < limit else { break }
            try stored { () throws(StoreError) in
                _ = try transaction.delete(StoreKey(AuthorityTable.tokens, token.name))
            }
            count += 1
        }
        return count
    }

    /// Counts one key against the token; the condition on the revision is what makes a single use single.
    private func consume(_ token: (name: String, record: TokenRecord, entry: StoreEntry)) throws(AuthorityError) {
        var record = token.record
        guard record.uses < record.maximumUses else { throw .tokenUsed }
        record.uses += 1
        guard try put(token.entry.key, record, if: .at(token.entry.revision)) else { throw .tokenUsed }
    }

    /// The stored answer; nil when it is not valid any more, `revoked` when it was taken back.
    private func answer(
        _ record: UseRecord, id: SPIFFEID, token: String, now: WallTime
    ) throws(AuthorityError) -> IssuedSVID? {
        var chain: [[UInt8]] = []
        for text in record.chain { chain.append(try RecordCoding.bytes(text)) }
        guard let first = chain.first, let leaf = try? Certificate(der: first) else {
            throw .store(.corrupt("the stored answer of token \(token) is damaged"))
        }
        guard try !view.isRevoked(leaf.serial) else { throw .revoked }
        guard leaf.notAfter > now else { return nil }
        return IssuedSVID(
            chain: chain, id: id, serial: leaf.serial, notBefore: leaf.notBefore, notAfter: leaf.notAfter,
            cause: .token(name: token), isRepeat: true)
    }

    private func useKey(_ name: String, _ key: PublicKey) -> StoreKey {
        StoreKey(AuthorityTable.uses, Array(name.utf8) + [0x2F] + key.fingerprint)
    }

    private func describe(
        _ request: TokenRequest
    ) throws(AuthorityError) -> (JoinToken.Purpose, identity: String, cluster: String, trustDomain: String) {
        let domain = authority.trustDomain
        switch request.subject {
        case .sidecar(let namespace, let account):
            let id = SPIFFEID.workload(in: domain, namespace: namespace, serviceAccount: account)
            return (.sidecar, id.description, "", "")
        case .gateway(let name): return (.gateway, SPIFFEID.gateway(in: domain, name: name).description, "", "")
        case .admin(let name):
            guard request.uses == 1 else { throw .badRequest("an admin's token is for one key") }
            return (.admin, SPIFFEID.admin(in: domain, name: name).description, "", "")
        case .federation(let cluster, let trustDomain):
            guard request.uses == 1 else { throw .badRequest("a federation token is for one cluster") }
            guard cluster != authority.cluster, trustDomain != domain else {
                throw .badRequest("a cluster cannot join itself: \(cluster), \(trustDomain) is this one")
            }
            return (.federation, "", cluster.description, trustDomain.description)
        }
    }
}

extension UseRecord {
    init(_ issued: IssuedSVID, _ now: WallTime) {
        self.init(at: now.seconds, chain: issued.chain.map(Hex.encode), serial: Hex.encode(issued.serial))
    }
}
