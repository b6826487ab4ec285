internal import Containers
internal import MeshModel
internal import Reactor
internal import TLS
internal import Wire

/// A bound socket and what is served on it.
final class RPCListener {
    /// Connections taken per turn, so that one listener cannot starve the rest.
    private static let batch = 64
    /// How long nothing is accepted after the process ran out of descriptors or memory.
    private static let pause = Duration.milliseconds(100)

    private let loop: RPCLoop
    /// Nil once it is closed: connections outlive it.
    private var socket: ListenerSocket?
    private let descriptor: Int32
    private let security: RPCSecurity
    let service: RPCService
    let limits: RPCLimits
    var handle = Handle.none
    /// Bytes of incomplete messages and bodies over all connections.
    var held = 0
    private var count = 0
    private var isWatching = false
    private var isClosed = false

    init(
        loop: RPCLoop, socket: consuming ListenerSocket, security: RPCSecurity, service: RPCService, limits: RPCLimits
    ) {
        self.loop = loop
        descriptor = socket.descriptor
        self.socket = consume socket
        self.security = security
        self.service = service
        self.limits = limits
    }

    func watch() throws(SocketError) {
        try loop.reactor.watch(descriptor, .readable, Token(kind: RPCLoop.Kind.listener, handle: handle))
        isWatching = true
    }

    func close() {
        isClosed = true
        pauseWatching()
        socket = nil
    }

    func accept() {
        for _ in 0..<Self.batch {
            guard !isClosed else { return }
            guard count < limits.connections else { return pauseWatching() }
            do throws(SocketError) {
                guard let accepted = try socket?.accept() else { return }
                serve(accepted)
            } catch {
                guard error.isOwnExhaustion else { continue }
                pauseWatching()
                loop.after(Self.pause) { [weak self] in self?.resume() }
                return
            }
        }
    }

    /// A connection of this listener ended.
    func ended() {
        count -= 1
        resume()
    }

    private func serve(_ accepted: consuming Accepted) {
        let address = accepted.peer
        let socket = accepted.takeSocket()
        let uid = address == nil ? socket.peerUID() : nil
        if address != nil { socket.setNoDelay() }
        let transport: Transport
        var isSecure = false
        switch security {
        case .plain: transport = Transport(socket: socket)
        case .tls(let context):
            isSecure = true
            transport = Transport(server: socket, context: context(), buffers: loop.buffers)
        }
        count += 1
        let session = HTTPSession.http1(role: .server, limits: Self.httpLimits(isSecure: isSecure))
        let conduit = Conduit(transport: transport, session: session, isUndecided: true)
        let connection = RPCConnection(
            loop: loop, part: .server(self), peer: RPCPeer(identity: nil, uid: uid, address: address),
            conduit: conduit, isSecure: isSecure, limits: limits)
        connection.begin()
    }

    static func httpLimits(isSecure: Bool) -> HTTPLimits {
        var limits = HTTPLimits()
        limits.isSecure = isSecure
        return limits
    }

    private func pauseWatching() {
        guard isWatching else { return }
        loop.reactor.forget(descriptor)
        isWatching = false
    }

    private func resume() {
        guard !isClosed, !isWatching, count < limits.connections else { return }
        do throws(SocketError) { try watch() } catch {
            loop.after(Self.pause) { [weak self] in self?.resume() }
        }
    }
}
