import CLinux
import Containers
import Glibc
import MeshModel
import Reactor

/// The loop of `meshfed echo run`: one thread, its listeners, its connections.
///
/// Everything is bounded: connections by `maximumConnections`, what waits to be written by each connection's own marks.
final class EchoServer {
    /// More than any suite opens; with it a run-away client is refused and not the process ended.
    private static let maximumConnections = 16_384
    /// Accepted in one go, so that many new ones do not starve those that are open.
    private static let acceptBatch = 64
    /// How long a stop waits for what is in flight.
    private static let grace = Duration.seconds(5)
    /// Pause of a listener when descriptors ran out.
    private static let pause = Duration.milliseconds(100)

    private enum Kind: UInt8 {
        case listener = 1
        case listenerPause, http, httpTimer, relay, signal
    }

    /// A listening socket in a place that an array can hold.
    private final class Listener {
        let socket: ListenerSocket
        let speaks: String

        init(_ socket: consuming ListenerSocket, speaks: String) {
            self.socket = socket
            self.speaks = speaks
        }
    }

    private let identity: EchoIdentity
    private var reactor: Reactor
    private let signals: SignalSource
    private var listeners: [Listener] = []
    private var connections = Slab<EchoConnection>(capacity: EchoServer.maximumConnections)
    private var relays = Slab<EchoRelay>(capacity: EchoServer.maximumConnections)
    /// What one read gave, shared by all connections.
    private var input = ByteBuffer(capacity: EchoConnection.readSize)
    private var stopsAt: Instant?

    init(name: String) throws(SocketError) {
        let reactor = try Reactor()
        let signals = try SignalSource()
        identity = EchoIdentity(name: name)
        try reactor.watch(signals.descriptor, .readable, Token(kind: Kind.signal.rawValue, handle: Self.handle(0)))
        self.reactor = reactor
        self.signals = signals
        Machine.raiseDescriptorLimit()
    }

    /// - Parameter speaking: `http`, `grpc` or `tcp`.
    func listen(on address: SocketAddress, speaking: String) throws(SocketError) {
        let socket = try ListenerSocket.bind(address)
        let token = Token(kind: Kind.listener.rawValue, handle: Self.handle(listeners.count))
        try reactor.watch(socket.descriptor, .readable, token)
        listeners.append(Listener(socket, speaks: speaking))
    }

    /// The bound addresses, for the line that says that it is ready.
    var places: String {
        listeners.map { "\($0.speaks) \($0.socket.address.map { "\($0)" } ?? "?")" }.joined(separator: ", ")
    }

    /// Serves until SIGTERM or its kind, then drains.
    func run() {
        while !isDone {
            reactor.turn(until: stopsAt)
            while let (token, readiness) = reactor.nextReady() { ready(token, readiness) }
            while let token = reactor.nextTimer() { expired(token) }
        }
    }

    private var isDone: Bool {
        guard let stopsAt else { return false }
        return reactor.now >= stopsAt || (connections.count == 0 && relays.count == 0)
    }

    private static func handle(_ index: Int) -> Handle { Handle(slot: UInt32(index), generation: 1) }

    private func ready(_ token: Token, _ readiness: Readiness) {
        switch Kind(rawValue: token.kind) {
        case .listener: accept(Int(token.handle.slot))
        case .http where connections.contains(token.handle): turn(token.handle, readiness)
        case .relay where relays.contains(token.handle): relay(token.handle, readiness)
        case .signal:
            while signals.next() != nil { stop() }
        case .http, .relay, .listenerPause, .httpTimer, nil: break
        }
    }

    private func expired(_ token: Token) {
        switch Kind(rawValue: token.kind) {
        case .httpTimer where connections.contains(token.handle):
            connections[token.handle].isTimerArmed = false
            turn(token.handle, [])
        case .listenerPause:
            let index = Int(token.handle.slot)
            guard stopsAt == nil, index < listeners.count else { return }
            try? reactor.watch(
                listeners[index].socket.descriptor, .readable,
                Token(kind: Kind.listener.rawValue, handle: token.handle))
        case .listener, .http, .httpTimer, .relay, .signal, nil: break
        }
    }

    // MARK: Connections

