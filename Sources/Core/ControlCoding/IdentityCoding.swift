internal import ControlProtocol
internal import FoundationEssentials
package import MeshModel

/// `Identity/Issue`: renewal inside a session.
package struct IssueAnswer: Hashable, Sendable {
    /// DER, leaf first.
    package var chain: [[UInt8]]
    package var bundles: [TrustBundle]
    package var notBefore: WallTime
    package var notAfter: WallTime

    package init(chain: [[UInt8]], bundles: [TrustBundle], notBefore: WallTime, notAfter: WallTime) {
        self.chain = chain
        self.bundles = bundles
        self.notBefore = notBefore
        self.notAfter = notAfter
    }

    package func encode() -> [UInt8] {
        var message = IdentityIssueResponse()
        message.chain = chain.map(\.data)
        message.bundles = bundles.map(BundleCoding.message)
        message.notBefore = notBefore.seconds
        message.notAfter = notAfter.seconds
        return MessageCoding.encode(message)
    }

    package static func decode(_ bytes: [UInt8]) throws(CodingError) -> IssueAnswer {
        // Bundles of all members may come with it.
        let message = try MessageCoding.decode(IdentityIssueResponse.self, bytes, limit: CodingLimits.adminBytes)
        let bundles = try each("bundles", message.bundles, limit: CodingLimits.members + 1, BundleCoding.model)
        try requireUnique("bundles", bundles, \.trustDomain)
        return IssueAnswer(
            chain: try IdentityCoding.chain(message.chain), bundles: bundles,
            notBefore: WallTime(seconds: message.notBefore), notAfter: WallTime(seconds: message.notAfter))
    }
}

/// `Enrolment/Enrol` and `Enrolment/Renew`: what a process needs to start.
package struct EnrolmentAnswer: Hashable, Sendable {
    /// DER, leaf first.
    package var chain: [[UInt8]]
    package var bundle: TrustBundle
    package var cluster: ClusterID
    package var identity: SPIFFEID
    /// `host:port` of 15012.
    package var brokerAddresses: [String]
    /// `host:port` of 8443.
    package var enrolmentAddresses: [String]
    package var notBefore: WallTime
    package var notAfter: WallTime

    package init(
        chain: [[UInt8]], bundle: TrustBundle, cluster: ClusterID, identity: SPIFFEID, brokerAddresses: [String],
        enrolmentAddresses: [String], notBefore: WallTime, notAfter: WallTime
    ) {
        self.chain = chain
        self.bundle = bundle
        self.cluster = cluster
        self.identity = identity
        self.brokerAddresses = brokerAddresses
        self.enrolmentAddresses = enrolmentAddresses
        self.notBefore = notBefore
        self.notAfter = notAfter
    }

    package func encode() -> [UInt8] {
        var message = IdentityEnrolResponse()
        message.chain = chain.map(\.data)
        message.bundle = BundleCoding.message(bundle)
        message.cluster = cluster.description
        message.identity = identity.description
        message.brokerAddresses = brokerAddresses
        message.enrolmentAddresses = enrolmentAddresses
        message.notBefore = notBefore.seconds
        message.notAfter = notAfter.seconds
        return MessageCoding.encode(message)
    }

    /// Checks also that identity and bundle are of one trust domain.
    package static func decode(_ bytes: [UInt8]) throws(CodingError) -> EnrolmentAnswer {
        let message = try MessageCoding.decode(IdentityEnrolResponse.self, bytes)
        let answer = EnrolmentAnswer(
            chain: try IdentityCoding.chain(message.chain),
            bundle: try inside("bundle") { () throws(CodingError) in try BundleCoding.model(message.bundle) },
            cluster: try Field.cluster("cluster", message.cluster),
            identity: try Field.spiffeID("identity", message.identity),
            brokerAddresses: try IdentityCoding.addresses("brokerAddresses", message.brokerAddresses),
            enrolmentAddresses: try IdentityCoding.addresses("enrolmentAddresses", message.enrolmentAddresses),
            notBefore: WallTime(seconds: message.notBefore), notAfter: WallTime(seconds: message.notAfter))
        guard answer.identity.trustDomain == answer.bundle.trustDomain else {
            throw CodingError("identity", .notA("an ID of the bundle's trust domain"))
        }
        return answer
    }
}

