import Identity
import MeshModel

/// A snapshot for people and programs. Roots are shown by their fingerprint.
struct SnapshotReport {
    private let snapshot: Snapshot

    init(_ snapshot: Snapshot) { self.snapshot = snapshot }

    func text(wide: Bool) -> String {
        var text = "cluster \(snapshot.cluster), trust domain \(snapshot.trustDomain), epoch \(snapshot.epoch), "
        text += "revision \(snapshot.revision)\n"
        var bundles = TextTable("TRUST DOMAIN", "ROOTS", "REVOKED", "SEQUENCE")
        for bundle in snapshot.bundles {
            bundles.row(
                "\(bundle.trustDomain)", "\(bundle.roots.count)", "\(bundle.revokedSerials.count)",
                "\(bundle.sequence)")
        }
        var gateways = TextTable("GATEWAY", "CLUSTER", "ADDRESS", "LOCALITY")
        for gateway in snapshot.gateways { Self.row(gateway, "\(snapshot.cluster)", &gateways) }
        for member in snapshot.members {
            for gateway in member.gateways { Self.row(gateway, "\(member.cluster)", &gateways) }
        }
        var members = TextTable("MEMBER", "TRUST DOMAIN", "DATA")
        for member in snapshot.members {
            members.row("\(member.cluster)", "\(member.trustDomain)", Self.word(member.freshness))
        }
        var services = TextTable("SERVICE", "PORTS", "EXPORT", "LOCAL", "REMOTE", "MESH NAME")
        var endpoints = TextTable("SERVICE", "WORKLOAD", "ADDRESS", "HEALTHY", "LOCALITY", "WEIGHT", "IDENTITY")
        for service in snapshot.services {
            services.row(
                "\(service.name)", service.ports.map { "\($0.port)/\($0.appProtocol.rawValue)" }.joined(separator: ","),
                Self.word(service.export),
                "\(service.endpoints.count(where: \.healthy))/\(service.endpoints.count)",
                service.remotes.map { "\($0.cluster):\($0.healthyCount)" }.joined(separator: ","),
                "\(service.meshName)")
            for endpoint in service.endpoints {
                endpoints.row(
                    "\(service.name)", "\(endpoint.workload)", endpoint.address, endpoint.healthy ? "yes" : "no",
                    "\(endpoint.locality)", "\(endpoint.weight)", "\(endpoint.identity)")
            }
        }
        for table in [bundles, gateways, members] where !table.isEmpty { text += "\n" + table.text() }
        if !services.isEmpty { text += "\n" + services.text(columns: wide ? nil : 5) }
        if !endpoints.isEmpty { text += "\n" + endpoints.text(columns: wide ? nil : 5) }
        return text
    }

    var value: OutputValue {
        .record([
            ("cluster", .text("\(snapshot.cluster)")), ("trustDomain", .text("\(snapshot.trustDomain)")),
            ("epoch", .text("\(snapshot.epoch)")), ("revision", .text("\(snapshot.revision)")),
            ("bundles", .list(snapshot.bundles.map(Self.value))),
            (
                "members",
                .list(
                    snapshot.members.map { member in
                        .record([
                            ("cluster", .text("\(member.cluster)")), ("trustDomain", .text("\(member.trustDomain)")),
                            ("data", .text(Self.word(member.freshness))),
                            ("gateways", .list(member.gateways.map(Self.value))),
                        ])
                    })
            ), ("gateways", .list(snapshot.gateways.map(Self.value))),
            ("services", .list(snapshot.services.map(Self.value))),
            (
                "settings",
                .record([
                    ("mtls", .text(Self.word(snapshot.settings.mutualTLS))),
                    ("acceptAttested", .texts(snapshot.settings.acceptAttested.map(\.description))),
                    ("tracingSamplePercent", .decimal(snapshot.settings.tracingSamplePercent)),
                    ("accessLog", .flag(snapshot.settings.accessLog)),
                ])
            ),
        ])
    }

    private static func row(_ gateway: GatewayAddress, _ cluster: String, _ table: inout TextTable) {
        table.row("\(gateway.name)", cluster, hostPort(gateway.address, gateway.port), "\(gateway.locality)")
    }

    private static func hostPort(_ host: String, _ port: UInt16) -> String {
        host.utf8.contains(0x3A) ? "[\(host)]:\(port)" : "\(host):\(port)"
    }

    private static func value(_ gateway: GatewayAddress) -> OutputValue {
        .record([
            ("name", .text("\(gateway.name)")), ("address", .text(hostPort(gateway.address, gateway.port))),
            ("locality", .optional("\(gateway.locality)")),
        ])
    }

