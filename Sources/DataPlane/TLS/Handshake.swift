internal import COpenSSL
internal import Identity
internal import MeshModel

/// What the callbacks of one session read and write: a separate object, so that no callback touches the session's owner.
final class Handshake {
    /// How the peer is judged.
    enum Judge {
        case trust(TrustStore)
        case pin(RootPin)
        /// OpenSSL's own verification against the context's roots.
        case roots
        /// The peer shows no certificate.
        case nobody
    }

    let judge: Judge
    let purpose: PeerPurpose
    let requiresMeshName: Bool
    let protocols: [UInt8]
    /// The thread's.
    let chains: ChainCache
    /// The wall clock of the loop turn that drives the handshake.
    var wall = WallTime(seconds: 0)
    var peer: PeerIdentity?
    var refusal: PeerRefusal?
    var learnedRoot: [UInt8]?
    var serverName: [UInt8] = []

    init(judge: Judge, purpose: PeerPurpose, requiresMeshName: Bool, protocols: [UInt8], chains: ChainCache) {
        self.judge = judge
        self.purpose = purpose
        self.requiresMeshName = requiresMeshName
        self.protocols = protocols
        self.chains = chains
    }

    /// The handshake of an SSL that a `TLSSession` made.
    static func of(_ session: OpaquePointer?) -> Handshake? {
        // SAFETY: the app data is an unretained Handshake that the session's owner keeps alive while the SSL lives.
        guard let session = unsafe session, let data = unsafe shim_SSL_get_app_data(session) else { return nil }
        return unsafe Unmanaged<Handshake>.fromOpaque(data).takeUnretainedValue()
    }

    /// Judges the chain; 1 is believed.
    func verify(_ context: OpaquePointer) -> Int32 {
        do throws(PeerRefusal) {
            switch judge {
            case .trust(let trust):
                peer = unsafe try trust.verify(storeContext: context, purpose: purpose, now: wall, cache: chains)
            case .pin(let pin):
                let found = unsafe try pin.verify(storeContext: context, now: wall)
                peer = found.peer
                learnedRoot = found.root
            case .roots, .nobody: return unsafe X509_verify_cert(context) == 1 ? 1 : 0
            }
            return 1
        } catch {
            refusal = error
            return 0
        }
    }

    /// Takes the SNI; false ends the handshake with alert 112. Every well-formed mesh name gets the same handshake, known or
    /// not (PROTOCOLS section 3).
    func take(serverName text: [UInt8]?) -> Bool {
        guard let text else { return !requiresMeshName }
        serverName = text
        return !requiresMeshName || ServiceAddress(serverName: text) != nil
    }

    /// The first of our protocols that the peer offers, as (offset, length) in its list.
    func choose(from offered: Span<UInt8>) -> (offset: Int, count: Int)? {
        var own = 0
        while own < protocols.count {
            let length = Int(protocols[own])
            var theirs = 0
            while theirs < offered.count {
                let count = Int(offered[theirs])
                guard theirs + 1 + count <= offered.count else { return nil }
                if count == length, own + 1 + length <= protocols.count {
                    var isEqual = true
                    for index in 0..<length where offered[theirs + 1 + index] != protocols[own + 1 + index] {
                        isEqual = false
                    }
                    if isEqual { return (theirs + 1, count) }
                }
                theirs += 1 + count
            }
            own += 1 + length
        }
        return nil
    }
}

/// The functions that OpenSSL calls; each finds its session's `Handshake` and does nothing else.
enum HandshakeCallbacks {
    static let serverName:
        @convention(c) (OpaquePointer?, UnsafeMutablePointer<Int32>?, UnsafeMutableRawPointer?) -> Int32 =
            { session, alert, _ in
                // SAFETY: OpenSSL lends session and alert for the call; the name is a C string of the session's.
                guard let handshake = unsafe Handshake.of(session) else { return SSL_TLSEXT_ERR_ALERT_FATAL }
                let name = unsafe session.flatMap { unsafe shim_SSL_server_name($0) }
                let bytes = unsafe name.map { unsafe Array(String(cString: $0).utf8) }
                if handshake.take(serverName: bytes) { return SSL_TLSEXT_ERR_OK }
                unsafe alert?.pointee = SSL_AD_UNRECOGNIZED_NAME
                return SSL_TLSEXT_ERR_ALERT_FATAL
            }

    static let verify: @convention(c) (OpaquePointer?, UnsafeMutableRawPointer?) -> Int32 = { context, _ in
        // SAFETY: OpenSSL lends the context for the call.
        guard let context = unsafe context,
            let handshake = unsafe Handshake.of(shim_X509_STORE_CTX_session(context))
        else { return 0 }
        return unsafe handshake.verify(context)
    }

    static let select:
        @convention(c) (
            OpaquePointer?, UnsafeMutablePointer<UnsafePointer<UInt8>?>?, UnsafeMutablePointer<UInt8>?,
            UnsafePointer<UInt8>?, UInt32, UnsafeMutableRawPointer?
        ) -> Int32 = { session, chosen, length, offered, count, _ in
            // SAFETY: OpenSSL lends all pointers for the call; the answer points into the peer's list, as it allows.
            guard let handshake = unsafe Handshake.of(session), let offered = unsafe offered else {
                return SSL_TLSEXT_ERR_ALERT_FATAL
            }
            let list = unsafe Span<UInt8>(_unsafeStart: offered, count: Int(count))
            guard let found = handshake.choose(from: list) else { return SSL_TLSEXT_ERR_ALERT_FATAL }
            unsafe chosen?.pointee = unsafe offered + found.offset
            unsafe length?.pointee = UInt8(truncatingIfNeeded: found.count)
            return SSL_TLSEXT_ERR_OK
        }
}
