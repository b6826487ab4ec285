internal import MeshModel

/// A `Topology` document → `Topology`.
enum TopologyDecoder {
    static func topology(in document: YAMLNode, scope: Scope) -> Topology? {
        let root = Field(node: document, path: "", line: document.line, scope: scope)
        scope.subject = "Topology"
        guard var fields = root.fields() else { return nil }
        defer { fields.finish() }
        if let version = fields.required("apiVersion", example: ManifestReader.apiVersion) {
            _ = version.choice([ManifestReader.apiVersion: true])
        }
        _ = fields.required("kind", example: "Topology")
        var metadata = fields.required("metadata", example: "metadata: {name: two-clusters}")?.fields()
        let name = metadata?.required("name", example: "name: two-clusters")?.label()
        metadata?.finish()
        if let name { scope.subject = "Topology \(name)" }
        guard var spec = fields.required("spec", example: "spec: {clusters: […]}")?.fields() else { return nil }
        defer { spec.finish() }
        let wan = Self.wan(spec.optional("wan"))
        let list = spec.required("clusters", example: "clusters: [{name: east, subnet: 10.1.0.0/24}]")
        let clusters: [TopologyCluster]? = list?.list(maximum: 32) { cluster($0, scope) }
        let joins: [TopologyJoin]? = spec.optional("joins").map { $0.list(maximum: 1_024, join) } ?? []
        guard let name, let wan, let clusters, let joins, let list else { return nil }
        guard !clusters.isEmpty else {
            list.report("is empty", "a topology has at least one cluster")
            return nil
        }
        let topology = Topology(
            name: name, location: SourceLocation(file: scope.file, line: document.line), wan: wan, clusters: clusters,
            joins: joins)
        check(topology, list)
        return topology
    }

    /// Gives plain objects of the file to the clusters that they name.
    static func distribute(_ objects: [MeshObject], into topology: inout Topology, scope: Scope) {
        for object in objects {
            if object.isStandaloneOnly || object.kind == "Cluster" {
                let inner = scope.sibling()
                inner.subject = object.subject
                inner.report(
                    line: object.metadata.location.line, path: "", "does not belong to a topology",
                    "its brokers know that by themselves; remove it")
                continue
            }
            var plain = object
            let named = plain.metadata.annotations.removeValue(forKey: MetadataDecoder.cluster)
            var wanted: [ClusterID] = topology.clusters.map(\.name)
            if let named {
                let scopeOfNames = ExportScope(annotation: named)
                guard case .clusters(let clusters) = scopeOfNames else {
                    report(object, scope, "\(quoted(named)) is no list of clusters", "names with commas: east,west")
                    continue
                }
                if let unknown = clusters.first(where: { !wanted.contains($0) }) {
                    report(object, scope, "cluster \(unknown) is not in this topology", "add it or correct the name")
                    continue
                }
                wanted = clusters
            }
            for index in topology.clusters.indices where wanted.contains(topology.clusters[index].name) {
                topology.clusters[index].objects.append(plain)
            }
        }
    }

    private static func report(_ object: MeshObject, _ scope: Scope, _ what: String, _ advice: String) {
        let inner = scope.sibling()
        inner.subject = object.subject
        inner.report(
            line: object.metadata.location.line, path: "metadata.annotations.\(MetadataDecoder.cluster)", what, advice)
    }

    private static func wan(_ field: Field?) -> IPv4Network? {
        guard let field else { return IPv4Network("172.31.0.0/24") }
        guard var fields = field.fields() else { return nil }
        defer { fields.finish() }
        return fields.required("subnet", example: "subnet: 172.31.0.0/24").flatMap(network)
    }

    private static func network(_ field: Field) -> IPv4Network? {
        guard let text = field.string() else { return nil }
        if let network = IPv4Network(text) { return network }
        field.report("\(quoted(text)) is no IPv4 network", "for example 10.1.0.0/24: prefix 8 to 29, host bits zero")
        return nil
    }

