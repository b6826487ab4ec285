internal import COpenSSL
package import MeshModel

/// A peer whose certificates were verified. Only the verifier of this file makes one.
package struct PeerIdentity: Hashable, Sendable {
    /// One object, so that handing an identity on costs one retain.
    private final class Parts: Sendable {
        let id: SPIFFEID
        let serial: [UInt8]
        let notAfter: WallTime
        let leafHash: [UInt8]

        init(_ id: SPIFFEID, _ serial: [UInt8], _ notAfter: WallTime, _ leafHash: [UInt8]) {
            self.id = id
            self.serial = serial
            self.notAfter = notAfter
            self.leafHash = leafHash
        }
    }

    private let parts: Parts

    package var id: SPIFFEID { parts.id }
    /// The leaf's serial, without leading zeros.
    package var serial: [UInt8] { parts.serial }
    /// The earliest end among the certificates of the verified chain.
    package var notAfter: WallTime { parts.notAfter }
    /// SHA-256 of the leaf's DER, 32 bytes.
    package var leafHash: [UInt8] { parts.leafHash }

    fileprivate init(id: SPIFFEID, serial: [UInt8], notAfter: WallTime, leafHash: [UInt8]) {
        parts = Parts(id, serial, notAfter, leafHash)
    }

    package var trustDomain: TrustDomain { parts.id.trustDomain }

    package static func == (left: PeerIdentity, right: PeerIdentity) -> Bool {
        left.parts === right.parts
            || (left.id == right.id && left.serial == right.serial && left.notAfter == right.notAfter
                && left.leafHash == right.leafHash)
    }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(parts.leafHash)
        hasher.combine(parts.notAfter)
    }
}

/// Which part in TLS the peer plays.
package enum PeerPurpose: Hashable, Sendable { case client, server }

/// A verified chain with what has to be judged again later, when time has passed.
struct VerifiedChain: Hashable, Sendable {
    let identity: PeerIdentity
    let leafNotAfter: WallTime
    /// The latest beginning and the earliest end in the chain.
    let notBefore: WallTime
    let notAfter: WallTime

    /// Refuses when a certificate of the chain is not valid at `now`, give or take the leeway.
    func checkTime(_ now: WallTime) throws(PeerRefusal) {
        if now.advanced(bySeconds: Leeway.seconds) < notBefore { throw .notYetValid }
        if now.advanced(bySeconds: -Leeway.seconds) > notAfter { throw .expired }
    }
}

/// How far two clocks may differ, in seconds, on every check of a beginning or an end (PROTOCOLS section 1).
package enum Leeway { package static let seconds: Int64 = 30 }

extension TrustStore {
    /// Certificates that a peer may show: leaf, one intermediate, and the root that some send along.
    package static let maximumPresented = 3

    /// Verifies a chain in DER, leaf first, under the rules of PROTOCOLS section 1.
    package func verify(
        chain: [[UInt8]], purpose: PeerPurpose, now: WallTime
    ) throws(PeerRefusal) -> PeerIdentity {
        guard !chain.isEmpty else { throw .noCertificate }
        guard chain.count <= Self.maximumPresented else { throw .chainTooLong }
        var certificates: [Certificate] = []
        for der in chain {
            guard let certificate = try? Certificate(der: der) else { throw .malformed }
            certificates.append(certificate)
        }
        return try verify(certificates, purpose: purpose, now: now).identity
    }

