internal import CLinux
internal import Glibc

/// One end of a conversation between two processes of one user: whole packets, each with at most one descriptor.
package struct PacketSocket: ~Copyable {
    /// A packet and the descriptor that came with it, close-on-exec and the receiver's to close.
    package struct Packet: Hashable, Sendable {
        package let bytes: [UInt8]
        package let descriptor: Int32?
    }

    /// The longest packet: a listener's name with a host name in it.
    private static let room = 1_024

    private let socket: Socket

    private init(_ socket: consuming Socket) { self.socket = socket }

    package var descriptor: Int32 { socket.descriptor }

    /// Listens at `path`, mode 0600, in place of what was there. Does not block.
    package static func listen(path: String) throws(SocketError) -> PacketSocket {
        // SAFETY: the path is read during the call only.
        let result = unsafe path.withCString { unsafe clinux_listen_packets($0) }
        return PacketSocket(Socket(adopting: try checked(result, "listen on \(path)")))
    }

    /// Dials `path`. Everything on this end blocks, for `milliseconds` at the most (then EAGAIN).
    package static func connect(path: String, milliseconds: Int32) throws(SocketError) -> PacketSocket {
        // SAFETY: the path is read during the call only.
        let result = unsafe path.withCString { unsafe clinux_connect_packets($0, milliseconds) }
        return PacketSocket(Socket(adopting: try checked(result, "connect to \(path)")))
    }

    /// The next dialler of a listening end; nil when none waits.
    package func accept() throws(SocketError) -> PacketSocket? {
        var raw = clinux_address()
        // SAFETY: written during the call only.
        let result = unsafe clinux_accept(descriptor, &raw)
        if result == -EAGAIN { return nil }
        return PacketSocket(Socket(adopting: try checked(result, "accept")))
    }

    /// The user of the process at the other end.
    package func peerUID() -> UInt32? { socket.peerUID() }

    /// Sends one packet whole; the receiver gets a copy of `passing`.
    package func send(_ bytes: [UInt8], passing: Int32? = nil) throws(SocketError) {
        // SAFETY: the bytes are lent for the length of the call.
        let result = unsafe bytes.withUnsafeBytes {
            unsafe clinux_send_packet(descriptor, $0.baseAddress, $0.count, passing ?? -1)
        }
        guard result >= 0 else { throw SocketError(code: Int32(truncatingIfNeeded: -result), operation: "send") }
    }

    /// The next packet; nil at the end. Throws EAGAIN when none has come.
    package func receive() throws(SocketError) -> Packet? {
        var bytes = [UInt8](repeating: 0, count: Self.room)
        var passed: Int32 = -1
        // SAFETY: the buffer has that many bytes; both are written during the call only.
        let result = unsafe bytes.withUnsafeMutableBytes {
            unsafe clinux_receive_packet(descriptor, $0.baseAddress, $0.count, &passed)
        }
        guard result >= 0 else { throw SocketError(code: Int32(truncatingIfNeeded: -result), operation: "receive") }
        if result == 0, passed < 0 { return nil }
        return Packet(bytes: Array(bytes[..<result]), descriptor: passed < 0 ? nil : passed)
    }
}
