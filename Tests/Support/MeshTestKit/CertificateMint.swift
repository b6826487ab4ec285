package import Identity
package import MeshModel

/// A CA of a test: mints good certificates, and bad ones of every kind that a verifier has to refuse.
package final class CertificateMint: Sendable {
    /// 2030-01-01T00:00:00Z, the moment at which tests happen.
    package static let now = WallTime(seconds: 1_893_456_000)

    /// What stands in a leaf. The defaults make a good SVID; a test changes what it is about.
    package struct Leaf: Sendable {
        package var uris: [[UInt8]]
        package var dnsNames: [[UInt8]] = []
        package var isCA = false
        package var pathLength: UInt8?
        /// Bits of RFC 5280 section 4.2.1.3; nil leaves the extension out.
        package var keyUsage: [UInt8]? = [0]
        package var keyUsageIsCritical = true
        /// Object identifiers; nil leaves the extension out.
        package var extendedKeyUsage: [[UInt32]]? = [CertificateMint.serverAuth, CertificateMint.clientAuth]
        package var notBefore = CertificateMint.now.advanced(bySeconds: -30)
        package var notAfter = CertificateMint.now.advanced(bySeconds: 86_400)
        package var serial: [UInt8] = [0x41]
        /// A SubjectPublicKeyInfo to put in instead of the key's own.
        package var spki: [UInt8]?
        /// Whole extensions to add.
        package var more: [[UInt8]] = []

        package init(_ uris: String...) { self.uris = uris.map { Array($0.utf8) } }
    }

    package static let serverAuth: [UInt32] = [1, 3, 6, 1, 5, 5, 7, 3, 1]
    package static let clientAuth: [UInt32] = [1, 3, 6, 1, 5, 5, 7, 3, 2]

    package let trustDomain: TrustDomain
    package let key: PrivateKey
    /// The CA's certificate: a root, or an intermediate.
    package let certificate: Certificate

    /// A self-signed root.
    package init(
        _ trustDomain: String, pathLength: UInt8 = 1, now: WallTime = CertificateMint.now,
        lifetime: Duration = CertificateBuilder.rootLifetime
    ) throws(IdentityError) {
        guard let domain = TrustDomain(trustDomain) else { throw .malformed("\(trustDomain) is no trust domain") }
        self.trustDomain = domain
        key = try PrivateKey.generate()
        certificate = try Certificate(
            der: CertificateBuilder.root(
                trustDomain: domain, key: key, serial: try CertificateBuilder.serial(SystemRandom.source), now: now,
                lifetime: lifetime, pathLength: pathLength))
    }

    private init(trustDomain: TrustDomain, key: consuming PrivateKey, certificate: Certificate) {
        self.trustDomain = trustDomain
        self.key = key
        self.certificate = certificate
    }

    /// An intermediate signed by this CA.
    package func intermediate(_ change: (inout Leaf) -> Void = { _ in }) throws(IdentityError) -> CertificateMint {
        var options = Leaf("spiffe://\(trustDomain)")
        options.isCA = true
        options.keyUsage = [5, 6]
        options.extendedKeyUsage = nil
        options.serial = [0x51]
        change(&options)
        let key = try PrivateKey.generate()
        let name = CertificateBuilder.authorityName(key.publicKey)
        let der = try sign(options, subject: name, publicKey: key.publicKey)
        return CertificateMint(trustDomain: trustDomain, key: key, certificate: try Certificate(der: der))
    }

    /// A leaf's DER for `publicKey`.
    package func leaf(_ options: Leaf, publicKey: PublicKey) throws(IdentityError) -> [UInt8] {
        try sign(options, subject: DER.sequence(), publicKey: publicKey)
    }

    /// A leaf's DER for a key that nobody keeps.
    package func leaf(_ options: Leaf) throws(IdentityError) -> [UInt8] {
        try leaf(options, publicKey: PrivateKey.generate().publicKey)
    }

    /// A good SVID; `change` may spoil its times or serial.
    package func svid(_ id: String, _ change: (inout Leaf) -> Void = { _ in }) throws(IdentityError) -> SVID {
        var options = Leaf(id)
        options.serial = try CertificateBuilder.serial(SystemRandom.source)
        change(&options)
        let key = try PrivateKey.generate()
        let der = try leaf(options, publicKey: key.publicKey)
        return try SVID(chainDER: [der], key: key)
    }

    /// The bundle that trusts this CA.
    package func bundle(revoked: [[UInt8]] = []) -> TrustBundle {
        TrustBundle(trustDomain: trustDomain, roots: [certificate.der], revokedSerials: revoked)
    }

    private func sign(_ options: Leaf, subject: [UInt8], publicKey: PublicKey) throws(IdentityError) -> [UInt8] {
        var extensions: [[UInt8]] = []
        extensions.append(CertificateBuilder.basicConstraints(isCA: options.isCA, pathLength: options.pathLength))
        if let bits = options.keyUsage {
            extensions.append(CertificateBuilder.keyUsage(bits, critical: options.keyUsageIsCritical))
        }
        if let purposes = options.extendedKeyUsage { extensions.append(CertificateBuilder.extendedKeyUsage(purposes)) }
        extensions.append(CertificateBuilder.subjectKeyID(CertificateBuilder.keyID(publicKey)))
        extensions.append(CertificateBuilder.authorityKeyID(certificate.subjectKeyID))
        if !options.uris.isEmpty || !options.dnsNames.isEmpty {
            extensions.append(
                CertificateBuilder.alternativeNames(uris: options.uris, dnsNames: options.dnsNames))
        }
        extensions += options.more
        let body = CertificateBuilder.tbs(
            serial: options.serial, issuer: certificate.subject, subject: subject, spki: options.spki ?? publicKey.spki,
            notBefore: options.notBefore, notAfter: options.notAfter, extensions: extensions)
        return CertificateBuilder.signed(body, try key.signDER(body))
    }
}
