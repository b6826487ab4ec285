internal import Containers
internal import Identity
internal import Link
internal import MeshModel
internal import Routing
internal import Upstream
internal import Wire

/// Who must answer at the other end of an upstream connection (PROTOCOLS section 1: a valid chain is not enough).
enum Expectation: Hashable, Sendable {
    /// Plain, or a server known by its CA file.
    case anybody
    case workload(SPIFFEID)
    case gateway(TrustDomain)

    func accepts(_ id: SPIFFEID?) -> Bool {
        switch self {
        case .anybody: return true
        case .workload(let expected): return id == expected
        case .gateway(let domain):
            guard let id, case .gateway = id.kind else { return false }
            return id.trustDomain == domain
        }
    }
}

/// An upstream connection with what it is used for.
struct Outbound: ~Copyable {
    enum Purpose: Hashable, Sendable {
        /// Carries exchanges.
        case pooled
        /// Carries one relay.
        case relay(Handle)
        /// Only finds out whether the port answers: for a health target, an exchange or a relay.
        case knock(Knock)
    }
    enum Knock: Hashable, Sendable {
        case health(HealthHandle)
        case exchange(Handle)
        /// A LOCAL header on this inbound connection.
        case stream(Handle)
    }

    var connection: UpstreamConnection
    let purpose: Purpose
    let expectation: Expectation
    /// The SNI: names of one service pinned to other clusters share a place in the pool, and no connection.
    let serverName: [UInt8]
    let times: ConnectionTimes
    /// When nothing new is put on it any more.
    let expiry: Instant
    /// TCP stands since then.
    var connectedAt: Instant?
    /// At least one exchange was finished on it.
    var isReused = false
    /// When bytes last came.
    var lastHeard: Instant
    /// The hop that it was found good for last, of its worker's numbers; 0 is none.
    var goodFor: UInt64 = 0
    /// What its peer did wrong was counted.
    var isFaultNoted = false
    /// A PING of ours is unanswered since then.
    var pingedAt: Instant?

    init(
        _ connection: consuming UpstreamConnection, purpose: Purpose, expectation: Expectation, serverName: [UInt8],
        times: ConnectionTimes, tilt: UInt64
    ) {
        self.connection = connection
        self.purpose = purpose
        self.expectation = expectation
        self.serverName = serverName
        lastHeard = self.connection.lastActive
        self.times = times
        expiry = Self.expiry(from: self.connection.dialledAt, times.maximumAge, tilt: tilt)
    }

    /// The maximum age, give or take a tenth, so that connections that began together do not end together.
    private static func expiry(from start: Instant, _ age: Duration, tilt: UInt64) -> Instant {
        guard age > .zero else { return .distantFuture }
        return start + age * 9 / 10 + age / 5 * Int(tilt & 0xFFFF) / 65_536
    }

    /// When it must have come further than it is; nil while there is no hurry.
    var stepDeadline: Instant? {
        switch connection.phase {
        case .connecting: connectedAt.map { $0 + times.handshake } ?? connection.dialledAt + times.connect
        // The receiver's word comes after its own next hop's.
        case .header: connection.dialledAt + times.connect + times.handshake
        case .http, .relay, .draining: nil
        }
    }

    /// As `accepts`, for a hop that it accepted before: neither its peer nor what the hop expects changes.
    func hasRoom(for hop: Hop) -> Bool {
        guard goodFor == hop.number, case .http = connection.phase, connection.link.canOpenStream else { return false }
        return connection.link.isHTTP2 || connection.streams.isEmpty
    }

    /// An exchange can be put on it now, and who answers is who the snapshot expects there by now.
    func accepts(_ target: Target, shared: Bool) -> Bool {
        guard connection.link.canOpenStream, shared || connection.streams.isEmpty else { return false }
        // The peer proved to be who `expectation` names before anything was sent.
        let isExpected = expectation == target.expectation || target.expectation.accepts(connection.peer?.id)
        let wanted = target.serverName
        return isExpected && wanted.span.equals(serverName.span)
    }
}
