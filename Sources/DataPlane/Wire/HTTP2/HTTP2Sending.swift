internal import Containers

/// What goes out: heads and control frames in the order in which they are given, bodies in turn.
extension HTTP2Session {
    /// What `control` may have held and keeps its memory, and above which interim heads are not worth sending.
    private static let usualControl = 262_144

    /// Sends a request. Its head is encoded here and now.
    package mutating func openStream(
        _ head: borrowing HeaderBlock, endStream: Bool
    ) throws(HTTPFailure) -> StreamID {
        guard canOpenStream else { throw HTTPFailure(.notReady, status: 0) }
        let isUpgrade = head.contains(.protocol)
        // A peer that has not sent SETTINGS yet is taken for one of ours.
        if isUpgrade, sawSettings, !peerTakesUpgrade { throw HTTPFailure(.unsupportedMethod, status: 501) }
        let id = lastStream == 0 ? 1 : lastStream + 2
        lastStream = id
        unsentHeads.append(HTTP2Mark(stream: id, place: produced + control.count + 1))
        let place = streams.insert(id, receivable: settings.streamWindow, sendable: peerWindow)
        var flags: HTTP2Stream.Flags = [.announced, .headSubmitted]
        if endStream { flags.insert(.sendEnded) }
        if isUpgrade { flags.insert(.upgrade) }
        if head.says(.method, "HEAD") { flags.insert(.asksNoBody) }
        streams[place].flags = flags
        active += 1
        if isUpgrade {
            writeHead(id, head, endStream: endStream, replacing: .method, with: "CONNECT")
        } else {
            writeHead(id, head, endStream: endStream)
        }
        return id
    }

    /// Sends a response head, any number of interim ones before the final one.
    package mutating func sendHead(
        _ id: StreamID, _ head: borrowing HeaderBlock, _ kind: HeadKind, endStream: Bool
    ) {
        guard failure == nil, let place = streams.find(id),
            streams[place].flags.isDisjoint(with: [.closed, .headSubmitted])
        else { return }
        if kind == .interim {
            // What nobody takes is not worth keeping: they are advice.
            if control.count <= Self.usualControl { writeHead(id, head, endStream: false) }
            return
        }
        streams[place].flags.insert(.headSubmitted)
        if endStream { streams[place].flags.insert(.sendEnded) }
        if streams[place].flags.contains(.upgrade), head.says(.status, "101") {
            writeHead(id, head, endStream: endStream, replacing: .status, with: "200")
        } else {
            writeHead(id, head, endStream: endStream)
        }
    }

    /// Queues body bytes (copied). The queue has no limit of its own: its filler watches `queued`.
    package mutating func sendData(_ id: StreamID, _ bytes: Span<UInt8>, endStream: Bool) {
        guard failure == nil, let place = streams.find(id),
            streams[place].flags.isDisjoint(with: [.closed, .sendEnded])
        else { return }
        streams[place].queue.append(bytes)
        if endStream { streams[place].flags.insert(.sendEnded) }
        let queued = streams[place].queue.count
        if queued > limits.sendLowWater { streams[place].flags.formUnion([.aboveLow, .wasLarge]) }
        if queued > 0 { return standInLine(place) }
        guard endStream else { return }
        writeEnd(id)
    }

    package mutating func sendTrailers(_ id: StreamID, _ block: borrowing HeaderBlock) {
        guard failure == nil, let place = streams.find(id),
            streams[place].flags.isDisjoint(with: [.closed, .sendEnded])
        else { return }
        streams[place].trailers.assign(from: block)
        HTTP2Rules.cleanTrailers(&streams[place].trailers)
        let isEmpty = streams[place].trailers.isEmpty
        streams[place].flags.formUnion(isEmpty ? .sendEnded : [.sendEnded, .hasTrailers])
        guard streams[place].queue.isEmpty else { return }
        if isEmpty { writeEnd(id) } else { writeTrailers(place) }
    }

