internal import ControlProtocol
package import MeshModel

/// Where in a catalog one is: the incarnation of its writer and the number within it. Zeroes: nothing held.
package struct CatalogCursor: Hashable, Sendable {
    package var epoch: UInt64
    package var revision: UInt64

    package init(epoch: UInt64, revision: UInt64) {
        self.epoch = epoch
        self.revision = revision
    }

    package static let none = CatalogCursor(epoch: 0, revision: 0)
}

/// First frame of each side of a Sync stream.
package struct SyncHello: Hashable, Sendable {
    package var cluster: ClusterID
    package var version: String
    package var features: [String]
    package var wallTime: WallTime
    /// What the sender holds of the receiver's catalog.
    package var cursor: CatalogCursor
    package var versions: ClosedRange<UInt32>

    package init(
        cluster: ClusterID, version: String, features: [String], wallTime: WallTime, cursor: CatalogCursor,
        versions: ClosedRange<UInt32> = 1...1
    ) {
        self.cluster = cluster
        self.version = version
        self.features = features
        self.wallTime = wallTime
        self.cursor = cursor
        self.versions = versions
    }
}

/// Change of the sender's own catalog between two revisions of one epoch.
package struct CatalogDelta: Hashable, Sendable {
    package var epoch: UInt64
    package var from: UInt64
    package var to: UInt64
    package var changed: [CatalogRecord]
    package var removed: [ObjectName]

    package init(epoch: UInt64, from: UInt64, to: UInt64, changed: [CatalogRecord], removed: [ObjectName]) {
        self.epoch = epoch
        self.from = from
        self.to = to
        self.changed = changed
        self.removed = removed
    }
}

/// Part of the sender's whole catalog.
package struct CatalogChunk: Hashable, Sendable {
    package var cursor: CatalogCursor
    package var index: UInt32
    package var isLast: Bool
    package var records: [CatalogRecord]

    package init(cursor: CatalogCursor, index: UInt32, isLast: Bool, records: [CatalogRecord]) {
        self.cursor = cursor
        self.index = index
        self.isLast = isLast
        self.records = records
    }
}

/// "I live, and this is where my catalog stands."
package struct SyncLease: Hashable, Sendable {
    package var counter: UInt64
    package var cursor: CatalogCursor
    package var wallTime: WallTime
    /// Over all signed records that the sender keeps; empty or 32 bytes.
    package var recordsDigest: [UInt8]

    package init(counter: UInt64, cursor: CatalogCursor, wallTime: WallTime, recordsDigest: [UInt8] = []) {
        self.counter = counter
        self.cursor = cursor
        self.wallTime = wallTime
        self.recordsDigest = recordsDigest
    }
}

