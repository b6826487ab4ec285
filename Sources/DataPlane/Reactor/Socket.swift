internal import CLinux
internal import Glibc

/// A connected or connecting stream socket, non-blocking and close-on-exec. Dropping it closes it.
package struct Socket: ~Copyable {
    package let descriptor: Int32

    /// Takes over a descriptor that nobody else closes.
    package init(adopting descriptor: Int32) { self.descriptor = descriptor }

    deinit { clinux_close(descriptor) }

    /// Gives the descriptor away, to be adopted by another thread.
    package consuming func release() -> Int32 {
        let held = descriptor
        discard self
        return held
    }

    /// Starts to connect; it is connected, or has failed, when it becomes writable: `finishConnect`.
    package static func connect(to address: SocketAddress) throws(SocketError) -> Socket {
        var raw = address.raw
        var inProgress: Int32 = 0
        // SAFETY: both are read and written during the call only.
        let result = unsafe clinux_connect(&raw, &inProgress)
        return Socket(adopting: try checked(result, "connect to \(address)"))
    }

    /// Connects to a UNIX socket.
    package static func connect(unixPath path: String) throws(SocketError) -> Socket {
        var inProgress: Int32 = 0
        // SAFETY: the path is read during the call only.
        let result = unsafe path.withCString { unsafe clinux_connect_unix($0, &inProgress) }
        return Socket(adopting: try checked(result, "connect to \(path)"))
    }

    /// The outcome of a connect, once the socket is writable; nil when it is connected.
    package func finishConnect() -> SocketError? {
        let result = clinux_socket_error(descriptor)
        return result == 0 ? nil : SocketError(code: -result, operation: "connect")
    }

    /// Small writes leave at once.
    package func setNoDelay() { clinux_set_no_delay(descriptor) }
    /// Closing sends RST instead of FIN.
    package func resetOnClose() { clinux_reset_on_close(descriptor) }
    package func shutdownWrite() { clinux_shutdown_write(descriptor) }

    /// Who is at the other end of a UNIX socket.
    package func peerUID() -> UInt32? {
        let result = clinux_peer_uid(descriptor)
        return result < 0 ? nil : UInt32(truncatingIfNeeded: result)
    }

    package func localAddress() -> SocketAddress? {
        var raw = clinux_address()
        // SAFETY: written during the call only.
        return unsafe clinux_local_address(descriptor, &raw) < 0 ? nil : SocketAddress(raw)
    }

    /// Where a redirected connection was going, by SO_ORIGINAL_DST; nil when it was not redirected.
    package func originalDestination() -> SocketAddress? {
        var raw = clinux_address()
        // SAFETY: written during the call only.
        return unsafe clinux_original_destination(descriptor, &raw) < 0 ? nil : SocketAddress(raw)
    }

    /// What one read or write did.
    package enum Transfer: Hashable, Sendable {
        case done(Int)
        case wouldBlock
        case end
    }

    /// Reads once.
    package func read(into room: UnsafeMutableRawBufferPointer) throws(SocketError) -> Transfer {
        // SAFETY: the room is the caller's for the length of the call.
        let result = unsafe clinux_read(descriptor, room.baseAddress, room.count)
        if result > 0 { return .done(result) }
        if result == 0 { return .end }
        let code = Int32(truncatingIfNeeded: -result)
        if code == EAGAIN || code == EINTR { return .wouldBlock }
        throw SocketError(code: code, operation: "read")
    }

    /// The first bytes that wait, at most `limit`, left where they are; empty when none wait yet, nil at the end.
    package func peek(_ limit: Int) throws(SocketError) -> [UInt8]? {
        var room = [UInt8](repeating: 0, count: limit)
        // SAFETY: the room is written to during the call only.
        let result = unsafe room.withUnsafeMutableBytes { unsafe clinux_peek(descriptor, $0.baseAddress, $0.count) }
        if result == 0 { return nil }
        let code = Int32(truncatingIfNeeded: -result)
        if result < 0, code == EAGAIN || code == EINTR { return [] }
        if result < 0 { throw SocketError(code: code, operation: "read") }
        room.removeLast(limit - result)
        return room
    }

    /// Reads once, at most `limit` bytes; empty when none wait, nil at the end.
    package func take(_ limit: Int) throws(SocketError) -> [UInt8]? {
        var room = [UInt8](repeating: 0, count: limit)
        // SAFETY: the room is written to during the call only.
        let result = unsafe room.withUnsafeMutableBytes { unsafe clinux_read(descriptor, $0.baseAddress, $0.count) }
        if result == 0 { return nil }
        let code = Int32(truncatingIfNeeded: -result)
        if result < 0, code == EAGAIN || code == EINTR { return [] }
        if result < 0 { throw SocketError(code: code, operation: "read") }
        room.removeLast(limit - result)
        return room
    }

    /// Writes once.
    package func write(_ bytes: Span<UInt8>) throws(SocketError) -> Transfer {
        // SAFETY: the bytes are borrowed for the length of the call.
        let result = unsafe bytes.withUnsafeBytes { unsafe clinux_write(descriptor, $0.baseAddress, $0.count) }
        if result >= 0 { return .done(result) }
        let code = Int32(truncatingIfNeeded: -result)
        if code == EAGAIN || code == EINTR { return .wouldBlock }
        throw SocketError(code: code, operation: "write")
    }
}

