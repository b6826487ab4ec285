import Containers
import Glibc
import MeshModel
import Reactor

/// A reactor and what it said, for tests that watch a handful of descriptors.
final class Watch {
    var reactor: Reactor
    /// What came, in the order in which it came.
    private(set) var ready: [(token: Token, readiness: Readiness)] = []
    private(set) var fired: [Token] = []

    init() throws(SocketError) { reactor = try Reactor() }

    /// Turns until `isDone` holds; false after ten seconds, which only a fault can take.
    func turn(until isDone: (Watch) -> Bool) -> Bool {
        let end = reactor.now + .seconds(10)
        while !isDone(self) {
            if reactor.now > end { return false }
            reactor.turn(until: end)
            while let event = reactor.nextReady() { ready.append(event) }
            while let token = reactor.nextTimer() { fired.append(token) }
        }
        return true
    }

    /// Turns until the token's descriptor is ready for all of `what`.
    func waits(for token: Token, _ what: Readiness) -> Bool {
        ready = []
        return turn { watch in watch.ready.contains { $0.token == token && $0.readiness.isSuperset(of: what) } }
    }
}

func token(_ kind: UInt8, _ slot: UInt32 = 0) -> Token { Token(kind: kind, handle: Handle(slot: slot, generation: 1)) }

extension SocketAddress {
    static var loopback: SocketAddress {
        get throws(SocketError) {
            guard let address = SocketAddress(ip: "127.0.0.1", port: 0) else {
                throw SocketError(code: EINVAL, operation: "loopback")
            }
            return address
        }
    }
}

/// Two connected sockets of loopback.
struct Pair: ~Copyable {
    var near: Socket
    var far: Socket

    init(_ watch: Watch) throws {
        let listener = try ListenerSocket.bind(.loopback)
        guard let address = listener.address else { throw SocketError(code: EINVAL, operation: "address") }
        let near = try Socket.connect(to: address)
        try watch.reactor.watch(listener.descriptor, .readable, token(0xFE))
        guard watch.waits(for: token(0xFE), .readable), let accepted = try listener.accept() else {
            throw SocketError(code: ETIMEDOUT, operation: "accept")
        }
        self.near = near
        far = accepted.takeSocket()
    }

    consuming func closeFar() -> Socket { near }
}

extension Socket {
    /// One read of at most `room` bytes.
    func read(_ room: Int = 4_096) throws(SocketError) -> (transfer: Transfer, bytes: [UInt8]) {
        var bytes = [UInt8](repeating: 0, count: room)
        var transfer = Transfer.wouldBlock
        var failure: SocketError?
        // SAFETY: the array lends its storage for the call.
        unsafe bytes.withUnsafeMutableBytes { buffer in
            do throws(SocketError) { transfer = unsafe try read(into: buffer) } catch { failure = error }
        }
        if let failure { throw failure }
        if case .done(let count) = transfer { return (transfer, Array(bytes.prefix(count))) }
        return (transfer, [])
    }

    func write(_ bytes: [UInt8]) throws(SocketError) -> Transfer { try write(bytes.span) }
}

/// The error's errno, or nil when nothing was thrown.
func code<Value: ~Copyable>(of body: () throws(SocketError) -> Value) -> Int32? {
    do throws(SocketError) {
        _ = try body()
        return nil
    } catch {
        return error.code
    }
}

/// A path that nothing has yet, under the temporary folder.
func freshPath(_ name: String) -> String { "/tmp/meshfed-\(getpid())-\(UInt32.random(in: 0...UInt32.max))-\(name)" }

/// The listener's bound address.
func bound(_ listener: borrowing ListenerSocket) throws(SocketError) -> SocketAddress {
    guard let address = listener.address else { throw SocketError(code: EINVAL, operation: "address") }
    return address
}

/// A loopback address on which nobody listens.
func freeAddress() throws(SocketError) -> SocketAddress {
    let listener = try ListenerSocket.bind(.loopback)
    return try bound(listener)
}