    private static func cluster(_ field: Field, _ scope: Scope) -> TopologyCluster? {
        guard var fields = field.fields() else { return nil }
        defer { fields.finish() }
        let name = fields.required("name", example: "name: east")?.cluster()
        let domain =
            fields.optional("trustDomain").map { $0.trustDomain() } ?? name.flatMap { TrustDomain("\($0).mesh") }
        let region = fields.optional("region").map(ServiceDecoder.place) ?? ""
        let subnet = fields.required("subnet", example: "subnet: 10.1.0.0/24").flatMap(network)
        let broker: TopologyBroker? = fields.optional("broker").map(Self.broker) ?? TopologyBroker()
        let gateways: [TopologyGateway]? =
            fields.optional("gateways").map { $0.list(maximum: 16, Self.gateway) } ?? []
        let podField = fields.optional("pods")
        let pods: [TopologyPod]? = podField.map { $0.list(maximum: 200, PodDecoder.pod) } ?? []
        var objects: [MeshObject] = []
        if let list = fields.optional("objects")?.list(maximum: 1_000) {
            for item in list { objects += DocumentDecoder.objects(in: item.node, scope: scope.sibling()) }
        }
        guard let name, let domain, let region, let subnet, let broker, let gateways, let pods else { return nil }
        for object in objects where object.isStandaloneOnly || object.kind == "Cluster" {
            field.report("holds \(object.subject)", "a topology's brokers know that by themselves; remove it")
        }
        if let twice = firstTwice(gateways.map(\.name)) {
            field.report("gateway \(twice) is there twice", "rename one of them")
        }
        if let twice = firstTwice(pods.map { ObjectName(namespace: $0.namespace, name: $0.name) }) {
            podField?.report("pod \(twice) is there twice", "rename one of them")
        }
        if !pods.isEmpty, region.isEmpty, pods.contains(where: { !$0.zone.isEmpty }) {
            field.report("has pods with a zone but no region", "region: us-east")
        }
        if gateways.count + pods.count + 2 > subnet.hostCount {
            field.report(
                "\(subnet) has \(subnet.hostCount) addresses for \(gateways.count + pods.count + 2) processes",
                "take a larger subnet")
        }
        return TopologyCluster(
            name: name, trustDomain: domain, region: region, subnet: subnet, broker: broker, gateways: gateways,
            pods: pods, objects: objects)
    }

    private static func broker(_ field: Field) -> TopologyBroker? {
        guard var fields = field.fields() else { return nil }
        defer { fields.finish() }
        return PodDecoder.arguments(&fields).map(TopologyBroker.init)
    }

    private static func gateway(_ field: Field) -> TopologyGateway? {
        guard var fields = field.fields() else { return nil }
        defer { fields.finish() }
        let name = fields.required("name", example: "name: gw-1")?.label()
        let zone = fields.optional("zone").map(ServiceDecoder.place) ?? ""
        let arguments = PodDecoder.arguments(&fields)
        guard let name, let zone, let arguments else { return nil }
        return TopologyGateway(name: name, zone: zone, arguments: arguments)
    }

    private static func join(_ field: Field) -> TopologyJoin? {
        guard var fields = field.fields() else { return nil }
        defer { fields.finish() }
        let cluster = fields.required("cluster", example: "cluster: west")?.cluster()
        let sponsor = fields.required("to", example: "to: east")?.cluster()
        let imports: [String]? = fields.optional("import").map { $0.set(importName) } ?? []
        guard let cluster, let sponsor, let imports else { return nil }
        return TopologyJoin(cluster: cluster, sponsor: sponsor, imports: imports)
    }

    /// `shop` or `orders/api`, as `join --import` takes it.
    private static func importName(_ field: Field) -> String? {
        guard let text = field.string() else { return nil }
        guard let namespace = Label(text) ?? ObjectName(text)?.namespace else {
            field.report("\(quoted(text)) is no import", "a namespace, or namespace/service")
            return nil
        }
        guard !ImportObject.isReserved(namespace) else {
            field.report("\(namespace) is never imported", "kube-* and meshfed-* stay in their cluster")
            return nil
        }
        return text
    }