/// What a listener gave: a connection and who is there (nil on a UNIX socket).
package struct Accepted: ~Copyable {
    package var socket: Socket
    package let peer: SocketAddress?

    package consuming func takeSocket() -> Socket { socket }
}

/// A bound, listening socket.
package struct ListenerSocket: ~Copyable {
    /// Connections that may wait to be accepted: the kernel's own ceiling is `somaxconn`.
    private static let backlog: Int32 = 4_096

    private let socket: Socket
    /// The bound address; nil on a UNIX socket.
    package let address: SocketAddress?

    private init(_ socket: consuming Socket, _ address: SocketAddress?) {
        self.socket = socket
        self.address = address
    }

    package var descriptor: Int32 { socket.descriptor }

    /// Binds and listens. `::` takes IPv4 too. With `reusePort` several sockets of this process share the port; another
    /// process's socket on it is an error all the same, found by a first bind without sharing.
    package static func bind(
        _ address: SocketAddress, reusePort: Bool = false
    ) throws(SocketError) -> ListenerSocket {
        var raw = address.raw
        // SAFETY (both calls): the address is read during the call only.
        let descriptor = try checked(
            unsafe clinux_listen(&raw, backlog, reusePort ? 1 : 0), "listen on \(address)")
        let socket = Socket(adopting: descriptor)
        let bound = socket.localAddress()
        return ListenerSocket(socket, bound)
    }

    /// The address that a listening descriptor is bound to.
    package static func address(of descriptor: Int32) -> SocketAddress? {
        var raw = clinux_address()
        // SAFETY: written during the call only.
        return unsafe clinux_local_address(descriptor, &raw) < 0 ? nil : SocketAddress(raw)
    }

    /// Gives the descriptor away, to be adopted by the worker that will accept on it.
    package consuming func release() -> Int32 { socket.release() }

    /// Takes over a listening descriptor that `release` gave.
    package init(adopting descriptor: Int32) {
        socket = Socket(adopting: descriptor)
        address = socket.localAddress()
    }

    /// Refuses an address that another process listens on: SO_REUSEPORT alone would share it silently.
    package static func probe(_ address: SocketAddress) throws(SocketError) {
        var raw = address.raw
        // SAFETY: the address is read during the call only.
        _ = Socket(adopting: try checked(unsafe clinux_listen(&raw, 1, 0), "listen on \(address)"))
    }

    /// A UNIX socket with mode 0600. The path must be free: what a dead process left there is for the owner of the folder to
    /// remove.
    package static func bind(unixPath path: String) throws(SocketError) -> ListenerSocket {
        // SAFETY: the path is read during the call only.
        let result = unsafe path.withCString { unsafe clinux_listen_unix($0, backlog) }
        return ListenerSocket(Socket(adopting: try checked(result, "listen on \(path)")), nil)
    }

    /// The next connection; nil when none waits. A connection that went away meanwhile is skipped.
    package func accept() throws(SocketError) -> Accepted? {
        for _ in 0..<16 {
            var raw = clinux_address()
            // SAFETY: written during the call only.
            let result = unsafe clinux_accept(descriptor, &raw)
            if result >= 0 { return Accepted(socket: Socket(adopting: result), peer: SocketAddress(raw)) }
            switch -result {
            case EAGAIN: return nil
            case EINTR, ECONNABORTED, EPROTO: continue
            default: throw SocketError(code: -result, operation: "accept")
            }
        }
        return nil
    }
}
