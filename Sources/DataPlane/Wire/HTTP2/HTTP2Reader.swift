internal import Containers

/// Where the reader of frames stands between two pieces of input.
struct HTTP2Reader: ~Copyable {
    static let preface: StaticString = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

    /// Bytes of the client's preface that are still to come (RFC 9113 3.4).
    var prefaceLeft: Int
    /// A frame that is not complete, from its header on; never one of DATA.
    var partial = ByteBuffer()
    /// Payload bytes of a frame of unknown kind that are read over.
    var skipping = 0
    /// DATA of which some is still to come.
    var body: Body?
    /// A header block over several frames.
    var block = ByteBuffer()
    var open: OpenBlock?

    struct Body {
        let stream: StreamID
        let endsStream: Bool
        /// The byte that says how much padding follows is still to come.
        var wantsPadLength: Bool
        /// Payload bytes still to come, without padding once its length is known.
        var left: Int
        var padding = 0
        /// The frame has brought nothing yet.
        var isEmpty = true
    }

    struct OpenBlock {
        let stream: StreamID
        let endsStream: Bool
        /// The block is read for HPACK's sake and thrown away.
        let isMalformed: Bool
        var continuations = 0
    }

    init(role: HTTPRole) { prefaceLeft = role == .server ? Self.preface.utf8CodeUnitCount : 0 }

    var isInHead: Bool {
        if open != nil { return true }
        return partial.count > 3 && partial.bytes[3] == HTTP2FrameType.headers
    }

    mutating func shrink() {
        partial.shrink()
        if open == nil {
            block.removeAll()
            block.shrink()
        }
    }
}

extension HTTP2Session {
    /// CONTINUATIONs to one head: nghttp2's limit, that no peer in good order comes near.
    private static let continuationLimit = 8
    /// Entries of one SETTINGS frame.
    private static let settingsLimit = 32

    static func broken(_ code: UInt32) -> HTTPFailure { HTTPFailure(.protocolError, status: 0, code: code) }

    /// Cuts the input into frames. A throw ends the connection with its code.
    mutating func read(_ bytes: Span<UInt8>) throws(HTTPFailure) {
        var offset = 0
        if reader.prefaceLeft > 0 { offset = try readPreface(bytes) }
        let count = bytes.count
        while offset < count {
            if reader.body != nil {
                offset = try readBody(bytes, offset)
            } else if reader.skipping > 0 {
                let skipped = min(reader.skipping, count - offset)
                reader.skipping -= skipped
                offset += skipped
            } else if reader.partial.isEmpty, count - offset >= HTTP2FrameHeader.size {
                offset = try readFrame(bytes, offset)
            } else {
                offset = try readPartial(bytes, offset)
            }
            // Here, and not behind the input: what one piece of it may cost is bounded.
            if glitches.exceeded != nil { throw HTTPFailure(.flood, status: 0, code: HTTP2Code.enhanceYourCalm) }
        }
    }

    private mutating func readPreface(_ bytes: Span<UInt8>) throws(HTTPFailure) -> Int {
        let whole = HTTP2Reader.preface.span
        let count = min(reader.prefaceLeft, bytes.count)
        let start = whole.count - reader.prefaceLeft
        guard bytes.extracting(first: count).equals(whole.extracting(start..<start + count)) else {
            throw HTTPFailure(.malformed, status: 0, code: HTTP2Code.protocolError)
        }
        reader.prefaceLeft -= count
        return count
    }

    /// A frame whose header is complete and stands in `bytes`.
    private mutating func readFrame(_ bytes: Span<UInt8>, _ offset: Int) throws(HTTPFailure) -> Int {
        let header = HTTP2FrameHeader(bytes.extracting(offset..<offset + HTTP2FrameHeader.size))
        let start = offset + HTTP2FrameHeader.size
        try check(header)
        if try begin(header) { return start }
        let end = start + header.length
        guard end <= bytes.count else {
            reader.partial.append(bytes.extracting(offset..<bytes.count))
            return bytes.count
        }
        try take(header, bytes.extracting(start..<end))
        return end
    }

