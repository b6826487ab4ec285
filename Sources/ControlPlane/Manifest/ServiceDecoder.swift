internal import MeshModel

/// The specs of Service, Workload, ServiceExport, Import and Cluster.
enum ServiceDecoder {
    // MARK: Service

    static func service(_ spec: inout Fields) -> MeshObject.Body? {
        let selector = spec.optional("selector").map(MetadataDecoder.labels) ?? [:]
        let ports = spec.required("ports", example: "ports: [{name: http, port: 80, targetPort: 8080}]")
        if let type = spec.optional("type") {
            _ = type.choice(
                ["ClusterIP": true, "NodePort": true, "LoadBalancer": true], later: ["ExternalName"])
        }
        spec.ignore(
            "clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "externalIPs", "externalTrafficPolicy",
            "allocateLoadBalancerNodePorts", "loadBalancerIP", "loadBalancerClass", "loadBalancerSourceRanges",
            "healthCheckNodePort", "sessionAffinityConfig", "trafficDistribution", "publishNotReadyAddresses")
        if let affinity = spec.optional("sessionAffinity") {
            _ = affinity.choice(["None": true], later: ["ClientIP"])
        }
        if let policy = spec.optional("internalTrafficPolicy") {
            _ = policy.choice(["Cluster": true], later: ["Local"])
        }
        spec.unavailable("externalName")
        guard let ports, let selector, let list: [ServiceObject.Port] = ports.list(maximum: 256, servicePort) else {
            return nil
        }
        guard !list.isEmpty else {
            ports.report("is empty", "a Service has at least one port")
            return nil
        }
        return checkPorts(list.map(\.port), ports) ? .service(ServiceObject(ports: list, selector: selector)) : nil
    }

    private static func servicePort(_ field: Field) -> ServiceObject.Port? {
        guard var fields = field.fields() else { return nil }
        defer { fields.finish() }
        let port = portHead(&fields)
        let target: ServiceObject.Target? =
            switch fields.optional("targetPort") {
            case nil: port.map { .number($0.port) }
            case .some(let field): targetPort(field)
            }
        if let transport = fields.optional("protocol") {
            _ = transport.choice(["TCP": true], later: ["UDP", "SCTP"])
        }
        fields.ignore("nodePort")
        guard let port, let target else { return nil }
        return ServiceObject.Port(port: port, target: target)
    }

    /// `port`, `name` and `appProtocol`, as Service and Member have them.
    static func portHead(_ fields: inout Fields) -> ServicePort? {
        let name = fields.optional("name").map { $0.label() }
        let number = fields.required("port", example: "port: 80")?.port()
        let declared = fields.optional("appProtocol")
        let written = declared?.string()
        guard let number else { return nil }
        if name == .some(nil) || (declared != nil && written == nil) { return nil }
        let text = name.flatMap { $0?.description } ?? ""
        guard let written, let declared else {
            return ServicePort(name: text, port: number, appProtocol: AppProtocol.named(by: text))
        }
        guard let known = AppProtocol.declared(as: written) else {
            declared.report(
                "\(quoted(written)) is no protocol of the mesh",
                "one of: \(AppProtocol.spellings.joined(separator: ", ")); tcp carries any bytes")
            return nil
        }
        return ServicePort(name: text, port: number, appProtocol: known)
    }

    /// Kubernetes' rules: every port number once, every name once, and a name where there are several.
    static func checkPorts(_ ports: [ServicePort], _ field: Field) -> Bool {
        var numbers: Set<UInt16> = []
        var names: Set<String> = []
        for (index, port) in ports.enumerated() {
            if !numbers.insert(port.port).inserted {
                field.report("port \(port.port) is there twice, again as element \(index)", "remove one of them")
                return false
            }
            if port.name.isEmpty, ports.count > 1 {
                field.report("element \(index) has no name", "with several ports each one needs a name")
                return false
            }
            if !port.name.isEmpty, !names.insert(port.name).inserted {
                field.report("name \(port.name) is there twice, again as element \(index)", "rename one of them")
                return false
            }
        }
        return true
    }

    private static func targetPort(_ field: Field) -> ServiceObject.Target? {
        if case .scalar(let text, plain: true) = field.node.value, ScalarGrammar.integer(Array(text.utf8)) != nil {
            return field.port().map { .number($0) }
        }
        return field.label().map { .name($0.description) }
    }

