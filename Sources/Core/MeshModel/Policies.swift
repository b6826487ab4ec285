/// Timeouts, failover and retries of one service (TrafficPolicy), with every default filled in.
package struct TrafficSettings: Hashable, Sendable {
    /// Clusters to try after the local one, first to last; members not named follow in name order.
    package var failoverOrder: [ClusterID] = []
    /// Clusters that are never tried.
    package var failoverExcluded: [ClusterID] = []
    /// TCP connect to the next hop.
    package var connectTimeout: Duration = .seconds(2)
    /// TLS handshake with the next hop, and its first SETTINGS where they are waited for.
    package var handshakeTimeout: Duration = .seconds(2)
    /// A caller's request head (or PROXY header), from the connection or its first byte on, where the SNI names the service.
    package var headersTimeout: Duration = .seconds(10)
    /// The whole exchange, first byte in to last byte out; zero disables.
    package var requestTimeout: Duration = .seconds(15)
    /// One try; zero means the request timeout only.
    package var perTryTimeout: Duration = .zero
    /// A stream or relay with no byte either way.
    package var idleTimeout: Duration = .seconds(300)
    /// A connection to the next hop that carries nothing: closed earlier than most servers do, so that a request rarely meets a
    /// closing one.
    package var connectionIdleTimeout: Duration = .seconds(60)
    /// A connection to the next hop takes nothing new after this, give or take a tenth by chance; zero: no limit. Calls spread
    /// again over who has come since.
    package var maximumConnectionAge: Duration = .seconds(3_600)
    /// Tries over all hops, the first included (PROTOCOLS section 4).
    package var maximumAttempts: Int = 3
    /// Retries as a share of requests, in percent, and the floor per second.
    package var retryBudgetPercent: Int = 20
    package var retryBudgetMinimumPerSecond: Int = 10
    /// Consecutive 5xx or connect timeouts that eject an endpoint.
    package var ejectAfter: Int = 5
    /// First ejection; the n-th lasts n times as long.
    package var ejectionTime: Duration = .seconds(30)
    /// The most of a locality that ejection may take, in percent.
    package var maximumEjectionPercent: Int = 50
    /// Interval of the active probe of an unhealthy or idle endpoint.
    package var probeInterval: Duration = .seconds(1)
    /// Circuit breaker: requests in flight to one endpoint.
    package var maximumRequestsPerEndpoint: Int = 1_024
    /// How old remote data may be before `drop` takes the entry out; nil keeps it (preferLocal).
    package var maximumStaleness: Duration?

    package init() {}
}

/// One rate limit rule, as GCRA sees it. `name` is unique in the snapshot; its cell survives snapshot swaps by it.
package struct LimitRule: Hashable, Sendable {
    package enum Subject: Hashable, Sendable { case service, caller }
    package enum Mode: Hashable, Sendable { case enforce, shadow }

    package var name: String
    package var requests: Int
    package var per: Duration
    package var burst: Int
    package var subject: Subject
    package var mode: Mode

    package init(name: String, requests: Int, per: Duration, burst: Int, subject: Subject, mode: Mode) {
        self.name = name
        self.requests = requests
        self.per = per
        self.burst = burst
        self.subject = subject
        self.mode = mode
    }
}

/// Whom one authorisation rule means. All patterns are literal but for one trailing `*` after a `/`.
package enum CallerPattern: Hashable, Sendable {
    case any
    case identity(SPIFFEID)
    /// Every ID below `spiffe://<td>/<path>/`: bytes up to and including the slash.
    case prefix(ASCIIText)
    case trustDomain(TrustDomain)

    package func matches(_ caller: SPIFFEID) -> Bool {
        switch self {
        case .any: true
        case .identity(let id): id == caller
        case .prefix(let prefix): caller.text.hasPrefix(prefix)
        case .trustDomain(let domain): caller.trustDomain == domain
        }
    }
}

package struct AuthorizationRule: Hashable, Sendable {
    package enum Action: Hashable, Sendable { case allow, deny }

    /// `<namespace>/<policy>#<index>`, for logs.
    package var name: String
    package var action: Action
    package var callers: [CallerPattern]
    /// Service ports the rule is for; empty means all.
    package var ports: [UInt16]

    package init(name: String, action: Action, callers: [CallerPattern], ports: [UInt16] = []) {
        self.name = name
        self.action = action
        self.callers = callers
        self.ports = ports
    }
}

/// The owner's authorisation of one service. A deny that matches wins; then an allow; then the default:
/// inside the trust domain allowed until some allow rule exists, across trust domains never.
package struct Authorization: Hashable, Sendable {
    package var rules: [AuthorizationRule]

    package init(rules: [AuthorizationRule] = []) { self.rules = rules }
}

package enum MutualTLSMode: Hashable, Sendable { case strict, permissive }

/// What a capturing sidecar does with destinations outside the mesh.
package enum OutboundPolicy: Hashable, Sendable {
    /// Passed through untouched.
    case allow
    /// Closed.
    case registryOnly
}

/// What a consumer may do with remote data of one member now: the broker's word (PROTOCOLS section 7, Leases).
package enum Freshness: Hashable, Sendable {
    case fresh
    case stale(since: WallTime)
    case gone
}

/// Mesh-wide settings (MeshPolicy) that proxies need.
package struct MeshSettings: Hashable, Sendable {
    package var mutualTLS: MutualTLSMode = .strict
    /// Trust domains whose gateways may attest callers without a sidecar, across clusters.
    package var acceptAttested: [TrustDomain] = []
    /// Share of requests that start a sampled trace, in percent.
    package var tracingSamplePercent: Double = 1
    package var accessLog = true
    package var outboundPolicy: OutboundPolicy = .allow

    package init() {}
}