    /// Adds to the frame that began in an earlier piece.
    private mutating func readPartial(_ bytes: Span<UInt8>, _ offset: Int) throws(HTTPFailure) -> Int {
        var offset = offset
        if reader.partial.count < HTTP2FrameHeader.size {
            let missing = min(HTTP2FrameHeader.size - reader.partial.count, bytes.count - offset)
            reader.partial.append(bytes.extracting(offset..<offset + missing))
            offset += missing
            guard reader.partial.count == HTTP2FrameHeader.size else { return offset }
            let header = HTTP2FrameHeader(reader.partial.bytes)
            try check(header)
            if try begin(header) {
                reader.partial.removeAll()
                return offset
            }
        }
        let header = HTTP2FrameHeader(reader.partial.bytes)
        let missing = min(HTTP2FrameHeader.size + header.length - reader.partial.count, bytes.count - offset)
        reader.partial.append(bytes.extracting(offset..<offset + missing))
        offset += missing
        guard reader.partial.count == HTTP2FrameHeader.size + header.length else { return offset }
        // Out of the session while it is read: a frame may not change what it is read from.
        var frame = ByteBuffer()
        swap(&frame, &reader.partial)
        try take(header, frame.bytes.extracting(HTTP2FrameHeader.size..<frame.count))
        frame.removeAll()
        swap(&frame, &reader.partial)
        return offset
    }

    /// What can be said of a frame before its payload: its size, and whether its kind may come now.
    private func check(_ header: HTTP2FrameHeader) throws(HTTPFailure) {
        guard header.length <= HTTP2FrameHeader.largest else { throw Self.broken(HTTP2Code.frameSize) }
        if let open = reader.open {
            guard header.type == HTTP2FrameType.continuation, header.stream == open.stream else {
                throw Self.broken(HTTP2Code.protocolError)
            }
        } else if !sawSettings, header.type != HTTP2FrameType.settings || header.has(HTTP2Flag.acknowledged) {
            throw Self.broken(HTTP2Code.protocolError)
        }
    }

    /// True when the payload is taken as it comes: bodies and frames of unknown kinds.
    private mutating func begin(_ header: HTTP2FrameHeader) throws(HTTPFailure) -> Bool {
        if header.type == HTTP2FrameType.data {
            try beginBody(header)
            return true
        }
        guard header.type > HTTP2FrameType.continuation else { return false }
        reader.skipping = header.length
        return true
    }

    /// A whole frame.
    private mutating func take(_ header: HTTP2FrameHeader, _ payload: Span<UInt8>) throws(HTTPFailure) {
        switch header.type {
        case HTTP2FrameType.headers: try takeHeaders(header, payload)
        case HTTP2FrameType.continuation: try takeContinuation(header, payload)
        case HTTP2FrameType.windowUpdate: try takeWindowUpdate(header, payload)
        case HTTP2FrameType.reset: try takeReset(header, payload)
        case HTTP2FrameType.settings: try takeSettings(header, payload)
        case HTTP2FrameType.ping: try takePing(header, payload)
        case HTTP2FrameType.goAway: try takeGoAway(header, payload)
        case HTTP2FrameType.priority: try takePriority(header, payload)
        // PUSH_PROMISE: clients never push, and we tell servers not to (RFC 9113 8.4).
        default: throw Self.broken(HTTP2Code.protocolError)
        }
    }

    // MARK: Heads

    private mutating func takeHeaders(_ header: HTTP2FrameHeader, _ payload: Span<UInt8>) throws(HTTPFailure) {
        guard header.stream != 0 else { throw Self.broken(HTTP2Code.protocolError) }
        var start = 0
        var end = payload.count
        if header.has(HTTP2Flag.padded) {
            guard end > 0, Int(payload[0]) < end else { throw Self.broken(HTTP2Code.protocolError) }
            end -= Int(payload[0])
            start = 1
        }
        var isMalformed = false
        if header.has(HTTP2Flag.priority) {
            guard end - start >= 5 else { throw Self.broken(HTTP2Code.frameSize) }
            // A stream that depends on itself (RFC 7540 5.3.1): nobody in good order says that.
            isMalformed = StreamID(bitPattern: payload.word32(at: start) & 0x7FFF_FFFF) == header.stream
            start += 5
        }
        let endsStream = header.has(HTTP2Flag.endStream)
        try admitHead(header.stream)
        let block = payload.extracting(start..<end)
        if header.has(HTTP2Flag.endHeaders) {
            return try takeBlock(header.stream, block, endsStream: endsStream, isMalformed: isMalformed)
        }
        reader.open = .init(stream: header.stream, endsStream: endsStream, isMalformed: isMalformed)
        reader.block.removeAll()
        reader.block.append(block)
    }

