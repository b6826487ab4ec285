internal import MeshModel

/// The specs of the four policies. Ranges are wide: they stop slips of the pen, not unusual wishes.
enum PolicyDecoder {
    private static let anyTimeout: ClosedRange<Duration> = .zero ... .seconds(86_400)
    private static let positive: ClosedRange<Duration> = .milliseconds(1) ... .seconds(86_400)

    // MARK: TrafficPolicy

    static func traffic(_ spec: inout Fields, _ metadata: ObjectMetadata) -> MeshObject.Body? {
        let targets = targetRefs(&spec, own: metadata.namespace)
        var builder = TrafficBuilder()
        builder.failover(spec.optional("failover")?.fields())
        builder.timeouts(spec.optional("timeouts")?.fields())
        builder.retries(spec.optional("retries")?.fields())
        builder.ejection(spec.optional("ejection")?.fields())
        builder.staleness(spec.optional("staleness"))
        builder.set(.probeInterval, \.probeInterval, spec.optional("probeInterval")) {
            $0.duration(in: .milliseconds(50) ... .seconds(3_600))
        }
        builder.set(.maximumRequestsPerEndpoint, \.maximumRequestsPerEndpoint, spec.optional("maxRequestsPerEndpoint"))
        { $0.integer(in: 1...1_000_000) }
        spec.unavailable("assertion", "passthrough", "loadBalancer", "locality", "mirror", "split", "hedging")
        guard let targets else { return nil }
        if builder.fields.isEmpty, builder.good {
            spec.report("sets nothing", "for example timeouts: {request: 10s}")
            return nil
        }
        return builder.good
            ? .trafficPolicy(
                TrafficPolicyObject(targets: targets, settings: builder.settings, fields: builder.fields)) : nil
    }

    /// Collects the keys that are set and their values.
    private struct TrafficBuilder {
        var settings = TrafficSettings()
        var fields: Set<TrafficField> = []
        var good = true

        mutating func set<Value>(
            _ key: TrafficField, _ place: WritableKeyPath<TrafficSettings, Value>, _ field: Field?,
            _ read: (Field) -> Value?
        ) {
            guard let field else { return }
            guard let value = read(field) else {
                good = false
                return
            }
            settings[keyPath: place] = value
            fields.insert(key)
        }

        mutating func failover(_ mapping: Fields?) {
            guard var mapping else { return }
            defer { mapping.finish() }
            let excluded = mapping.optional("exclude")
            set(.failoverOrder, \.failoverOrder, mapping.optional("order")) { $0.set(maximum: 1_000) { $0.cluster() } }
            set(.failoverExclude, \.failoverExcluded, excluded) { $0.set(maximum: 1_000) { $0.cluster() } }
            if let both = settings.failoverOrder.first(where: settings.failoverExcluded.contains) {
                excluded?.report("\(both) is in order too", "keep it in one of them")
                good = false
            }
        }

        mutating func timeouts(_ mapping: Fields?) {
            guard var mapping else { return }
            defer { mapping.finish() }
            set(.connectTimeout, \.connectTimeout, mapping.optional("connect")) { $0.duration(in: positive) }
            set(.handshakeTimeout, \.handshakeTimeout, mapping.optional("handshake")) { $0.duration(in: positive) }
            set(.headersTimeout, \.headersTimeout, mapping.optional("headers")) { $0.duration(in: positive) }
            set(.requestTimeout, \.requestTimeout, mapping.optional("request")) { $0.duration(in: anyTimeout) }
            set(.perTryTimeout, \.perTryTimeout, mapping.optional("perTry")) { $0.duration(in: anyTimeout) }
            set(.idleTimeout, \.idleTimeout, mapping.optional("idle")) { $0.duration(in: positive) }
            set(.connectionIdleTimeout, \.connectionIdleTimeout, mapping.optional("connectionIdle")) {
                $0.duration(in: positive)
            }
            set(.maximumConnectionAge, \.maximumConnectionAge, mapping.optional("connectionMaxAge")) {
                $0.duration(in: anyTimeout)
            }
            if settings.requestTimeout > .zero, settings.perTryTimeout > settings.requestTimeout {
                mapping.report(
                    "perTry is \(settings.perTryTimeout.gep2257), longer than request with"
                        + " \(settings.requestTimeout.gep2257)", "make request longer or perTry shorter")
                good = false
            }
        }