/// One frame of Sync. A received catalog record is one of the peer's own: the owner does not travel, the reader names it.
package enum SyncFrame: Hashable, Sendable {
    case hello(SyncHello)
    /// Serialised signed records, not yet judged.
    case records([[UInt8]])
    case delta(CatalogDelta)
    case snapshot(CatalogChunk)
    case lease(SyncLease)
    /// What the sender holds of the receiver's catalog; `refused` says why it did not take the last frame.
    case ack(CatalogCursor, refused: String?)

    package func encode() -> [UInt8] {
        var frame = FederationFrame()
        switch self {
        case .hello(let hello):
            frame.hello.cluster = hello.cluster.description
            frame.hello.version = hello.version
            frame.hello.features = hello.features
            frame.hello.wallTime = hello.wallTime.seconds
            frame.hello.epoch = hello.cursor.epoch
            frame.hello.revision = hello.cursor.revision
            frame.hello.minimumVersion = hello.versions.lowerBound
            frame.hello.maximumVersion = hello.versions.upperBound
        case .records(let records):
            var message = FederationRecords()
            message.records = records.map(\.data)
            frame.records = message
        case .delta(let delta):
            frame.delta.epoch = delta.epoch
            frame.delta.fromRevision = delta.from
            frame.delta.toRevision = delta.to
            frame.delta.changed = delta.changed.map(Self.message)
            frame.delta.removed = delta.removed.map(\.description)
        case .snapshot(let chunk):
            frame.snapshot.epoch = chunk.cursor.epoch
            frame.snapshot.revision = chunk.cursor.revision
            frame.snapshot.index = chunk.index
            frame.snapshot.last = chunk.isLast
            frame.snapshot.records = chunk.records.map(Self.message)
        case .lease(let lease):
            frame.lease.counter = lease.counter
            frame.lease.epoch = lease.cursor.epoch
            frame.lease.revision = lease.cursor.revision
            frame.lease.wallTime = lease.wallTime.seconds
            frame.lease.recordsDigest = lease.recordsDigest.data
        case .ack(let cursor, let refused):
            frame.ack.epoch = cursor.epoch
            frame.ack.revision = cursor.revision
            frame.ack.refused = refused.map { $0.isEmpty ? "refused" : $0 } ?? ""
        }
        return MessageCoding.encode(frame)
    }

    /// `peer` becomes the owner of every catalog record in the frame.
    package static func decode(_ bytes: [UInt8], from peer: ClusterID) throws(CodingError) -> SyncFrame {
        let frame = try MessageCoding.decode(FederationFrame.self, bytes)
        switch frame.kind {
        case .hello(let message):
            return .hello(try inside("hello") { () throws(CodingError) in try hello(message) })
        case .records(let message):
            return .records(
                try each("records", message.records, limit: CodingLimits.recordsPerFrame) {
                    (bytes) throws(CodingError) in try Field.bytes("", bytes, limit: CodingLimits.frameBytes)
                })
        case .delta(let message):
            let delta = CatalogDelta(
                epoch: message.epoch, from: message.fromRevision, to: message.toRevision,
                changed: try records("delta.changed", message.changed, owner: peer),
                removed: try each("delta.removed", message.removed, limit: CodingLimits.catalogRecords) {
                    (name) throws(CodingError) in try Field.objectName("", name)
                })
            guard delta.to > delta.from else { throw CodingError("delta.toRevision", .outOfRange) }
            return .delta(delta)
        case .snapshot(let message):
            return .snapshot(
                CatalogChunk(
                    cursor: CatalogCursor(epoch: message.epoch, revision: message.revision), index: message.index,
                    isLast: message.last, records: try records("snapshot.records", message.records, owner: peer)))
        case .lease(let message):
            guard message.recordsDigest.isEmpty || message.recordsDigest.count == 32 else {
                throw CodingError("lease.recordsDigest", .notA("32 bytes"))
            }
            return .lease(
                SyncLease(
                    counter: message.counter,
                    cursor: CatalogCursor(epoch: message.epoch, revision: message.revision),
                    wallTime: WallTime(seconds: message.wallTime), recordsDigest: Array(message.recordsDigest)))
        case .ack(let message):
            let refused = try Field.text("ack.refused", message.refused, limit: CodingLimits.reasonBytes)
            return .ack(
                CatalogCursor(epoch: message.epoch, revision: message.revision),
                refused: refused.isEmpty ? nil : refused)
        case nil: throw CodingError("kind", .missing)
        }
    }

    /// One catalog record by itself: for the store, and to know its length before cutting a catalog into chunks.
    package static func encode(_ record: CatalogRecord) -> [UInt8] { MessageCoding.encode(message(record)) }

    /// As `encode` of one record made it; `owner` is not in the bytes.
    package static func decodeRecord(_ bytes: [UInt8], owner: ClusterID) throws(CodingError) -> CatalogRecord {
        try record(try MessageCoding.decode(FederationCatalogRecord.self, bytes), owner: owner)
    }

    private static func hello(_ message: FederationHello) throws(CodingError) -> SyncHello {
        guard message.minimumVersion <= message.maximumVersion else { throw CodingError("minimumVersion", .outOfRange) }
        return SyncHello(
            cluster: try Field.cluster("cluster", message.cluster),
            version: try Field.text("version", message.version),
            features: try each("features", message.features, limit: CodingLimits.features) {
                (text) throws(CodingError) in try Field.text("", text)
            }, wallTime: WallTime(seconds: message.wallTime),
            cursor: CatalogCursor(epoch: message.epoch, revision: message.revision),
            versions: message.minimumVersion...message.maximumVersion)
    }

    private static func message(_ record: CatalogRecord) -> FederationCatalogRecord {
        var message = FederationCatalogRecord()
        message.service = record.service.description
        message.ports = record.ports.map(ServiceCoding.message)
        message.capacities = record.capacities.map(ServiceCoding.message)
        message.authorization = PolicyCoding.message(record.authorization)
        return message
    }

    private static func records(
        _ field: String, _ list: [FederationCatalogRecord], owner: ClusterID
    ) throws(CodingError) -> [CatalogRecord] {
        let records = try each(field, list, limit: CodingLimits.catalogRecords) { (message) throws(CodingError) in
            try record(message, owner: owner)
        }
        try requireUnique(field, records, \.service)
        return records
    }

    private static func record(
        _ message: FederationCatalogRecord, owner: ClusterID
    ) throws(CodingError) -> CatalogRecord {
        CatalogRecord(
            service: try Field.objectName("service", message.service), cluster: owner,
            ports: try ServiceCoding.ports(message.ports), capacities: try ServiceCoding.capacities(message.capacities),
            authorization: try inside("authorization") { () throws(CodingError) in
                try PolicyCoding.model(message.authorization)
            })
    }
}

