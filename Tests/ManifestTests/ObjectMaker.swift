import MeshModel

/// Random valid objects for the properties of reader and writer.
enum ObjectMaker {
    static func label(_ text: String) -> Label {
        guard let label = Label(text) else { preconditionFailure("\(text) is a label") }
        return label
    }

    static func object(using random: inout some RandomNumberGenerator) -> MeshObject {
        var metadata = ObjectMetadata(
            name: someLabel(&random), namespace: someLabel(&random), location: SourceLocation(file: "f", line: 1))
        for _ in 0..<Int.random(in: 0...2, using: &random) {
            metadata.labels["example.com/\(someLabel(&random))"] = pick(
                ["", "v1", "yes", "1", "a.b_c", "null"], &random)
            metadata.annotations["note\(Int.random(in: 0...9, using: &random))"] = someText(&random)
        }
        let body: MeshObject.Body
        switch Int.random(in: 0...10, using: &random) {
        case 0:
            body = .cluster(
                ClusterObject(
                    cluster: ClusterID(metadata.name), trustDomain: someDomain(&random),
                    brokerAddresses: pick([[], ["10.0.0.1:15012", "[fd00::1]:1"]], &random)))
        case 1: body = .service(service(&random))
        case 2: body = .workload(workload(&random))
        case 3:
            let scope: ExportScope = pick([.all, .clusters(someClusters(&random))], &random)
            body = .serviceExport(ServiceExportObject(scope: scope, plainNames: Bool.random(using: &random)))
            metadata.annotations["meshfed.io/export-to"] = annotation(scope)
            if case .serviceExport(let export) = body, export.plainNames {
                metadata.annotations["meshfed.io/plain-names"] = "true"
            }
        case 4: body = .importRules(imports(&random))
        case 5: body = .trafficPolicy(traffic(metadata.namespace, &random))
        case 6: body = .rateLimitPolicy(limits(metadata.namespace, &random))
        case 7: body = .authorizationPolicy(authorization(metadata, &random))
        case 8: body = .meshPolicy(mesh(&random))
        case 9: body = .member(member(&random))
        default:
            body = .gateway(
                GatewayObject(address: "10.0.0.9", port: somePort(&random), locality: someLocality(&random)))
        }
        var object = MeshObject(metadata: metadata, body: body)
        if object.isClusterScoped { object.metadata.namespace = label("meshfed-system") }
        return object
    }

    private static func annotation(_ scope: ExportScope) -> String? {
        guard case .clusters(let clusters) = scope else { return nil }
        return clusters.map(\.description).joined(separator: ",")
    }

    private static func pick<Value>(_ values: [Value], _ random: inout some RandomNumberGenerator) -> Value {
        values[Int.random(in: 0..<values.count, using: &random)]
    }

    static func someLabel(_ random: inout some RandomNumberGenerator) -> Label {
        label(pick(["a", "shop", "x-1", "0", "1e3", "yes", "null", "on", "0x1f", "12", "no", "true", "1-2"], &random))
    }

    private static func someText(_ random: inout some RandomNumberGenerator) -> String {
        let parts = ["a", " ", ":", "#", "-", "\n", "\t", "\"", "\\", "é", "🙂", "'", "{", "yes", "1", "\u{85}"]
        return (0..<Int.random(in: 0...8, using: &random)).map { _ in pick(parts, &random) }.joined()
    }

    private static func someDomain(_ random: inout some RandomNumberGenerator) -> TrustDomain {
        guard let domain = TrustDomain(pick(["east.mesh", "a", "1.0", "x_y", "on"], &random)) else {
            preconditionFailure("valid domains")
        }
        return domain
    }

    private static func someClusters(_ random: inout some RandomNumberGenerator) -> [ClusterID] {
        Array(Set((0...2).map { _ in ClusterID(someLabel(&random)) })).sorted()
    }

    private static func somePort(_ random: inout some RandomNumberGenerator) -> UInt16 {
        UInt16.random(in: 1...65_535, using: &random)
    }

    private static func someLocality(_ random: inout some RandomNumberGenerator) -> Locality {
        pick([.unknown, Locality(region: "us-east", zone: ""), Locality(region: "r1", zone: "1")], &random)
    }

