import Containers
import Identity
import Link
import MeshModel
import MeshTestKit
import Reactor
import TLS
import Testing
import Wire

/// One side: a link, and what its session said.
private final class End {
    var link: HTTPLink
    let role: HTTPRole
    private(set) var isEstablished = false
    private(set) var readings: [HTTPLink.Reading] = []
    private(set) var events: [HTTPEvent] = []
    private(set) var heads: [StreamID: [String]] = [:]
    private(set) var bodies: [StreamID: [UInt8]] = [:]
    private(set) var raw: [UInt8] = []
    private(set) var failure: TransportError?
    var isConsuming = true

    init(_ transport: consuming Transport, role: HTTPRole) {
        self.role = role
        link = HTTPLink(transport)
    }

    func start(http2: Bool) {
        link.session = http2 ? .http2(role: role) : .http1(role: role)
    }

    func step(_ pair: Pair, readable: Bool) {
        guard failure == nil else { return }
        do throws(TransportError) {
            if !isEstablished {
                isEstablished = try link.transport.advance(&pair.buffers, wall: CertificateMint.now)
                guard isEstablished else { return }
            }
            if readable || link.transport.holdsInput { read(&pair.buffers) }
            try link.write(&pair.buffers, &pair.scratch)
            drain()
        } catch {
            failure = error
        }
    }

    private func read(_ buffers: inout WorkerBuffers) {
        while failure == nil, link.wantsInput {
            let reading = link.read(&buffers)
            if reading != .idle { readings.append(reading) }
            switch reading {
            case .idle, .end: return drain()
            case .fed: drain()
            case .raw:
                // SAFETY: the plaintext is lent for the call.
                unsafe buffers.plain.withUnsafeBufferPointer { unsafe raw += $0 }
            case .failed(let error):
                drain()
                failure = error
            }
        }
    }

    private func drain() {
        while let event = link.session?.nextEvent() {
            events.append(event)
            switch event {
            case .head(let stream, _, _), .trailers(let stream), .violation(let stream, _):
                if let block = link.session?.takeHead(stream) { heads[stream] = lines(block) }
            case .data(let stream, let offset, let count):
                var copy = ByteBuffer()
                copy.append(from: link, offset, count)
                // SAFETY: the bytes are copied during the call.
                unsafe copy.bytes.withUnsafeBufferPointer { unsafe bodies[stream, default: []] += $0 }
                if isConsuming { link.session?.consume(stream, count) }
            case .endStream, .closed, .writable, .goAway, .settings, .pong: break
            }
        }
    }

    var isHTTP: Bool { link.isHTTP }
    var isHTTP2: Bool { link.isHTTP2 }
    var isOver: Bool { link.isOver }
    var mustAbort: Bool { link.mustAbort }
    var wantsInput: Bool { link.wantsInput }
    var hasOutput: Bool { link.hasOutput }
    var canOpenStream: Bool { link.canOpenStream }
    func queued(_ stream: StreamID) -> Int { link.session?.queued(stream) ?? 0 }

    func hasEnded(_ stream: StreamID) -> Bool {
        events.contains(.endStream(stream))
            || events.contains {
                if case .head(stream, _, endStream: true) = $0 { return true }
                return false
            }
    }
}

private func lines(_ block: borrowing HeaderBlock) -> [String] {
    var result: [String] = []
    for index in 0..<block.count {
        result.append(text(block.nameBytes(at: index)) + ": " + text(block.value(at: index)))
    }
    return result
}

private func text(_ span: Span<UInt8>) -> String {
    var bytes: [UInt8] = []
    for index in 0..<span.count { bytes.append(span[index]) }
    return String(decoding: bytes, as: UTF8.self)
}

private func block(_ fields: [(String, String)]) -> HeaderBlock {
    var block = HeaderBlock()
    for (name, value) in fields { block.append(name: Array(name.utf8).span, value: Array(value.utf8).span) }
    return block
}

/// Two links on one loopback connection, watched by a reactor as a worker's are.
private final class Pair {
    var buffers = WorkerBuffers()
    var scratch = OutputBuffer()
    private let reactor: Slot
    let near: End
    let far: End

    /// A reactor in a class of its own: a noncopyable value that two properties use.
    private final class Slot {
        var reactor: Reactor
        init() throws(SocketError) { reactor = try Reactor() }
    }