    /// For SSL_CTX_set_cert_verify_callback: judges the leaf and the chain of an X509_STORE_CTX. On a refusal the error that
    /// makes OpenSSL send the right alert is set in it; the callback then returns 0, else 1. `cache` is the thread's: a leaf that
    /// it holds is judged by its times only.
    package func verify(
        storeContext: OpaquePointer, purpose: PeerPurpose, now: WallTime, cache: ChainCache? = nil
    ) throws(PeerRefusal) -> PeerIdentity {
        do throws(PeerRefusal) {
            // SAFETY: leaf and chain belong to the context, which outlives the call.
            guard let leaf = unsafe X509_STORE_CTX_get0_cert(storeContext) else { throw .noCertificate }
            let presented = unsafe X509_STORE_CTX_get0_untrusted(storeContext)
            // As `judge` does: a long list is refused whoever sends it.
            let count = unsafe presented.map { unsafe shim_sk_X509_num($0) } ?? 0
            guard count <= Self.maximumPresented else { throw .chainTooLong }
            let der = unsafe cache == nil ? nil : X509View.encoded(leaf)
            let verified: VerifiedChain
            if let der, let known = cache?.chain(of: SHA256.hash(der), purpose: purpose, under: self) {
                try known.checkTime(now)
                verified = known
            } else {
                verified = unsafe try judge(leaf: leaf, presented: presented, purpose: purpose, now: now)
                cache?.keep(verified, purpose: purpose, under: self)
            }
            if let der { unsafe cache?.keep(decoded: leaf, der: der) }
            unsafe X509_STORE_CTX_set_error(storeContext, X509_V_OK)
            return verified.identity
        } catch {
            unsafe X509_STORE_CTX_set_error(storeContext, error.verifyError)
            throw error
        }
    }

    /// Verifies certificates that are read already, leaf first; at least one, at most `maximumPresented`.
    func verify(
        _ certificates: [Certificate], purpose: PeerPurpose, now: WallTime
    ) throws(PeerRefusal) -> VerifiedChain {
        // SAFETY: the stack holds no references; the array keeps the certificates alive over the call.
        guard let stack = unsafe shim_sk_X509_new_null() else { throw .malformed }
        defer { unsafe shim_sk_X509_free(stack) }
        for certificate in certificates
        where unsafe certificate.withPointer({ unsafe shim_sk_X509_push(stack, $0) }) <= 0 {
            throw .malformed
        }
        let verified = unsafe try certificates[0].withPointer { (leaf) throws(PeerRefusal) in
            unsafe try judge(leaf: leaf, presented: stack, purpose: purpose, now: now)
        }
        withExtendedLifetime(certificates) {}
        return verified
    }

    private func judge(
        leaf: OpaquePointer, presented: OpaquePointer?, purpose: PeerPurpose, now: WallTime
    ) throws(PeerRefusal) -> VerifiedChain {
        // SAFETY (whole function): leaf and stack are lent by the caller for the length of the call.
        let count = unsafe presented.map { unsafe shim_sk_X509_num($0) } ?? 0
        guard count <= Self.maximumPresented else { throw .chainTooLong }
        let id = unsafe try LeafProfile.check(leaf, purpose: purpose)
        for index in 0..<count {
            guard let certificate = unsafe presented.flatMap({ unsafe shim_sk_X509_value($0, index) }) else {
                throw .malformed
            }
            // A key that is slow to check a signature with is refused before any signature is checked.
            guard unsafe certificate == leaf || X509View.hasUsableCAKey(certificate) else { throw .unsupportedKey }
        }
        guard let anchors = domains[id.trustDomain] else { throw .unknownTrustDomain }
        guard !anchors.isEmpty else { throw .emptyBundle }
        return unsafe try anchors.withStore { (store) throws(PeerRefusal) in
            guard let context = unsafe X509_STORE_CTX_new() else { throw .malformed }
            defer { unsafe X509_STORE_CTX_free(context) }
            guard unsafe X509_STORE_CTX_init(context, store, leaf, presented) == 1,
                let parameters = unsafe X509_STORE_CTX_get0_param(context)
            else { throw .malformed }
            // Times are judged below, with the leeway; every certificate of the bundle is an anchor, also one that another
            // CA signed; one intermediate; 112 bits of strength.
            unsafe X509_VERIFY_PARAM_set_flags(
                parameters, UInt(X509_V_FLAG_NO_CHECK_TIME) | UInt(X509_V_FLAG_PARTIAL_CHAIN))
            unsafe X509_VERIFY_PARAM_set_depth(parameters, 1)
            unsafe X509_VERIFY_PARAM_set_auth_level(parameters, 2)
            let kind = purpose == .client ? X509_PURPOSE_SSL_CLIENT : X509_PURPOSE_SSL_SERVER
            guard unsafe X509_VERIFY_PARAM_set_purpose(parameters, kind) == 1 else { throw .malformed }
            guard unsafe X509_verify_cert(context) == 1 else {
                let error = unsafe X509_STORE_CTX_get_error(context)
                ERR_clear_error()
                throw PeerRefusal(verifyError: error)
            }
            guard let chain = unsafe X509_STORE_CTX_get0_chain(context) else { throw .unknownCA }
            return unsafe try accept(chain, id: id, anchors: anchors, now: now)
        }
    }