    private static func someDuration(
        _ random: inout some RandomNumberGenerator, _ range: ClosedRange<Int> = 1...86_400_000
    )
        -> Duration
    {
        .milliseconds(Int.random(in: range, using: &random))
    }

    private static func ports(_ random: inout some RandomNumberGenerator) -> [ServicePort] {
        let protocols = AppProtocol.allCases
        return (0..<Int.random(in: 1...3, using: &random)).map { index in
            ServicePort(
                name: "p\(index)", port: UInt16(80 + index), appProtocol: pick(protocols, &random))
        }
    }

    private static func service(_ random: inout some RandomNumberGenerator) -> ServiceObject {
        var list: [ServiceObject.Port] = []
        for port in ports(&random) {
            let target: ServiceObject.Target = pick(
                [.number(port.port), .number(somePort(&random)), .name(someLabel(&random).description)], &random)
            list.append(.init(port: port, target: target))
        }
        return ServiceObject(
            ports: list, selector: pick([[:], ["app": "yes"], ["a": "b", "example.com/c": ""]], &random))
    }

    private static func workload(_ random: inout some RandomNumberGenerator) -> WorkloadObject {
        let pem = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n"
        return WorkloadObject(
            address: pick(["10.0.0.1", "fd00::1", "::ffff:10.0.0.1"], &random),
            ports: pick([[:], ["http": 80, "0": 65_535]], &random), locality: someLocality(&random), network: "",
            serviceAccount: someLabel(&random), weight: UInt32.random(in: 1...1_000_000, using: &random),
            security: pick([.mesh, .mutual, .plain, .simple(roots: pem)], &random))
    }

    private static func imports(_ random: inout some RandomNumberGenerator) -> ImportObject {
        var rules: [ImportObject.Rule] = []
        for _ in 0..<Int.random(in: 0...3, using: &random) {
            let rule = ImportObject.Rule(
                cluster: pick([nil, ClusterID(someLabel(&random))], &random), namespace: someLabel(&random),
                service: pick([nil, someLabel(&random)], &random))
            if !rules.contains(rule) { rules.append(rule) }
        }
        return ImportObject(rules: rules, plainNames: Bool.random(using: &random))
    }

    private static func targets(_ namespace: Label, _ random: inout some RandomNumberGenerator) -> [ObjectName] {
        Array(Set((0...1).map { _ in ObjectName(namespace: namespace, name: someLabel(&random)) })).sorted()
    }

    private static func traffic(_ namespace: Label, _ random: inout some RandomNumberGenerator) -> TrafficPolicyObject {
        var settings = TrafficSettings()
        var fields: Set<TrafficField> = []
        let clusters = someClusters(&random)
        let split = Int.random(in: 0...clusters.count, using: &random)
        let chosen = TrafficField.allCases.filter { _ in Bool.random(using: &random) }
        for field in chosen.isEmpty ? [.attempts] : chosen {
            fields.insert(field)
            switch field {
            case .failoverOrder: settings.failoverOrder = Array(clusters[..<split])
            case .failoverExclude: settings.failoverExcluded = Array(clusters[split...])
            case .connectTimeout: settings.connectTimeout = someDuration(&random)
            case .handshakeTimeout: settings.handshakeTimeout = someDuration(&random)
            case .headersTimeout: settings.headersTimeout = someDuration(&random)
            case .connectionIdleTimeout: settings.connectionIdleTimeout = someDuration(&random)
            case .maximumConnectionAge: settings.maximumConnectionAge = someDuration(&random)
            case .requestTimeout: settings.requestTimeout = someDuration(&random, 3_600_000...86_400_000)
            case .perTryTimeout: settings.perTryTimeout = someDuration(&random, 0...15_000)
            case .idleTimeout: settings.idleTimeout = someDuration(&random)
            case .attempts: settings.maximumAttempts = Int.random(in: 1...10, using: &random)
            case .budgetPercent: settings.retryBudgetPercent = Int.random(in: 0...100, using: &random)
            case .budgetMinimumPerSecond: settings.retryBudgetMinimumPerSecond = Int.random(in: 0...9, using: &random)
            case .consecutiveErrors: settings.ejectAfter = Int.random(in: 1...10_000, using: &random)
            case .ejectionTime: settings.ejectionTime = someDuration(&random)
            case .maximumEjectionPercent: settings.maximumEjectionPercent = Int.random(in: 0...100, using: &random)
            case .probeInterval: settings.probeInterval = someDuration(&random, 50...3_600_000)
            case .maximumRequestsPerEndpoint:
                settings.maximumRequestsPerEndpoint = Int.random(in: 1...1_000_000, using: &random)
            case .staleness:
                settings.maximumStaleness = pick([nil, someDuration(&random, 15_000...90_000_000)], &random)
            }
        }
        return TrafficPolicyObject(targets: targets(namespace, &random), settings: settings, fields: fields)
    }

