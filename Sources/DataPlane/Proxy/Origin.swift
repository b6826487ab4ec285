internal import Identity
internal import MeshModel
internal import Routing
internal import Wire

/// The origin assertion at this hop: judged where it comes in, made where it is missing (PROTOCOLS section 5).
extension OriginVerifier {
    /// Judges a token that was copied, or that there is none. `acceptAttested`: trust domains whose gateways may vouch; nil
    /// for a question, which vouches for nobody.
    mutating func judge(
        _ token: [UInt8]?, _ destination: Destination, peer: PeerIdentity, role: OriginRole,
        acceptAttested: [TrustDomain]?, now: WallTime
    ) throws(OriginRefusal) -> OriginCaller {
        let audience = destination.serverName
        let found: OriginCaller
        if let token {
            found = try verify(
                token.span, audience: audience.span, peer: peer, role: role, acceptAttested: true, now: now)
        } else {
            found = try verify(nil, audience: audience.span, peer: peer, role: role, acceptAttested: true, now: now)
        }
        return try Self.accept(found, role, acceptAttested)
    }

    /// Judges the field of a request's head, without copying it.
    mutating func judge(
        _ head: borrowing HeaderBlock, _ destination: Destination, peer: PeerIdentity, role: OriginRole,
        acceptAttested: [TrustDomain]?, now: WallTime
    ) throws(OriginRefusal) -> OriginCaller {
        let audience = destination.serverName
        // Which of two would the next hop believe?
        if head.isRepeated(.meshfedOrigin) { throw .invalid(.malformed) }
        let found: OriginCaller
        if head.contains(.meshfedOrigin) {
            found = try verify(
                head.value(of: .meshfedOrigin), audience: audience.span, peer: peer, role: role, acceptAttested: true,
                now: now)
        } else {
            found = try verify(nil, audience: audience.span, peer: peer, role: role, acceptAttested: true, now: now)
        }
        return try Self.accept(found, role, acceptAttested)
    }

    /// Whose word stands for the caller's own: the attesting gateway's domain is asked, which at a sidecar is not the peer's.
    private static func accept(
        _ found: OriginCaller, _ role: OriginRole, _ accepted: [TrustDomain]?
    ) throws(OriginRefusal) -> OriginCaller {
        guard let gateway = found.attestedBy, let accepted else { return found }
        let own: TrustDomain
        switch role {
        case .gateway(let domain), .sidecar(let domain): own = domain
        }
        guard gateway.trustDomain == own || accepted.contains(gateway.trustDomain) else {
            throw .invalid(.attestation)
        }
        return found
    }
}

extension OriginMaker {
    mutating func assertion(for destination: Destination, now: WallTime) throws(IdentityError) -> [UInt8] {
        let audience = destination.serverName
        return try assertion(audience: audience.span, now: now)
    }

    mutating func assertion(
        attesting caller: SPIFFEID, for destination: Destination, now: WallTime
    ) throws(IdentityError) -> [UInt8] {
        let audience = destination.serverName
        return try assertion(attesting: caller, audience: audience.span, now: now)
    }
}
