package import MeshModel

/// Where an assertion is judged: by which part of which trust domain (PROTOCOLS section 5).
package enum OriginRole: Hashable, Sendable {
    case gateway(TrustDomain)
    case sidecar(TrustDomain)
}

/// Who called, as the policy engine may believe it.
package struct OriginCaller: Hashable, Sendable {
    package let caller: SPIFFEID
    /// The gateway that vouches for the caller; nil when the caller signed itself or is the TLS peer.
    package let attestedBy: SPIFFEID?
    /// True when an assertion proved it; false when the caller is the direct TLS peer.
    package let asserted: Bool
}

/// Why a request's origin is not believed.
package enum OriginRefusal: Error, Hashable, Sendable {
    /// What is wrong with an assertion.
    package enum Fault: Hashable, Sendable {
        case malformed
        case chain(PeerRefusal)
        case signature
        case signer
        case audience
        case notYetValid
        case expired
        case lifetime
        case caller
        case attestation
    }

    case missing
    case invalid(Fault)
    case unexpected
    case overload

    /// The word in `meshfed-error`, log and metrics.
    package var reason: Reason {
        switch self {
        case .missing: .originMissing
        case .invalid: .originInvalid
        case .unexpected: .originUnexpected
        case .overload: .overload
        }
    }
}

/// Judges origin assertions. The table holds what signature and chain proved; everything that depends on the time, the leg and
/// the peer is checked on every request. Owned by one worker.
package struct OriginVerifier: ~Copyable {
    /// New assertions that are verified for one peer in one second (PROTOCOLS section 5).
    package static let maximumNewPerSecond = 2_000
    /// Peers that are counted at once; with more of them in one second the answer is `overload`.
    package static let maximumPeers = 4_096

    /// One object, so that a hit costs one retain.
    private final class Proven {
        let claims: OriginClaims
        let chain: VerifiedChain

        init(claims: OriginClaims, chain: VerifiedChain) {
            self.claims = claims
            self.chain = chain
        }
    }

    package private(set) var trust: TrustStore
    private var table: BoundedTable<Proven>
    private var counts: [[UInt8]: Int] = [:]
    private var second = WallTime(seconds: .min)

    /// `capacity` assertions are kept; `random` seeds the table.
    package init(trust: TrustStore, capacity: Int = 4_096, random: RandomSource) throws(IdentityError) {
        self.trust = trust
        table = BoundedTable(capacity: capacity, seed: try random(8).reduce(0) { $0 << 8 | UInt64($1) })
    }

    /// Takes a new store; what the old one proved is forgotten when the generation differs.
    package mutating func adopt(_ trust: TrustStore) {
        if trust !== self.trust { table.removeAll() }
        self.trust = trust
    }

    /// Who called. `token` is the header's value, nil when there is none; `audience` is this leg's SNI; `parentServices` are the
    /// audiences of services whose split leads here; `peer` is the direct TLS peer.
    package mutating func verify(
        _ token: Span<UInt8>?, audience: Span<UInt8>, parentServices: [[UInt8]] = [], peer: PeerIdentity,
        role: OriginRole, acceptAttested: Bool, now: WallTime
    ) throws(OriginRefusal) -> OriginCaller {
        let demand = OriginRules.demand(peer: peer.id, role: role)
        guard let token else {
            switch demand {
            case .required: throw .missing
            case .ownCaller, .none: return OriginCaller(caller: peer.id, attestedBy: nil, asserted: false)
            case .refused: throw .missing
            }
        }
        switch demand {
        case .none, .refused: throw .unexpected
        case .required, .ownCaller: break
        }
        let proven = try prove(token, peer: peer, now: now)
        try Self.check(proven, audience: audience, parentServices: parentServices, now: now)
        try OriginRules.check(proven.claims, demand: demand, peer: peer.id, acceptAttested: acceptAttested)
        return OriginCaller(caller: proven.claims.caller, attestedBy: proven.claims.attestedBy, asserted: true)
    }

    /// Signature and chain: from the table, or verified now and put there.
    private mutating func prove(_ text: Span<UInt8>, peer: PeerIdentity, now: WallTime) throws(OriginRefusal) -> Proven
    {
        guard text.count <= OriginToken.maximumLength else { throw .invalid(.malformed) }
        if let proven = table[text] { return proven }
        try count(peer, now)
        guard let token = OriginToken(text: text) else { throw .invalid(.malformed) }
        var certificates: [Certificate] = []
        for der in token.chain {
            guard let certificate = try? Certificate(der: der) else { throw .invalid(.malformed) }
            certificates.append(certificate)
        }
        let chain: VerifiedChain
        do throws(PeerRefusal) {
            chain = try trust.verify(certificates, purpose: .client, now: now)
        } catch {
            throw .invalid(.chain(error))
        }
        let message = SignatureContext.origin.bytes + token.signed
        // SAFETY: the key is lent for the call and not kept.
        let genuine = unsafe certificates[0].withPublicKey { key in
            unsafe PublicKey.verify(token.signature, message: message, key: key)
        }
        guard genuine == true else { throw .invalid(.signature) }
        let proven = Proven(claims: token.claims, chain: chain)
        table.insert(text, proven, end: token.claims.expires)
        return proven
    }

    /// The checks that hold for whoever presents it.
    private static func check(
        _ proven: Proven, audience: Span<UInt8>, parentServices: [[UInt8]], now: WallTime
    ) throws(OriginRefusal) {
        let claims = proven.claims
        do throws(PeerRefusal) {
            try proven.chain.checkTime(now)
        } catch {
            throw .invalid(.chain(error))
        }
        let signer = proven.chain.identity.id
        if let attestedBy = claims.attestedBy {
            guard signer == attestedBy, case .gateway = signer.kind else { throw .invalid(.signer) }
        } else {
            guard signer == claims.caller else { throw .invalid(.signer) }
        }
        let named = equals(claims.audience, audience)
        guard named || parentServices.contains(claims.audience) else { throw .invalid(.audience) }
        guard claims.expires > claims.issued,
            claims.expires <= claims.issued.advanced(bySeconds: OriginClaims.maximumLife),
            claims.expires <= proven.chain.leafNotAfter
        else { throw .invalid(.lifetime) }
        guard now.advanced(bySeconds: Leeway.seconds) >= claims.issued else { throw .invalid(.notYetValid) }
        guard now.advanced(bySeconds: -Leeway.seconds) <= claims.expires else { throw .invalid(.expired) }
    }

    private mutating func count(_ peer: PeerIdentity, _ now: WallTime) throws(OriginRefusal) {
        if now != second {
            second = now
            counts.removeAll(keepingCapacity: true)
        }
        let used = counts[peer.leafHash, default: 0]
        guard used < Self.maximumNewPerSecond, used > 0 || counts.count < Self.maximumPeers else { throw .overload }
        counts[peer.leafHash] = used + 1
    }

    private static func equals(_ left: [UInt8], _ right: Span<UInt8>) -> Bool {
        guard left.count == right.count else { return false }
        for index in 0..<right.count where left[index] != right[index] { return false }
        return true
    }
}

