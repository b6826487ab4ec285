/// What a reader takes at most. A count is chosen well above what a mesh of the published size needs (1,000 services,
/// 10,000 endpoints, 100 clusters), and low enough that a message at every limit still fits into memory.
package enum CodingLimits {
    /// A serialised snapshot: 64 MiB is 260 bytes for each of 262,144 endpoints.
    package static let snapshotBytes = 64 << 20
    /// A last-good file: a snapshot and its frame.
    package static let snapshotFileBytes = snapshotBytes + 1_024
    /// One frame of Sync, one Join, one admin request: a peer's message is held in memory before it is judged.
    package static let frameBytes = 1 << 20
    /// An admin answer, or `apply` of a whole directory.
    package static let adminBytes = 16 << 20

    /// Clusters of a federation; the aim is 100.
    package static let members = 1_024
    /// Gateways of one cluster.
    package static let gateways = 256
    /// Services of one snapshot.
    package static let services = 65_536
    /// Endpoints of one snapshot, over all services.
    package static let endpoints = 262_144
    /// Ports of one service (Kubernetes allows 250 or so by object size; nobody uses more than a few).
    package static let ports = 256
    /// Localities of one service in one cluster.
    package static let localities = 256
    /// Services that one member may offer here; above it the frame is refused with a quota error.
    package static let catalogRecords = 16_384
    /// Authorisation rules of one service.
    package static let rules = 1_024
    /// Callers of one authorisation rule.
    package static let callers = 1_024
    /// Rate limit rules of one service.
    package static let limitRules = 64

    /// Roots of one bundle: an old and a new one overlap during a rotation; eight leaves room for mistakes.
    package static let roots = 8
    /// DER of one certificate; OpenSSL's own limit for a chain is 100 KiB.
    package static let certificateBytes = 16_384
    /// Certificates of one chain.
    package static let chain = 8
    /// Revoked leaves of one bundle (PROTOCOLS section 7).
    package static let revokedSerials = 4_096
    /// Octets of a serial number (RFC 5280 section 4.1.2.2).
    package static let serialBytes = 20
    /// DER of a PKCS#10 request with a P-256 key: a few hundred bytes.
    package static let certificateRequestBytes = 8_192
    /// DER of a P-256 SubjectPublicKeyInfo is 91 bytes.
    package static let publicKeyBytes = 256
    /// PEM roots of `tls: simple`.
    package static let pemBytes = 65_536
    /// Secret of a token: 256 random bits.
    package static let tokenSecretBytes = 32

    /// Payload of a signed record: a bundle with 4,096 serials and 8 roots is below 256 KiB.
    package static let recordPayloadBytes = 512 << 10
    /// Signatures of a signed record: one for each part.
    package static let signatures = 4
    /// Signed records of one frame.
    package static let recordsPerFrame = 1_024
    /// Health results of one frame.
    package static let healthPerFrame = 4_096
    /// Services of one workload in a report of plaintext.
    package static let plaintextPerFrame = 1_024
    /// Feature words of a Hello.
    package static let features = 64
    /// Addresses of one broker.
    package static let addresses = 16

    /// Names, versions, feature words, region, zone.
    package static let nameBytes = 253
    /// Text for people: reasons.
    package static let reasonBytes = 1_024
    /// The longest duration that means anything here.
    package static let longestDuration = Duration.seconds(366 * 86_400)
}