        mutating func retries(_ mapping: Fields?) {
            guard var mapping else { return }
            defer { mapping.finish() }
            set(.attempts, \.maximumAttempts, mapping.optional("attempts")) { $0.integer(in: 1...10) }
            set(.budgetPercent, \.retryBudgetPercent, mapping.optional("budgetPercent")) { $0.integer(in: 0...100) }
            set(
                .budgetMinimumPerSecond, \.retryBudgetMinimumPerSecond, mapping.optional("budgetMinimumPerSecond")
            ) { $0.integer(in: 0...1_000_000) }
        }

        mutating func ejection(_ mapping: Fields?) {
            guard var mapping else { return }
            defer { mapping.finish() }
            set(.consecutiveErrors, \.ejectAfter, mapping.optional("consecutiveErrors")) { $0.integer(in: 1...10_000) }
            set(.ejectionTime, \.ejectionTime, mapping.optional("baseTime")) { $0.duration(in: positive) }
            set(.maximumEjectionPercent, \.maximumEjectionPercent, mapping.optional("maxPercent")) {
                $0.integer(in: 0...100)
            }
        }

        mutating func staleness(_ field: Field?) {
            guard let field, var mapping = field.fields() else { return }
            defer { mapping.finish() }
            let action = mapping.optional("action")
            let maximum = mapping.optional("max")
            let drops = action?.choice(["preferLocal": false, "drop": true]) ?? (maximum != nil)
            guard drops else {
                if let maximum, action != nil {
                    maximum.report("belongs to action drop", "remove it, or write action: drop")
                    good = false
                }
                fields.insert(.staleness)
                return
            }
            guard let maximum else {
                mapping.report("action drop needs max", "for example max: 10m")
                good = false
                return
            }
            set(.staleness, \.maximumStaleness, maximum) { $0.duration(in: .seconds(15) ... .seconds(30 * 86_400)) }
        }
    }

    // MARK: RateLimitPolicy

    static func rateLimit(_ spec: inout Fields, _ metadata: ObjectMetadata) -> MeshObject.Body? {
        let targets = targetRefs(&spec, own: metadata.namespace)
        let scope = spec.optional("scope").map { $0.choice(["gateway": true], later: ["cluster", "federation"]) }
        let mode: LimitRule.Mode? = spec.optional("mode").map(Self.mode) ?? .enforce
        let list = spec.required("rules", example: "rules: [{name: all, limit: {requests: 100, per: 1s}}]")
        guard let mode, let rules: [LimitRule] = list?.list(maximum: 64, { rule($0, mode) }), let targets, let list,
            scope != .some(nil)
        else { return nil }
        guard !rules.isEmpty else {
            list.report("is empty", "write a rule or remove the policy")
            return nil
        }
        var names: Set<String> = []
        for (index, rule) in rules.enumerated() where !names.insert(rule.name).inserted {
            list.report("name \(rule.name) is there twice, again as element \(index)", "rename one of them")
            return nil
        }
        return .rateLimitPolicy(RateLimitPolicyObject(targets: targets, rules: rules))
    }

    private static func mode(_ field: Field) -> LimitRule.Mode? {
        field.choice(["enforce": .enforce, "shadow": .shadow])
    }

    private static func rule(_ field: Field, _ fallback: LimitRule.Mode) -> LimitRule? {
        guard var fields = field.fields() else { return nil }
        defer { fields.finish() }
        let name = fields.required("name", example: "name: per-caller")?.label()
        let limit = fields.required("limit", example: "limit: {requests: 100, per: 1s, burst: 20}")?.fields()
        let subject: LimitRule.Subject? =
            fields.optional("by").map { $0.choice(["service": .service, "caller": .caller], later: ["header"]) }
            ?? .service
        let mode = fields.optional("mode").map(Self.mode) ?? fallback
        fields.unavailable("match", "methods", "paths", "headers")
        guard var limit else { return nil }
        defer { limit.finish() }
        let requests = limit.required("requests", example: "requests: 100")?.integer(in: 1...1_000_000_000)
        let per = limit.required("per", example: "per: 1s")?.duration(in: positive)
        let burst = limit.optional("burst").map { $0.integer(in: 1...1_000_000_000) } ?? requests
        guard let name, let requests, let per, let burst, let subject, let mode else { return nil }
        guard UInt64(requests) <= per.wholeNanoseconds else {
            limit.report("\(requests) requests in \(per.gep2257) are more than one each nanosecond", "write less")
            return nil
        }
        return LimitRule(
            name: name.description, requests: requests, per: per, burst: burst, subject: subject, mode: mode)
    }