    private mutating func takeContinuation(_ header: HTTP2FrameHeader, _ payload: Span<UInt8>) throws(HTTPFailure) {
        guard var open = reader.open else { throw Self.broken(HTTP2Code.protocolError) }
        open.continuations += 1
        guard open.continuations <= Self.continuationLimit else {
            throw HTTPFailure(.flood, status: 0, code: HTTP2Code.enhanceYourCalm)
        }
        reader.open = open
        reader.block.append(payload)
        guard header.has(HTTP2Flag.endHeaders) else { return }
        reader.open = nil
        var block = ByteBuffer()
        swap(&block, &reader.block)
        // Its memory goes: hardly any head needs a second frame.
        try takeBlock(open.stream, block.bytes, endsStream: open.endsStream, isMalformed: open.isMalformed)
    }

    // MARK: Frames of the connection

    private mutating func takeSettings(_ header: HTTP2FrameHeader, _ payload: Span<UInt8>) throws(HTTPFailure) {
        guard header.stream == 0 else { throw Self.broken(HTTP2Code.protocolError) }
        if header.has(HTTP2Flag.acknowledged) {
            guard payload.isEmpty else { throw Self.broken(HTTP2Code.frameSize) }
            isAcknowledged = true
            return
        }
        guard payload.count % 6 == 0 else { throw Self.broken(HTTP2Code.frameSize) }
        guard payload.count / 6 <= Self.settingsLimit else {
            throw HTTPFailure(.flood, status: 0, code: HTTP2Code.enhanceYourCalm)
        }
        var index = 0
        var window = peerWindow
        while index < payload.count {
            try apply(payload.word16(at: index), Int(payload.word32(at: index + 2)), &window)
            index += 6
        }
        // Once a frame, however often it says another one.
        try shiftWindows(by: window - peerWindow)
        peerWindow = window
        control.appendFrame(HTTP2FrameType.settings, flags: HTTP2Flag.acknowledged, stream: 0, length: 0)
        owed += HTTP2FrameHeader.size
        if sawSettings { return glitches.spend(.settings) }
        sawSettings = true
        events.append(.settings)
    }

    private mutating func apply(_ parameter: UInt16, _ value: Int, _ window: inout Int) throws(HTTPFailure) {
        switch parameter {
        case HTTP2Parameter.headerTableSize:
            encoder.limit(value)
        case HTTP2Parameter.enablePush:
            guard value == 0 || value == 1 && role == .server else { throw Self.broken(HTTP2Code.protocolError) }
        case HTTP2Parameter.maxConcurrentStreams:
            peerStreams = value
        case HTTP2Parameter.initialWindowSize:
            guard value <= Self.largestWindow else { throw Self.broken(HTTP2Code.flowControl) }
            window = value
        case HTTP2Parameter.maxFrameSize:
            guard value >= HTTP2FrameHeader.largest, value <= 0xFF_FFFF else {
                throw Self.broken(HTTP2Code.protocolError)
            }
        case HTTP2Parameter.enableConnectProtocol:
            // RFC 8441 3: once said, it is not taken back.
            guard value == 1 || value == 0 && !peerTakesUpgrade else { throw Self.broken(HTTP2Code.protocolError) }
            peerTakesUpgrade = value == 1
        default:
            break
        }
    }

    private mutating func takePing(_ header: HTTP2FrameHeader, _ payload: Span<UInt8>) throws(HTTPFailure) {
        guard header.stream == 0 else { throw Self.broken(HTTP2Code.protocolError) }
        guard payload.count == 8 else { throw Self.broken(HTTP2Code.frameSize) }
        guard header.has(HTTP2Flag.acknowledged) else {
            control.appendFrame(HTTP2FrameType.ping, flags: HTTP2Flag.acknowledged, stream: 0, length: 8)
            control.append(payload)
            owed += HTTP2FrameHeader.size + 8
            return glitches.spend(.pings)
        }
        guard pingsSent > 0 else { return glitches.spend(.pings) }
        pingsSent -= 1
        events.append(.pong(UInt64(payload.word32(at: 0)) << 32 | UInt64(payload.word32(at: 4))))
    }

