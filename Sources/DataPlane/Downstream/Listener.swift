package import MeshModel
package import Reactor

/// One worker's socket of a listener, and the pause after running out of descriptors.
package struct Listener: ~Copyable {
    /// How long nothing is accepted after EMFILE or ENFILE: closing connections takes a moment, spinning does not help.
    package static let pause = Duration.milliseconds(100)

    private let socket: ListenerSocket
    /// What the owner's loop does with a connection of it.
    package let role: Int
    private var pausedUntil = Instant.zero
    package private(set) var isClosed = false

    package init(_ socket: consuming ListenerSocket, role: Int) {
        self.socket = socket
        self.role = role
    }

    package var descriptor: Int32 { socket.descriptor }
    package var address: SocketAddress? { socket.address }
    /// Nothing is accepted; its owner does not watch it meanwhile, for what waits would be reported again and again.
    package var isPaused: Bool { pausedUntil != .zero }

    /// Ends a pause that is over; false: it goes on.
    package mutating func resume(now: Instant) -> Bool {
        guard pausedUntil <= now else { return false }
        pausedUntil = .zero
        return true
    }

    package mutating func pause(now: Instant) { pausedUntil = now + Self.pause }

    /// The next connection, or nil. Our own exhaustion pauses the listener.
    package mutating func accept(now: Instant) -> Accepted? {
        guard !isPaused else { return nil }
        do throws(SocketError) {
            return try socket.accept()
        } catch {
            pause(now: now)
            return nil
        }
    }
}
