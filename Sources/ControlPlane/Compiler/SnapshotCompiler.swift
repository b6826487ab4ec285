internal import MeshModel

/// Objects, own gateways, members and their catalogs → the snapshot that every proxy of the cluster routes by.
///
/// A pure function: what it is given decides what comes out, down to the order of every list.
package enum SnapshotCompiler {
    /// Compiles `input`; new services and endpoints get their numbers from `identifiers`, in the order of their names.
    ///
    /// - Throws: `CompileError` with every problem between the objects. Nothing of a refused set is used.
    package static func compile<Identifiers: IDAllocator>(_ input: CompilerInput, identifiers: inout Identifiers)
        throws(CompileError) -> Compilation
    {
        try compile(input, identifiers: &identifiers, standalone: false)
    }

    static func compile<Identifiers: IDAllocator>(
        _ input: CompilerInput, identifiers: inout Identifiers, standalone: Bool
    ) throws(CompileError) -> Compilation {
        let index = ObjectIndex(input.objects)
        let policies = PolicyMerge(index)
        let imports = ImportRules(index.imports)
        let members = input.members.filter { $0.member.cluster != input.cluster }
            .sorted { $0.member.cluster < $1.member.cluster }
        let checks = ObjectChecks(
            index, policies, imports, cluster: input.cluster, trustDomain: input.trustDomain, members: members)
        var problems = index.problems + policies.problems + checks.problems
        if !standalone { problems += standaloneOnly(input.objects) }
        guard problems.isEmpty else { throw CompileError(problems: problems) }

        var snapshot = Snapshot(
            cluster: input.cluster, trustDomain: input.trustDomain, epoch: input.epoch, revision: input.revision)
        snapshot.bundles = input.bundles.sorted { $0.trustDomain < $1.trustDomain }
        snapshot.gateways = input.gateways.sorted { $0.name < $1.name }
        snapshot.settings = policies.settings
        snapshot.members = members.map { item in
            var member = item.member
            if let gateways = item.catalog?.gateways, !gateways.isEmpty { member.gateways = gateways }
            member.gateways.sort { $0.name < $1.name }
            return member
        }
        var remotes = RemoteServices(members, imports)
        var services = index.services.map { local($0, index, policies, input, &identifiers) }
        for position in services.indices {
            guard let found = remotes.imported.removeValue(forKey: services[position].name) else { continue }
            services[position].remotes = found.services
            services[position].plainNames = services[position].plainNames || found.plainNames
        }
        for (name, found) in remotes.imported.sorted(by: { $0.key < $1.key }) {
            services.append(remoteOnly(name, found, policies, &identifiers))
        }
        snapshot.services = services.sorted { $0.name < $1.name }
        let warnings = checks.warnings + mismatches(snapshot.services, index)
        return Compilation(
            snapshot: snapshot, available: remotes.available,
            exports: CatalogCompiler.records(of: snapshot), sponsors: policies.sponsors,
            brokerAddresses: index.clusters.first?.body.brokerAddresses ?? [], warnings: warnings.inReadingOrder)
    }

    private static func standaloneOnly(_ objects: [MeshObject]) -> [ObjectProblem] {
        objects.filter(\.isStandaloneOnly).map { object in
            ObjectProblem(
                object.metadata, object.subject, "kind", "is for meshfed snapshot build only",
                "a broker learns members by joining and gateways by their enrolment; remove it")
        }
    }

    private static func local<Identifiers: IDAllocator>(
        _ object: Placed<ServiceObject>, _ index: ObjectIndex, _ policies: PolicyMerge, _ input: CompilerInput,
        _ identifiers: inout Identifiers
    ) -> Service {
        var service = Service(
            id: identifiers.identifier(for: .service(object.name)), name: object.name,
            ports: object.body.ports.map(\.port).sorted { $0.port < $1.port })
        apply(policies, to: &service)
        if let export = index.exports[object.name] {
            service.export = export.body.scope
            service.plainNames = export.body.plainNames
        }
        for workload in index.workloads(in: object.metadata.namespace, matching: object.body.selector) {
            let key = IDKey.endpoint(service: object.name, workload: workload.metadata.name)
            let identifier = identifiers.identifier(for: key)
            var targets: [UInt16: UInt16] = [:]
            for port in object.body.ports { targets[port.port.port] = ObjectChecks.target(port, workload.body) }
            let identity = SPIFFEID.workload(
                in: input.trustDomain, namespace: workload.metadata.namespace,
                serviceAccount: workload.body.serviceAccount)
            service.endpoints.append(
                Endpoint(
                    id: identifier, workload: workload.name, address: workload.body.address, targetPorts: targets,
                    security: workload.body.security, identity: identity, locality: workload.body.locality,
                    weight: workload.body.weight, healthy: !input.unhealthy.contains(identifier)))
        }
        return service
    }

    private static func remoteOnly<Identifiers: IDAllocator>(
        _ name: ObjectName, _ found: RemoteServices.Imported, _ policies: PolicyMerge,
        _ identifiers: inout Identifiers
    ) -> Service {
        var ports: [UInt16: ServicePort] = [:]
        // The member whose name sorts first decides where two differ.
        for remote in found.services {
            for port in remote.ports where ports[port.port] == nil { ports[port.port] = port }
        }
        var service = Service(
            id: identifiers.identifier(for: .service(name)), name: name,
            ports: ports.values.sorted { $0.port < $1.port })
        service.isLocal = false
        service.plainNames = found.plainNames
        service.remotes = found.services
        apply(policies, to: &service)
        return service
    }

    private static func apply(_ policies: PolicyMerge, to service: inout Service) {
        service.traffic = policies.traffic[service.name] ?? TrafficSettings()
        service.limits = policies.limits[service.name] ?? []
        service.authorization = policies.authorization[service.name] ?? Authorization()
        service.mutualTLS = policies.mutualTLS[service.name]
    }

    /// A port that two clusters declare with different protocols: one of the sides would be refused by ALPN.
    private static func mismatches(_ services: [Service], _ index: ObjectIndex) -> [ObjectProblem] {
        var found: [ObjectProblem] = []
        for service in services {
            let own = Dictionary(
                service.ports.map { ($0.port, $0.appProtocol) }, uniquingKeysWith: { first, _ in first })
            for remote in service.remotes {
                for port in remote.ports {
                    guard let other = own[port.port], other.isHTTP != port.appProtocol.isHTTP else { continue }
                    let object = index.services.first { $0.name == service.name }
                    found.append(
                        ObjectProblem(
                            location: object?.metadata.location
                                ?? SourceLocation(file: "catalog of \(remote.cluster)", line: 1),
                            subject: "Service \(service.name)", path: "spec.ports",
                            what: "port \(port.port) is \(other.rawValue) here and \(port.appProtocol.rawValue) in"
                                + " \(remote.cluster)",
                            advice: "declare the same appProtocol in every cluster"))
                }
            }
        }
        return found
    }
}

