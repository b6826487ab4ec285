internal import ControlProtocol
internal import MeshModel

/// Services, endpoints and what other clusters offer of them ⇄ messages.
enum ServiceCoding {
    static func message(_ service: Service) -> ModelService {
        var message = ModelService()
        message.id = service.id
        message.name = service.name.description
        message.ports = service.ports.map(Self.message)
        message.export = Self.message(service.export)
        message.plainNames = service.plainNames
        message.endpoints = service.endpoints.map(Self.message)
        message.remotes = service.remotes.map(Self.message)
        message.traffic = PolicyCoding.message(service.traffic)
        message.limits = service.limits.map(PolicyCoding.message)
        message.authorization = PolicyCoding.message(service.authorization)
        if let mode = service.mutualTLS { message.mutualTls = PolicyCoding.message(mode) }
        message.isLocal = service.isLocal
        message.virtualAddresses = service.virtualAddresses.map { address in
            var message = ModelVirtualAddress()
            message.name = address.name.description
            message.number = address.number
            return message
        }
        return message
    }

    static func model(_ message: ModelService) throws(CodingError) -> Service {
        var service = Service(
            id: message.id, name: try Field.objectName("name", message.name), ports: try ports(message.ports))
        service.export = try inside("export") { () throws(CodingError) in try model(message.export) }
        service.plainNames = message.plainNames
        service.endpoints = try each("endpoints", message.endpoints, limit: CodingLimits.endpoints, model)
        shareWhatIsEqual(&service.endpoints, of: service.name.namespace)
        service.remotes = try each("remotes", message.remotes, limit: CodingLimits.members, model)
        try requireUnique("remotes", service.remotes, \.cluster)
        service.traffic = try inside("traffic") { () throws(CodingError) in try PolicyCoding.model(message.traffic) }
        service.limits = try each("limits", message.limits, limit: CodingLimits.limitRules, PolicyCoding.model)
        service.authorization = try inside("authorization") { () throws(CodingError) in
            try PolicyCoding.model(message.authorization)
        }
        if message.hasMutualTls { service.mutualTLS = try PolicyCoding.model("mutualTLS", message.mutualTls) }
        service.isLocal = message.isLocal
        let owner = service.name
        service.virtualAddresses = try each(
            "virtualAddresses", message.virtualAddresses, limit: CodingLimits.members + 3
        ) { (entry) throws(CodingError) in
            guard let name = MeshName(entry.name.utf8), name.objectName == owner else {
                throw CodingError("name", .notA("name of this service"))
            }
            // With the labels of the service, which are the same.
            let own = MeshName(service: owner.name, namespace: owner.namespace, scope: name.scope)
            guard let address = VirtualAddress(name: own, number: entry.number) else {
                throw CodingError("number", .outOfRange)
            }
            return address
        }
        try requireUnique("virtualAddresses", service.virtualAddresses, \.name)
        return service
    }

    static func message(_ port: ServicePort) -> ModelServicePort {
        var message = ModelServicePort()
        message.name = port.name
        message.port = UInt32(port.port)
        switch port.appProtocol {
        case .http: message.appProtocol = .http
        case .http2: message.appProtocol = .http2
        case .grpc: message.appProtocol = .grpc
        case .tcp: message.appProtocol = .tcp
        case .auto: message.appProtocol = .auto
        }
        return message
    }

    static func ports(_ list: [ModelServicePort]) throws(CodingError) -> [ServicePort] {
        let ports = try each("ports", list, limit: CodingLimits.ports) { (message) throws(CodingError) in
            let appProtocol: AppProtocol
            switch message.appProtocol {
            case .http: appProtocol = .http
            case .http2: appProtocol = .http2
            case .grpc: appProtocol = .grpc
            case .tcp: appProtocol = .tcp
            case .auto: appProtocol = .auto
            case .unspecified, .UNRECOGNIZED: throw CodingError("appProtocol", .outOfRange)
            }
            return ServicePort(
                name: try Field.text("name", message.name), port: try Field.port("port", message.port),
                appProtocol: appProtocol)
        }
        try requireUnique("ports", ports, \.port)
        return ports
    }

    /// Endpoints of one service differ in name and address: the rest is kept once. A sidecar holds every endpoint of the mesh.
    private static func shareWhatIsEqual(_ endpoints: inout [Endpoint], of namespace: Label) {
        for index in endpoints.indices {
            if endpoints[index].workload.namespace == namespace {
                endpoints[index].workload = ObjectName(namespace: namespace, name: endpoints[index].workload.name)
            }
            guard index > 0 else { continue }
            let before = endpoints[index - 1]
            if endpoints[index].identity == before.identity { endpoints[index].identity = before.identity }
            if endpoints[index].targetPorts == before.targetPorts { endpoints[index].targetPorts = before.targetPorts }
            if endpoints[index].security == before.security { endpoints[index].security = before.security }
        }
    }

