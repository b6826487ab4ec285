import Containers
import Wire

/// What a session told of what it was fed: heads as pairs, bodies whole.
struct Told {
    var heads: [StreamID: [(name: [UInt8], value: [UInt8])]] = [:]
    var bodies: [StreamID: [UInt8]] = [:]
    var ended: Set<StreamID> = []
    var violations: [StreamID: Int] = [:]
    var closed: [StreamID: HTTPStreamError] = [:]

    func value(_ name: String, of stream: StreamID) -> [UInt8] {
        heads[stream]?.first { $0.name == Array(name.utf8) }?.value ?? []
    }
}

/// Feeds `bytes` in pieces of the lengths that `cut` gives; the failure is the session's.
func feed(_ session: inout HTTPSession, _ bytes: [UInt8], into told: inout Told, cut: () -> Int = { .max }) {
    var start = 0
    while start < bytes.count {
        let end = start + min(bytes.count - start, max(1, cut()))
        do { try session.receive(bytes.span.extracting(start..<end)) } catch {
            drain(&session, &told)
            return
        }
        drain(&session, &told)
        start = end
    }
}

func drain(_ session: inout HTTPSession, _ told: inout Told) {
    while let event = session.nextEvent() {
        switch event {
        case .head(let stream, _, let endStream):
            let block = session.takeHead(stream)
            if told.heads[stream] == nil { told.heads[stream] = fields(block) }
            session.recycle(block)
            if endStream { told.ended.insert(stream) }
        case .violation(let stream, let status): told.violations[stream] = status
        case .data(let stream, let offset, let count):
            told.bodies[stream, default: []] += array(session.bytes(offset, count))
            session.consume(stream, count)
        case .trailers(let stream), .endStream(let stream): told.ended.insert(stream)
        case .closed(let stream, let error): told.closed[stream] = error
        case .writable, .goAway, .settings, .pong: break
        }
    }
}

/// Everything that the session has to say, at most `limit` bytes.
func output(of session: inout HTTPSession, limit: Int = 1 << 20) -> [UInt8] {
    var buffer = ByteBuffer()
    do { try session.produce(into: &buffer, upTo: limit) } catch {}
    return array(buffer.bytes)
}

func array(_ span: Span<UInt8>) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(span.count)
    for index in 0..<span.count { result.append(span[index]) }
    return result
}

func fields(_ block: borrowing HeaderBlock) -> [(name: [UInt8], value: [UInt8])] {
    var result: [(name: [UInt8], value: [UInt8])] = []
    for index in 0..<block.count { result.append((array(block.nameBytes(at: index)), array(block.value(at: index)))) }
    return result
}

func block(_ fields: [(name: [UInt8], value: [UInt8])]) -> HeaderBlock {
    var block = HeaderBlock()
    for field in fields { block.append(name: field.name.span, value: field.value.span) }
    return block
}

/// HTTP/2 frames written by hand.
struct Frames {
    var bytes: [UInt8] = []

    /// Preface and empty SETTINGS.
    static func opened() -> Frames {
        var frames = Frames()
        frames.bytes = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
        frames.add(4, 0, 0, [])
        return frames
    }

    mutating func add(_ type: UInt8, _ flags: UInt8, _ stream: UInt32, _ payload: [UInt8]) {
        let count = payload.count
        bytes += [UInt8(count >> 16 & 255), UInt8(count >> 8 & 255), UInt8(count & 255), type, flags]
        bytes += Self.word(stream) + payload
    }

    /// HEADERS of literal fields, never indexed, no Huffman code.
    mutating func headers(_ stream: UInt32, _ fields: [([UInt8], [UInt8])], endStream: Bool = true) {
        var payload: [UInt8] = []
        for (name, value) in fields { payload += [0x10] + Self.text(name) + Self.text(value) }
        add(1, 4 | (endStream ? 1 : 0), stream, payload)
    }

    mutating func request(_ stream: UInt32, endStream: Bool = true) {
        let fields = [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "shop.test")]
        headers(stream, fields.map { (Array($0.0.utf8), Array($0.1.utf8)) }, endStream: endStream)
    }

    static func word(_ value: UInt32) -> [UInt8] { [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) } }

    /// An HPACK string, RFC 7541 5.2.
    private static func text(_ bytes: [UInt8]) -> [UInt8] {
        if bytes.count < 127 { return [UInt8(bytes.count)] + bytes }
        var length: [UInt8] = [127]
        var rest = bytes.count - 127
        while rest >= 128 {
            length.append(UInt8(rest & 127) | 128)
            rest >>= 7
        }
        return length + [UInt8(rest)] + bytes
    }

    /// (type, stream, payload) of each whole frame in `bytes`.
    static func parse(_ bytes: [UInt8]) -> [(type: UInt8, stream: UInt32, payload: [UInt8])] {
        var found: [(type: UInt8, stream: UInt32, payload: [UInt8])] = []
        var index = 0
        while index + 9 <= bytes.count {
            let end = index + 9 + Int(bytes[index]) << 16 + Int(bytes[index + 1]) << 8 + Int(bytes[index + 2])
            guard end <= bytes.count else { break }
            let stream = bytes[(index + 5)..<(index + 9)].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            found.append((bytes[index + 3], stream, Array(bytes[(index + 9)..<end])))
            index = end
        }
        return found
    }
}
