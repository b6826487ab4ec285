internal import ControlProtocol
internal import FoundationEssentials
package import MeshModel

/// What a proxy says of itself when it subscribes.
package struct SubscriberHello: Hashable, Sendable {
    package enum Role: Hashable, Sendable {
        /// The Workload that it stands beside; its service account must be the SVID's.
        case sidecar(workload: ObjectName)
        /// Name and where others reach its 15443; nil while it does not know yet.
        case gateway(name: Label, advertised: GatewayAddress?)
    }

    package var role: Role
    package var version: String
    package var features: [String]
    package var locality: Locality
    /// Last good snapshot; zeroes when there is none.
    package var epoch: UInt64
    package var revision: UInt64
    /// 16 random bytes of the process.
    package var instance: [UInt8]

    package init(
        role: Role, version: String, features: [String] = [], locality: Locality = .unknown, epoch: UInt64 = 0,
        revision: UInt64 = 0, instance: [UInt8]
    ) {
        self.role = role
        self.version = version
        self.features = features
        self.locality = locality
        self.epoch = epoch
        self.revision = revision
        self.instance = instance
    }
}

/// One endpoint's health as a gateway's probe saw it.
package struct EndpointHealth: Hashable, Sendable {
    package var endpoint: EndpointID
    package var healthy: Bool
    package var since: WallTime

    package init(endpoint: EndpointID, healthy: Bool, since: WallTime) {
        self.endpoint = endpoint
        self.healthy = healthy
        self.since = since
    }
}

/// The broker's word on one member.
package struct LinkState: Hashable, Sendable {
    package var cluster: ClusterID
    package var freshness: Freshness

    package init(cluster: ClusterID, freshness: Freshness) {
        self.cluster = cluster
        self.freshness = freshness
    }
}

/// A frame from proxy to broker.
package enum SubscriberFrame: Hashable, Sendable {
    case hello(SubscriberHello)
    /// `refused` is nil when the snapshot is in use, else the reason.
    case ack(epoch: UInt64, revision: UInt64, refused: String?)
    case health([EndpointHealth])
    case keepalive(counter: UInt64)
    case draining
    /// Counted since `since`; services without any are left out.
    case plaintext(since: WallTime, [PlaintextCount])

    package func encode() -> [UInt8] {
        var frame = FeedClientFrame()
        switch self {
        case .hello(let hello): frame.hello = Self.message(hello)
        case .ack(let epoch, let revision, let refused):
            frame.ack.epoch = epoch
            frame.ack.revision = revision
            frame.ack.refused = refused.map { $0.isEmpty ? "refused" : $0 } ?? ""
        case .health(let endpoints):
            var report = FeedHealthReport()
            report.endpoints = endpoints.map {
                var entry = FeedEndpointHealth()
                entry.endpoint = $0.endpoint
                entry.healthy = $0.healthy
                entry.since = $0.since.seconds
                return entry
            }
            frame.health = report
        case .keepalive(let counter): frame.keepalive.counter = counter
        case .draining: frame.draining = FeedDraining()
        case .plaintext(let since, let counts):
            var report = FeedPlaintextReport()
            report.since = since.seconds
            report.services = counts.prefix(CodingLimits.plaintextPerFrame).map {
                var entry = FeedPlaintextCount()
                entry.service = $0.service
                entry.allowed = $0.allowed
                entry.refused = $0.refused
                entry.last = $0.last.seconds
                return entry
            }
            frame.plaintext = report
        }
        return MessageCoding.encode(frame)
    }

    package static func decode(_ bytes: [UInt8]) throws(CodingError) -> SubscriberFrame {
        let frame = try MessageCoding.decode(FeedClientFrame.self, bytes)
        switch frame.kind {
        case .hello(let message):
            return .hello(try inside("hello") { () throws(CodingError) in try hello(message) })
        case .ack(let ack):
            let refused = try Field.text("ack.refused", ack.refused, limit: CodingLimits.reasonBytes)
            return .ack(epoch: ack.epoch, revision: ack.revision, refused: refused.isEmpty ? nil : refused)
        case .health(let report):
            let endpoints = try each(
                "health.endpoints", report.endpoints, limit: CodingLimits.healthPerFrame
            ) { (entry) throws(CodingError) in
                EndpointHealth(
                    endpoint: entry.endpoint, healthy: entry.healthy, since: WallTime(seconds: entry.since))
            }
            return .health(endpoints)
        case .keepalive(let keepalive): return .keepalive(counter: keepalive.counter)
        case .draining: return .draining
        case .plaintext(let report):
            let counts = try each(
                "plaintext.services", report.services, limit: CodingLimits.plaintextPerFrame
            ) { (entry) throws(CodingError) in
                PlaintextCount(
                    service: entry.service, allowed: entry.allowed, refused: entry.refused,
                    last: WallTime(seconds: entry.last))
            }
            try requireUnique("plaintext.services", counts, \.service)
            return .plaintext(since: WallTime(seconds: report.since), counts)
        case nil: throw CodingError("kind", .missing)
        }
    }

    private static func message(_ hello: SubscriberHello) -> FeedHello {
        var message = FeedHello()
        switch hello.role {
        case .sidecar(let workload):
            message.role = .sidecar
            message.workload = workload.description
        case .gateway(let name, let advertised):
            message.role = .gateway
            message.gateway = name.description
            if let advertised {
                message.advertisedAddress = advertised.address
                message.advertisedPort = UInt32(advertised.port)
            }
        }
        message.version = hello.version
        message.features = hello.features
        message.locality = Field.message(hello.locality)
        message.epoch = hello.epoch
        message.revision = hello.revision
        message.instance = hello.instance.data
        return message
    }

    private static func hello(_ message: FeedHello) throws(CodingError) -> SubscriberHello {
        let locality = try Field.locality("locality", message.locality)
        let role: SubscriberHello.Role
        switch message.role {
        case .sidecar: role = .sidecar(workload: try Field.objectName("workload", message.workload))
        case .gateway:
            let name = try Field.label("gateway", message.gateway)
            var advertised: GatewayAddress?
            if !message.advertisedAddress.isEmpty {
                advertised = GatewayAddress(
                    name: name, address: try Field.address("advertisedAddress", message.advertisedAddress),
                    port: try Field.port("advertisedPort", message.advertisedPort), locality: locality)
            }
            role = .gateway(name: name, advertised: advertised)
        case .unspecified, .UNRECOGNIZED: throw CodingError("role", .outOfRange)
        }
        return SubscriberHello(
            role: role, version: try Field.text("version", message.version),
            features: try each("features", message.features, limit: CodingLimits.features) {
                (text) throws(CodingError) in try Field.text("", text)
            }, locality: locality, epoch: message.epoch, revision: message.revision,
            instance: try Field.bytes("instance", message.instance, exactly: 16))
    }
}

