internal import Compiler
internal import ControlCoding
internal import ControlProtocol
internal import Federation
internal import Identity
internal import MeshModel
internal import RPC
internal import Settings

/// What one `check` looks at: calls to make, and what can be said without any.
struct CheckPlan {
    /// Calls for one line of the answer: tried in order until one goes through, for one caller each.
    struct Line {
        let kind: String
        let destination: ClusterID
        let subject: String
        let orders: [ProbeOrder]
    }

    /// Lines of one check; a cluster with more services is better asked in parts.
    private static let maximumLines = 4_096
    /// Callers that are tried for one service: any of them that is let in shows that it works.
    private static let maximumCallers = 8
    /// A clock that differs by more is warned of (PROTOCOLS section 7).
    private static let skew: Int64 = 10
    /// An SVID should be renewed long before this is left.
    private static let certificateWarning: Int64 = 4 * 3_600

    private(set) var lines: [Line] = []
    private(set) var results: [AdminCheckResult] = []
    private let broker: Broker
    private let timeout: Duration

    init(_ broker: Broker, timeout: Duration) {
        self.broker = broker
        self.timeout = timeout
        judgeConfiguration()
        judgeProxies()
        judgeMembers()
        guard let snapshot = broker.snapshots.published?.snapshot else { return }
        guard !snapshot.gateways.isEmpty else {
            if !snapshot.members.isEmpty {
                add(
                    "probe", "", "gateways", .failed, "no_endpoint",
                    "no gateway of this cluster is registered; start one")
            }
            return
        }
        planProbes(snapshot)
        planServices(snapshot)
    }

    // MARK: Without a call

    private mutating func judgeConfiguration() {
        let problem =
            broker.objects.directoryError.isEmpty ? broker.snapshots.failure : broker.objects.directoryError
        let subject = broker.settings.configDirectory ?? "objects"
        if problem.isEmpty {
            add("configuration", "", subject, .ok, "", "accepted")
        } else {
            add("configuration", "", subject, .failed, "", problem)
        }
        for warning in broker.snapshots.compilation?.warnings ?? [] {
            add("configuration", "", warning.subject, .warning, "", warning.description)
        }
        let left = broker.trust.svid.notAfter.seconds - broker.loop.wall.seconds
        let id = broker.trust.svid.id.description
        if left < Self.certificateWarning {
            add("certificate", "", id, .warning, "", "ends in \(max(0, left)) s; the broker should have renewed it")
        } else {
            add("certificate", "", id, .ok, "", "ends in \(left) s")
        }
    }

    private mutating func judgeProxies() {
        let revision = broker.snapshots.published?.snapshot.revision ?? 0
        for proxy in broker.feed.proxies {
            let name = "\(proxy.gateway == nil ? "sidecar" : "gateway") \(proxy.name)"
            if !proxy.refused.isEmpty {
                add("feed", "", name, .failed, "", "refused the snapshot: \(proxy.refused)")
            } else if proxy.acked < revision {
                add("feed", "", name, .warning, "", "holds revision \(proxy.acked) of \(revision)")
            } else {
                add("feed", "", name, .ok, "", "holds revision \(revision)")
            }
            let left = proxy.identity.notAfter.seconds - broker.loop.wall.seconds
            if left < Self.certificateWarning {
                add("certificate", "", name, .warning, "", "its SVID ends in \(max(0, left)) s")
            }
        }
    }

    private mutating func judgeMembers() {
        for status in broker.federation.machine.status(at: broker.loop.now) {
            let cluster = status.statement.cluster.description
            switch status.standing {
            case .pending(let reason):
                add("feed", cluster, cluster, .warning, "", "pending: \(reason); see meshfed member accept")
            case .gone: continue
            case .admitted:
                if let skew = status.skew, skew.magnitude > UInt64(Self.skew) {
                    add(
                        "clock", cluster, cluster, .warning, "",
                        "its clock differs by \(skew) s; mend NTP there or here")
                } else if status.skew != nil {
                    add("clock", cluster, cluster, .ok, "", "")
                }
                switch status.freshness {
                case .fresh?: add("feed", cluster, cluster, .ok, "", "its data is fresh")
                case .stale(let since)?:
                    let age = broker.loop.wall.seconds - since.seconds
                    add(
                        "feed", cluster, cluster, .failed, "stale",
                        "no lease for \(max(0, age)) s; is its broker reachable?")
                case .gone?, nil: add("feed", cluster, cluster, .failed, "stale", "it is gone")
                }
            }
        }
    }

    // MARK: Calls

    private mutating func planProbes(_ snapshot: Snapshot) {
        for member in snapshot.members {
            for gateway in snapshot.gateways.prefix(8) {
                let target = ServiceAddress.probe(of: member.cluster)
                append(
                    Line(
                        kind: "probe", destination: member.cluster, subject: target.name.description,
                        orders: [order(gateway, target, caller: nil)]))
            }
        }
    }

    private mutating func planServices(_ snapshot: Snapshot) {
        let callers = Self.callers(snapshot).prefix(Self.maximumCallers)
        var turn = 0
        for service in snapshot.services {
            for remote in service.remotes {
                let name = MeshName(
                    service: service.name.name, namespace: service.name.namespace, scope: .pinned(remote.cluster))
                guard let port = remote.ports.first(where: \.appProtocol.isHTTP) ?? remote.ports.first else { continue }
                guard !callers.isEmpty else {
                    add(
                        "service", remote.cluster.description, name.description, .warning, "",
                        "there is no Workload here that could call it")
                    continue
                }
                let gateway = snapshot.gateways[turn % snapshot.gateways.count]
                turn &+= 1
                let target = ServiceAddress(name: name, port: port.port)
                append(
                    Line(
                        kind: "service", destination: remote.cluster, subject: target.authority,
                        orders: callers.map { order(gateway, target, caller: $0, isTCP: !port.appProtocol.isHTTP) }))
            }
        }
    }

    /// Identities of local workloads, each once.
    private static func callers(_ snapshot: Snapshot) -> [SPIFFEID] {
        Set(snapshot.services.flatMap { $0.endpoints.map(\.identity) }).sorted()
    }

    private func order(
        _ gateway: GatewayAddress, _ target: ServiceAddress, caller: SPIFFEID?, isTCP: Bool = false
    ) -> ProbeOrder {
        ProbeOrder(
            gateway: gateway, target: target, caller: caller, isTCP: isTCP,
            context: isTCP ? broker.trust.tcpClient : broker.trust.client, trustDomain: broker.settings.trustDomain,
            timeout: timeout)
    }

    private mutating func append(_ line: Line) {
        if lines.count < Self.maximumLines { lines.append(line) }
    }

    private mutating func add(
        _ kind: String, _ destination: String, _ subject: String, _ outcome: AdminCheckResult.Outcome, _ reason: String,
        _ detail: String
    ) {
        var result = AdminCheckResult()
        result.kind = kind
        result.source = broker.settings.cluster.description
        result.destination = destination
        result.subject = subject
        result.outcome = outcome
        result.reason = reason
        result.detail = detail
        results.append(result)
    }
}