    init(secure: Bool, http2: Bool?) throws {
        reactor = try Slot()
        let any = try #require(SocketAddress(ip: "127.0.0.1", port: 0))
        let listener = try ListenerSocket.bind(any)
        guard let address = listener.address else { throw SocketError(code: 22, operation: "address") }
        let socket = try Socket.connect(to: address)
        try reactor.reactor.watch(listener.descriptor, .readable, Self.token(9))
        var accepted: Int32?
        for _ in 0..<20 where accepted == nil {
            reactor.reactor.turn()
            while reactor.reactor.nextReady() != nil {}
            if let found = try listener.accept() { accepted = found.takeSocket().release() }
        }
        let descriptor = try #require(accepted)
        if secure {
            let mint = try CertificateMint("east.mesh")
            let trust = try TrustStore([mint.bundle()], generation: 1)
            let client = try TLSContext.client(
                svid: mint.svid("spiffe://east.mesh/ns/a/sa/a"), trust: trust, protocols: [.http2, .http1])
            let server = try TLSContext.server(
                svid: mint.svid("spiffe://east.mesh/ns/a/sa/b"), trust: trust, clientCertificate: .required,
                serverNames: .any, protocols: [.http2, .http1])
            near = End(
                Transport(client: socket, context: client, serverName: []), role: .client)
            far = End(
                Transport(server: Socket(adopting: descriptor), context: server, buffers: buffers), role: .server)
        } else {
            near = End(Transport(socket: socket, connecting: true), role: .client)
            far = End(Transport(socket: Socket(adopting: descriptor)), role: .server)
        }
        guard let http2 else { return }
        near.start(http2: http2)
        far.start(http2: http2)
    }

    private static func token(_ kind: UInt8) -> Token { Token(kind: kind, handle: Handle(slot: 0, generation: 1)) }

    /// Turns until `isDone`; false after ten seconds.
    func run(until isDone: (Pair) -> Bool) throws -> Bool {
        let end = reactor.reactor.now + .seconds(10)
        while !isDone(self) {
            if reactor.reactor.now > end { return false }
            try near.link.watch(reactor.reactor, Self.token(1), reading: near.link.wantsInput)
            try far.link.watch(reactor.reactor, Self.token(2), reading: far.link.wantsInput)
            let isBusy = [near, far].contains {
                ($0.link.hasOutput && $0.link.transport.pendingOutput == 0) || $0.link.transport.holdsInput
            }
            reactor.reactor.turn(until: isBusy ? .zero : reactor.reactor.now + .milliseconds(100))
            var ready: [UInt8: Readiness] = [:]
            while let (token, readiness) = reactor.reactor.nextReady() {
                ready[token.kind, default: []].formUnion(readiness)
            }
            near.step(self, readable: ready[1].map { !$0.isDisjoint(with: [.readable, .hangup]) } ?? false)
            far.step(self, readable: ready[2].map { !$0.isDisjoint(with: [.readable, .hangup]) } ?? false)
        }
        return true
    }

    func send(_ bytes: [UInt8]) throws { try near.link.transport.send(bytes.span, &buffers) }
    func endNear() throws { try near.link.transport.endOutput(&buffers) }
}

@Suite struct LinkTests {
    private let fields = [(":method", "POST"), (":scheme", "https"), (":authority", "shop.test"), (":path", "/a")]

    @Test(arguments: [(true, true), (true, false), (false, true), (false, false)])
    func aRequestAndItsResponse(secure: Bool, http2: Bool) throws {
        let pair = try Pair(secure: secure, http2: http2)
        #expect(try pair.run { $0.near.canOpenStream && $0.far.isEstablished })
        let there = [UInt8](repeating: 1, count: 1 << 20)
        let back = [UInt8](repeating: 2, count: 2 << 20)
        let stream =
            try pair.near.link.session?.openStream(
                block(fields + [("content-length", "\(there.count)")]), endStream: false) ?? 0
        var body = ByteBuffer()
        body.append(there)
        pair.near.link.sendData(stream, body, endStream: false)
        pair.near.link.endStream(stream)
        #expect(try pair.run { $0.far.hasEnded(stream) })
        #expect(pair.far.bodies[stream] == there)
        #expect(pair.far.heads[stream]?.contains(":path: /a") == true)
        #expect(pair.far.isHTTP && pair.far.isHTTP2 == http2)

        pair.far.link.session?.sendHead(
            stream, block([(":status", "200"), ("content-length", "\(back.count)")]), .response, endStream: false)
        pair.far.link.session?.sendData(stream, back.span, endStream: true)
        #expect(try pair.run { $0.near.hasEnded(stream) })
        #expect(pair.near.bodies[stream] == back)
        #expect(pair.near.heads[stream]?.first == ":status: 200")
        #expect(pair.near.failure == nil && pair.far.failure == nil)
        #expect(!pair.near.isOver && !pair.near.mustAbort)
    }

    @Test(arguments: [true, false])
    func anUnreadBodyStopsTheSender(http2: Bool) throws {
        let pair = try Pair(secure: true, http2: http2)
        #expect(try pair.run { $0.near.canOpenStream && $0.far.isEstablished })
        pair.far.isConsuming = false
        let body = [UInt8](repeating: 1, count: 32 << 20)
        let stream =
            try pair.near.link.session?.openStream(
                block(fields + [("content-length", "\(body.count)")]), endStream: false) ?? 0
        pair.near.link.session?.sendData(stream, body.span, endStream: true)
        var last = -1
        // Until nothing moves any more: every buffer on the way is full.
        while pair.near.queued(stream) != last {
            last = pair.near.queued(stream)
            try pair.idle()
        }
        #expect(last > 0)
        let held = pair.far.bodies[stream]?.count ?? 0
        #expect(held < body.count)
        pair.far.isConsuming = true
        pair.far.link.session?.consume(stream, held)
        #expect(try pair.run { $0.far.hasEnded(stream) })
        #expect(pair.far.bodies[stream]?.count == body.count)
    }