/// What the members offer, divided by the import rules.
struct RemoteServices {
    struct Imported {
        var services: [RemoteService] = []
        var plainNames = false
    }

    var imported: [ObjectName: Imported] = [:]
    private(set) var available: [AvailableService] = []

    /// `members` sorted by cluster.
    init(_ members: [MemberInput], _ imports: ImportRules) {
        for item in members {
            let cluster = item.member.cluster
            var seen: Set<ObjectName> = []
            let records = (item.catalog?.records ?? []).sorted { $0.service < $1.service }
            // A record that names another owner, or one name twice, is a mistake of the member: passed over.
            for record in records where record.cluster == cluster && seen.insert(record.service).inserted {
                guard !ImportObject.isReserved(record.service.namespace) else { continue }
                let remote = RemoteService(
                    cluster: cluster, ports: record.ports.sorted { $0.port < $1.port },
                    capacities: record.capacities.sorted { $0.locality < $1.locality },
                    authorization: record.authorization)
                switch imports.coverage(of: record.service, from: cluster) {
                case .imported(let plainNames):
                    imported[record.service, default: Imported()].services.append(remote)
                    if plainNames { imported[record.service]?.plainNames = true }
                case .none:
                    available.append(
                        AvailableService(
                            cluster: cluster, service: record.service, ports: remote.ports,
                            healthyCount: remote.healthyCount))
                }
            }
        }
    }
}
