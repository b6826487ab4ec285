package import ControlCoding
package import MeshModel

/// How old the data of each member is, and when to dial it (PROTOCOLS section 7, Leases).
///
/// A link is fresh for 15 s after a lease that confirmed that what is held here is what the owner has. "Connected" says nothing.
package struct LinkTable: Sendable {
    package struct Link: Hashable, Sendable {
        /// Receipt of the last good lease in this run; nil when there was none yet.
        package var heard: Instant?
        /// The same by wall clock, from earlier runs too.
        package var heardWall: WallTime
        package var freshness: Freshness
        /// Peer's wall clock minus ours at the last frame that told, in seconds.
        package var skew: Int64?
        /// When it may be dialled next, and how long to wait after that.
        var nextDial: Instant
        var backoff: Duration
        /// A dial is under way until then.
        var dialling: Instant?
        /// "Last heard" on disk.
        var written: Instant
    }

    package private(set) var links: [ClusterID: Link] = [:]
    /// Members that are gone, so that proxies can be told until their snapshot says so too.
    private var gone: Set<ClusterID> = []

    package init() {}

    /// A member is there, never heard of in this run; `since` is what an earlier run wrote.
    mutating func add(_ cluster: ClusterID, since: WallTime?, at moment: Moment, dialDelay: Duration) {
        gone.remove(cluster)
        guard links[cluster] == nil else { return }
        let heard = since ?? moment.wall
        links[cluster] = Link(
            heard: nil, heardWall: heard, freshness: .stale(since: heard), skew: nil,
            nextDial: moment.instant + dialDelay, backoff: FederationLimits.dialBackoff, dialling: nil,
            written: moment.instant)
    }

    mutating func remove(_ cluster: ClusterID) {
        if links.removeValue(forKey: cluster) != nil { gone.insert(cluster) }
    }

    /// A lease that counts. True when the link became fresh by it.
    mutating func renew(_ cluster: ClusterID, at moment: Moment) -> Bool {
        guard var link = links[cluster] else { return false }
        let was = link.freshness
        link.heard = moment.instant
        link.heardWall = moment.wall
        link.freshness = .fresh
        links[cluster] = link
        return was != .fresh
    }

    mutating func observe(_ cluster: ClusterID, theirs: WallTime, ours: WallTime) {
        let (difference, overflow) = theirs.seconds.subtractingReportingOverflow(ours.seconds)
        links[cluster]?.skew = overflow ? nil : difference
    }

    /// Links whose lease ran out by now become stale, since their last lease. True when one did.
    mutating func expire(at moment: Moment) -> Bool {
        var changed = false
        for (cluster, link) in links where link.freshness == .fresh {
            guard let heard = link.heard, moment.instant - heard > FederationLimits.leaseTerm else { continue }
            links[cluster]?.freshness = .stale(since: link.heardWall)
            changed = true
        }
        return changed
    }

    /// True when "last heard" has to be written again.
    mutating func isWriteDue(_ cluster: ClusterID, at moment: Moment) -> Bool {
        guard let link = links[cluster], moment.instant - link.written >= FederationLimits.heardInterval else {
            return false
        }
        links[cluster]?.written = moment.instant
        return true
    }

    /// Members to dial now: those without a stream, whose wait is over. `jitter` gives any number.
    mutating func due(
        connected: Set<ClusterID>, at moment: Moment, jitter: () -> UInt64
    ) -> [ClusterID] {
        var clusters: [ClusterID] = []
        for cluster in links.keys.sorted() {
            guard var link = links[cluster], !connected.contains(cluster), link.nextDial <= moment.instant else {
                continue
            }
            if let until = link.dialling, moment.instant < until { continue }
            // Half of the wait is fixed, half is chance, so that brokers that restarted together do not dial together.
            let half = link.backoff.wholeNanoseconds / 2
            link.nextDial = moment.instant + .nanoseconds(Int64(clamping: half + jitter() % max(1, half)))
            link.backoff = min(link.backoff * 2, FederationLimits.longestDialBackoff)
            link.dialling = moment.instant + FederationLimits.dialTimeout
            links[cluster] = link
            clusters.append(cluster)
        }
        return clusters
    }

    /// The dial ended, well or not. `opened` takes the next wait back to the first.
    mutating func dialEnded(_ cluster: ClusterID, opened: Bool) {
        links[cluster]?.dialling = nil
        if opened { links[cluster]?.backoff = FederationLimits.dialBackoff }
    }

    /// What proxies are told, sorted by name.
    package var states: [LinkState] {
        let known = links.map { LinkState(cluster: $0.key, freshness: $0.value.freshness) }
        let former = gone.map { LinkState(cluster: $0, freshness: .gone) }
        return (known + former).sorted { $0.cluster < $1.cluster }
    }
}