    @Test func withoutASessionBytesAreRaw() throws {
        let pair = try Pair(secure: false, http2: nil)
        #expect(try pair.run { $0.near.isEstablished })
        #expect(!pair.near.isHTTP && pair.near.wantsInput && !pair.near.hasOutput)
        #expect(!pair.near.isOver && !pair.near.mustAbort)
        try pair.send([1, 2, 3])
        #expect(try pair.run { $0.far.raw == [1, 2, 3] })
        #expect(pair.far.readings == [.raw(3)])
        // Bytes that came before it was known what they are.
        try pair.send(Array("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n".utf8))
        #expect(try pair.run { $0.far.raw.count > 30 })
        var early = ByteBuffer()
        early.append(Array(pair.far.raw.dropFirst(3)))
        pair.far.start(http2: false)
        pair.far.link.feed(early)
        #expect(try pair.run { $0.far.heads[1] != nil })
        #expect(pair.far.heads[1]?.contains(":authority: a.test") == true)
    }

    @Test func theEndIsToldOnce() throws {
        let pair = try Pair(secure: true, http2: nil)
        #expect(try pair.run { $0.near.isEstablished && $0.far.isEstablished })
        try pair.send([1])
        try pair.endNear()
        #expect(try pair.run { $0.far.readings.contains(.end) })
        #expect(pair.far.raw == [1])
        #expect(pair.far.failure == nil)
    }

    @Test func aMessageThatWasCutMustAbort() throws {
        let pair = try Pair(secure: false, http2: false)
        #expect(try pair.run { $0.near.canOpenStream })
        let stream =
            try pair.near.link.session?.openStream(block(fields + [("content-length", "10")]), endStream: false) ?? 0
        pair.near.link.session?.sendData(stream, [1, 2].span, endStream: false)
        #expect(try pair.run { $0.far.bodies[stream]?.count == 2 })
        try pair.endNear()
        #expect(
            try pair.run {
                $0.far.events.contains {
                    if case .closed(stream, let error) = $0 { return error != .none }
                    return false
                }
            })
        #expect(pair.far.isOver)
    }

    @Test func aTunnelLeavesHTTPWithWhatCame() throws {
        let pair = try Pair(secure: false, http2: nil)
        var limits = HTTPLimits()
        limits.allowsConnect = true
        pair.far.link.session = .http1(role: .server, limits: limits)
        #expect(try pair.run { $0.near.isEstablished })
        try pair.send(Array("CONNECT a.test:1 HTTP/1.1\r\nHost: a.test:1\r\n\r\nearly".utf8))
        #expect(try pair.run { $0.far.heads[1] != nil })
        pair.far.link.session?.enterTunnel()
        try pair.far.link.write(&pair.buffers, &pair.scratch)
        var early = ByteBuffer()
        pair.far.link.leaveHTTP(into: &early)
        #expect(!pair.far.isHTTP)
        let bytes = (0..<early.count).map { early.bytes[$0] }
        #expect(bytes == Array("early".utf8))
        #expect(try pair.run { $0.near.raw.count > 12 })
        #expect(String(decoding: pair.near.raw, as: UTF8.self).hasPrefix("HTTP/1.1 200"))
    }
}

extension Pair {
    /// Turns for a while in which what can move does.
    fileprivate func idle() throws {
        let end = Machine.boottime + 200_000_000
        _ = try run { _ in Machine.boottime > end }
    }
}

@Suite struct StreamTableTests {
    private func handle(_ slot: UInt32) -> Handle { Handle(slot: slot, generation: 1) }

    @Test func findsAndForgetsOwners() {
        var table = StreamTable()
        let isEmpty = table.isEmpty
        #expect(isEmpty)
        for stream: StreamID in [1, 3, 5, 7] { table.add(stream, handle(UInt32(stream))) }
        table.remove(3)
        table.remove(9)
        let owners = [1, 3, 5, 7, 9].map { table.owner(of: $0) }
        #expect(owners == [handle(1), .none, handle(5), handle(7), .none])
        let (count, all) = (table.count, table.all)
        #expect(count == 3)
        #expect(Set(all) == [handle(1), handle(5), handle(7)])
        for stream: StreamID in [1, 5, 7] { table.remove(stream) }
        let isEmptyAgain = table.isEmpty
        #expect(isEmptyAgain)
    }

    @Test func agreesWithADictionary() {
        var random = SplitMix64.announced()
        var table = StreamTable()
        var model: [StreamID: Handle] = [:]
        for step in 0..<5_000 {
            let stream = StreamID.random(in: 1..<200, using: &random)
            if model[stream] == nil {
                model[stream] = handle(UInt32(step))
                table.add(stream, handle(UInt32(step)))
            } else if Bool.random(using: &random) {
                model[stream] = nil
                table.remove(stream)
            }
            let found = table.owner(of: stream)
            #expect(found == model[stream] ?? .none)
        }
        let all = table.all
        #expect(Set(all) == Set(model.values))
    }
}
