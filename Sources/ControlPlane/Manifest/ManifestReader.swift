package import MeshModel

/// Text of configuration objects (YAML or JSON, several documents, Kubernetes `List`) → `MeshObject`s.
///
/// Each object is checked by itself; what spans several is the Compiler's. All problems of the text are collected.
package enum ManifestReader {
    /// The API group and version of our own kinds.
    package static let apiVersion = "meshfed.io/v1alpha1"

    /// Reads every object of `text`.
    ///
    /// - Parameters:
    ///   - file: the name in locations and problems.
    ///   - attachment: contents of a file that an object names (`caFile`, `bundleFile`), by its path as written; nil
    ///     refuses it. The default reads nothing.
    /// - Throws: `ManifestError` with every problem found.
    package static func objects(
        in text: String, file: String, attachment: @escaping (String) -> [UInt8]? = { _ in nil }
    ) throws(ManifestError) -> [MeshObject] {
        let scope = Scope(file: file, problems: ProblemList(), attachment: attachment)
        var objects: [MeshObject] = []
        for document in YAMLTreeReader.documents(text, scope) {
            objects += DocumentDecoder.objects(in: document, scope: scope.sibling())
        }
        guard scope.problems.isEmpty else { throw scope.problems.error }
        return objects
    }

    /// Reads the topology of `text`: one `Topology` document, and plain objects that go to the clusters named by their
    /// annotation `meshfed.io/cluster` (`east,west`), or to every cluster without it.
    ///
    /// - Throws: `ManifestError` with every problem found.
    package static func topology(
        in text: String, file: String, attachment: @escaping (String) -> [UInt8]? = { _ in nil }
    ) throws(ManifestError) -> Topology {
        let scope = Scope(file: file, problems: ProblemList(), attachment: attachment)
        var topology: Topology?
        var plain: [MeshObject] = []
        for document in YAMLTreeReader.documents(text, scope) {
            let inner = scope.sibling()
            if DocumentDecoder.kind(of: document) == "Topology" {
                guard topology == nil else {
                    inner.report(line: document.line, path: "", "a second Topology", "one for each file")
                    continue
                }
                topology = TopologyDecoder.topology(in: document, scope: inner)
            } else {
                plain += DocumentDecoder.objects(in: document, scope: inner, inTopology: true)
            }
        }
        if topology == nil, scope.problems.isEmpty {
            scope.report(line: 1, path: "", "holds no Topology", "kind: Topology, apiVersion: \(apiVersion)")
        }
        if var found = topology {
            TopologyDecoder.distribute(plain, into: &found, scope: scope)
            topology = found
        }
        guard scope.problems.isEmpty, let topology else { throw scope.problems.error }
        return topology
    }
}

/// One document → objects: the kind decides who decodes the rest.
enum DocumentDecoder {
    private static let own = ManifestReader.apiVersion
    private static let kinds: [String: [String]] = [
        "Service": ["v1"], "ServiceExport": ["multicluster.x-k8s.io/v1alpha1", "multicluster.x-k8s.io/v1beta1"],
        "Cluster": [own], "Workload": [own], "Import": [own], "TrafficPolicy": [own], "RateLimitPolicy": [own],
        "AuthorizationPolicy": [own], "MeshPolicy": [own], "Member": [own], "Gateway": [own],
    ]
    /// Named by the contract or the Gateway API, not built yet.
    private static let later: Set<String> = [
        "EndpointSlice", "HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute", "ServiceImport", "GatewayClass",
        "BackendTLSPolicy", "ReferenceGrant",
    ]

    static func kind(of document: YAMLNode) -> String? {
        guard case .mapping(let entries) = document.value, let entry = entries.first(where: { $0.key == "kind" }),
            case .scalar(let text, _) = entry.value.value
        else { return nil }
        return text
    }

