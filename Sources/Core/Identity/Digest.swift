internal import COpenSSL

/// SHA-256 (FIPS 180-4).
package enum SHA256 {
    /// The length of a digest in bytes.
    package static let length = 32

    /// The 32-byte digest of `bytes`.
    package static func hash(_ bytes: [UInt8]) -> [UInt8] { hash(bytes.span) }

    /// The 32-byte digest of `bytes`.
    package static func hash(_ bytes: Span<UInt8>) -> [UInt8] {
        var done: Int32 = 0
        // SAFETY: both buffers outlive the call, and the digest's length is the one the algorithm writes.
        let digest = unsafe [UInt8](unsafeUninitializedCapacity: length) { buffer, count in
            unsafe bytes.withUnsafeBufferPointer { input in
                done = unsafe EVP_Digest(input.baseAddress, input.count, buffer.baseAddress, nil, shim_sha256(), nil)
            }
            unsafe buffer.suffix(from: done == 1 ? length : 0).initialize(repeating: 0)
            count = length
        }
        precondition(done == 1, "SHA-256 is part of every provider")
        return digest
    }
}

/// Random bytes from wherever the owner takes them; tests hand in a seeded one.
package typealias RandomSource = @Sendable (_ count: Int) throws(IdentityError) -> [UInt8]

/// The operating system's randomness, through OpenSSL's generator.
package enum SystemRandom {
    /// `count` bytes fit for keys, nonces and serials.
    package static func bytes(_ count: Int) throws(IdentityError) -> [UInt8] {
        guard let wanted = Int32(exactly: count), wanted >= 0 else {
            throw .malformed("cannot make \(count) random bytes")
        }
        var bytes = [UInt8](repeating: 0, count: count)
        // SAFETY: the buffer has `count` bytes.
        let done = unsafe bytes.withUnsafeMutableBufferPointer { unsafe RAND_bytes($0.baseAddress, wanted) }
        guard done == 1 else { throw .cryptographyFailed("RAND_bytes") }
        return bytes
    }

    /// `bytes` as a value to hand in.
    package static let source: RandomSource = { (count: Int) throws(IdentityError) -> [UInt8] in try bytes(count) }
}

/// True when both hold the same bytes; takes the same time wherever they differ (their lengths are no secret).
package func constantTimeEquals(_ left: [UInt8], _ right: [UInt8]) -> Bool {
    guard left.count == right.count else { return false }
    var difference: UInt8 = 0
    for index in left.indices { difference |= left[index] ^ right[index] }
    return difference == 0
}
