package import ControlProtocol
package import MeshModel

/// The snapshot of the proxies ⇄ bytes. A snapshot with one wrong field is refused whole; what ran goes on.
package enum SnapshotCoding {
    /// The bytes of `snapshot`; the same value gives the same bytes. Throws `tooLong` above the limit of readers.
    package static func encode(_ snapshot: Snapshot) throws(CodingError) -> [UInt8] {
        let bytes = MessageCoding.encode(message(snapshot))
        guard bytes.count <= CodingLimits.snapshotBytes else {
            throw CodingError("", .tooLong(limit: CodingLimits.snapshotBytes))
        }
        return bytes
    }

    /// Every field checked, names unique, references resolved.
    package static func decode(_ bytes: [UInt8]) throws(CodingError) -> Snapshot {
        let limit = CodingLimits.snapshotBytes
        guard bytes.count <= limit, let parts = SnapshotParts(bytes) else {
            return try model(try MessageCoding.decode(ModelSnapshot.self, bytes, limit: limit))
        }
        return try model(
            try MessageCoding.decode(ModelSnapshot.self, parts.rest, limit: limit), parts.services
        ) { (place) throws(CodingError) in
            try ServiceCoding.model(try MessageCoding.decode(ModelService.self, Array(bytes[place]), limit: limit))
        }
    }

    /// For answers that carry a snapshot inside another message.
    package static func message(_ snapshot: Snapshot) -> ModelSnapshot {
        var message = ModelSnapshot()
        message.cluster = snapshot.cluster.description
        message.trustDomain = snapshot.trustDomain.description
        message.epoch = snapshot.epoch
        message.revision = snapshot.revision
        message.bundles = snapshot.bundles.map(BundleCoding.message)
        message.members = snapshot.members.map(MemberCoding.message)
        message.gateways = snapshot.gateways.map(MemberCoding.message)
        message.services = snapshot.services.map(ServiceCoding.message)
        message.settings = PolicyCoding.message(snapshot.settings)
        return message
    }

    /// As `decode`, for a message that is already parsed.
    package static func model(_ message: ModelSnapshot) throws(CodingError) -> Snapshot {
        try model(message, message.services, ServiceCoding.model)
    }

    /// `services`: those of the message, whatever form they have.
    private static func model<Form>(
        _ message: ModelSnapshot, _ services: [Form], _ service: (Form) throws(CodingError) -> Service
    ) throws(CodingError) -> Snapshot {
        var snapshot = Snapshot(
            cluster: try Field.cluster("cluster", message.cluster),
            trustDomain: try Field.trustDomain("trustDomain", message.trustDomain), epoch: message.epoch,
            revision: message.revision)
        snapshot.bundles = try each("bundles", message.bundles, limit: CodingLimits.members + 1, BundleCoding.model)
        try requireUnique("bundles", snapshot.bundles, \.trustDomain)
        snapshot.members = try each("members", message.members, limit: CodingLimits.members, MemberCoding.model)
        try requireUnique("members", snapshot.members, \.cluster)
        try requireUnique("members", snapshot.members, \.trustDomain)
        for (index, member) in snapshot.members.enumerated() {
            guard member.cluster != snapshot.cluster, member.trustDomain != snapshot.trustDomain else {
                throw CodingError("members[\(index)]", .notA("another cluster with a trust domain of its own"))
            }
        }
        snapshot.gateways = try MemberCoding.gateways(message.gateways)
        var localities: [Locality: Locality] = [:]
        snapshot.services = try each("services", services, limit: CodingLimits.services) { (form) throws(CodingError) in
            var made = try service(form)
            for index in made.endpoints.indices {
                made.endpoints[index].locality = share(made.endpoints[index].locality, &localities)
            }
            return made
        }
        try requireUnique("services", snapshot.services, \.id)
        try requireUnique("services", snapshot.services, \.name)
        snapshot.settings = try inside("settings") { () throws(CodingError) in
            try PolicyCoding.model(message.settings)
        }
        try checkEndpoints(of: snapshot)
        return snapshot
    }

    /// The one that is equal and was there first: the endpoints of a mesh stand in few places.
    private static func share(_ locality: Locality, _ known: inout [Locality: Locality]) -> Locality {
        if let first = known[locality] { return first }
        known[locality] = locality
        return locality
    }

    private static func checkEndpoints(of snapshot: Snapshot) throws(CodingError) {
        let members = Set(snapshot.members.map(\.cluster))
        try requireUnique("virtualAddresses", snapshot.services.flatMap(\.virtualAddresses), \.number)
        var seen: Set<EndpointID> = []
        for (index, service) in snapshot.services.enumerated() {
            for (position, endpoint) in service.endpoints.enumerated() {
                let field = "services[\(index)].endpoints[\(position)]"
                guard seen.insert(endpoint.id).inserted else { throw CodingError("\(field).id", .duplicate) }
                guard endpoint.identity.trustDomain == snapshot.trustDomain else {
                    throw CodingError("\(field).identity", .notA("an ID of the own trust domain"))
                }
            }
            guard seen.count <= CodingLimits.endpoints else {
                throw CodingError("services", .tooMany(limit: CodingLimits.endpoints))
            }
            for (position, remote) in service.remotes.enumerated() where !members.contains(remote.cluster) {
                throw CodingError("services[\(index)].remotes[\(position)].cluster", .dangling)
            }
        }
    }
}

