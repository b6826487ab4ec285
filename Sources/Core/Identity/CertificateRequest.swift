internal import COpenSSL

/// A certificate request (PKCS #10, RFC 2986): it brings the key and the proof of its possession, nothing else
/// (PROTOCOLS section 1).
package struct CertificateRequest: Hashable, Sendable {
    /// The longest request that is read, in bytes; ours has about 200.
    package static let maximumLength = 4_096

    package let der: [UInt8]
    package let publicKey: PublicKey

    /// A request without subject and attributes, signed with `key`.
    package static func make(key: borrowing PrivateKey) throws(IdentityError) -> [UInt8] {
        let body = DER.sequence(
            DER.integer([0]), DER.sequence(), key.publicKey.spki, DER.tagged(0, [], constructed: true))
        return DER.sequence(body, CertificateBuilder.ecdsaWithSHA256, DER.bits(try key.signDER(body)))
    }

    /// Reads a request and checks its signature. Throws `malformed` for what is no request or asks for extensions or other
    /// attributes (the authority decides what a certificate holds), `unsupportedKey` for a key that is not P-256.
    package init(der: [UInt8]) throws(IdentityError) {
        guard der.count <= Self.maximumLength else { throw .malformed("the certificate request is too long") }
        // SAFETY: the cursor stays inside the buffer during the call; the request is owned here.
        let (request, rest) = unsafe der.withUnsafeBufferPointer { buffer -> (OpaquePointer?, Int) in
            var cursor = buffer.baseAddress
            let request = unsafe d2i_X509_REQ(nil, &cursor, buffer.count)
            let read = unsafe cursor.map { unsafe $0 - (buffer.baseAddress ?? $0) } ?? 0
            return unsafe (request, buffer.count - read)
        }
        guard let request = unsafe request else {
            ERR_clear_error()
            throw .malformed("the certificate request cannot be read")
        }
        defer { unsafe X509_REQ_free(request) }
        guard rest == 0 else { throw .malformed("bytes after the certificate request") }
        guard unsafe X509_REQ_get_attr_count(request) <= 0 else {
            throw .malformed(
                "the certificate request asks for attributes; the authority decides what a certificate holds")
        }
        guard let key = unsafe X509_REQ_get0_pubkey(request) else {
            ERR_clear_error()
            throw .malformed("the key of the certificate request cannot be read")
        }
        guard unsafe shim_is_P256(key) == 1 else {
            throw .unsupportedKey("the certificate request's key is not an ECDSA P-256 key")
        }
        guard unsafe X509_REQ_get_signature_nid(request) == NID_ecdsa_with_SHA256,
            unsafe X509_REQ_verify(request, key) == 1
        else {
            ERR_clear_error()
            throw .malformed("the certificate request's signature does not prove possession of its key")
        }
        publicKey = unsafe try PublicKey(pointer: key)
        self.der = der
    }
}

/// The proof with which an SVID that ran out is renewed (PROTOCOLS section 1, Restart).
package enum RenewalProof {
    /// What the old key signs after `"meshfed renew v1\0"`: SHA-256(old leaf) ‖ new request.
    package static func message(oldLeaf: [UInt8], request: [UInt8]) -> [UInt8] { SHA256.hash(oldLeaf) + request }

    /// r‖s with the old key.
    package static func sign(
        oldLeaf: [UInt8], request: [UInt8], key: borrowing PrivateKey
    ) throws(IdentityError) -> [UInt8] {
        try key.sign(message(oldLeaf: oldLeaf, request: request), context: .renewal)
    }

    /// True when the holder of the old leaf's key signed exactly this request.
    package static func verify(_ signature: [UInt8], oldLeaf: Certificate, request: [UInt8]) -> Bool {
        oldLeaf.publicKey.verify(
            signature, message: message(oldLeaf: oldLeaf.der, request: request), context: .renewal)
    }
}
