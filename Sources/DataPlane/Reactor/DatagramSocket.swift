internal import CLinux
internal import Glibc

/// A UDP socket, non-blocking and close-on-exec. Dropping it closes it.
package struct DatagramSocket: ~Copyable {
    private let socket: Socket

    package var descriptor: Int32 { socket.descriptor }

    /// Bound to one address; port 0 picks one.
    package static func bind(_ address: SocketAddress) throws(SocketError) -> DatagramSocket {
        var raw = address.raw
        // SAFETY: the address is read during the call only.
        return DatagramSocket(
            socket: Socket(adopting: try checked(unsafe clinux_udp_bind(&raw), "listen on \(address) (UDP)")))
    }

    /// On a port of the kernel's choice; only what `address` sends is received.
    package static func connect(to address: SocketAddress) throws(SocketError) -> DatagramSocket {
        var raw = address.raw
        // SAFETY: the address is read during the call only.
        return DatagramSocket(
            socket: Socket(adopting: try checked(unsafe clinux_udp_connect(&raw), "connect to \(address) (UDP)")))
    }

    private init(socket: consuming Socket) { self.socket = socket }

    /// Takes over a descriptor that `release` gave.
    package init(adopting descriptor: Int32) { socket = Socket(adopting: descriptor) }

    /// Gives the descriptor away, to be adopted by another thread.
    package consuming func release() -> Int32 { socket.release() }

    package func localAddress() -> SocketAddress? { socket.localAddress() }

    /// The next datagram, cut at the room; nil when none waits. An error that an earlier datagram met (ICMP) is thrown once.
    package func receive(into room: inout [UInt8]) throws(SocketError) -> (count: Int, from: SocketAddress?)? {
        var raw = clinux_address()
        // SAFETY: the room and the address are written to during the call only.
        let result = unsafe room.withUnsafeMutableBytes { buffer in
            unsafe clinux_udp_receive(descriptor, buffer.baseAddress, buffer.count, &raw)
        }
        if result >= 0 { return (result, SocketAddress(raw)) }
        let code = Int32(truncatingIfNeeded: -result)
        if code == EAGAIN || code == EINTR { return nil }
        throw SocketError(code: code, operation: "receive")
    }

    /// Sends one datagram; what the kernel does not take is lost, as datagrams are. `address` nil: the connected one.
    @discardableResult
    package func send(_ bytes: [UInt8], to address: SocketAddress? = nil) -> Bool {
        // SAFETY: bytes and address are read during the call only.
        let result = unsafe bytes.withUnsafeBytes { buffer in
            guard let address else { return unsafe clinux_udp_send(descriptor, buffer.baseAddress, buffer.count, nil) }
            var raw = address.raw
            return unsafe clinux_udp_send(descriptor, buffer.baseAddress, buffer.count, &raw)
        }
        return result >= 0
    }
}
