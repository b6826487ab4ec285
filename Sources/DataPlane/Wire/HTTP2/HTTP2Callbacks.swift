internal import CNGHTTP2
internal import Containers

/// The functions that nghttp2 calls. Each finds the inbox by its user data and appends to it; none reaches the session.
enum HTTP2Callbacks {
    /// The table for a new session; the caller deletes it once the session exists.
    static func make() -> OpaquePointer? {
        var table: OpaquePointer?
        // SAFETY: nghttp2 fills the pointer or reports that it has no memory.
        guard unsafe nghttp2_session_callbacks_new(&table) == 0, let table = unsafe table else { return nil }
        unsafe receiving(table)
        unsafe sending(table)
        return unsafe table
    }

    private static func receiving(_ table: OpaquePointer) {
        // SAFETY (all below): user data is the inbox that the session allocated before and frees after the library's
        // session; frames and buffers are valid during the callback only and are copied.
        unsafe nghttp2_session_callbacks_set_on_begin_headers_callback(table) { _, frame, user in
            guard let frame = unsafe frame, let cell = unsafe user?.assumingMemoryBound(to: HTTP2Inbox.self) else {
                return 0
            }
            unsafe cell.pointee.beginHead(frame.pointee.hd.stream_id)
            return 0
        }
        unsafe nghttp2_session_callbacks_set_on_header_callback(table) {
            _, _, name, nameCount, value, valueCount, flags, user in
            guard let cell = unsafe user?.assumingMemoryBound(to: HTTP2Inbox.self) else { return 0 }
            let isSensitive = flags & UInt8(NGHTTP2_NV_FLAG_NO_INDEX.rawValue) != 0
            unsafe cell.pointee.field(
                Span(_unsafeElements: UnsafeBufferPointer(start: name, count: nameCount)),
                Span(_unsafeElements: UnsafeBufferPointer(start: value, count: valueCount)), sensitive: isSensitive)
            return 0
        }
        // Without this the library would drop a malformed field and accept the message.
        unsafe nghttp2_session_callbacks_set_on_invalid_header_callback(table) { _, _, _, _, _, _, _, _ in
            NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue
        }
        unsafe nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(table) { _, frame, _, user in
            guard let frame = unsafe frame, let cell = unsafe user?.assumingMemoryBound(to: HTTP2Inbox.self),
                let stream = unsafe cell.pointee.streams.find(frame.pointee.hd.stream_id)
            else { return 0 }
            unsafe stream.pointee.flags.insert(.violated)
            return 0
        }
        unsafe nghttp2_session_callbacks_set_on_data_chunk_recv_callback(table) { session, _, id, data, count, user in
            guard let cell = unsafe user?.assumingMemoryBound(to: HTTP2Inbox.self) else { return 0 }
            var isUnwanted = false
            unsafe lend(data, count) { isUnwanted = unsafe cell.pointee.body(id, $0) }
            if isUnwanted { _ = unsafe nghttp2_session_consume(session, id, count) }
            return 0
        }
        unsafe nghttp2_session_callbacks_set_on_stream_close_callback(table) { _, id, code, user in
            guard let cell = unsafe user?.assumingMemoryBound(to: HTTP2Inbox.self) else { return 0 }
            unsafe cell.pointee.close(id, code)
            return 0
        }
        unsafe nghttp2_session_callbacks_set_on_frame_recv_callback(table) { _, frame, user in
            guard let frame = unsafe frame, let cell = unsafe user?.assumingMemoryBound(to: HTTP2Inbox.self) else {
                return 0
            }
            unsafe received(&cell.pointee, frame)
            return 0
        }
    }

    private static func sending(_ table: OpaquePointer) {
        // SAFETY (all below): as for receiving.
        unsafe nghttp2_session_callbacks_set_send_data_callback(table) { _, frame, header, count, _, user in
            guard let frame = unsafe frame, let cell = unsafe user?.assumingMemoryBound(to: HTTP2Inbox.self) else {
                return NGHTTP2_ERR_CALLBACK_FAILURE.rawValue
            }
            var result = HTTP2Inbox.Written.gone
            unsafe lend(header, 9) { result = unsafe cell.pointee.write(frame.pointee.hd.stream_id, $0, count) }
            switch result {
            case .done: return 0
            case .full: return NGHTTP2_ERR_WOULDBLOCK.rawValue
            case .gone: return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue
            }
        }
        unsafe nghttp2_session_callbacks_set_on_frame_send_callback(table) { _, frame, user in
            guard let frame = unsafe frame, let cell = unsafe user?.assumingMemoryBound(to: HTTP2Inbox.self) else {
                return 0
            }
            unsafe sent(&cell.pointee, frame)
            return 0
        }
        unsafe nghttp2_session_callbacks_set_on_frame_not_send_callback(table) { _, frame, _, user in
            guard let frame = unsafe frame, let cell = unsafe user?.assumingMemoryBound(to: HTTP2Inbox.self) else {
                return 0
            }
            // A head that cannot be written (too large for the library) must not leave its stream hanging. Requests
            // are closed by the library itself.
            let header = unsafe frame.pointee.hd
            if nghttp2_frame_type(UInt32(header.type)) == NGHTTP2_HEADERS,
                unsafe frame.pointee.headers.cat != NGHTTP2_HCAT_REQUEST,
                let stream = unsafe cell.pointee.streams.find(header.stream_id),
                unsafe !stream.pointee.flags.contains(.closed)
            {
                unsafe cell.pointee.resets.append(.init(stream: header.stream_id, code: HTTP2Code.internalError))
            }
            return 0
        }
    }

