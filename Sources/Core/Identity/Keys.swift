internal import COpenSSL

/// The private half of an ECDSA P-256 key pair. Owning it is the right to sign; the key is freed with the value.
@safe package struct PrivateKey: ~Copyable, Sendable {
    // SAFETY: an EVP_PKEY is not changed after it was made; OpenSSL allows signing with it from many threads at once.
    private nonisolated(unsafe) let key: OpaquePointer
    /// The public half.
    package let publicKey: PublicKey

    /// Takes over `key`, which is freed also when this throws.
    private init(owning key: OpaquePointer) throws(IdentityError) {
        // SAFETY: `key` is owned here until it is stored.
        guard unsafe shim_is_P256(key) == 1 else {
            unsafe EVP_PKEY_free(key)
            throw .unsupportedKey("the private key is not an ECDSA P-256 key")
        }
        do throws(IdentityError) {
            publicKey = unsafe try PublicKey(pointer: key)
        } catch {
            unsafe EVP_PKEY_free(key)
            throw error
        }
        unsafe self.key = key
    }

    deinit {
        // SAFETY: drops the one reference this value holds.
        unsafe EVP_PKEY_free(key)
    }

    /// A new key from the system's randomness.
    package static func generate() throws(IdentityError) -> PrivateKey {
        // SAFETY: a fresh pointer, owned by the value that is made.
        guard let key = unsafe shim_EVP_EC_gen_P256() else { throw .cryptographyFailed("EVP_EC_gen") }
        return unsafe try PrivateKey(owning: key)
    }

    /// Reads one block `PRIVATE KEY` (PKCS#8) or `EC PRIVATE KEY` (SEC 1, with or without `EC PARAMETERS` before it).
    package init(pem: [UInt8]) throws(IdentityError) {
        let blocks = try PEM.blocks(pem).filter { $0.label != "EC PARAMETERS" }
        guard blocks.count == 1, blocks[0].label == "PRIVATE KEY" || blocks[0].label == "EC PRIVATE KEY" else {
            throw .malformed("the key text does not hold exactly one unencrypted private key")
        }
        try self.init(der: blocks[0].bytes)
    }

    /// Reads PKCS#8 or SEC 1 DER.
    package init(der: [UInt8]) throws(IdentityError) {
        // SAFETY: the pointer moves inside the buffer during the call only; a key that came out is owned here.
        let (key, rest) = unsafe der.withUnsafeBufferPointer { buffer -> (OpaquePointer?, Int) in
            var cursor = buffer.baseAddress
            let key = unsafe d2i_AutoPrivateKey(nil, &cursor, buffer.count)
            let read = unsafe cursor.map { unsafe $0 - (buffer.baseAddress ?? $0) } ?? 0
            return unsafe (key, buffer.count - read)
        }
        guard let key = unsafe key else { throw .malformed("the private key cannot be read") }
        guard rest == 0 else {
            unsafe EVP_PKEY_free(key)
            throw .malformed("bytes after the private key")
        }
        unsafe try self.init(owning: key)
    }

    /// PKCS#8 DER. Whoever holds it holds the key.
    package borrowing func der() throws(IdentityError) -> [UInt8] {
        var bytes: UnsafeMutablePointer<UInt8>?
        // SAFETY: OpenSSL hands out a buffer of `count` bytes, which is wiped and freed here.
        let count = unsafe shim_i2d_PKCS8(key, &bytes)
        guard count > 0, let start = unsafe bytes else { throw .cryptographyFailed("i2d_PKCS8_PRIV_KEY_INFO") }
        let der = unsafe Array(UnsafeBufferPointer(start: start, count: Int(count)))
        unsafe shim_free_secret(start, Int(count))
        return der
    }

    /// PKCS#8 PEM. Whoever holds it holds the key.
    package borrowing func pem() throws(IdentityError) -> [UInt8] { PEM.encode("PRIVATE KEY", try der()) }

    /// A second owner of the same key.
    package borrowing func duplicate() throws(IdentityError) -> PrivateKey {
        // SAFETY: the new value owns the reference that is added.
        guard unsafe EVP_PKEY_up_ref(key) == 1 else { throw .cryptographyFailed("EVP_PKEY_up_ref") }
        return unsafe try PrivateKey(owning: key)
    }

    /// ECDSA with SHA-256 over `message`; r‖s, 64 bytes.
    package borrowing func sign(_ message: [UInt8]) throws(IdentityError) -> [UInt8] {
        guard let signature = SignatureForm.raw(try signDER(message)) else {
            throw .cryptographyFailed("EVP_DigestSign")
        }
        return signature
    }

    /// The same over `context ‖ message`. A context ends with NUL and names purpose and version, so that a signature made
    /// for one purpose is worth nothing for another.
    package borrowing func sign(_ message: [UInt8], context: SignatureContext) throws(IdentityError) -> [UInt8] {
        try sign(context.bytes + message)
    }

    /// ECDSA with SHA-256 as SEQUENCE{r, s}, for X.509 structures.
    package borrowing func signDER(_ message: [UInt8]) throws(IdentityError) -> [UInt8] {
        // SAFETY: the context lives in this function; OpenSSL writes at most `length` bytes.
        guard let context = unsafe EVP_MD_CTX_new() else { throw .cryptographyFailed("EVP_MD_CTX_new") }
        defer { unsafe EVP_MD_CTX_free(context) }
        guard unsafe EVP_DigestSignInit(context, nil, shim_sha256(), nil, key) == 1 else {
            throw .cryptographyFailed("EVP_DigestSignInit")
        }
        var signature = [UInt8](repeating: 0, count: 80)
        var length = signature.count
        let done = unsafe signature.withUnsafeMutableBufferPointer { output in
            unsafe message.withUnsafeBufferPointer { input in
                unsafe EVP_DigestSign(context, output.baseAddress, &length, input.baseAddress, input.count)
            }
        }
        guard done == 1, length <= signature.count else { throw .cryptographyFailed("EVP_DigestSign") }
        signature.removeLast(signature.count - length)
        return signature
    }

    /// Lends the EVP_PKEY for the length of `body`; for TLS only.
    package borrowing func withPointer<Result>(_ body: (OpaquePointer) -> Result) -> Result {
        // SAFETY: the pointer does not outlive the call; `body` takes a reference where it keeps the key.
        unsafe body(key)
    }
}