    // MARK: AuthorizationPolicy

    static func authorization(_ spec: inout Fields, _ metadata: ObjectMetadata) -> MeshObject.Body? {
        let targets = targetRefs(&spec, own: metadata.namespace)
        let action: AuthorizationRule.Action? =
            spec.optional("action").map {
                $0.choice(
                    ["ALLOW": .allow, "DENY": .deny, "allow": .allow, "deny": .deny], later: ["AUDIT", "CUSTOM"])
            } ?? .allow
        let list = spec.optional("rules")
        spec.unavailable("selector", instead: "name the services in targetRefs")
        guard let action, let targets else { return nil }
        let name = "\(metadata.namespace)/\(metadata.name)"
        var rules: [AuthorizationRule] = []
        if let list {
            guard
                let read: [AuthorizationRule] = list.list(maximum: 256, { rule($0, action, policy: name) })
            else { return nil }
            rules = read
        }
        if rules.isEmpty {
            guard action == .allow else {
                spec.report("a DENY policy without rules does nothing", "write a rule or remove the policy")
                return nil
            }
            // Istio's allow-nothing: the policy selects its services, and no rule of it lets anybody in.
            rules = [AuthorizationRule(name: "\(name)#0", action: .allow, callers: [])]
        }
        for index in rules.indices { rules[index].name = "\(name)#\(index)" }
        return .authorizationPolicy(AuthorizationPolicyObject(targets: targets, rules: rules))
    }

    private static func rule(_ field: Field, _ action: AuthorizationRule.Action, policy: String) -> AuthorizationRule? {
        guard var fields = field.fields() else { return nil }
        defer { fields.finish() }
        let from = fields.optional("from")
        let ports: [UInt16]? = fields.optional("ports").map { $0.set(maximum: 64) { $0.port() } } ?? []
        fields.unavailable(
            "to", "when", "methods", "paths", "hosts", "headers",
            instead: "layer-7 rules come later; use from and ports")
        var callers: [CallerPattern]? = [.any]
        if let from { callers = from.fields().flatMap { self.callers($0) } }
        guard let callers, let ports else { return nil }
        return AuthorizationRule(name: policy, action: action, callers: callers, ports: ports.sorted())
    }

    private static func callers(_ mapping: Fields) -> [CallerPattern]? {
        var fields = mapping
        defer { fields.finish() }
        let ids = fields.optional("ids")
        let domains = fields.optional("trustDomains")
        fields.unavailable(
            "namespaces", "serviceAccounts", "principals", "clusters",
            instead: "write ids: [spiffe://east.mesh/ns/shop/sa/web]")
        guard ids != nil || domains != nil else {
            fields.report("names nobody", "ids or trustDomains; leave from out to mean every caller")
            return nil
        }
        var patterns: [CallerPattern] = []
        if let ids {
            guard let read: [CallerPattern] = ids.set({ pattern($0) }) else { return nil }
            patterns += read
        }
        if let domains {
            guard let read: [CallerPattern] = domains.set({ $0.trustDomain().map { .trustDomain($0) } }) else {
                return nil
            }
            patterns += read
        }
        guard !patterns.isEmpty else {
            fields.report("names nobody", "leave from out to mean every caller")
            return nil
        }
        return patterns
    }

    /// A SPIFFE ID, or one whose last segment is `*`.
    private static func pattern(_ field: Field) -> CallerPattern? {
        guard let text = field.string(maximum: SPIFFEID.maximumLength) else { return nil }
        if let id = SPIFFEID(text) { return .identity(id) }
        let bytes = Array(text.utf8)
        if text.hasSuffix("/*"), SPIFFEID(Array(bytes.dropLast()) + [0x78]) != nil,
            let prefix = ASCIIText(Array(bytes.dropLast()))
        {
            return .prefix(prefix)
        }
        field.report(
            "\(quoted(text)) is no SPIFFE ID",
            "spiffe://<trust domain>/ns/<namespace>/sa/<account>; '*' only as the whole last segment")
        return nil
    }