    /// The data source of every stream: it says how many bytes follow, `send_data` writes them (no copy in between).
    static var source: nghttp2_data_source_read_callback {
        // SAFETY: user data is the inbox, as above; trailers stand in the stream's state until they are written.
        { session, id, _, room, flags, _, user in
            guard let flags = unsafe flags, let cell = unsafe user?.assumingMemoryBound(to: HTTP2Inbox.self) else {
                return Int(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue)
            }
            let count: Int
            switch unsafe cell.pointee.portion(id, room) {
            case .later:
                return Int(NGHTTP2_ERR_DEFERRED.rawValue)
            case .bytes(let portion):
                count = portion
            case .last(let portion):
                count = portion
                unsafe flags.pointee |= UInt32(NGHTTP2_DATA_FLAG_EOF.rawValue)
            case .beforeTrailers(let portion):
                count = portion
                unsafe flags.pointee |= UInt32(
                    NGHTTP2_DATA_FLAG_EOF.rawValue | NGHTTP2_DATA_FLAG_NO_END_STREAM.rawValue)
                if let stream = unsafe cell.pointee.streams.find(id) {
                    unsafe HTTP2Fields.withFields(of: stream.pointee.trailers) { fields, fieldCount in
                        _ = unsafe nghttp2_submit_trailer(session, id, fields, fieldCount)
                    }
                }
            }
            if count > 0 { unsafe flags.pointee |= UInt32(NGHTTP2_DATA_FLAG_NO_COPY.rawValue) }
            return count
        }
    }
}

/// A frame's bytes as a span; valid for the length of the callback.
private func lend(_ pointer: UnsafePointer<UInt8>?, _ count: Int, _ body: (Span<UInt8>) -> Void) {
    // SAFETY: nghttp2 gives the address and the length of its own buffer.
    body(unsafe Span(_unsafeElements: UnsafeBufferPointer(start: pointer, count: count)))
}

private func received(_ inbox: inout HTTP2Inbox, _ frame: UnsafePointer<nghttp2_frame>) {
    // SAFETY: the union's member is chosen by the frame's type.
    let header = unsafe frame.pointee.hd
    let isEnd = header.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0
    let isACK = header.flags & UInt8(NGHTTP2_FLAG_ACK.rawValue) != 0
    switch nghttp2_frame_type(UInt32(header.type)) {
    case NGHTTP2_HEADERS:
        inbox.endHead(header.stream_id, endStream: isEnd)
    case NGHTTP2_DATA:
        // Padding is no body (6.1); its length counts the byte that says it.
        let isEmpty = unsafe header.length <= frame.pointee.data.padlen
        if isEnd { inbox.endBody(header.stream_id) } else if isEmpty { inbox.glitches.spend(.emptyData) }
    case NGHTTP2_SETTINGS:
        if isACK { return }
        if inbox.sawSettings { return inbox.glitches.spend(.settings) }
        inbox.sawSettings = true
        inbox.events.append(.settings)
    case NGHTTP2_PING:
        guard isACK, inbox.pingsSent > 0 else { return inbox.glitches.spend(.pings) }
        inbox.pingsSent -= 1
        let payload = unsafe frame.pointee.ping.opaque_data
        let bytes = [
            payload.0, payload.1, payload.2, payload.3, payload.4, payload.5, payload.6, payload.7,
        ]
        inbox.events.append(.pong(bytes.reduce(0) { $0 << 8 | UInt64($1) }))
    case NGHTTP2_RST_STREAM:
        inbox.glitches.spend(.cancels)
        if let stream = unsafe inbox.streams.find(header.stream_id) {
            unsafe stream.pointee.flags.insert(.peerReset)
        }
    case NGHTTP2_GOAWAY:
        // Two are a graceful end.
        if inbox.sawGoAway { inbox.glitches.spend(.goAways) }
        inbox.sawGoAway = true
        unsafe inbox.events.append(
            .goAway(lastStream: frame.pointee.goaway.last_stream_id, code: frame.pointee.goaway.error_code))
    case NGHTTP2_WINDOW_UPDATE:
        if unsafe frame.pointee.window_update.window_size_increment < 1_024 { inbox.glitches.spend(.windowUpdates) }
    case NGHTTP2_PRIORITY:
        inbox.glitches.spend(.priorities)
    default:
        break
    }
}

