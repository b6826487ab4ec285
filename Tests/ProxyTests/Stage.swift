import Containers
import Glibc
import Identity
import Link
import MeshModel
import MeshTestKit
import Proxy
import Reactor
import Routing
import Synchronization
import TLS
import Wire

/// The test's own thread: its connections and its apps. The workers run on theirs.
final class Stage {
    var buffers = WorkerBuffers()
    var scratch = OutputBuffer()
    let wall = WallTime(seconds: Machine.walltime)
    private(set) var lines: [Line] = []
    private var apps: [App] = []

    /// One turn over everything that is ready.
    func turn(milliseconds: Int32) {
        var polls: [pollfd] = []
        let open = lines.filter(\.isOpen)
        var isBusy = false
        for line in open {
            var events: Int16 = 0
            if line.interest.contains(.readable) { events |= Int16(POLLIN) }
            if line.interest.contains(.writable) { events |= Int16(POLLOUT) }
            if line.mustWork || (line.link?.hasOutput == true && line.link?.transport.pendingOutput == 0) {
                isBusy = true
            }
            // What is neither read nor written is not polled: a hang-up would be reported for ever.
            polls.append(pollfd(fd: events == 0 ? -1 : line.descriptor, events: events, revents: 0))
        }
        for app in apps { polls.append(pollfd(fd: app.descriptor, events: Int16(POLLIN), revents: 0)) }
        // SAFETY: the array is written during the call only.
        _ = unsafe poll(&polls, nfds_t(polls.count), isBusy ? 0 : milliseconds)
        for (index, line) in open.enumerated() {
            let flags = polls[index].revents
            line.step(self, readable: flags & ~Int16(POLLOUT) != 0)
        }
        for app in apps { app.acceptAll(self) }
    }

    /// Turns until `isDone`; false when ten seconds did not do.
    func run(until isDone: () -> Bool) -> Bool {
        let end = Machine.boottime + 10_000_000_000
        while !isDone() {
            if Machine.boottime > end { return false }
            turn(milliseconds: 100)
        }
        return true
    }

    /// Turns for a while in which nothing should come.
    func idle(milliseconds: UInt64) {
        let end = Machine.boottime + milliseconds * 1_000_000
        while Machine.boottime < end { turn(milliseconds: 5) }
    }

    func add(_ line: Line) { lines.append(line) }
    func add(_ app: App) { apps.append(app) }
    func remove(_ app: App) { apps.removeAll { $0 === app } }

    /// Connects in plain.
    func connect(_ address: SocketAddress, _ version: Line.Version) throws -> Line {
        let line = Line(
            Transport(socket: try Socket.connect(to: address), connecting: true), role: .client, version: version)
        lines.append(line)
        return line
    }

    /// Connects with mTLS.
    func connect(
        _ address: SocketAddress, _ version: Line.Version, context: TLSContext, serverName: String
    ) throws -> Line {
        let transport = Transport(
            client: try Socket.connect(to: address), context: context, serverName: Array(serverName.utf8))
        let line = Line(transport, role: .client, version: version)
        lines.append(line)
        return line
    }

    /// Sends a request once the line stands, and waits for the whole answer.
    func ask(_ line: Line, _ fields: [(String, String)], body: [UInt8]? = nil) -> Message {
        guard run(until: { !line.isOpen || line.link?.session?.canOpenStream == true }), line.isOpen else {
            let lost = Message(stream: -1)
            return lost
        }
        let message = line.open(fields, body: body)
        _ = run { message.isOver || !line.isOpen }
        return message
    }
}

/// A server of the test: the app behind a sidecar, or any other next hop.
final class App {
    private let listener: ListenerSocket
    private let version: Line.Version
    private let context: TLSContext?
    let address: SocketAddress
    private(set) var lines: [Line] = []
    /// Requests in the order in which they came.
    private(set) var requests: [Message] = []
    /// How it answers; the default sends back what came.
    var answer: (Line, Message) -> Void = { line, message in
        line.respond(message, "200", [("content-length", "\(message.body.count)")], body: message.body)
    }
    var isEarly = false
    /// Called with each new connection.
    var onAccept: ((Line) -> Void)?

