internal import Containers
internal import Downstream
internal import MeshModel
internal import Reactor
internal import Synchronization
internal import TLS

/// Step 1 of a request's life: connections are taken from the kernel and find their worker.
extension Worker {
    /// `shares`: what another worker has more room for is handed over.
    mutating func acceptAll(_ listener: Handle, shares: Bool = true) {
        var taken = 0
        while taken < 64, listeners.contains(listener), mayAccept(),
            let accepted = listeners[listener].accept(now: reactor.now)
        {
            let peer = accepted.peer
            let role = listeners[listener].role
            taken += 1
            guard shares, let other = lighterWorker() else {
                admitSocket(accepted.takeSocket(), role: role, peer: peer)
                continue
            }
            let descriptor = accepted.takeSocket().release()
            other.load.add(1, ordering: .relaxed)
            if !other.post(.adopt(descriptor: descriptor, role: role, peer: peer)) {
                admitSocket(Socket(adopting: descriptor), role: role, peer: peer)
            }
        }
        if listeners.contains(listener), listeners[listener].isPaused {
            countLimit(.descriptors)
            reactor.forget(listeners[listener].descriptor)
        }
    }

    /// The worker with the fewest connections, when that is another one. HTTP/2 connections are few and long: the kernel's own
    /// spread would leave workers idle.
    private func lighterWorker() -> WorkerMailbox? {
        var fewest = inbound.count
        var lighter: WorkerMailbox?
        for other in settings.crew where other !== mailbox {
            let load = other.load.load(ordering: .relaxed)
            if load < fewest {
                fewest = load
                lighter = other
            }
        }
        return lighter
    }

    /// Listens again after a pause.
    mutating func resumeListeners() {
        for handle in listeners.handles where listeners[handle].isPaused && listeners[handle].resume(now: reactor.now) {
            if isHoldingBack { continue }
            do throws(SocketError) {
                try watchListener(handle)
            } catch {
                listeners[handle].pause(now: reactor.now)
                continue
            }
            acceptAll(handle)
        }
    }

    mutating func watchListener(_ handle: Handle) throws(SocketError) {
        try reactor.watch(
            listeners[handle].descriptor, .readable, Token(kind: Kind.listener.rawValue, handle: handle))
    }

    mutating func admitSocket(_ socket: consuming Socket, role: Int, peer: SocketAddress?) {
        let now = reactor.now
        // While draining only what was accepted before comes here: it waited in a mailbox, and its peer knows nothing of it.
        guard role < settings.entries.count, !inbound.isFull else { return }
        let entry = settings.entries[role]
        socket.setNoDelay()
        let phase: DownstreamConnection.Phase
        let transport: Transport
        switch entry {
        case .mesh:
            // Without identity and snapshot nothing is taken: fail closed.
            guard let configuration else { return }
            if settings.capturesInbound, let original = redirected(socket) {
                return arrive(socket, .inbound(role: role), peer: peer, original: original)
            }
            return shakeHands(socket, entry: entry, peer: peer, configuration)
        case .explicit, .inboundPlain:
            transport = Transport(socket: socket)
            phase = .detect
        case .captured: return admitCaptured(socket, peer: peer)
        case .outboundTCP:
            transport = Transport(socket: socket)
            phase = .relay
        }
        let connection = DownstreamConnection(transport, phase: phase, peer: peer, now: now)
        guard let handle = inbound.insert(Inbound(connection, entry: entry)) else { return }
        watchInbound(handle)
        guard inbound.contains(handle) else { return }
        if case .outboundTCP(let host) = entry { startOutboundTCP(handle, host: host) }
    }

    /// A mesh peer: TLS says who it is. Counted among the handshakes in progress.
    mutating func shakeHands(
        _ socket: consuming Socket, entry: Entry, peer: SocketAddress?, _ configuration: ProxyConfiguration
    ) {
        let connection = DownstreamConnection(
            Transport(server: socket, context: configuration.server, buffers: buffers), phase: .handshake, peer: peer,
            now: reactor.now)
        guard let handle = inbound.insert(Inbound(connection, entry: entry)) else { return }
        inbound[handle].isHandshaking = true
        handshaking += 1
        watchInbound(handle)
    }
}
