internal import COpenSSL
package import Identity
internal import MeshModel

/// How one side of TLS is played: own identity, whom it believes, which protocols. Immutable: a renewed SVID or a changed
/// bundle is a new context, and connections keep the one they began with.
///
/// TLS 1.3 only; no resumption, no early data, no renegotiation (PROTOCOLS section 1).
@safe package final class TLSContext: Sendable {
    package enum ClientCertificate: Hashable, Sendable { case required, none }
    package enum ServerNames: Hashable, Sendable {
        /// The SNI must be `<port>.<mesh name>`, else alert 112.
        case mesh
        case any
    }
    private enum Side: Sendable { case server, client }
    private enum Trust: Sendable {
        case store(TrustStore)
        case pin(RootPin)
        case roots
        case nobody
    }

    // SAFETY: an SSL_CTX is not changed after init, and OpenSSL guards its reference count.
    private nonisolated(unsafe) let context: OpaquePointer
    private let side: Side
    private let trust: Trust
    private let serverNames: ServerNames
    private let protocols: [UInt8]

    /// A server's context. `sendsRoot` is a root in DER that is sent behind the chain, for clients that know only its pin.
    package static func server(
        svid: SVID, trust: TrustStore, clientCertificate: ClientCertificate, serverNames: ServerNames,
        protocols: [ALPN], sendsRoot: [UInt8]? = nil
    ) throws(TLSError) -> TLSContext {
        let judge: Trust = clientCertificate == .required ? .store(trust) : .nobody
        return try TLSContext(
            .server, svid: svid, trust: judge, serverNames: serverNames, protocols: protocols, sendsRoot: sendsRoot)
    }

    /// A client's context; without an SVID it shows no certificate.
    package static func client(svid: SVID?, trust: TrustStore, protocols: [ALPN]) throws(TLSError) -> TLSContext {
        try TLSContext(.client, svid: svid, trust: .store(trust), serverNames: .any, protocols: protocols)
    }

    /// A client's context for a server of which only the root's pin is known.
    package static func client(pin: RootPin, protocols: [ALPN]) throws(TLSError) -> TLSContext {
        try TLSContext(.client, svid: nil, trust: .pin(pin), serverNames: .any, protocols: protocols)
    }

    /// A client's context for a workload whose certificate is checked against `roots` (PEM) and nothing else
    /// (`Workload.spec.tls: simple`); TLS 1.2 is good enough there.
    package static func client(roots: [UInt8], protocols: [ALPN]) throws(TLSError) -> TLSContext {
        guard let certificates = try? PEM.certificates(roots), !certificates.isEmpty else {
            throw TLSError("the CA file holds no PEM certificate")
        }
        let made = try TLSContext(.client, svid: nil, trust: .roots, serverNames: .any, protocols: protocols)
        // SAFETY: the store belongs to the context; it takes references of its own.
        let store = unsafe SSL_CTX_get_cert_store(made.context)
        for der in certificates {
            guard let certificate = try? Certificate(der: der),
                unsafe certificate.withPointer({ unsafe X509_STORE_add_cert(store, $0) }) == 1
            else { throw TLSError("a certificate of the CA file cannot be read") }
        }
        _ = unsafe shim_SSL_CTX_set_min_proto_version(made.context, TLS1_2_VERSION)
        return made
    }

    private init(
        _ side: Side, svid: SVID?, trust: Trust, serverNames: ServerNames, protocols: [ALPN], sendsRoot: [UInt8]? = nil
    ) throws(TLSError) {
        // SAFETY (whole function): the context is owned here; OpenSSL takes references to what it keeps.
        let method = unsafe (side == .server ? TLS_server_method() : TLS_client_method())
        guard let context = unsafe SSL_CTX_new(method) else { throw TLSError("SSL_CTX_new failed") }
        unsafe self.context = context
        self.side = side
        self.trust = trust
        self.serverNames = serverNames
        self.protocols = ALPN.encode(protocols)
        _ = unsafe shim_SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION)
        _ = unsafe shim_SSL_CTX_set_options(
            context, shim_SSL_OP_NO_TICKET | shim_SSL_OP_NO_RENEGOTIATION | shim_SSL_OP_NO_COMPRESSION)
        _ = unsafe shim_SSL_CTX_set_mode(
            context,
            shim_SSL_MODE_RELEASE_BUFFERS | shim_SSL_MODE_NO_AUTO_CHAIN | shim_SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER)
        _ = unsafe shim_SSL_CTX_set_session_cache_mode(context, shim_SSL_SESS_CACHE_OFF)
        _ = unsafe SSL_CTX_set_num_tickets(context, 0)
        // Leaf, intermediate, root, each of at most a few KiB: longer lists are refused before they are parsed.
        _ = unsafe shim_SSL_CTX_set_max_cert_list(context, 48 * 1_024)
        if let svid { unsafe try Self.install(svid, in: context) }
        if let sendsRoot { unsafe try Self.append(sendsRoot, to: context) }
        let demand: Int32
        switch trust {
        case .nobody: demand = SSL_VERIFY_NONE
        case .store, .pin, .roots: demand = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT
        }
        unsafe SSL_CTX_set_verify(context, demand, nil)
        unsafe SSL_CTX_set_cert_verify_callback(context, HandshakeCallbacks.verify, nil)
        switch side {
        case .server:
            _ = unsafe shim_SSL_CTX_set_tlsext_servername_callback(context, HandshakeCallbacks.serverName)
            unsafe SSL_CTX_set_alpn_select_cb(context, HandshakeCallbacks.select, nil)
        case .client:
            if !self.protocols.isEmpty,
                unsafe SSL_CTX_set_alpn_protos(context, self.protocols, UInt32(self.protocols.count)) != 0
            {
                throw TLSError("SSL_CTX_set_alpn_protos failed")
            }
        }
    }

    deinit {
        // SAFETY: drops the one reference this object holds.
        unsafe SSL_CTX_free(context)
    }

    private static func install(_ svid: SVID, in context: OpaquePointer) throws(TLSError) {
        // SAFETY (whole function): OpenSSL takes references to leaf, chain and key.
        guard unsafe svid.leaf.withPointer({ unsafe SSL_CTX_use_certificate(context, $0) }) == 1,
            unsafe svid.key.withPointer({ unsafe SSL_CTX_use_PrivateKey(context, $0) }) == 1
        else { throw TLSError("OpenSSL does not take the SVID: \(OpenSSLQueue.take())") }
        for certificate in svid.chain.dropFirst() {
            guard unsafe certificate.withPointer({ unsafe shim_SSL_CTX_add1_chain_cert(context, $0) }) == 1 else {
                throw TLSError("OpenSSL does not take the SVID's chain: \(OpenSSLQueue.take())")
            }
        }
    }

    private static func append(_ root: [UInt8], to context: OpaquePointer) throws(TLSError) {
        guard let certificate = try? Certificate(der: root),
            // SAFETY: OpenSSL takes a reference of its own.
            unsafe certificate.withPointer({ unsafe shim_SSL_CTX_add1_chain_cert(context, $0) }) == 1
        else { throw TLSError("the root to send cannot be read") }
    }

    var isServer: Bool { side == .server }

    /// A new SSL on `bio` and the object its callbacks use; `chains` is what the thread has verified.
    func makeSession(
        bio: OpaquePointer, chains: ChainCache
    ) -> (session: OpaquePointer, handshake: Handshake)? {
        // SAFETY (whole function): the SSL takes one reference to the BIO for both directions; the handshake object is kept
        // by the caller as long as the SSL.
        guard let session = unsafe SSL_new(context) else { return nil }
        let judge: Handshake.Judge =
            switch trust {
            case .store(let store): .trust(store)
            case .pin(let pin): .pin(pin)
            case .roots: .roots
            case .nobody: .nobody
            }
        let handshake = Handshake(
            judge: judge, purpose: side == .server ? .client : .server,
            requiresMeshName: side == .server && serverNames == .mesh, protocols: protocols, chains: chains)
        _ = unsafe shim_SSL_set_app_data(session, Unmanaged.passUnretained(handshake).toOpaque())
        _ = unsafe BIO_up_ref(bio)
        unsafe SSL_set_bio(session, bio, bio)
        if side == .server { unsafe SSL_set_accept_state(session) } else { unsafe SSL_set_connect_state(session) }
        return unsafe (session, handshake)
    }
}