    private static func check(_ topology: Topology, _ list: Field) {
        let names = topology.clusters.map(\.name)
        if let twice = firstTwice(names) { list.report("cluster \(twice) is there twice", "rename one of them") }
        if let twice = firstTwice(topology.clusters.map(\.trustDomain)) {
            list.report("trust domain \(twice) is there twice", "each cluster has its own")
        }
        var networks: [(String, IPv4Network)] = [("wan", topology.wan)]
        for cluster in topology.clusters {
            for (owner, network) in networks where network.overlaps(cluster.subnet) {
                list.report("subnet \(cluster.subnet) of \(cluster.name) overlaps that of \(owner)", "take another one")
            }
            networks.append(("\(cluster.name)", cluster.subnet))
        }
        for join in topology.joins {
            for cluster in [join.cluster, join.sponsor] where !names.contains(cluster) {
                list.report("joins names \(cluster), which is not in this topology", "add it or correct the name")
            }
            if join.cluster == join.sponsor { list.report("\(join.cluster) joins itself", "name two clusters") }
        }
    }

    private static func firstTwice<Name: Hashable>(_ names: [Name]) -> Name? {
        var seen: Set<Name> = []
        return names.first { !seen.insert($0).inserted }
    }
}

/// One entry of `pods`.
enum PodDecoder {
    static func pod(_ field: Field) -> TopologyPod? {
        guard var fields = field.fields() else { return nil }
        defer { fields.finish() }
        let name = fields.required("name", example: "name: web-1")?.label()
        let namespace = fields.optional("namespace").map { $0.label() } ?? Label("default")
        let account = fields.optional("serviceAccount").map { $0.label() } ?? Label("default")
        let zone = fields.optional("zone").map(ServiceDecoder.place) ?? ""
        let labels = fields.optional("labels").map(MetadataDecoder.labels) ?? [:]
        let weight = fields.optional("weight").map { $0.integer(in: 1...1_000_000) } ?? 1
        let appField = fields.optional("app")
        let app = appField.flatMap(Self.app)
        let declaredPorts = fields.optional("ports")
        let ports = declaredPorts.map(ServiceDecoder.namedPorts) ?? [:]
        let tlsField = fields.optional("tls")
        let declared = tlsField.map(ServiceDecoder.security)
        let sidecarField = fields.optional("sidecar")
        var sidecar: TopologySidecar? = TopologySidecar()
        var none = false
        if let sidecarField {
            guard let read = self.sidecar(sidecarField) else { return nil }
            sidecar = read.sidecar
            none = read.sidecar == nil
        } else if case .some(.some(let security)) = declared, security != .mesh {
            sidecar = nil
        }
        guard let name, let namespace, let account, let zone, let labels, let weight, let ports,
            declared != .some(nil), appField == nil || app != nil
        else { return nil }
        let security = declared.flatMap { $0 } ?? (none ? .plain : .mesh)
        if security == .mesh, sidecar == nil {
            sidecarField?.report("none, but tls is mesh", "tls: plain, or leave sidecar out")
        } else if security != .mesh, sidecar != nil {
            tlsField?.report("is not mesh, but the pod has a sidecar", "sidecar: {none: true}, or tls: mesh")
        }
        return TopologyPod(
            name: name, namespace: namespace, serviceAccount: account, zone: zone, labels: labels, app: app,
            sidecar: sidecar, ports: ports, security: security, weight: UInt32(clamping: weight))
    }

    static func arguments(_ fields: inout Fields) -> [String]? {
        fields.optional("args").map {
            $0.list(maximum: 256) { $0.string(maximum: 4_096, multiline: true, empty: true) }
        }
            ?? []
    }