/// `Enrolment/Renew`: an SVID that ran out.
package struct RenewalRequest: Hashable, Sendable {
    package var oldLeaf: [UInt8]
    package var certificateRequest: [UInt8]
    /// r‖s by the old key over `"meshfed renew v1\0"` ‖ SHA-256(old leaf) ‖ request.
    package var signature: [UInt8]

    package init(oldLeaf: [UInt8], certificateRequest: [UInt8], signature: [UInt8]) {
        self.oldLeaf = oldLeaf
        self.certificateRequest = certificateRequest
        self.signature = signature
    }

    package func encode() -> [UInt8] {
        var message = IdentityRenewRequest()
        message.oldLeaf = oldLeaf.data
        message.certificateRequest = certificateRequest.data
        message.signature = signature.data
        return MessageCoding.encode(message)
    }

    package static func decode(_ bytes: [UInt8]) throws(CodingError) -> RenewalRequest {
        let message = try MessageCoding.decode(IdentityRenewRequest.self, bytes)
        return RenewalRequest(
            oldLeaf: try Field.bytes("oldLeaf", message.oldLeaf, limit: CodingLimits.certificateBytes),
            certificateRequest: try Field.bytes(
                "certificateRequest", message.certificateRequest, limit: CodingLimits.certificateRequestBytes),
            signature: try Field.bytes("signature", message.signature, exactly: 64))
    }
}

/// The two requests that are one or two byte strings.
package enum IdentityCoding {
    /// `Identity/Issue`.
    package static func encodeIssueRequest(certificateRequest: [UInt8]) -> [UInt8] {
        var message = IdentityIssueRequest()
        message.certificateRequest = certificateRequest.data
        return MessageCoding.encode(message)
    }

    /// The DER of the CSR.
    package static func decodeIssueRequest(_ bytes: [UInt8]) throws(CodingError) -> [UInt8] {
        let message = try MessageCoding.decode(IdentityIssueRequest.self, bytes)
        return try Field.bytes(
            "certificateRequest", message.certificateRequest, limit: CodingLimits.certificateRequestBytes)
    }

    /// `Enrolment/Enrol`.
    package static func encodeEnrolRequest(tokenSecret: [UInt8], certificateRequest: [UInt8]) -> [UInt8] {
        var message = IdentityEnrolRequest()
        message.tokenSecret = tokenSecret.data
        message.certificateRequest = certificateRequest.data
        return MessageCoding.encode(message)
    }

    /// Secret of the token and DER of the CSR.
    package static func decodeEnrolRequest(
        _ bytes: [UInt8]
    ) throws(CodingError) -> (tokenSecret: [UInt8], certificateRequest: [UInt8]) {
        let message = try MessageCoding.decode(IdentityEnrolRequest.self, bytes)
        return (
            try Field.bytes("tokenSecret", message.tokenSecret, exactly: CodingLimits.tokenSecretBytes),
            try Field.bytes(
                "certificateRequest", message.certificateRequest, limit: CodingLimits.certificateRequestBytes)
        )
    }

    static func chain(_ list: [Data]) throws(CodingError) -> [[UInt8]] {
        guard !list.isEmpty else { throw CodingError("chain", .missing) }
        return try each("chain", list, limit: CodingLimits.chain) { (certificate) throws(CodingError) in
            try Field.bytes("", certificate, limit: CodingLimits.certificateBytes)
        }
    }

    static func addresses(_ field: String, _ list: [String]) throws(CodingError) -> [String] {
        try each(field, list, limit: CodingLimits.addresses) { (text) throws(CodingError) in
            try Field.hostAndPort("", text)
        }
    }
}
