import Containers
import Reactor

/// One TCP connection: a line that says who is here, then every byte back. Half-close passes.
struct EchoRelay: ~Copyable {
    /// Bytes that wait to be written, above which nothing is read.
    private static let highMark = 262_144
    private static let readSize = 65_536

    private let socket: Socket
    private var output = ByteBuffer()
    private var inputEnded = false
    private var outputEnded = false
    /// What the loop watches now.
    private var interest: Interest = [.readable, .writable]

    init(_ socket: consuming Socket, identity: EchoIdentity, peer: SocketAddress?) {
        self.socket = socket
        output.append(identity.nameBytes)
        output.append(Array(" \(peer.map { "\($0)" } ?? "unknown")\n".utf8))
    }

    var descriptor: Int32 { socket.descriptor }

    /// Reads and writes what goes; false when the connection is over.
    mutating func turn(_ readiness: Readiness) -> Bool {
        var rounds = 0
        while rounds < 16 {
            rounds += 1
            var moved = false
            let mayRead = rounds > 1 || !readiness.isDisjoint(with: [.readable, .hangup])
            if mayRead, !inputEnded, output.count < Self.highMark {
                switch EchoRead.once(socket.descriptor, into: &output, size: Self.readSize) {
                case .bytes: moved = true
                case .wouldBlock: break
                case .end: inputEnded = true
                case .failed: return false
                }
            }
            while !output.isEmpty {
                guard let transfer = try? socket.write(output.bytes) else { return false }
                guard case .done(let count) = transfer, count > 0 else { break }
                output.consume(count)
                moved = true
            }
            if inputEnded, output.isEmpty, !outputEnded {
                outputEnded = true
                socket.shutdownWrite()
            }
            if !moved { break }
        }
        if output.isEmpty { output.shrink() }
        return !(inputEnded && outputEnded)
    }

    /// What the loop shall watch, where that changed.
    mutating func changedInterest() -> Interest? {
        var wanted: Interest = []
        if !inputEnded, output.count < Self.highMark { wanted.insert(.readable) }
        if !output.isEmpty { wanted.insert(.writable) }
        guard wanted != interest else { return nil }
        interest = wanted
        return wanted
    }
}
