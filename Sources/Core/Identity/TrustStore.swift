internal import COpenSSL
package import MeshModel

/// The roots of every trust domain that is believed, each domain by itself: never merged (PROTOCOLS section 1).
///
/// Immutable: a change of a bundle makes a new store, and `generation` tells caches that it did.
package final class TrustStore: Sendable {
    /// Serials that one bundle may revoke (PROTOCOLS section 7).
    package static let maximumRevokedSerials = 4_096
    /// Roots that one bundle may hold: a rotation needs two or three.
    package static let maximumRoots = 16

    /// Rises with every change; what was cached under another one is void.
    package let generation: UInt64
    let domains: [TrustDomain: Anchors]

    /// Throws `badBundle`, naming the trust domain, for a domain that stands twice, a root that cannot be read, that is no CA
    /// or whose key is of a kind that is not accepted, and for more roots or serials than the limits.
    package init(_ bundles: [TrustBundle], generation: UInt64) throws(IdentityError) {
        var domains: [TrustDomain: Anchors] = [:]
        for bundle in bundles {
            guard domains[bundle.trustDomain] == nil else {
                throw .badBundle("trust domain \(bundle.trustDomain) has two bundles")
            }
            domains[bundle.trustDomain] = try Anchors(bundle)
        }
        self.domains = domains
        self.generation = generation
    }

    /// The domains that have a bundle, empty ones too, sorted.
    package var trustDomains: [TrustDomain] { domains.keys.sorted() }

    /// Whether a peer that was verified before may stay: its domain still has roots and its leaf is not revoked. Whether its
    /// certificates have ended is the caller's to ask, with the time.
    package func stillTrusts(_ peer: PeerIdentity) -> Bool {
        guard let anchors = domains[peer.trustDomain], !anchors.isEmpty else { return false }
        return !anchors.revoked.contains(peer.serial)
    }

    /// The roots of one domain.
    @safe final class Anchors: Sendable {
        let trustDomain: TrustDomain
        let isEmpty: Bool
        let revoked: Set<[UInt8]>
        // SAFETY: nothing is added after init; look-ups in an X509_STORE take its own lock.
        private nonisolated(unsafe) let store: OpaquePointer

        init(_ bundle: TrustBundle) throws(IdentityError) {
            guard bundle.roots.count <= TrustStore.maximumRoots,
                bundle.revokedSerials.count <= TrustStore.maximumRevokedSerials
            else { throw .badBundle("the bundle of \(bundle.trustDomain) is larger than its limits") }
            var roots: [Certificate] = []
            for der in bundle.roots {
                guard let root = try? Certificate(der: der) else {
                    throw .badBundle("a root of \(bundle.trustDomain) cannot be read")
                }
                let usable = unsafe root.withPointer { unsafe X509View.hasUsableCAKey($0) }
                guard root.isCA, usable else {
                    throw .badBundle("a root of \(bundle.trustDomain) is not a CA with an accepted key")
                }
                roots.append(root)
            }
            trustDomain = bundle.trustDomain
            isEmpty = roots.isEmpty
            // A serial is compared without leading zeros, as `Certificate.serial` gives it.
            revoked = Set(bundle.revokedSerials.map { Array($0.drop { $0 == 0 }) })
            // SAFETY: the store is owned here; it takes references of its own to the roots.
            guard let store = unsafe X509_STORE_new() else { throw .cryptographyFailed("X509_STORE_new") }
            for root in roots where unsafe root.withPointer({ unsafe X509_STORE_add_cert(store, $0) }) != 1 {
                unsafe X509_STORE_free(store)
                throw .cryptographyFailed("X509_STORE_add_cert")
            }
            unsafe self.store = store
        }

        deinit {
            // SAFETY: drops the one reference this object holds.
            unsafe X509_STORE_free(store)
        }

        /// Lends the X509_STORE for the length of `body`.
        func withStore<Result, Failure>(_ body: (OpaquePointer) throws(Failure) -> Result) throws(Failure) -> Result {
            // SAFETY: the object outlives the call.
            try withExtendedLifetime(self) { () throws(Failure) in unsafe try body(store) }
        }
    }
}
