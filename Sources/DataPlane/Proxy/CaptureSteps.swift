internal import Containers
internal import Downstream
internal import Identity
internal import MeshModel
internal import Reactor
internal import Routing
internal import Telemetry
internal import TLS
internal import Wire

/// An inbound connection that the kernel redirected from one of the app's ports, until its first bytes say what it is.
struct Arrival: ~Copyable {
    /// A client that has said nothing by then waits for the server to speak first.
    static let silence = Duration.milliseconds(100)
    /// How long the rest of a ClientHello may take between two looks.
    static let patience = Duration.milliseconds(10)

    let socket: Socket
    let role: Int
    let peer: SocketAddress?
    let original: SocketAddress
    let began: Instant
    var timer = TimerWheel.Timer.none

    consuming func takeSocket() -> Socket { socket }
}

extension Entry {
    /// From outside the pod to the app.
    var isInbound: Bool { self == .mesh || isPlainInbound }

    /// Plaintext from outside the pod.
    var isPlainInbound: Bool {
        if case .inboundPlain = self { return true }
        return false
    }
}

/// Steps 1 and 2 for connections that the kernel redirected: where were they going, and what do they carry.
extension Worker {
    /// Where a redirected connection was going; nil when it was dialled to our own listener.
    func redirected(_ socket: borrowing Socket) -> SocketAddress? {
        guard let original = socket.originalDestination(), original != socket.localAddress() else { return nil }
        return original
    }

    // MARK: Outbound

    /// The app's own connection, wherever it was dialled. Before there is a configuration nothing leaves the pod.
    mutating func admitCaptured(_ socket: consuming Socket, peer: SocketAddress?) {
        guard let configuration, let original = redirected(socket) else {
            socket.resetOnClose()
            return
        }
        let match = configuration.table.captured(address: original.ipBytes, port: original.port)
        let isOpen = configuration.table.snapshot.settings.outboundPolicy == .allow
        switch match {
        case .unknown:
            socket.resetOnClose()
        case .outside:
            guard isOpen, let destination = configuration.table.outside else {
                socket.resetOnClose()
                return
            }
            guard let handle = insertPlain(socket, peer: peer, entry: .captured, phase: .relay) else { return }
            let relay = makeRelay(
                handle, destination, framing: .raw, plan: .source, caller: configuration.svid.id, configuration,
                dispatches: false)
            guard let relay else { return }
            relays[relay].outside = original
            relays[relay].deadline = reactor.now + destination.traffic.connectTimeout
            dispatchRelay(relay)
        case .destination(let destination, let endpoint):
            let isHTTP = destination.port.appProtocol.isHTTP
            guard
                let handle = insertPlain(socket, peer: peer, entry: .captured, phase: isHTTP ? .detect : .relay)
            else { return }
            inbound[handle].destination = destination
            inbound[handle].endpoint = endpoint
            // The port's protocol decides: requests are routed one by one.
            inbound[handle].isTunnel = isHTTP
            guard !isHTTP else { return }
            makeRelay(
                handle, destination, framing: .raw, plan: endpoint.map { .direct($0) } ?? .source,
                caller: configuration.svid.id, configuration)
        }
    }

    private mutating func insertPlain(
        _ socket: consuming Socket, peer: SocketAddress?, entry: Entry, phase: DownstreamConnection.Phase
    ) -> Handle? {
        let connection = DownstreamConnection(
            Transport(socket: socket), phase: phase, peer: peer, now: reactor.now)
        guard let handle = inbound.insert(Inbound(connection, entry: entry)) else { return nil }
        watchInbound(handle)
        return inbound.contains(handle) ? handle : nil
    }

    // MARK: Inbound

    /// A connection to one of the app's ports: mTLS, the app's own TLS, or plaintext.
    mutating func arrive(_ socket: consuming Socket, role: Int, peer: SocketAddress?, original: SocketAddress) {
        let descriptor = socket.descriptor
        let arrival = Arrival(socket: socket, role: role, peer: peer, original: original, began: reactor.now)
        guard let handle = arrivals.insert(arrival) else { return }
        judgeArrival(handle, isLate: false)
        guard arrivals.contains(handle) else { return }
        do throws(SocketError) {
            try reactor.watch(descriptor, .readable, Token(kind: Kind.arrival.rawValue, handle: handle))
        } catch {
            arrivals.remove(handle)
        }
    }

