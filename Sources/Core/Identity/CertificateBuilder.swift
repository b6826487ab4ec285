package import MeshModel

/// Writes the two kinds of certificates that meshfed makes: a root and an SVID. certs/profiles documents both.
package enum CertificateBuilder {
    /// A root lives ten years; it is rotated by the authority's life cycle long before (PROTOCOLS section 1).
    package static let rootLifetime: Duration = .seconds(10 * 365 * 86_400)
    /// PROTOCOLS section 1: SVIDs live 24 h.
    package static let svidLifetime: Duration = .seconds(86_400)
    /// How far a new certificate's beginning lies in the past, in seconds, for peers whose clock is behind.
    package static let backdating: Int64 = 30
    /// Random bytes in a serial: 127 bits, far above the 64 that RFC 5280 practice asks for.
    package static let serialLength = 16

    /// AlgorithmIdentifier of ECDSA with SHA-256 (RFC 5758 section 3.2).
    package static let ecdsaWithSHA256 = DER.sequence(DER.object([1, 2, 840, 10_045, 4, 3, 2]))

    /// A positive serial of 16 bytes that never starts with zero.
    package static func serial(_ random: RandomSource) throws(IdentityError) -> [UInt8] {
        var bytes = try random(serialLength)
        guard bytes.count == serialLength else { throw .cryptographyFailed("the random source") }
        bytes[0] = bytes[0] & 0x7F | 0x40
        return bytes
    }

    /// A self-signed root for `trustDomain`: CA:TRUE with `pathLength` (0: it signs leaves; 1: one intermediate may stand
    /// between), key usage keyCertSign and cRLSign, URI `spiffe://<domain>` without a path.
    package static func root(
        trustDomain: TrustDomain, key: borrowing PrivateKey, serial: [UInt8], now: WallTime,
        lifetime: Duration = rootLifetime, pathLength: UInt8 = 0
    ) throws(IdentityError) -> [UInt8] {
        let subject = authorityName(key.publicKey)
        let identifier = keyID(key.publicKey)
        let body = tbs(
            serial: serial, issuer: subject, subject: subject, spki: key.publicKey.spki,
            notBefore: now.advanced(bySeconds: -backdating),
            notAfter: now.advanced(bySeconds: lifetime.components.seconds),
            extensions: [
                basicConstraints(isCA: true, pathLength: pathLength),
                keyUsage([5, 6]),
                subjectKeyID(identifier),
                authorityKeyID(identifier),
                alternativeNames(uris: [Array("spiffe://\(trustDomain)".utf8)], dnsNames: []),
            ])
        return signed(body, try key.signDER(body))
    }

    /// An SVID for `id` and `publicKey`, signed by `issuer`. It ends no later than its issuer.
    package static func svid(
        _ id: SPIFFEID, dnsNames: [ASCIIText] = [], publicKey: PublicKey, issuer: Certificate,
        issuerKey: borrowing PrivateKey, serial: [UInt8], now: WallTime, lifetime: Duration = svidLifetime
    ) throws(IdentityError) -> [UInt8] {
        guard publicKey.isP256 else { throw .unsupportedKey("an SVID's key is an ECDSA P-256 key") }
        let end = now.advanced(bySeconds: lifetime.components.seconds)
        let body = tbs(
            serial: serial, issuer: issuer.subject,
            subject: DER.sequence(DER.set(DER.sequence(DER.object([2, 5, 4, 10]), DER.utf8("meshfed")))),
            spki: publicKey.spki, notBefore: now.advanced(bySeconds: -backdating), notAfter: min(end, issuer.notAfter),
            extensions: [
                basicConstraints(isCA: false, pathLength: nil),
                keyUsage([0]),
                extendedKeyUsage([[1, 3, 6, 1, 5, 5, 7, 3, 1], [1, 3, 6, 1, 5, 5, 7, 3, 2]]),
                subjectKeyID(keyID(publicKey)),
                authorityKeyID(issuer.subjectKeyID.isEmpty ? keyID(issuer.publicKey) : issuer.subjectKeyID),
                alternativeNames(uris: [id.bytes], dnsNames: dnsNames.map(\.bytes)),
            ])
        return signed(body, try issuerKey.signDER(body))
    }

    /// TBSCertificate, version 3 (RFC 5280 section 4.1.2). Also what tests make bad certificates with.
    package static func tbs(
        serial: [UInt8], issuer: [UInt8], subject: [UInt8], spki: [UInt8], notBefore: WallTime, notAfter: WallTime,
        extensions: [[UInt8]]
    ) -> [UInt8] {
        DER.sequence(
            DER.tagged(0, DER.integer([2]), constructed: true), DER.integer(serial), ecdsaWithSHA256, issuer,
            DER.sequence(DER.time(notBefore), DER.time(notAfter)), subject, spki,
            extensions.isEmpty
                ? [] : DER.tagged(3, DER.value(0x30, extensions.flatMap { $0 }), constructed: true))
    }

    /// Certificate from its body and a DER signature over it.
    package static func signed(_ body: [UInt8], _ signature: [UInt8]) -> [UInt8] {
        DER.sequence(body, ecdsaWithSHA256, DER.bits(signature))
    }

    /// `O=meshfed, CN=<16 digits of the key's hash>`: two roots of one domain never share a name.
    package static func authorityName(_ key: PublicKey) -> [UInt8] {
        let name = Hex.encode(Array(key.fingerprint.prefix(8)))
        return DER.sequence(
            DER.set(DER.sequence(DER.object([2, 5, 4, 10]), DER.utf8("meshfed"))),
            DER.set(DER.sequence(DER.object([2, 5, 4, 3]), DER.utf8(name))))
    }

    /// The leftmost 160 bits of SHA-256 of the SPKI (RFC 7093 section 2, method 4).
    package static func keyID(_ key: PublicKey) -> [UInt8] { Array(key.fingerprint.prefix(20)) }

    package static func `extension`(_ arcs: [UInt32], critical: Bool, _ value: [UInt8]) -> [UInt8] {
        DER.sequence(DER.object(arcs), critical ? DER.boolean(true) : [], DER.octets(value))
    }

    package static func basicConstraints(isCA: Bool, pathLength: UInt8?) -> [UInt8] {
        let length = pathLength.map { DER.integer([$0]) } ?? []
        return `extension`(
            [2, 5, 29, 19], critical: true, DER.sequence(isCA ? DER.boolean(true) : [], isCA ? length : []))
    }

    /// `bits` are the numbers of RFC 5280 section 4.2.1.3, below 8: 0 digitalSignature, 5 keyCertSign, 6 cRLSign.
    package static func keyUsage(_ bits: [UInt8], critical: Bool = true) -> [UInt8] {
        var flags: UInt8 = 0
        for bit in bits { flags |= 0x80 >> bit }
        return `extension`(
            [2, 5, 29, 15], critical: critical, DER.bits([flags], unused: UInt8(flags.trailingZeroBitCount)))
    }

    package static func extendedKeyUsage(_ purposes: [[UInt32]]) -> [UInt8] {
        `extension`([2, 5, 29, 37], critical: false, DER.value(0x30, purposes.flatMap { DER.object($0) }))
    }

    package static func subjectKeyID(_ identifier: [UInt8]) -> [UInt8] {
        `extension`([2, 5, 29, 14], critical: false, DER.octets(identifier))
    }

    package static func authorityKeyID(_ identifier: [UInt8]) -> [UInt8] {
        `extension`(
            [2, 5, 29, 35], critical: false, DER.sequence(DER.tagged(0, identifier, constructed: false)))
    }

    package static func alternativeNames(uris: [[UInt8]], dnsNames: [[UInt8]]) -> [UInt8] {
        let names =
            uris.flatMap { DER.tagged(6, $0, constructed: false) }
            + dnsNames.flatMap { DER.tagged(2, $0, constructed: false) }
        return `extension`([2, 5, 29, 17], critical: false, DER.value(0x30, names))
    }
}