    // MARK: Workload

    static func workload(_ spec: inout Fields, _ metadata: inout ObjectMetadata) -> MeshObject.Body? {
        let address = spec.required("address", example: "address: 10.1.0.12")?.address()
        let ports = spec.optional("ports").map(namedPorts) ?? [:]
        let locality = spec.optional("locality").map(Self.locality) ?? .unknown
        spec.unavailable("network", instead: "every workload of a cluster is taken to be reachable in it")
        let account = spec.optional("serviceAccount").map { $0.label() } ?? Label("default")
        let weight = spec.optional("weight").map { $0.integer(in: 1...1_000_000) } ?? 1
        let security = spec.optional("tls").map(Self.security) ?? .mesh
        if let field = spec.optional("labels"), let labels = MetadataDecoder.labels(field) {
            for (key, value) in labels {
                if let other = metadata.labels[key], other != value {
                    field.report("\(key) is \(quoted(value)) here and \(quoted(other)) in metadata", "keep one of them")
                }
                metadata.labels[key] = value
            }
        }
        guard let address, let ports, let locality, let account, let weight, let security else {
            return nil
        }
        return .workload(
            WorkloadObject(
                address: address, ports: ports, locality: locality, network: "", serviceAccount: account,
                weight: UInt32(clamping: weight), security: security))
    }

    static func namedPorts(_ field: Field) -> [String: UInt16]? {
        field.dictionary { name, value in
            guard Label(name) != nil else {
                value.report("\(quoted(name)) is no port name", "1 to 63 of a-z, 0-9 and -")
                return nil
            }
            return value.port()
        }
    }

    /// Istio's `region/zone` (a further `/subzone` is refused), or `{region: …, zone: …}`.
    static func locality(_ field: Field) -> Locality? {
        if case .mapping = field.node.value, var fields = field.fields() {
            defer { fields.finish() }
            return regionAndZone(&fields)
        }
        guard let text = field.string() else { return nil }
        let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard parts.count <= 2, parts.allSatisfy({ !$0.isEmpty }) else {
            field.report("\(quoted(text)) is no locality", "region or region/zone, for example us-east/us-east-1a")
            return nil
        }
        return Locality(region: parts[0], zone: parts.count == 2 ? parts[1] : "")
    }

    /// Keys `region` and `zone` of the same mapping; a zone needs a region.
    static func regionAndZone(_ fields: inout Fields) -> Locality? {
        let region = fields.optional("region").map(place) ?? ""
        let zoneField = fields.optional("zone")
        let zone = zoneField.map(place) ?? ""
        guard let region, let zone else { return nil }
        guard zone.isEmpty || !region.isEmpty else {
            zoneField?.report("has no region", "write the region beside the zone")
            return nil
        }
        return Locality(region: region, zone: zone)
    }

    /// One region or zone: text without a slash.
    static func place(_ field: Field) -> String? {
        guard let text = field.string(maximum: 63) else { return nil }
        guard !text.contains("/"), !text.contains(" ") else {
            field.report("\(quoted(text)) holds a slash or a space", "for example us-east-1a")
            return nil
        }
        return text
    }

    static func security(_ field: Field) -> EndpointSecurity? {
        guard case .mapping = field.node.value, var fields = field.fields() else {
            let mode: EndpointSecurity? = field.choice(["mesh": .mesh, "mutual": .mutual, "plain": .plain], later: [])
            return mode
        }
        defer { fields.finish() }
        let mode: String? = fields.required("mode", example: "mode: simple")?.choice([
            "mesh": "mesh", "mutual": "mutual", "simple": "simple", "plain": "plain",
        ])
        let inline = fields.optional("ca")
        let named = fields.optional("caFile")
        guard let mode else { return nil }
        guard mode == "simple" else {
            for key in [inline, named].compactMap({ $0 }) { key.report("belongs to mode simple only", "remove it") }
            return mode == "mesh" ? .mesh : mode == "mutual" ? .mutual : .plain
        }
        guard let roots = certificates(inline: inline, named: named, fields, key: "ca") else { return nil }
        return .simple(roots: roots)
    }

