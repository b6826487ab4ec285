import ControlCoding
import Federation
import Identity
import MeshModel
import MeshTestKit

/// What happens to the ten clusters in one run.
enum Trouble {
    /// One run from the empty clusters to agreement. Nil: all invariants held.
    static func run(_ scenario: Scenario) throws -> (violation: Violation?, oracle: Oracle, healed: Duration) {
        let world = try World(scenario)
        for site in world.sites { site.start() }
        watch(world)
        for site in world.sites.dropFirst() { invite(site, after: world.milliseconds(100...6_000)) }
        try attackTokens(world)
        schedule(world)
        world.run(until: Instant(nanoseconds: 1_000_000_000) + scenario.trouble)
        guard world.violation == nil else { return (world.violation, world.oracle, .zero) }
        world.heal()
        for site in world.sites where site.process == nil { site.start() }
        for site in world.sites {
            for proxy in site.proxies {
                proxy.isCutOff = false
                proxy.reconnect()
            }
        }
        sweepGhosts(world)
        let healed = world.now
        var checked = world.now
        world.run(until: healed + .seconds(30)) {
            // Asking costs more than most events: four times a second is often enough.
            guard world.now - checked > .milliseconds(250) else { return false }
            checked = world.now
            return world.oracle.disagreement() == nil
        }
        if world.violation == nil, let text = world.oracle.disagreement() { world.fail(.allAgreeAfterHealing, text) }
        return (world.violation, world.oracle, world.now - healed)
    }

    private static func watch(_ world: World) {
        world.after(.milliseconds(200)) { [unowned world] in
            world.oracle.checkRoutes()
            watch(world)
        }
    }

    /// The operator makes a token and hands it over, again and again until it worked.
    private static func invite(_ site: Site, after delay: Duration) {
        let world = site.world
        world.after(delay) { [unowned world] in
            if let token = Joining.token(for: site.cluster, site.domain, world) {
                site.token = token
            } else {
                invite(site, after: .seconds(1))
            }
        }
    }

    // MARK: Tokens

    private static let ghosts = ["ghost-a", "ghost-b"]

    /// Two keys fight for one single-use token, and five for a reusable one of three.
    private static func attackTokens(_ world: World) throws {
        for name in ghosts {
            guard let cluster = ClusterID(name), let domain = TrustDomain("\(name).mesh") else { continue }
            let requests = try (0..<3).map { try ghost(name, cluster, domain, $0, world) }
            after(world.milliseconds(2_000...20_000), world) {
                guard let secret = Joining.token(for: cluster, domain, world) else { return }
                for _ in 0..<6 {
                    let start = world.milliseconds(0...4_000)
                    // All at once, so that one is judged while another's use is not yet committed.
                    for request in requests {
                        after(start + world.milliseconds(0...15), world) {
                            guard let bytes = try? request.joinRequest(tokenSecret: secret, plan: false) else { return }
                            Joining.serve(bytes, world) { _ in }
                        }
                    }
                }
            }
        }
        let requests = try (0..<5).map { _ in
            let key = try PrivateKey.generate()
            return try CertificateRequest(der: CertificateRequest.make(key: key))
        }
        after(world.milliseconds(1_000...10_000), world) {
            guard let secret = Joining.sidecarToken(uses: 3, world) else { return }
            for _ in 0..<25 {
                let request = requests[world.below(requests.count)]
                after(world.milliseconds(0...15_000), world) { Joining.enrol(secret, request, limit: 3, world) }
            }
        }
    }

    private static func ghost(
        _ name: String, _ cluster: ClusterID, _ domain: TrustDomain, _ number: Int, _ world: World
    ) throws -> FederationMachine {
        let key = world.ring.key(Array("\(name) \(number)".utf8))
        let signer = FederationSigner(
            publicKey: key.publicKey, keyName: KeyName(SHA256.hash(key.publicKey))!, sign: { key.sign($0) })
        let configuration = FederationConfiguration(
            cluster: cluster, trustDomain: domain, signer: signer, verifier: world.verifier, version: "ghost",
            random: { 1 })
        let moment = world.sponsor.moment
        var machine = try FederationMachine(configuration, rows: [], at: moment)
        _ = try machine.describe(
            OwnDescription(
                brokerAddresses: [], gateways: [],
                bundle: BundleStatement(trustDomain: domain, roots: [Array("root \(name)".utf8)])), at: moment)
        return machine
    }

