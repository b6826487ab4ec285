package import MeshModel

/// Makes origin assertions with one SVID and keeps each until half of its life (PROTOCOLS section 5). Owned by one worker.
package struct OriginMaker: ~Copyable {
    private struct Held {
        let text: [UInt8]
        let renew: WallTime
    }

    private let svid: SVID
    private let chain: [[UInt8]]
    private let random: RandomSource
    private var table: BoundedTable<Held>

    /// `capacity` pairs of caller and audience are kept. A renewed SVID takes a new maker. Throws when `random` fails.
    package init(svid: SVID, capacity: Int = 1_024, random: @escaping RandomSource) throws(IdentityError) {
        self.svid = svid
        self.random = random
        chain = svid.chainDER
        table = BoundedTable(capacity: capacity, seed: try random(8).reduce(0) { $0 << 8 | UInt64($1) })
    }

    /// An assertion that this SVID's own workload calls `audience` (`<port>.<mesh name>`). Text for `meshfed-origin`.
    /// Throws `notAnSVID` when the SVID is not valid at `now`.
    package mutating func assertion(audience: Span<UInt8>, now: WallTime) throws(IdentityError) -> [UInt8] {
        if let held = table[audience], now < held.renew, now >= issueTime(held) { return held.text }
        return try make(caller: svid.id, attestedBy: nil, key: audience, audience: audience, now: now)
    }

    /// An assertion of a gateway that `caller`, a workload without a sidecar whose TLS identity it verified, calls `audience`.
    package mutating func assertion(
        attesting caller: SPIFFEID, audience: Span<UInt8>, now: WallTime
    ) throws(IdentityError) -> [UInt8] {
        // NUL stands in neither part, so no two pairs share a key.
        var key = caller.bytes + [0]
        for index in 0..<audience.count { key.append(audience[index]) }
        if let held = table[key.span], now < held.renew, now >= issueTime(held) { return held.text }
        return try make(caller: caller, attestedBy: svid.id, key: key.span, audience: audience, now: now)
    }

    private func issueTime(_ held: Held) -> WallTime { held.renew.advanced(bySeconds: -OriginClaims.maximumLife) }

    private mutating func make(
        caller: SPIFFEID, attestedBy: SPIFFEID?, key: Span<UInt8>, audience: Span<UInt8>, now: WallTime
    ) throws(IdentityError) -> [UInt8] {
        let expires = min(now.advanced(bySeconds: OriginClaims.maximumLife), svid.notAfter)
        guard expires > now, now >= svid.notBefore else { throw .notAnSVID("the SVID is not valid now") }
        guard audience.count > 0, audience.count <= OriginClaims.maximumAudience else {
            throw .malformed("the audience has \(audience.count) bytes")
        }
        var name: [UInt8] = []
        for index in 0..<audience.count { name.append(audience[index]) }
        let claims = OriginClaims(
            caller: caller, audience: name, issued: now, expires: expires,
            nonce: try random(OriginClaims.nonceLength), attestedBy: attestedBy)
        let text = try OriginToken.make(claims, chain: chain, key: svid.key)
        let renew = now.advanced(bySeconds: (expires.seconds - now.seconds) / 2)
        table.insert(key, Held(text: text, renew: renew), end: renew)
        return text
    }
}