    private static func app(_ field: Field) -> TopologyApp? {
        guard var fields = field.fields() else { return nil }
        defer { fields.finish() }
        let echo = fields.optional("echo")
        let command = fields.optional("command")
        let environment = fields.optional("env")
        if let echo {
            if command != nil || environment != nil {
                field.report("has echo beside command or env", "keep one of them")
                return nil
            }
            return self.echo(echo)
        }
        guard let command else {
            field.report("has neither echo nor command", "echo: {http: [8080]}, or command: [python3, server.py]")
            return nil
        }
        let words: [String]? = command.list(maximum: 256) {
            $0.string(maximum: 65_536, multiline: true, empty: true)
        }
        let additions: [String: String]? =
            environment.map {
                $0.dictionary { name, value in
                    guard !name.isEmpty, !name.contains("=") else {
                        value.report("\(quoted(name)) is no name of a variable", "letters, digits and _")
                        return nil
                    }
                    return value.string(maximum: 65_536, multiline: true, empty: true)
                }
            } ?? [:]
        guard let words, let additions else { return nil }
        guard let program = words.first, !program.isEmpty else {
            command.report("is empty", "program and arguments: [python3, server.py]")
            return nil
        }
        return .command(words, environment: additions)
    }

    private static func echo(_ field: Field) -> TopologyApp? {
        guard var fields = field.fields() else { return nil }
        defer { fields.finish() }
        let lists: [[UInt16]?] = ["http", "grpc", "tcp"].map { key in
            fields.optional(key).map { $0.list(maximum: 32) { $0.port() } } ?? []
        }
        guard let http = lists[0], let grpc = lists[1], let tcp = lists[2] else { return nil }
        let all = http + grpc + tcp
        guard !all.isEmpty, Set(all).count == all.count else {
            field.report(all.isEmpty ? "has no port" : "has a port twice", "echo: {http: [8080], tcp: [7000]}")
            return nil
        }
        return .echo(http: http, grpc: grpc, tcp: tcp)
    }

    private static func sidecar(_ field: Field) -> (sidecar: TopologySidecar?, Void)? {
        guard var fields = field.fields() else { return nil }
        defer { fields.finish() }
        let none = fields.optional("none").map { $0.boolean() } ?? false
        let outboundField = fields.optional("outbound")
        let outbound: [String]? = outboundField.map { $0.set(maximum: 64, self.outbound) } ?? []
        let arguments = Self.arguments(&fields)
        let captureField = fields.optional("capture")
        let capture = captureField.map { $0.boolean() } ?? false
        let redirectField = fields.optional("redirect")
        let redirect: [String]? =
            redirectField.map { $0.list(maximum: 64) { $0.string(maximum: 4_096) } } ?? []
        guard let none, let outbound, let arguments, let capture, let redirect else { return nil }
        if !redirect.isEmpty, !capture {
            redirectField?.report("stands without capture", "capture: true beside it")
            return nil
        }
        guard none else {
            return (
                TopologySidecar(
                    outbound: outbound, arguments: arguments, capture: capture, redirectArguments: redirect), ()
            )
        }
        if !outbound.isEmpty || !arguments.isEmpty || capture {
            field.report("has none: true beside other keys", "keep one of them")
            return nil
        }
        return (nil, ())
    }

    /// `127.0.0.1:3306=mysql.default:3306`: a loopback listener and the mesh name that it stands for.
    private static func outbound(_ field: Field) -> String? {
        guard let text = field.string() else { return nil }
        let parts = text.split(separator: "=", maxSplits: 1).map(String.init)
        guard parts.count == 2, let listener = HostPort(parts[0]), IPLiteral.isLoopback(listener.host),
            HostPort(parts[1]) != nil
        else {
            field.report(
                "\(quoted(text)) is no outbound listener",
                "loopback address and mesh name: 127.0.0.1:3306=mysql.default:3306"
            )
            return nil
        }
        return text
    }
}
