internal import CNGHTTP2
internal import Containers

/// The heap cell that nghttp2's callbacks append to: events, body bytes, heads, stream states, and the output of the
/// moment. The session owns it and drains it after each call into the library; no callback touches the session.
@safe
struct HTTP2Inbox: ~Copyable {
    let role: HTTPRole
    let limits: HTTPLimits
    var events = EventList()
    var slab = ByteBuffer()
    var heads = HeadQueue()
    var streams: HTTP2StreamTable
    var glitches: HTTP2Glitches
    /// The last authority that was found well-formed: the next one is mostly the same.
    var knownAuthority = ByteBuffer()
    /// The caller's buffer, lent for the length of one `produce`.
    var output = ByteBuffer()
    var outputLimit = 0
    /// The output was full in the middle of a DATA frame.
    var isBlocked = false
    /// The head under construction is above the limits: its fields are not kept.
    var isOversized = false
    /// Resets to submit once the library has returned.
    var resets: [Reset] = []
    /// Streams open from our side (client: submitted; server: begun) and not closed.
    var active = 0
    /// Body bytes given out and not consumed, of all streams.
    var held = 0
    /// Body bytes that the connection's window was not given back for.
    var uncredited = 0
    /// By how much the windows of live streams have grown.
    var grown = 0
    /// The stream whose head has begun and is not complete; 0 for none.
    private(set) var headStream: StreamID = 0
    var sawSettings = false
    var sawGoAway = false
    /// PINGs of ours that are not answered yet.
    var pingsSent = 0
    /// Server: the peer's stream ids run out (HOSTILE 74).
    var isExhausted = false
    /// The code of a GOAWAY that the library sent by itself.
    var fatalCode: UInt32?
    /// We ended the connection on purpose.
    var isEnding = false
    /// No state may be freed any more: the library still refers to them.
    var isDead = false

    struct Reset {
        let stream: StreamID
        let code: UInt32
    }

    init(role: HTTPRole, limits: HTTPLimits, settings: HTTP2Settings) {
        self.role = role
        self.limits = limits
        streams = HTTP2StreamTable(window: settings.streamWindow)
        glitches = HTTP2Glitches(role: role, cancelBurst: settings.cancelBurst, cancelRate: settings.cancelRate)
    }

    // MARK: Heads

    mutating func beginHead(_ id: StreamID) {
        heads.begin()
        isOversized = false
        headStream = id
        guard role == .server, unsafe streams.find(id) == nil else { return }
        _ = unsafe streams.insert(id)
        active += 1
        if id > HTTP2Session.lastUsableStream { isExhausted = true }
    }

    mutating func field(_ name: Span<UInt8>, _ value: Span<UInt8>, sensitive: Bool) {
        guard !isOversized else { return }
        isOversized = !heads.add(
            name, value, sensitive: sensitive, countLimit: limits.headCount, byteLimit: limits.headBytes)
    }

    mutating func endHead(_ id: StreamID, endStream: Bool) {
        headStream = 0
        guard let stream = unsafe streams.find(id) else { return }
        // SAFETY: a state found in the table is initialised, and only this code reaches it.
        if endStream { unsafe stream.pointee.flags.insert(.remoteEnded) }
        guard unsafe stream.pointee.flags.isDisjoint(with: [.abandoned, .violated, .closed]) else { return }
        if isOversized { glitches.spend(.heads) } else { glitches.earnHead() }
        switch role {
        case .server:
            if unsafe stream.pointee.flags.contains(.announced) {
                unsafe trailers(id, stream, endStream: endStream)
            } else {
                unsafe request(id, stream, endStream: endStream)
            }
        case .client:
            if unsafe stream.pointee.flags.contains(.finalHead) {
                unsafe trailers(id, stream, endStream: endStream)
            } else {
                unsafe response(id, stream, endStream: endStream)
            }
        }
    }

    private mutating func request(
        _ id: StreamID, _ stream: UnsafeMutablePointer<HTTP2Stream>, endStream: Bool
    ) {
        let verdict = isOversized ? .answer(431) : HTTP2Rules.judgeRequest(&heads.building, limits, &knownAuthority)
        switch verdict {
        case .accept:
            // SAFETY (all): see endHead.
            if heads.building.contains(.protocol) {
                // Nothing to say in the protocol that it asks for.
                guard !endStream else { return unsafe violate(id, stream) }
                unsafe stream.pointee.flags.insert(.upgrade)
            }
            unsafe stream.pointee.flags.insert(.announced)
            heads.commit()
            events.append(.head(id, .request, endStream: endStream))
        case .answer(let status):
            unsafe stream.pointee.flags.formUnion([.announced, .discardsBody])
            heads.commit()
            events.append(.violation(id, status: status))
        case .malformed:
            unsafe violate(id, stream)
        }
    }

