internal import Containers

/// What one head said about its message, beside the fields that the reader gets.
struct HTTP1Facts {
    var isVersion10 = false
    var isHead = false
    var isConnect = false
    var isOptionsAsterisk = false
    /// The request target named an authority: Host must equal it.
    var hasTargetAuthority = false
    var sawHost = false
    var isChunked = false
    var length: Int?
    var status = 0
    var saysClose = false
    var saysKeepAlive = false
    var saysUpgrade = false
    /// Server: the request asks for another protocol. Client: so did ours.
    var isUpgrade = false
    var acceptsTrailers = false
    var bytes = 0
    var fields = 0
}

/// The strict parser of HTTP/1.1 messages (RFC 9112): one pass over the bytes, resumable at any split. What two readers
/// could take in two ways is refused, never repaired (HOSTILE 38 to 56).
///
/// It reads from the session's inbox; `cursor` is how far it came. Event offsets are offsets into that inbox.
struct HTTP1Parser: ~Copyable {
    enum Phase {
        /// Client: no request is under way, so no byte may arrive.
        case idle
        case startLine, fields
        case fixed, chunkSize, chunkData, chunkEnd, trailers, untilClose
        /// The message is complete; what follows waits.
        case done
        /// CONNECT: what follows is not HTTP, or not ours to read yet.
        case raw
    }

    /// Names in Connection fields; a longer list has no honest use.
    private static let nominatedLimit = 1_024

    let role: HTTPRole
    let limits: HTTPLimits
    var phase: Phase
    var stream: StreamID = 1
    var cursor = 0
    /// Body bytes handed out and not yet consumed.
    var unconsumed = 0
    private(set) var headIsComplete = false
    private(set) var facts = HTTP1Facts()
    private var scan = 0
    private var remaining = 0
    private var extensionBytes = 0
    private var skippedEmptyLine = false
    private var interim = 0
    private var nominated = ByteBuffer()
    /// The protocol that an upgrade asks for, in lower case.
    private(set) var upgrade = ByteBuffer()

    init(role: HTTPRole, limits: HTTPLimits) {
        self.role = role
        self.limits = limits
        phase = role == .server ? .startLine : .idle
    }

    /// Starts on the next message of this connection.
    mutating func begin(stream: StreamID, isHead: Bool = false, isUpgrade: Bool = false) {
        self.stream = stream
        phase = .startLine
        facts = HTTP1Facts()
        facts.isHead = isHead
        facts.isUpgrade = isUpgrade
        headIsComplete = false
        skippedEmptyLine = false
        interim = 0
        extensionBytes = 0
        unconsumed = 0
        nominated.removeAll()
    }

    /// The inbox dropped everything before the cursor.
    mutating func rebase() {
        scan = max(0, scan - cursor)
        cursor = 0
    }

    /// Server: the upgrade was granted; what comes is opaque until the peer's end.
    mutating func switchProtocols() { if phase == .raw { phase = .untilClose } }

    /// The peer closed. True when that was the end of the body.
    mutating func endByClose(_ events: inout EventList) -> Bool {
        guard phase == .untilClose else { return false }
        end(&events)
        return true
    }

    /// Parses as much of `bytes` (the whole inbox) as one message has.
    mutating func advance(
        _ bytes: Span<UInt8>, _ heads: inout HeadQueue, _ events: inout EventList
    ) throws(HTTPFailure) {
        while true {
            switch phase {
            case .idle:
                guard cursor == bytes.count else { throw HTTPFailure(.unsolicited, status: 0) }
                return
            case .startLine:
                guard let line = try line(bytes, limits.requestLine, .requestLineTooLong, 414) else { return }
                try start(bytes.extracting(line), &heads.building)
            case .fields:
                let room = limits.headBytes - facts.bytes
                guard let line = try line(bytes, room, .headTooLarge, 431) else { return }
                if line.isEmpty {
                    try endHead(&heads, &events)
                } else {
                    try field(bytes.extracting(line), &heads.building)
                }
            case .fixed, .chunkData, .untilClose:
                guard deliver(bytes.count, &events) else { return }
            case .chunkSize:
                guard let line = try line(bytes, limits.chunkLine, .malformed, 400) else { return }
                try chunk(bytes.extracting(line))
                if phase == .trailers { heads.begin() }
            case .chunkEnd:
                guard bytes.count - cursor >= 2 else {
                    if bytes.count > cursor, bytes[cursor] != 13 { throw HTTPFailure(.malformed) }
                    return
                }
                guard bytes[cursor] == 13, bytes[cursor + 1] == 10 else { throw HTTPFailure(.malformed) }
                cursor += 2
                scan = cursor
                phase = .chunkSize
            case .trailers:
                guard let line = try line(bytes, limits.trailerBytes - facts.bytes, .headTooLarge, 431) else { return }
                if !line.isEmpty {
                    try trailer(bytes.extracting(line), &heads.building)
                } else if heads.building.isEmpty {
                    end(&events)
                } else {
                    heads.commit()
                    events.append(.trailers(stream))
                    phase = .done
                }
            case .done, .raw:
                return
            }
        }
    }