    static func message(_ endpoint: Endpoint) -> ModelEndpoint {
        var message = ModelEndpoint()
        message.id = endpoint.id
        message.workload = endpoint.workload.description
        message.address = endpoint.address
        message.targetPorts = endpoint.targetPorts.sorted { $0.key < $1.key }.map { port, target in
            var message = ModelPortMapping()
            message.port = UInt32(port)
            message.target = UInt32(target)
            return message
        }
        switch endpoint.security {
        case .mesh: message.security.mode = .mesh
        case .mutual: message.security.mode = .mutual
        case .plain: message.security.mode = .plain
        case .simple(let roots):
            message.security.mode = .simple
            message.security.roots = roots
        }
        message.identity = endpoint.identity.description
        message.locality = Field.message(endpoint.locality)
        message.weight = endpoint.weight
        message.healthy = endpoint.healthy
        return message
    }

    static func model(_ message: ModelEndpoint) throws(CodingError) -> Endpoint {
        let mappings = try each(
            "targetPorts", message.targetPorts, limit: CodingLimits.ports
        ) { (mapping) throws(CodingError) in
            (port: try Field.port("port", mapping.port), target: try Field.port("target", mapping.target))
        }
        try requireUnique("targetPorts", mappings, \.port)
        let security: EndpointSecurity
        switch message.security.mode {
        case .mesh: security = .mesh
        case .mutual: security = .mutual
        case .plain: security = .plain
        case .simple:
            let roots = message.security.roots
            guard !roots.isEmpty else { throw CodingError("security.roots", .missing) }
            guard roots.utf8.count <= CodingLimits.pemBytes else {
                throw CodingError("security.roots", .tooLong(limit: CodingLimits.pemBytes))
            }
            security = .simple(roots: roots)
        case .unspecified, .UNRECOGNIZED: throw CodingError("security.mode", .outOfRange)
        }
        guard message.weight <= 65_535 else { throw CodingError("weight", .outOfRange) }
        return Endpoint(
            id: message.id, workload: try Field.objectName("workload", message.workload),
            address: try Field.address("address", message.address),
            targetPorts: Dictionary(mappings.map { ($0.port, $0.target) }, uniquingKeysWith: { first, _ in first }),
            security: security, identity: try Field.spiffeID("identity", message.identity),
            locality: try Field.locality("locality", message.locality), weight: message.weight,
            healthy: message.healthy)
    }

    static func message(_ capacity: RemoteCapacity) -> ModelRemoteCapacity {
        var message = ModelRemoteCapacity()
        message.locality = Field.message(capacity.locality)
        message.healthyCount = capacity.healthyCount
        message.capacity = capacity.capacity
        return message
    }

    static func capacities(_ list: [ModelRemoteCapacity]) throws(CodingError) -> [RemoteCapacity] {
        let capacities = try each("capacities", list, limit: CodingLimits.localities) { (entry) throws(CodingError) in
            RemoteCapacity(
                locality: try Field.locality("locality", entry.locality), healthyCount: entry.healthyCount,
                capacity: entry.capacity)
        }
        try requireUnique("capacities", capacities, \.locality)
        return capacities
    }

    static func message(_ remote: RemoteService) -> ModelRemoteService {
        var message = ModelRemoteService()
        message.cluster = remote.cluster.description
        message.ports = remote.ports.map(Self.message)
        message.capacities = remote.capacities.map(Self.message)
        message.authorization = PolicyCoding.message(remote.authorization)
        return message
    }

    static func model(_ message: ModelRemoteService) throws(CodingError) -> RemoteService {
        RemoteService(
            cluster: try Field.cluster("cluster", message.cluster), ports: try ports(message.ports),
            capacities: try capacities(message.capacities),
            authorization: try inside("authorization") { () throws(CodingError) in
                try PolicyCoding.model(message.authorization)
            })
    }

    static func message(_ scope: ExportScope) -> ModelExportScope {
        var message = ModelExportScope()
        switch scope {
        case .none: message.kind = .none
        case .all: message.kind = .all
        case .clusters(let clusters):
            message.kind = .clusters
            message.clusters = clusters.map(\.description)
        }
        return message
    }

    static func model(_ message: ModelExportScope) throws(CodingError) -> ExportScope {
        switch message.kind {
        case .none: .none
        case .all: .all
        case .clusters: .clusters(try PolicyCoding.clusters("clusters", message.clusters))
        case .unspecified, .UNRECOGNIZED: throw CodingError("kind", .outOfRange)
        }
    }
}