/// "Who may present one" of PROTOCOLS section 5, apart from any signature.
package enum OriginRules {
    /// What is asked of a direct peer.
    package enum Demand: Hashable, Sendable {
        /// Rule 2 at a gateway, rule 3 at a sidecar; `from` is the peer's domain, `own` the verifier's.
        case required(from: TrustDomain, own: TrustDomain)
        /// Rule 1: a workload of the own domain; without one it is its own caller, with one it has a sidecar.
        case ownCaller
        /// Rule 4, of a peer that is a caller itself: none may be there.
        case none
        /// Rule 4, of a gateway that has no business on this leg: it is neither a caller nor may it present one.
        case refused
    }

    package static func demand(peer: SPIFFEID, role: OriginRole) -> Demand {
        let own: TrustDomain
        switch role {
        case .gateway(let domain), .sidecar(let domain): own = domain
        }
        let isOwn = peer.trustDomain == own
        switch (role, peer.kind) {
        case (.gateway, .gateway): return isOwn ? .refused : .required(from: peer.trustDomain, own: own)
        case (.sidecar, .gateway): return isOwn ? .required(from: own, own: own) : .refused
        case (.gateway, .workload): return isOwn ? .ownCaller : .none
        case (.sidecar, .workload), (_, .broker), (_, .admin), (_, .other): return .none
        }
    }

    /// The claims' caller against the peer that brought them. Across clusters a gateway may vouch only for callers of its own
    /// trust domain, and only where `acceptAttested` says so.
    static func check(
        _ claims: OriginClaims, demand: Demand, peer: SPIFFEID, acceptAttested: Bool
    ) throws(OriginRefusal) {
        switch demand {
        case .none, .refused: throw .unexpected
        case .ownCaller:
            guard claims.attestedBy == nil else { throw .invalid(.attestation) }
            guard claims.caller == peer else { throw .invalid(.caller) }
        case .required(let domain, let own):
            if let gateway = claims.attestedBy, gateway.trustDomain == own {
                // Rule 3: our own gateway vouches, for any caller that it verified; never on a leg from another domain.
                guard domain == own else { throw .invalid(.caller) }
                return
            }
            if let gateway = claims.attestedBy {
                guard acceptAttested, claims.caller.trustDomain == gateway.trustDomain else {
                    throw .invalid(.attestation)
                }
            }
            if domain == own {
                guard claims.caller.trustDomain != own else { throw .invalid(.caller) }
            } else {
                guard claims.caller.trustDomain == domain else { throw .invalid(.caller) }
            }
        }
    }
}