    private static func limits(_ namespace: Label, _ random: inout some RandomNumberGenerator) -> RateLimitPolicyObject
    {
        let rules = (0...Int.random(in: 0...2, using: &random)).map { index in
            LimitRule(
                name: "r\(index)", requests: Int.random(in: 1...1_000_000, using: &random), per: someDuration(&random),
                burst: Int.random(in: 1...1_000, using: &random), subject: pick([.service, .caller], &random),
                mode: pick([.enforce, .shadow], &random))
        }
        return RateLimitPolicyObject(targets: targets(namespace, &random), rules: rules)
    }

    private static func authorization(_ metadata: ObjectMetadata, _ random: inout some RandomNumberGenerator)
        -> AuthorizationPolicyObject
    {
        let action: AuthorizationRule.Action = pick([.allow, .deny], &random)
        let name = "\(metadata.namespace)/\(metadata.name)"
        guard let id = SPIFFEID("spiffe://east.mesh/ns/shop/sa/web"), let prefix = ASCIIText("spiffe://a/b/") else {
            preconditionFailure("valid names")
        }
        var rules: [AuthorizationRule] = []
        for index in 0..<Int.random(in: action == .allow ? 0...3 : 1...3, using: &random) {
            let callers: [CallerPattern] = pick(
                [
                    [.any], [.identity(id)], [.prefix(prefix), .identity(id)],
                    [.identity(id), .trustDomain(someDomain(&random))],
                ], &random)
            rules.append(
                AuthorizationRule(
                    name: "\(name)#\(index)", action: action, callers: callers, ports: pick([[], [80, 443]], &random)))
        }
        if rules.isEmpty { rules = [AuthorizationRule(name: "\(name)#0", action: .allow, callers: [])] }
        return AuthorizationPolicyObject(targets: targets(metadata.namespace, &random), rules: rules)
    }

    private static func mesh(_ random: inout some RandomNumberGenerator) -> MeshPolicyObject {
        var settings = MeshSettings()
        settings.mutualTLS = pick([.strict, .permissive], &random)
        if Bool.random(using: &random) {
            return MeshPolicyObject(targets: targets(label("shop"), &random), settings: settings, sponsors: nil)
        }
        settings.acceptAttested = pick([[], [someDomain(&random)]], &random)
        settings.tracingSamplePercent = pick([0, 0.5, 1, 33.25, 100], &random)
        settings.accessLog = Bool.random(using: &random)
        return MeshPolicyObject(
            targets: [], settings: settings, sponsors: pick([nil, [], someClusters(&random)], &random))
    }

    private static func member(_ random: inout some RandomNumberGenerator) -> MemberObject {
        let gateways = (0..<Int.random(in: 0...2, using: &random)).map { index in
            GatewayAddress(
                name: label("gw-\(index)"), address: "fd00::\(index + 1)", port: somePort(&random),
                locality: someLocality(&random))
        }
        let offers = (0..<Int.random(in: 0...2, using: &random)).map { _ in
            MemberObject.Offer(
                name: ObjectName(namespace: someLabel(&random), name: someLabel(&random)), ports: ports(&random),
                capacity: RemoteCapacity(locality: someLocality(&random), healthyCount: 2, capacity: 3))
        }
        let pem = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n"
        return MemberObject(
            trustDomain: someDomain(&random), gateways: gateways, services: offers, bundle: pick(["", pem], &random))
    }
}
