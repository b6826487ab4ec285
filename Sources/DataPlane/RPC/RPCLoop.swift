internal import Containers
package import Identity
package import MeshModel
package import Reactor
internal import TLS
internal import Wire

/// Names one timer of a loop; harmless after it fired.
package struct RPCTimer: Hashable, Sendable {
    let handle: Handle

    /// Names nothing.
    package static let none = RPCTimer(handle: .none)
}

/// One thread's event loop for calls: listeners, channels, timers, letters from other threads, signals.
///
/// Not Sendable: everything but `inbox` is used on the thread that runs it. Callbacks run on that thread, never inside the
/// verb that causes them.
package final class RPCLoop {
    enum Kind {
        static let waker: UInt8 = 1
        static let signal: UInt8 = 2
        static let listener: UInt8 = 3
        static let connection: UInt8 = 4
        static let timer: UInt8 = 6
        static let descriptor: UInt8 = 7
    }

    private struct Alarm {
        let body: () -> Void
        var timer: TimerWheel.Timer
    }

    private struct Watched {
        let descriptor: Int32
        let body: () -> Void
    }

    var reactor: Reactor
    var buffers: WorkerBuffers
    var scratch = OutputBuffer()
    /// The way in from other threads.
    package let inbox: RPCInbox

    private var alarms = Slab<Alarm>(capacity: 1_048_576)
    private var watched = Slab<Watched>(capacity: 1_024)
    private var listeners = Slab<RPCListener>(capacity: 64)
    private var connections = Slab<RPCConnection>(capacity: 65_536)
    private var signals: SignalBox?
    private var signalBody: ((Int32) -> Void)?
    /// Connections with something to send or to end.
    private var dirty: [RPCConnection] = []
    /// Connections that have more to read than one turn's share.
    private var again: [RPCConnection] = []
    /// What runs after the current callbacks.
    private var later: [() -> Void] = []
    private var stopsAt: Instant?

    /// Throws `loop` when the kernel gives no descriptor.
    package init() throws(RPCSetupError) {
        do throws(SocketError) {
            let reactor = try Reactor()
            let waker = try Waker()
            try reactor.watch(waker.descriptor, .readable, Token(kind: Kind.waker, handle: .none))
            self.reactor = reactor
            inbox = RPCInbox(waker: waker)
            buffers = WorkerBuffers()
        } catch { throw .loop(error) }
    }

    /// The monotonic clock, read once per turn.
    package var now: Instant { reactor.now }
    /// The wall clock, read once per turn.
    package var wall: WallTime { reactor.wall }
    package var isStopping: Bool { stopsAt != nil }
    /// Open connections, of listeners and channels.
    package var connectionCount: Int { connections.count }

    // MARK: Listening

    /// Binds and serves. Returns the bound address (nil for a UNIX socket). Throws `listen`, naming the address.
    @discardableResult
    package func listen(
        _ address: RPCListenAddress, security: RPCSecurity, service: RPCService, limits: RPCLimits = RPCLimits()
    ) throws(RPCSetupError) -> SocketAddress? {
        let socket: ListenerSocket
        let name: String
        do throws(SocketError) {
            switch address {
            case .tcp(let address):
                name = address.description
                socket = try ListenerSocket.bind(address)
            case .unix(let path):
                name = path
                socket = try ListenerSocket.bind(unixPath: path)
            }
        } catch {
            switch address {
            case .tcp(let address): throw .listen(address.description, error)
            case .unix(let path): throw .listen(path, error)
            }
        }
        return try serve(socket, name: name, security: security, service: service, limits: limits)
    }

    /// Serves on a socket that is bound already. Throws `listen`, with `name` in it.
    @discardableResult
    package func serve(
        _ socket: consuming ListenerSocket, name: String, security: RPCSecurity, service: RPCService,
        limits: RPCLimits = RPCLimits()
    ) throws(RPCSetupError) -> SocketAddress? {
        let bound = socket.address
        let listener = RPCListener(loop: self, socket: socket, security: security, service: service, limits: limits)
        guard let handle = listeners.insert(listener) else {
            throw .listen(name, SocketError(code: 24, operation: "listen"))
        }
        listener.handle = handle
        do throws(SocketError) { try listener.watch() } catch {
            listeners.remove(handle)
            throw .listen(name, error)
        }
        return bound
    }

    /// Makes a channel; nothing is dialled before its first call.
    package func channel(
        _ target: RPCTarget, security: RPCClientSecurity, limits: RPCLimits = RPCLimits()
    ) -> RPCChannel {
        RPCChannel(loop: self, target: target, security: security, limits: limits)
    }

    // MARK: Timers, descriptors, signals

    /// Runs `body` once, not before `delay` is over.
    @discardableResult
    package func after(_ delay: Duration, _ body: @escaping () -> Void) -> RPCTimer {
        guard let handle = alarms.insert(Alarm(body: body, timer: .none)) else { return .none }
        let timer = reactor.schedule(at: reactor.now + delay, token: Token(kind: Kind.timer, handle: handle))
        alarms[handle].timer = timer
        return RPCTimer(handle: handle)
    }

    package func cancel(_ timer: RPCTimer) {
        guard let alarm = alarms.take(timer.handle) else { return }
        reactor.cancel(alarm.timer)
    }

    /// Calls `onReadable` whenever the descriptor (which stays the caller's) has something to read.
    package func watch(descriptor: Int32, onReadable: @escaping () -> Void) throws(RPCSetupError) {
        guard let handle = watched.insert(Watched(descriptor: descriptor, body: onReadable)) else {
            throw .loop(SocketError(code: 24, operation: "watch"))
        }
        do throws(SocketError) {
            try reactor.watch(descriptor, .readable, Token(kind: Kind.descriptor, handle: handle))
        } catch {
            watched.remove(handle)
            throw .loop(error)
        }
    }

    /// Before the descriptor is closed.
    package func unwatch(descriptor: Int32) {
        for handle in watched.handles where watched[handle].descriptor == descriptor {
            reactor.forget(descriptor)
            watched.remove(handle)
        }
    }

    /// Calls `body` for each signal that `Signals.block()` holds back.
    package func onSignal(_ body: @escaping (Int32) -> Void) throws(RPCSetupError) {
        signalBody = body
        guard signals == nil else { return }
        do throws(SocketError) {
            let box = SignalBox(try SignalSource())
            try reactor.watch(box.source.descriptor, .readable, Token(kind: Kind.signal, handle: .none))
            signals = box
        } catch { throw .loop(error) }
    }

    // MARK: Running

    /// Serves until `stop`.
    package func run() {
        while true {
            settle()
            if let stopsAt, connections.count == 0 || reactor.now >= stopsAt { break }
            turn(until: stopsAt)
        }
        for handle in connections.handles { connections[handle].lose("the process stops") }
        settle()
        stopsAt = nil
    }

    /// Serves until `isDone` says so, asked once per turn, or `stop` was called; closes nothing.
    package func run(until isDone: () -> Bool) {
        settle()
        while !isDone(), stopsAt == nil { turn(until: nil) }
    }

    private func turn(until limit: Instant?) {
        reactor.turn(until: again.isEmpty ? limit : reactor.now)
        while let (token, readiness) = reactor.nextReady() {
            dispatch(token, readiness)
            settle()
        }
        while let token = reactor.nextTimer() {
            if let alarm = alarms.take(token.handle) { alarm.body() }
            settle()
        }
        let unfinished = again
        again = []
        for connection in unfinished {
            connection.isAgain = false
            connection.receive()
            connection.settle()
            settle()
        }
    }

    /// Accepts nothing more, lets the calls under way end for `grace`, then makes `run` return.
    /// A second call can only shorten the wait.
    package func stop(grace: Duration) {
        let end = reactor.now + grace
        if let stopsAt {
            self.stopsAt = min(stopsAt, end)
            return
        }
        stopsAt = end
        closeListeners()
        for handle in connections.handles { connections[handle].drain() }
    }

    /// Accepts nothing more; what was accepted is served on.
    package func closeListeners() {
        for handle in listeners.handles {
            listeners[handle].close()
            listeners.remove(handle)
        }
    }

    /// Closes every open connection whose verified peer the condition names (eviction).
    package func closeConnections(where condition: (PeerIdentity) -> Bool) {
        for handle in connections.handles {
            let connection = connections[handle]
            if let identity = connection.peer.identity, condition(identity) {
                connection.lose("the peer is no longer admitted")
            }
        }
    }

    private func dispatch(_ token: Token, _ readiness: Readiness) {
        switch token.kind {
        case Kind.waker:
            inbox.waker.drain()
            for letter in inbox.takeAll() {
                letter.body()
                settle()
            }
        case Kind.signal:
            while let signal = signals?.source.next() { signalBody?(signal) }
        case Kind.listener:
            if listeners.contains(token.handle) { listeners[token.handle].accept() }
        case Kind.connection:
            if connections.contains(token.handle) { connections[token.handle].ready(readiness) }
        case Kind.descriptor:
            if watched.contains(token.handle) {
                let body = watched[token.handle].body
                body()
            }
        default: break
        }
    }

    /// Sends what verbs have queued and runs what was put off, until nothing is left.
    private func settle() {
        while !dirty.isEmpty || !later.isEmpty {
            let bodies = later
            later = []
            for body in bodies { body() }
            let connections = dirty
            dirty = []
            for connection in connections {
                connection.isDirty = false
                connection.settle()
            }
        }
    }

    /// Runs `body` when the callbacks under way have returned; before `run`, at its beginning.
    package func soon(_ body: @escaping () -> Void) { later.append(body) }

    // MARK: For connections

    func mark(_ connection: RPCConnection) { dirty.append(connection) }
    func markAgain(_ connection: RPCConnection) { again.append(connection) }

    func add(_ connection: RPCConnection) -> Handle? { connections.insert(connection) }
    func remove(connection: Handle) { connections.remove(connection) }
}

/// A holder for the noncopyable source of signals.
private final class SignalBox {
    var source: SignalSource

    init(_ source: consuming SignalSource) { self.source = source }
}