    /// Ends the stream at once: no event follows but those that wait to be read. Also says that its body is of no more interest.
    package mutating func reset(_ id: StreamID, code: UInt32) {
        guard failure == nil, let place = streams.find(id) else { return }
        drop(place)
        creditConnection()
        let flags = streams[place].flags
        guard !flags.contains(.closed) else {
            if !flags.contains(.closing) { streams.remove(id) }
            return
        }
        streams[place].flags.insert(.abandoned)
        appendReset(id, code)
        close(place, code)
    }

    package mutating func ping(_ payload: UInt64) {
        guard failure == nil else { return }
        pingsSent += 1
        control.appendFrame(HTTP2FrameType.ping, stream: 0, length: 8)
        control.append(word: payload.bigEndian)
    }

    // MARK: Frames

    /// A head in one HEADERS frame, or in as many CONTINUATIONs behind it as its size asks for.
    private mutating func writeHead(
        _ id: StreamID, _ block: borrowing HeaderBlock, endStream: Bool, replacing replaced: HeaderName = .other,
        with value: StaticString = ""
    ) {
        let start = control.count
        let flags = endStream ? HTTP2Flag.endStream : 0
        control.appendFrame(HTTP2FrameType.headers, flags: flags | HTTP2Flag.endHeaders, stream: id, length: 0)
        encoder.encode(block, replacing: replaced, with: value, into: &control)
        let length = control.count - start - HTTP2FrameHeader.size
        if length <= HTTP2FrameHeader.largest {
            control.replace(at: start + 1, UInt8(truncatingIfNeeded: length >> 8))
            control.replace(at: start + 2, UInt8(truncatingIfNeeded: length))
        } else {
            splitHead(id, from: start, flags)
        }
        if endStream { endings.append(HTTP2Mark(stream: id, place: produced + control.count)) }
    }

    /// DATA without bytes that ends the stream.
    private mutating func writeEnd(_ id: StreamID) {
        control.appendFrame(HTTP2FrameType.data, flags: HTTP2Flag.endStream, stream: id, length: 0)
        endings.append(HTTP2Mark(stream: id, place: produced + control.count))
    }

    private mutating func splitHead(_ id: StreamID, from start: Int, _ flags: UInt8) {
        var whole = ByteBuffer()
        whole.append(control.bytes.extracting(start + HTTP2FrameHeader.size..<control.count))
        control.truncate(to: start)
        var type = HTTP2FrameType.headers
        var flags = flags
        while !whole.isEmpty {
            let count = min(whole.count, HTTP2FrameHeader.largest)
            if count == whole.count { flags |= HTTP2Flag.endHeaders }
            control.appendFrame(type, flags: flags, stream: id, length: count)
            control.append(whole.bytes.extracting(first: count))
            whole.consume(count)
            type = HTTP2FrameType.continuation
            flags = 0
        }
    }

    private mutating func writeTrailers(_ place: Int) {
        let id = streams[place].id
        // Out of the table while it is read: writing a head needs all of the session.
        var trailers = HeaderBlock()
        swap(&trailers, &streams[place].trailers)
        writeHead(id, trailers, endStream: true)
        trailers.removeAll()
        swap(&trailers, &streams[place].trailers)
    }

    mutating func writeWindow(_ id: StreamID, _ increment: Int) {
        control.appendFrame(HTTP2FrameType.windowUpdate, stream: id, length: 4)
        control.append(big: UInt32(clamping: increment))
    }

    /// RST_STREAM that the peer's mistakes make us send.
    mutating func writeReset(_ id: StreamID, _ code: UInt32) {
        if code != HTTP2Code.none, code != HTTP2Code.cancel { glitches.spend(.resets) }
        appendReset(id, code)
        owed += HTTP2FrameHeader.size + 4
    }

    private mutating func appendReset(_ id: StreamID, _ code: UInt32) {
        control.appendFrame(HTTP2FrameType.reset, stream: id, length: 4)
        control.append(big: code)
    }

    mutating func writeGoAway(last: StreamID, _ code: UInt32) {
        control.appendFrame(HTTP2FrameType.goAway, stream: 0, length: 8)
        control.append(big: UInt32(bitPattern: last))
        control.append(big: code)
    }

    // MARK: Output

