internal import ControlProtocol
internal import MeshModel

/// Policies ⇄ messages.
enum PolicyCoding {
    static func message(_ authorization: Authorization) -> ModelAuthorization {
        var message = ModelAuthorization()
        message.rules = authorization.rules.map { rule in
            var message = ModelAuthorizationRule()
            message.name = rule.name
            message.action = rule.action == .allow ? .allow : .deny
            message.callers = rule.callers.map { pattern in
                var message = ModelCallerPattern()
                switch pattern {
                case .any: message.any = true
                case .identity(let id): message.identity = id.description
                case .prefix(let prefix): message.prefix = prefix.description
                case .trustDomain(let domain): message.trustDomain = domain.description
                }
                return message
            }
            message.ports = rule.ports.map(UInt32.init)
            return message
        }
        return message
    }

    static func model(_ message: ModelAuthorization) throws(CodingError) -> Authorization {
        Authorization(rules: try each("rules", message.rules, limit: CodingLimits.rules, rule))
    }

    private static func rule(_ message: ModelAuthorizationRule) throws(CodingError) -> AuthorizationRule {
        let action: AuthorizationRule.Action
        switch message.action {
        case .allow: action = .allow
        case .deny: action = .deny
        case .unspecified, .UNRECOGNIZED: throw CodingError("action", .outOfRange)
        }
        return AuthorizationRule(
            name: try Field.text("name", message.name, limit: CodingLimits.reasonBytes), action: action,
            callers: try each("callers", message.callers, limit: CodingLimits.callers, caller),
            ports: try each("ports", message.ports, limit: CodingLimits.ports) { (port) throws(CodingError) in
                try Field.port("", port)
            })
    }

    private static func caller(_ message: ModelCallerPattern) throws(CodingError) -> CallerPattern {
        switch message.pattern {
        case .any(let value):
            guard value else { throw CodingError("any", .outOfRange) }
            return .any
        case .identity(let text): return .identity(try Field.spiffeID("identity", text))
        case .trustDomain(let text): return .trustDomain(try Field.trustDomain("trustDomain", text))
        case .prefix(let text):
            // A prefix that ends inside a segment would match a neighbour's name: `…/sa/api` and `…/sa/api-admin`.
            guard text.utf8.count <= SPIFFEID.maximumLength, let prefix = ASCIIText(text), prefix.bytes.last == 0x2F,
                SPIFFEID(prefix.bytes + Array("x".utf8)) != nil
            else { throw CodingError("prefix", .notA("a SPIFFE ID prefix that ends with a slash")) }
            return .prefix(prefix)
        case nil: throw CodingError("pattern", .missing)
        }
    }

    static func message(_ rule: LimitRule) -> ModelLimitRule {
        var message = ModelLimitRule()
        message.name = rule.name
        message.requests = UInt32(clamping: rule.requests)
        message.per = rule.per.wholeNanoseconds
        message.burst = UInt32(clamping: rule.burst)
        message.subject = rule.subject == .service ? .service : .caller
        message.mode = rule.mode == .enforce ? .enforce : .shadow
        return message
    }

    static func model(_ message: ModelLimitRule) throws(CodingError) -> LimitRule {
        let subject: LimitRule.Subject
        switch message.subject {
        case .service: subject = .service
        case .caller: subject = .caller
        case .unspecified, .UNRECOGNIZED: throw CodingError("subject", .outOfRange)
        }
        let mode: LimitRule.Mode
        switch message.mode {
        case .enforce: mode = .enforce
        case .shadow: mode = .shadow
        case .unspecified, .UNRECOGNIZED: throw CodingError("mode", .outOfRange)
        }
        guard message.per > 0 else { throw CodingError("per", .outOfRange) }
        return LimitRule(
            name: try Field.text("name", message.name, limit: CodingLimits.reasonBytes),
            requests: try Field.number("requests", message.requests, 0...1_000_000_000),
            per: try Field.duration("per", message.per),
            burst: try Field.number("burst", message.burst, 0...1_000_000_000), subject: subject, mode: mode)
    }

    static func message(_ settings: TrafficSettings) -> ModelTrafficSettings {
        var message = ModelTrafficSettings()
        message.failoverOrder = settings.failoverOrder.map(\.description)
        message.failoverExcluded = settings.failoverExcluded.map(\.description)
        message.connectTimeout = settings.connectTimeout.wholeNanoseconds
        message.requestTimeout = settings.requestTimeout.wholeNanoseconds
        message.perTryTimeout = settings.perTryTimeout.wholeNanoseconds
        message.idleTimeout = settings.idleTimeout.wholeNanoseconds
        message.handshakeTimeout = settings.handshakeTimeout.wholeNanoseconds
        message.headersTimeout = settings.headersTimeout.wholeNanoseconds
        message.connectionIdleTimeout = settings.connectionIdleTimeout.wholeNanoseconds
        message.maximumConnectionAge = settings.maximumConnectionAge.wholeNanoseconds
        message.maximumAttempts = UInt32(clamping: settings.maximumAttempts)
        message.retryBudgetPercent = UInt32(clamping: settings.retryBudgetPercent)
        message.retryBudgetMinimumPerSecond = UInt32(clamping: settings.retryBudgetMinimumPerSecond)
        message.ejectAfter = UInt32(clamping: settings.ejectAfter)
        message.ejectionTime = settings.ejectionTime.wholeNanoseconds
        message.maximumEjectionPercent = UInt32(clamping: settings.maximumEjectionPercent)
        message.probeInterval = settings.probeInterval.wholeNanoseconds
        message.maximumRequestsPerEndpoint = UInt32(clamping: settings.maximumRequestsPerEndpoint)
        if let staleness = settings.maximumStaleness { message.maximumStaleness = staleness.wholeNanoseconds }
        return message
    }

