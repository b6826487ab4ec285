internal import CNGHTTP2
internal import Containers

/// One HTTP/2 connection on nghttp2: bytes and verbs in, events and bytes out. No socket, no clock.
@safe
package struct HTTP2Session: ~Copyable {
    /// The library's own default for a peer that has not sent SETTINGS yet.
    private static let streamsBeforeSettings = 100
    /// Streams end before ids run out (RFC 9113 5.1.1), with room for those in flight (HOSTILE 74).
    static let lastUsableStream: StreamID = .max - 4_096
    /// Undrained events above which the socket is not read.
    private static let eventLimit = 8_192

    private let session: OpaquePointer
    private let inbox: UnsafeMutablePointer<HTTP2Inbox>
    /// Held because the library allocates from it until it is deleted.
    private let memory: HTTP2Memory
    private let role: HTTPRole
    private let settings: HTTP2Settings
    private var isDraining = false
    private var saidGoAway = false
    private var isPeerGone = false
    /// The last `produce` found nothing more to send, and nothing was submitted since.
    private var isDry = false
    private var lastStream: StreamID = 0
    /// Why the connection is over; nil while it is not.
    package private(set) var failure: HTTPFailure?

    /// - Parameter memory: the worker's free lists; sessions of one thread share them.
    package init(role: HTTPRole, limits: HTTPLimits, settings: HTTP2Settings, memory: HTTP2Memory) {
        let inbox = UnsafeMutablePointer<HTTP2Inbox>.allocate(capacity: 1)
        // SAFETY: fresh memory, freed in deinit after the library's session.
        unsafe inbox.initialize(to: HTTP2Inbox(role: role, limits: limits, settings: settings))
        guard let session = unsafe Self.open(role, settings, inbox, memory) else {
            fatalError("nghttp2 has no memory for a session")
        }
        unsafe self.session = session
        unsafe self.inbox = inbox
        self.memory = memory
        self.role = role
        self.settings = settings
        announce(limits, settings)
    }

    deinit {
        // SAFETY: both were made in init; the library's session refers to the inbox, so it goes first.
        unsafe nghttp2_session_del(session)
        unsafe inbox.deinitialize(count: 1)
        unsafe inbox.deallocate()
    }

    private static func open(
        _ role: HTTPRole, _ settings: HTTP2Settings, _ inbox: UnsafeMutablePointer<HTTP2Inbox>, _ memory: HTTP2Memory
    ) -> OpaquePointer? {
        var option: OpaquePointer?
        // SAFETY: the library fills the pointers; option and callbacks are copied and deleted here.
        guard unsafe nghttp2_option_new(&option) == 0, let callbacks = unsafe HTTP2Callbacks.make() else { return nil }
        defer {
            unsafe nghttp2_option_del(option)
            unsafe nghttp2_session_callbacks_del(callbacks)
        }
        unsafe nghttp2_option_set_no_auto_window_update(option, 1)
        unsafe nghttp2_option_set_max_reserved_remote_streams(option, 0)
        unsafe nghttp2_option_set_no_closed_streams(option, 1)
        unsafe nghttp2_option_set_max_deflate_dynamic_table_size(option, settings.encoderTable)
        unsafe nghttp2_option_set_peer_max_concurrent_streams(option, UInt32(streamsBeforeSettings))
        // The library's own limit on cancels answers INTERNAL_ERROR: ours comes first.
        unsafe nghttp2_option_set_stream_reset_rate_limit(
            option, UInt64(clamping: settings.cancelBurst) &* 2, UInt64(clamping: settings.cancelRate) &* 2)
        // Twice the decoded limit of a head: what was accepted can be sent on.
        unsafe nghttp2_option_set_max_send_header_block_length(option, 262_144)
        var table = unsafe memory.table
        var session: OpaquePointer?
        let result =
            role == .server
            ? unsafe nghttp2_session_server_new3(&session, callbacks, inbox, option, &table)
            : unsafe nghttp2_session_client_new3(&session, callbacks, inbox, option, &table)
        return result == 0 ? unsafe session : nil
    }

    private mutating func announce(_ limits: HTTPLimits, _ settings: HTTP2Settings) {
        func entry(_ id: nghttp2_settings_id, _ value: Int) -> nghttp2_settings_entry {
            nghttp2_settings_entry(settings_id: Int32(id.rawValue), value: UInt32(clamping: value))
        }
        var entries = [
            entry(NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, settings.decoderTable),
            entry(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, settings.streamWindow),
            entry(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits.headBytes),
        ]
        switch role {
        case .server:
            entries.append(entry(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, settings.maxConcurrentStreams))
            if limits.allowsUpgrade { entries.append(entry(NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1)) }
        case .client:
            entries.append(entry(NGHTTP2_SETTINGS_ENABLE_PUSH, 0))
        }
        // SAFETY: the entries are copied during the call.
        _ = unsafe nghttp2_submit_settings(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), &entries, entries.count)
        _ = unsafe nghttp2_session_set_local_window_size(
            session, UInt8(NGHTTP2_FLAG_NONE.rawValue), 0, Int32(clamping: settings.connectionWindow))
    }

    // MARK: Receiving

    /// Parses everything in `bytes` and appends events. Throws when the connection is over.
    package mutating func receive(_ bytes: Span<UInt8>) throws(HTTPFailure) {
        guard failure == nil, !isPeerGone, bytes.count > 0 else { return }
        isDry = false
        // SAFETY: the inbox lives as long as self; the library reads the bytes during the call only.
        if unsafe inbox.pointee.events.isEmpty { unsafe inbox.pointee.slab.removeAll() }
        let result = unsafe bytes.withUnsafeBufferPointer {
            unsafe nghttp2_session_mem_recv(session, $0.baseAddress, $0.count)
        }
        if result < 0 { throw fail(HTTP2Session.failure(of: result)) }
        try settle()
    }

    /// The peer closed its direction: HTTP/2 has no half-closed connections.
    package mutating func receiveEnd() throws(HTTPFailure) {
        guard failure == nil, !isPeerGone else { return }
        isPeerGone = true
        // SAFETY: as in receive.
        let wasActive = unsafe inbox.pointee.active > 0
        connectionLost()
        if wasActive { throw HTTPFailure(.truncated, status: 0) }
    }

    /// The transport is gone: every live stream gets its `closed`.
    package mutating func connectionLost() {
        isPeerGone = true
        // SAFETY: as in receive.
        unsafe inbox.pointee.closeAll()
    }

    package mutating func nextEvent() -> HTTPEvent? {
        // SAFETY: as in receive.
        guard let event = unsafe inbox.pointee.events.next() else { return nil }
        switch event {
        case .head, .violation, .trailers: unsafe inbox.pointee.heads.advance()
        case .closed(let id, _): unsafe inbox.pointee.wasRead(closed: id)
        case .data, .endStream, .writable, .goAway, .settings, .pong: break
        }
        return event
    }

    /// The bytes of a `data` event.
    @_lifetime(borrow self)
    package func bytes(_ offset: Int, _ count: Int) -> Span<UInt8> {
        // SAFETY: the inbox lives as long as self; the slab changes in `receive` only, which needs self exclusively.
        let bytes = unsafe inbox.pointee.slab.bytes.extracting(offset..<offset + count)
        return unsafe _overrideLifetime(bytes, borrowing: self)
    }

    /// The block of the `head`, `violation` or `trailers` event read last.
    package mutating func takeHead(_ stream: StreamID) -> HeaderBlock {
        // SAFETY: as in receive.
        unsafe inbox.pointee.heads.take()
    }

    package mutating func recycle(_ block: consuming HeaderBlock) {
        // SAFETY: as in receive.
        unsafe inbox.pointee.heads.recycle(block)
    }

    /// Body bytes have been passed on (or dropped): the peer may send as many again.
    /// - Parameter lagged: the reader was slow to take them: its window does not grow.
    package mutating func consume(_ id: StreamID, _ count: Int, lagged: Bool = false) {
        guard count > 0, failure == nil, let stream = unsafe inbox.pointee.streams.find(id) else { return }
        // SAFETY: a state found in the table is initialised.
        let credit = unsafe min(count, stream.pointee.unconsumed)
        guard credit > 0 else { return }
        unsafe stream.pointee.unconsumed -= credit
        unsafe inbox.pointee.held -= credit
        creditConnection()
        let flags = unsafe stream.pointee.flags
        if !flags.contains(.closed) {
            isDry = false
            _ = unsafe nghttp2_session_consume_stream(session, id, credit)
            if lagged { unsafe stream.pointee.hasLagged = true }
            unsafe widen(id, stream, by: credit)
            return
        }
        if unsafe stream.pointee.unconsumed == 0, !flags.contains(.closing), unsafe !inbox.pointee.isDead {
            unsafe inbox.pointee.streams.remove(id)
        }
    }

    package func unconsumed(_ id: StreamID) -> Int {
        guard let stream = unsafe inbox.pointee.streams.find(id) else { return 0 }
        // SAFETY: a state found in the table is initialised.
        return unsafe stream.pointee.unconsumed
    }

    /// Not nil when three quarters of what may be held are: above all of it nothing is given back to the connection's window.
    package var crowded: HeldBytes? {
        // SAFETY: as in receive.
        let held = unsafe inbox.pointee.held
        guard held > settings.heldBytes / 4 * 3, failure == nil else { return nil }
        return HeldBytes(count: held, capacity: settings.heldBytes)
    }

    /// Gives back what came to the connection's window, unless too much is held already.
    private mutating func creditConnection() {
        // SAFETY: as in receive.
        let owed = unsafe inbox.pointee.uncredited
        guard owed > 0, failure == nil, unsafe inbox.pointee.held <= settings.heldBytes else { return }
        unsafe inbox.pointee.uncredited = 0
        isDry = false
        _ = unsafe nghttp2_session_consume_connection(session, owed)
    }

    /// A stream whose reader kept up with a whole window gets a larger one, as far as the connection has any to give.
    private mutating func widen(_ id: StreamID, _ stream: UnsafeMutablePointer<HTTP2Stream>, by credit: Int) {
        // SAFETY: a state found in the table is initialised.
        unsafe stream.pointee.sinceWidened += credit
        guard unsafe stream.pointee.sinceWidened >= stream.pointee.window else { return }
        unsafe stream.pointee.sinceWidened = 0
        let keptUp = unsafe !stream.pointee.hasLagged
        unsafe stream.pointee.hasLagged = false
        let wider = unsafe min(stream.pointee.window * 2, settings.largestStreamWindow)
        let growth = unsafe wider - stream.pointee.window
        guard keptUp, growth > 0, unsafe inbox.pointee.grown + growth <= settings.windowGrowth,
            unsafe !stream.pointee.flags.contains(.remoteEnded)
        else { return }
        unsafe stream.pointee.window = wider
        unsafe inbox.pointee.grown += growth
        _ = unsafe nghttp2_session_set_local_window_size(
            session, UInt8(NGHTTP2_FLAG_NONE.rawValue), id, Int32(clamping: wider))
    }

    /// A head has begun and is not complete: nothing else can come before it is.
    package var isInHead: Bool {
        // SAFETY: as in receive.
        unsafe inbox.pointee.headStream != 0
    }

    package var wantsInput: Bool {
        // SAFETY: as in receive.
        unsafe failure == nil && !isPeerGone && inbox.pointee.events.count < Self.eventLimit
    }

    // MARK: Sending

    /// True while a stream may be opened: below the peer's limit, no GOAWAY either way.
    package var canOpenStream: Bool {
        guard role == .client, failure == nil, !isDraining, !isPeerGone, lastStream < Self.lastUsableStream else {
            return false
        }
        // SAFETY: as in receive.
        if unsafe inbox.pointee.sawGoAway { return false }
        // Readers that lag behind hold this connection back: what is new goes over another one.
        if unsafe inbox.pointee.held > settings.heldBytes / 2 { return false }
        return unsafe inbox.pointee.active < peerStreamLimit
    }

    private var peerStreamLimit: Int {
        // SAFETY: as in receive.
        guard unsafe inbox.pointee.sawSettings else { return Self.streamsBeforeSettings }
        return unsafe Int(nghttp2_session_get_remote_settings(session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS))
    }

    /// A peer that has not sent SETTINGS yet is taken for one of ours.
    private var takesUpgrade: Bool {
        // SAFETY: as in receive.
        guard unsafe inbox.pointee.sawSettings else { return true }
        return unsafe nghttp2_session_get_remote_settings(session, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1
    }

    package mutating func openStream(
        _ head: borrowing HeaderBlock, endStream: Bool
    ) throws(HTTPFailure) -> StreamID {
        guard canOpenStream else { throw HTTPFailure(.notReady, status: 0) }
        let isUpgrade = head.contains(.protocol)
        if isUpgrade, !takesUpgrade { throw HTTPFailure(.unsupportedMethod, status: 501) }
        isDry = false
        // SAFETY: the state (and its head) outlives the frame: it is freed after the library closed the stream.
        let expected = StreamID(truncatingIfNeeded: unsafe nghttp2_session_get_next_stream_id(session))
        let stream = unsafe inbox.pointee.streams.insert(expected)
        unsafe stream.pointee.head.assign(from: head)
        unsafe stream.pointee.flags =
            endStream ? [.announced, .sendEnded, .headSubmitted] : [.announced, .headSubmitted]
        if isUpgrade {
            unsafe stream.pointee.flags.insert(.upgrade)
            unsafe stream.pointee.head.replace(.method, "CONNECT")
        }
        var id: Int32 = -1
        unsafe HTTP2Fields.withFields(of: stream.pointee.head) { fields, count in
            var provider = unsafe nghttp2_data_provider()
            unsafe provider.read_callback = HTTP2Callbacks.source
            id =
                endStream
                ? unsafe nghttp2_submit_request(session, nil, fields, count, nil, nil)
                : unsafe nghttp2_submit_request(session, nil, fields, count, &provider, nil)
        }
        guard id == expected else {
            unsafe inbox.pointee.streams.remove(expected)
            throw fail(HTTPFailure(.exhausted, status: 0, code: HTTP2Code.internalError))
        }
        unsafe inbox.pointee.active += 1
        lastStream = id
        return id
    }

    package mutating func sendHead(
        _ id: StreamID, _ head: borrowing HeaderBlock, _ kind: HeadKind, endStream: Bool
    ) {
        guard failure == nil, let stream = unsafe inbox.pointee.streams.find(id) else { return }
        // SAFETY: as in openStream; interim heads are copied by the library, for another head follows them.
        guard unsafe stream.pointee.flags.isDisjoint(with: [.closed, .abandoned, .headSubmitted]) else { return }
        isDry = false
        if kind == .interim {
            unsafe HTTP2Fields.withFields(of: head, copying: true) { fields, count in
                _ = unsafe nghttp2_submit_headers(
                    session, UInt8(NGHTTP2_FLAG_NONE.rawValue), id, nil, fields, count, nil)
            }
            return
        }
        unsafe stream.pointee.head.assign(from: head)
        unsafe stream.pointee.flags.insert(.headSubmitted)
        if unsafe stream.pointee.flags.contains(.upgrade), head.says(.status, "101") {
            unsafe stream.pointee.head.replace(.status, "200")
        }
        if endStream { unsafe stream.pointee.flags.insert(.sendEnded) }
        unsafe HTTP2Fields.withFields(of: stream.pointee.head) { fields, count in
            var provider = unsafe nghttp2_data_provider()
            unsafe provider.read_callback = HTTP2Callbacks.source
            _ =
                endStream
                ? unsafe nghttp2_submit_response(session, id, fields, count, nil)
                : unsafe nghttp2_submit_response(session, id, fields, count, &provider)
        }
    }

    /// Queues body bytes (copied). The queue has no limit of its own: its filler watches `queued`.
    package mutating func sendData(_ id: StreamID, _ bytes: Span<UInt8>, endStream: Bool) {
        guard failure == nil, let stream = unsafe inbox.pointee.streams.find(id) else { return }
        // SAFETY: a state found in the table is initialised.
        guard unsafe stream.pointee.flags.isDisjoint(with: [.closed, .abandoned, .sendEnded]) else { return }
        unsafe stream.pointee.queue.append(bytes)
        if endStream { unsafe stream.pointee.flags.insert(.sendEnded) }
        if unsafe stream.pointee.queue.count > inbox.pointee.limits.sendLowWater {
            unsafe stream.pointee.flags.insert(.aboveLow)
            unsafe stream.pointee.wasLarge = true
        }
        unsafe resume(id, stream)
    }

    package mutating func sendTrailers(_ id: StreamID, _ block: borrowing HeaderBlock) {
        guard failure == nil, let stream = unsafe inbox.pointee.streams.find(id) else { return }
        // SAFETY: as in openStream.
        guard unsafe stream.pointee.flags.isDisjoint(with: [.closed, .abandoned, .sendEnded]) else { return }
        unsafe stream.pointee.trailers.assign(from: block)
        HTTP2Rules.cleanTrailers(&(unsafe stream).pointee.trailers)
        let isEmpty = unsafe stream.pointee.trailers.isEmpty
        unsafe stream.pointee.flags.formUnion(isEmpty ? .sendEnded : [.sendEnded, .hasTrailers])
        unsafe resume(id, stream)
    }

    private mutating func resume(_ id: StreamID, _ stream: UnsafeMutablePointer<HTTP2Stream>) {
        isDry = false
        // SAFETY: a state found in the table is initialised.
        guard unsafe stream.pointee.flags.contains(.deferred) else { return }
        unsafe stream.pointee.flags.remove(.deferred)
        _ = unsafe nghttp2_session_resume_data(session, id)
    }

    /// Ends the stream at once; no event follows. Also says that its body is of no more interest.
    package mutating func reset(_ id: StreamID, code: UInt32) {
        guard failure == nil, let stream = unsafe inbox.pointee.streams.find(id) else { return }
        isDry = false
        // SAFETY: a state found in the table is initialised.
        unsafe inbox.pointee.drop(stream)
        creditConnection()
        let flags = unsafe stream.pointee.flags
        guard !flags.contains(.closed) else {
            if !flags.contains(.closing), unsafe !inbox.pointee.isDead { unsafe inbox.pointee.streams.remove(id) }
            return
        }
        guard !flags.contains(.abandoned) else { return }
        unsafe stream.pointee.flags.insert(.abandoned)
        _ = unsafe nghttp2_submit_rst_stream(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), id, code)
    }

    /// Body bytes queued and not yet produced.
    package func queued(_ id: StreamID) -> Int {
        guard let stream = unsafe inbox.pointee.streams.find(id) else { return 0 }
        // SAFETY: a state found in the table is initialised.
        return unsafe stream.pointee.queue.count
    }

    /// Appends wire bytes until `output` holds `limit` bytes (one frame more at most) or nothing is left.
    package mutating func produce(into output: inout OutputBuffer, upTo limit: Int) throws(HTTPFailure) {
        closeWhenDrained()
        // SAFETY: the inbox lives as long as self; the output lies in it while the library may call back.
        unsafe swap(&inbox.pointee.output, &output)
        unsafe inbox.pointee.outputLimit = limit
        let result = write(limit)
        unsafe swap(&inbox.pointee.output, &output)
        if result < 0 { throw fail(HTTP2Session.failure(of: result)) }
        try settle()
    }

    private mutating func write(_ limit: Int) -> Int {
        // SAFETY: as in produce; the bytes that the library lends are copied before the next call.
        while unsafe inbox.pointee.output.count < limit {
            unsafe inbox.pointee.isBlocked = false
            var data: UnsafePointer<UInt8>?
            let count = unsafe nghttp2_session_mem_send(session, &data)
            if count < 0 { return count }
            if count == 0 {
                if unsafe inbox.pointee.isBlocked { return 0 }
                if submitResets() { continue }
                isDry = true
                return 0
            }
            unsafe inbox.pointee.output.append(
                Span(_unsafeElements: UnsafeBufferPointer(start: data, count: count)))
        }
        return 0
    }

    package var hasOutput: Bool {
        // SAFETY: as in receive.
        if isPeerGone || isDry { return false }
        return unsafe !inbox.pointee.resets.isEmpty || nghttp2_session_want_write(session) != 0
    }

    // MARK: Ending

    /// Graceful, first step. Server: GOAWAY with the highest id, so that requests in flight still count; `shutdown`
    /// follows after a round trip. Client: opens no more streams and says GOAWAY when the last one ends.
    package mutating func goAway() {
        guard !isDraining, failure == nil else { return }
        isDraining = true
        isDry = false
        // SAFETY: as in receive.
        if role == .server { _ = unsafe nghttp2_submit_shutdown_notice(session) }
    }

    /// Graceful, second step: GOAWAY with the last id taken; streams already open end in their own time.
    package mutating func shutdown(code: UInt32) {
        guard !saidGoAway, failure == nil else { return }
        isDraining = true
        saidGoAway = true
        isDry = false
        // SAFETY: as in receive.
        unsafe inbox.pointee.isEnding = true
        let last = unsafe nghttp2_session_get_last_proc_stream_id(session)
        _ = unsafe nghttp2_submit_goaway(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), last, code, nil, 0)
    }

    /// The peer was too slow or too silent for its owner: GOAWAY, then close.
    package mutating func timeOut() { _ = fail(HTTPFailure(.timeout, status: 408, code: HTTP2Code.none)) }

    package mutating func ping(_ payload: UInt64) {
        guard failure == nil else { return }
        isDry = false
        var bytes = payload.bigEndian
        // SAFETY: the library copies 8 bytes.
        unsafe inbox.pointee.pingsSent += 1
        unsafe withUnsafeBytes(of: &bytes) { raw in
            _ = unsafe nghttp2_submit_ping(
                session, UInt8(NGHTTP2_FLAG_NONE.rawValue), raw.baseAddress?.assumingMemoryBound(to: UInt8.self))
        }
    }

    /// Time went by: floods are judged by rate. Optional; a long-lived connection without it ends after 2,000 pings.
    package mutating func pass(seconds: Int) {
        // SAFETY: as in receive.
        unsafe inbox.pointee.glitches.pass(seconds: seconds)
    }

    /// Gives back what an idle connection does not need.
    package mutating func shrink() {
        // SAFETY: as in receive; nothing is freed while events wait that refer to it.
        guard unsafe inbox.pointee.events.isEmpty else { return }
        unsafe inbox.pointee.slab.removeAll()
        unsafe inbox.pointee.slab.shrink()
        unsafe inbox.pointee.heads.shrink()
        unsafe inbox.pointee.streams.shrink()
    }

    /// The conversation is over once the output is flushed.
    package var shouldClose: Bool {
        if failure != nil || isPeerGone { return true }
        // SAFETY: as in receive.
        return unsafe nghttp2_session_want_read(session) == 0 && nghttp2_session_want_write(session) == 0
    }

    /// Streams open and not closed, either side's.
    package var activeStreams: Int {
        // SAFETY: as in receive.
        unsafe inbox.pointee.active
    }

    private mutating func closeWhenDrained() {
        // SAFETY: as in receive.
        if isDraining, role == .client, unsafe inbox.pointee.active == 0 { shutdown(code: HTTP2Code.none) }
    }

    /// What callbacks left to do: resets, and the judgement on floods and on errors that the library answered itself.
    private mutating func settle() throws(HTTPFailure) {
        guard failure == nil else { return }
        creditConnection()
        if submitResets() { isDry = false }
        // SAFETY: as in receive.
        if unsafe inbox.pointee.glitches.exceeded != nil {
            throw fail(HTTPFailure(.flood, status: 0, code: HTTP2Code.enhanceYourCalm))
        }
        if let code = unsafe inbox.pointee.fatalCode {
            throw fail(HTTPFailure(.protocolError, status: 0, code: code))
        }
        if unsafe inbox.pointee.isExhausted, !saidGoAway { shutdown(code: HTTP2Code.none) }
    }

    /// The glitch whose flood ended the connection; nil while none did.
    package var flood: HTTP2Glitch? {
        // SAFETY: as in receive.
        unsafe inbox.pointee.glitches.exceeded
    }

    /// The glitches since the last time.
    package mutating func takeGlitches() -> [(kind: HTTP2Glitch, count: Int)] {
        // SAFETY: as in receive.
        unsafe inbox.pointee.glitches.take()
    }

    private mutating func submitResets() -> Bool {
        // SAFETY: as in receive.
        guard unsafe !inbox.pointee.resets.isEmpty else { return false }
        for reset in unsafe inbox.pointee.resets {
            _ = unsafe nghttp2_submit_rst_stream(
                session, UInt8(NGHTTP2_FLAG_NONE.rawValue), reset.stream, reset.code)
        }
        unsafe inbox.pointee.resets.removeAll(keepingCapacity: true)
        return true
    }

    private mutating func fail(_ reason: HTTPFailure) -> HTTPFailure {
        guard failure == nil else { return reason }
        failure = reason
        isDry = false
        // SAFETY: as in receive. A GOAWAY that the library sent already stays the only one.
        unsafe inbox.pointee.isEnding = true
        if unsafe inbox.pointee.fatalCode == nil { _ = unsafe nghttp2_session_terminate_session(session, reason.code) }
        unsafe inbox.pointee.closeAll()
        return reason
    }

    private static func failure(of result: Int) -> HTTPFailure {
        switch nghttp2_error(Int32(clamping: result)) {
        case NGHTTP2_ERR_FLOODED, NGHTTP2_ERR_TOO_MANY_SETTINGS, NGHTTP2_ERR_TOO_MANY_CONTINUATIONS:
            HTTPFailure(.flood, status: 0, code: HTTP2Code.enhanceYourCalm)
        case NGHTTP2_ERR_BAD_CLIENT_MAGIC:
            HTTPFailure(.malformed, status: 0, code: HTTP2Code.protocolError)
        case NGHTTP2_ERR_NOMEM:
            HTTPFailure(.exhausted, status: 0, code: HTTP2Code.internalError)
        default:
            HTTPFailure(.protocolError, status: 0, code: HTTP2Code.protocolError)
        }
    }
}
