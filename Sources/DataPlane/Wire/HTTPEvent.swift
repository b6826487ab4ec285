/// Names one exchange of a session. HTTP/1.1 counts 1, 3, 5… as HTTP/2 does.
package typealias StreamID = Int32

/// Which side of the conversation a session speaks for.
package enum HTTPRole: Sendable {
    /// The peer is downstream: it asks, we answer.
    case server
    /// The peer is upstream: we ask, it answers.
    case client
}

/// What a block of fields is.
package enum HeadKind: Sendable {
    case request
    /// A final response.
    case response
    /// A response of 100 to 199; more follow on the same stream.
    case interim
}

/// Why a stream ended.
package enum HTTPStreamError: Equatable, Sendable {
    /// Both directions ended cleanly.
    case none
    /// The peer did not process it: REFUSED_STREAM, an id above its GOAWAY, or it was never sent. Safe to repeat.
    case refused
    /// RST_STREAM from the peer, with its code (RFC 9113 7).
    case reset(UInt32)
    /// The peer broke the rules of HTTP within this stream; it was reset by us.
    case violation
    /// The connection ended under it.
    case connection
}

/// What happened in a session, in order. Plain values: bytes and fields are fetched from the session.
package enum HTTPEvent: Equatable, Sendable {
    /// A head arrived; its block is `takeHead(stream)` until the next event is read.
    case head(StreamID, HeadKind, endStream: Bool)
    /// A request that is understood but not served here: answer `status` and end the stream. What its block holds may
    /// be incomplete; its body is discarded. (405 for CONNECT, 431, 501.)
    case violation(StreamID, status: Int)
    /// Body bytes: `bytes(offset, count)`, good until the next `receive`. Every byte is given back by `consume`.
    case data(StreamID, offset: Int, count: Int)
    /// Trailers arrived (`takeHead`); the peer's direction has ended.
    case trailers(StreamID)
    /// The peer's direction has ended without trailers.
    case endStream(StreamID)
    /// The stream is over. Sent once per stream that was announced, but not for streams we `reset` ourselves.
    case closed(StreamID, HTTPStreamError)
    /// The queue of bytes to send fell to the low-water mark.
    case writable(StreamID)
    /// The peer ends the connection: streams above `lastStream` were not processed.
    case goAway(lastStream: StreamID, code: UInt32)
    /// The peer's first SETTINGS arrived (HTTP/2).
    case settings
    /// The answer to a `ping`.
    case pong(UInt64)
}

/// Events between the parser and their reader; keeps its memory.
struct EventList: ~Copyable {
    private var events: [HTTPEvent] = []
    private var first = 0

    var isEmpty: Bool { first == events.count }
    var count: Int { events.count - first }

    mutating func append(_ event: HTTPEvent) { events.append(event) }

    /// Body bytes at `offset`; joined to the last event where they continue it.
    mutating func appendData(_ stream: StreamID, offset: Int, count: Int) {
        if first < events.count, case .data(stream, let start, let length) = events[events.count - 1],
            start + length == offset
        {
            events[events.count - 1] = .data(stream, offset: start, count: length + count)
            return
        }
        events.append(.data(stream, offset: offset, count: count))
    }

    mutating func next() -> HTTPEvent? {
        guard first < events.count else { return nil }
        let event = events[first]
        first += 1
        if first == events.count {
            first = 0
            events.removeAll(keepingCapacity: true)
        }
        return event
    }
}