    private mutating func takeGoAway(_ header: HTTP2FrameHeader, _ payload: Span<UInt8>) throws(HTTPFailure) {
        guard header.stream == 0 else { throw Self.broken(HTTP2Code.protocolError) }
        guard payload.count >= 8 else { throw Self.broken(HTTP2Code.frameSize) }
        // Two are a graceful end.
        if sawGoAway { glitches.spend(.goAways) }
        sawGoAway = true
        let last = StreamID(bitPattern: payload.word32(at: 0) & 0x7FFF_FFFF)
        events.append(.goAway(lastStream: last, code: payload.word32(at: 4)))
        guard role == .client, last < min(lastStream, peerLastStream) else { return }
        peerLastStream = last
        // What is above was not processed (RFC 9113 6.8).
        for id in streams.ids where id > last {
            guard let place = streams.find(id), !streams[place].flags.contains(.closed) else { continue }
            close(place, HTTP2Code.refusedStream)
        }
    }

    // MARK: Frames of a stream

    private mutating func takeReset(_ header: HTTP2FrameHeader, _ payload: Span<UInt8>) throws(HTTPFailure) {
        guard payload.count == 4 else { throw Self.broken(HTTP2Code.frameSize) }
        guard header.stream != 0, !isIdle(header.stream) else { throw Self.broken(HTTP2Code.protocolError) }
        glitches.spend(.cancels)
        guard let place = streams.find(header.stream) else { return }
        streams[place].flags.insert(.peerReset)
        close(place, payload.word32(at: 0))
    }

    private mutating func takeWindowUpdate(_ header: HTTP2FrameHeader, _ payload: Span<UInt8>) throws(HTTPFailure) {
        guard payload.count == 4 else { throw Self.broken(HTTP2Code.frameSize) }
        let increment = Int(payload.word32(at: 0) & 0x7FFF_FFFF)
        if increment < 1_024 { glitches.spend(.windowUpdates) }
        if header.stream == 0 {
            guard increment > 0 else { throw Self.broken(HTTP2Code.protocolError) }
            sendable += increment
            guard sendable <= Self.largestWindow else { throw Self.broken(HTTP2Code.flowControl) }
            return
        }
        guard !isIdle(header.stream) else { throw Self.broken(HTTP2Code.protocolError) }
        guard let place = streams.find(header.stream), !streams[place].flags.contains(.closed) else { return }
        guard increment > 0 else { return violate(place) }
        streams[place].sendable += increment
        guard streams[place].sendable <= Self.largestWindow else {
            return violate(place, code: HTTP2Code.flowControl)
        }
        standInLine(place)
    }

    private mutating func takePriority(_ header: HTTP2FrameHeader, _ payload: Span<UInt8>) throws(HTTPFailure) {
        guard header.stream != 0 else { throw Self.broken(HTTP2Code.protocolError) }
        guard payload.count == 5 else { throw Self.broken(HTTP2Code.frameSize) }
        guard StreamID(bitPattern: payload.word32(at: 0) & 0x7FFF_FFFF) != header.stream else {
            throw Self.broken(HTTP2Code.protocolError)
        }
        glitches.spend(.priorities)
    }

    /// Nobody has opened it (RFC 9113 5.1): of what we opened the peer knows nothing before it is produced. Even ids never are:
    /// servers do not push here.
    func isIdle(_ id: StreamID) -> Bool {
        if id & 1 == 0 { return true }
        return id > (role == .server ? lastSeenStream : lastSentStream)
    }

    /// The peer's INITIAL_WINDOW_SIZE changed: every stream has so much more, or less (RFC 9113 6.9.2).
    private mutating func shiftWindows(by difference: Int) throws(HTTPFailure) {
        guard difference != 0 else { return }
        for slot in 0..<streams.slots {
            guard let place = streams.place(in: slot), !streams[place].flags.contains(.closed) else { continue }
            streams[place].sendable += difference
            guard streams[place].sendable <= Self.largestWindow else { throw Self.broken(HTTP2Code.flowControl) }
            standInLine(place)
        }
    }
}
