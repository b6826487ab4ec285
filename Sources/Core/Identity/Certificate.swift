internal import COpenSSL
package import MeshModel

/// One X.509 certificate, read once. It says what stands in it; whether it may be believed is `TrustStore`'s matter.
@safe package final class Certificate: Sendable {
    /// The largest certificate that is read, in bytes: one with 500 DNS names fits, a flood of names does not.
    package static let maximumLength = 32_768

    package let der: [UInt8]
    /// The serial number's magnitude, big-endian, without leading zeros.
    package let serial: [UInt8]
    package let notBefore: WallTime
    package let notAfter: WallTime
    package let publicKey: PublicKey
    /// True when basicConstraints says CA:TRUE.
    package let isCA: Bool
    /// Every URI among the subject alternative names, byte for byte.
    package let uriSANs: [[UInt8]]
    /// The subject's distinguished name in DER.
    package let subject: [UInt8]
    /// The subject key identifier; empty where there is none.
    package let subjectKeyID: [UInt8]
    // SAFETY: an X509 is not changed after it was read; what OpenSSL caches in it is guarded by its own lock.
    private nonisolated(unsafe) let x509: OpaquePointer

    /// Reads one DER certificate and nothing after it. Throws `malformed`.
    package init(der: [UInt8]) throws(IdentityError) {
        guard let x509 = unsafe X509View.read(der) else { throw .malformed("the certificate cannot be read") }
        do throws(IdentityError) {
            guard let times = unsafe X509View.times(x509), let uris = unsafe X509View.uriSANs(x509),
                let serial = unsafe X509View.serial(x509), let key = unsafe X509_get0_pubkey(x509)
            else { throw .malformed("the certificate holds a field that cannot be read") }
            self.serial = serial
            notBefore = times.notBefore
            notAfter = times.notAfter
            uriSANs = uris
            publicKey = unsafe try PublicKey(pointer: key)
            isCA = unsafe X509View.isCA(x509)
            subject = unsafe X509View.subject(x509)
            subjectKeyID = unsafe X509View.subjectKeyID(x509)
        } catch {
            // SAFETY: the certificate is owned here until it is stored.
            unsafe X509_free(x509)
            throw error
        }
        self.der = der
        unsafe self.x509 = x509
    }

    deinit {
        // SAFETY: drops the one reference this object holds.
        unsafe X509_free(x509)
    }

    /// The ID when there is exactly one URI and it is a SPIFFE ID with a path.
    package var spiffeID: SPIFFEID? { uriSANs.count == 1 ? SPIFFEID(uriSANs[0]) : nil }

    /// SHA-256 of the DER, 32 bytes.
    package var fingerprint: [UInt8] { SHA256.hash(der) }

    /// Lends the X509 for the length of `body`; for TLS and the verifier only.
    package func withPointer<Result, Failure>(_ body: (OpaquePointer) throws(Failure) -> Result) throws(Failure)
        -> Result
    {
        // SAFETY: the object outlives the call; `body` takes a reference where it keeps the certificate.
        try withExtendedLifetime(self) { () throws(Failure) in unsafe try body(x509) }
    }
}

extension Certificate {
    /// Lends the EVP_PKEY of the public key for the length of `body`.
    func withPublicKey<Result>(_ body: (OpaquePointer) -> Result) -> Result? {
        // SAFETY: the key belongs to the certificate, which outlives the call.
        unsafe withPointer { x509 in unsafe X509_get0_pubkey(x509).map { key in unsafe body(key) } }
    }
}

/// Reads fields of an X509 that somebody else owns.
enum X509View {
    /// A certificate that the caller frees, or nil; the bytes must be one DER value in its canonical form.
    static func read(_ der: [UInt8]) -> OpaquePointer? {
        guard der.count <= Certificate.maximumLength else { return nil }
        // SAFETY: the cursor stays inside the buffer during the call.
        return unsafe der.withUnsafeBufferPointer { buffer in
            var cursor = buffer.baseAddress
            guard let x509 = unsafe d2i_X509(nil, &cursor, buffer.count) else {
                ERR_clear_error()
                return nil
            }
            guard unsafe encoded(x509) == der else {
                unsafe X509_free(x509)
                return nil
            }
            return unsafe x509
        }
    }