/// `Federation/Join`, request. The records in it are not yet judged.
package struct JoinRequest: Hashable, Sendable {
    package var tokenSecret: [UInt8]
    package var membership: SignedRecord
    package var bundle: SignedRecord
    package var plan: Bool

    package init(tokenSecret: [UInt8], membership: SignedRecord, bundle: SignedRecord, plan: Bool) {
        self.tokenSecret = tokenSecret
        self.membership = membership
        self.bundle = bundle
        self.plan = plan
    }

    package func encode() -> [UInt8] {
        var message = FederationJoinRequest()
        message.tokenSecret = tokenSecret.data
        message.membership = membership.encoded.data
        message.bundle = bundle.encoded.data
        message.plan = plan
        return MessageCoding.encode(message)
    }

    package static func decode(_ bytes: [UInt8]) throws(CodingError) -> JoinRequest {
        let message = try MessageCoding.decode(FederationJoinRequest.self, bytes)
        return JoinRequest(
            tokenSecret: try Field.bytes(
                "tokenSecret", message.tokenSecret, exactly: CodingLimits.tokenSecretBytes),
            membership: try JoinAnswer.record("membership", Array(message.membership)),
            bundle: try JoinAnswer.record("bundle", Array(message.bundle)), plan: message.plan)
    }
}

/// `Federation/Join`, response.
package struct JoinAnswer: Hashable, Sendable {
    /// The joiner's, countersigned; nil in a plan.
    package var membership: SignedRecord?
    package var sponsorMembership: SignedRecord
    package var sponsorBundle: SignedRecord
    /// Of the other members.
    package var records: [SignedRecord]
    /// What the sponsor exports to the joiner.
    package var exports: [ObjectName]
    /// `host:port` of the sponsor's 15012.
    package var brokerAddresses: [String]

    package init(
        membership: SignedRecord?, sponsorMembership: SignedRecord, sponsorBundle: SignedRecord,
        records: [SignedRecord], exports: [ObjectName], brokerAddresses: [String]
    ) {
        self.membership = membership
        self.sponsorMembership = sponsorMembership
        self.sponsorBundle = sponsorBundle
        self.records = records
        self.exports = exports
        self.brokerAddresses = brokerAddresses
    }

    package func encode() -> [UInt8] {
        var message = FederationJoinResponse()
        if let membership { message.membership = membership.encoded.data }
        message.sponsorMembership = sponsorMembership.encoded.data
        message.sponsorBundle = sponsorBundle.encoded.data
        message.records = records.map(\.encoded.data)
        message.exports = exports.map(\.description)
        message.brokerAddresses = brokerAddresses
        return MessageCoding.encode(message)
    }

    package static func decode(_ bytes: [UInt8]) throws(CodingError) -> JoinAnswer {
        // The records of all members come with it.
        let message = try MessageCoding.decode(FederationJoinResponse.self, bytes, limit: CodingLimits.adminBytes)
        return JoinAnswer(
            membership: message.membership.isEmpty ? nil : try record("membership", Array(message.membership)),
            sponsorMembership: try record("sponsorMembership", Array(message.sponsorMembership)),
            sponsorBundle: try record("sponsorBundle", Array(message.sponsorBundle)),
            records: try each("records", message.records, limit: 8 * CodingLimits.members) {
                (bytes) throws(CodingError) in try SignedRecord.decode(Array(bytes))
            },
            exports: try each("exports", message.exports, limit: CodingLimits.catalogRecords) {
                (name) throws(CodingError) in try Field.objectName("", name)
            }, brokerAddresses: try IdentityCoding.addresses("brokerAddresses", message.brokerAddresses))
    }

    static func record(_ field: String, _ bytes: [UInt8]) throws(CodingError) -> SignedRecord {
        guard !bytes.isEmpty else { throw CodingError(field, .missing) }
        return try inside(field) { () throws(CodingError) in try SignedRecord.decode(bytes) }
    }
}
