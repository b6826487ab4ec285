import Containers
import Glibc
import Identity
import MeshModel
import MeshTestKit
import Reactor
import TLS

/// One side of a loopback connection and what became of it.
final class Side {
    var transport: Transport?
    private(set) var isEstablished = false
    private(set) var failure: TransportError?
    private(set) var received: [UInt8] = []
    private(set) var ended = false
    /// Whether the owner wants bytes.
    var isReading = true

    init(_ transport: consuming Transport) {
        isEstablished = transport.isEstablished
        self.transport = consume transport
    }

    var descriptor: Int32 { transport?.descriptor ?? -1 }
    var interest: Interest { transport?.wantedInterest(reading: isReading) ?? [] }
    var holdsInput: Bool { transport?.holdsInput ?? false }
    var pendingOutput: Int { transport?.pendingOutput ?? 0 }
    var peer: PeerIdentity? { transport?.peer }
    var negotiated: ALPN? { transport?.negotiated }
    var serverName: String { String(decoding: transport?.serverName ?? [], as: UTF8.self) }
    var outputClosed: Bool { transport?.outputClosed ?? true }
    var inputClosed: Bool { transport?.inputClosed ?? true }

    /// What the peer's alert was, if it sent one.
    var alert: UInt8? {
        if case .tls(_, let alert) = failure { return alert }
        return nil
    }
    var refusal: PeerRefusal? {
        if case .peerRefused(let refusal) = failure { return refusal }
        return nil
    }

    /// Does what its descriptor is ready for.
    func step(_ buffers: inout WorkerBuffers, readable: Bool, wall: WallTime) {
        guard failure == nil, transport != nil else { return }
        do throws(TransportError) {
            if !isEstablished {
                isEstablished = try transport?.advance(&buffers, wall: wall) ?? false
                if !isEstablished { return }
            }
            _ = try transport?.flush(&buffers)
            guard isReading, !ended, readable || holdsInput else { return }
            repeat {
                switch try transport?.receive(&buffers) {
                case .bytes:
                    // SAFETY: the plaintext is lent for the call.
                    unsafe buffers.plain.withUnsafeBufferPointer { unsafe received += $0 }
                case .end: ended = true
                case .wouldBlock, .none: break
                }
            } while !ended && holdsInput
        } catch {
            failure = error
        }
    }

    func send(_ bytes: [UInt8], _ buffers: inout WorkerBuffers) {
        do throws(TransportError) { try transport?.send(bytes.span, &buffers) } catch { failure = error }
    }

    func endOutput(_ buffers: inout WorkerBuffers) {
        do throws(TransportError) { try transport?.endOutput(&buffers) } catch { failure = error }
    }

    /// Closes: FIN, or RST after `abort`.
    func drop() { transport = nil }
    func abort() {
        transport?.abort()
        transport = nil
    }

    /// The kernel keeps little of what is sent. (A small receive buffer would bring the zero-window probe's waits instead.)
    func limitSendBuffer() {
        var size: Int32 = 131_072
        // SAFETY: the option is read during the call only.
        unsafe setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &size, socklen_t(MemoryLayout<Int32>.size))
    }
}

/// The buffers of one thread.
final class Shared {
    var buffers = WorkerBuffers()
}

/// Two connected sides that share one thread's buffers, as the connections of a worker do.
final class Wire {
    let shared: Shared
    let near: Side
    let far: Side
    var wall = CertificateMint.now

    /// - Parameters:
    ///   - server: nil for a plain connection, with the client's too.
    init(
        server: TLSContext?, client: TLSContext?, serverName: String = Names.api, shared: Shared = Shared()
    ) throws {
        self.shared = shared
        let sockets = try connected()
        let (first, second) = (sockets.first, sockets.second)
        if let client {
            near = Side(
                Transport(
                    client: Socket(adopting: first), context: client, serverName: Array(serverName.utf8)))
        } else {
            near = Side(Transport(socket: Socket(adopting: first), connecting: true))
        }
        if let server {
            far = Side(Transport(server: Socket(adopting: second), context: server, buffers: shared.buffers))
        } else {
            far = Side(Transport(socket: Socket(adopting: second)))
        }
    }

