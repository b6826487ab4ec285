package import Containers
internal import MeshModel
package import Reactor
package import TLS
package import Wire

/// One connection with the conversation on it: a transport, and once it speaks HTTP a session. Either side of a proxy.
///
/// It reads, feeds the session, writes what the session made, and tells the reactor what to wait for. What the events mean is
/// its owner's matter.
package struct HTTPLink: ~Copyable {
    /// What one read came to.
    package enum Reading: Equatable, Sendable {
        /// Nothing to read now.
        case idle
        /// The session took the bytes: read its events.
        case fed
        /// There is no session: `count` bytes are in `buffers.plain`.
        case raw(Int)
        /// The peer ended its direction (the session knows it).
        case end
        case failed(TransportError)
    }

    /// Encrypted bytes that may wait for the socket before the session is asked for more.
    private static let outputLimit = 131_072
    /// Wire bytes asked of a session at a time: what one read brings is four full TLS records, and what framing it again adds.
    private static let chunk = 5 * 16_384

    package var transport: Transport
    package var session: HTTPSession?
    /// In the owner's list of connections to write at the end of the turn.
    package var isDirty = false
    private var watched: Interest?
    private var isRegistered = false

    package init(_ transport: consuming Transport) {
        self.transport = transport
        session = nil
    }

    package var isHTTP: Bool { session != nil }

    /// Reads once. A session that fails has its events and last words still to be taken.
    package mutating func read(_ buffers: inout WorkerBuffers) -> Reading {
        let received: Transport.Received
        do throws(TransportError) {
            received = try transport.receive(&buffers)
        } catch {
            session?.connectionLost()
            return .failed(error)
        }
        switch received {
        case .wouldBlock: return .idle
        case .end:
            // A message that was cut shows in the session's own failure.
            try? session?.receiveEnd()
            return .end
        case .bytes(let count):
            guard session != nil else { return .raw(count) }
            try? session?.receive(buffers.plain)
            return .fed
        }
    }

    /// Writes what the session has, as far as the socket takes it. Events may follow: `writable`, `closed`.
    package mutating func write(
        _ buffers: inout WorkerBuffers, _ scratch: inout OutputBuffer
    ) throws(TransportError) {
        guard transport.isEstablished else { return }
        if transport.pendingOutput > 0 { _ = try transport.flush(&buffers) }
        while session != nil, transport.pendingOutput < Self.outputLimit, session?.hasOutput == true {
            scratch.removeAll()
            try? session?.produce(into: &scratch, upTo: Self.chunk)
            guard scratch.count > 0 else { break }
            try transport.send(scratch.bytes, &buffers)
        }
        if session?.takeOutputEnd() == true { try transport.endOutput(&buffers) }
    }

    /// Tells the reactor what to wait for, when that changed.
    package mutating func watch(
        _ reactor: borrowing Reactor, _ token: Token, reading: Bool
    ) throws(SocketError) {
        let wanted = transport.wantedInterest(reading: reading)
        if wanted.rawValue == watched?.rawValue { return }
        if isRegistered {
            try reactor.change(transport.descriptor, wanted, token)
        } else {
            try reactor.watch(transport.descriptor, wanted, token)
        }
        isRegistered = true
        watched = wanted
    }

    /// Answers a hang-up, which is reported whatever was asked for, again and again. The fault that the connection died of,
    /// where nobody would find it by reading; without one both directions have merely ended, and the descriptor is left alone
    /// until somebody reads on.
    package mutating func hungUp(_ reactor: borrowing Reactor) -> SocketError? {
        guard isRegistered, watched?.isReading != true else { return nil }
        if let failure = transport.socketFailure() { return failure }
        reactor.forget(transport.descriptor)
        isRegistered = false
        watched = Interest(reading: false, writing: false)
        return nil
    }

    /// Queues body bytes that another link's `data` event gave.
    package mutating func sendData(_ stream: StreamID, from source: borrowing HTTPLink, _ offset: Int, _ count: Int) {
        session?.sendData(stream, source.bytes(offset, count), endStream: false)
    }

    /// Queues all that waits in `buffer`.
    package mutating func sendData(_ stream: StreamID, _ buffer: borrowing ByteBuffer, endStream: Bool) {
        session?.sendData(stream, buffer.bytes, endStream: endStream)
    }

    /// Ends a stream's direction with no more bytes.
    package mutating func endStream(_ stream: StreamID) { session?.sendData(stream, Span(), endStream: true) }

    /// Tells the session that time went by; one that carries nothing gives back the memory of its last bodies.
    package mutating func calm(_ seconds: Int, isIdle: Bool) {
        session?.pass(seconds: seconds)
        if isIdle { session?.shrink() }
    }

    /// Gives a buffer's bytes to the session.
    package mutating func feed(_ buffer: borrowing ByteBuffer) { try? session?.receive(buffer.bytes) }

    /// Leaves HTTP: what the session had received behind a CONNECT is moved to `early`.
    package mutating func leaveHTTP(into early: inout ByteBuffer) {
        session?.takeTunnelBytes(into: &early)
        session = nil
    }

    /// The bytes of a `data` event.
    @_lifetime(borrow self)
    package func bytes(_ offset: Int, _ count: Int) -> Span<UInt8> {
        switch session {
        case .some(let held): return held.bytes(offset, count)
        case .none: return Span()
        }
    }

    /// The session wants bytes, or there is none and the owner decides.
    package var wantsInput: Bool {
        switch session {
        case .some(let held): return held.wantsInput
        case .none: return true
        }
    }

    /// The session speaks HTTP/2.
    package var isHTTP2: Bool {
        switch session {
        case .some(let held): return held.isHTTP2
        case .none: return false
        }
    }

    /// Client: a stream can be opened now.
    package var canOpenStream: Bool {
        switch session {
        case .some(let held): return held.canOpenStream
        case .none: return false
        }
    }

    /// HTTP/2: a head has begun and is not complete.
    package var isInHead: Bool {
        switch session {
        case .some(let held): return held.isInHead
        case .none: return false
        }
    }

    package var hasOutput: Bool {
        switch session {
        case .some(let held): return held.hasOutput
        case .none: return false
        }
    }

    package var isOver: Bool {
        switch session {
        case .some(let held): return held.shouldClose
        case .none: return false
        }
    }

    package var mustAbort: Bool {
        switch session {
        case .some(let held): return held.mustAbort
        case .none: return false
        }
    }
}

extension ByteBuffer {
    /// Appends the bytes of a `data` event.
    package mutating func append(from link: borrowing HTTPLink, _ offset: Int, _ count: Int) {
        append(link.bytes(offset, count))
    }

    /// Appends what the thread's last `receive` gave.
    package mutating func append(received buffers: borrowing WorkerBuffers) { append(buffers.plain) }
}
