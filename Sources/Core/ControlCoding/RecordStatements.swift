internal import ControlProtocol
internal import FoundationEssentials
package import MeshModel

/// Payload of a membership record: who is a member and how to reach it.
package struct MembershipStatement: Hashable, Sendable {
    package var cluster: ClusterID
    package var trustDomain: TrustDomain
    /// DER SPKI.
    package var federationKey: [UInt8]
    /// SHA-256 of each root's SPKI.
    package var rootHashes: [[UInt8]]
    /// `host:port`; none when its broker only dials out.
    package var brokerAddresses: [String]
    package var gateways: [GatewayAddress]
    /// From 1.
    package var epoch: UInt64

    package init(
        cluster: ClusterID, trustDomain: TrustDomain, federationKey: [UInt8], rootHashes: [[UInt8]],
        brokerAddresses: [String], gateways: [GatewayAddress], epoch: UInt64
    ) {
        self.cluster = cluster
        self.trustDomain = trustDomain
        self.federationKey = federationKey
        self.rootHashes = rootHashes
        self.brokerAddresses = brokerAddresses
        self.gateways = gateways
        self.epoch = epoch
    }

    package func encode() -> [UInt8] {
        var message = FederationMembership()
        message.cluster = cluster.description
        message.trustDomain = trustDomain.description
        message.federationKey = federationKey.data
        message.rootHashes = rootHashes.map(\.data)
        message.brokerAddresses = brokerAddresses
        message.gateways = gateways.map(MemberCoding.message)
        message.epoch = epoch
        return MessageCoding.encode(message)
    }

    package static func decode(_ payload: [UInt8]) throws(CodingError) -> MembershipStatement {
        let message = try MessageCoding.decode(FederationMembership.self, payload)
        guard message.epoch >= 1 else { throw CodingError("epoch", .outOfRange) }
        let hashes = try each("rootHashes", message.rootHashes, limit: CodingLimits.roots) {
            (hash) throws(CodingError) in try Field.bytes("", hash, exactly: 32)
        }
        try requireUnique("rootHashes", hashes, \.self)
        return MembershipStatement(
            cluster: try Field.cluster("cluster", message.cluster),
            trustDomain: try Field.trustDomain("trustDomain", message.trustDomain),
            federationKey: try Field.bytes(
                "federationKey", message.federationKey, limit: CodingLimits.publicKeyBytes), rootHashes: hashes,
            brokerAddresses: try IdentityCoding.addresses("brokerAddresses", message.brokerAddresses),
            gateways: try MemberCoding.gateways(message.gateways), epoch: message.epoch)
    }
}

/// Payload of a bundle record; the record's sequence is the bundle's.
package struct BundleStatement: Hashable, Sendable {
    package var trustDomain: TrustDomain
    package var roots: [[UInt8]]
    package var revokedSerials: [[UInt8]]

    package init(trustDomain: TrustDomain, roots: [[UInt8]], revokedSerials: [[UInt8]] = []) {
        self.trustDomain = trustDomain
        self.roots = roots
        self.revokedSerials = revokedSerials
    }

    package func encode() -> [UInt8] {
        var message = FederationBundle()
        message.trustDomain = trustDomain.description
        message.roots = roots.map(\.data)
        message.revokedSerials = revokedSerials.map(\.data)
        return MessageCoding.encode(message)
    }

    package static func decode(_ payload: [UInt8]) throws(CodingError) -> BundleStatement {
        let message = try MessageCoding.decode(FederationBundle.self, payload)
        return BundleStatement(
            trustDomain: try Field.trustDomain("trustDomain", message.trustDomain),
            roots: try each("roots", message.roots, limit: CodingLimits.roots) { (root) throws(CodingError) in
                try Field.bytes("", root, limit: CodingLimits.certificateBytes)
            },
            revokedSerials: try each(
                "revokedSerials", message.revokedSerials, limit: CodingLimits.revokedSerials
            ) { (serial) throws(CodingError) in try Field.bytes("", serial, limit: CodingLimits.serialBytes) })
    }
}

/// Payload of a tombstone: the end of a membership.
package struct TombstoneStatement: Hashable, Sendable {
    package var cluster: ClusterID
    /// DER SPKI of the key that is dead.
    package var federationKey: [UInt8]
    package var epoch: UInt64
    package var reason: String

    package init(cluster: ClusterID, federationKey: [UInt8], epoch: UInt64, reason: String) {
        self.cluster = cluster
        self.federationKey = federationKey
        self.epoch = epoch
        self.reason = reason
    }

    package func encode() -> [UInt8] {
        var message = FederationTombstone()
        message.cluster = cluster.description
        message.federationKey = federationKey.data
        message.epoch = epoch
        message.reason = reason
        return MessageCoding.encode(message)
    }

    package static func decode(_ payload: [UInt8]) throws(CodingError) -> TombstoneStatement {
        let message = try MessageCoding.decode(FederationTombstone.self, payload)
        guard message.epoch >= 1 else { throw CodingError("epoch", .outOfRange) }
        return TombstoneStatement(
            cluster: try Field.cluster("cluster", message.cluster),
            federationKey: try Field.bytes(
                "federationKey", message.federationKey, limit: CodingLimits.publicKeyBytes), epoch: message.epoch,
            reason: try Field.text("reason", message.reason, limit: CodingLimits.reasonBytes))
    }
}

/// Payload of a key rotation.
package struct KeyRotationStatement: Hashable, Sendable {
    package var cluster: ClusterID
    /// DER SPKI.
    package var oldKey: [UInt8]
    /// DER SPKI.
    package var newKey: [UInt8]

    package init(cluster: ClusterID, oldKey: [UInt8], newKey: [UInt8]) {
        self.cluster = cluster
        self.oldKey = oldKey
        self.newKey = newKey
    }

    package func encode() -> [UInt8] {
        var message = FederationKeyRotation()
        message.cluster = cluster.description
        message.oldKey = oldKey.data
        message.newKey = newKey.data
        return MessageCoding.encode(message)
    }

    package static func decode(_ payload: [UInt8]) throws(CodingError) -> KeyRotationStatement {
        let message = try MessageCoding.decode(FederationKeyRotation.self, payload)
        return KeyRotationStatement(
            cluster: try Field.cluster("cluster", message.cluster),
            oldKey: try Field.bytes("oldKey", message.oldKey, limit: CodingLimits.publicKeyBytes),
            newKey: try Field.bytes("newKey", message.newKey, limit: CodingLimits.publicKeyBytes))
    }
}