    /// The next line without its CRLF; nil until it is complete. A bare LF or CR is refused here or by its reader.
    private mutating func line(
        _ bytes: Span<UInt8>, _ limit: Int, _ reason: HTTPFailure.Reason, _ status: Int
    ) throws(HTTPFailure) -> Range<Int>? {
        guard let feed = bytes.firstIndex(of: 10, from: max(scan, cursor)) else {
            scan = bytes.count
            if bytes.count - cursor > limit { throw HTTPFailure(reason, status: status) }
            return nil
        }
        if feed - cursor > limit { throw HTTPFailure(reason, status: status) }
        guard feed > cursor, bytes[feed - 1] == 13 else { throw HTTPFailure(.malformed) }
        let line = cursor..<(feed - 1)
        cursor = feed + 1
        scan = cursor
        facts.bytes += line.count
        return line
    }

    private mutating func start(_ line: Span<UInt8>, _ block: inout HeaderBlock) throws(HTTPFailure) {
        if line.isEmpty, role == .server, !skippedEmptyLine {
            skippedEmptyLine = true
            return
        }
        let isHead = facts.isHead
        let isUpgrade = facts.isUpgrade
        facts = HTTP1Facts()
        nominated.removeAll()
        block.removeAll()
        switch role {
        case .server:
            facts = try HTTP1StartLine.request(line, limits, &block)
        case .client:
            facts = try HTTP1StartLine.response(line, &block)
            facts.isHead = isHead
            facts.isUpgrade = isUpgrade
        }
        phase = .fields
    }

    // MARK: Fields

    /// Splits a field line and checks every byte of it.
    private mutating func split(_ line: Span<UInt8>) throws(HTTPFailure) -> Int {
        facts.fields += 1
        if facts.fields > limits.headCount { throw HTTPFailure(.headTooLarge, status: 431) }
        var index = 0
        while index < line.count, line[index].isToken { index += 1 }
        guard index > 0, index < line.count, line[index] == UInt8(ascii: ":") else { throw HTTPFailure(.malformed) }
        guard line.extracting((index + 1)...).isFieldContent else { throw HTTPFailure(.malformed) }
        return index
    }

    private mutating func field(_ line: Span<UInt8>, _ block: inout HeaderBlock) throws(HTTPFailure) {
        let colon = try split(line)
        let name = line.extracting(first: colon)
        let raw = line.extracting((colon + 1)...)
        let value = raw.trimmed
        let known = HeaderName(name)
        switch known {
        case .host:
            if role == .server { try host(value, &block) }
        case .contentLength:
            guard facts.length == nil else { throw HTTPFailure(.ambiguousLength) }
            guard let length = value.decimal else { throw HTTPFailure(.malformed) }
            facts.length = length
            block.append(known, value)
        case .transferEncoding:
            try coding(raw)
        case .connection:
            try connection(value)
        case .upgrade:
            if role == .server { block.append(known, value) }
        case .keepAlive, .proxyConnection, .http2Settings:
            break
        case .te:
            if Self.list(value, holds: "trailers") { facts.acceptsTrailers = true }
        case .expect:
            if !facts.isVersion10 { block.append(known, value) }
        case .other:
            block.append(name: name, value: value)
        default:
            block.append(known, value)
        }
    }

    private mutating func host(_ value: Span<UInt8>, _ block: inout HeaderBlock) throws(HTTPFailure) {
        guard !facts.sawHost, HostAuthority(value) != nil else { throw HTTPFailure(.badHost) }
        facts.sawHost = true
        if facts.hasTargetAuthority {
            guard block.value(of: .authority).equalsIgnoringCase(value) else { throw HTTPFailure(.badHost) }
        } else {
            block.append(.authority, value)
        }
    }

