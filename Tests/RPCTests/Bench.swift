import Identity
import MeshModel
import MeshTestKit
import RPC
import Reactor
import TLS
import Testing
import Wire

/// One loop that serves and calls, with real sockets on loopback, and an end that no hanging test escapes.
struct Bench {
    let loop: RPCLoop
    let service = RPCService()

    init() throws {
        loop = try RPCLoop()
    }

    static let anyPort = SocketAddress(ip: "127.0.0.1", port: 0)

    /// A socket on which the kernel accepts and nobody answers; gone when it is dropped.
    struct MuteListener: ~Copyable {
        let socket: ListenerSocket
        let address: SocketAddress
    }

    static func muteListener() throws -> MuteListener {
        let any = try #require(anyPort)
        let socket = try ListenerSocket.bind(any)
        let bound = socket.address
        return MuteListener(socket: socket, address: try #require(bound))
    }

    /// Serves without TLS; the address.
    func serve(_ limits: RPCLimits = RPCLimits(), security: RPCSecurity = .plain) throws -> SocketAddress {
        let any = try #require(Bench.anyPort)
        return try #require(try loop.listen(.tcp(any), security: security, service: service, limits: limits))
    }

    func dial(
        _ address: SocketAddress, _ security: RPCClientSecurity = .plain, limits: RPCLimits = RPCLimits()
    ) -> RPCChannel {
        loop.channel(.addresses([address]), security: security, limits: limits)
    }

    /// Runs until `isDone`, listeners stay.
    func run(until isDone: () -> Bool) {
        var isLate = false
        let guardTimer = loop.after(.seconds(30)) { isLate = true }
        loop.run { isDone() || isLate }
        loop.cancel(guardTimer)
        if isLate { Issue.record("the test did not end") }
    }

    /// Runs until `stop`; a test that never stops fails after half a minute.
    func run() {
        let guardTimer = loop.after(.seconds(30)) { [loop] in
            Issue.record("the test did not end")
            loop.stop(grace: .zero)
        }
        loop.run()
        loop.cancel(guardTimer)
    }

    func stop() { loop.stop(grace: .zero) }

    /// One unary call from here to its end.
    func call(
        _ channel: RPCChannel, _ path: String, _ message: [UInt8] = [], deadline: Duration = .seconds(10)
    ) -> Result<[UInt8], RPCEnd> {
        var outcome: Result<[UInt8], RPCEnd>?
        channel.unary(path, message, deadline: deadline) { outcome = $0 }
        loop.run { outcome != nil }
        return outcome ?? .failure(RPCEnd(status: .unknown, message: "no answer"))
    }
}

/// Certificates that are good now.
struct Papers {
    let mint: CertificateMint
    let trust: TrustStore
    private let wall: WallTime

    init(_ domain: String, wall: WallTime, trusting others: [TrustBundle] = []) throws {
        self.wall = wall
        mint = try CertificateMint(domain, now: wall)
        trust = try TrustStore([mint.bundle()] + others, generation: 1)
    }

    func svid(_ path: String) throws -> SVID {
        try mint.svid("spiffe://\(mint.trustDomain)/\(path)") { leaf in
            leaf.notBefore = wall.advanced(bySeconds: -30)
            leaf.notAfter = wall.advanced(bySeconds: 3_600)
        }
    }

    func server(_ path: String, clients: TLSContext.ClientCertificate = .required) throws -> RPCSecurity {
        let context = try TLSContext.server(
            svid: try svid(path), trust: trust, clientCertificate: clients, serverNames: .any,
            protocols: [.http2, .http1], sendsRoot: clients == .none ? mint.certificate.der : nil)
        return .tls { context }
    }

    func client(
        _ path: String?, trust other: TrustStore? = nil, accepts: @escaping (PeerIdentity) -> Bool = { _ in true }
    ) throws -> RPCClientSecurity {
        let context = try TLSContext.client(
            svid: try path.map { try svid($0) }, trust: other ?? trust, protocols: [.http2])
        return .tls(context: { context }, serverName: "broker", accepts: accepts)
    }
}

/// A client that speaks bytes, to say what no good client says.
final class RawClient {
    private let loop: RPCLoop
    private let socket: Socket
    private(set) var received: [UInt8] = []
    private(set) var isClosed = false
    var onChange: (() -> Void)?

    init(_ loop: RPCLoop, _ address: SocketAddress) throws {
        self.loop = loop
        socket = try Socket.connect(to: address)
        try loop.watch(descriptor: socket.descriptor) { [weak self] in self?.read() }
    }

    var text: String { String(decoding: received, as: UTF8.self) }

    /// Loopback takes small writes whole.
    func write(_ bytes: [UInt8]) { _ = try? socket.write(bytes.span) }
    func write(_ text: String) { write(Array(text.utf8)) }

    func close() {
        loop.unwatch(descriptor: socket.descriptor)
        socket.shutdownWrite()
    }

    private func read() {
        var room = [UInt8](repeating: 0, count: 65_536)
        var outcome: Socket.Transfer = .wouldBlock
        // SAFETY: the room outlives the call.
        let failed = unsafe room.withUnsafeMutableBytes { room in
            do throws(SocketError) {
                outcome = unsafe try socket.read(into: room)
                return false
            } catch { return true }
        }
        switch outcome {
        case .done(let count): received += room[..<count]
        case .end: isClosed = true
        case .wouldBlock: isClosed = isClosed || failed
        }
        if isClosed { loop.unwatch(descriptor: socket.descriptor) }
        onChange?()
    }
}
