internal import Containers

/// How streams and the connection end.
extension HTTP2Session {
    // MARK: Streams

    /// The peer broke the rules within one stream: it is reset, the connection goes on.
    mutating func violate(_ place: Int, code: UInt32 = HTTP2Code.protocolError) {
        streams[place].flags.insert(.violated)
        writeReset(streams[place].id, code)
        close(place, code)
    }

    mutating func closeIfEnded(_ place: Int) {
        if streams[place].flags.isSuperset(of: [.localEnded, .remoteEnded]) { close(place, HTTP2Code.none) }
    }

    /// The stream is over: its owner is told, and the state goes once that was read and the body consumed.
    mutating func close(_ place: Int, _ code: UInt32) {
        let flags = streams[place].flags
        guard !flags.contains(.closed) else { return }
        let id = streams[place].id
        active -= 1
        grown -= max(0, streams[place].window - settings.streamWindow)
        streams[place].flags.insert(.closed)
        guard flags.contains(.announced), !flags.contains(.abandoned) else {
            drop(place)
            streams.remove(id)
            return
        }
        let error = reason(id, flags, code)
        streams[place].flags.insert(.closing)
        events.append(.closed(id, error))
        if error == .none {
            // An answer that refuses the head is no work that earns anything.
            if !flags.contains(.discardsBody) { glitches.earnStream() }
        } else {
            drop(place)
        }
    }

    private func reason(_ id: StreamID, _ flags: HTTP2Stream.Flags, _ code: UInt32) -> HTTPStreamError {
        if flags.contains(.violated) { return .violation }
        if role == .client, id > lastSentStream { return .refused }
        if code == HTTP2Code.none {
            let ended: HTTP2Stream.Flags = role == .client ? .remoteEnded : .localEnded
            return flags.contains(ended) ? .none : .reset(code)
        }
        if role == .client, code == HTTP2Code.refusedStream { return .refused }
        return flags.contains(.peerReset) ? .reset(code) : .violation
    }

    /// Nobody will consume what is left of its body, nor send what is queued.
    mutating func drop(_ place: Int) {
        held -= streams[place].unconsumed
        streams[place].unconsumed = 0
        streams[place].queue.removeAll()
    }

    /// The owner read `closed`: the state goes, unless body bytes are still to be consumed.
    mutating func wasRead(closed id: StreamID) {
        guard let place = streams.find(id) else { return }
        streams[place].flags.remove(.closing)
        if streams[place].unconsumed == 0 { streams.remove(id) }
    }

    /// The connection is over: every announced stream that lives gets its `closed`.
    mutating func closeAll() {
        for id in streams.ids {
            guard let place = streams.find(id), !streams[place].flags.contains(.closed) else { continue }
            let flags = streams[place].flags
            guard flags.contains(.announced) else {
                streams.remove(id)
                continue
            }
            streams[place].flags.formUnion([.closed, .closing])
            drop(place)
            let isUnsent = role == .client && id > lastSentStream
            events.append(.closed(id, isUnsent ? .refused : .connection))
        }
        active = 0
        line.removeAll()
        endings.removeAll()
    }

    // MARK: The connection

    /// Graceful, first step. Server: GOAWAY with the highest id, so that requests in flight still count; `shutdown`
    /// follows after a round trip. Client: opens no more streams and says GOAWAY when the last one ends.
    package mutating func goAway() {
        guard !isDraining, failure == nil else { return }
        isDraining = true
        if role == .server { writeGoAway(last: .max, HTTP2Code.none) } else { closeWhenDrained() }
    }

    /// Graceful, second step: GOAWAY with the last id taken; streams already open end in their own time.
    package mutating func shutdown(code: UInt32) {
        guard !saidGoAway, failure == nil else { return }
        isDraining = true
        saidGoAway = true
        writeGoAway(last: lastPeerStream, code)
    }

    /// The peer was too slow or too silent for its owner: GOAWAY, then close.
    package mutating func timeOut() { _ = fail(HTTPFailure(.timeout, status: 408, code: HTTP2Code.none)) }

    mutating func closeWhenDrained() {
        if isDraining, role == .client, active == 0, !isPeerGone { shutdown(code: HTTP2Code.none) }
    }

    /// What is done once per piece of input or output: windows, and the judgement on floods.
    mutating func settle() throws(HTTPFailure) {
        guard failure == nil else { return }
        creditConnection()
        if glitches.exceeded != nil {
            throw fail(HTTPFailure(.flood, status: 0, code: HTTP2Code.enhanceYourCalm))
        }
        if isExhausted { shutdown(code: HTTP2Code.none) }
        closeWhenDrained()
    }

    mutating func fail(_ reason: HTTPFailure) -> HTTPFailure {
        guard failure == nil else { return reason }
        failure = reason
        // Requests of which no byte was produced are told to their owner as not sent: so they are not.
        if let unsent = unsentHeads.first { control.truncate(to: unsent.place - 1 - produced) }
        unsentHeads.removeAll()
        writeGoAway(last: lastPeerStream, reason.code)
        closeAll()
        return reason
    }
}
