import Containers
import MeshModel
import Reactor
import Wire

/// One HTTP connection of the echo server: HTTP/1.1, or HTTP/2 when it begins with its preface.
struct EchoConnection: ~Copyable {
    static let readSize = 65_536
    /// Bytes of one answer that wait in the session, and of all answers that wait for the socket.
    private static let highMark = 262_144
    /// How long a connection that we ended may still send, so that its last answer is not lost to an RST.
    private static let linger = Duration.seconds(1)
    /// RFC 9113 3.4.
    private static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
    /// 64 KiB of lines of 64 bytes: what `/bytes/N` is made of.
    private static let pattern: [UInt8] = {
        let line = Array("meshfed echo 0123456789 abcdefghijklmnopqrstuvwxyz ............\n".utf8)
        return (0..<(65_536 / line.count)).flatMap { _ in line }
    }()

    private let socket: Socket
    private let identity: EchoIdentity
    private let peer: String
    private var session: HTTPSession
    /// The first bytes, until they say which version it is.
    private var opening: [UInt8]? = []
    private var output = ByteBuffer()
    private var exchanges: [StreamID: EchoExchange] = [:]
    private var inputEnded = false
    private var isBroken = false
    private var lingersUntil: Instant?
    private var lastPass: Instant
    private var interest: Interest = .readable
    /// The loop holds a timer for this connection.
    var isTimerArmed = false

    /// Plaintext in both versions: a request's scheme is `http`.
    private static var limits: HTTPLimits {
        var limits = HTTPLimits()
        limits.isSecure = false
        return limits
    }

    init(_ socket: consuming Socket, identity: EchoIdentity, peer: SocketAddress?, now: Instant) {
        self.socket = socket
        self.identity = identity
        self.peer = peer.map { "\($0)" } ?? ""
        session = .http1(role: .server, limits: Self.limits)
        lastPass = now
    }

    var descriptor: Int32 { socket.descriptor }

    /// The moment at which `turn` is wanted without the socket.
    var nextDeadline: Instant? {
        var next = lingersUntil
        for exchange in exchanges.values {
            if case .waiting(let until) = exchange.phase { next = min(next ?? until, until) }
        }
        return next
    }

    /// What the loop shall watch, where that changed.
    mutating func changedInterest() -> Interest? {
        var wanted: Interest = []
        if lingersUntil != nil {
            wanted = .readable
        } else {
            if !inputEnded, session.wantsInput, output.count < Self.highMark { wanted.insert(.readable) }
            if !output.isEmpty || session.hasOutput { wanted.insert(.writable) }
        }
        guard wanted != interest else { return nil }
        interest = wanted
        return wanted
    }

    /// No new requests; what is open ends in its own time.
    mutating func drain() {
        for (stream, exchange) in exchanges where exchange.phase == .watching {
            session.sendData(stream, EchoGRPC.message(health: 2).span, endStream: false)
            var trailers = EchoGRPC.trailers(.unavailable, "the server stops")
            session.sendTrailers(stream, trailers)
            trailers.removeAll()
            exchange.phase = .done
        }
        session.goAway()
        session.shutdown(code: HTTP2Code.none)
        if exchanges.isEmpty, !session.isHTTP2 { isBroken = true }
    }

    /// Reads, acts and writes; false when the connection is over.
    mutating func turn(_ readiness: Readiness, now: Instant, input: inout ByteBuffer) -> Bool {
        if isBroken || (readiness.contains(.hangup) && interest.isEmpty) { return false }
        if let until = lingersUntil { return now < until && discard(&input) }
        let seconds = (now - lastPass).components.seconds
        if seconds > 0 {
            session.pass(seconds: Int(clamping: seconds))
            lastPass = now
        }
        for (stream, exchange) in exchanges {
            if case .waiting(let until) = exchange.phase, until <= now { answer(stream, exchange) }
        }
        if !readiness.isDisjoint(with: [.readable, .hangup]) { read(now, &input) }
        guard !isBroken else { return false }
        write(now)
        guard !isBroken else { return false }
        if output.isEmpty, session.shouldClose || (inputEnded && exchanges.isEmpty && !session.hasOutput) {
            guard !session.mustAbort else {
                socket.resetOnClose()
                return false
            }
            if inputEnded { return false }
            socket.shutdownWrite()
            lingersUntil = now + Self.linger
        } else if output.isEmpty, exchanges.isEmpty {
            output.shrink()
            session.shrink()
        }
        return true
    }

    // MARK: Bytes

    private mutating func read(_ now: Instant, _ input: inout ByteBuffer) {
        for _ in 0..<8 {
            guard !inputEnded, session.failure == nil, session.wantsInput, output.count < Self.highMark else { return }
            input.removeAll()
            switch EchoRead.once(socket.descriptor, into: &input, size: Self.readSize) {
            case .wouldBlock: return
            case .failed:
                session.connectionLost()
                isBroken = true
                return
            case .end:
                inputEnded = true
                try? session.receiveEnd()
                act(now)
                return
            case .bytes:
                receive(input.bytes, now)
                // Answers leave between two reads: else a fast sender would fill the queues.
                write(now)
                if isBroken { return }
            }
        }
    }

    private mutating func receive(_ bytes: Span<UInt8>, _ now: Instant) {
        guard var held = opening else {
            try? session.receive(bytes)
            return act(now)
        }
        var index = 0
        while index < bytes.count, held.count < Self.preface.count, bytes[index] == Self.preface[held.count] {
            held.append(bytes[index])
            index += 1
        }
        if held.count < Self.preface.count, index == bytes.count {
            opening = held
            return
        }
        if held.count == Self.preface.count {
            session = .http2(role: .server, limits: Self.limits)
        }
        opening = nil
        try? session.receive(held.span)
        act(now)
        guard index < bytes.count else { return }
        try? session.receive(bytes.extracting(index..<bytes.count))
        act(now)
    }