    /// Exactly `chunked`, once, with at most one space before it: every other spelling is some reader's gap.
    private mutating func coding(_ raw: Span<UInt8>) throws(HTTPFailure) {
        guard !facts.isChunked else { throw HTTPFailure(.ambiguousLength) }
        let start = !raw.isEmpty && raw[0] == 32 ? 1 : 0
        guard raw.extracting(start...).equalsIgnoringCase("chunked") else {
            throw HTTPFailure(.unsupportedCoding, status: Self.isCodingList(raw.trimmed) ? 501 : 400)
        }
        facts.isChunked = true
    }

    /// Known shape, unknown codings: 501 instead of 400 (RFC 9112 6.1).
    private static func isCodingList(_ value: Span<UInt8>) -> Bool {
        guard value.firstIndex(of: UInt8(ascii: ",")) != nil else { return false }
        var start = 0
        var isLast = false
        while !isLast {
            let comma = value.firstIndex(of: UInt8(ascii: ","), from: start)
            isLast = comma == nil
            let item = value.extracting(start..<(comma ?? value.count)).trimmed
            guard item.isToken, item.equals("chunked") == isLast else { return false }
            start = (comma ?? 0) + 1
        }
        return true
    }

    private mutating func connection(_ value: Span<UInt8>) throws(HTTPFailure) {
        var start = 0
        while start <= value.count {
            let end = value.firstIndex(of: UInt8(ascii: ","), from: start) ?? value.count
            let option = value.extracting(start..<end).trimmed
            start = end + 1
            if option.isEmpty { continue }
            guard option.isToken else { throw HTTPFailure(.malformed) }
            if option.equalsIgnoringCase("close") {
                facts.saysClose = true
            } else if option.equalsIgnoringCase("keep-alive") {
                facts.saysKeepAlive = true
            } else if option.equalsIgnoringCase("upgrade") {
                facts.saysUpgrade = true
            } else if !option.equalsIgnoringCase("te") {
                nominated.append(option)
                nominated.append(UInt8(ascii: ","))
                if nominated.count > Self.nominatedLimit { throw HTTPFailure(.headTooLarge, status: 431) }
            }
        }
    }

    private static func list(_ value: Span<UInt8>, holds item: StaticString) -> Bool {
        var start = 0
        while start <= value.count {
            let end = value.firstIndex(of: UInt8(ascii: ","), from: start) ?? value.count
            if value.extracting(start..<end).trimmed.equalsIgnoringCase(item) { return true }
            start = end + 1
        }
        return false
    }

    /// Removes what Connection named. Fields that carry the message's meaning may not be named.
    private mutating func dropNominated(_ block: inout HeaderBlock) throws(HTTPFailure) {
        let names = nominated.bytes
        var start = 0
        while let end = names.firstIndex(of: UInt8(ascii: ","), from: start) {
            let name = names.extracting(start..<end)
            switch HeaderName(name) {
            case .host, .contentLength: throw HTTPFailure(.malformed)
            default: block.remove(named: name)
            }
            start = end + 1
        }
    }

    // MARK: The end of a head

    private mutating func endHead(_ heads: inout HeadQueue, _ events: inout EventList) throws(HTTPFailure) {
        try dropNominated(&heads.building)
        if facts.isChunked, facts.length != nil { throw HTTPFailure(.ambiguousLength) }
        if facts.isChunked, facts.isVersion10 { throw HTTPFailure(.ambiguousLength) }
        if facts.acceptsTrailers { heads.building.append(.te, "trailers") }
        facts.bytes = 0
        facts.fields = 0
        switch role {
        case .server: try endRequest(&heads, &events)
        case .client: try endResponse(&heads, &events)
        }
    }

    private mutating func endRequest(_ heads: inout HeadQueue, _ events: inout EventList) throws(HTTPFailure) {
        if !facts.isVersion10, !facts.sawHost { throw HTTPFailure(.badHost) }
        readUpgrade(&heads.building)
        if facts.isUpgrade {
            phase = .raw
        } else if facts.isConnect {
            if facts.isChunked || facts.length != nil { throw HTTPFailure(.malformed) }
            if !limits.allowsConnect { throw HTTPFailure(.unsupportedMethod, status: 405) }
            phase = .raw
        } else if facts.isChunked {
            phase = .chunkSize
        } else if let length = facts.length, length > 0 {
            remaining = length
            phase = .fixed
        } else {
            phase = .done
        }
        headIsComplete = true
        heads.commit()
        events.append(.head(stream, .request, endStream: phase == .done))
    }