    private static func value(_ bundle: TrustBundle) -> OutputValue {
        .record([
            ("trustDomain", .text("\(bundle.trustDomain)")), ("sequence", .text("\(bundle.sequence)")),
            ("rootFingerprints", .texts(bundle.roots.map { Hex.encode(SHA256.hash($0)) })),
            ("revokedSerials", .texts(bundle.revokedSerials.map(Hex.encode))),
        ])
    }

    private static func value(_ service: Service) -> OutputValue {
        .record([
            ("name", .text("\(service.name)")), ("id", .number(Int64(service.id))),
            ("meshName", .text("\(service.meshName)")), ("export", .text(word(service.export))),
            ("ports", .list(service.ports.map(value))), ("endpoints", .list(service.endpoints.map(value))),
            (
                "remotes",
                .list(
                    service.remotes.map { remote in
                        .record([
                            ("cluster", .text("\(remote.cluster)")), ("ports", .list(remote.ports.map(value))),
                            (
                                "capacities",
                                .list(
                                    remote.capacities.map { capacity in
                                        .record([
                                            ("locality", .optional("\(capacity.locality)")),
                                            ("healthy", .number(Int64(capacity.healthyCount))),
                                            ("capacity", .number(Int64(capacity.capacity))),
                                        ])
                                    })
                            ), ("authorization", value(remote.authorization)),
                        ])
                    })
            ), ("authorization", value(service.authorization)),
            (
                "limits",
                .list(
                    service.limits.map { rule in
                        .record([
                            ("name", .text(rule.name)), ("requests", .number(Int64(rule.requests))),
                            ("per", .text(rule.per.gep2257)), ("burst", .number(Int64(rule.burst))),
                            ("perCaller", .flag(rule.subject == .caller)),
                            ("mode", .text(rule.mode == .enforce ? "enforce" : "shadow")),
                        ])
                    })
            ), ("failoverOrder", .texts(service.traffic.failoverOrder.map(\.description))),
            ("mtls", service.mutualTLS.map { .text(word($0)) } ?? .nothing),
        ])
    }

    private static func value(_ port: ServicePort) -> OutputValue {
        .record([
            ("name", .optional(port.name)), ("port", .number(Int64(port.port))),
            ("appProtocol", .text(port.appProtocol.rawValue)),
        ])
    }

    private static func value(_ endpoint: Endpoint) -> OutputValue {
        .record([
            ("id", .number(Int64(endpoint.id))), ("workload", .text("\(endpoint.workload)")),
            ("address", .text(endpoint.address)),
            (
                "ports",
                .list(
                    endpoint.targetPorts.sorted { $0.key < $1.key }.map {
                        .record([("port", .number(Int64($0.key))), ("target", .number(Int64($0.value)))])
                    })
            ), ("tls", .text(word(endpoint.security))), ("identity", .text("\(endpoint.identity)")),
            ("locality", .optional("\(endpoint.locality)")), ("weight", .number(Int64(endpoint.weight))),
            ("healthy", .flag(endpoint.healthy)),
        ])
    }

    private static func value(_ authorization: Authorization) -> OutputValue {
        .list(
            authorization.rules.map { rule in
                .record([
                    ("name", .text(rule.name)), ("action", .text(rule.action == .allow ? "allow" : "deny")),
                    ("callers", .texts(rule.callers.map(word))),
                    ("ports", .list(rule.ports.map { .number(Int64($0)) })),
                ])
            })
    }

    private static func word(_ pattern: CallerPattern) -> String {
        switch pattern {
        case .any: "*"
        case .identity(let id): "\(id)"
        case .prefix(let prefix): "\(prefix)*"
        case .trustDomain(let domain): "spiffe://\(domain)/*"
        }
    }

    private static func word(_ security: EndpointSecurity) -> String {
        switch security {
        case .mesh: "mesh"
        case .mutual: "mutual"
        case .simple: "simple"
        case .plain: "plain"
        }
    }

    private static func word(_ mode: MutualTLSMode) -> String { mode == .strict ? "strict" : "permissive" }

    private static func word(_ export: ExportScope) -> String {
        switch export {
        case .none: ""
        case .all: "*"
        case .clusters(let clusters): clusters.map(\.description).joined(separator: ",")
        }
    }

    private static func word(_ freshness: Freshness) -> String {
        switch freshness {
        case .fresh: "fresh"
        case .stale(let since): "stale since \(TimeWords.stamp(since.seconds))"
        case .gone: "gone"
        }
    }
}
