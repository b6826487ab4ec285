internal import Identity
internal import MeshModel
internal import Routing
internal import Wire

/// The origin assertion at this hop: judged where it comes in, made where it is missing (PROTOCOLS section 5).
extension OriginVerifier {
    /// Judges a token that was copied, or that there is none.
    mutating func judge(
        _ token: [UInt8]?, _ destination: Destination, peer: PeerIdentity, role: OriginRole, acceptAttested: Bool,
        now: WallTime
    ) throws(OriginRefusal) -> OriginCaller {
        let audience = destination.serverName
        guard let token else {
            return try verify(
                nil, audience: audience.span, peer: peer, role: role, acceptAttested: acceptAttested,
                now: now)
        }
        return try verify(
            token.span, audience: audience.span, peer: peer, role: role,
            acceptAttested: acceptAttested, now: now)
    }

    /// Judges the field of a request's head, without copying it.
    mutating func judge(
        _ head: borrowing HeaderBlock, _ destination: Destination, peer: PeerIdentity, role: OriginRole,
        acceptAttested: Bool, now: WallTime
    ) throws(OriginRefusal) -> OriginCaller {
        let audience = destination.serverName
        // Which of two would the next hop believe?
        if head.isRepeated(.meshfedOrigin) { throw .invalid(.malformed) }
        guard head.contains(.meshfedOrigin) else {
            return try verify(
                nil, audience: audience.span, peer: peer, role: role, acceptAttested: acceptAttested,
                now: now)
        }
        return try verify(
            head.value(of: .meshfedOrigin), audience: audience.span, peer: peer, role: role,
            acceptAttested: acceptAttested, now: now)
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