private func sent(_ inbox: inout HTTP2Inbox, _ frame: UnsafePointer<nghttp2_frame>) {
    // SAFETY: the union's member is chosen by the frame's type.
    let header = unsafe frame.pointee.hd
    let isEnd = header.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0
    switch nghttp2_frame_type(UInt32(header.type)) {
    case NGHTTP2_HEADERS:
        if inbox.role == .client, let stream = unsafe inbox.streams.find(header.stream_id) {
            unsafe stream.pointee.flags.insert(.headSent)
        }
        if isEnd { inbox.didEnd(header.stream_id) }
    case NGHTTP2_DATA:
        if isEnd { inbox.didEnd(header.stream_id) }
    case NGHTTP2_RST_STREAM:
        let stream = unsafe inbox.streams.find(header.stream_id)
        let isOwn = unsafe stream.map { unsafe $0.pointee.flags.contains(.abandoned) } ?? false
        let code = unsafe frame.pointee.rst_stream.error_code
        if !isOwn, code != HTTP2Code.none, code != HTTP2Code.cancel { inbox.glitches.spend(.resets) }
    case NGHTTP2_GOAWAY:
        let code = unsafe frame.pointee.goaway.error_code
        if code != HTTP2Code.none, !inbox.isEnding { inbox.fatalCode = code }
    default:
        break
    }
}

/// Turns a block into nghttp2's fields: pseudo fields first, without the fields that HTTP/2 forbids.
enum HTTP2Fields {
    /// Names and values are referred to, not copied: the block must live until the frame is written.
    static func withFields(
        of block: borrowing HeaderBlock, copying: Bool = false,
        _ body: (UnsafeMutablePointer<nghttp2_nv>?, Int) -> Void
    ) {
        let flags = copying ? 0 : UInt8(NGHTTP2_NV_FLAG_NO_COPY_NAME.rawValue | NGHTTP2_NV_FLAG_NO_COPY_VALUE.rawValue)
        unsafe withUnsafeTemporaryAllocation(of: nghttp2_nv.self, capacity: max(block.count, 1)) { fields in
            var count = 0
            // SAFETY: each entry is put in once at the most, so `count` stays below the block's count; the addresses are those
            // of the block's slab and of static names, which live as the function's comment asks.
            unsafe block.lend { entries, bytes in
                for index in 0..<entries.count where unsafe entries[index].name.isPseudo {
                    unsafe fields[count] = field(entries[index], bytes, flags)
                    count &+= 1
                }
                for index in 0..<entries.count where unsafe isAllowed(entries[index], bytes) {
                    unsafe fields[count] = field(entries[index], bytes, flags)
                    count &+= 1
                }
            }
            unsafe body(fields.baseAddress, count)
        }
    }

    /// A field that is no pseudo field and may stand in HTTP/2.
    @inline(__always)
    private static func isAllowed(_ entry: HeaderBlock.Entry, _ bytes: UnsafePointer<UInt8>?) -> Bool {
        if entry.name.isOfNoFraming { return true }
        switch entry.name {
        case .other: return true
        case .host: return false
        case .te:
            // SAFETY: the entry's value lies in the block's bytes.
            guard let bytes = unsafe bytes else { return false }
            let value = unsafe Span(_unsafeStart: bytes + Int(entry.valueStart), count: Int(entry.valueCount))
            return value.equalsIgnoringCase("trailers")
        default: return !entry.name.isPseudo && !entry.name.isHopByHop
        }
    }

    @inline(__always)
    private static func field(
        _ entry: HeaderBlock.Entry, _ bytes: UnsafePointer<UInt8>?, _ copying: UInt8
    ) -> nghttp2_nv {
        let isUnindexed = entry.isSensitive || entry.name.isNewEachTime
        let flags = isUnindexed ? copying | UInt8(NGHTTP2_NV_FLAG_NO_INDEX.rawValue) : copying
        // SAFETY: see withFields; the library only reads.
        let own = unsafe bytes.map { unsafe $0 + Int(entry.nameStart) }
        let name = unsafe entry.name == .other ? own : entry.name.wireName.utf8Start
        let value = unsafe bytes.map { unsafe $0 + Int(entry.valueStart) }
        return unsafe nghttp2_nv(
            name: UnsafeMutablePointer(mutating: name), value: UnsafeMutablePointer(mutating: value),
            namelen: Int(entry.nameCount), valuelen: Int(entry.valueCount), flags: flags)
    }
}