    /// The checks that need the built chain: its length, times, revocation, and that all of it is of one domain.
    private func accept(
        _ chain: OpaquePointer, id: SPIFFEID, anchors: Anchors, now: WallTime
    ) throws(PeerRefusal) -> VerifiedChain {
        // SAFETY (whole function): the chain is lent by the caller for the length of the call.
        let count = unsafe shim_sk_X509_num(chain)
        guard count >= 2, count <= 3 else { throw count < 2 ? .unknownCA : .chainTooLong }
        guard let leaf = unsafe shim_sk_X509_value(chain, 0), let serial = unsafe X509View.serial(leaf),
            let der = unsafe X509View.encoded(leaf), let own = unsafe X509View.times(leaf)
        else { throw .malformed }
        var (notBefore, notAfter) = own
        let domainURI = Array("spiffe://\(anchors.trustDomain)".utf8)
        for index in 1..<count {
            guard let authority = unsafe shim_sk_X509_value(chain, index), let times = unsafe X509View.times(authority),
                let uris = unsafe X509View.uriSANs(authority), let number = unsafe X509View.serial(authority)
            else { throw .malformed }
            notBefore = max(notBefore, times.notBefore)
            notAfter = min(notAfter, times.notAfter)
            // A CA's own SPIFFE ID, if any, is its trust domain without a path (X509-SVID section 2).
            for uri in uris where uri.starts(with: Array("spiffe://".utf8)) && uri != domainURI { throw .wrongDomain }
            if index < count - 1, anchors.revoked.contains(number) { throw .revoked }
        }
        guard let again = unsafe X509View.uriSANs(leaf), again == [id.bytes], id.trustDomain == anchors.trustDomain
        else {
            throw .wrongDomain
        }
        if anchors.revoked.contains(serial) { throw .revoked }
        let identity = PeerIdentity(id: id, serial: serial, notAfter: notAfter, leafHash: SHA256.hash(der))
        let verified = VerifiedChain(
            identity: identity, leafNotAfter: own.notAfter, notBefore: notBefore, notAfter: notAfter)
        try verified.checkTime(now)
        return verified
    }
}