    private mutating func response(
        _ id: StreamID, _ stream: UnsafeMutablePointer<HTTP2Stream>, endStream: Bool
    ) {
        // SAFETY: see endHead.
        let isUpgrade = unsafe stream.pointee.flags.contains(.upgrade)
        guard !isOversized, let kind = HTTP2Rules.judgeResponse(&heads.building, isUpgrade: isUpgrade) else {
            unsafe violate(id, stream)
            return
        }
        if kind == .interim {
            unsafe stream.pointee.interim += 1
            guard unsafe stream.pointee.interim <= limits.interimResponses, !endStream else {
                unsafe violate(id, stream)
                return
            }
        } else {
            unsafe stream.pointee.flags.insert(.finalHead)
        }
        heads.commit()
        events.append(.head(id, kind, endStream: endStream))
    }

    private mutating func trailers(
        _ id: StreamID, _ stream: UnsafeMutablePointer<HTTP2Stream>, endStream: Bool
    ) {
        guard !isOversized, endStream, heads.building.byteCount <= limits.trailerBytes else {
            unsafe violate(id, stream)
            return
        }
        // SAFETY: see endHead.
        if unsafe stream.pointee.flags.contains(.discardsBody) { return }
        HTTP2Rules.cleanTrailers(&heads.building)
        if heads.building.isEmpty {
            glitches.spend(.heads)
            events.append(.endStream(id))
            return
        }
        heads.commit()
        events.append(.trailers(id))
    }

    /// The stream is reset once the library has returned; the connection goes on.
    mutating func violate(_ id: StreamID, _ stream: UnsafeMutablePointer<HTTP2Stream>) {
        // SAFETY: see endHead.
        unsafe stream.pointee.flags.insert(.violated)
        resets.append(Reset(stream: id, code: HTTP2Code.protocolError))
    }

    // MARK: Body

    /// True when the bytes are not wanted and go back to the windows at once.
    mutating func body(_ id: StreamID, _ bytes: Span<UInt8>) -> Bool {
        glitches.earnData(bytes.count)
        guard let stream = unsafe streams.find(id) else { return true }
        // SAFETY: see endHead.
        guard unsafe stream.pointee.flags.isDisjoint(with: [.abandoned, .violated, .discardsBody, .closed]) else {
            return true
        }
        let offset = slab.count
        slab.append(bytes)
        held += bytes.count
        uncredited += bytes.count
        unsafe stream.pointee.unconsumed += bytes.count
        events.appendData(id, offset: offset, count: bytes.count)
        return false
    }

    mutating func endBody(_ id: StreamID) {
        guard let stream = unsafe streams.find(id) else { return }
        // SAFETY: see endHead.
        unsafe stream.pointee.flags.insert(.remoteEnded)
        if unsafe stream.pointee.flags.isDisjoint(with: [.abandoned, .violated, .discardsBody, .closed]) {
            events.append(.endStream(id))
        }
    }

    // MARK: Ends

    /// nghttp2 closed the stream.
    mutating func close(_ id: StreamID, _ code: UInt32) {
        if headStream == id { headStream = 0 }
        guard let stream = unsafe streams.find(id) else { return }
        // SAFETY: see endHead.
        let flags = unsafe stream.pointee.flags
        guard !flags.contains(.closed) else { return }
        active -= 1
        unsafe grown -= stream.pointee.window - streams.window
        unsafe stream.pointee.flags.insert(.closed)
        guard flags.contains(.announced), !flags.contains(.abandoned) else {
            unsafe drop(stream)
            streams.remove(id)
            return
        }
        let error = Self.reason(role, flags, code)
        unsafe stream.pointee.flags.insert(.closing)
        events.append(.closed(id, error))
        if error == .none {
            // An answer that refuses the head is no work that earns anything.
            if !flags.contains(.discardsBody) { glitches.earnStream() }
        } else {
            unsafe drop(stream)
        }
    }

    /// Nobody will consume what is left of its body.
    mutating func drop(_ stream: UnsafeMutablePointer<HTTP2Stream>) {
        // SAFETY: see endHead.
        unsafe held -= stream.pointee.unconsumed
        unsafe stream.pointee.unconsumed = 0
    }