    static func encoded(_ x509: OpaquePointer) -> [UInt8]? {
        var bytes: UnsafeMutablePointer<UInt8>?
        // SAFETY: OpenSSL hands out a buffer of `count` bytes, which is freed here.
        let count = unsafe i2d_X509(x509, &bytes)
        guard count > 0, let start = unsafe bytes else { return nil }
        defer { unsafe shim_free(start) }
        return unsafe Array(UnsafeBufferPointer(start: start, count: Int(count)))
    }

    static func times(_ x509: OpaquePointer) -> (notBefore: WallTime, notAfter: WallTime)? {
        var start: Int64 = 0
        var end: Int64 = 0
        // SAFETY: both times belong to the certificate.
        guard unsafe shim_ASN1_TIME_seconds(X509_get0_notBefore(x509), &start) == 1,
            unsafe shim_ASN1_TIME_seconds(X509_get0_notAfter(x509), &end) == 1
        else { return nil }
        return (WallTime(seconds: start), WallTime(seconds: end))
    }

    /// Nil when the extension stands twice or cannot be read; empty when it is absent or holds no URI.
    static func uriSANs(_ x509: OpaquePointer) -> [[UInt8]]? {
        var critical: Int32 = 0
        // SAFETY: the names are owned here; each URI is copied by its length, so a NUL in it stays in it.
        guard let names = unsafe shim_X509_get_san(x509, &critical) else {
            ERR_clear_error()
            return critical == -1 ? [] : nil
        }
        defer { unsafe shim_GENERAL_NAMES_free(names) }
        var uris: [[UInt8]] = []
        for index in 0..<(unsafe shim_GENERAL_NAMES_num(names)) {
            var length: Int32 = 0
            if let start = unsafe shim_GENERAL_NAMES_uri(names, index, &length) {
                unsafe uris.append(Array(UnsafeBufferPointer(start: start, count: Int(max(0, length)))))
            }
        }
        return uris
    }

    /// Nil for a negative serial or none.
    static func serial(_ x509: OpaquePointer) -> [UInt8]? {
        // SAFETY: the integer belongs to the certificate, the number made from it is freed here.
        guard let integer = unsafe X509_get0_serialNumber(x509), unsafe integer.pointee.type == V_ASN1_INTEGER,
            let number = unsafe ASN1_INTEGER_to_BN(integer, nil)
        else { return nil }
        defer { unsafe BN_free(number) }
        // RFC 5280 section 4.1.2.2 allows 20 bytes; more is refused.
        let count = unsafe Int((BN_num_bits(number) + 7) / 8)
        guard count > 0, count <= 20 else { return nil }
        var bytes = [UInt8](repeating: 0, count: count)
        _ = unsafe bytes.withUnsafeMutableBufferPointer { unsafe BN_bn2bin(number, $0.baseAddress) }
        return bytes
    }

    static func subject(_ x509: OpaquePointer) -> [UInt8] {
        var bytes: UnsafeMutablePointer<UInt8>?
        // SAFETY: OpenSSL hands out a buffer of `count` bytes, which is freed here.
        let count = unsafe i2d_X509_NAME(X509_get_subject_name(x509), &bytes)
        guard count > 0, let start = unsafe bytes else { return DER.sequence() }
        defer { unsafe shim_free(start) }
        return unsafe Array(UnsafeBufferPointer(start: start, count: Int(count)))
    }

    static func subjectKeyID(_ x509: OpaquePointer) -> [UInt8] {
        // SAFETY: the string belongs to the certificate and is copied.
        guard let string = unsafe X509_get0_subject_key_id(x509), let start = unsafe ASN1_STRING_get0_data(string)
        else {
            return []
        }
        return unsafe Array(UnsafeBufferPointer(start: start, count: Int(max(0, ASN1_STRING_length(string)))))
    }

    static func isCA(_ x509: OpaquePointer) -> Bool {
        // SAFETY: reads flags that OpenSSL caches under its own lock.
        unsafe X509_get_extension_flags(x509) & UInt32(EXFLAG_CA) != 0
    }

    static func isP256(_ x509: OpaquePointer) -> Bool {
        // SAFETY: the key belongs to the certificate.
        guard let key = unsafe X509_get0_pubkey(x509) else { return false }
        return unsafe shim_is_P256(key) == 1
    }

    static func hasUsableCAKey(_ x509: OpaquePointer) -> Bool {
        // SAFETY: the key belongs to the certificate.
        guard let key = unsafe X509_get0_pubkey(x509) else { return false }
        return unsafe shim_is_usable_CA_key(key) == 1
    }
}
