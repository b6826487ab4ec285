internal import Containers

/// One HTTP/1.1 connection, either side: bytes and verbs in, events and bytes out. No socket, no clock.
///
/// One exchange at a time: what a peer pipelines waits in the inbox until the answer before it is written.
package struct HTTP1Session: ~Copyable {
    private enum Sending {
        case nothing
        case body(HTTP1Writer.Framing)
        /// Everything was queued; the end is written when the queue is empty.
        case ending(HTTP1Writer.Framing)
        case done
    }

    /// Undrained events above which the socket is not read.
    private static let eventLimit = 8_192

    private let role: HTTPRole
    private let limits: HTTPLimits
    private var inbox = ByteBuffer()
    private var parser: HTTP1Parser
    private var heads = HeadQueue()
    private var events = EventList()
    /// Head bytes, which go out before the body.
    private var head = ByteBuffer()
    private var body = ByteBuffer()
    /// The trailer lines of the answer.
    private var tail = ByteBuffer()
    private var sending = Sending.nothing
    /// Bytes of a Content-Length body still to be queued.
    private var owed = 0
    private var aboveLow = false
    /// An exchange is announced and not closed.
    private var isOpen = false
    private var headSent = false
    private var stream: StreamID = -1
    /// No further exchange: the connection ends with this one.
    private var isLast = false
    private var isInputEnded = false
    private var isTunnel = false
    private var owesEnd = false
    private var isOver = false
    /// The end must be visible as a cut, not as a clean close: no close_notify, RST.
    package private(set) var mustAbort = false
    /// Why the connection is over; nil while it is not, or after a clean end.
    package private(set) var failure: HTTPFailure?

    package init(role: HTTPRole, limits: HTTPLimits) {
        self.role = role
        self.limits = limits
        parser = HTTP1Parser(role: role, limits: limits)
    }

    // MARK: Receiving

    package mutating func receive(_ bytes: Span<UInt8>) throws(HTTPFailure) {
        guard failure == nil, !isOver, bytes.count > 0 else { return }
        if events.isEmpty {
            inbox.consume(parser.cursor)
            parser.rebase()
        }
        inbox.append(bytes)
        try pump()
    }

    private mutating func pump() throws(HTTPFailure) {
        guard !isTunnel, !isOver else { return }
        do {
            try parse()
        } catch {
            opened()
            throw fail(error)
        }
        opened()
        if role == .client, isOpen, parser.phase == .done { try finishIfDone() }
    }

    /// The inbox stands in a local meanwhile: its span would keep all of self from changing.
    private mutating func parse() throws(HTTPFailure) {
        var bytes = ByteBuffer()
        swap(&bytes, &inbox)
        defer { swap(&bytes, &inbox) }
        try parser.advance(bytes.bytes, &heads, &events)
    }

    /// The server's exchange begins when the head is complete.
    private mutating func opened() {
        guard role == .server, !isOpen, parser.headIsComplete, stream != parser.stream else { return }
        isOpen = true
        headSent = false
        stream = parser.stream
        sending = .nothing
        if parser.facts.isConnect { isLast = true }
        // What follows a wish for another protocol is never read as a request, whatever the answer (HOSTILE 47).
        if parser.facts.saysClose || parser.facts.isVersion10 || parser.facts.isUpgrade { isLast = true }
    }

    package mutating func receiveEnd() throws(HTTPFailure) {
        guard failure == nil, !isOver, !isInputEnded else { return }
        isInputEnded = true
        isLast = true
        if isTunnel { return }
        if parser.endByClose(&events) { return try finishIfDone() }
        switch role {
        case .server:
            if isOpen, parser.phase == .done || parser.phase == .raw { return }
            if !isOpen, inbox.count == parser.cursor {
                isOver = true
                return
            }
        case .client:
            if !isOpen {
                isOver = true
                return
            }
        }
        connectionLost()
        mustAbort = headSent
        let truncated = HTTPFailure(.truncated, status: 0)
        failure = truncated
        throw truncated
    }

    package mutating func connectionLost() {
        if isOpen { events.append(.closed(stream, .connection)) }
        isOpen = false
        isOver = true
        dropOutput()
    }

    package mutating func nextEvent() -> HTTPEvent? {
        if events.isEmpty, role == .server, !isOpen, !isOver, failure == nil, inbox.count > parser.cursor {
            // What was pipelined. A failure leaves its answer in the output and shows in `failure`.
            do { try pump() } catch {}
            if !isOpen, isInputEnded { isOver = true }
        }
        guard let event = events.next() else { return nil }
        switch event {
        case .head, .violation, .trailers: heads.advance()
        case .closed, .data, .endStream, .writable, .goAway, .settings, .pong: break
        }
        return event
    }

    @_lifetime(borrow self)
    package func bytes(_ offset: Int, _ count: Int) -> Span<UInt8> {
        let bytes = inbox.bytes
        return bytes.extracting(offset..<offset + count)
    }

    package mutating func takeHead(_ stream: StreamID) -> HeaderBlock { heads.take() }

    package mutating func recycle(_ block: consuming HeaderBlock) { heads.recycle(block) }

    package mutating func consume(_ id: StreamID, _ count: Int) {
        guard id == parser.stream else { return }
        parser.unconsumed = max(0, parser.unconsumed - max(0, count))
    }

    package var wantsInput: Bool {
        if failure != nil || isOver || isInputEnded { return false }
        if isTunnel { return true }
        if parser.unconsumed >= limits.bodyWindow || events.count >= Self.eventLimit { return false }
        switch parser.phase {
        case .raw: return false
        // A pipelined request may arrive, but no more than one read of it is kept.
        case .done: return inbox.count == parser.cursor
        case .idle, .startLine, .fields, .fixed, .chunkSize, .chunkData, .chunkEnd, .trailers, .untilClose: return true
        }
    }

    // MARK: Sending

    package var canOpenStream: Bool {
        role == .client && !isOpen && !isLast && !isOver && !isInputEnded && failure == nil
    }

    package mutating func openStream(
        _ request: borrowing HeaderBlock, endStream: Bool
    ) throws(HTTPFailure) -> StreamID {
        guard canOpenStream else { throw HTTPFailure(.notReady, status: 0) }
        let length = request.value(of: .contentLength).decimal
        if endStream, (length ?? 0) > 0 { throw HTTPFailure(.malformed) }
        let framing: HTTP1Writer.Framing
        if endStream {
            framing = length == nil ? .none : .length(0)
        } else if request.contains(.protocol) {
            framing = .tunnel
        } else if let length {
            framing = .length(length)
        } else {
            framing = .chunked
        }
        if framing == .tunnel { isLast = true }
        guard HTTP1Writer.request(request, framing, to: &head) else {
            head.removeAll()
            throw HTTPFailure(.malformed)
        }
        stream = stream < 0 ? 1 : stream &+ 2
        if stream > .max - 4 { isLast = true }
        parser.begin(
            stream: stream, isHead: request.value(of: .method).equals("HEAD"), isUpgrade: framing == .tunnel)
        isOpen = true
        headSent = true
        send(framing, endStream: endStream)
        return stream
    }

    package mutating func sendHead(
        _ id: StreamID, _ block: borrowing HeaderBlock, _ kind: HeadKind, endStream: Bool
    ) {
        guard role == .server, isOpen, id == stream, !headSent, failure == nil else { return }
        guard let status = block.value(of: .status).decimal, status >= 100, status <= 599 else { return abort() }
        if kind == .interim {
            if !parser.facts.isVersion10 {
                HTTP1Writer.response(block, status, .none, close: false, to: &head)
            }
            return
        }
        headSent = true
        let framing = answerFraming(block, status, endStream: endStream)
        if framing == .close { isLast = true }
        if case .none = framing, let length = block.value(of: .contentLength).decimal, keepsLength(status) {
            HTTP1Writer.response(block, status, .length(length), close: isLast, to: &head)
        } else if framing == .tunnel {
            writeSwitch(block, status)
        } else {
            HTTP1Writer.response(block, status, framing, close: isLast, to: &head)
        }
        send(framing, endStream: endStream || framing == .none)
        if framing == .tunnel { switchProtocols() }
    }

    /// The head stands in a local meanwhile: the parser's span would keep all of self from changing.
    private mutating func writeSwitch(_ block: borrowing HeaderBlock, _ status: Int) {
        var out = ByteBuffer()
        swap(&out, &head)
        HTTP1Writer.response(block, status, .tunnel, close: false, upgrade: parser.upgrade.bytes, to: &out)
        swap(&out, &head)
    }

    /// What came behind the request belongs to the other protocol.
    private mutating func switchProtocols() {
        parser.switchProtocols()
        // Opaque bytes cannot be malformed.
        try? pump()
        if isInputEnded { _ = parser.endByClose(&events) }
    }

    /// Answers to HEAD and 304 tell the length that a body would have had.
    private func keepsLength(_ status: Int) -> Bool { parser.facts.isHead || status == 304 }

    private func answerFraming(
        _ block: borrowing HeaderBlock, _ status: Int, endStream: Bool
    ) -> HTTP1Writer.Framing {
        if status == 101, parser.facts.isUpgrade { return .tunnel }
        if parser.facts.isHead || status == 204 || status == 304 || status < 200 { return .none }
        if endStream { return .length(0) }
        if let length = block.value(of: .contentLength).decimal { return .length(length) }
        return parser.facts.isVersion10 ? .close : .chunked
    }

    private mutating func send(_ framing: HTTP1Writer.Framing, endStream: Bool) {
        body.removeAll()
        tail.removeAll()
        aboveLow = false
        owed = 0
        if case .length(let count) = framing { owed = count }
        sending = endStream ? .ending(framing) : .body(framing)
    }

    package mutating func sendData(_ id: StreamID, _ bytes: Span<UInt8>, endStream: Bool) {
        guard isOpen, id == stream, case .body(let framing) = sending else { return }
        if case .length = framing {
            guard bytes.count <= owed else { return abort() }
            owed -= bytes.count
            if endStream, owed > 0 { return abort() }
        }
        body.append(bytes)
        if body.count > limits.sendLowWater { aboveLow = true }
        if endStream { sending = .ending(framing) }
    }

    package mutating func sendTrailers(_ id: StreamID, _ block: borrowing HeaderBlock) {
        guard isOpen, id == stream, case .body(let framing) = sending else { return }
        if owed > 0 { return abort() }
        if framing == .chunked { HTTP1Writer.trailers(block, to: &tail) }
        sending = .ending(framing)
    }

    /// Ends the exchange at once, and the connection with it: HTTP/1.1 has no other way.
    package mutating func reset(_ id: StreamID, code: UInt32) {
        guard id == stream, isOpen else { return }
        isOpen = false
        isOver = true
        mustAbort = headSent
        dropOutput()
    }

    package func queued(_ id: StreamID) -> Int { id == stream ? body.count : 0 }

    package mutating func produce(into output: inout OutputBuffer, upTo limit: Int) throws(HTTPFailure) {
        if !head.isEmpty {
            output.append(head.bytes)
            head.removeAll()
        }
        switch sending {
        case .nothing, .done: return
        case .body(let framing): write(framing, into: &output, upTo: limit)
        case .ending(let framing):
            write(framing, into: &output, upTo: limit)
            guard body.isEmpty else { return }
            if framing == .tunnel, role == .client { owesEnd = true }
            if framing == .chunked {
                output.append("0\r\n")
                output.append(tail.bytes)
                output.append("\r\n")
            }
            sending = .done
            try finishIfDone()
        }
    }

    private mutating func write(_ framing: HTTP1Writer.Framing, into output: inout OutputBuffer, upTo limit: Int) {
        let count = min(body.count, max(0, limit - output.count))
        guard count > 0 else { return }
        if framing == .chunked {
            output.append(hexadecimal: count)
            output.append("\r\n")
        }
        output.append(body.bytes.extracting(first: count))
        if framing == .chunked { output.append("\r\n") }
        body.consume(count)
        if aboveLow, body.count <= limits.sendLowWater {
            aboveLow = false
            events.append(.writable(stream))
        }
    }

    /// True once: our direction of another protocol's bytes has ended, and FIN says so, behind what was produced.
    package mutating func takeOutputEnd() -> Bool {
        defer { owesEnd = false }
        return owesEnd
    }

    package var hasOutput: Bool {
        if !head.isEmpty { return true }
        switch sending {
        case .nothing, .done: return false
        case .body: return !body.isEmpty
        case .ending: return true
        }
    }

    // MARK: Ending

    /// Closes the exchange when both directions are done, and makes ready for the next one.
    private mutating func finishIfDone() throws(HTTPFailure) {
        guard isOpen else { return }
        guard case .done = sending else {
            // A response before the end of its request: nothing more is sent, and the connection is of no more use.
            if role == .client, parser.phase == .done { close(over: true) }
            return
        }
        switch role {
        case .server:
            // An answer before the end of its request: the rest of the body is never read as a request (HOSTILE 48).
            close(over: isLast || parser.phase != .done)
            if !isOver { parser.begin(stream: parser.stream &+ 2) }
        case .client:
            guard parser.phase == .done else { return }
            close(over: isLast || parser.facts.isVersion10 || parser.facts.saysClose)
            if isOver { return }
            parser.phase = .idle
            if inbox.count > parser.cursor { throw fail(HTTPFailure(.unsolicited, status: 0)) }
        }
    }

    private mutating func close(over: Bool) {
        events.append(.closed(stream, .none))
        isOpen = false
        if over {
            isOver = true
            dropOutput()
        }
    }

    /// The message cannot be completed as its head promised: the peer must see a cut.
    private mutating func abort() {
        events.append(.closed(stream, .violation))
        isOpen = false
        isOver = true
        mustAbort = true
        dropOutput()
    }

    private mutating func dropOutput() {
        body.removeAll()
        tail.removeAll()
        sending = .done
    }

    private mutating func fail(_ reason: HTTPFailure) -> HTTPFailure {
        failure = reason
        let wasOpen = isOpen
        if isOpen { events.append(.closed(stream, .violation)) }
        isOpen = false
        dropOutput()
        if role == .server, reason.status != 0, !(wasOpen && headSent) {
            HTTP1Writer.refusal(reason.status, dispatched: wasOpen, to: &head)
        } else {
            mustAbort = wasOpen
        }
        return reason
    }

    /// Graceful: the exchange under way is the last one.
    package mutating func goAway() {
        isLast = true
        if !isOpen, role == .client || inbox.count == parser.cursor { isOver = true }
    }

    package mutating func shutdown(code: UInt32) { goAway() }

    /// The head (or the body, before any answer) did not arrive in time: 408, then close. Idle: close.
    package mutating func timeOut() {
        guard failure == nil, !isOver else { return }
        if role == .server, !isTunnel, isOpen ? !headSent : inbox.count > parser.cursor {
            _ = fail(HTTPFailure(.timeout, status: 408))
        } else {
            connectionLost()
            mustAbort = headSent
        }
    }

    package var shouldClose: Bool { isOver || failure != nil }

    package var activeStreams: Int { isOpen ? 1 : 0 }

    /// Gives back what an idle connection does not need.
    package mutating func shrink() {
        guard events.isEmpty else { return }
        inbox.consume(parser.cursor)
        parser.rebase()
        inbox.shrink()
        head.shrink()
        body.shrink()
        tail.shrink()
        heads.shrink()
    }

    // MARK: Tunnels

    /// Answers a CONNECT with 200; from here on the connection carries bytes, not HTTP.
    package mutating func enterTunnel() {
        guard role == .server, isOpen, parser.phase == .raw, !headSent else { return }
        HTTP1Writer.statusLine(200, to: &head)
        head.append("\r\n")
        isTunnel = true
        isOpen = false
    }

    /// Moves what arrived behind the CONNECT request to `buffer`.
    package mutating func takeTunnelBytes(into buffer: inout OutputBuffer) {
        guard isTunnel else { return }
        inbox.consume(parser.cursor)
        buffer.append(inbox.bytes)
        inbox.removeAll()
        parser.rebase()
    }
}