    private mutating func write(_ now: Instant) {
        for _ in 0..<16 {
            fill()
            do throws(HTTPFailure) { try session.produce(into: &output, upTo: Self.highMark) } catch {
                // `failure` says it; the last words are in the output.
            }
            act(now)
            let before = output.count
            guard before > 0 else { return }
            while !output.isEmpty {
                guard let transfer = try? socket.write(output.bytes) else {
                    session.connectionLost()
                    isBroken = true
                    return
                }
                guard case .done(let count) = transfer, count > 0 else { return }
                output.consume(count)
            }
        }
        // The next turn comes only if the session has something to say.
        fill()
    }

    /// Body bytes of `/bytes/N`, as far as the session's queues take them.
    private mutating func fill() {
        for (stream, exchange) in exchanges {
            guard case .sending(var rest) = exchange.phase else { continue }
            while rest > 0, session.queued(stream) < Self.highMark {
                let count = min(rest, Self.pattern.count)
                rest -= count
                session.sendData(stream, Self.pattern.span.extracting(0..<count), endStream: rest == 0)
            }
            exchange.phase = rest > 0 ? .sending(rest) : .done
        }
    }

    private mutating func discard(_ input: inout ByteBuffer) -> Bool {
        for _ in 0..<16 {
            input.removeAll()
            switch EchoRead.once(socket.descriptor, into: &input, size: Self.readSize) {
            case .bytes: continue
            case .wouldBlock: return true
            case .end, .failed: return false
            }
        }
        return true
    }

    // MARK: Requests

    private mutating func act(_ now: Instant) {
        while let event = session.nextEvent() {
            switch event {
            case .head(let stream, _, let endStream): begin(stream, endStream: endStream, now)
            case .violation(let stream, let status):
                let block = session.takeHead(stream)
                session.recycle(block)
                var head = HeaderBlock()
                head.append(.status, number: status)
                head.append(.contentLength, number: 0)
                session.sendHead(stream, head, .response, endStream: true)
            case .data(let stream, let offset, let count):
                exchanges[stream]?.receive(session.bytes(offset, count))
                session.consume(stream, count)
                if let exchange = exchanges[stream], exchange.isGRPC { call(stream, exchange, ended: false) }
            case .trailers(let stream):
                let block = session.takeHead(stream)
                exchanges[stream]?.receiveTrailers(block)
                session.recycle(block)
                end(stream, now)
            case .endStream(let stream): end(stream, now)
            case .closed(let stream, _): exchanges[stream] = nil
            case .writable, .goAway, .settings, .pong: break
            }
        }
    }

    private mutating func begin(_ stream: StreamID, endStream: Bool, _ now: Instant) {
        let block = session.takeHead(stream)
        let exchange = EchoExchange(block, isHTTP2: session.isHTTP2)
        session.recycle(block)
        exchanges[stream] = exchange
        if endStream { return end(stream, now) }
        if exchange.expectsContinue {
            var interim = HeaderBlock()
            interim.append(.status, number: 100)
            session.sendHead(stream, interim, .interim, endStream: false)
        }
    }

    private mutating func end(_ stream: StreamID, _ now: Instant) {
        guard let exchange = exchanges[stream], exchange.phase == .receiving else { return }
        if exchange.isGRPC { return call(stream, exchange, ended: true) }
        if exchange.plan.delay > .zero {
            exchange.phase = .waiting(until: now + exchange.plan.delay)
        } else {
            answer(stream, exchange)
        }
    }

    private mutating func answer(_ stream: StreamID, _ exchange: EchoExchange) {
        let plan = exchange.plan
        var head = HeaderBlock()
        head.append(.status, number: plan.status)
        head.append(name: "echo-name", value: identity.nameBytes.span)
        let isBodiless = exchange.method == "HEAD" || plan.status == 204 || plan.status == 304
        if let count = plan.bytes {
            head.append(.contentType, "application/octet-stream")
            head.append(.contentLength, number: count)
            session.sendHead(stream, head, .response, endStream: isBodiless || count == 0)
            exchange.phase = isBodiless || count == 0 ? .done : .sending(count)
            return
        }
        let body = Array(exchange.report(name: identity.name, peer: peer).utf8)
        head.append(.contentType, "application/json")
        if plan.status != 204 { head.append(.contentLength, number: body.count) }
        session.sendHead(stream, head, .response, endStream: isBodiless)
        if !isBodiless { session.sendData(stream, body.span, endStream: true) }
        exchange.phase = .done
    }

    // MARK: gRPC

    private mutating func call(_ stream: StreamID, _ exchange: EchoExchange, ended: Bool) {
        guard exchange.phase == .receiving else { return }
        switch EchoGRPC.answer(exchange, ended: ended, name: identity.name) {
        case .wait: return
        case .fail(let status, let message):
            var head = EchoGRPC.head(exchange, identity)
            head.append(contentsOf: EchoGRPC.trailers(status, message))
            session.sendHead(stream, head, .response, endStream: true)
            exchange.phase = .done
        case .reply(let message):
            session.sendHead(stream, EchoGRPC.head(exchange, identity), .response, endStream: false)
            session.sendData(stream, message.span, endStream: false)
            session.sendTrailers(stream, EchoGRPC.trailers(.ok, ""))
            exchange.phase = .done
        case .watch(let message):
            session.sendHead(stream, EchoGRPC.head(exchange, identity), .response, endStream: false)
            session.sendData(stream, message.span, endStream: false)
            exchange.phase = .watching
        }
    }
}
