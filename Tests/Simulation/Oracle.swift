import ControlCoding
import Federation
import MeshModel

/// What must be true at every step. It knows the whole truth, which no broker does.
final class Oracle {
    private struct Eviction {
        let evictor: Site
        let victim: ClusterID
        let time: Instant
        let leaver: Bool
    }

    private struct Counter: Hashable {
        let owner: [UInt8]
        let type: RecordType
    }

    private unowned let world: World
    var joinCalls: [UInt64: (Result<[UInt8], JoinRefusal>) -> Void] = [:]
    var nextCall: UInt64 = 0
    private var evictions: [Eviction] = []
    private var sentSequences: [Counter: [UInt64: [UInt8]]] = [:]
    /// What each cluster showed last of each domain: the earliest key that can have signed it, and its sequence.
    private var bundles: [String: (key: Int, sequence: UInt64)] = [:]
    /// The keys of each domain in order of their use: after a return sequences begin anew.
    private var keysOf: [TrustDomain: [[UInt8]]] = [:]
    private var revisions: [Int: (UInt64, UInt64)] = [:]
    private var keysByToken: [[UInt8]: Set<[UInt8]>] = [:]
    private var rootsOf: [TrustDomain: Set<[UInt8]>] = [:]
    private var offersOf: [ClusterID: Set<ObjectName>] = [:]
    private var gatewaysOf: [ClusterID: Set<GatewayAddress>] = [:]
    private var seen: [[UInt8]] = []
    /// So that a run that tested nothing is noticed.
    private(set) var checkedRoutes = 0
    private(set) var checkedEvictions = 0

    init(_ world: World) { self.world = world }

    // MARK: What happens

    func describes(_ site: Site) {
        let key = site.signer.keyName.bytes
        if keysOf[site.domain]?.last != key { keysOf[site.domain, default: []].append(key) }
        rootsOf[site.domain, default: []].formUnion(site.roots)
        gatewaysOf[site.cluster, default: []].formUnion(site.gateways)
    }

    func offered(_ site: Site, _ catalog: MemberCatalog) {
        offersOf[site.cluster, default: []].formUnion(catalog.records.map(\.service))
    }

    func evicted(by evictor: Site, _ victim: ClusterID, leaver: Bool = false) {
        evictions.append(Eviction(evictor: evictor, victim: victim, time: world.now, leaver: leaver))
    }

    /// It is in again, under a new key.
    func rejoined(_ site: Site) { evictions.removeAll { $0.victim == site.cluster } }

    /// Records that went over the wire, for the liar to send again.
    func seenRecords(_ start: Int, _ count: Int) -> [[UInt8]] {
        seen.isEmpty ? [] : (0..<count).map { seen[(start + $0) % seen.count] }
    }

    // MARK: Sequences

    /// The broker runs again: nothing that others have seen may be above what it goes on from.
    func started(_ site: Site) { checkOwn(site) }

    private func checkOwn(_ site: Site) {
        guard let machine = site.process?.machine else { return }
        for type in [RecordType.membership, .bundle] {
            let counter = Counter(owner: machine.ownKeyName.bytes, type: type)
            let highest = sentSequences[counter]?.keys.max() ?? 0
            if machine.ownSequence(type) < highest {
                world.fail(
                    .sequencesNeverFall,
                    "\(site.cluster) goes on from \(type) \(machine.ownSequence(type)), others have seen \(highest)")
            }
        }
    }

    /// One number never has two contents.
    func sent(_ site: Site, _ bytes: [UInt8]) {
        // Field 2 of a frame is Records: no other is of interest.
        guard bytes.first == 0x12, let frame = try? SyncFrame.decode(bytes, from: site.cluster),
            case .records(let records) = frame
        else {
            return
        }
        for encoded in records {
            guard let record = try? SignedRecord.decode(encoded) else { continue }
            if seen.count < 1_000 { seen.append(encoded) }
            guard record.type == .membership || record.type == .bundle, site !== world.liar,
                let owner = record.signature(.owner)?.keyName, owner == site.signer.keyName
            else { continue }
            let counter = Counter(owner: owner.bytes, type: record.type)
            if let known = sentSequences[counter]?[record.sequence], known != record.payload {
                world.fail(
                    .sequencesNeverFall, "\(site.cluster) sent two contents as \(record.type) \(record.sequence)")
            }
            sentSequences[counter, default: [:]][record.sequence] = record.payload
        }
        checkOwn(site)
    }