    // MARK: MeshPolicy

    static func mesh(_ spec: inout Fields, _ metadata: ObjectMetadata) -> MeshObject.Body? {
        let refs = spec.optional("targetRefs")
        let targets = refs.map { self.targetRefs($0, own: nil) } ?? []
        var settings = MeshSettings()
        var sponsors: [ClusterID]?
        var good = true
        if var mtls = spec.optional("mtls")?.fields() {
            let mode: MutualTLSMode? = mtls.required("mode", example: "mode: strict")?.choice(
                ["strict": .strict, "permissive": .permissive, "STRICT": .strict, "PERMISSIVE": .permissive],
                later: ["disable", "DISABLE"])
            if let mode { settings.mutualTLS = mode } else { good = false }
            mtls.finish()
        } else if refs != nil {
            spec.report("has targetRefs but no mtls", "targetRefs narrow mtls.mode only: mtls: {mode: permissive}")
            good = false
        }
        let wide = ["federation", "acceptAttested", "tracing", "accessLog", "outboundPolicy"].map { spec.optional($0) }
        if refs != nil {
            for case .some(let field) in wide {
                field.report("is mesh-wide", "move it to a MeshPolicy without targetRefs")
                good = false
            }
        }
        if let field = wide[0], var federation = field.fields() {
            sponsors = federation.optional("sponsors").flatMap { $0.set(maximum: 1_000) { $0.cluster() } }
            federation.finish()
        }
        if let field = wide[1] {
            settings.acceptAttested = field.set(maximum: 1_000) { $0.trustDomain() } ?? []
        }
        if let field = wide[2], var tracing = field.fields() {
            if let percent = tracing.required("samplePercent", example: "samplePercent: 1")?.decimal(in: 0...100) {
                settings.tracingSamplePercent = percent
            }
            tracing.unavailable("endpoint", "otlp", instead: "spans are in the access log's trace ids only")
            tracing.finish()
        }
        if let field = wide[3], let value = field.boolean() { settings.accessLog = value }
        if let field = wide[4] {
            let policy: OutboundPolicy? = field.choice(["allow": .allow, "registryOnly": .registryOnly])
            if let policy { settings.outboundPolicy = policy } else { good = false }
        }
        spec.unavailable("assertion")
        guard let targets, good else { return nil }
        return .meshPolicy(MeshPolicyObject(targets: targets, settings: settings, sponsors: sponsors))
    }

    // MARK: targetRefs

    private static func targetRefs(_ spec: inout Fields, own: Label) -> [ObjectName]? {
        spec.required("targetRefs", example: "targetRefs: [{kind: Service, name: reviews}]").flatMap {
            targetRefs($0, own: own)
        }
    }

    /// Services of the policy's own namespace; of any where the policy has none (`own` is nil).
    private static func targetRefs(_ field: Field, own: Label?) -> [ObjectName]? {
        guard let targets = field.set(maximum: 256, { targetRef($0, own: own) }) else { return nil }
        if targets.isEmpty {
            field.report("is empty", "name at least one service")
            return nil
        }
        return targets
    }

    private static func targetRef(_ field: Field, own: Label?) -> ObjectName? {
        guard var fields = field.fields() else { return nil }
        defer { fields.finish() }
        if let group = fields.optional("group"), let text = group.string(empty: true), !["", "core"].contains(text) {
            group.report(
                "\(quoted(text)) is not available in this version", "leave it out: policies attach to Services")
            return nil
        }
        let kind: Bool? = fields.required("kind", example: "kind: Service")?.choice(
            ["Service": true], later: ["Workload", "HTTPRoute", "GRPCRoute", "Gateway", "Namespace"])
        let name = fields.required("name", example: "name: reviews")?.label()
        let field = own == nil ? fields.required("namespace", example: "namespace: shop") : fields.optional("namespace")
        let namespace = field.map { $0.label() } ?? own
        fields.unavailable("sectionName", instead: "policies act on whole services; rules take ports")
        guard kind != nil, let name, let namespace else { return nil }
        if let own, namespace != own {
            field?.report("\(namespace) is not the policy's own namespace", "put the policy into \(namespace)")
            return nil
        }
        return ObjectName(namespace: namespace, name: name)
    }
}
