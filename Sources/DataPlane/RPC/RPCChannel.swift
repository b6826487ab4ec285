internal import Containers
internal import Identity
internal import MeshModel
internal import Reactor
internal import TLS
internal import Wire

/// One HTTP/2 connection to a server, dialled when a call wants it and again when it was lost.
package final class RPCChannel {
    private enum State {
        case idle
        case resolving
        case dialling(RPCConnection, address: String)
        case open(RPCConnection)
        case closed
    }

    /// Calls that wait for a connection or for a free stream.
    private static let waitingLimit = 1_024
    /// The shortest share of the connect time that one of several addresses gets.
    private static let shortestTry = Duration.seconds(1)

    private let loop: RPCLoop
    private let target: RPCTarget
    private let security: RPCClientSecurity
    private let limits: RPCLimits
    private let authority: String
    private var state = State.idle
    private var addresses: [SocketAddress] = []
    private var next = 0
    private var failures: [String] = []
    private var waiting: [RPCStream] = []
    /// Connections that the server wants to end; their calls go on.
    private var retired: [RPCConnection] = []
    /// The root that a pinned server sent, after the handshake.
    package private(set) var learnedRoot: [UInt8]?
    /// Why the last connection failed or ended; empty before.
    package private(set) var lastFailure = ""

    init(loop: RPCLoop, target: RPCTarget, security: RPCClientSecurity, limits: RPCLimits) {
        self.loop = loop
        self.target = target
        self.security = security
        self.limits = limits
        switch target {
        case .tcp(let host, let port): authority = HostPort(host: host, port: port).description
        case .addresses(let list): authority = list.first?.description ?? "localhost"
        case .unix: authority = "localhost"
        }
    }

    /// A connection is there and the server was accepted.
    package var isConnected: Bool {
        if case .open = state { true } else { false }
    }

    // MARK: Calls

    /// One message there, one back. `done` comes exactly once, at the latest when the deadline passes.
    package func unary(
        _ path: String, _ message: [UInt8], deadline: Duration, limit: Int = 16_777_216,
        _ done: @escaping (Result<[UInt8], RPCEnd>) -> Void
    ) {
        let stream = stream(path, deadline: deadline, limit: limit)
        var answers: [[UInt8]] = []
        stream.onMessage = { if answers.count < 2 { answers.append($0) } }
        stream.onEnd = { end in
            guard end.status == .ok else { return done(.failure(end)) }
            guard answers.count == 1 else {
                return done(.failure(RPCEnd(status: .internalError, message: "not one message in the answer")))
            }
            done(.success(answers[0]))
        }
        guard stream.send(message) else {
            return stream.giveUp(RPCEnd(status: .resourceExhausted, message: "the request is too large"))
        }
        stream.finish()
    }

    /// A call with messages both ways. Set its callbacks at once; it is sent when the callbacks under way have returned.
    /// `limit`: bytes of one message from the server.
    package func stream(_ path: String, deadline: Duration? = nil, limit: Int = 4_194_304) -> RPCStream {
        let stream = RPCStream(
            loop: loop, side: .client, path: path, limit: limit,
            peer: RPCPeer(identity: nil, uid: nil, address: nil))
        if let deadline { stream.setDeadline(deadline) }
        loop.soon { [self] in start(stream) }
        return stream
    }

    /// Ends the connection and every call; later calls fail.
    package func close() {
        let connections = current.map { retired + [$0] } ?? retired
        state = .closed
        retired = []
        for connection in connections { connection.lose("the channel was closed") }
        failWaiting("the channel was closed")
    }

    private func start(_ stream: RPCStream) {
        guard !stream.isDone else { return }
        if case .closed = state {
            return stream.giveUp(RPCEnd(status: .unavailable, message: "the channel was closed"))
        }
        if waiting.count >= Self.waitingLimit { waiting.removeAll { $0.isDone } }
        guard waiting.count < Self.waitingLimit else {
            return stream.giveUp(RPCEnd(status: .resourceExhausted, message: "too many calls wait for \(target)"))
        }
        waiting.append(stream)
        pump()
    }

    private func pump() {
        waiting.removeAll { $0.isDone }
        guard !waiting.isEmpty else { return }
        switch state {
        case .idle: dial()
        case .resolving, .dialling, .closed: return
        case .open(let connection):
            while let stream = waiting.first, connection.open(stream, authority: authority) { waiting.removeFirst() }
        }
    }

    private var current: RPCConnection? {
        switch state {
        case .open(let connection), .dialling(let connection, _): connection
        case .idle, .resolving, .closed: nil
        }
    }

    // MARK: Dialling

    /// The share of the connect time that the try under way has.
    var patience: Duration {
        let count = max(1, addresses.count)
        return max(min(limits.connect, Self.shortestTry), limits.connect / count)
    }

    private func dial() {
        next = 0
        failures = []
        switch target {
        case .unix, .addresses: tryNext()
        case .tcp(let host, let port):
            if let literal = SocketAddress(ip: host, port: port) {
                addresses = [literal]
                tryNext()
            } else {
                resolve(host, port)
            }
        }
    }

    private func resolve(_ host: String, _ port: UInt16) {
        state = .resolving
        let inbox = loop.inbox
        let channel = RPCBound(self)
        do throws(SocketError) {
            try WorkerThread.start(name: "resolver") {
                let found = SocketAddress.resolve(host, port: port)
                inbox.post { channel.value.resolved(found) }
            }
        } catch {
            state = .idle
            failWaiting("cannot resolve \(host): \(error.text)")
        }
    }

    private func resolved(_ found: [SocketAddress]) {
        guard case .resolving = state else { return }
        guard !found.isEmpty else {
            state = .idle
            return failWaiting("no address is known for \(target)")
        }
        addresses = found
        tryNext()
    }

    private func tryNext() {
        while true {
            let name: String
            var transport: Transport?
            do throws(SocketError) {
                switch target {
                case .unix(let path):
                    guard next == 0 else { return exhausted() }
                    name = path
                    next = 1
                    transport = makeTransport(try Socket.connect(unixPath: path))
                case .addresses(let list):
                    addresses = list
                    fallthrough
                case .tcp:
                    guard next < addresses.count else { return exhausted() }
                    let address = addresses[next]
                    name = address.description
                    next += 1
                    transport = makeTransport(try Socket.connect(to: address))
                }
            } catch {
                failures.append(error.description)
                continue
            }
            guard let made = transport.take() else { return exhausted() }
            let address = next > 0 && next <= addresses.count ? addresses[next - 1] : nil
            let conduit = Conduit(transport: made, session: .http1(role: .client), isUndecided: false)
            let connection = RPCConnection(
                loop: loop, part: .client(self), peer: RPCPeer(identity: nil, uid: nil, address: address),
                conduit: conduit, isSecure: isSecure, limits: limits)
            connection.link?.conduit.become(connection.makeHTTP2())
            state = .dialling(connection, address: name)
            connection.begin()
            return
        }
    }

    private var isSecure: Bool {
        switch security {
        case .plain: false
        case .tls: true
        }
    }

    private func makeTransport(_ socket: consuming Socket) -> Transport {
        switch security {
        case .plain: Transport(socket: socket, connecting: true)
        case .tls(let context, let serverName, _):
            Transport(client: socket, context: context(), serverName: Array(serverName.utf8))
        }
    }

    private func exhausted() {
        state = .idle
        failWaiting("cannot reach \(target): \(failures.isEmpty ? "no address" : failures.joined(separator: "; "))")
    }

    private func failWaiting(_ reason: String) {
        lastFailure = reason
        let streams = waiting
        waiting = []
        for stream in streams { stream.giveUp(RPCEnd(status: .unavailable, message: reason)) }
    }

    // MARK: For the connection

    func learned(_ root: [UInt8]) { learnedRoot = root }

    /// Why this server is not the one that is wanted; nil when it is.
    func judge(_ peer: RPCPeer) -> String? {
        switch security {
        case .plain: return nil
        case .tls(_, _, let accepts):
            guard let identity = peer.identity else { return "the server showed no identity" }
            return accepts(identity) ? nil : "the peer is \(identity.id), which is not the expected server"
        }
    }

    func opened(_ connection: RPCConnection) {
        state = .open(connection)
        failures = []
        pump()
    }

    /// Streams ended, or the server allows more of them.
    func roomLeft() { pump() }

    /// The server ends this connection in its own time.
    func draining(_ connection: RPCConnection) {
        if current === connection {
            state = .idle
            retired.append(connection)
        }
        connection.drain()
        loop.soon { [self] in pump() }
    }

    func closed(_ connection: RPCConnection, _ reason: String) {
        retired.removeAll { $0 === connection }
        switch state {
        case .dialling(connection, let address):
            failures.append("\(address): \(reason)")
            loop.soon { [self] in if case .dialling(connection, _) = state { tryNext() } }
        case .open(connection):
            state = .idle
            failWaiting(reason)
        case .idle, .resolving, .dialling, .open, .closed: return
        }
    }
}

/// Compares connections by identity in patterns.
private func ~= (pattern: RPCConnection, value: RPCConnection) -> Bool { pattern === value }