    /// Appends wire bytes until `output` holds `limit` bytes (one frame more at most) or nothing is left.
    package mutating func produce(into output: inout OutputBuffer, upTo limit: Int) throws(HTTPFailure) {
        closeWhenDrained()
        while output.count < limit {
            if !control.isEmpty {
                produceControl(&output, limit - output.count)
            } else if let place = nextInLine() {
                writeData(place, &output)
            } else {
                break
            }
        }
        leftover = control.count
        try settle()
    }

    private mutating func produceControl(_ output: inout OutputBuffer, _ room: Int) {
        if control.count > Self.usualControl { wasLarge = true }
        let count = min(control.count, room)
        output.append(control.bytes.extracting(first: count))
        control.consume(count)
        produced += count
        if control.isEmpty {
            owed = 0
            if wasLarge { control.shrink() }
            wasLarge = false
        }
        // Of these the socket may have a byte: from now on nothing says that they were not processed.
        while let id = unsentHeads.pass(produced) { lastSentStream = id }
        while let id = endings.pass(produced) { didEnd(id) }
    }

    /// What has body bytes and a window for them waits for its turn, once.
    mutating func standInLine(_ place: Int) {
        guard !streams[place].flags.contains(.inLine), streams[place].sendable > 0, !streams[place].queue.isEmpty
        else { return }
        streams[place].flags.insert(.inLine)
        line.append(streams[place].id)
        // Streams that are over stand in it until their turn comes, which may be never.
        if line.count > streams.count * 2 + 64 { clearLine() }
    }

    private mutating func clearLine() {
        for _ in 0..<line.count {
            if let id = line.popFirst(), streams.find(id) != nil { line.append(id) }
        }
    }

    private mutating func nextInLine() -> Int? {
        guard failure == nil, sendable > 0 else { return nil }
        while let id = line.popFirst() {
            guard let place = streams.find(id) else { continue }
            streams[place].flags.remove(.inLine)
            if !streams[place].flags.contains(.closed), streams[place].sendable > 0, !streams[place].queue.isEmpty {
                return place
            }
        }
        return nil
    }

    /// One DATA frame of a stream that has bytes and windows for them.
    private mutating func writeData(_ place: Int, _ output: inout OutputBuffer) {
        let id = streams[place].id
        let queued = streams[place].queue.count
        let window = min(sendable, streams[place].sendable)
        let count = min(queued, min(window, min(HTTP2FrameHeader.largest, Self.roomInRecord(output.count))))
        let isAll = count == queued
        let flags = streams[place].flags
        let isLast = isAll && flags.contains(.sendEnded) && !flags.contains(.hasTrailers)
        output.appendFrame(HTTP2FrameType.data, flags: isLast ? HTTP2Flag.endStream : 0, stream: id, length: count)
        output.append(streams[place].queue.bytes.extracting(first: count))
        streams[place].queue.consume(count)
        streams[place].sendable -= count
        sendable -= count
        glitches.earnSent(count, isAll: isAll)
        if flags.contains(.aboveLow), queued - count <= limits.sendLowWater {
            streams[place].flags.remove(.aboveLow)
            events.append(.writable(id))
        }
        if isLast {
            didEnd(id)
        } else if isAll, flags.contains(.hasTrailers) {
            writeTrailers(place)
        } else {
            standInLine(place)
        }
    }

    /// Where the next frame should end, so that it fills the TLS record that it stands in and needs no other: the output is
    /// cut into records from its start. A record with hardly any room left is not worth a frame.
    private static func roomInRecord(_ written: Int) -> Int {
        let left = recordSize - written % recordSize - HTTP2FrameHeader.size
        return left >= recordSize / 8 ? left : left + recordSize
    }

    private static var recordSize: Int { 16_384 }

    /// A frame of ours with END_STREAM went out.
    private mutating func didEnd(_ id: StreamID) {
        guard let place = streams.find(id), !streams[place].flags.contains(.closed) else { return }
        streams[place].flags.insert(.localEnded)
        if streams[place].flags.contains(.remoteEnded) { return close(place, HTTP2Code.none) }
        guard role == .server else { return }
        // An answer that ends before its request: the rest of the request is not wanted (RFC 9113 8.1).
        writeReset(id, HTTP2Code.none)
        close(place, HTTP2Code.none)
    }
}
