package import Containers
package import Identity
package import MeshModel
package import Reactor

/// A connection: its socket, TLS where there is any, and what the socket would not take yet. Dropping it closes it.
///
/// It watches nothing itself: its owner asks `wantedInterest` and tells the reactor.
package struct Transport: ~Copyable {
    package enum Received: Hashable, Sendable {
        /// Bytes are in `buffers.plain`. When `holdsInput` is true afterwards, call `receive` again before the next turn.
        case bytes(Int)
        case wouldBlock
        /// FIN, with TLS after close_notify: nothing more comes.
        case end
    }

    private enum Output { case open, closing, closed }

    /// What TLS will begin with; an object, because few connections are being connected.
    private final class Client: Sendable {
        let context: TLSContext
        let serverName: [UInt8]

        init(_ context: TLSContext, _ serverName: [UInt8]) {
            self.context = context
            self.serverName = serverName
        }
    }

    private let place = InPlace()
    private let socket: Socket
    private var tls: TLSSession?
    /// TLS begins when the socket is connected: a session takes tens of kilobytes, and who is dialled may never answer.
    private var client: Client?
    /// Encrypted (or plain) bytes that wait for the socket.
    private var pending = ByteBuffer()
    /// Bytes from the socket that TLS has not seen: what came behind a handshake.
    private var held = ByteBuffer()
    private var isConnecting: Bool
    private var output = Output.open
    private var inputEnded = false
    /// The owner heard of the end.
    private var isEndTold = false
    /// A fault found behind bytes that were given out first.
    private var laterFailure: TransportError?

    /// A plain connection. `connecting`: the socket's connect is still under way.
    package init(socket: consuming Socket, connecting: Bool = false) {
        self.socket = socket
        tls = nil
        isConnecting = connecting
    }

    /// An accepted connection that speaks TLS.
    package init(
        server socket: consuming Socket, context: TLSContext, buffers: borrowing WorkerBuffers
    ) {
        self.socket = socket
        tls = TLSSession(context, serverName: nil, buffers)
        if tls == nil { laterFailure = .tls(reason: "out of memory", alert: nil) }
        isConnecting = false
    }

    /// A connecting socket that will speak TLS; an empty server name sends none.
    package init(client socket: consuming Socket, context: TLSContext, serverName: [UInt8]) {
        self.socket = socket
        tls = nil
        client = Client(context, serverName)
        isConnecting = true
    }

    package var descriptor: Int32 { socket.descriptor }
    package var isSecure: Bool { tls != nil || client != nil }

    /// Connected, and the handshake is done.
    package var isEstablished: Bool {
        if isConnecting { return false }
        switch tls {
        case .some(let session): return session.isEstablished
        case .none: return true
        }
    }

    /// Connected, whatever TLS does.
    package var isConnected: Bool { !isConnecting }

    package var negotiated: ALPN? {
        switch tls {
        case .some(let session): return session.negotiated
        case .none: return nil
        }
    }

    /// A server's SNI; empty when there was none.
    package var serverName: [UInt8] {
        switch tls {
        case .some(let session): return session.handshake.serverName
        case .none: return []
        }
    }

    package var peer: PeerIdentity? {
        switch tls {
        case .some(let session): return session.handshake.peer
        case .none: return nil
        }
    }

    /// The pinned root that the peer sent along.
    package var learnedRoot: [UInt8]? {
        switch tls {
        case .some(let session): return session.handshake.learnedRoot
        case .none: return nil
        }
    }

    /// close_notify came.
    private var closeWasAnnounced: Bool {
        switch tls {
        case .some(let session): return session.receivedClose
        case .none: return true
        }
    }

    package func localAddress() -> SocketAddress? { socket.localAddress() }
    package func originalDestination() -> SocketAddress? { socket.originalDestination() }
    package func peerUID() -> UInt32? { socket.peerUID() }

    private mutating func startClient(_ buffers: borrowing WorkerBuffers) throws(TransportError) {
        guard let client = client.take() else { return }
        let name = client.serverName.isEmpty ? nil : String(decoding: client.serverName, as: UTF8.self)
        tls = TLSSession(client.context, serverName: name, buffers)
        if tls == nil { throw .tls(reason: "out of memory", alert: nil) }
    }

    /// Drives connect and handshake; true once established. Call it when the descriptor is ready.
    package mutating func advance(
        _ buffers: inout WorkerBuffers, wall: WallTime
    ) throws(TransportError) -> Bool {
        if let failure = laterFailure { throw failure }
        if isConnecting {
            if let error = socket.finishConnect() { throw .socket(error) }
            isConnecting = false
            socket.setNoDelay()
            guard isSecure else { return true }
            try startClient(buffers)
            return try handshake(&buffers, wall, 0)
        }
        guard tls != nil else { return true }
        if isEstablished { return true }
        switch try read(&buffers) {
        case .done(let count): return try handshake(&buffers, wall, count)
        case .wouldBlock:
            _ = try flush(&buffers)
            return false
        case .end: throw .truncated
        }
    }

    private mutating func handshake(
        _ buffers: inout WorkerBuffers, _ wall: WallTime, _ count: Int
    ) throws(TransportError) -> Bool {
        buffers.offer(count)
        var isDone = false
        do throws(TransportError) {
            isDone = try tls?.advance(wall: wall) ?? true
        } catch {
            // The alert is the peer's only explanation: it is worth one try.
            try? push(&buffers)
            throw error
        }
        keepInput(&buffers)
        try push(&buffers)
        return isDone
    }

    /// Bytes that TLS left on the shared wire belong to this connection alone.
    private mutating func keepInput(_ buffers: inout WorkerBuffers) {
        guard buffers.leftover.count > 0 else { return }
        held.append(buffers.leftover)
        buffers.clearLeftover()
    }

    /// True: `receive` has something to say that no readiness will announce.
    package var holdsInput: Bool { !held.isEmpty || laterFailure != nil || (inputEnded && !isEndTold) }

    /// Reads once and decrypts all of it.
    package mutating func receive(_ buffers: inout WorkerBuffers) throws(TransportError) -> Received {
        if let failure = laterFailure {
            laterFailure = nil
            throw failure
        }
        if inputEnded {
            isEndTold = true
            return .end
        }
        guard tls != nil else {
            try expectTLS()
            return try receivePlain(&buffers)
        }
        if held.isEmpty {
            switch try read(&buffers) {
            case .done(let count):
                buffers.received &+= UInt64(count)
                buffers.offer(count)
            case .wouldBlock: return .wouldBlock
            case .end:
                inputEnded = true
                isEndTold = true
                guard closeWasAnnounced else { throw .truncated }
                return .end
            }
        } else {
            // Never more than one read's bytes: they are what a handshake or a full plaintext buffer left over.
            buffers.offer(held.bytes)
            held.removeAll()
            held.shrink()
        }
        return try decrypt(&buffers)
    }

    private mutating func decrypt(_ buffers: inout WorkerBuffers) throws(TransportError) -> Received {
        var total = 0
        var isClosed = false
        do throws(TransportError) {
            loop: while total < WorkerBuffers.plainSize {
                // SAFETY: `total` stays inside the plaintext buffer.
                let step = unsafe try tls?.read(
                    into: buffers.plainStart + total, room: WorkerBuffers.plainSize - total)
                switch step {
                case .progress(let count):
                    total += count
                    // Asking once more would only cost a read buffer (SSL_MODE_RELEASE_BUFFERS).
                    if !buffers.hasInput, tls?.hasPending == false { break loop }
                case .needsInput, .none: break loop
                case .closed:
                    isClosed = true
                    break loop
                }
            }
        } catch {
            try? push(&buffers)
            if total == 0 { throw error }
            laterFailure = error
        }
        keepInput(&buffers)
        buffers.plainCount = total
        if buffers.hasEncrypted { try push(&buffers) }
        if isClosed {
            inputEnded = true
            held.removeAll()
            if total == 0 {
                isEndTold = true
                return .end
            }
        }
        return total == 0 ? .wouldBlock : .bytes(total)
    }

    private mutating func receivePlain(_ buffers: inout WorkerBuffers) throws(TransportError) -> Received {
        do throws(SocketError) {
            // SAFETY: the plaintext buffer is larger than readSize.
            let room = unsafe UnsafeMutableRawBufferPointer(
                start: UnsafeMutableRawPointer(buffers.plainStart), count: WorkerBuffers.readSize)
            switch unsafe try socket.read(into: room) {
            case .done(let count):
                buffers.plainCount = count
                buffers.received &+= UInt64(count)
                return .bytes(count)
            case .wouldBlock: return .wouldBlock
            case .end:
                inputEnded = true
                isEndTold = true
                return .end
            }
        } catch {
            throw .socket(error)
        }
    }

    private func read(_ buffers: inout WorkerBuffers) throws(TransportError) -> Socket.Transfer {
        do throws(SocketError) {
            // SAFETY: the input buffer holds readSize bytes.
            return unsafe try socket.read(
                into: UnsafeMutableRawBufferPointer(start: buffers.input, count: WorkerBuffers.readSize))
        } catch {
            throw .socket(error)
        }
    }

    /// Bytes that wait for the socket.
    package var pendingOutput: Int { pending.count }

    /// Sends `bytes`: what the socket does not take now is kept. The caller looks at `pendingOutput` before it brings more.
    package mutating func send(_ bytes: Span<UInt8>, _ buffers: inout WorkerBuffers) throws(TransportError) {
        guard output == .open, bytes.count > 0 else { return }
        try expectTLS()
        if tls != nil {
            try tls?.write(bytes)
            try push(&buffers)
            return
        }
        try write(bytes)
    }

    /// Sends all that waits in `buffer`.
    package mutating func send(
        _ buffer: borrowing ByteBuffer, _ buffers: inout WorkerBuffers
    ) throws(TransportError) {
        try send(buffer.bytes, &buffers)
    }

    /// Sends what the last `receive` of another connection gave, from `offset` on: the relay's way, without a copy.
    package mutating func forward(_ buffers: inout WorkerBuffers, from offset: Int = 0) throws(TransportError) {
        guard output == .open, offset < buffers.plainCount else { return }
        try expectTLS()
        // SAFETY: the plaintext buffer holds plainCount bytes and is not written to while they are encrypted or sent.
        let bytes = unsafe Span<UInt8>(
            _unsafeStart: UnsafePointer(buffers.plainStart + offset), count: buffers.plainCount - offset)
        if tls != nil {
            try tls?.write(bytes)
            try push(&buffers)
            return
        }
        try write(bytes)
    }

    /// Nothing that is to be encrypted leaves in plaintext, whoever is too early.
    private func expectTLS() throws(TransportError) {
        if client != nil { throw .tls(reason: "written before the connection stood", alert: nil) }
    }

    /// Moves what TLS made to the socket, or behind what waits.
    private mutating func push(_ buffers: inout WorkerBuffers) throws(TransportError) {
        guard buffers.hasEncrypted else { return }
        defer { buffers.clearEncrypted() }
        try write(buffers.encrypted)
    }

    private mutating func write(_ bytes: Span<UInt8>) throws(TransportError) {
        guard pending.isEmpty, !isConnecting else {
            pending.append(bytes)
            return
        }
        var sent = 0
        do throws(SocketError) {
            while sent < bytes.count {
                guard case .done(let count) = try socket.write(bytes.extracting(sent..<bytes.count)) else { break }
                sent += count
            }
        } catch {
            throw .socket(error)
        }
        if sent < bytes.count { pending.append(bytes.extracting(sent..<bytes.count)) }
    }

    /// Writes what waits; true when nothing is left.
    package mutating func flush(_ buffers: inout WorkerBuffers) throws(TransportError) -> Bool {
        if isConnecting { return pending.isEmpty }
        do throws(SocketError) {
            while !pending.isEmpty {
                guard case .done(let count) = try socket.write(pending.bytes) else { return false }
                pending.consume(count)
            }
        } catch {
            throw .socket(error)
        }
        pending.shrink()
        if output == .closing {
            output = .closed
            socket.shutdownWrite()
        }
        return true
    }

    /// Ends our direction: close_notify and FIN, behind what waits. The peer's direction stays open.
    package mutating func endOutput(_ buffers: inout WorkerBuffers) throws(TransportError) {
        guard output == .open else { return }
        output = .closing
        if isEstablished, tls != nil {
            tls?.close()
            try push(&buffers)
        }
        _ = try flush(&buffers)
    }

    /// Our direction has ended and everything was written.
    package var outputClosed: Bool { output == .closed }
    package var inputClosed: Bool { inputEnded }

    /// What the socket died of; nil while it lives.
    package func socketFailure() -> SocketError? { socket.finishConnect() }

    /// Makes closing send RST: the peer must not take what it got for complete.
    package mutating func abort() { socket.resetOnClose() }

    /// What to watch for: `reading` says whether the owner wants bytes.
    package func wantedInterest(reading: Bool) -> Interest {
        if isConnecting { return .writable }
        return Interest(
            reading: !isEstablished || (reading && !inputEnded), writing: !pending.isEmpty || output == .closing)
    }
}
