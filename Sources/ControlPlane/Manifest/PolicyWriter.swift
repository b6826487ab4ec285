internal import MeshModel

/// The specs of the four policies, as `PolicyDecoder` reads them.
enum PolicyWriter {
    private static func targetRefs(_ targets: [ObjectName], withNamespace: Bool = false) -> ManifestValue {
        .list(
            targets.map { target in
                var entries: [(String, ManifestValue)] = [
                    ("kind", .string("Service")), ("name", .string("\(target.name)")),
                ]
                if withNamespace { entries.append(("namespace", .string("\(target.namespace)"))) }
                return .mapping(entries)
            })
    }

    static func traffic(_ body: TrafficPolicyObject) -> ManifestValue {
        var entries: [(String, ManifestValue)] = [("targetRefs", targetRefs(body.targets))]
        for field in TrafficField.allCases where body.fields.contains(field) {
            let path = field.rawValue.split(separator: ".").map(String.init)
            let value = value(of: field, body.settings)
            guard path.count == 2 else {
                entries.append((path[0], value))
                continue
            }
            if let index = entries.firstIndex(where: { $0.0 == path[0] }), case .mapping(let inner) = entries[index].1 {
                entries[index].1 = .mapping(inner + [(path[1], value)])
            } else {
                entries.append((path[0], .mapping([(path[1], value)])))
            }
        }
        return .mapping(entries)
    }

    private static func value(of field: TrafficField, _ settings: TrafficSettings) -> ManifestValue {
        func duration(_ duration: Duration) -> ManifestValue { .string(duration.gep2257) }
        switch field {
        case .failoverOrder: return ManifestWriter.names(settings.failoverOrder)
        case .failoverExclude: return ManifestWriter.names(settings.failoverExcluded)
        case .connectTimeout: return duration(settings.connectTimeout)
        case .handshakeTimeout: return duration(settings.handshakeTimeout)
        case .headersTimeout: return duration(settings.headersTimeout)
        case .requestTimeout: return duration(settings.requestTimeout)
        case .perTryTimeout: return duration(settings.perTryTimeout)
        case .idleTimeout: return duration(settings.idleTimeout)
        case .connectionIdleTimeout: return duration(settings.connectionIdleTimeout)
        case .maximumConnectionAge: return duration(settings.maximumConnectionAge)
        case .attempts: return .integer(settings.maximumAttempts)
        case .budgetPercent: return .integer(settings.retryBudgetPercent)
        case .budgetMinimumPerSecond: return .integer(settings.retryBudgetMinimumPerSecond)
        case .consecutiveErrors: return .integer(settings.ejectAfter)
        case .ejectionTime: return duration(settings.ejectionTime)
        case .maximumEjectionPercent: return .integer(settings.maximumEjectionPercent)
        case .probeInterval: return duration(settings.probeInterval)
        case .maximumRequestsPerEndpoint: return .integer(settings.maximumRequestsPerEndpoint)
        case .staleness:
            guard let maximum = settings.maximumStaleness else {
                return .mapping([("action", .string("preferLocal"))])
            }
            return .mapping([("action", .string("drop")), ("max", duration(maximum))])
        }
    }

    static func rateLimit(_ body: RateLimitPolicyObject) -> ManifestValue {
        let rules: [ManifestValue] = body.rules.map { rule in
            let limit: [(String, ManifestValue)] = [
                ("requests", .integer(rule.requests)), ("per", .string(rule.per.gep2257)),
                ("burst", .integer(rule.burst)),
            ]
            return .mapping([
                ("name", .string(rule.name)), ("limit", .mapping(limit)),
                ("by", .string(rule.subject == .service ? "service" : "caller")),
                ("mode", .string(rule.mode == .enforce ? "enforce" : "shadow")),
            ])
        }
        return .mapping([
            ("targetRefs", targetRefs(body.targets)), ("scope", .string("gateway")), ("rules", .list(rules)),
        ])
    }

    static func authorization(_ body: AuthorizationPolicyObject) -> ManifestValue {
        let action = body.rules.first?.action ?? .allow
        let rules: [ManifestValue] = body.rules.filter { !$0.callers.isEmpty }.map { rule in
            var entries: [(String, ManifestValue)] = []
            var ids: [String] = []
            var domains: [TrustDomain] = []
            var everybody = false
            for caller in rule.callers {
                switch caller {
                case .any: everybody = true
                case .identity(let id): ids.append(id.description)
                case .prefix(let prefix): ids.append("\(prefix)*")
                case .trustDomain(let domain): domains.append(domain)
                }
            }
            if !everybody {
                var from: [(String, ManifestValue)] = []
                if !ids.isEmpty { from.append(("ids", ManifestWriter.names(ids))) }
                if !domains.isEmpty { from.append(("trustDomains", ManifestWriter.names(domains))) }
                entries.append(("from", .mapping(from)))
            }
            if !rule.ports.isEmpty { entries.append(("ports", .list(rule.ports.map { .integer(Int($0)) }))) }
            return .mapping(entries)
        }
        return .mapping([
            ("targetRefs", targetRefs(body.targets)), ("action", .string(action == .allow ? "ALLOW" : "DENY")),
            ("rules", .list(rules)),
        ])
    }

    static func mesh(_ body: MeshPolicyObject) -> ManifestValue {
        var entries: [(String, ManifestValue)] = []
        let mode = body.settings.mutualTLS == .strict ? "strict" : "permissive"
        if !body.targets.isEmpty { entries.append(("targetRefs", targetRefs(body.targets, withNamespace: true))) }
        entries.append(("mtls", .mapping([("mode", .string(mode))])))
        guard body.targets.isEmpty else { return .mapping(entries) }
        if let sponsors = body.sponsors {
            entries.append(("federation", .mapping([("sponsors", ManifestWriter.names(sponsors))])))
        }
        if !body.settings.acceptAttested.isEmpty {
            entries.append(("acceptAttested", ManifestWriter.names(body.settings.acceptAttested)))
        }
        entries.append(("tracing", .mapping([("samplePercent", .decimal(body.settings.tracingSamplePercent))])))
        entries.append(("accessLog", .boolean(body.settings.accessLog)))
        if body.settings.outboundPolicy == .registryOnly { entries.append(("outboundPolicy", .string("registryOnly"))) }
        return .mapping(entries)
    }
}
