import Containers
import Wire

/// Two sessions joined back to back: what one produces the other receives, cut into pieces as asked.
struct Loop: ~Copyable {
    var client: HTTPSession
    var server: HTTPSession
    /// What each side saw, bodies collected by stream.
    var seenByClient = Seen()
    var seenByServer = Seen()
    /// Consume every body byte on arrival.
    var consumes = true

    struct Seen {
        var events: [HTTPEvent] = []
        var bodies: [StreamID: [UInt8]] = [:]
        var heads: [StreamID: [[String]]] = [:]
        var closed: [StreamID: HTTPStreamError] = [:]
    }

    static func http2(
        limits: HTTPLimits = HTTPLimits(), settings: HTTP2Settings = HTTP2Settings(),
        clientSettings: HTTP2Settings = HTTP2Settings()
    ) -> Loop {
        Loop(
            client: .http2(role: .client, limits: limits, settings: clientSettings),
            server: .http2(role: .server, limits: limits, settings: settings))
    }

    static func http1(limits: HTTPLimits = HTTPLimits()) -> Loop {
        Loop(client: .http1(role: .client, limits: limits), server: .http1(role: .server, limits: limits))
    }

    init(client: consuming HTTPSession, server: consuming HTTPSession) {
        self.client = client
        self.server = server
    }

    /// Moves bytes both ways until nothing is left to say.
    mutating func run(pieces: Int = 65_536, upTo: Int = 65_536) throws {
        var wire = ByteBuffer()
        var isQuiet = false
        while !isQuiet {
            isQuiet = true
            wire.removeAll()
            try client.produce(into: &wire, upTo: upTo)
            if !wire.isEmpty { isQuiet = false }
            try feed(&server, wire.bytes, pieces)
            drain(&server, &seenByServer, consumes)
            wire.removeAll()
            try server.produce(into: &wire, upTo: upTo)
            if !wire.isEmpty { isQuiet = false }
            try feed(&client, wire.bytes, pieces)
            drain(&client, &seenByClient, consumes)
            drain(&server, &seenByServer, consumes)
        }
    }
}

func feed(_ session: inout HTTPSession, _ bytes: Span<UInt8>, _ pieces: Int) throws {
    var start = 0
    while start < bytes.count {
        let end = min(bytes.count, start + pieces)
        try session.receive(bytes.extracting(start..<end))
        start = end
    }
}

func drain(_ session: inout HTTPSession, _ seen: inout Loop.Seen, _ consumes: Bool = true) {
    while let event = session.nextEvent() {
        switch event {
        case .head(let stream, _, _), .violation(let stream, _), .trailers(let stream):
            let block = session.takeHead(stream)
            seen.heads[stream, default: []].append(lines(block))
            session.recycle(block)
        case .data(let stream, let offset, let count):
            seen.bodies[stream, default: []] += array(session.bytes(offset, count))
            if consumes { session.consume(stream, count) }
        case .closed(let stream, let error): seen.closed[stream] = error
        case .endStream, .writable, .goAway, .settings, .pong: break
        }
        if case .data = event { continue }
        seen.events.append(event)
    }
}

func array(_ span: Span<UInt8>) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(span.count)
    for index in 0..<span.count { result.append(span[index]) }
    return result
}

func text(_ span: Span<UInt8>) -> String { String(decoding: array(span), as: UTF8.self) }

func lines(_ block: borrowing HeaderBlock) -> [String] {
    var result: [String] = []
    for index in 0..<block.count {
        result.append(text(block.nameBytes(at: index)) + ": " + text(block.value(at: index)))
    }
    return result
}

func block(_ fields: [(String, String)]) -> HeaderBlock {
    var block = HeaderBlock()
    for (name, value) in fields { block.append(name: Array(name.utf8).span, value: Array(value.utf8).span) }
    return block
}

func request(_ method: String = "GET", _ path: String = "/", _ more: [(String, String)] = []) -> HeaderBlock {
    block([(":method", method), (":scheme", "https"), (":authority", "shop.test"), (":path", path)] + more)
}

func response(_ status: String = "200", _ more: [(String, String)] = []) -> HeaderBlock {
    block([(":status", status)] + more)
}

/// SplitMix64: the same seed gives the same test.
struct Seeded: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}
