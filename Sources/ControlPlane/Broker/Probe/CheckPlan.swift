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
    /// Calls for one line of the answer: for one caller after the other, until one goes through.
    struct Line {
        let kind: String
        let destination: ClusterID
        let subject: String
        let gateway: GatewayAddress
        let target: ServiceAddress
        let isTCP: Bool
        /// Nil calls the mesh's own probe name.
        let callers: CheckCallers?
    }

    /// Lines of one check; some 20 ms each, eight at a time.
    private static let maximumLines = 65_536
    /// Own gateways that the probe name of each member is called through.
    private static let maximumGateways = 8
    /// A clock that differs by more is warned of (PROTOCOLS section 7).
    private static let skew: UInt64 = 10
    /// An SVID should be renewed long before this share of its life is left: a sixth, 4 of 24 hours.
    private static let certificateShare: Int64 = 6

    private(set) var lines: [Line] = []
    private(set) var results: [AdminCheckResult] = []
    private let broker: Broker

    init(_ broker: Broker) {
        self.broker = broker
        judgeConfiguration()
        judgeProxies()
        judgeMembers()
        guard let snapshot = broker.snapshots.published?.snapshot else {
            add("configuration", "", "snapshot", .failed, "", "none is published yet; try again in a moment")
            return
        }
        judgeImports(snapshot)
        judgePlaintext(snapshot)
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
        let svid = broker.trust.svid
        let left = svid.notAfter.seconds - broker.loop.wall.seconds
        let isShort = left < (svid.notAfter.seconds - svid.notBefore.seconds) / Self.certificateShare
        add(
            "certificate", "", svid.id.description, isShort ? .warning : .ok, "",
            "ends in \(CheckWords.span(left))\(isShort ? "; the broker should have renewed it, look at its log" : "")")
    }

    private mutating func judgeProxies() {
        let revision = broker.snapshots.published?.snapshot.revision ?? 0
        for proxy in broker.feed.proxies {
            let name = "\(proxy.gateway == nil ? "sidecar" : "gateway") \(proxy.name)"
            if !proxy.refused.isEmpty {
                add(
                    "feed", "", name, .failed, "",
                    "refused the snapshot: \(proxy.refused); it serves revision \(proxy.acked) of \(revision)")
            } else if proxy.acked < revision {
                add("feed", "", name, .warning, "", "holds revision \(proxy.acked) of \(revision); try again")
            } else {
                add("feed", "", name, .ok, "", "holds revision \(revision)")
            }
            let left = proxy.identity.notAfter.seconds - broker.loop.wall.seconds
            if left <= 0 {
                add(
                    "certificate", "", name, .failed, "",
                    "its SVID ended \(CheckWords.span(-left)) ago; look at its log for why it was not renewed")
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
                if let skew = status.skew, skew.magnitude > Self.skew {
                    add(
                        "clock", cluster, cluster, .warning, "",
                        "its clock differs by \(skew) s; mend NTP there or here")
                } else if let skew = status.skew {
                    add("clock", cluster, cluster, .ok, "", "differs by \(skew) s")
                }
                switch status.freshness {
                case .fresh?: add("feed", cluster, cluster, .ok, "", "its data is fresh")
                case .stale(let since)?:
                    let age = CheckWords.span(broker.loop.wall.seconds - since.seconds)
                    let link = status.isConnected ? "its broker sends none" : "its broker is not connected"
                    add(
                        "feed", cluster, cluster, .failed, "stale",
                        "no lease for \(age), \(link); is it up, and can 15012 be reached either way?")
                case .gone?, nil: add("feed", cluster, cluster, .failed, "stale", "it is gone")
                }
                if let refusal = status.refusal {
                    add("feed", cluster, cluster, .warning, "", "it refused what this cluster sent last: \(refusal)")
                }
            }
        }
    }

    /// Imports that ask for what nobody offers: a call to it ends with `no_route`.
    private mutating func judgeImports(_ snapshot: Snapshot) {
        let objects = broker.objects.book.all.sorted { $0.subject < $1.subject }
        var rules: [ImportObject.Rule] = []
        for object in objects {
            guard case .importRules(let body) = object.body else { continue }
            rules += body.rules
            for rule in body.rules { judge(rule, of: object, snapshot) }
        }
        let explicit = Set(rules.compactMap { rule in rule.service.map { [rule.namespace, $0] } })
        for (key, since) in broker.snapshots.withdrawn.missing(rules)
        where !explicit.contains([key.service.namespace, key.service.name]) {
            let ago = CheckWords.span(broker.loop.wall.seconds - since.seconds)
            add(
                "service", key.cluster.description, key.service.description, .failed, Reason.noRoute.rawValue,
                "\(key.cluster) stopped to export it \(ago) ago, and an Import still asks for it; export it there again"
            )
        }
    }

    private mutating func judge(_ rule: ImportObject.Rule, of object: MeshObject, _ snapshot: Snapshot) {
        let matches = snapshot.services.contains { service in
            service.name.namespace == rule.namespace && (rule.service == nil || service.name.name == rule.service)
                && service.remotes.contains { rule.cluster == nil || $0.cluster == rule.cluster }
        }
        guard !matches, !ImportObject.isReserved(rule.namespace) else { return }
        let owner = rule.cluster.map { "\($0)" } ?? "no member"
        let what = rule.service.map { "\(rule.namespace)/\($0)" } ?? "anything in namespace \(rule.namespace)"
        let isMember = rule.cluster.map { name in snapshot.members.contains { $0.cluster == name } } ?? true
        let detail: String
        if !isMember {
            detail = "\(owner) is no member of this federation; join it, or mend the rule of \(object.subject)"
        } else {
            let verb = rule.cluster == nil ? "exports" : "does not export"
            detail = "\(owner) \(verb) \(what) to this cluster, and \(object.subject) asks for it; export it there"
        }
        add(
            "service", rule.cluster?.description ?? "", what, rule.service == nil ? .warning : .failed,
            Reason.noRoute.rawValue, detail)
    }

    /// Permissive services: did anybody come without an identity, and so would be refused under `strict`?
    private mutating func judgePlaintext(_ snapshot: Snapshot) {
        var sidecars: [String: [Subscriber]] = [:]
        for proxy in broker.feed.proxies where proxy.gateway == nil && proxy.hello != nil {
            sidecars[proxy.name, default: []].append(proxy)
        }
        let wall = broker.loop.wall
        for service in snapshot.services
        where service.isLocal && (service.mutualTLS ?? snapshot.settings.mutualTLS) == .permissive {
            var count: UInt64 = 0
            var last: WallTime?
            var since = WallTime(seconds: 0)
            var unheard: [String] = []
            var heard = 0
            for endpoint in service.endpoints {
                guard case .mesh = endpoint.security else { continue }
                let proxies = sidecars["\(endpoint.workload)"] ?? []
                if proxies.allSatisfy({ $0.plaintext == nil }) {
                    unheard.append("\(endpoint.workload)")
                } else {
                    heard += 1
                }
                for report in proxies.compactMap(\.plaintext) {
                    since = max(since, report.since)
                    for entry in report.counts where entry.service == service.id && entry.allowed > 0 {
                        count &+= entry.allowed
                        last = max(last ?? entry.last, entry.last)
                    }
                }
            }
            guard heard + unheard.count > 0 else { continue }
            if let last {
                let ago = CheckWords.span(wall.seconds - last.seconds)
                add(
                    "plaintext", "", "\(service.name)", .warning, "",
                    "permissive, and \(count) came without an identity, the last \(ago) ago: strict would refuse them")
            } else if let name = unheard.first {
                add(
                    "plaintext", "", "\(service.name)", .warning, "",
                    "permissive, and no sidecar of \(unheard.count) workloads is connected (\(name)): not known whether strict is safe"
                )
            } else {
                let span = CheckWords.span(wall.seconds - since.seconds)
                add(
                    "plaintext", "", "\(service.name)", .ok, "",
                    "permissive, and nothing came without an identity for \(span) at \(heard) sidecars: strict is safe")
            }
        }
    }

    // MARK: Calls

    private mutating func planProbes(_ snapshot: Snapshot) {
        for member in snapshot.members {
            for gateway in snapshot.gateways.prefix(Self.maximumGateways) {
                let target = ServiceAddress.probe(of: member.cluster)
                append(
                    Line(
                        kind: "probe", destination: member.cluster, subject: target.name.description,
                        gateway: gateway, target: target, isTCP: false, callers: nil))
            }
        }
    }

    /// Every port of every imported service in every cluster, the local gateways in turn.
    private mutating func planServices(_ snapshot: Snapshot) {
        let callers = CheckCallers.identities(broker.objects.book.all, in: broker.settings.trustDomain)
        var turn = 0
        for service in snapshot.services {
            for remote in service.remotes {
                let name = MeshName(
                    service: service.name.name, namespace: service.name.namespace, scope: .pinned(remote.cluster))
                for port in remote.ports {
                    let target = ServiceAddress(name: name, port: port.port)
                    guard let callers = CheckCallers(callers, remote.authorization, port: port.port) else {
                        add(
                            "service", remote.cluster.description, target.authority, .warning, "",
                            "not called: there is no Workload here that could call it")
                        continue
                    }
                    append(
                        Line(
                            kind: "service", destination: remote.cluster, subject: target.authority,
                            gateway: snapshot.gateways[turn % snapshot.gateways.count], target: target,
                            isTCP: !port.appProtocol.isHTTP, callers: callers))
                    turn &+= 1
                }
            }
        }
    }

    private mutating func append(_ line: Line) {
        if lines.count < Self.maximumLines {
            lines.append(line)
        } else if lines.count == Self.maximumLines, results.last?.subject != "limit" {
            add(
                "service", "", "limit", .failed, "",
                "there is more to call than \(Self.maximumLines) lines; the rest was not called")
        }
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