    /// One turn: waits until a side is ready and lets it work. False when nothing came for ten seconds.
    @discardableResult
    func turn(milliseconds: Int32 = 10_000) -> Bool {
        var polls: [pollfd] = []
        var sides: [Side] = []
        let isHolding = [near, far].contains { $0.failure == nil && $0.isReading && !$0.ended && $0.holdsInput }
        for side in [near, far] where side.failure == nil && side.transport != nil {
            var events: Int16 = 0
            if side.interest.contains(.readable), !side.ended { events |= Int16(POLLIN) }
            if side.interest.contains(.writable) { events |= Int16(POLLOUT) }
            polls.append(pollfd(fd: side.descriptor, events: events, revents: 0))
            sides.append(side)
        }
        // SAFETY: the array is written during the call only.
        let found = unsafe poll(&polls, nfds_t(polls.count), isHolding ? 0 : milliseconds)
        if found <= 0, !isHolding { return false }
        for (index, side) in sides.enumerated() where polls[index].revents != 0 || side.holdsInput {
            side.step(&shared.buffers, readable: polls[index].revents & ~Int16(POLLOUT) != 0, wall: wall)
        }
        return true
    }

    /// Turns until `isDone` holds; false when it never does.
    func run(until isDone: (Wire) -> Bool) -> Bool {
        for _ in 0..<1_000_000 {
            if isDone(self) { return true }
            if near.failure != nil, far.failure != nil { return isDone(self) }
            if !turn() { return false }
        }
        return false
    }

    /// The handshake, to its end on both sides or a failure of either.
    func shakeHands() -> Bool {
        run { ($0.near.isEstablished && $0.far.isEstablished) || $0.isOver }
            && near.isEstablished && far.isEstablished && !isOver
    }

    /// Until both sides know that it failed.
    func fails() -> Bool { run { $0.near.failure != nil && $0.far.failure != nil } }

    private var isOver: Bool { near.failure != nil || far.failure != nil }

    func sends(_ bytes: [UInt8], from side: Side) { side.send(bytes, &shared.buffers) }
    func ends(_ side: Side) { side.endOutput(&shared.buffers) }
}

/// Two descriptors of one loopback connection.
struct Connected {
    let first: Int32
    let second: Int32
}

func connected() throws(SocketError) -> Connected {
    guard let any = SocketAddress(ip: "127.0.0.1", port: 0) else { throw SocketError(code: EINVAL, operation: "") }
    let listener = try ListenerSocket.bind(any)
    guard let address = listener.address else { throw SocketError(code: EINVAL, operation: "address") }
    let socket = try Socket.connect(to: address)
    var reactor = try Reactor()
    try reactor.watch(
        listener.descriptor, .readable, Token(kind: 0, handle: Handle(slot: 0, generation: 1)))
    for _ in 0..<100 {
        reactor.turn()
        if let accepted = try listener.accept() {
            return Connected(first: socket.release(), second: accepted.takeSocket().release())
        }
    }
    throw SocketError(code: ETIMEDOUT, operation: "accept")
}

enum Names { static let api = "80.api.shop.svc.west.clusterset.local" }

/// The certificates of two clusters that trust each other.
struct Papers {
    let east: CertificateMint
    let west: CertificateMint
    let trust: TrustStore
    let client: SVID
    let server: SVID

    init() throws {
        east = try CertificateMint("east.mesh")
        west = try CertificateMint("west.mesh")
        trust = try TrustStore([east.bundle(), west.bundle()], generation: 1)
        client = try east.svid("spiffe://east.mesh/ns/shop/sa/web")
        server = try west.svid("spiffe://west.mesh/meshfed/gateway/g1")
    }

    func serverContext(
        svid: SVID? = nil, trust: TrustStore? = nil, certificate: TLSContext.ClientCertificate = .required,
        names: TLSContext.ServerNames = .mesh, protocols: [ALPN] = [.http2], sendsRoot: [UInt8]? = nil
    ) throws -> TLSContext {
        try TLSContext.server(
            svid: svid ?? server, trust: trust ?? self.trust, clientCertificate: certificate, serverNames: names,
            protocols: protocols, sendsRoot: sendsRoot)
    }

    func clientContext(
        svid: SVID? = nil, trust: TrustStore? = nil, protocols: [ALPN] = [.http2]
    ) throws -> TLSContext {
        try TLSContext.client(svid: svid ?? client, trust: trust ?? self.trust, protocols: protocols)
    }

    func wire(shared: Shared = Shared()) throws -> Wire {
        try Wire(server: serverContext(), client: clientContext(), shared: shared)
    }
}
