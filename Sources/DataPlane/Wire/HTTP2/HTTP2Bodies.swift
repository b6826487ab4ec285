internal import Containers

/// Bodies that come in, and the windows that let them.
extension HTTP2Session {
    /// The header of a DATA frame: what it takes of the windows is known before its bytes are there.
    mutating func beginBody(_ header: HTTP2FrameHeader) throws(HTTPFailure) {
        guard header.stream != 0, !isIdle(header.stream) else { throw Self.broken(HTTP2Code.protocolError) }
        receivable -= header.length
        guard receivable >= 0 else { throw Self.broken(HTTP2Code.flowControl) }
        uncredited += header.length
        if let place = streams.find(header.stream), !streams[place].flags.contains(.closed) {
            takeWindow(place, header.length)
        }
        let isPadded = header.has(HTTP2Flag.padded)
        guard header.length > 0 || !isPadded else { throw Self.broken(HTTP2Code.frameSize) }
        let body = HTTP2Reader.Body(
            stream: header.stream, endsStream: header.has(HTTP2Flag.endStream), wantsPadLength: isPadded,
            left: header.length)
        if header.length > 0 { reader.body = body } else { endBody(body) }
    }

    private mutating func takeWindow(_ place: Int, _ length: Int) {
        if streams[place].flags.contains(.remoteEnded) { return violate(place, code: HTTP2Code.streamClosed) }
        if role == .client, !streams[place].flags.contains(.finalHead) { return violate(place) }
        streams[place].receivable -= length
        // Until our SETTINGS are acknowledged, the peer may count from the first window of RFC 9113 6.9.2.
        let slack = isAcknowledged ? 0 : max(0, Self.firstWindow - settings.streamWindow)
        if streams[place].receivable + slack < 0 { violate(place, code: HTTP2Code.flowControl) }
    }

    /// Takes what there is of the DATA frame under way; the offset behind it.
    mutating func readBody(_ bytes: Span<UInt8>, _ start: Int) throws(HTTPFailure) -> Int {
        guard var body = reader.body else { return start }
        var offset = start
        if body.wantsPadLength {
            let padding = Int(bytes[offset])
            offset += 1
            body.left -= 1
            guard padding <= body.left else { throw Self.broken(HTTP2Code.protocolError) }
            body.left -= padding
            body.padding = padding
            body.wantsPadLength = false
            // Padding is no body: its window comes back at once.
            if let place = streams.find(body.stream) { credit(place, padding + 1) }
        }
        let count = min(body.left, bytes.count - offset)
        if count > 0 {
            body.isEmpty = false
            body.left -= count
            deliver(body.stream, bytes.extracting(offset..<offset + count))
            offset += count
        }
        if body.left == 0 {
            let padding = min(body.padding, bytes.count - offset)
            body.padding -= padding
            offset += padding
            if body.padding == 0 {
                reader.body = nil
                endBody(body)
                return offset
            }
        }
        reader.body = body
        return offset
    }

    private mutating func deliver(_ id: StreamID, _ bytes: Span<UInt8>) {
        let count = bytes.count
        guard let place = streams.find(id), !streams[place].flags.contains(.closed) else { return }
        if streams[place].flags.contains(.discardsBody) { return credit(place, count) }
        glitches.earnData(count)
        let expected = streams[place].expected
        if expected >= 0 {
            guard count <= expected else { return violate(place) }
            streams[place].expected = expected - count
        }
        let offset = slab.count
        slab.append(bytes)
        held += count
        streams[place].unconsumed += count
        events.appendData(id, offset: offset, count: count)
    }

    private mutating func endBody(_ body: HTTP2Reader.Body) {
        guard body.endsStream else {
            if body.isEmpty { glitches.spend(.emptyData) }
            return
        }
        guard let place = streams.find(body.stream), !streams[place].flags.contains(.closed) else { return }
        streams[place].flags.insert(.remoteEnded)
        if !streams[place].flags.contains(.discardsBody) {
            guard streams[place].expected <= 0 else { return violate(place) }
            events.append(.endStream(body.stream))
        }
        closeIfEnded(place)
    }

    // MARK: Windows

    /// Body bytes have been passed on (or dropped): the peer may send as many again.
    /// - Parameter lagged: the reader was slow to take them: its window does not grow.
    package mutating func consume(_ id: StreamID, _ count: Int, lagged: Bool = false) {
        guard count > 0, failure == nil, let place = streams.find(id) else { return }
        let taken = min(count, streams[place].unconsumed)
        guard taken > 0 else { return }
        streams[place].unconsumed -= taken
        held -= taken
        creditConnection()
        let flags = streams[place].flags
        if !flags.contains(.closed) {
            if lagged { streams[place].flags.insert(.hasLagged) }
            credit(place, taken)
            widen(place, by: taken)
        } else if streams[place].unconsumed == 0, !flags.contains(.closing) {
            streams.remove(id)
        }
    }

    /// Gives back a stream's window once half of it is owed.
    private mutating func credit(_ place: Int, _ count: Int) {
        streams[place].credit += count
        let credit = streams[place].credit
        guard credit >= streams[place].window / 2, streams[place].flags.isDisjoint(with: [.remoteEnded, .closed])
        else { return }
        streams[place].credit = 0
        streams[place].receivable += credit
        writeWindow(streams[place].id, credit)
    }

    /// Gives back what came to the connection's window, unless too much is held already.
    mutating func creditConnection() {
        guard uncredited >= max(settings.connectionWindow, Self.firstWindow) / 2, failure == nil,
            held <= settings.heldBytes
        else { return }
        receivable += uncredited
        writeWindow(0, uncredited)
        uncredited = 0
    }

    /// A stream whose reader kept up with a whole window gets a larger one, as far as the connection has any to give.
    private mutating func widen(_ place: Int, by count: Int) {
        streams[place].sinceWidened += count
        let window = streams[place].window
        guard streams[place].sinceWidened >= window else { return }
        streams[place].sinceWidened = 0
        let keptUp = !streams[place].flags.contains(.hasLagged)
        streams[place].flags.remove(.hasLagged)
        let growth = min(window * 2, settings.largestStreamWindow) - window
        guard keptUp, growth > 0, grown + growth <= settings.windowGrowth,
            !streams[place].flags.contains(.remoteEnded)
        else { return }
        grown += growth
        streams[place].window = window + growth
        let credit = streams[place].credit + growth
        streams[place].credit = 0
        streams[place].receivable += credit
        writeWindow(streams[place].id, credit)
    }
}