    // MARK: Snapshots

    func published(_ site: Site, _ snapshot: Snapshot) {
        let revision = (snapshot.epoch, snapshot.revision)
        if let last = revisions[site.index], revision <= last {
            world.fail(.sequencesNeverFall, "\(site.cluster) published revision \(revision) after \(last)")
        }
        revisions[site.index] = revision
        for site in world.sites { rootsOf[site.domain, default: []].formUnion(site.roots) }
        guard site !== world.liar else { return }
        for bundle in snapshot.bundles
        where bundle.trustDomain != world.liar.domain && bundle.trustDomain != site.domain {
            let known = rootsOf[bundle.trustDomain] ?? []
            if !known.isSuperset(of: bundle.roots), world.site(of: bundle.trustDomain) != nil {
                world.fail(
                    .membersDescribeOnlyThemselves, "\(site.cluster) trusts a root that \(bundle.trustDomain) never had"
                )
            }
            checkSequence(of: bundle, at: site)
        }
        for member in snapshot.members where member.cluster != world.liar.cluster && world.site(member.cluster) != nil {
            if !(gatewaysOf[member.cluster] ?? []).isSuperset(of: member.gateways) {
                world.fail(
                    .membersDescribeOnlyThemselves, "\(site.cluster) has a gateway that \(member.cluster) never named")
            }
        }
        for service in snapshot.services {
            for remote in service.remotes where remote.cluster != world.liar.cluster {
                if !(offersOf[remote.cluster] ?? []).contains(service.name) {
                    world.fail(
                        .membersDescribeOnlyThemselves,
                        "\(site.cluster) imports \(service.name) of \(remote.cluster), which never offered it")
                }
            }
        }
    }

    private func checkSequence(of bundle: TrustBundle, at site: Site) {
        let payload = BundleStatement(trustDomain: bundle.trustDomain, roots: bundle.roots).encode()
        let keys = (keysOf[bundle.trustDomain] ?? []).enumerated().filter { _, key in
            sentSequences[Counter(owner: key, type: .bundle)]?[bundle.sequence] == payload
        }.map(\.offset)
        // A joiner's first records go with its request, not over a stream.
        let (first, last) = (keys.first ?? 0, keys.last ?? .max)
        let place = "\(site.index) \(bundle.trustDomain)"
        if let before = bundles[place], (last, bundle.sequence) < before {
            world.fail(
                .sequencesNeverFall,
                "\(site.cluster) went from bundle \(before.sequence) of \(bundle.trustDomain) to \(bundle.sequence)")
        }
        bundles[place] = (first, bundle.sequence)
    }

    // MARK: Routes

    /// What a proxy routes by now must be what this snapshot allows: until the next one neither changes.
    func took(_ proxy: ProxyModel, _ snapshot: Snapshot) {
        for route in proxy.routes where !Self.allows(snapshot, route) {
            world.fail(
                .routesWithinTheSnapshot,
                "proxy \(proxy.number) of \(proxy.site.cluster) routes \(route.service) to \(route.cluster)")
        }
    }

    /// Looks at every proxy, five times a second.
    func checkRoutes() {
        for site in world.sites {
            for proxy in site.proxies { check(proxy, site) }
        }
    }

    private func check(_ proxy: ProxyModel, _ site: Site) {
        let routes = proxy.activeRoutes(world.now)
        guard !routes.isEmpty else { return }
        checkedRoutes += routes.count
        if world.now >= proxy.svidEnd {
            world.fail(.nothingWithoutSVID, "proxy \(proxy.number) of \(site.cluster) routes after its SVID ended")
        }
        for eviction in evictions where world.now - eviction.time > .seconds(2) {
            guard let since = proxy.connectedSince, since < eviction.time, site.cluster != eviction.victim else {
                continue
            }
            let heard =
                site === eviction.evictor
                || (!eviction.leaver && world.isConnected(site, to: eviction.evictor, since: eviction.time)
                    && isFollower(site))
            guard heard else { continue }
            checkedEvictions += 1
            if routes.contains(where: { $0.cluster == eviction.victim }) {
                world.fail(
                    .nothingToTheEvicted,
                    "proxy \(proxy.number) of \(site.cluster) routes to \(eviction.victim), gone for more than 2 s")
            }
        }
    }

