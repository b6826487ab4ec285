import Glibc
import Link
import MeshModel
import MeshTestKit
import Proxy
import Reactor
import TLS
import Testing
import Wire

/// Every timeout of a TrafficPolicy at its default (topology/full.yaml), on a clock that only the test moves: a moment before it
/// nothing happens, with it all does.
@Suite struct TimeoutTests {
    private let standard = TrafficSettings()

    /// Time of one worker.
    private final class Clock {
        private let node: Node
        private var now = Instant(nanoseconds: Machine.boottime)

        init(_ node: Node) throws {
            self.node = node
            try pass(.zero)
        }

        /// So much later, everything that is due has been done.
        func pass(_ duration: Duration) throws {
            now = now + duration
            node.mailbox.post(.hold(now))
            _ = try node.report()
            // What the tick found is written in the turn after it.
            _ = try node.report()
        }
    }

    /// Timeouts without a timer of their own are looked at four times per second.
    private let moment = Duration.milliseconds(300)

    @Test func theDefaultsAreThoseOfFullYAML() {
        #expect(standard.connectTimeout == .seconds(2) && standard.handshakeTimeout == .seconds(2))
        #expect(standard.headersTimeout == .seconds(10) && standard.requestTimeout == .seconds(15))
        #expect(standard.perTryTimeout == .zero && standard.idleTimeout == .seconds(300))
        #expect(standard.connectionIdleTimeout == .seconds(60) && standard.maximumConnectionAge == .seconds(3_600))
    }

    /// A service whose only endpoint is at `address`, called from a sidecar whose clock stands.
    private func caller(_ address: SocketAddress, _ world: World) throws -> (Node, Clock, Line) {
        var snapshot = Snapshot("east")
        snapshot.add("api", .http, at: [address], target: 80) { $0.traffic.maximumAttempts = 1 }
        let web = try world.sidecar("web-0", at: Loopback.next(port: 0), snapshot, entries: [.explicit])
        let line = try world.stage.connect(web.addresses[1], .http1)
        #expect(world.stage.run { line.link?.session?.canOpenStream == true })
        return (web, try Clock(web), line)
    }

    @Test func connect() throws {
        let world = try World()
        let address = try Loopback.next(port: 15_006)
        let full = try FullListener(address)
        let (web, clock, line) = try caller(address, world)
        let message = line.open(get())
        #expect(world.stage.run { (try? web.report().exchanges) == 1 })
        try clock.pass(standard.connectTimeout - .milliseconds(1))
        world.stage.idle(milliseconds: 30)
        #expect(!message.hasHead)
        try clock.pass(moment)
        #expect(world.stage.run { message.isOver })
        #expect(message.status == "503" && message.error == "connect_timeout; dispatched=0", "\(message.fields)")
        _ = full
    }

    /// There is one app behind a sidecar: dialling it again would make its callers wait once more.
    @Test func connectToTheOwnApp() throws {
        let world = try World()
        let apiAddress = try Loopback.next(port: 15_006)
        let app = try Loopback.next(port: 8_080)
        let full = try FullListener(app)
        var snapshot = Snapshot("east")
        snapshot.add("api", at: [apiAddress], target: app.port)
        let api = try world.sidecar("api-0", at: apiAddress, snapshot, app: app)
        let clock = try Clock(api)
        let line = try world.dial(apiAddress, as: world.workload("web"), "80.api.shop.svc.cluster.local")
        #expect(world.stage.run { line.link?.session?.canOpenStream == true })
        let message = line.open(get("api.shop.svc.cluster.local:80"))
        #expect(world.stage.run { (try? api.report().exchanges) == 1 })
        try clock.pass(standard.connectTimeout + moment)
        #expect(world.stage.run { message.isOver })
        #expect(message.status == "503" && message.error == "connect_timeout; dispatched=0", "\(message.fields)")
        _ = full
    }

    @Test func handshake() throws {
        let world = try World()
        let address = try Loopback.next(port: 15_006)
        // The kernel accepts; nobody speaks TLS.
        let mute = try ListenerSocket.bind(address)
        let (web, clock, line) = try caller(address, world)
        let message = line.open(get())
        #expect(world.stage.run { (try? web.report().exchanges) == 1 })
        world.stage.idle(milliseconds: 30)
        try clock.pass(standard.handshakeTimeout - .milliseconds(1))
        world.stage.idle(milliseconds: 30)
        #expect(!message.hasHead)
        try clock.pass(moment)
        #expect(world.stage.run { message.isOver })
        #expect(message.status == "503" && message.error == "connect_timeout; dispatched=0", "\(message.fields)")
        _ = mute.address
    }