    // Static: a borrowing call would copy the whole inbox.
    private static func reason(_ role: HTTPRole, _ flags: HTTP2Stream.Flags, _ code: UInt32) -> HTTPStreamError {
        if flags.contains(.violated) { return .violation }
        if role == .client, !flags.contains(.headSent) { return .refused }
        if code == HTTP2Code.none {
            let ended: HTTP2Stream.Flags = role == .client ? .remoteEnded : .localEnded
            return flags.contains(ended) ? .none : .reset(code)
        }
        if role == .client, code == HTTP2Code.refusedStream { return .refused }
        return flags.contains(.peerReset) ? .reset(code) : .violation
    }

    /// The owner read `closed`: the state goes, unless body bytes are still to be consumed.
    mutating func wasRead(closed id: StreamID) {
        guard !isDead, let stream = unsafe streams.find(id) else { return }
        // SAFETY: see endHead.
        unsafe stream.pointee.flags.remove(.closing)
        if unsafe stream.pointee.unconsumed == 0 { streams.remove(id) }
    }

    /// The connection is over: every announced stream gets its `closed`, and no state is freed before the session is.
    mutating func closeAll() {
        guard !isDead else { return }
        isDead = true
        for id in streams.ids.sorted() {
            guard let stream = unsafe streams.find(id) else { continue }
            // SAFETY: see endHead.
            let flags = unsafe stream.pointee.flags
            guard !flags.contains(.closed) else { continue }
            unsafe stream.pointee.flags.insert(.closed)
            if flags.contains(.announced), !flags.contains(.abandoned) {
                let unsent = role == .client && !flags.contains(.headSent)
                events.append(.closed(id, unsent ? .refused : .connection))
            }
        }
        active = 0
    }

    // MARK: Sending

    /// How many bytes the data source gives for a frame of at most `room` bytes, and what follows them.
    enum Portion { case later, bytes(Int), last(Int), beforeTrailers(Int) }

    mutating func portion(_ id: StreamID, _ room: Int) -> Portion {
        guard !isDead, let stream = unsafe streams.find(id) else { return .later }
        // SAFETY: see endHead.
        let count = unsafe min(stream.pointee.queue.count, min(room, roomInRecord))
        let flags = unsafe stream.pointee.flags
        if flags.contains(.sendEnded), unsafe count == stream.pointee.queue.count {
            return flags.contains(.hasTrailers) ? .beforeTrailers(count) : .last(count)
        }
        if count == 0 {
            unsafe stream.pointee.flags.insert(.deferred)
            return .later
        }
        return .bytes(count)
    }

    /// Where the next frame should end, so that it fills the TLS record that it stands in and needs no other: the output is
    /// cut into records from its start. A record with hardly any room left is not worth a frame.
    private var roomInRecord: Int {
        let left = Self.recordSize - output.count % Self.recordSize - Self.frameHeader
        return left >= Self.recordSize / 8 ? left : left + Self.recordSize
    }

    private static let recordSize = 16_384
    private static let frameHeader = 9

    enum Written { case done, full, gone }

    /// Writes one DATA frame. When the output is full, the library asks again.
    mutating func write(_ id: StreamID, _ header: Span<UInt8>, _ count: Int) -> Written {
        guard output.count < outputLimit else {
            isBlocked = true
            return .full
        }
        guard !isDead, let stream = unsafe streams.find(id), unsafe stream.pointee.queue.count >= count else {
            return .gone
        }
        output.append(header)
        // SAFETY: see endHead.
        unsafe output.append(stream.pointee.queue.bytes.extracting(first: count))
        unsafe stream.pointee.queue.consume(count)
        unsafe glitches.earnSent(count, isAll: stream.pointee.queue.isEmpty)
        if unsafe stream.pointee.flags.contains(.aboveLow),
            unsafe stream.pointee.queue.count <= limits.sendLowWater
        {
            unsafe stream.pointee.flags.remove(.aboveLow)
            events.append(.writable(id))
        }
        return .done
    }

    /// A frame of ours with END_STREAM went out.
    mutating func didEnd(_ id: StreamID) {
        guard let stream = unsafe streams.find(id) else { return }
        // SAFETY: see endHead.
        unsafe stream.pointee.flags.insert(.localEnded)
        // An answer that ends before its request: the rest of the request is not wanted (RFC 9113 8.1).
        if role == .server, unsafe !stream.pointee.flags.contains(.remoteEnded) {
            resets.append(Reset(stream: id, code: HTTP2Code.none))
        }
    }
}