    /// It has joined by the sponsor's token, so that the sponsor's word counts.
    private func isFollower(_ site: Site) -> Bool { site.trusts(world.sponsor.domain) }

    /// Written apart from the proxy's own code: what the last received snapshot allows.
    private static func allows(_ snapshot: Snapshot, _ route: Route) -> Bool {
        guard let member = snapshot.members.first(where: { $0.cluster == route.cluster }), member.freshness != .gone,
            member.trustDomain != snapshot.trustDomain,
            snapshot.bundles.filter({ $0.trustDomain == member.trustDomain }).contains(where: { !$0.roots.isEmpty }),
            let service = snapshot.services.first(where: { $0.name == route.service })
        else { return false }
        return service.remotes.contains { $0.cluster == route.cluster }
    }

    // MARK: Tokens

    /// A key got a good answer for a token.
    func admitted(secret: [UInt8], key: [UInt8], limit: Int) {
        keysByToken[secret, default: []].insert(key)
        let count = keysByToken[secret]?.count ?? 0
        if count > limit {
            world.fail(
                limit == 1 ? .singleUseAdmitsOne : .reusableAdmitsAtMostN, "a token for \(limit) keys admitted \(count)"
            )
        }
    }

    // MARK: Agreement

    /// Nil when all that are in agree; else who does not, and on what. The liar is neither asked nor asked about.
    func disagreement() -> String? {
        guard let machine = world.sponsor.process?.machine else { return "the sponsor is down" }
        let named = machine.view.members.map(\.cluster)
        let everyone = [world.sponsor] + named.compactMap { world.site($0) }.filter { $0 !== world.liar }
        guard named.allSatisfy({ world.site($0) != nil }) else { return "a stranger is a member" }
        for site in everyone {
            guard let own = site.process else { return "\(site.cluster) is down" }
            let view = own.machine.view
            for other in everyone where other !== site {
                if let text = disagreement(site, view, on: other) { return text }
            }
            let strangers = view.members.filter { member in
                member.cluster != world.liar.cluster && !everyone.contains { $0.cluster == member.cluster }
            }
            if let stranger = strangers.first { return "\(site.cluster) still holds \(stranger.cluster)" }
            if own.published?.members != view.members { return "\(site.cluster) has published an old snapshot" }
            for proxy in site.proxies where proxy.snapshot != own.published {
                return "proxy \(proxy.number) of \(site.cluster) has another snapshot than its broker: "
                    + "\(proxy.snapshot?.epoch ?? 0).\(proxy.snapshot?.revision ?? 0), not "
                    + "\(own.published?.epoch ?? 0).\(own.published?.revision ?? 0)"
            }
        }
        return everyone.count >= world.scenario.siteCount / 2 ? nil : "only \(everyone.count) are left"
    }

    private func disagreement(_ site: Site, _ view: FederationView, on other: Site) -> String? {
        guard let member = view.members.first(where: { $0.cluster == other.cluster }) else {
            return "\(site.cluster) does not hold \(other.cluster)"
        }
        if member.gateways != other.gateways { return "\(site.cluster) has old gateways of \(other.cluster)" }
        if member.freshness != .fresh { return "\(site.cluster) holds \(other.cluster) \(member.freshness)" }
        if view.bundles.first(where: { $0.trustDomain == other.domain })?.roots != other.roots {
            return "\(site.cluster) has an old bundle of \(other.cluster)"
        }
        let shown = other.process?.offered?.filter { $0.exportTo.covers(site.cluster) }.map { record in
            var shown = record
            shown.exportTo = .all
            return shown
        }
        if view.catalogs.first(where: { $0.cluster == other.cluster })?.records ?? [] != shown ?? [] {
            return "\(site.cluster) has an old catalog of \(other.cluster)"
        }
        return nil
    }
}