/// What a leaf must look like by itself, before anybody asks who signed it.
enum LeafProfile {
    /// Checks SAN, basicConstraints, keyUsage, extendedKeyUsage and the kind of key; `purpose` nil asks for both parts.
    static func check(_ leaf: OpaquePointer, purpose: PeerPurpose?) throws(PeerRefusal) -> SPIFFEID {
        // SAFETY (whole function): the leaf is lent by the caller for the length of the call.
        let flags = unsafe X509_get_extension_flags(leaf)
        guard flags & UInt32(EXFLAG_INVALID) == 0, let uris = unsafe X509View.uriSANs(leaf) else { throw .malformed }
        guard uris.count == 1 else { throw .notSingleURI }
        guard let id = SPIFFEID(uris[0]) else { throw .badSPIFFEID }
        guard flags & UInt32(EXFLAG_CA) == 0 else { throw .leafIsCA }
        // X509-SVID section 4.3: keyUsage is there, critical, and signs nothing but handshakes and assertions.
        guard unsafe shim_X509_extension_state(leaf, NID_key_usage) == 2 else { throw .keyUsage }
        let usage = unsafe X509_get_key_usage(leaf)
        guard usage & UInt32(KU_DIGITAL_SIGNATURE) != 0, usage & UInt32(KU_KEY_CERT_SIGN | KU_CRL_SIGN) == 0 else {
            throw .keyUsage
        }
        // No extended key usage at all means any (RFC 5280 section 4.2.1.12); X509-SVID section 4.4 makes it optional.
        switch unsafe shim_X509_extension_state(leaf, NID_ext_key_usage) {
        case 0: break
        case 1, 2:
            let both = UInt32(XKU_SSL_CLIENT | XKU_SSL_SERVER)
            let needed =
                switch purpose {
                case .client: UInt32(XKU_SSL_CLIENT)
                case .server: UInt32(XKU_SSL_SERVER)
                case nil: both
                }
            guard unsafe X509_get_extended_key_usage(leaf) & needed == needed else { throw .extendedKeyUsage }
        default: throw .extendedKeyUsage
        }
        guard unsafe X509View.isP256(leaf) else { throw .unsupportedKey }
        return id
    }
}

/// A root that is known by the hash of its key only, as a join token carries it (PROTOCOLS section 1).
package struct RootPin: Hashable, Sendable {
    package let trustDomain: TrustDomain
    /// SHA-256 of the root's SPKI, 32 bytes.
    package let fingerprint: [UInt8]

    package init(trustDomain: TrustDomain, fingerprint: [UInt8]) {
        self.trustDomain = trustDomain
        self.fingerprint = fingerprint
    }

    /// Verifies a server's chain that carries its own root: the root's key must be the pinned one, and the leaf of the
    /// pinned trust domain. Returns who it is and the root to keep.
    package func verify(chain: [[UInt8]], now: WallTime) throws(PeerRefusal) -> (peer: PeerIdentity, root: [UInt8]) {
        guard !chain.isEmpty else { throw .noCertificate }
        guard chain.count <= TrustStore.maximumPresented else { throw .chainTooLong }
        for der in chain.dropFirst() {
            guard let root = try? Certificate(der: der) else { throw .malformed }
            guard constantTimeEquals(root.publicKey.fingerprint, fingerprint) else { continue }
            guard let store = try? TrustStore([TrustBundle(trustDomain: trustDomain, roots: [der])], generation: 0)
            else {
                throw .unknownCA
            }
            return (try store.verify(chain: chain, purpose: .server, now: now), der)
        }
        throw .unknownCA
    }

    /// The same for SSL_CTX_set_cert_verify_callback; sets the error in the context on a refusal.
    package func verify(
        storeContext: OpaquePointer, now: WallTime
    ) throws(PeerRefusal) -> (peer: PeerIdentity, root: [UInt8]) {
        do throws(PeerRefusal) {
            // SAFETY: leaf and chain belong to the context, which outlives the call; every certificate is copied.
            guard let leaf = unsafe X509_STORE_CTX_get0_cert(storeContext), let first = unsafe X509View.encoded(leaf)
            else {
                throw .noCertificate
            }
            var chain = [first]
            if let presented = unsafe X509_STORE_CTX_get0_untrusted(storeContext) {
                for index in 0..<min(unsafe shim_sk_X509_num(presented), 16) {
                    guard let certificate = unsafe shim_sk_X509_value(presented, index),
                        let der = unsafe X509View.encoded(certificate)
                    else { throw .malformed }
                    if der != first { chain.append(der) }
                }
            }
            let verified = try verify(chain: chain, now: now)
            unsafe X509_STORE_CTX_set_error(storeContext, X509_V_OK)
            return verified
        } catch {
            unsafe X509_STORE_CTX_set_error(storeContext, error.verifyError)
            throw error
        }
    }
}