    static func model(_ message: ModelTrafficSettings) throws(CodingError) -> TrafficSettings {
        var settings = TrafficSettings()
        settings.failoverOrder = try clusters("failoverOrder", message.failoverOrder)
        settings.failoverExcluded = try clusters("failoverExcluded", message.failoverExcluded)
        settings.connectTimeout = try Field.duration("connectTimeout", message.connectTimeout)
        settings.requestTimeout = try Field.duration("requestTimeout", message.requestTimeout)
        settings.perTryTimeout = try Field.duration("perTryTimeout", message.perTryTimeout)
        settings.idleTimeout = try Field.duration("idleTimeout", message.idleTimeout)
        // Brokers of the last version do not say these.
        if message.hasHandshakeTimeout {
            settings.handshakeTimeout = try Field.duration("handshakeTimeout", message.handshakeTimeout)
        }
        if message.hasHeadersTimeout {
            settings.headersTimeout = try Field.duration("headersTimeout", message.headersTimeout)
        }
        if message.hasConnectionIdleTimeout {
            settings.connectionIdleTimeout = try Field.duration("connectionIdleTimeout", message.connectionIdleTimeout)
        }
        if message.hasMaximumConnectionAge {
            settings.maximumConnectionAge = try Field.duration("maximumConnectionAge", message.maximumConnectionAge)
        }
        settings.maximumAttempts = try Field.number("maximumAttempts", message.maximumAttempts, 1...100)
        settings.retryBudgetPercent = try Field.number("retryBudgetPercent", message.retryBudgetPercent, 0...1_000)
        settings.retryBudgetMinimumPerSecond = try Field.number(
            "retryBudgetMinimumPerSecond", message.retryBudgetMinimumPerSecond, 0...1_000_000)
        settings.ejectAfter = try Field.number("ejectAfter", message.ejectAfter, 0...1_000_000)
        settings.ejectionTime = try Field.duration("ejectionTime", message.ejectionTime)
        settings.maximumEjectionPercent = try Field.number(
            "maximumEjectionPercent", message.maximumEjectionPercent, 0...100)
        settings.probeInterval = try Field.duration("probeInterval", message.probeInterval)
        settings.maximumRequestsPerEndpoint = try Field.number(
            "maximumRequestsPerEndpoint", message.maximumRequestsPerEndpoint, 0...1_000_000_000)
        if message.hasMaximumStaleness {
            settings.maximumStaleness = try Field.duration("maximumStaleness", message.maximumStaleness)
        }
        return settings
    }

    static func message(_ mode: MutualTLSMode) -> ModelMutualTLSMode { mode == .strict ? .strict : .permissive }

    static func model(_ field: String, _ message: ModelMutualTLSMode) throws(CodingError) -> MutualTLSMode {
        switch message {
        case .strict: .strict
        case .permissive: .permissive
        case .unspecified, .UNRECOGNIZED: throw CodingError(field, .outOfRange)
        }
    }

    static func message(_ settings: MeshSettings) -> ModelMeshSettings {
        var message = ModelMeshSettings()
        message.mutualTls = Self.message(settings.mutualTLS)
        message.acceptAttested = settings.acceptAttested.map(\.description)
        message.tracingSamplePercent = settings.tracingSamplePercent
        message.accessLog = settings.accessLog
        message.outboundPolicy = settings.outboundPolicy == .allow ? .allow : .registryOnly
        return message
    }

    static func model(_ message: ModelMeshSettings) throws(CodingError) -> MeshSettings {
        var settings = MeshSettings()
        settings.mutualTLS = try model("mutualTLS", message.mutualTls)
        settings.acceptAttested = try each(
            "acceptAttested", message.acceptAttested, limit: CodingLimits.members
        ) { (text) throws(CodingError) in try Field.trustDomain("", text) }
        // A NaN is outside every range.
        guard (0...100).contains(message.tracingSamplePercent) else {
            throw CodingError("tracingSamplePercent", .outOfRange)
        }
        settings.tracingSamplePercent = message.tracingSamplePercent
        settings.accessLog = message.accessLog
        switch message.outboundPolicy {
        case .unspecified, .allow: settings.outboundPolicy = .allow
        case .registryOnly: settings.outboundPolicy = .registryOnly
        case .UNRECOGNIZED: throw CodingError("outboundPolicy", .outOfRange)
        }
        return settings
    }

    static func clusters(_ field: String, _ list: [String]) throws(CodingError) -> [ClusterID] {
        try each(field, list, limit: CodingLimits.members) { (text) throws(CodingError) in
            try Field.cluster("", text)
        }
    }
}
