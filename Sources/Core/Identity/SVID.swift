internal import COpenSSL
package import MeshModel

/// An identity of our own: a chain, leaf first, and the leaf's private key (X509-SVID).
package final class SVID: Sendable {
    /// Leaf, then intermediates; the root is not part of it.
    package let chain: [Certificate]
    package let key: PrivateKey
    package let id: SPIFFEID
    package let notBefore: WallTime
    package let notAfter: WallTime

    /// Throws `notAnSVID` for a leaf that breaks the profile, `keyMismatch` for another key, `malformed` for no certificate
    /// or more than leaf, intermediate and root.
    package init(chain: [Certificate], key: consuming PrivateKey) throws(IdentityError) {
        guard let leaf = chain.first, chain.count <= TrustStore.maximumPresented else {
            throw .malformed("an SVID needs one to \(TrustStore.maximumPresented) certificates, leaf first")
        }
        do throws(PeerRefusal) {
            // SAFETY: the certificate is lent for the call and not kept.
            id = unsafe try leaf.withPointer { (leaf) throws(PeerRefusal) in
                unsafe try LeafProfile.check(leaf, purpose: nil)
            }
        } catch {
            throw .notAnSVID(error.reason)
        }
        guard leaf.publicKey == key.publicKey else { throw .keyMismatch }
        self.chain = chain
        self.key = key
        notBefore = leaf.notBefore
        notAfter = leaf.notAfter
    }

    /// From DER, leaf first.
    package convenience init(chainDER: [[UInt8]], key: consuming PrivateKey) throws(IdentityError) {
        var chain: [Certificate] = []
        for der in chainDER { chain.append(try Certificate(der: der)) }
        try self.init(chain: chain, key: key)
    }

    /// From the two files that an operator gives; the error says which of them is at fault and how.
    package static func load(pemChain: [UInt8], keyPEM: [UInt8]) throws(IdentityError) -> SVID {
        let key = try PrivateKey(pem: keyPEM)
        return try SVID(chainDER: try PEM.certificates(pemChain), key: key)
    }

    package var leaf: Certificate { chain[0] }
    package var chainDER: [[UInt8]] { chain.map(\.der) }
    package var pemChain: [UInt8] { PEM.encode(certificates: chainDER) }

    /// When to renew: half of the life, moved by up to a tenth of the life either way with `jitter` in 0…1
    /// (PROTOCOLS section 1: half life with jitter).
    package func renewal(jitter: Double) -> WallTime {
        let life = max(0, notAfter.seconds - notBefore.seconds)
        let shift = Int64(Double(life) * (min(max(jitter, 0), 1) - 0.5) / 5)
        return notBefore.advanced(bySeconds: life / 2 + shift)
    }
}
