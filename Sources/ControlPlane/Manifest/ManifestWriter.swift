package import MeshModel

/// `MeshObject` → canonical YAML and JSON, which `ManifestReader` reads back as an equal object.
///
/// The same object gives the same bytes: keys have one order, labels and annotations are sorted, defaults are left out.
package enum ManifestWriter {
    /// One document, with a line end and no `---`.
    package static func yaml(_ object: MeshObject) -> String { value(object).yaml }

    /// Documents separated by `---`.
    package static func yaml(_ objects: [MeshObject]) -> String {
        objects.map { value($0).yaml }.joined(separator: "---\n")
    }

    /// Compact JSON without a line end: the bytes that a store keeps.
    package static func json(_ object: MeshObject) -> String { value(object).json }

    /// For a person: one object, or a Kubernetes `List` of several.
    package static func prettyJSON(_ objects: [MeshObject], asList: Bool = false) -> String {
        if objects.count == 1, !asList { return value(objects[0]).prettyJSON }
        return ManifestValue.mapping([
            ("apiVersion", .string("v1")), ("kind", .string("List")), ("items", .list(objects.map(value))),
        ]).prettyJSON
    }

    /// Reads what `json` wrote.
    ///
    /// - Throws: `ManifestError` for anything else, also for bytes that are no UTF-8.
    package static func object(fromJSON bytes: [UInt8], file: String) throws(ManifestError) -> MeshObject {
        let location = SourceLocation(file: file, line: 1)
        func refused(_ what: String) -> ManifestError {
            ManifestError(problems: [ObjectProblem(location: location, subject: "", path: "", what: what, advice: "")])
        }
        guard let text = String(validating: bytes, as: UTF8.self) else { throw refused("is no UTF-8 text") }
        let objects = try ManifestReader.objects(in: text, file: file)
        guard objects.count == 1 else { throw refused("holds \(objects.count) objects instead of one") }
        return objects[0]
    }

    static func value(_ object: MeshObject) -> ManifestValue {
        var metadata: [(String, ManifestValue)] = [("name", .string("\(object.metadata.name)"))]
        if !object.isClusterScoped { metadata.append(("namespace", .string("\(object.metadata.namespace)"))) }
        if !object.metadata.labels.isEmpty { metadata.append(("labels", strings(object.metadata.labels))) }
        var annotations = object.metadata.annotations
        var spec: ManifestValue?
        switch object.body {
        case .cluster(let body): spec = cluster(body)
        case .service(let body): spec = service(body)
        case .workload(let body): spec = workload(body)
        case .serviceExport(let body):
            annotations[MetadataDecoder.exportTo] = body.scope == .all ? nil : body.scope.annotation
            annotations[MetadataDecoder.plainNames] = body.plainNames ? "true" : nil
        case .importRules(let body): spec = importRules(body)
        case .trafficPolicy(let body): spec = PolicyWriter.traffic(body)
        case .rateLimitPolicy(let body): spec = PolicyWriter.rateLimit(body)
        case .authorizationPolicy(let body): spec = PolicyWriter.authorization(body)
        case .meshPolicy(let body): spec = PolicyWriter.mesh(body)
        case .member(let body): spec = member(body)
        case .gateway(let body): spec = gateway(body)
        }
        if !annotations.isEmpty { metadata.append(("annotations", strings(annotations))) }
        var entries: [(String, ManifestValue)] = [
            ("apiVersion", .string(apiVersion(object))), ("kind", .string(object.kind)),
            ("metadata", .mapping(metadata)),
        ]
        if let spec { entries.append(("spec", spec)) }
        return .mapping(entries)
    }

    private static func apiVersion(_ object: MeshObject) -> String {
        switch object.kind {
        case "Service": "v1"
        case "ServiceExport": "multicluster.x-k8s.io/v1beta1"
        default: ManifestReader.apiVersion
        }
    }

    static func strings(_ values: [String: String]) -> ManifestValue {
        .mapping(values.sorted { $0.key < $1.key }.map { ($0.key, .string($0.value)) })
    }

    static func names(_ values: [some CustomStringConvertible]) -> ManifestValue {
        .list(values.map { .string($0.description) })
    }

    private static func cluster(_ body: ClusterObject) -> ManifestValue {
        var entries: [(String, ManifestValue)] = [("trustDomain", .string("\(body.trustDomain)"))]
        if !body.brokerAddresses.isEmpty { entries.append(("brokerAddresses", names(body.brokerAddresses))) }
        return .mapping(entries)
    }

    private static func port(_ port: ServicePort) -> [(String, ManifestValue)] {
        var entries: [(String, ManifestValue)] = []
        if !port.name.isEmpty { entries.append(("name", .string(port.name))) }
        entries.append(("port", .integer(Int(port.port))))
        if let spelling = port.appProtocol.spelling { entries.append(("appProtocol", .string(spelling))) }
        return entries
    }

    private static func service(_ body: ServiceObject) -> ManifestValue {
        let ports: [ManifestValue] = body.ports.map { item in
            var entries = port(item.port)
            switch item.target {
            case .number(let number) where number == item.port.port: break
            case .number(let number): entries.append(("targetPort", .integer(Int(number))))
            case .name(let name): entries.append(("targetPort", .string(name)))
            }
            return .mapping(entries)
        }
        var entries: [(String, ManifestValue)] = []
        if !body.selector.isEmpty { entries.append(("selector", strings(body.selector))) }
        entries.append(("ports", .list(ports)))
        return .mapping(entries)
    }

    private static func workload(_ body: WorkloadObject) -> ManifestValue {
        var entries: [(String, ManifestValue)] = [("address", .string(body.address))]
        if !body.ports.isEmpty {
            let ports = body.ports.sorted { $0.key < $1.key }.map { ($0.key, ManifestValue.integer(Int($0.value))) }
            entries.append(("ports", .mapping(ports)))
        }
        if body.locality != .unknown { entries.append(("locality", .string(body.locality.description))) }
        if !body.network.isEmpty { entries.append(("network", .string(body.network))) }
        if body.serviceAccount.description != "default" {
            entries.append(("serviceAccount", .string("\(body.serviceAccount)")))
        }
        if body.weight != 1 { entries.append(("weight", .integer(Int(body.weight)))) }
        switch body.security {
        case .mesh: break
        case .mutual: entries.append(("tls", .string("mutual")))
        case .plain: entries.append(("tls", .string("plain")))
        case .simple(let roots):
            entries.append(("tls", .mapping([("mode", .string("simple")), ("ca", .string(roots))])))
        }
        return .mapping(entries)
    }

    private static func importRules(_ body: ImportObject) -> ManifestValue {
        let rules: [ManifestValue] = body.rules.map { rule in
            var entries: [(String, ManifestValue)] = []
            if let cluster = rule.cluster { entries.append(("cluster", .string("\(cluster)"))) }
            entries.append(("namespace", .string("\(rule.namespace)")))
            if let service = rule.service { entries.append(("service", .string("\(service)"))) }
            return .mapping(entries)
        }
        var entries: [(String, ManifestValue)] = [("rules", .list(rules))]
        if body.plainNames { entries.append(("plainNames", .boolean(true))) }
        return .mapping(entries)
    }

    private static func locality(_ locality: Locality) -> [(String, ManifestValue)] {
        var entries: [(String, ManifestValue)] = []
        if !locality.region.isEmpty { entries.append(("region", .string(locality.region))) }
        if !locality.zone.isEmpty { entries.append(("zone", .string(locality.zone))) }
        return entries
    }

    private static func gateway(_ body: GatewayObject) -> ManifestValue {
        .mapping(
            [("address", .string(body.address)), ("port", .integer(Int(body.port)))] + locality(body.locality))
    }

    private static func member(_ body: MemberObject) -> ManifestValue {
        var entries: [(String, ManifestValue)] = [("trustDomain", .string("\(body.trustDomain)"))]
        let gateways: [ManifestValue] = body.gateways.map { gateway in
            let head: [(String, ManifestValue)] = [
                ("name", .string("\(gateway.name)")), ("address", .string(gateway.address)),
                ("port", .integer(Int(gateway.port))),
            ]
            return .mapping(head + locality(gateway.locality))
        }
        entries.append(("gateways", .list(gateways)))
        let services: [ManifestValue] = body.services.map { offer in
            let head: [(String, ManifestValue)] = [
                ("namespace", .string("\(offer.name.namespace)")), ("name", .string("\(offer.name.name)")),
                ("ports", .list(offer.ports.map { .mapping(port($0)) })),
                ("healthy", .integer(Int(offer.capacity.healthyCount))),
                ("capacity", .integer(Int(offer.capacity.capacity))),
            ]
            return .mapping(head + locality(offer.capacity.locality))
        }
        if !services.isEmpty { entries.append(("services", .list(services))) }
        if !body.bundle.isEmpty { entries.append(("bundle", .string(body.bundle))) }
        return .mapping(entries)
    }
}

extension ExportScope {
    /// The value of `meshfed.io/export-to`; `.none` has no spelling and counts as nobody known: the empty list.
    var annotation: String {
        switch self {
        case .none: ""
        case .all: "*"
        case .clusters(let clusters): clusters.map(\.description).joined(separator: ",")
        }
    }
}