/// What a signature is for: a prefix that ends with NUL.
package struct SignatureContext: Hashable, Sendable {
    package let bytes: [UInt8]

    /// `name` without the NUL, for example "meshfed record v1".
    package init(_ name: StaticString) { bytes = Array("\(name)".utf8) + [0] }

    /// PROTOCOLS section 5.
    package static let origin = SignatureContext("meshfed origin v1")
    /// PROTOCOLS section 1, Restart.
    package static let renewal = SignatureContext("meshfed renew v1")
    /// PROTOCOLS section 7, Federation key.
    package static let record = SignatureContext("meshfed record v1")
}

/// A public key: its SubjectPublicKeyInfo in DER, compared as bytes.
package struct PublicKey: Hashable, Sendable {
    /// SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7).
    package let spki: [UInt8]
    /// True for ECDSA P-256, the only kind that meshfed signs with.
    package let isP256: Bool

    /// Reads DER; throws `malformed` when it is not one key and nothing else, `unsupportedKey` when it is not P-256.
    package init(spki: [UInt8]) throws(IdentityError) {
        guard spki.count <= 1_024, let key = unsafe Self.read(spki) else {
            throw .malformed("the public key cannot be read")
        }
        // SAFETY: `key` is owned here and freed at the end.
        defer { unsafe EVP_PKEY_free(key) }
        let canonical = unsafe try PublicKey(pointer: key)
        guard canonical.isP256 else { throw .unsupportedKey("the public key is not an ECDSA P-256 key") }
        guard canonical.spki == spki else { throw .malformed("the public key is not in its canonical form") }
        self = canonical
    }

    /// Copies the public half out of `pointer`, an EVP_PKEY that is not kept.
    init(pointer: OpaquePointer) throws(IdentityError) {
        var bytes: UnsafeMutablePointer<UInt8>?
        // SAFETY: OpenSSL hands out a buffer of `count` bytes, which is freed here.
        let count = unsafe i2d_PUBKEY(pointer, &bytes)
        guard count > 0, let start = unsafe bytes else { throw .cryptographyFailed("i2d_PUBKEY") }
        spki = unsafe Array(UnsafeBufferPointer(start: start, count: Int(count)))
        unsafe shim_free(start)
        isP256 = unsafe shim_is_P256(pointer) == 1
    }

    /// SHA-256 of the SPKI: the form of a root pin and of a federation key's name, 32 bytes.
    package var fingerprint: [UInt8] { SHA256.hash(spki) }

    /// True when `signature` (r‖s) was made over `message` with this key; false for anything else.
    package func verify(_ signature: [UInt8], message: [UInt8]) -> Bool {
        guard isP256, let key = unsafe Self.read(spki) else { return false }
        // SAFETY: `key` is owned here.
        defer { unsafe EVP_PKEY_free(key) }
        return unsafe Self.verify(signature, message: message, key: key)
    }

    /// True when `signature` (r‖s) was made over `context ‖ message`.
    package func verify(_ signature: [UInt8], message: [UInt8], context: SignatureContext) -> Bool {
        verify(signature, message: context.bytes + message)
    }

    /// The same with a key that the caller holds, an EVP_PKEY on P-256.
    static func verify(_ signature: [UInt8], message: [UInt8], key: OpaquePointer) -> Bool {
        guard let der = SignatureForm.der(signature) else { return false }
        // SAFETY: the context lives in this function, the buffers outlive the calls.
        guard let context = unsafe EVP_MD_CTX_new() else { return false }
        defer { unsafe EVP_MD_CTX_free(context) }
        guard unsafe EVP_DigestVerifyInit(context, nil, shim_sha256(), nil, key) == 1 else { return false }
        let answer = unsafe der.withUnsafeBufferPointer { signature in
            unsafe message.withUnsafeBufferPointer { message in
                unsafe EVP_DigestVerify(
                    context, signature.baseAddress, signature.count, message.baseAddress, message.count)
            }
        }
        ERR_clear_error()
        return answer == 1
    }

    /// An EVP_PKEY that the caller frees, or nil.
    private static func read(_ spki: [UInt8]) -> OpaquePointer? {
        // SAFETY: the cursor stays inside the buffer during the call.
        unsafe spki.withUnsafeBufferPointer { buffer in
            var cursor = buffer.baseAddress
            guard let key = unsafe d2i_PUBKEY(nil, &cursor, buffer.count) else {
                ERR_clear_error()
                return nil
            }
            guard let start = buffer.baseAddress, let end = unsafe cursor, unsafe end - start == buffer.count else {
                unsafe EVP_PKEY_free(key)
                return nil
            }
            return unsafe key
        }
    }
}
