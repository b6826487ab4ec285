import Authority
import ControlCoding
import Federation
import Identity
import MeshModel
import Store

/// The sponsor's side of joining and enrolling: the real ledger, committed with the delay of a disk, lost with a crash.
enum Joining {
    /// A token for a cluster, or nil while the sponsor is down.
    static func token(for cluster: ClusterID, _ domain: TrustDomain, _ world: World) -> [UInt8]? {
        create(TokenRequest(subject: .federation(cluster: cluster, trustDomain: domain), addresses: addresses), world)
    }

    /// A reusable one for sidecars.
    static func sidecarToken(uses: Int, _ world: World) -> [UInt8]? {
        create(
            TokenRequest(
                subject: .sidecar(namespace: Label("shop")!, serviceAccount: Label("app")!), uses: uses,
                addresses: addresses), world)
    }

    private static let addresses = ["c0.example:8443"]

    private static func create(_ request: TokenRequest, _ world: World) -> [UInt8]? {
        guard world.sponsor.process != nil, let authority = world.sponsor.authority else { return nil }
        let now = world.sponsor.moment.wall
        return try? authority.write { (desk) throws(AuthorityError) in try desk.createToken(request, now: now) }.secret
    }

    /// A `Join` call over a network that may lose either way.
    static func ask(_ joiner: Site, _ request: [UInt8], _ answered: @escaping ([UInt8]) -> Void) {
        let world = joiner.world
        let sponsor = world.sponsor
        world.call(joiner, sponsor) {
            serve(request, world) { answer in world.call(sponsor, joiner) { answered(answer) } }
        }
    }

    /// The sponsor's broker takes a request: judge, bind the token, admit, answer.
    static func serve(_ request: [UInt8], _ world: World, _ answered: @escaping ([UInt8]) -> Void) {
        let sponsor = world.sponsor
        guard let process = sponsor.process, let authority = sponsor.authority,
            let intent = try? process.machine.joinIntent(request), let key = try? world.ledgerKey(intent.federationKey)
        else { return }
        let incarnation = sponsor.incarnation
        let forgets = world.scenario.bug == .forgetsTheUse
        world.after(world.milliseconds(2...25)) {
            // Not committed when the process died before.
            guard sponsor.process === process, sponsor.incarnation == incarnation else { return }
            let now = sponsor.moment.wall
            let grant = try? authority.write { (desk) throws(AuthorityError) in
                try desk.admit(
                    secret: intent.tokenSecret, cluster: intent.cluster, trustDomain: intent.trustDomain,
                    federationKey: key, plan: forgets, now: now)
            }
            guard grant != nil else { return }
            world.oracle.admitted(secret: intent.tokenSecret, key: intent.federationKey, limit: 1)
            world.oracle.nextCall += 1
            let call = world.oracle.nextCall
            world.oracle.joinCalls[call] = { result in if case .success(let answer) = result { answered(answer) } }
            sponsor.run { machine, moment in machine.join(call, intent, at: moment) }
        }
    }

    /// A sidecar enrols with a reusable token. The same client may ask again and again.
    static func enrol(_ secret: [UInt8], _ request: CertificateRequest, limit: Int, _ world: World) {
        let sponsor = world.sponsor
        guard let process = sponsor.process, let authority = sponsor.authority else { return }
        let incarnation = sponsor.incarnation
        world.after(world.milliseconds(2...25)) {
            guard sponsor.process === process, sponsor.incarnation == incarnation else { return }
            let now = sponsor.moment.wall
            var issued = try? authority.write { (desk) throws(AuthorityError) in
                try desk.redeem(secret: secret, request: request, now: now)
            }
            if issued == nil, world.scenario.bug == .countsNoUses, let fresh = sidecarToken(uses: 1, world) {
                issued = try? authority.write { (desk) throws(AuthorityError) in
                    try desk.redeem(secret: fresh, request: request, now: now)
                }
            }
            if issued != nil { world.oracle.admitted(secret: secret, key: request.publicKey.spki, limit: limit) }
        }
    }
}