    /// Looks at what came. `isLate`: the time for it is over, or it is time to look again.
    mutating func judgeArrival(_ handle: Handle, isLate: Bool) {
        guard arrivals.contains(handle) else { return }
        let first: [UInt8]
        do throws(SocketError) {
            guard let bytes = try arrivals[handle].socket.peek(ClientHello.limit) else { return dropArrival(handle) }
            first = bytes
        } catch {
            return dropArrival(handle)
        }
        let age = reactor.now - arrivals[handle].began
        guard first.isEmpty else {
            switch FirstBytes.judge(first.span) {
            case .tls(let hello):
                if ServiceAddress(serverName: hello.serverName) != nil {
                    startMutualTLS(handle)
                } else {
                    startPlaintext(handle, isHTTP: false)
                }
            case .needsMore where first[0] == ClientHello.firstByte:
                if age >= settings.headTimeout { return dropArrival(handle) }
                // What is here stays readable: it is looked at again after a moment, not in a circle.
                reactor.forget(arrivals[handle].socket.descriptor)
                lookAgain(handle, after: Arrival.patience)
            case .http1, .http2, .needsMore: startPlaintext(handle, isHTTP: true)
            case .other: startPlaintext(handle, isHTTP: false)
            }
            return
        }
        if isLate, age >= Arrival.silence { return startPlaintext(handle, isHTTP: nil) }
        if age < Arrival.silence { lookAgain(handle, after: Arrival.silence - age) }
    }

    private mutating func lookAgain(_ handle: Handle, after wait: Duration) {
        reactor.cancel(arrivals[handle].timer)
        arrivals[handle].timer = reactor.schedule(
            at: reactor.now + wait, token: Token(kind: Kind.arrival.rawValue, handle: handle))
    }

    private mutating func dropArrival(_ handle: Handle) {
        reactor.cancel(arrivals[handle].timer)
        arrivals.remove(handle)
    }

    private mutating func takeArrival(_ handle: Handle) -> Arrival? {
        reactor.cancel(arrivals[handle].timer)
        reactor.forget(arrivals[handle].socket.descriptor)
        return arrivals.take(handle)
    }

    private mutating func startMutualTLS(_ handle: Handle) {
        guard let arrival = takeArrival(handle), let configuration else { return }
        let peer = arrival.peer
        let entry = settings.entries[arrival.role]
        let connection = DownstreamConnection(
            Transport(server: arrival.takeSocket(), context: configuration.server, buffers: buffers),
            phase: .handshake, peer: peer, now: reactor.now)
        guard let handle = inbound.insert(Inbound(connection, entry: entry)) else { return }
        watchInbound(handle)
    }

    /// Plaintext for the app. `isHTTP` says what it looks like; nil: the client waits for the server's first word.
    private mutating func startPlaintext(_ handle: Handle, isHTTP: Bool?) {
        guard let arrival = takeArrival(handle), let configuration else { return }
        let port = arrival.original.port
        let peer = arrival.peer
        let socket = arrival.takeSocket()
        let served = configuration.table.destinations.first { $0.ownTargetPort == port }
        let speaksHTTP = served?.port.appProtocol.isHTTP ?? false
        let hasProbe = settings.probes.contains { $0.port == port }
        // Requests are judged one by one: for an HTTP port, and where only a declared path may pass.
        if isHTTP != false, speaksHTTP || (hasProbe && !isPermissive(served, configuration)) {
            _ = insertPlain(socket, peer: peer, entry: .inboundPlain(appPort: port), phase: .detect)
            return
        }
        let isAdmitted = isPermissive(served, configuration)
        if let served { countPlaintext(served, isAdmitted: isAdmitted) }
        guard isAdmitted, let destination = served ?? configuration.table.outside else {
            socket.resetOnClose()
            return
        }
        guard let handle = insertPlain(socket, peer: peer, entry: .inboundPlain(appPort: port), phase: .relay) else {
            return
        }
        let relay = makeRelay(
            handle, destination, framing: .raw, plan: .ingress, caller: nil, configuration, dispatches: false)
        guard let relay else { return }
        relays[relay].reporter = .destination
        relays[relay].route = .app(port: port)
        dispatchRelay(relay)
    }

    /// A port that no service stands for follows the mesh's mode.
    private func isPermissive(_ served: Destination?, _ configuration: ProxyConfiguration) -> Bool {
        guard let served else { return configuration.table.snapshot.settings.mutualTLS == .permissive }
        return admitsPlaintext(served, configuration)
    }

    /// GET or HEAD of a path that the operator declared, the query aside.
    func isDeclaredProbe(_ exchange: Handle, _ port: UInt16) -> Bool {
        guard exchanges[exchange].head.says(.method, "GET") || exchanges[exchange].head.says(.method, "HEAD") else {
            return false
        }
        let path = exchanges[exchange].head.bytes(of: .path).prefix { $0 != 0x3F }
        return settings.probes.contains { $0.port == port && path.elementsEqual($0.path) }
    }

    mutating func countPlaintext(_ destination: Destination, isAdmitted: Bool) {
        let service = labels?.labels(of: destination).service ?? .unknown
        metrics.count(.plaintext, service, metrics.intern(Array((isAdmitted ? "allowed" : "refused").utf8)))
    }
}