    /// A wish for another protocol that can be granted: one name, in a GET without a body. Every other is ignored, as a
    /// server may (RFC 9110 7.8): h2c and TLS are told to the first hop only, and lists leave the choice to us.
    private mutating func readUpgrade(_ block: inout HeaderBlock) {
        guard let index = block.first(.upgrade) else { return }
        if limits.allowsUpgrade, facts.saysUpgrade, !facts.isVersion10, !facts.isChunked, (facts.length ?? 0) == 0,
            block.next(.upgrade, from: index + 1) == nil, takeUpgrade(block.value(at: index)),
            block.value(of: .method).equals("GET")
        {
            facts.isUpgrade = true
            block.append(.protocol, upgrade.bytes)
            block.remove(.contentLength)
        }
        block.remove(.upgrade)
    }

    private mutating func takeUpgrade(_ name: Span<UInt8>) -> Bool {
        guard name.isToken, !name.equalsIgnoringCase("h2c") else { return false }
        upgrade.removeAll()
        for index in 0..<name.count { upgrade.append(name[index].lowercased) }
        return true
    }

    private mutating func endResponse(_ heads: inout HeadQueue, _ events: inout EventList) throws(HTTPFailure) {
        if facts.status == 101, facts.isUpgrade {
            heads.building.remove(.contentLength)
            phase = .untilClose
            headIsComplete = true
            heads.commit()
            events.append(.head(stream, .response, endStream: false))
            return
        }
        // To go on in HTTP with 2xx is to decline, and on a leg of HTTP/2 it would read as consent (RFC 8441 5).
        if facts.isUpgrade, facts.status >= 200, facts.status < 300 { throw HTTPFailure(.malformed) }
        if facts.status < 200 {
            interim += 1
            guard facts.status != 101, interim <= limits.interimResponses else { throw HTTPFailure(.malformed) }
            heads.commit()
            events.append(.head(stream, .interim, endStream: false))
            phase = .startLine
            return
        }
        if facts.status == 204 {
            if facts.isChunked || (facts.length ?? 0) > 0 { throw HTTPFailure(.malformed) }
            heads.building.remove(.contentLength)
        }
        if facts.isHead || facts.status == 204 || facts.status == 304 {
            phase = .done
        } else if facts.isChunked {
            phase = .chunkSize
        } else if let length = facts.length {
            remaining = length
            phase = length > 0 ? .fixed : .done
        } else {
            facts.saysClose = true
            phase = .untilClose
        }
        headIsComplete = true
        heads.commit()
        events.append(.head(stream, .response, endStream: phase == .done))
    }

    // MARK: Bodies

    /// Hands out what there is. False when more bytes are needed.
    private mutating func deliver(_ end: Int, _ events: inout EventList) -> Bool {
        let waiting = end - cursor
        guard waiting > 0 else { return false }
        let count = phase == .untilClose ? waiting : min(waiting, remaining)
        events.appendData(stream, offset: cursor, count: count)
        unconsumed += count
        cursor += count
        scan = cursor
        if phase == .untilClose { return false }
        remaining -= count
        guard remaining == 0 else { return false }
        if phase == .chunkData { phase = .chunkEnd } else { self.end(&events) }
        return true
    }

    private mutating func end(_ events: inout EventList) {
        events.append(.endStream(stream))
        phase = .done
    }

    /// A chunk-size line: hexadecimal digits, then nothing or extensions, which are checked and dropped.
    private mutating func chunk(_ line: Span<UInt8>) throws(HTTPFailure) {
        var size = 0
        var digits = 0
        while digits < line.count, let value = line[digits].hexValue {
            size = size << 4 | Int(value)
            digits += 1
            if digits > 15 { throw HTTPFailure(.malformed) }
        }
        guard digits > 0 else { throw HTTPFailure(.malformed) }
        if digits < line.count {
            guard line[digits] == UInt8(ascii: ";") else { throw HTTPFailure(.malformed) }
            let list = line.extracting(digits...)
            // An app's answer is written anew: what it says there reaches nobody.
            guard list.isFieldContent, role == .client || list.isChunkExtensions else { throw HTTPFailure(.malformed) }
            extensionBytes += line.count - digits
            if extensionBytes > limits.chunkExtensions {
                throw HTTPFailure(.malformed, code: HTTP2Code.enhanceYourCalm)
            }
        }
        facts.bytes = 0
        facts.fields = 0
        remaining = size
        phase = size == 0 ? .trailers : .chunkData
    }

    private mutating func trailer(_ line: Span<UInt8>, _ block: inout HeaderBlock) throws(HTTPFailure) {
        let colon = try split(line)
        let name = line.extracting(first: colon)
        if HTTP2Rules.isForbiddenInTrailers(name.nameWithUnderscoresMapped) { return }
        block.append(name: name, value: line.extracting((colon + 1)...).trimmed)
    }
}