    /// The objects of one document: one, those of a `List`, or none after a problem was reported.
    static func objects(in document: YAMLNode, scope: Scope, inTopology: Bool = false, inList: Bool = false)
        -> [MeshObject]
    {
        let field = Field(node: document, path: "", line: document.line, scope: scope)
        guard case .mapping = document.value, var fields = field.fields() else {
            field.report("is \(document.typeName), not an object", "a mapping with apiVersion, kind, metadata and spec")
            return []
        }
        let version = fields.required("apiVersion", example: "\(own)")?.string()
        guard let kindField = fields.required("kind", example: "Service"), let kind = kindField.string(), let version
        else { return [] }
        scope.subject = kind
        if kind == "List", version == "v1" {
            guard !inList else {
                field.report("a List inside a List", "put the items into one")
                return []
            }
            return items(of: &fields, scope: scope, inTopology: inTopology)
        }
        if later.contains(kind) || (kind == "Gateway" && version.hasPrefix("gateway.networking.k8s.io/")) {
            kindField.report("\(kind) is not available in this version", "remove the object")
            return []
        }
        if kind == "Topology" {
            kindField.report(
                "a Topology is no configuration object", "give the file to meshfed topology up or validate")
            return []
        }
        guard let versions = kinds[kind] else {
            kindField.report("unknown kind \(quoted(kind))", "one of: \(kinds.keys.sorted().joined(separator: ", "))")
            return []
        }
        guard versions.contains(version) else {
            kindField.report(
                "\(kind) of apiVersion \(quoted(version)) is unknown",
                "apiVersion: \(versions.joined(separator: " or "))"
            )
            return []
        }
        return object(kind, &fields, scope, inTopology: inTopology).map { [$0] } ?? []
    }

    private static func items(of fields: inout Fields, scope: Scope, inTopology: Bool) -> [MeshObject] {
        fields.ignore("metadata")
        let items = fields.required("items", example: "items: [{apiVersion: v1, kind: Service, …}]")
        fields.finish()
        var objects: [MeshObject] = []
        for item in items?.list(maximum: YAMLTreeReader.maximumDocuments) ?? [] {
            objects += self.objects(in: item.node, scope: scope.sibling(), inTopology: inTopology, inList: true)
        }
        return objects
    }

    private static func object(_ kind: String, _ fields: inout Fields, _ scope: Scope, inTopology: Bool)
        -> MeshObject?
    {
        let before = scope.problems.total
        let clusterScoped = ["Cluster", "Import", "MeshPolicy", "Member", "Gateway"].contains(kind)
        guard
            var metadata = MetadataDecoder.metadata(
                &fields, kind: kind, clusterScoped: clusterScoped, inTopology: inTopology, scope: scope)
        else { return nil }
        let body: MeshObject.Body?
        if kind == "ServiceExport" {
            body = ServiceDecoder.serviceExport(fields.optional("spec"), metadata: metadata, scope: scope)
        } else {
            let spec = fields.required("spec", example: "spec: {…}")?.fields()
            body = spec.flatMap { decode(kind, $0, &metadata, scope) }
        }
        if kind == "Service" || kind == "ServiceExport" { fields.ignore("status") }
        fields.finish()
        guard let body, scope.problems.total == before else { return nil }
        return MeshObject(metadata: metadata, body: body)
    }

    private static func decode(_ kind: String, _ spec: Fields, _ metadata: inout ObjectMetadata, _ scope: Scope)
        -> MeshObject.Body?
    {
        var fields = spec
        defer { fields.finish() }
        switch kind {
        case "Service": return ServiceDecoder.service(&fields)
        case "Workload": return ServiceDecoder.workload(&fields, &metadata)
        case "Cluster": return ServiceDecoder.cluster(&fields, metadata)
        case "Import": return ServiceDecoder.importRules(&fields)
        case "TrafficPolicy": return PolicyDecoder.traffic(&fields, metadata)
        case "RateLimitPolicy": return PolicyDecoder.rateLimit(&fields, metadata)
        case "AuthorizationPolicy": return PolicyDecoder.authorization(&fields, metadata)
        case "MeshPolicy": return PolicyDecoder.mesh(&fields, metadata)
        case "Member": return StandaloneDecoder.member(&fields, metadata)
        case "Gateway": return StandaloneDecoder.gateway(&fields)
        default: return nil
        }
    }
}
