package import Identity
package import MeshModel
package import Store

/// The authority's work inside one transaction: whatever is answered was written in it.
package struct AuthorityDesk {
    /// How long after its end an SVID may still be renewed with its old key, in seconds: 7 days (PROTOCOLS section 1).
    package static let renewalGrace: Int64 = 7 * 86_400

    let authority: Authority
    package let transaction: any StoreTransaction

    package var view: AuthorityView { AuthorityView(transaction) }

    // MARK: issuing

    /// Gives `id` to the key of `request`. The caller has decided that it may have it; nothing of the request but its key
    /// goes into the certificate.
    package func issue(
        _ id: SPIFFEID, request: CertificateRequest, dnsNames: [ASCIIText] = [], now: WallTime
    ) throws(AuthorityError) -> IssuedSVID {
        try issue(id, publicKey: request.publicKey, dnsNames: dnsNames, cause: .policy, now: now)
    }

    func issue(
        _ id: SPIFFEID, publicKey: PublicKey, dnsNames: [ASCIIText] = [], cause: IssuedSVID.Cause, now: WallTime
    ) throws(AuthorityError) -> IssuedSVID {
        guard id.trustDomain == authority.trustDomain else {
            throw .foreignIdentity("\(id) is not of trust domain \(authority.trustDomain)")
        }
        guard let entry = try view.machine().active, let signing = authority.signingKey(entry.id) else {
            throw .wrongPhase("there is no active authority")
        }
        let issuer = try identified { () throws(IdentityError) in try Certificate(der: entry.root) }
        guard issuer.notAfter > now else {
            throw .wrongPhase("the root of authority \(entry.id) has expired: prepare and activate another")
        }
        let random = authority.random
        let serial = try identified { () throws(IdentityError) in try CertificateBuilder.serial(random) }
        let der = try identified { () throws(IdentityError) in
            try CertificateBuilder.svid(
                id, dnsNames: dnsNames, publicKey: publicKey, issuer: issuer, issuerKey: signing.key, serial: serial,
                now: now, lifetime: authority.svidLifetime)
        }
        let leaf = try identified { () throws(IdentityError) in try Certificate(der: der) }
        let record = IssuedRecord(
            id: id.description, authority: entry.id, leafHash: Hex.encode(leaf.fingerprint),
            notBefore: leaf.notBefore.seconds, notAfter: leaf.notAfter.seconds, cause: cause.text)
        guard try put(StoreKey(AuthorityTable.issued, serial), record, if: .absent) else {
            throw .store(.conflict("a serial came twice"))
        }
        let ending = AuthorityTable.ending(leaf.notAfter, serial)
        try stored { () throws(StoreError) in try transaction.put(ending, Array(entry.id.utf8)) }
        return IssuedSVID(
            chain: [der], id: id, serial: serial, notBefore: leaf.notBefore, notAfter: leaf.notAfter, cause: cause,
            isRepeat: false)
    }

    /// Renews an SVID that ran out at most 7 days ago, for whoever holds its key (PROTOCOLS section 1, Restart): `signature` is
    /// the old key's over the old leaf's hash and the request. `permits` is asked whether the ID may still be had.
    package func renewExpired(
        oldLeaf: [UInt8], request: CertificateRequest, signature: [UInt8], now: WallTime,
        permits: (SPIFFEID) -> Bool = { _ in true }
    ) throws(AuthorityError) -> IssuedSVID {
        guard let leaf = try? Certificate(der: oldLeaf), let id = leaf.spiffeID else {
            throw .renewalRefused("the old certificate cannot be read")
        }
        // The exact certificate was given out here: that says more than its chain, which may be gone by now.
        guard let record = try view.issuedRecord(leaf.serial),
            constantTimeEquals(Array(record.leafHash.utf8), Array(Hex.encode(leaf.fingerprint).utf8)),
            record.id == id.description
        else {
            throw .renewalRefused("the old certificate was not issued here, or is forgotten: enrol anew with a token")
        }
        guard now.advanced(bySeconds: Leeway.seconds) >= leaf.notBefore else {
            throw .renewalRefused("the old certificate is not valid yet: check the clocks")
        }
        guard now <= leaf.notAfter.advanced(bySeconds: Self.renewalGrace) else {
            throw .renewalRefused("the old certificate ended more than 7 days ago: enrol anew with a token")
        }
        guard try !view.isRevoked(leaf.serial) else { throw .revoked }
        // A root that was taken back takes back what it signed, also for this.
        guard try view.machine().entries.contains(where: { $0.id == record.authority && $0.phase != .revoked }) else {
            throw .renewalRefused("the authority that signed the old certificate is revoked: enrol anew with a token")
        }
        guard RenewalProof.verify(signature, oldLeaf: leaf, request: request.der) else {
            throw .renewalRefused("the proof was not made with the old certificate's key")
        }
        guard permits(id) else { throw .renewalRefused("\(id) may not have a certificate any more") }
        return try issue(id, publicKey: request.publicKey, cause: .expiredRenewal(oldSerial: leaf.serial), now: now)
    }

    // MARK: revoking

    /// Puts a serial into the bundle's list. Returns false when it was there; throws `badRequest` for one that was not
    /// issued here and `full` beyond 4,096.
    @discardableResult
    package func revoke(serial: [UInt8], now: WallTime) throws(AuthorityError) -> Bool {
        guard let record = try view.issuedRecord(serial) else {
            throw .badRequest("no certificate with serial \(Hex.encode(serial)) was issued here")
        }
        guard try !view.isRevoked(serial) else { return false }
        let listed = try view.bundle(of: authority.trustDomain, now: now).revokedSerials.count
        guard listed < TrustStore.maximumRevokedSerials else {
            throw .full(
                "\(listed) serials are revoked, the most that a bundle holds: rotate the authority "
                    + "('meshfed authority prepare') and revoke the old one")
        }
        guard
            try put(
                StoreKey(AuthorityTable.revoked, serial), RevokedRecord(notAfter: record.notAfter, at: now.seconds),
                if: .absent)
        else { return false }
        var machine = try view.machine()
        machine.touch()
        try save(machine)
        return true
    }

    /// Revokes every certificate of `id` that is still valid or may still be renewed. Returns their serials.
    package func revoke(id: SPIFFEID, now: WallTime) throws(AuthorityError) -> [[UInt8]] {
        var serials: [[UInt8]] = []
        let start = AuthorityTable.bigEndian(now.advanced(bySeconds: -Self.renewalGrace))
        let keys = try stored { () throws(StoreError) in
            try transaction.list(AuthorityTable.endings, prefix: [], after: start, limit: .max)
        }
        for key in keys {
            let serial = Array(key.key.key.dropFirst(8))
            guard let record = try view.issuedRecord(serial), record.id == id.description else { continue }
            if try revoke(serial: serial, now: now) { serials.append(serial) }
        }
        return serials
    }

    /// Forgets what has no more use: certificates and revocations a day after the last moment of renewal, tokens a day after
    /// their end. At most `limit` of each in one transaction; returns how many were forgotten, 0 when all is done.
    @discardableResult
    package func forget(now: WallTime, limit: Int = 256) throws(AuthorityError) -> Int {
        var count = 0
        let horizon = now.advanced(bySeconds: -(Self.renewalGrace + 86_400))
        let endings = try stored { () throws(StoreError) in
            try transaction.list(AuthorityTable.endings, prefix: [], after: nil, limit: limit)
        }
        let bound = AuthorityTable.bigEndian(horizon)
        for ending in endings where ending.key.key.lexicographicallyPrecedes(bound) {
            let serial = Array(ending.key.key.dropFirst(8))
            try stored { () throws(StoreError) in
                try transaction.delete(ending.key)
                try transaction.delete(StoreKey(AuthorityTable.issued, serial))
                try transaction.delete(StoreKey(AuthorityTable.revoked, serial))
            }
            count += 1
        }
        return try count + forgetTokens(before: now.advanced(bySeconds: -86_400), limit: limit)
    }

    // MARK: records

    func save(_ machine: AuthorityMachine) throws(AuthorityError) {
        for entry in machine.entries {
            let record = EntryRecord(
                phase: entry.phase, root: Hex.encode(entry.root), entered: entry.entered, since: entry.since.seconds)
            try put(StoreKey(AuthorityTable.entries, entry.id), record, if: .always)
        }
        try put(AuthorityTable.sequenceKey, machine.sequence, if: .always)
    }

    @discardableResult
    func put(_ key: StoreKey, _ record: some Encodable, if condition: StoreCondition) throws(AuthorityError) -> Bool {
        let bytes = try RecordCoding.encode(record)
        return try stored { () throws(StoreError) in try transaction.put(key, bytes, if: condition) }
    }
}
