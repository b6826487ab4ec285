internal import Containers

/// One HTTP/2 connection (RFC 9113): bytes and verbs in, events and bytes out. No socket, no clock.
///
/// Heads are encoded when they are given, in the order in which they go out (HPACK's tables ask for that), into `control`,
/// with every other frame but DATA. Bodies wait in their streams; `produce` cuts them into frames in turn.
package struct HTTP2Session: ~Copyable {
    /// What a client takes for the limit of a server that has not sent SETTINGS yet.
    private static let streamsBeforeSettings = 100
    /// Streams end before ids run out (RFC 9113 5.1.1), with room for those in flight (HOSTILE 74).
    static let lastUsableStream: StreamID = .max - 4_096
    /// Undrained events above which the socket is not read.
    private static let eventLimit = 8_192
    /// Bytes of answers (to PING, SETTINGS, mistakes) that the peer does not take, above which no more of it is read.
    private static let owedLimit = 65_536
    /// Bytes of heads that the socket left over, above which a client opens no stream; and how many may be given in one turn.
    private static let leftoverLimit = 65_536
    private static let headsLimit = 1_048_576
    /// Above it nothing more is read: four times what a client gives, so that two proxies never wait for each other.
    private static let controlLimit = 4_194_304
    /// Windows before any SETTINGS (RFC 9113 6.9.2), and the most that one may be.
    static let firstWindow = 65_535
    static let largestWindow = 0x7FFF_FFFF

    let role: HTTPRole
    let limits: HTTPLimits
    let settings: HTTP2Settings
    var streams: HTTP2StreamTable

    // What came in.
    var events = EventList()
    /// The bytes of `data` events, until the next input.
    var slab = ByteBuffer()
    var heads = HeadQueue()
    var decoder: HPACKDecoder
    var reader: HTTP2Reader
    var glitches: HTTP2Glitches
    /// The last authority that was found well-formed: the next one is mostly the same.
    var knownAuthority = ByteBuffer()
    /// The highest stream that the peer opened, and the highest that was taken: a GOAWAY lies between them.
    var lastSeenStream: StreamID = 0
    var lastPeerStream: StreamID = 0
    /// Streams open and not closed, either side's.
    var active = 0
    /// Body bytes given out and not consumed, of all streams.
    var held = 0
    /// What the peer may still send on the connection, and what it was not given back yet.
    var receivable: Int
    var uncredited = 0
    /// By how much the windows of live streams have grown.
    var grown = 0

    // What goes out.
    var control = ByteBuffer()
    /// Bytes of `control` that were produced since the beginning: a place in it is counted from there.
    var produced = 0
    /// Where `control` stood when `produce` last returned, and what of it are answers.
    var leftover = 0
    var owed = 0
    /// It once held so much that its memory is not kept.
    var wasLarge = false
    var encoder: HPACKEncoder
    /// Where END_STREAMs end in `control`, and where the heads of requests begin.
    var endings = Ring<HTTP2Mark>(limit: .max)
    var unsentHeads = Ring<HTTP2Mark>(limit: .max)
    /// Streams with body bytes and a window for them, in turn; ids of streams that are over meanwhile are passed over.
    var line = Ring<StreamID>(limit: .max)
    /// What the peer's window leaves for all streams.
    var sendable = HTTP2Session.firstWindow
    /// The last stream that we opened, and the last of whose head anything was produced.
    var lastStream: StreamID = 0
    var lastSentStream: StreamID = 0
    /// PINGs of ours that are not answered yet.
    var pingsSent = 0
    /// The lowest last stream that a GOAWAY of the peer named.
    var peerLastStream: StreamID = .max

    // What the peer's SETTINGS say.
    var sawSettings = false
    var isAcknowledged = false
    var peerStreams = Int(UInt32.max)
    var peerWindow = HTTP2Session.firstWindow
    var peerTakesUpgrade = false

    // The end.
    var isDraining = false
    var saidGoAway = false
    var sawGoAway = false
    var isPeerGone = false
    /// The peer's stream ids run out (HOSTILE 74).
    var isExhausted = false
    /// Why the connection is over; nil while it is not.
    package internal(set) var failure: HTTPFailure?

    package init(role: HTTPRole, limits: HTTPLimits, settings: HTTP2Settings) {
        self.role = role
        self.limits = limits
        self.settings = settings
        streams = HTTP2StreamTable(seed: settings.seed)
        decoder = HPACKDecoder(capacity: settings.decoderTable)
        encoder = HPACKEncoder(capacity: settings.encoderTable)
        reader = HTTP2Reader(role: role)
        glitches = HTTP2Glitches(role: role, cancelBurst: settings.cancelBurst, cancelRate: settings.cancelRate)
        receivable = max(settings.connectionWindow, Self.firstWindow)
        announce()
    }

    private mutating func announce() {
        if role == .client { control.append(HTTP2Reader.preface) }
        let isUpgradable = role == .server && limits.allowsUpgrade
        control.appendFrame(HTTP2FrameType.settings, stream: 0, length: isUpgradable ? 30 : 24)
        control.appendSetting(HTTP2Parameter.headerTableSize, settings.decoderTable)
        control.appendSetting(HTTP2Parameter.initialWindowSize, settings.streamWindow)
        control.appendSetting(HTTP2Parameter.maxHeaderListSize, limits.headBytes)
        switch role {
        case .server: control.appendSetting(HTTP2Parameter.maxConcurrentStreams, settings.maxConcurrentStreams)
        case .client: control.appendSetting(HTTP2Parameter.enablePush, 0)
        }
        if isUpgradable { control.appendSetting(HTTP2Parameter.enableConnectProtocol, 1) }
        if receivable > Self.firstWindow { writeWindow(0, receivable - Self.firstWindow) }
    }

    // MARK: Receiving

    /// Parses everything in `bytes` and appends events. Throws when the connection is over.
    package mutating func receive(_ bytes: Span<UInt8>) throws(HTTPFailure) {
        guard failure == nil, !isPeerGone, !bytes.isEmpty else { return }
        if events.isEmpty { slab.removeAll() }
        do {
            try read(bytes)
        } catch {
            throw fail(error)
        }
        try settle()
    }

    /// The peer closed its direction: HTTP/2 has no half-closed connections.
    package mutating func receiveEnd() throws(HTTPFailure) {
        guard failure == nil, !isPeerGone else { return }
        let wasActive = active > 0
        connectionLost()
        if wasActive { throw HTTPFailure(.truncated, status: 0) }
    }

    /// The transport is gone: every live stream gets its `closed`.
    package mutating func connectionLost() {
        isPeerGone = true
        closeAll()
    }

    package mutating func nextEvent() -> HTTPEvent? {
        guard let event = events.next() else { return nil }
        switch event {
        case .head, .violation, .trailers: heads.advance()
        case .closed(let id, _): wasRead(closed: id)
        case .data, .endStream, .writable, .goAway, .settings, .pong: break
        }
        return event
    }

    /// The block of the `head`, `violation` or `trailers` event read last.
    package mutating func takeHead(_ stream: StreamID) -> HeaderBlock { heads.take() }

    package mutating func recycle(_ block: consuming HeaderBlock) { heads.recycle(block) }

    package func unconsumed(_ id: StreamID) -> Int {
        guard let place = streams.find(id) else { return 0 }
        return streams[place].unconsumed
    }

    /// Not nil when three quarters of what may be held are: above all of it nothing is given back to the connection's window.
    package var crowded: HeldBytes? {
        guard held > settings.heldBytes / 4 * 3, failure == nil else { return nil }
        return HeldBytes(count: held, capacity: settings.heldBytes)
    }

    /// A head has begun and is not complete: nothing else can come before it is.
    package var isInHead: Bool { reader.isInHead }

    package var wantsInput: Bool {
        failure == nil && !isPeerGone && events.count < Self.eventLimit && owed < Self.owedLimit
            && control.count < Self.controlLimit
    }

    /// The stream is over, whatever of its events is still to be read.
    package func isClosed(_ id: StreamID) -> Bool {
        guard let place = streams.find(id) else { return true }
        return streams[place].flags.contains(.closed)
    }

    // MARK: Sending

    /// True while a stream may be opened: below the peer's limit, no GOAWAY either way.
    package var canOpenStream: Bool {
        guard role == .client, failure == nil, !isDraining, !isPeerGone, !sawGoAway,
            lastStream < Self.lastUsableStream, leftover < Self.leftoverLimit, control.count < Self.headsLimit
        else { return false }
        // Readers that lag behind hold this connection back: what is new goes over another one.
        if held > settings.heldBytes / 2 { return false }
        return active < (sawSettings ? peerStreams : Self.streamsBeforeSettings)
    }

    /// Body bytes queued and not yet produced.
    package func queued(_ id: StreamID) -> Int {
        guard let place = streams.find(id) else { return 0 }
        return streams[place].queue.count
    }

    package var hasOutput: Bool {
        if isPeerGone { return false }
        return !control.isEmpty || failure == nil && sendable > 0 && !line.isEmpty
    }

    // MARK: Ending

    /// The conversation is over once the output is flushed.
    package var shouldClose: Bool {
        if failure != nil || isPeerGone { return true }
        return (saidGoAway || sawGoAway) && active == 0 && !hasOutput
    }

    /// Streams open and not closed, either side's.
    package var activeStreams: Int { active }

    /// Time went by: floods are judged by rate. Optional; a long-lived connection without it ends after 2,000 pings.
    package mutating func pass(seconds: Int) { glitches.pass(seconds: seconds) }

    /// The glitch whose flood ended the connection; nil while none did.
    package var flood: HTTP2Glitch? { glitches.exceeded }

    /// The glitches since the last time.
    package mutating func takeGlitches() -> [(kind: HTTP2Glitch, count: Int)] { glitches.take() }

    /// Gives back what an idle connection does not need.
    package mutating func shrink() {
        guard events.isEmpty else { return }
        slab.removeAll()
        slab.shrink()
        control.shrink()
        heads.shrink()
        streams.shrink()
        decoder.shrink()
        reader.shrink()
        line.shrink()
        endings.shrink()
        unsentHeads.shrink()
    }
}

/// A place in what goes out that concerns a stream.
struct HTTP2Mark {
    let stream: StreamID
    let place: Int
}

extension Ring<HTTP2Mark> {
    /// The stream of the first mark, which goes, when it lies at `place` or before.
    mutating func pass(_ place: Int) -> StreamID? {
        guard let mark = first, mark.place <= place else { return nil }
        _ = popFirst()
        return mark.stream
    }
}
