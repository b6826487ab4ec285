internal import COpenSSL
internal import Identity
internal import MeshModel

/// One SSL object: bytes in, bytes out, no socket.
@safe struct TLSSession: ~Copyable {
    // SAFETY: owned here, freed in deinit; `handshake` outlives it.
    private let session: OpaquePointer
    let handshake: Handshake
    private(set) var isEstablished = false
    private(set) var receivedClose = false

    /// What one step of TLS came to.
    enum Step { case progress(Int), needsInput, closed }

    init?(_ context: TLSContext, serverName: String?, _ buffers: borrowing WorkerBuffers) {
        guard let made = unsafe context.makeSession(bio: buffers.bio, chains: buffers.chains) else { return nil }
        unsafe session = made.session
        handshake = unsafe made.handshake
        if let serverName {
            // SAFETY: OpenSSL copies the name.
            _ = unsafe serverName.withCString { unsafe shim_SSL_set_tlsext_host_name(made.session, $0) }
        }
    }

    deinit {
        // SAFETY: the last use of the SSL; it drops its reference to the BIO.
        unsafe SSL_free(session)
    }

    /// Drives the handshake with the wire's input; true once it is done.
    mutating func advance(wall: WallTime) throws(TransportError) -> Bool {
        if isEstablished { return true }
        handshake.wall = wall
        ERR_clear_error()
        // SAFETY: the SSL is live; its BIO reads the wire that the caller filled.
        let result = unsafe SSL_do_handshake(session)
        if result == 1 {
            isEstablished = true
            return true
        }
        let code = unsafe SSL_get_error(session, result)
        if code == SSL_ERROR_WANT_READ || code == SSL_ERROR_WANT_WRITE { return false }
        if let refusal = handshake.refusal {
            ERR_clear_error()
            throw .peerRefused(refusal)
        }
        throw OpenSSLQueue.take()
    }

    /// Decrypts one record at the most.
    mutating func read(into start: UnsafeMutablePointer<UInt8>, room: Int) throws(TransportError) -> Step {
        // SAFETY: the caller lends `room` bytes at `start`.
        let result = unsafe SSL_read(session, start, Int32(clamping: room))
        if result > 0 { return .progress(Int(result)) }
        // What SSL_get_error would say, unless something went wrong; without a look at the thread's error queue, which other
        // sessions' calls may have left something in.
        if unsafe SSL_want(session) == SSL_READING { return .needsInput }
        switch unsafe SSL_get_error(session, result) {
        case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE: return .needsInput
        case SSL_ERROR_ZERO_RETURN:
            receivedClose = true
            return .closed
        default: throw OpenSSLQueue.take()
        }
    }

    /// Decrypted or received bytes wait inside.
    var hasPending: Bool {
        // SAFETY: the SSL is live.
        unsafe SSL_has_pending(session) == 1
    }

    /// Encrypts all of `bytes` into the wire's output.
    mutating func write(_ bytes: Span<UInt8>) throws(TransportError) {
        guard bytes.count > 0 else { return }
        // SAFETY: the bytes are borrowed for the call; the BIO takes everything.
        let result = unsafe bytes.withUnsafeBufferPointer { buffer in
            unsafe SSL_write(session, buffer.baseAddress, Int32(clamping: buffer.count))
        }
        guard Int(result) == bytes.count else { throw OpenSSLQueue.take() }
    }

    /// Puts close_notify into the wire's output.
    mutating func close() {
        ERR_clear_error()
        // SAFETY: the SSL is live.
        _ = unsafe SSL_shutdown(session)
        ERR_clear_error()
    }

    /// The agreed protocol; nil when the peer named none.
    var negotiated: ALPN? {
        var name: UnsafePointer<UInt8>?
        var count: UInt32 = 0
        // SAFETY: OpenSSL lends the name, which it owns, for as long as the SSL lives.
        unsafe SSL_get0_alpn_selected(session, &name, &count)
        guard let start = unsafe name, count > 0 else { return nil }
        return unsafe ALPN(Span<UInt8>(_unsafeStart: start, count: Int(count)))
    }
}