    init(
        _ stage: Stage, _ version: Line.Version, at address: SocketAddress? = nil, context: TLSContext? = nil
    ) throws {
        let listener = try ListenerSocket.bind(try address ?? Loopback.next(port: 0))
        guard let bound = listener.address else { throw SocketError(code: EINVAL, operation: "address") }
        self.address = bound
        self.listener = listener
        self.version = version
        self.context = context
        stage.add(self)
    }

    var descriptor: Int32 { listener.descriptor }

    func acceptAll(_ stage: Stage) {
        while let accepted = try? listener.accept() {
            let socket = accepted.takeSocket()
            let line: Line
            if let context {
                line = Line(
                    Transport(server: socket, context: context, buffers: stage.buffers), role: .server,
                    version: version)
            } else {
                line = Line(Transport(socket: socket), role: .server, version: version)
            }
            line.isEarly = isEarly
            line.onRequest = { [unowned self] line, message in
                requests.append(message)
                answer(line, message)
            }
            lines.append(line)
            stage.add(line)
            line.step(stage, readable: false)
            onAccept?(line)
        }
    }
}

/// Loopback addresses that no other test uses: sidecars are always dialled at port 15006.
enum Loopback {
    private static let used = Mutex(UInt32.random(in: 0..<0xB0_0000) & ~0xFF)

    static func next(port: UInt16) throws -> SocketAddress {
        let number = used.withLock { used in
            used += 1
            if used & 0xFF == 0 || used & 0xFF == 0xFF { used += 2 }
            return used
        }
        let text = "127.\(64 + number >> 16 & 0xFF).\(number >> 8 & 0xFF).\(number & 0xFF)"
        guard let address = SocketAddress(ip: text, port: port) else {
            throw SocketError(code: EINVAL, operation: text)
        }
        return address
    }
}

/// A value that two threads share.
final class Slot<Value: Sendable>: Sendable {
    private let held: Mutex<Value>
    init(_ value: Value) { held = Mutex(value) }
    var value: Value {
        get { held.withLock { $0 } }
        set { held.withLock { $0 = newValue } }
    }
}

/// A worker on its own thread.
final class Node {
    let mailbox: WorkerMailbox
    /// Bound addresses, in the order of the entries.
    let addresses: [SocketAddress]
    private let ended = Slot(false)

    convenience init(
        _ settings: WorkerSettings, listening: [SocketAddress], _ configuration: ProxyConfiguration
    ) throws {
        var bound: [SocketAddress] = []
        var descriptors: [(descriptor: Int32, role: Int)] = []
        for (role, address) in listening.enumerated() {
            let listener = try ListenerSocket.bind(address)
            guard let place = listener.address else { throw SocketError(code: EINVAL, operation: "address") }
            bound.append(place)
            descriptors.append((listener.release(), role))
        }
        try self.init(settings, bound, descriptors, configuration)
    }

    /// A worker on listeners that are bound already.
    init(
        _ settings: WorkerSettings, _ bound: [SocketAddress], _ descriptors: [(descriptor: Int32, role: Int)],
        _ configuration: ProxyConfiguration
    ) throws {
        let mailbox = try WorkerMailbox()
        self.mailbox = mailbox
        addresses = bound
        mailbox.post(.configure(configuration))
        let ended = ended
        let listeners = descriptors
        try WorkerThread.start(name: "test-worker") {
            do throws(SocketError) {
                var worker = try Worker(settings: settings, mailbox: mailbox)
                for (descriptor, role) in listeners {
                    try worker.listen(ListenerSocket(adopting: descriptor), role: role)
                }
                worker.run()
            } catch {
                print("worker: \(error)")
            }
            ended.value = true
        }
        _ = try report()
    }

    deinit { mailbox.post(.drain) }

    var hasEnded: Bool { ended.value }

    /// The worker's word: everything posted before it has been read.
    func report() throws -> WorkerReport {
        let answer = Slot<WorkerReport?>(nil)
        mailbox.post(.report { answer.value = $0 })
        for _ in 0..<10_000 {
            if let report = answer.value { return report }
            usleep(1_000)
        }
        throw SocketError(code: ETIMEDOUT, operation: "report")
    }

    func configure(_ configuration: ProxyConfiguration) throws {
        mailbox.post(.configure(configuration))
        _ = try report()
    }
}