    private func accept(_ index: Int) {
        guard stopsAt == nil, index < listeners.count else { return }
        let listener = listeners[index]
        for _ in 0..<Self.acceptBatch {
            do throws(SocketError) {
                guard let accepted = try listener.socket.accept() else { return }
                let peer = accepted.peer
                take(accepted.takeSocket(), peer, isTCP: listener.speaks == "tcp")
            } catch {
                // Out of descriptors: the listener would be ready again and again.
                reactor.forget(listener.socket.descriptor)
                _ = reactor.schedule(
                    at: reactor.now + Self.pause,
                    token: Token(kind: Kind.listenerPause.rawValue, handle: Self.handle(index)))
                return
            }
        }
    }

    private func take(_ socket: consuming Socket, _ peer: SocketAddress?, isTCP: Bool) {
        socket.setNoDelay()
        let descriptor = socket.descriptor
        if isTCP {
            guard let handle = relays.insert(EchoRelay(socket, identity: identity, peer: peer)) else { return }
            let token = Token(kind: Kind.relay.rawValue, handle: handle)
            guard (try? reactor.watch(descriptor, [.readable, .writable], token)) != nil else {
                relays.remove(handle)
                return
            }
        } else {
            guard
                let handle = connections.insert(
                    EchoConnection(socket, identity: identity, peer: peer, now: reactor.now))
            else { return }
            let token = Token(kind: Kind.http.rawValue, handle: handle)
            guard (try? reactor.watch(descriptor, .readable, token)) != nil else {
                connections.remove(handle)
                return
            }
        }
    }

    private func turn(_ handle: Handle, _ readiness: Readiness) {
        let token = Token(kind: Kind.http.rawValue, handle: handle)
        let now = reactor.now
        let goesOn = connections[handle].turn(readiness, now: now, input: &input)
        guard goesOn else {
            reactor.forget(connections[handle].descriptor)
            connections.remove(handle)
            return
        }
        if let interest = connections[handle].changedInterest() {
            try? reactor.change(connections[handle].descriptor, interest, token)
        }
        if !connections[handle].isTimerArmed, let deadline = connections[handle].nextDeadline {
            connections[handle].isTimerArmed = true
            _ = reactor.schedule(at: deadline, token: Token(kind: Kind.httpTimer.rawValue, handle: handle))
        }
    }

    private func relay(_ handle: Handle, _ readiness: Readiness) {
        let goesOn = relays[handle].turn(readiness)
        guard goesOn else {
            reactor.forget(relays[handle].descriptor)
            relays.remove(handle)
            return
        }
        if let interest = relays[handle].changedInterest() {
            try? reactor.change(
                relays[handle].descriptor, interest, Token(kind: Kind.relay.rawValue, handle: handle))
        }
    }

    // MARK: The end

    /// The first time: no new connections, those that are open end when they are idle. The second time: now.
    private func stop() {
        guard stopsAt == nil else {
            stopsAt = reactor.now
            return
        }
        stopsAt = reactor.now + Self.grace
        for listener in listeners { reactor.forget(listener.socket.descriptor) }
        listeners = []
        for handle in connections.handles {
            connections[handle].drain()
            turn(handle, [])
        }
    }
}

/// What every answer says of the server.
struct EchoIdentity: Sendable {
    let name: String
    let nameBytes: [UInt8]

    init(name: String) {
        self.name = name
        nameBytes = Array(name.utf8)
    }
}

/// What one read did.
enum EchoRead {
    case bytes
    case wouldBlock
    case end
    case failed

    /// Reads once, at most `size` bytes, behind what `buffer` holds.
    static func once(_ descriptor: Int32, into buffer: inout ByteBuffer, size: Int) -> EchoRead {
        var result = 0
        // SAFETY: the room is lent for the length of the call and is at least `size` bytes.
        _ = unsafe buffer.fill(minimum: size) { room in
            result = unsafe clinux_read(descriptor, room.baseAddress, size)
            return max(0, result)
        }
        if result > 0 { return .bytes }
        if result == 0 { return .end }
        return -result == Int(EAGAIN) || -result == Int(EINTR) ? .wouldBlock : .failed
    }
}
