internal import MeshModel

/// What no single object shows: names that nobody has, ports that do not meet, modes that contradict each other.
///
/// Problems refuse the whole configuration; warnings stand beside it (a consumer's policy may come before the join that
/// brings its service).
struct ObjectChecks {
    private(set) var problems: [ObjectProblem] = []
    private(set) var warnings: [ObjectProblem] = []

    private let index: ObjectIndex
    private let policies: PolicyMerge
    private let cluster: ClusterID
    private let services: [ObjectName: Placed<ServiceObject>]

    init(
        _ index: ObjectIndex, _ policies: PolicyMerge, _ imports: ImportRules, cluster: ClusterID,
        trustDomain: TrustDomain, members: [MemberInput]
    ) {
        self.index = index
        self.policies = policies
        self.cluster = cluster
        services = Dictionary(uniqueKeysWithValues: index.services.map { ($0.name, $0) })
        checkCluster(trustDomain)
        for service in index.services { check(service) }
        checkExports()
        checkConsumers(imports, members)
        checkOwners()
        checkModes()
        checkAddresses()
    }

    private mutating func checkCluster(_ trustDomain: TrustDomain) {
        for object in index.clusters {
            if object.body.cluster != cluster {
                problems.append(
                    object.problem(
                        "metadata.name", "this cluster is \(cluster)", "there is one Cluster object, the own one"))
            } else if object.body.trustDomain != trustDomain {
                problems.append(
                    object.problem(
                        "spec.trustDomain", "is \(object.body.trustDomain), but the broker's is \(trustDomain)",
                        "a trust domain cannot change; write \(trustDomain)"))
            }
        }
    }

    private mutating func check(_ service: Placed<ServiceObject>) {
        guard !service.body.selector.isEmpty else {
            warnings.append(
                service.problem("spec.selector", "is empty, so no workload serves it", "select Workload labels"))
            return
        }
        let workloads = index.workloads(in: service.metadata.namespace, matching: service.body.selector)
        if workloads.isEmpty {
            warnings.append(
                service.problem(
                    "spec.selector", "matches no Workload in namespace \(service.metadata.namespace)",
                    "check the labels of the Workloads"))
        }
        for (position, port) in service.body.ports.enumerated() {
            guard case .name(let name) = port.target else { continue }
            for workload in workloads where workload.body.ports[name] == nil {
                problems.append(
                    service.problem(
                        "spec.ports[\(position)].targetPort",
                        "\(workload.subject) (\(workload.metadata.location)) has no port named \(name)",
                        "add it to its spec.ports, or write the number"))
            }
        }
    }

    private mutating func checkExports() {
        for (name, export) in index.exports where services[name] == nil {
            problems.append(
                export.problem("metadata.name", "there is no Service \(name)", "correct the name or add the Service"))
        }
    }

    /// Policies of a consumer: they may name an imported service, also one that is not there yet.
    private mutating func checkConsumers(_ imports: ImportRules, _ members: [MemberInput]) {
        for policy in index.traffic {
            for target in policy.body.targets where services[target] == nil && !imports.names(target) {
                warnings.append(unknownTarget(policy, target))
            }
            for (path, list) in [
                ("order", policy.body.settings.failoverOrder), ("exclude", policy.body.settings.failoverExcluded),
            ] {
                for name in list where name == cluster {
                    problems.append(
                        policy.problem(
                            "spec.failover.\(path)", "names \(name), the own cluster",
                            "the own cluster always comes first; name the others"))
                }
                let known = members.map(\.member.cluster)
                for name in list where name != cluster && !known.contains(name) {
                    warnings.append(
                        policy.problem(
                            "spec.failover.\(path)", "\(name) is no member of this federation now",
                            "correct the name, or join it"))
                }
            }
        }
        for policy in index.limits {
            for target in policy.body.targets where services[target] == nil && !imports.names(target) {
                warnings.append(unknownTarget(policy, target))
            }
        }
    }

    private func unknownTarget<Body>(_ policy: Placed<Body>, _ target: ObjectName) -> ObjectProblem {
        policy.problem(
            "spec.targetRefs", "there is no Service \(target), and no import covers it",
            "correct the name, or import the service")
    }

    /// Policies of an owner: the service must be here, or it stands unprotected under another name.
    private mutating func checkOwners() {
        for policy in index.authorization {
            for target in policy.body.targets {
                guard let service = services[target] else {
                    problems.append(missing(policy, target, "authorisation is the owner's"))
                    continue
                }
                let ports = Set(service.body.ports.map(\.port.port))
                for (position, rule) in policy.body.rules.enumerated() {
                    for port in rule.ports where !ports.contains(port) {
                        problems.append(
                            policy.problem(
                                "spec.rules[\(position)].ports", "Service \(target) has no port \(port)",
                                "it has \(ports.sorted().map(String.init).joined(separator: ", "))"))
                    }
                }
            }
        }
        for policy in index.mesh {
            for target in policy.body.targets where services[target] == nil {
                problems.append(missing(policy, target, "the mode is the owner's"))
            }
        }
    }

    private func missing<Body>(_ policy: Placed<Body>, _ target: ObjectName, _ why: String) -> ObjectProblem {
        policy.problem("spec.targetRefs", "there is no Service \(target) here; \(why)", "correct the name")
    }

    /// A service's own mode against its workloads, and two services that share a port of a workload.
    private mutating func checkModes() {
        var owners: [WorkloadPort: (service: ObjectName, mode: MutualTLSMode)] = [:]
        for service in index.services {
            let policy = policies.modeOwners[service.name]
            let mode = policy?.body.settings.mutualTLS ?? policies.settings.mutualTLS
            for workload in index.workloads(in: service.metadata.namespace, matching: service.body.selector) {
                let isOpen = workload.body.security == .plain
                if isOpen, let policy, mode == .strict {
                    problems.append(
                        policy.problem(
                            "spec.mtls.mode", "strict for \(service.name), but \(workload.subject) has tls: plain",
                            "nobody there could refuse plaintext: give the workload a sidecar, or drop the target"))
                }
                guard workload.body.security == .mesh else { continue }
                for port in service.body.ports {
                    guard let number = Self.target(port, workload.body) else { continue }
                    let key = WorkloadPort(workload: workload.name, port: number)
                    guard let other = owners[key] else {
                        owners[key] = (service.name, mode)
                        continue
                    }
                    if other.mode != mode {
                        problems.append(
                            service.problem(
                                "spec.selector",
                                "\(workload.subject) port \(number) would be \(mode) for it and \(other.mode) for"
                                    + " \(other.service)", "give both services the same mtls mode"))
                    }
                }
            }
        }
    }

    /// Mesh peers dial `address:15006`: two sidecars cannot share an address.
    private mutating func checkAddresses() {
        var owners: [String: Placed<WorkloadObject>] = [:]
        for workload in index.workloads where workload.body.security == .mesh {
            if let other = owners[workload.body.address] {
                warnings.append(
                    workload.problem(
                        "spec.address", "\(workload.body.address) is the address of \(other.subject) too",
                        "each workload with a sidecar needs its own"))
            } else {
                owners[workload.body.address] = workload
            }
        }
    }

    private struct WorkloadPort: Hashable {
        let workload: ObjectName
        let port: UInt16
    }

    /// The workload's port behind a service port; nil where a named one is missing.
    static func target(_ port: ServiceObject.Port, _ workload: WorkloadObject) -> UInt16? {
        switch port.target {
        case .number(let number): number
        case .name(let name): workload.ports[name]
        }
    }
}
