import Identity
import Synchronization

/// Cheap signatures for simulations: a keyed hash, which nobody can make without the secret, at a hundredth of the cost of
/// ECDSA. A public key is a name in the ring; checking a signature looks the secret up.
package final class KeyRing: Sendable {
    /// One key pair.
    package struct Key: Sendable {
        package let publicKey: [UInt8]
        fileprivate let secret: [UInt8]

        /// 64 bytes.
        package func sign(_ message: [UInt8]) -> [UInt8] { KeyRing.signature(secret, message) }
    }

    private let secrets = Mutex<[[UInt8]: [UInt8]]>([:])

    package init() {}

    /// The same bytes give the same key.
    package func key(_ seed: [UInt8]) -> Key {
        let secret = SHA256.hash(Array("secret".utf8) + seed)
        let publicKey = Array("key:".utf8) + SHA256.hash(secret)
        secrets.withLock { $0[publicKey] = secret }
        return Key(publicKey: publicKey, secret: secret)
    }

    package func verify(_ publicKey: [UInt8], _ message: [UInt8], _ signature: [UInt8]) -> Bool {
        guard let secret = secrets.withLock({ $0[publicKey] }) else { return false }
        return Self.signature(secret, message) == signature
    }

    private static func signature(_ secret: [UInt8], _ message: [UInt8]) -> [UInt8] {
        let half = SHA256.hash(secret + message)
        return half + SHA256.hash(secret + half)
    }
}