    @Test func headers() throws {
        let direct = try Direct()
        let clock = try Clock(direct.api)
        let half = try direct.stage.connect(
            direct.apiAddress.withPort(15_006), .raw,
            context: .client(svid: direct.world.workload("web"), trust: direct.world.trust, protocols: [.http1]),
            serverName: "80.api.shop.svc.cluster.local")
        #expect(direct.stage.run { half.isEstablished })
        half.send(Array("GET / HTTP/1.1\r\nHost: api".utf8), direct.stage)
        direct.stage.idle(milliseconds: 50)
        try clock.pass(standard.headersTimeout - .milliseconds(1))
        direct.stage.idle(milliseconds: 30)
        #expect(half.text.isEmpty && !half.ended)
        try clock.pass(moment)
        #expect(direct.stage.run { half.ended })
        #expect(half.text.hasPrefix("HTTP/1.1 408"), "\(half.text)")
    }

    @Test func headersOfHTTP2() throws {
        let direct = try Direct()
        let clock = try Clock(direct.web)
        let line = try direct.stage.connect(direct.web.addresses[1], .raw)
        #expect(direct.stage.run { line.isEstablished })
        // Preface, SETTINGS, and a HEADERS frame that says that more of it follows.
        line.send(
            Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + [0, 0, 0, 4, 0, 0, 0, 0, 0] + [
                0, 0, 1, 1, 1, 0, 0, 0, 1, 0x82,
            ],
            direct.stage)
        #expect(direct.stage.run { !line.received.isEmpty })
        direct.stage.idle(milliseconds: 50)
        try clock.pass(standard.headersTimeout - .milliseconds(1))
        direct.stage.idle(milliseconds: 30)
        #expect(!line.ended)
        try clock.pass(moment)
        #expect(direct.stage.run { line.ended || line.failure != nil })
    }

    @Test func request() throws {
        let direct = try Direct { $0.traffic.maximumAttempts = 1 }
        direct.app.answer = { _, _ in }
        let line = try direct.client(.http2)
        #expect(direct.stage.run { line.link?.session?.canOpenStream == true })
        let clock = try Clock(direct.web)
        let message = line.open(get())
        #expect(direct.stage.run { direct.app.requests.count == 1 })
        // The PING that asks a silent proxy how it is has its answer in between.
        for _ in 0..<14 {
            try clock.pass(.seconds(1))
            direct.stage.idle(milliseconds: 5)
        }
        try clock.pass(.milliseconds(990))
        direct.stage.idle(milliseconds: 30)
        #expect(!message.hasHead)
        try clock.pass(moment)
        #expect(direct.stage.run { message.isOver })
        #expect(message.status == "504" && message.error == "deadline; dispatched=1", "\(message.fields)")
    }

    @Test func perTry() throws {
        let direct = try Direct {
            $0.traffic.perTryTimeout = .seconds(3)
            $0.traffic.maximumAttempts = 1
        }
        direct.app.answer = { _, _ in }
        let line = try direct.client(.http2)
        #expect(direct.stage.run { line.link?.session?.canOpenStream == true })
        let clock = try Clock(direct.web)
        let message = line.open(get())
        #expect(direct.stage.run { direct.app.requests.count == 1 })
        try clock.pass(.milliseconds(2_990))
        direct.stage.idle(milliseconds: 30)
        #expect(!message.hasHead)
        try clock.pass(.milliseconds(20))
        #expect(direct.stage.run { message.isOver })
        #expect(message.error == "deadline; dispatched=1", "\(message.fields)")
    }

    @Test func streamIdle() throws {
        let direct = try Direct { $0.traffic.requestTimeout = .zero }
        direct.app.isEarly = true
        let line = try direct.client(.http2)
        #expect(direct.stage.run { line.link?.session?.canOpenStream == true })
        let clock = try Clock(direct.api)
        // Both directions stay open: the request never ends, and the answer of an early app neither.
        direct.app.answer = { line, message in
            line.link?.session?.sendHead(message.stream, block([(":status", "200")]), .response, endStream: false)
        }
        let message = line.open(get(method: "POST"), body: [1], ends: false)
        #expect(direct.stage.run { message.hasHead })
        try clock.pass(standard.idleTimeout - .milliseconds(10))
        direct.stage.idle(milliseconds: 30)
        #expect(message.closed == nil)
        try clock.pass(.milliseconds(20))
        #expect(direct.stage.run { message.closed != nil })
    }

