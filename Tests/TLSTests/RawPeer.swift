import COpenSSL
import Glibc
import Identity
import MeshTestKit
import Reactor
import TLS

/// A TLS client made of OpenSSL alone, for what `Transport` would never do: bad certificates, old versions, bytes in any
/// portions.
@safe final class RawPeer {
    // SAFETY: owned here, freed in deinit; the BIOs belong to the SSL.
    private let context: OpaquePointer
    private let session: OpaquePointer
    private let incoming: OpaquePointer
    private let outgoing: OpaquePointer
    /// The last error's reason; alerts stand 1,000 above their number.
    private(set) var failure: Int32?
    private(set) var isEstablished = false
    private(set) var received: [UInt8] = []

    struct Unusable: Error {}

    init(
        chain: [[UInt8]], key: borrowing PrivateKey, serverName: String? = Names.api, protocols: [String] = ["h2"],
        maximumVersion: Int32? = nil
    ) throws {
        // SAFETY (whole function): everything is owned here or handed to the SSL.
        guard let context = unsafe SSL_CTX_new(TLS_client_method()), let incoming = unsafe BIO_new(BIO_s_mem()),
            let outgoing = unsafe BIO_new(BIO_s_mem())
        else { throw Unusable() }
        unsafe SSL_CTX_set_verify(context, SSL_VERIFY_NONE, nil)
        if let maximumVersion { _ = unsafe shim_SSL_CTX_set_max_proto_version(context, maximumVersion) }
        for (index, der) in chain.enumerated() {
            if index == 0 {
                guard unsafe SSL_CTX_use_certificate_ASN1(context, Int32(der.count), der) == 1 else { throw Unusable() }
            } else {
                let certificate = try Certificate(der: der)
                _ = unsafe certificate.withPointer { unsafe shim_SSL_CTX_add1_chain_cert(context, $0) }
            }
        }
        guard unsafe key.withPointer({ unsafe SSL_CTX_use_PrivateKey(context, $0) }) == 1 else { throw Unusable() }
        let list = protocols.flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) }
        if !list.isEmpty { _ = unsafe SSL_CTX_set_alpn_protos(context, list, UInt32(list.count)) }
        guard let session = unsafe SSL_new(context) else { throw Unusable() }
        if let serverName { _ = unsafe serverName.withCString { unsafe shim_SSL_set_tlsext_host_name(session, $0) } }
        unsafe SSL_set_bio(session, incoming, outgoing)
        unsafe SSL_set_connect_state(session)
        unsafe self.context = context
        unsafe self.session = session
        unsafe self.incoming = incoming
        unsafe self.outgoing = outgoing
    }

    deinit {
        unsafe SSL_free(session)
        unsafe SSL_CTX_free(context)
    }

    /// The alert that came; nil when none did.
    var alert: UInt8? { failure.flatMap { $0 >= 1_000 && $0 < 1_256 ? UInt8($0 - 1_000) : nil } }

    /// Takes bytes of the wire and drives the handshake, then reads.
    func take(_ bytes: [UInt8]) {
        guard failure == nil else { return }
        ERR_clear_error()
        // SAFETY: OpenSSL copies the bytes.
        if !bytes.isEmpty { _ = unsafe BIO_write(incoming, bytes, Int32(bytes.count)) }
        if !isEstablished {
            let result = unsafe SSL_do_handshake(session)
            if result != 1 { return note(result) }
            isEstablished = true
        }
        var room = [UInt8](repeating: 0, count: 16_384)
        while true {
            let count = unsafe SSL_read(session, &room, Int32(room.count))
            guard count > 0 else { return note(count) }
            received += room.prefix(Int(count))
        }
    }

    private func note(_ result: Int32) {
        guard unsafe SSL_get_error(session, result) == SSL_ERROR_SSL else { return }
        failure = shim_ERR_GET_REASON(ERR_peek_last_error())
    }

    /// Encrypts `bytes`; they come out with `output`.
    func write(_ bytes: [UInt8]) { _ = unsafe SSL_write(session, bytes, Int32(bytes.count)) }
    func requestKeyUpdate() { _ = unsafe SSL_key_update(session, SSL_KEY_UPDATE_REQUESTED) }
    func close() { _ = unsafe SSL_shutdown(session) }

    /// What is to be sent.
    func output() -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: unsafe Int(max(0, shim_BIO_pending(outgoing))))
        guard !bytes.isEmpty else { return [] }
        let count = unsafe BIO_read(outgoing, &bytes, Int32(bytes.count))
        return Array(bytes.prefix(max(0, Int(count))))
    }

    /// The server gave something to resume by.
    var isResumable: Bool {
        guard let held = unsafe SSL_get_session(session) else { return false }
        return unsafe SSL_SESSION_is_resumable(held) == 1
    }
}

/// A raw client and a server of ours on one loopback connection.
final class RawWire {
    let raw: RawPeer
    let far: Side
    private let socket: Socket
    let shared = Shared()
    /// Bytes that leave at once; nil: all of them.
    var portion: Int?

    init(_ raw: RawPeer, server: TLSContext) throws {
        self.raw = raw
        let sockets = try connected()
        socket = Socket(adopting: sockets.first)
        far = Side(Transport(server: Socket(adopting: sockets.second), context: server, buffers: shared.buffers))
    }

    /// Puts bytes on the wire, in one write or in portions that the server sees one by one.
    func put(_ bytes: [UInt8]) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            let next = Array(rest.prefix(portion ?? rest.count))
            guard case .done(let count) = try? socket.write(next.span) else { return }
            rest = rest.dropFirst(count)
            if portion != nil { turn(milliseconds: 10_000) }
        }
    }

    func closeInput() { socket.shutdownWrite() }

    /// Waits until the server has something to do, or answered. False when nothing came.
    @discardableResult
    func turn(milliseconds: Int32 = 10_000) -> Bool {
        var polls = [
            pollfd(fd: far.failure == nil ? far.descriptor : -1, events: far.ended ? 0 : Int16(POLLIN), revents: 0),
            pollfd(fd: socket.descriptor, events: Int16(POLLIN), revents: 0),
        ]
        // SAFETY: the array is written during the call only.
        let found = unsafe poll(&polls, 2, far.holdsInput && far.failure == nil && !far.ended ? 0 : milliseconds)
        if found <= 0, !far.holdsInput { return false }
        if polls[0].revents != 0 || far.holdsInput {
            far.step(&shared.buffers, readable: polls[0].revents != 0, wall: CertificateMint.now)
        }
        if polls[1].revents != 0 {
            var bytes = [UInt8](repeating: 0, count: 65_536)
            var count = 0
            // SAFETY: the array lends its storage for the call.
            unsafe bytes.withUnsafeMutableBytes {
                if case .done(let got)? = unsafe try? socket.read(into: $0) { count = got }
            }
            raw.take(Array(bytes.prefix(count)))
            if count == 0, far.failure != nil || far.ended { return false }
        }
        return true
    }

    /// Runs the handshake and what follows until `isDone` or nothing more happens.
    @discardableResult
    func run(until isDone: (RawWire) -> Bool) throws -> Bool {
        raw.take([])
        for _ in 0..<100_000 {
            try put(raw.output())
            if isDone(self) { return true }
            // After a failure only what is already under way may still come.
            if !turn(milliseconds: far.failure == nil ? 10_000 : 500) { return isDone(self) }
        }
        return false
    }

    func shakeHands() throws -> Bool { try run { $0.raw.isEstablished && $0.far.isEstablished } }
}