/// A frame from broker to proxy.
package enum BrokerFrame: Hashable, Sendable {
    /// `bytes` is a serialised snapshot, for `SnapshotCoding.decode` and `SnapshotFile.encode(serialized:)`.
    case snapshot(epoch: UInt64, revision: UInt64, bytes: [UInt8])
    /// All members; `epoch` is that of the snapshot it belongs to.
    case links(epoch: UInt64, [LinkState])
    case keepalive(counter: UInt64)

    package func encode() -> [UInt8] {
        var frame = FeedServerFrame()
        switch self {
        case .snapshot(let epoch, let revision, let bytes):
            frame.snapshot.epoch = epoch
            frame.snapshot.revision = revision
            frame.snapshot.snapshot = bytes.data
        case .links(let epoch, let states):
            frame.links.epoch = epoch
            frame.links.links = states.map {
                var entry = FeedLinkState()
                entry.cluster = $0.cluster.description
                (entry.freshness, entry.staleSince) = MemberCoding.message($0.freshness)
                return entry
            }
        case .keepalive(let counter): frame.keepalive.counter = counter
        }
        return MessageCoding.encode(frame)
    }

    package static func decode(_ bytes: [UInt8]) throws(CodingError) -> BrokerFrame {
        let frame = try MessageCoding.decode(
            FeedServerFrame.self, bytes, limit: CodingLimits.snapshotFileBytes)
        switch frame.kind {
        case .snapshot(let message):
            return .snapshot(epoch: message.epoch, revision: message.revision, bytes: Array(message.snapshot))
        case .links(let message):
            let states = try each("links", message.links, limit: CodingLimits.members) {
                (entry) throws(CodingError) in
                LinkState(
                    cluster: try Field.cluster("cluster", entry.cluster),
                    freshness: try MemberCoding.freshness(entry.freshness, since: entry.staleSince))
            }
            try requireUnique("links", states, \.cluster)
            return .links(epoch: message.epoch, states)
        case .keepalive(let message): return .keepalive(counter: message.counter)
        case nil: throw CodingError("kind", .missing)
        }
    }
}
