/// One connection's HTTP conversation: either side, either version, the same verbs.
///
/// The loop of its owner, each turn: `receive` what the socket gave (while `wantsInput`), read events until nil, act by
/// the verbs, `produce` while `hasOutput` and the socket takes it, read events again (`produce` makes `writable` and
/// `closed`), and close when `shouldClose` and the output is written.
package struct HTTPSession: ~Copyable {
    private var one: HTTP1Session?
    private var two: HTTP2Session?

    private init(_ one: consuming HTTP1Session) {
        self.one = consume one
        two = nil
    }

    private init(_ two: consuming HTTP2Session) {
        self.two = consume two
        one = nil
    }

    package static func http1(role: HTTPRole, limits: HTTPLimits = HTTPLimits()) -> HTTPSession {
        HTTPSession(HTTP1Session(role: role, limits: limits))
    }

    /// - Parameter memory: the worker's free lists; without it the session has its own.
    package static func http2(
        role: HTTPRole, limits: HTTPLimits = HTTPLimits(), settings: HTTP2Settings = HTTP2Settings(),
        memory: HTTP2Memory = HTTP2Memory()
    ) -> HTTPSession {
        HTTPSession(HTTP2Session(role: role, limits: limits, settings: settings, memory: memory))
    }

    package var isHTTP2: Bool { two != nil }

    /// Parses everything in `bytes` and appends events. Throws when the connection is over: `failure` says why, the
    /// events up to there (and a `closed` per live stream) are still to be read, `produce` gives the last words.
    package mutating func receive(_ bytes: Span<UInt8>) throws(HTTPFailure) {
        try two?.receive(bytes)
        try one?.receive(bytes)
    }

    /// The peer's FIN or close_notify. Throws when a message was cut by it.
    package mutating func receiveEnd() throws(HTTPFailure) {
        try two?.receiveEnd()
        try one?.receiveEnd()
    }

    /// The transport is gone (reset, write error): every live stream gets its `closed`.
    package mutating func connectionLost() {
        two?.connectionLost()
        one?.connectionLost()
    }

    package mutating func nextEvent() -> HTTPEvent? {
        if two != nil { return two?.nextEvent() }
        return one?.nextEvent()
    }

    /// The bytes of a `data` event; good until the next `receive`.
    @_lifetime(borrow self)
    package func bytes(_ offset: Int, _ count: Int) -> Span<UInt8> {
        switch two {
        case .some(let session): return session.bytes(offset, count)
        case .none:
            switch one {
            case .some(let session): return session.bytes(offset, count)
            case .none: return Span()
            }
        }
    }

    /// The block of the `head`, `violation` or `trailers` event read last; empty when it was taken already.
    package mutating func takeHead(_ stream: StreamID) -> HeaderBlock {
        if let block = two?.takeHead(stream) { return block }
        if let block = one?.takeHead(stream) { return block }
        return HeaderBlock()
    }

    /// Gives a block back when its reader is done, so that the next head allocates nothing.
    package mutating func recycle(_ block: consuming HeaderBlock) {
        if two != nil {
            two?.recycle(block)
        } else {
            one?.recycle(block)
        }
    }

    /// Client: a stream can be opened now. HTTP/2: below the peer's limit; HTTP/1.1: idle and reusable.
    package var canOpenStream: Bool {
        switch two {
        case .some(let session): return session.canOpenStream
        case .none:
            switch one {
            case .some(let session): return session.canOpenStream
            case .none: return false
            }
        }
    }

    /// Sends a request. Throws `notReady` when `canOpenStream` is false, `malformed` when HTTP/1.1 cannot say it.
    package mutating func openStream(
        _ head: borrowing HeaderBlock, endStream: Bool
    ) throws(HTTPFailure) -> StreamID {
        if let stream = try two?.openStream(head, endStream: endStream) { return stream }
        if let stream = try one?.openStream(head, endStream: endStream) { return stream }
        throw HTTPFailure(.notReady, status: 0)
    }

    /// Server: sends a response head, any number of `interim` ones before the final one.
    package mutating func sendHead(
        _ stream: StreamID, _ head: borrowing HeaderBlock, _ kind: HeadKind, endStream: Bool
    ) {
        two?.sendHead(stream, head, kind, endStream: endStream)
        one?.sendHead(stream, head, kind, endStream: endStream)
    }

    /// Queues body bytes (copied). The filler holds back while `queued` is high, until `writable`.
    package mutating func sendData(_ stream: StreamID, _ bytes: Span<UInt8>, endStream: Bool) {
        two?.sendData(stream, bytes, endStream: endStream)
        one?.sendData(stream, bytes, endStream: endStream)
    }

    /// Ends our direction with trailers (dropped where the framing of HTTP/1.1 has no place for them).
    package mutating func sendTrailers(_ stream: StreamID, _ block: borrowing HeaderBlock) {
        two?.sendTrailers(stream, block)
        one?.sendTrailers(stream, block)
    }

    /// Gives a stream up at once; no event follows. Harmless for a stream that is over: call it on every teardown.
    package mutating func reset(_ stream: StreamID, code: UInt32) {
        two?.reset(stream, code: code)
        one?.reset(stream, code: code)
    }

    /// Body bytes of `data` events have been passed on or dropped: the peer may send as many again.
    package mutating func consume(_ stream: StreamID, _ count: Int) {
        two?.consume(stream, count)
        one?.consume(stream, count)
    }

    /// Body bytes queued and not yet produced.
    package func queued(_ stream: StreamID) -> Int {
        switch two {
        case .some(let session): return session.queued(stream)
        case .none:
            switch one {
            case .some(let session): return session.queued(stream)
            case .none: return 0
            }
        }
    }

    /// False: stop reading the socket for now.
    package var wantsInput: Bool {
        switch two {
        case .some(let session): return session.wantsInput
        case .none:
            switch one {
            case .some(let session): return session.wantsInput
            case .none: return false
            }
        }
    }

    /// Appends wire bytes until `output` holds `limit` (one frame or head more at most) or nothing is left.
    package mutating func produce(into output: inout OutputBuffer, upTo limit: Int) throws(HTTPFailure) {
        try two?.produce(into: &output, upTo: limit)
        try one?.produce(into: &output, upTo: limit)
    }

    package var hasOutput: Bool {
        switch two {
        case .some(let session): return session.hasOutput
        case .none:
            switch one {
            case .some(let session): return session.hasOutput
            case .none: return false
            }
        }
    }

    /// Graceful end, first step: no new streams (HTTP/1.1: the exchange under way is the last).
    package mutating func goAway() {
        two?.goAway()
        one?.goAway()
    }

    /// Graceful end, second step, a round trip later: streams already open end in their own time.
    package mutating func shutdown(code: UInt32) {
        two?.shutdown(code: code)
        one?.shutdown(code: code)
    }

    /// The owner's deadline for this connection passed: 408 or GOAWAY, then close.
    package mutating func timeOut() {
        two?.timeOut()
        one?.timeOut()
    }

    /// The conversation is over once the output is written.
    package var shouldClose: Bool {
        switch two {
        case .some(let session): return session.shouldClose
        case .none:
            switch one {
            case .some(let session): return session.shouldClose
            case .none: return true
            }
        }
    }

    /// Close with RST and without close_notify: a message was cut, and the peer must not take it for complete.
    package var mustAbort: Bool {
        switch one {
        case .some(let session): return session.mustAbort
        case .none: return false
        }
    }

    /// Why the connection is over; nil while it is not, or after a clean end.
    package var failure: HTTPFailure? {
        switch two {
        case .some(let session): return session.failure
        case .none:
            switch one {
            case .some(let session): return session.failure
            case .none: return nil
            }
        }
    }

    package var activeStreams: Int {
        switch two {
        case .some(let session): return session.activeStreams
        case .none:
            switch one {
            case .some(let session): return session.activeStreams
            case .none: return 0
            }
        }
    }

    /// HTTP/2 only; the answer is a `pong`.
    package mutating func ping(_ payload: UInt64) { two?.ping(payload) }

    /// Tells that time went by (at any interval): floods are judged by rate.
    package mutating func pass(seconds: Int) { two?.pass(seconds: seconds) }

    /// Gives back the memory that an idle connection does not need.
    package mutating func shrink() {
        two?.shrink()
        one?.shrink()
    }

    /// HTTP/1.1 server with `allowsConnect`: answers the CONNECT with 200 and turns the session raw.
    package mutating func enterTunnel() { one?.enterTunnel() }

    /// After `enterTunnel`: what arrived behind the CONNECT request (and what `receive` took since).
    package mutating func takeTunnelBytes(into buffer: inout OutputBuffer) { one?.takeTunnelBytes(into: &buffer) }
}
