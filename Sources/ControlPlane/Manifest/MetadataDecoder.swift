internal import MeshModel

/// `metadata`: name, namespace, labels and annotations; what Kubernetes writes beside them is passed over.
enum MetadataDecoder {
    /// The namespace of kinds that have none.
    static let clusterNamespace = "meshfed-system"
    static let exportTo = "meshfed.io/export-to"
    static let plainNames = "meshfed.io/plain-names"
    static let cluster = "meshfed.io/cluster"
    /// kubectl's copy of the whole object: large, and never meant for a reader.
    private static let lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

    static func metadata(
        _ fields: inout Fields, kind: String, clusterScoped: Bool, inTopology: Bool, scope: Scope
    ) -> ObjectMetadata? {
        let line = fields.line
        guard
            var metadata = fields.required("metadata", example: "metadata: {name: reviews, namespace: shop}")?.fields()
        else { return nil }
        let name = metadata.required("name", example: "name: reviews")?.label()
        let namespace = Self.namespace(&metadata, kind: kind, clusterScoped: clusterScoped)
        if let name {
            scope.subject = clusterScoped ? "\(kind) \(name)" : "\(kind) \(namespace.map { "\($0)/" } ?? "")\(name)"
        }
        let labels = metadata.optional("labels").map(Self.labels) ?? [:]
        let annotations =
            metadata.optional("annotations").map { Self.annotations($0, kind: kind, inTopology: inTopology) } ?? [:]
        metadata.ignore(
            "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "managedFields",
            "deletionGracePeriodSeconds", "ownerReferences", "finalizers", "selfLink", "generateName")
        metadata.finish()
        guard let name, let namespace, let labels, let annotations else { return nil }
        return ObjectMetadata(
            name: name, namespace: namespace, labels: labels, annotations: annotations,
            location: SourceLocation(file: scope.file, line: line))
    }

    private static func namespace(_ metadata: inout Fields, kind: String, clusterScoped: Bool) -> Label? {
        guard let field = metadata.optional("namespace") else {
            return Label(clusterScoped ? clusterNamespace : "default")
        }
        guard !clusterScoped else {
            field.report("\(kind) has no namespace", "remove it")
            return nil
        }
        return field.label()
    }

    /// Labels by Kubernetes' syntax: `[prefix/]name`, values of at most 63.
    static func labels(_ field: Field) -> [String: String]? {
        field.dictionary { key, value in
            guard let text = value.string(maximum: 63, empty: true) else { return nil }
            guard isQualifiedName(key) else {
                value.report("\(quoted(key)) is no label key", "[prefix/]name of letters, digits, '-', '_' and '.'")
                return nil
            }
            guard text.isEmpty || isName(Array(text.utf8)) else {
                value.report(
                    "\(quoted(text)) is no label value", "letters, digits, '-', '_' and '.', at most 63, or empty")
                return nil
            }
            return text
        }
    }

    private static func annotations(_ field: Field, kind: String, inTopology: Bool) -> [String: String]? {
        var known: [String] = kind == "ServiceExport" ? [exportTo, plainNames] : []
        if inTopology { known.append(cluster) }
        let all = field.dictionary { key, value -> String? in
            guard key != lastApplied else { return "" }
            guard isQualifiedName(key) else {
                value.report(
                    "\(quoted(key)) is no annotation key", "[prefix/]name of letters, digits, '-', '_' and '.'")
                return nil
            }
            guard !key.hasPrefix("meshfed.io/") || known.contains(key) else {
                let names = known.isEmpty ? "none" : known.joined(separator: ", ")
                value.report("unknown annotation of meshfed", "known on \(kind): \(names)")
                return nil
            }
            return value.string(maximum: 4_096, multiline: true, empty: true)
        }
        return all.map { $0.filter { $0.key != lastApplied } }
    }

    private static func isQualifiedName(_ key: String) -> Bool {
        let parts = Array(key.utf8).split(separator: 0x2F, omittingEmptySubsequences: false)
        guard parts.count <= 2, let name = parts.last, isName(Array(name)) else { return false }
        return parts.count == 1 || HostPort.isHostName(Array(parts[0]))
    }

    private static func isName(_ bytes: [UInt8]) -> Bool {
        func isAlphanumeric(_ byte: UInt8) -> Bool {
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
            default: false
            }
        }
        guard let first = bytes.first, let last = bytes.last, bytes.count <= 63, isAlphanumeric(first),
            isAlphanumeric(last)
        else { return false }
        return bytes.allSatisfy { isAlphanumeric($0) || $0 == 0x2D || $0 == 0x5F || $0 == 0x2E }
    }
}
