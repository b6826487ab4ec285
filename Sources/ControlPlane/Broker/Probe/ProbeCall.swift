internal import Containers
internal import Identity
internal import MeshModel
internal import Reactor
internal import TLS
internal import Wire

/// One real call through a local gateway, with the broker's SVID (PROTOCOLS section 3): what `check` is made of.
struct ProbeOrder: Sendable {
    /// A gateway of this cluster.
    let gateway: GatewayAddress
    let target: ServiceAddress
    /// For an imported service: whose call every decision is made for. Nil calls the mesh's own probe name.
    let caller: SPIFFEID?
    /// The port speaks `meshfed-tcp/1`: a LOCAL header in place of a request.
    let isTCP: Bool
    let context: TLSContext
    let trustDomain: TrustDomain
    let timeout: Duration
}

/// How it went.
struct ProbeResult: Sendable {
    /// A reason word of PROTOCOLS section 11; nil when the call went through.
    let reason: String?
    let detail: String
    let milliseconds: Double

    init(_ reason: Reason, _ detail: String) {
        self.init(reason: reason.rawValue, detail: detail, milliseconds: 0)
    }

    init(reason: String?, detail: String, milliseconds: Double) {
        self.reason = reason
        self.detail = detail
        self.milliseconds = milliseconds
    }
}

/// Runs one order from connect to answer. It blocks: it has a thread of its own, with a reactor of its own.
struct ProbeCall: ~Copyable {
    private let order: ProbeOrder
    private let place: String
    private var transport: Transport
    private var session = HTTPSession.http2(role: .client)
    private var stream: StreamID?
    private var isAsked = false
    /// TCP: what came of the answer's header.
    private var heard = OutputBuffer()
    private var result: ProbeResult?

    static func run(_ order: ProbeOrder) -> ProbeResult {
        let start = Machine.boottime
        let found = call(order)
        let milliseconds = Double(Machine.boottime &- start) / 1_000_000
        return ProbeResult(reason: found.reason, detail: found.detail, milliseconds: milliseconds)
    }

    private static func call(_ order: ProbeOrder) -> ProbeResult {
        let place = GatewayRegistry.text(order.gateway)
        guard let address = SocketAddress(ip: order.gateway.address, port: order.gateway.port) else {
            return ProbeResult(.connectFailed, "gateway \(place): no address")
        }
        do throws(SocketError) {
            var reactor = try Reactor()
            var buffers = WorkerBuffers()
            var call = ProbeCall(order, place, socket: try Socket.connect(to: address))
            return try call.converse(&reactor, &buffers)
        } catch {
            return ProbeResult(.connectFailed, "gateway \(place): \(error)")
        }
    }

    private init(
        _ order: ProbeOrder, _ place: String, socket: consuming Socket
    ) {
        self.order = order
        self.place = place
        transport = Transport(
            client: socket, context: order.context, serverName: Array(order.target.serverName.utf8))
    }

    private mutating func converse(
        _ reactor: inout Reactor, _ buffers: inout WorkerBuffers
    ) throws(SocketError) -> ProbeResult {
        let token = Token(kind: 0, handle: .none)
        try reactor.watch(transport.descriptor, transport.wantedInterest(reading: true), token)
        let deadline = reactor.now + order.timeout
        while true {
            do throws(TransportError) { try step(reactor.wall, &buffers) } catch { return failure(error) }
            if let result { return result }
            guard reactor.now < deadline else {
                return transport.isEstablished
                    ? ProbeResult(.deadline, "no answer through gateway \(place) within \(order.timeout.gep2257)")
                    : ProbeResult(.connectTimeout, "gateway \(place) does not answer")
            }
            try reactor.change(transport.descriptor, transport.wantedInterest(reading: true), token)
            reactor.turn(until: deadline)
            while reactor.nextReady() != nil {}
        }
    }

    private mutating func step(_ wall: WallTime, _ buffers: inout WorkerBuffers) throws(TransportError) {
        if !transport.isEstablished {
            guard try transport.advance(&buffers, wall: wall) else { return }
            if let refusal = judge() {
                result = refusal
                return
            }
        }
        if order.isTCP { return try stepTCP(&buffers) }
        if stream == nil, session.canOpenStream {
            let block = head()
            do throws(HTTPFailure) { stream = try session.openStream(block, endStream: true) } catch {
                result = ProbeResult(.upstreamProtocol, "the request cannot be sent: \(error.reason)")
                return
            }
        }
        try write(&buffers)
        loop: while result == nil {
            switch try transport.receive(&buffers) {
            case .wouldBlock: break loop
            case .end:
                session.connectionLost()
                readEvents()
                if result == nil { result = ProbeResult(.upstreamReset, "gateway \(place) closed the connection") }
            case .bytes:
                // What is wrong with the bytes is in the events too.
                do throws(HTTPFailure) { try session.receive(buffers.plain) } catch {}
                readEvents()
                try write(&buffers)
                if result == nil, session.shouldClose {
                    result = ProbeResult(.upstreamProtocol, "gateway \(place) broke the protocol")
                }
            }
        }
        _ = try transport.flush(&buffers)
    }

