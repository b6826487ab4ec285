internal import COpenSSL
internal import MeshModel

/// Chains that one thread has verified, so that a peer that comes again costs no second verification (decision 0040).
///
/// An entry says: this leaf, in this part of TLS, was verified under this trust store. It holds until the store changes, and its
/// times are judged on every use; that the peer has the key is proven by each handshake itself. Refusals are not kept.
/// Owned by one thread.
package final class ChainCache {
    /// The most leaves that are kept: at about 200 bytes each, well below what their connections take.
    package static let maximumEntries = 4_096
    /// The first size: a sidecar knows few peers.
    private static let smallest = 64

    private var trust: TrustStore?
    private var table: BoundedTable<VerifiedChain>
    private var capacity = ChainCache.smallest
    private var inserted = 0
    private let seed: UInt64
    /// Leaves that the thread keeps decoded, so that OpenSSL need not read them again (decision 0043); 0 keeps none.
    package var certificates = 0
    /// Verifications that were saved.
    package private(set) var hits: UInt64 = 0

    /// `seed` orders the entries; only what was verified stands there, so nobody gains by knowing it.
    package init(seed: UInt64) {
        self.seed = seed
        table = BoundedTable(capacity: 1, seed: seed)
    }

    /// What was proven of this leaf (SHA-256 of its DER) under `trust`; another store forgets everything.
    func chain(of leafHash: [UInt8], purpose: PeerPurpose, under trust: TrustStore) -> VerifiedChain? {
        guard trust === self.trust else { return nil }
        guard let found = table[Self.key(leafHash, purpose).span] else { return nil }
        hits &+= 1
        return found
    }

    func keep(_ chain: VerifiedChain, purpose: PeerPurpose, under trust: TrustStore) {
        if trust !== self.trust {
            self.trust = trust
            capacity = Self.smallest
            clear()
        } else if inserted >= capacity, capacity < Self.maximumEntries {
            // Growing forgets: what comes again is verified once more.
            capacity *= 4
            clear()
        }
        inserted += 1
        table.insert(Self.key(chain.identity.leafHash, purpose).span, chain, end: chain.notAfter)
    }

    /// Keeps a leaf decoded that was verified.
    func keep(decoded leaf: OpaquePointer, der: [UInt8]) {
        guard certificates > 0 else { return }
        // SAFETY: the table takes a reference and copies the bytes.
        unsafe der.withUnsafeBufferPointer {
            unsafe shim_known_certificate(leaf, $0.baseAddress, $0.count, certificates)
        }
    }

    /// Certificates that this thread was spared to decode.
    package static var decodingsSaved: UInt64 { shim_known_certificate_hits() }

    private func clear() {
        inserted = 0
        table = BoundedTable(capacity: capacity, seed: seed)
    }

    private static func key(_ leafHash: [UInt8], _ purpose: PeerPurpose) -> [UInt8] {
        leafHash + [purpose == .client ? 1 : 2]
    }
}
