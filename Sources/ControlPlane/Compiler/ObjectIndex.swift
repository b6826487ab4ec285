internal import MeshModel

/// An object's body with its metadata, so that a problem can say where it stands.
struct Placed<Body> {
    let metadata: ObjectMetadata
    let subject: String
    let body: Body

    var name: ObjectName { metadata.objectName }

    func problem(_ path: String, _ what: String, _ advice: String) -> ObjectProblem {
        ObjectProblem(metadata, subject, path, what, advice)
    }
}

/// The objects of one configuration by kind, each kind sorted by name; duplicates are reported and left out.
struct ObjectIndex {
    var clusters: [Placed<ClusterObject>] = []
    var services: [Placed<ServiceObject>] = []
    var workloads: [Placed<WorkloadObject>] = []
    var exports: [ObjectName: Placed<ServiceExportObject>] = [:]
    var imports: [Placed<ImportObject>] = []
    var traffic: [Placed<TrafficPolicyObject>] = []
    var limits: [Placed<RateLimitPolicyObject>] = []
    var authorization: [Placed<AuthorizationPolicyObject>] = []
    var mesh: [Placed<MeshPolicyObject>] = []
    var members: [Placed<MemberObject>] = []
    var gateways: [Placed<GatewayObject>] = []
    private(set) var problems: [ObjectProblem] = []
    private var workloadsByLabel: [WorkloadLabel: [Int]] = [:]

    private struct WorkloadLabel: Hashable {
        let namespace: Label
        let key: String
        let value: String
    }

    private struct Identity: Hashable {
        let kind: String
        let name: ObjectName
    }

    init(_ objects: [MeshObject]) {
        var places: [Identity: SourceLocation] = [:]
        let sorted = objects.sorted { left, right in
            let (first, second) = (left.metadata, right.metadata)
            return (left.kind, first.objectName, first.location.file, first.location.line)
                < (right.kind, second.objectName, second.location.file, second.location.line)
        }
        for object in sorted {
            let identity = Identity(kind: object.kind, name: object.metadata.objectName)
            if let first = places[identity] {
                problems.append(
                    ObjectProblem(
                        object.metadata, object.subject, "metadata.name", "is defined twice, first at \(first)",
                        "rename or remove one of them"))
                continue
            }
            places[identity] = object.metadata.location
            add(object)
        }
        for (index, workload) in workloads.enumerated() {
            for (key, value) in workload.metadata.labels {
                let label = WorkloadLabel(namespace: workload.metadata.namespace, key: key, value: value)
                workloadsByLabel[label, default: []].append(index)
            }
        }
    }

    /// Workloads of `namespace` that carry every label of `selector`, sorted by name; none for an empty selector.
    func workloads(in namespace: Label, matching selector: [String: String]) -> [Placed<WorkloadObject>] {
        let labels = selector.map { WorkloadLabel(namespace: namespace, key: $0.key, value: $0.value) }
        let candidates = labels.map { workloadsByLabel[$0] ?? [] }
        guard let fewest = candidates.min(by: { $0.count < $1.count }) else { return [] }
        return fewest.map { workloads[$0] }.filter { workload in
            selector.allSatisfy { workload.metadata.labels[$0.key] == $0.value }
        }
    }

    private mutating func add(_ object: MeshObject) {
        func placed<Body>(_ body: Body) -> Placed<Body> {
            Placed(metadata: object.metadata, subject: object.subject, body: body)
        }
        switch object.body {
        case .cluster(let body): clusters.append(placed(body))
        case .service(let body): services.append(placed(body))
        case .workload(let body): workloads.append(placed(body))
        case .serviceExport(let body): exports[object.metadata.objectName] = placed(body)
        case .importRules(let body): imports.append(placed(body))
        case .trafficPolicy(let body): traffic.append(placed(body))
        case .rateLimitPolicy(let body): limits.append(placed(body))
        case .authorizationPolicy(let body): authorization.append(placed(body))
        case .meshPolicy(let body): mesh.append(placed(body))
        case .member(let body): members.append(placed(body))
        case .gateway(let body): gateways.append(placed(body))
        }
    }
}