    /// PEM text given in the object (`ca`) or in a file that it names (`caFile`): exactly one of them.
    static func certificates(inline: Field?, named: Field?, _ fields: Fields, key: String) -> String? {
        switch (inline, named) {
        case (nil, nil):
            fields.report("has neither \(key) nor \(key)File", "\(key)File: certs/backend-ca.pem")
        case (.some(let field), .some):
            field.report("stands beside \(key)File", "keep one of them")
        case (.some(let field), nil):
            guard let text = field.string(maximum: 262_144, multiline: true) else { return nil }
            if PEMText.certificates(text) != nil { return text }
            field.report("is no PEM text of certificates", "-----BEGIN CERTIFICATE----- …")
        case (nil, .some(let field)):
            guard let path = field.string(maximum: 4_096) else { return nil }
            guard let bytes = field.scope.attachment(path) else {
                field.report("\(quoted(path)) cannot be read here", "check the path, or give the text as \(key)")
                return nil
            }
            guard let text = String(validating: bytes, as: UTF8.self), PEMText.certificates(text) != nil else {
                field.report("\(quoted(path)) is no PEM file of certificates", "-----BEGIN CERTIFICATE----- …")
                return nil
            }
            return text
        }
        return nil
    }

    // MARK: ServiceExport, Import, Cluster

    static func serviceExport(_ spec: Field?, metadata: ObjectMetadata, scope: Scope) -> MeshObject.Body? {
        if let spec, var fields = spec.fields() {
            fields.unavailable("exportedLabels", "exportedAnnotations")
            fields.finish()
        }
        let line = metadata.location.line
        var exportScope = ExportScope.all
        if let text = metadata.annotations[MetadataDecoder.exportTo] {
            guard let read = ExportScope(annotation: text) else {
                scope.report(
                    line: line, path: "metadata.annotations.\(MetadataDecoder.exportTo)",
                    "\(quoted(text)) is no list of clusters", "'*', or names with commas: west,north")
                return nil
            }
            exportScope = read
        }
        var plainNames = false
        if let text = metadata.annotations[MetadataDecoder.plainNames] {
            guard let value = ScalarGrammar.boolean(Array(text.utf8)) else {
                scope.report(
                    line: line, path: "metadata.annotations.\(MetadataDecoder.plainNames)",
                    "\(quoted(text)) is neither \"true\" nor \"false\"", "\"true\" or \"false\", quoted")
                return nil
            }
            plainNames = value
        }
        return .serviceExport(ServiceExportObject(scope: exportScope, plainNames: plainNames))
    }

    static func importRules(_ spec: inout Fields) -> MeshObject.Body? {
        let rules = spec.required("rules", example: "rules: [{namespace: shop}]")
        let plainNames = spec.optional("plainNames").map { $0.boolean() } ?? false
        guard let list: [ImportObject.Rule] = rules?.set(importRule), let plainNames else { return nil }
        return .importRules(ImportObject(rules: list, plainNames: plainNames))
    }

    private static func importRule(_ field: Field) -> ImportObject.Rule? {
        guard var fields = field.fields() else { return nil }
        defer { fields.finish() }
        let cluster = fields.optional("cluster").map { $0.cluster() }
        let namespaceField = fields.required("namespace", example: "namespace: shop")
        let namespace = namespaceField?.label()
        let service = fields.optional("service").map { $0.label() }
        guard let namespace, cluster != .some(nil), service != .some(nil) else { return nil }
        guard !ImportObject.isReserved(namespace) else {
            namespaceField?.report("\(namespace) is never imported", "kube-* and meshfed-* stay in their cluster")
            return nil
        }
        return ImportObject.Rule(
            cluster: cluster.flatMap { $0 }, namespace: namespace, service: service.flatMap { $0 })
    }

    static func cluster(_ spec: inout Fields, _ metadata: ObjectMetadata) -> MeshObject.Body? {
        let domain = spec.optional("trustDomain").map { $0.trustDomain() } ?? TrustDomain("\(metadata.name).mesh")
        let addresses = spec.optional("brokerAddresses").map { $0.set(maximum: 16) { $0.hostPort() } } ?? []
        guard let domain, let addresses else { return nil }
        return .cluster(
            ClusterObject(cluster: ClusterID(metadata.name), trustDomain: domain, brokerAddresses: addresses))
    }
}