    @Test func connectionIdle() throws {
        let direct = try Direct()
        let clock = try Clock(direct.api)
        #expect(direct.stage.ask(try direct.client(), get()).status == "200")
        let used = try #require(direct.app.lines.last)
        try clock.pass(standard.connectionIdleTimeout - .milliseconds(10))
        direct.stage.idle(milliseconds: 30)
        #expect(!used.ended)
        try clock.pass(moment)
        #expect(direct.stage.run { used.ended })
    }

    @Test func connectionMaximumAge() throws {
        let direct = try Direct { $0.traffic.connectionIdleTimeout = .seconds(100_000) }
        let clock = try Clock(direct.api)
        func connections() throws -> Int {
            #expect(direct.stage.ask(try direct.client(), get()).status == "200")
            return direct.app.lines.count
        }
        #expect(try connections() == 1)
        try clock.pass(standard.maximumConnectionAge * 9 / 10 - .milliseconds(10))
        #expect(try connections() == 1, "nine tenths of it at the least")
        try clock.pass(standard.maximumConnectionAge / 5 + moment)
        #expect(try connections() == 2, "eleven tenths of it at the most")
    }

    @Test func aConnectionInUseFinishesWhatItCarries() throws {
        let direct = try Direct {
            $0.traffic.requestTimeout = .zero
            $0.traffic.idleTimeout = .seconds(100_000)
        }
        direct.app.answer = { _, _ in }
        let line = try direct.client(.http2)
        #expect(direct.stage.run { line.link?.session?.canOpenStream == true })
        let clock = try Clock(direct.api)
        let message = line.open(get())
        #expect(direct.stage.run { direct.app.requests.count == 1 })
        try clock.pass(standard.maximumConnectionAge * 2)
        direct.stage.idle(milliseconds: 30)
        #expect(!message.isOver)
        direct.app.lines[0].respond(direct.app.requests[0], "200", [("content-length", "0")])
        #expect(direct.stage.run { message.isOver })
        #expect(message.status == "200")
    }

    @Test func aStreamOfTCPIsIdle() throws {
        let direct = try Direct(.tcp, app: .raw, entries: [.outboundTCP(host: Array("api.shop:80".utf8))])
        let line = try direct.stage.connect(direct.web.addresses[1], .raw)
        #expect(direct.stage.run { direct.app.lines.first?.isEstablished == true })
        let clock = try Clock(direct.web)
        line.send([1, 2, 3], direct.stage)
        #expect(direct.stage.run { direct.app.lines[0].received == [1, 2, 3] })
        try clock.pass(standard.idleTimeout - .milliseconds(10))
        direct.stage.idle(milliseconds: 30)
        #expect(!line.ended)
        try clock.pass(moment)
        #expect(direct.stage.run { line.ended || line.failure != nil })
        let app = direct.app.lines[0]
        #expect(direct.stage.run { app.ended || app.failure != nil })
    }
}

/// A listener whose queue is full: connecting to it takes for ever.
private final class FullListener {
    private var descriptors: [Int32] = []

    init(_ address: SocketAddress) throws {
        var place = sockaddr_in()
        place.sin_family = sa_family_t(AF_INET)
        place.sin_port = in_port_t(address.port).bigEndian
        // SAFETY (all below): the address is a local that outlives the calls.
        guard unsafe inet_pton(AF_INET, address.ipText, &place.sin_addr) == 1 else { throw failure("address") }
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        descriptors.append(listener)
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let bound = unsafe withUnsafePointer(to: &place) {
            unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe bind(listener, $0, size) }
        }
        guard bound == 0, listen(listener, 0) == 0 else { throw failure("listen") }
        for _ in 0..<4 {
            let caller = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
            descriptors.append(caller)
            _ = unsafe withUnsafePointer(to: &place) {
                unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    unsafe Glibc.connect(caller, $0, size)
                }
            }
            usleep(10_000)
        }
    }

    deinit { for descriptor in descriptors { close(descriptor) } }

    private func failure(_ what: String) -> SocketError { SocketError(code: errno, operation: what) }
}
