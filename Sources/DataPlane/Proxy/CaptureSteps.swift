internal import Containers
internal import Downstream
internal import Identity
internal import MeshModel
internal import Reactor
internal import Routing
internal import Telemetry
internal import TLS
internal import Wire

/// A connection that the kernel redirected, until its first bytes say what it is.
struct Arrival: ~Copyable {
    /// Where it goes once that is known.
    enum Way {
        /// To one of the app's ports; the listener's role.
        case inbound(role: Int)
        /// From the app to a port that does not say what it speaks.
        case outbound(Destination, endpoint: EndpointID?)
    }

    /// A client that has said nothing by then waits for the server to speak first.
    static let silence = Duration.milliseconds(100)
    /// How long the rest of first bytes may take between two looks.
    static let patience = Duration.milliseconds(10)

    let socket: Socket
    let way: Way
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
    /// A workload behind more services than that is not one.
    static let plaintextServices = 256

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
            relays[relay].deadline = reactor.now + destination.traffic.settings.connectTimeout
            dispatchRelay(relay)
        case .destination(let destination, let endpoint):
            guard destination.port.appProtocol == .auto else {
                return startCaptured(
                    socket, peer: peer, destination, endpoint, isHTTP: destination.port.appProtocol.isHTTP)
            }
            arrive(socket, .outbound(destination, endpoint: endpoint), peer: peer, original: original)
        }
    }

    /// To a service of the mesh: requests are routed one by one, anything else as one stream.
    private mutating func startCaptured(
        _ socket: consuming Socket, peer: SocketAddress?, _ destination: Destination, _ endpoint: EndpointID?,
        isHTTP: Bool
    ) {
        guard let configuration, let current = configuration.table.current(destination) else {
            socket.resetOnClose()
            return
        }
        guard let handle = insertPlain(socket, peer: peer, entry: .captured, phase: isHTTP ? .detect : .relay) else {
            return
        }
        inbound[handle].destination = current
        inbound[handle].endpoint = endpoint
        inbound[handle].isTunnel = isHTTP
        guard !isHTTP else { return }
        makeRelay(
            handle, current, framing: .raw, plan: endpoint.map { .direct($0) } ?? .source,
            caller: configuration.svid.id, configuration)
    }

    mutating func insertPlain(
        _ socket: consuming Socket, peer: SocketAddress?, entry: Entry, phase: DownstreamConnection.Phase
    ) -> Handle? {
        let connection = DownstreamConnection(
            Transport(socket: socket), phase: phase, peer: peer, now: reactor.now)
        guard let handle = inbound.insert(Inbound(connection, entry: entry)) else { return nil }
        watchInbound(handle)
        return inbound.contains(handle) ? handle : nil
    }

    // MARK: First bytes

    /// Inbound: mTLS, the app's own TLS, or plaintext. Outbound: HTTP or not.
    mutating func arrive(
        _ socket: consuming Socket, _ way: Arrival.Way, peer: SocketAddress?, original: SocketAddress
    ) {
        let descriptor = socket.descriptor
        let arrival = Arrival(socket: socket, way: way, peer: peer, original: original, began: reactor.now)
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
        if case .outbound = arrivals[handle].way { return judgeDeparture(handle, isLate: isLate) }
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

    /// The app's own first bytes: HTTP, or nobody's business. Who is silent waits for the server to speak.
    private mutating func judgeDeparture(_ handle: Handle, isLate: Bool) {
        let first: [UInt8]
        do throws(SocketError) {
            // It may have said its last word already and still want to listen.
            guard let bytes = try arrivals[handle].socket.peek(64) else { return depart(handle, isHTTP: false) }
            first = bytes
        } catch {
            return dropArrival(handle)
        }
        let left = Arrival.silence - (reactor.now - arrivals[handle].began)
        if let byte = first.first {
            switch byte == ClientHello.firstByte ? .other : FirstBytes.judge(first.span) {
            case .http1, .http2: return depart(handle, isHTTP: true)
            case .tls, .other: return depart(handle, isHTTP: false)
            case .needsMore: reactor.forget(arrivals[handle].socket.descriptor)
            }
        }
        guard left > .zero else { return depart(handle, isHTTP: false) }
        lookAgain(handle, after: first.isEmpty ? left : min(left, Arrival.patience))
    }

    private mutating func depart(_ handle: Handle, isHTTP: Bool) {
        guard let arrival = takeArrival(handle), case .outbound(let destination, let endpoint) = arrival.way else {
            return
        }
        let peer = arrival.peer
        startCaptured(arrival.takeSocket(), peer: peer, destination, endpoint, isHTTP: isHTTP)
    }

    private mutating func lookAgain(_ handle: Handle, after wait: Duration) {
        reactor.cancel(arrivals[handle].timer)
        arrivals[handle].timer = reactor.schedule(
            at: reactor.now + wait, token: Token(kind: Kind.arrival.rawValue, handle: handle))
    }

    /// Draining: who has said nothing to the app yet is not waited for.
    mutating func dropSilentArrivals() {
        for handle in arrivals.handles {
            if case .inbound = arrivals[handle].way { dropArrival(handle) }
        }
    }

    private mutating func dropArrival(_ handle: Handle) {
        reactor.cancel(arrivals[handle].timer)
        arrivals.remove(handle)
    }

    mutating func takeArrival(_ handle: Handle) -> Arrival? {
        reactor.cancel(arrivals[handle].timer)
        reactor.forget(arrivals[handle].socket.descriptor)
        return arrivals.take(handle)
    }

    private mutating func startMutualTLS(_ handle: Handle) {
        guard let arrival = takeArrival(handle), let configuration, case .inbound(let role) = arrival.way else {
            return
        }
        let peer = arrival.peer
        shakeHands(arrival.takeSocket(), entry: settings.entries[role], peer: peer, configuration)
    }
}