    /// A LOCAL header there, a LOCAL header with a word back (PROTOCOLS section 6).
    private mutating func stepTCP(_ buffers: inout WorkerBuffers) throws(TransportError) {
        if !isAsked {
            isAsked = true
            var writer = ProxyHeaderWriter(.local)
            writer.append(.authority, Array(order.target.name.description.utf8))
            if let caller = order.caller { writer.append(.probe, caller.bytes) }
            var output = OutputBuffer()
            do throws(ProxyFault) { try writer.finish(into: &output) } catch {
                result = ProbeResult(.requestInvalid, "the header of the call is too large")
                return
            }
            try transport.send(output.bytes, &buffers)
        }
        while result == nil {
            switch try transport.receive(&buffers) {
            case .wouldBlock:
                _ = try transport.flush(&buffers)
                return
            case .end: result = ProbeResult(.upstreamReset, "gateway \(place) closed without a word")
            case .bytes:
                heard.append(buffers.plain)
                do throws(ProxyFault) { result = try answerTCP() } catch {
                    result = ProbeResult(.upstreamProtocol, "gateway \(place) sent no answer that can be read")
                }
            }
        }
    }

    /// Nil while the header is not whole.
    private func answerTCP() throws(ProxyFault) -> ProbeResult? {
        guard let header = try ProxyHeader.parse(heard.bytes) else { return nil }
        guard let range = header.value(.answer, in: heard.bytes) else { throw .malformed }
        let word = Self.text(heard.bytes.extracting(range))
        if word == "ok" { return ProbeResult(reason: nil, detail: "answered ok", milliseconds: 0) }
        let known = Reason(rawValue: word)?.rawValue ?? Reason.upstreamProtocol.rawValue
        return ProbeResult(reason: known, detail: "answered \(word)", milliseconds: 0)
    }

    private mutating func write(_ buffers: inout WorkerBuffers) throws(TransportError) {
        while session.hasOutput {
            var output = OutputBuffer()
            do throws(HTTPFailure) { try session.produce(into: &output, upTo: 65_536) } catch {
                result = ProbeResult(.upstreamProtocol, "gateway \(place): \(error.reason)")
                return
            }
            guard output.count > 0 else { return }
            try transport.send(output.bytes, &buffers)
        }
    }

    private mutating func readEvents() {
        while let event = session.nextEvent() {
            switch event {
            case .head(let id, .response, _) where id == stream:
                let block = session.takeHead(id)
                result = judge(block)
            case .data(let id, _, let count): session.consume(id, count)
            case .closed(let id, let error) where id == stream && result == nil:
                result = ProbeResult(.upstreamReset, "gateway \(place) reset the call: \(error)")
            case .head, .violation, .trailers, .endStream, .closed, .writable, .goAway, .settings, .pong: continue
            }
        }
    }

    private func head() -> HeaderBlock {
        var block = HeaderBlock()
        block.append(.method, Array((order.caller == nil ? "GET" : "OPTIONS").utf8))
        block.append(.scheme, "https")
        block.append(.authority, Array(order.target.authority.utf8))
        block.append(.path, Array((order.caller == nil ? "/" : "*").utf8))
        if let caller = order.caller { block.append(name: "meshfed-probe", value: caller.bytes.span) }
        return block
    }

    /// The one who answered must be a gateway of this cluster.
    private func judge() -> ProbeResult? {
        guard let peer = transport.peer, peer.trustDomain == order.trustDomain, case .gateway = peer.id.kind else {
            let shown = transport.peer?.id.description ?? "nobody"
            return ProbeResult(.upstreamTLS, "\(place) is \(shown), not a gateway of this cluster")
        }
        return nil
    }

    private func judge(_ block: borrowing HeaderBlock) -> ProbeResult {
        let status = Self.text(block.value(of: .status))
        let name = Array("meshfed-error".utf8)
        if let index = block.first(named: name.span) {
            let value = Self.text(block.value(at: index))
            let word = value.split(separator: ";").first.map(String.init) ?? value
            let known = Reason(rawValue: word)?.rawValue ?? Reason.upstreamProtocol.rawValue
            return ProbeResult(reason: known, detail: "HTTP \(status)", milliseconds: 0)
        }
        guard status.utf8.first == 0x32 else {
            return ProbeResult(.upstreamProtocol, "HTTP \(status) without meshfed-error")
        }
        return ProbeResult(reason: nil, detail: "HTTP \(status)", milliseconds: 0)
    }

    private static func text(_ value: Span<UInt8>) -> String {
        var bytes: [UInt8] = []
        for index in 0..<min(value.count, 200) { bytes.append(value[index] < 0x20 ? 0x3F : value[index]) }
        return String(decoding: bytes, as: UTF8.self)
    }

    private func failure(_ error: TransportError) -> ProbeResult {
        let reason: Reason =
            switch error {
            case .socket(let error): error.isTimeout ? .connectTimeout : .connectFailed
            case .tls, .peerRefused: .upstreamTLS
            case .truncated: .upstreamReset
            }
        return ProbeResult(reason, "gateway \(place): \(error)")
    }
}
