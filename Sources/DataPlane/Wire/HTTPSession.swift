internal import Containers

/// One connection's HTTP conversation: either side, either version, the same verbs.
///
/// The loop of its owner, each turn: `receive` what the socket gave (while `wantsInput`), read events until nil, act by
/// the verbs, `produce` while `hasOutput` and the socket takes it, read events again (`produce` makes `writable` and
/// `closed`), and close when `shouldClose` and the output is written.
package struct HTTPSession: ~Copyable {
    private var one: Box<HTTP1Session>?
    private var two: Box<HTTP2Session>?

    private init(_ one: consuming HTTP1Session) {
        self.one = Box(one)
        two = nil
    }

    private init(_ two: consuming HTTP2Session) {
        self.two = Box(two)
        one = nil
    }

    package static func http1(role: HTTPRole, limits: HTTPLimits = HTTPLimits()) -> HTTPSession {
        HTTPSession(HTTP1Session(role: role, limits: limits))
    }

    package static func http2(
        role: HTTPRole, limits: HTTPLimits = HTTPLimits(), settings: HTTP2Settings = HTTP2Settings()
    ) -> HTTPSession {
        HTTPSession(HTTP2Session(role: role, limits: limits, settings: settings))
    }

    package var isHTTP2: Bool { two != nil }

    /// Parses everything in `bytes` and appends events. Throws when the connection is over: `failure` says why, the
    /// events up to there (and a `closed` per live stream) are still to be read, `produce` gives the last words.
    package mutating func receive(_ bytes: Span<UInt8>) throws(HTTPFailure) {
        try two?.value.receive(bytes)
        try one?.value.receive(bytes)
    }

    /// The peer's FIN or close_notify. Throws when a message was cut by it.
    package mutating func receiveEnd() throws(HTTPFailure) {
        try two?.value.receiveEnd()
        try one?.value.receiveEnd()
    }

    /// The transport is gone (reset, write error): every live stream gets its `closed`.
    package mutating func connectionLost() {
        two?.value.connectionLost()
        one?.value.connectionLost()
    }

    package mutating func nextEvent() -> HTTPEvent? {
        if two != nil { return two?.value.nextEvent() }
        return one?.value.nextEvent()
    }

    /// The bytes of a `data` event; good until the next `receive`.
    @_lifetime(borrow self)
    package func bytes(_ offset: Int, _ count: Int) -> Span<UInt8> {
        switch two {
        case .some(let session):
            let bytes = session.value.slab.bytes
            return bytes.extracting(offset..<offset + count)
        case .none:
            switch one {
            case .some(let session): return session.value.bytes(offset, count)
            case .none: return Span()
            }
        }
    }

    /// The block of the `head`, `violation` or `trailers` event read last; empty when it was taken already.
    package mutating func takeHead(_ stream: StreamID) -> HeaderBlock {
        if let block = two?.value.takeHead(stream) { return block }
        if let block = one?.value.takeHead(stream) { return block }
        return HeaderBlock()
    }

    /// Gives a block back when its reader is done, so that the next head allocates nothing.
    package mutating func recycle(_ block: consuming HeaderBlock) {
        if two != nil {
            two?.value.recycle(block)
        } else {
            one?.value.recycle(block)
        }
    }

    /// Client: a stream can be opened now. HTTP/2: below the peer's limit; HTTP/1.1: idle and reusable.
    package var canOpenStream: Bool {
        switch two {
        case .some(let session): return session.value.canOpenStream
        case .none:
            switch one {
            case .some(let session): return session.value.canOpenStream
            case .none: return false
            }
        }
    }

    /// Sends a request. Throws `notReady` when `canOpenStream` is false, `malformed` when HTTP/1.1 cannot say it.
    package mutating func openStream(
        _ head: borrowing HeaderBlock, endStream: Bool
    ) throws(HTTPFailure) -> StreamID {
        if let stream = try two?.value.openStream(head, endStream: endStream) { return stream }
        if let stream = try one?.value.openStream(head, endStream: endStream) { return stream }
        throw HTTPFailure(.notReady, status: 0)
    }

    /// Server: sends a response head, any number of `interim` ones before the final one.
    package mutating func sendHead(
        _ stream: StreamID, _ head: borrowing HeaderBlock, _ kind: HeadKind, endStream: Bool
    ) {
        two?.value.sendHead(stream, head, kind, endStream: endStream)
        one?.value.sendHead(stream, head, kind, endStream: endStream)
    }

    /// Queues body bytes (copied). The filler holds back while `queued` is high, until `writable`.
    package mutating func sendData(_ stream: StreamID, _ bytes: Span<UInt8>, endStream: Bool) {
        two?.value.sendData(stream, bytes, endStream: endStream)
        one?.value.sendData(stream, bytes, endStream: endStream)
    }

    /// Ends our direction with trailers (dropped where the framing of HTTP/1.1 has no place for them).
    package mutating func sendTrailers(_ stream: StreamID, _ block: borrowing HeaderBlock) {
        two?.value.sendTrailers(stream, block)
        one?.value.sendTrailers(stream, block)
    }

    /// Gives a stream up at once; no event follows but those that wait to be read. Harmless for a stream that is over: call it on every teardown.
    package mutating func reset(_ stream: StreamID, code: UInt32) {
        two?.value.reset(stream, code: code)
        one?.value.reset(stream, code: code)
    }

    /// Body bytes of `data` events have been passed on or dropped: the peer may send as many again.
    ///
    /// - Parameter lagged: whoever takes them was slow: the stream's window does not grow.
    package mutating func consume(_ stream: StreamID, _ count: Int, lagged: Bool = false) {
        two?.value.consume(stream, count, lagged: lagged)
        one?.value.consume(stream, count)
    }

    /// HTTP/2: the stream is over, whatever of its events is still to be read.
    package func isClosed(_ stream: StreamID) -> Bool {
        switch two {
        case .some(let session): return session.value.isClosed(stream)
        case .none: return false
        }
    }

    /// Body bytes queued and not yet produced.
    package func queued(_ stream: StreamID) -> Int {
        switch two {
        case .some(let session): return session.value.queued(stream)
        case .none:
            switch one {
            case .some(let session): return session.value.queued(stream)
            case .none: return 0
            }
        }
    }

    /// Body bytes of a stream that came and are not consumed: they count against the connection.
    package func unconsumed(_ stream: StreamID) -> Int {
        switch two {
        case .some(let session): return session.value.unconsumed(stream)
        case .none: return 0
        }
    }

    /// What all streams of the connection hold, when it is so much that they may soon hold each other up.
    package var crowded: HeldBytes? {
        switch two {
        case .some(let session): return session.value.crowded
        case .none: return nil
        }
    }

    /// False: stop reading the socket for now.
    package var wantsInput: Bool {
        switch two {
        case .some(let session): return session.value.wantsInput
        case .none:
            switch one {
            case .some(let session): return session.value.wantsInput
            case .none: return false
            }
        }
    }

    /// Appends wire bytes until `output` holds `limit` (one frame or head more at most) or nothing is left.
    package mutating func produce(into output: inout OutputBuffer, upTo limit: Int) throws(HTTPFailure) {
        try two?.value.produce(into: &output, upTo: limit)
        try one?.value.produce(into: &output, upTo: limit)
    }

    package var hasOutput: Bool {
        switch two {
        case .some(let session): return session.value.hasOutput
        case .none:
            switch one {
            case .some(let session): return session.value.hasOutput
            case .none: return false
            }
        }
    }

    /// True once, when the peer is to be told by FIN (behind the output) that our direction has ended, while it may go on:
    /// an upgraded connection of HTTP/1.1, client side.
    package mutating func takeOutputEnd() -> Bool { one?.value.takeOutputEnd() ?? false }

    /// HTTP/2: a head has begun and is not complete.
    package var isInHead: Bool {
        switch two {
        case .some(let session): return session.value.isInHead
        case .none: return false
        }
    }

    /// Graceful end, first step: no new streams (HTTP/1.1: the exchange under way is the last).
    package mutating func goAway() {
        two?.value.goAway()
        one?.value.goAway()
    }

    /// Graceful end, second step, a round trip later: streams already open end in their own time.
    package mutating func shutdown(code: UInt32) {
        two?.value.shutdown(code: code)
        one?.value.shutdown(code: code)
    }

    /// The owner's deadline for this connection passed: 408 or GOAWAY, then close.
    package mutating func timeOut() {
        two?.value.timeOut()
        one?.value.timeOut()
    }

    /// The conversation is over once the output is written.
    package var shouldClose: Bool {
        switch two {
        case .some(let session): return session.value.shouldClose
        case .none:
            switch one {
            case .some(let session): return session.value.shouldClose
            case .none: return true
            }
        }
    }

    /// Close with RST and without close_notify: a message was cut, and the peer must not take it for complete.
    package var mustAbort: Bool {
        switch one {
        case .some(let session): return session.value.mustAbort
        case .none: return false
        }
    }

    /// Why the connection is over; nil while it is not, or after a clean end.
    package var failure: HTTPFailure? {
        switch two {
        case .some(let session): return session.value.failure
        case .none:
            switch one {
            case .some(let session): return session.value.failure
            case .none: return nil
            }
        }
    }

    package var activeStreams: Int {
        switch two {
        case .some(let session): return session.value.activeStreams
        case .none:
            switch one {
            case .some(let session): return session.value.activeStreams
            case .none: return 0
            }
        }
    }

    /// HTTP/2 only; the answer is a `pong`.
    package mutating func ping(_ payload: UInt64) { two?.value.ping(payload) }

    /// Tells that time went by (at any interval): floods are judged by rate.
    package mutating func pass(seconds: Int) { two?.value.pass(seconds: seconds) }

    /// HTTP/2: the glitch whose flood ended the connection.
    package var flood: HTTP2Glitch? {
        switch two {
        case .some(let session): return session.value.flood
        case .none: return nil
        }
    }

    /// HTTP/2: the glitches since the last time, for the metrics.
    package mutating func takeGlitches() -> [(kind: HTTP2Glitch, count: Int)] { two?.value.takeGlitches() ?? [] }

    /// Gives back the memory that an idle connection does not need.
    package mutating func shrink() {
        two?.value.shrink()
        one?.value.shrink()
    }

    /// HTTP/1.1 server with `allowsConnect`: answers the CONNECT with 200 and turns the session raw.
    package mutating func enterTunnel() { one?.value.enterTunnel() }

    /// After `enterTunnel`: what arrived behind the CONNECT request (and what `receive` took since).
    package mutating func takeTunnelBytes(into buffer: inout OutputBuffer) { one?.value.takeTunnelBytes(into: &buffer) }
}