/// Trust bundles ⇄ messages.
package enum BundleCoding {
    package static func message(_ bundle: TrustBundle) -> ModelTrustBundle {
        var message = ModelTrustBundle()
        message.trustDomain = bundle.trustDomain.description
        message.roots = bundle.roots.map(\.data)
        message.revokedSerials = bundle.revokedSerials.map(\.data)
        message.sequence = bundle.sequence
        return message
    }

    package static func model(_ message: ModelTrustBundle) throws(CodingError) -> TrustBundle {
        TrustBundle(
            trustDomain: try Field.trustDomain("trustDomain", message.trustDomain),
            roots: try each("roots", message.roots, limit: CodingLimits.roots) { (root) throws(CodingError) in
                try Field.bytes("", root, limit: CodingLimits.certificateBytes)
            },
            revokedSerials: try each(
                "revokedSerials", message.revokedSerials, limit: CodingLimits.revokedSerials
            ) { (serial) throws(CodingError) in try Field.bytes("", serial, limit: CodingLimits.serialBytes) },
            sequence: message.sequence)
    }
}

/// Members, gateways and the age of links ⇄ messages.
package enum MemberCoding {
    static func message(_ member: Member) -> ModelMember {
        var message = ModelMember()
        message.cluster = member.cluster.description
        message.trustDomain = member.trustDomain.description
        message.gateways = member.gateways.map(Self.message)
        (message.freshness, message.staleSince) = Self.message(member.freshness)
        return message
    }

    static func model(_ message: ModelMember) throws(CodingError) -> Member {
        Member(
            cluster: try Field.cluster("cluster", message.cluster),
            trustDomain: try Field.trustDomain("trustDomain", message.trustDomain),
            gateways: try gateways(message.gateways),
            freshness: try freshness(message.freshness, since: message.staleSince))
    }

    package static func message(_ gateway: GatewayAddress) -> ModelGateway {
        var message = ModelGateway()
        message.name = gateway.name.description
        message.address = gateway.address
        message.port = UInt32(gateway.port)
        message.locality = Field.message(gateway.locality)
        return message
    }

    static func gateways(_ list: [ModelGateway]) throws(CodingError) -> [GatewayAddress] {
        let gateways = try each("gateways", list, limit: CodingLimits.gateways) { (message) throws(CodingError) in
            GatewayAddress(
                name: try Field.label("name", message.name), address: try Field.address("address", message.address),
                port: try Field.port("port", message.port),
                locality: try Field.locality("locality", message.locality))
        }
        try requireUnique("gateways", gateways, \.name)
        return gateways
    }

    package static func message(_ freshness: Freshness) -> (ModelFreshness, Int64) {
        switch freshness {
        case .fresh: (.fresh, 0)
        case .stale(let since): (.stale, since.seconds)
        case .gone: (.gone, 0)
        }
    }

    static func freshness(_ message: ModelFreshness, since: Int64) throws(CodingError) -> Freshness {
        switch message {
        case .fresh: .fresh
        case .stale: .stale(since: WallTime(seconds: since))
        case .gone: .gone
        case .unspecified, .UNRECOGNIZED: throw CodingError("freshness", .outOfRange)
        }
    }
}