    /// Clusters that nobody runs are evicted when the trouble is over.
    private static func sweepGhosts(_ world: World) {
        // `leave` says whom it could not reach: the operator of the sponsor is told by other means.
        let leavers = world.sites.filter { $0.process?.machine.isOwnKeyDead == true }.map(\.cluster)
        for cluster in ghosts.compactMap({ ClusterID($0) }) + leavers {
            _ = world.sponsor.attempt { machine, moment in try machine.evict(cluster, reason: "", at: moment) }
        }
    }

    // MARK: Events

    private static func after(_ delay: Duration, _ world: World, _ run: @escaping () -> Void) {
        world.after(delay) { [unowned world] in if world.isTroubled { run() } }
    }

    private static func schedule(_ world: World) {
        after(world.milliseconds(100...500), world) {
            step(world)
            schedule(world)
        }
    }

    private static func step(_ world: World) {
        let site = world.sites[world.below(world.sites.count)]
        switch world.below(20) {
        case 0, 1: crash(site)
        case 2, 3, 4:
            let other = world.sites[world.below(world.sites.count)]
            guard other !== site else { return }
            world.setDeaf(site, to: other, true)
            if world.chance(30) { world.setDeaf(other, to: site, true) }
            after(world.milliseconds(500...20_000), world) {
                world.setDeaf(site, to: other, false)
                world.setDeaf(other, to: site, false)
            }
        case 5, 6, 7:
            guard let proxy = site.proxies.randomElement(using: &world.random) else { return }
            proxy.isCutOff = true
            proxy.disconnect()
            after(world.milliseconds(1_000...20_000), world) {
                proxy.isCutOff = false
                proxy.reconnect()
            }
        case 8, 9, 10, 11: site.changeGateways()
        case 12, 13, 14: site.changeObjects()
        case 15, 16: if site.process != nil { site.replaceRoot() }
        case 17: evict(site)
        case 18 where world.chance(30): leave(site)
        default: return
        }
    }

    /// Half of the crashes hit a broker that has something to write.
    private static func crash(_ site: Site) {
        let world = site.world
        guard site.process != nil else { return }
        if world.chance(50) { site.changeGateways() }
        after(world.milliseconds(0...12), world) {
            guard site.process != nil else { return }
            site.crash()
            let incarnation = site.incarnation
            world.after(world.milliseconds(100...5_000)) {
                if site.process == nil, site.incarnation == incarnation { site.start() }
            }
        }
    }

    /// Few enough that a federation is left.
    private static func mayGo(_ site: Site) -> Bool {
        site.index >= 5 && site !== site.world.liar
    }

    private static func evict(_ site: Site) {
        let world = site.world
        guard mayGo(site), world.sponsor.trusts(site.domain) else { return }
        let process = world.sponsor.process
        guard world.sponsor.attempt({ machine, moment in try machine.evict(site.cluster, reason: "", at: moment) }),
            let batch = process?.queue.newest
        else { return }
        wait(world, batch, process) { world.oracle.evicted(by: world.sponsor, site.cluster) }
        bringBack(site)
    }

    private static func leave(_ site: Site) {
        guard mayGo(site), site.trusts(site.world.sponsor.domain) else { return }
        let process = site.process
        guard site.attempt({ machine, moment in try machine.leave(reason: "", at: moment).actions }),
            let batch = process?.queue.newest
        else { return }
        wait(site.world, batch, process) { site.world.oracle.evicted(by: site, site.cluster, leaver: true) }
        bringBack(site)
    }

    /// The verb is answered when its rows are durable; a crash before that takes the verb with it.
    private static func wait(_ world: World, _ batch: UInt64, _ process: Site.Process?, _ run: @escaping () -> Void) {
        guard let process else { return }
        world.after(.milliseconds(5)) { [unowned world] in
            guard world.sites.contains(where: { $0.process === process }) else { return }
            if process.queue.isDurable(batch) { run() } else { wait(world, batch, process, run) }
        }
    }

    /// Some return, with a new key, a higher epoch and a new token.
    private static func bringBack(_ site: Site) {
        guard site.world.chance(60) else {
            site.token = nil
            return
        }
        site.token = nil
        retry(site)
    }

    private static func retry(_ site: Site) {
        site.world.after(site.world.milliseconds(2_000...5_000)) {
            guard !site.world.sponsor.trusts(site.domain) else { return }
            if site.renewKey() {
                invite(site, after: .milliseconds(300))
            } else {
                retry(site)
            }
        }
    }
}
