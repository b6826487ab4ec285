internal import Containers

/// Heads that came in: decoded, judged, and made events.
extension HTTP2Session {
    /// Before a head is read: whether its stream may have one at all.
    func admitHead(_ id: StreamID) throws(HTTPFailure) {
        guard id & 1 == 1, role == .server || !isIdle(id) else { throw Self.broken(HTTP2Code.protocolError) }
    }

    /// A whole header block. It is decoded whatever becomes of its stream, for the tables of both sides must stay the same.
    mutating func takeBlock(
        _ id: StreamID, _ bytes: Span<UInt8>, endsStream: Bool, isMalformed: Bool
    ) throws(HTTPFailure) {
        let isNew = role == .server && id > lastSeenStream
        let place = placeForHead(id)
        heads.begin()
        let outcome: HPACKDecoder.Outcome
        do {
            // For nobody: nothing is kept of it.
            outcome = try decoder.decode(
                bytes, into: &heads.building, countLimit: place == nil ? 0 : limits.headCount,
                byteLimit: limits.headBytes)
        } catch {
            throw Self.broken(HTTP2Code.compression)
        }
        guard let place else {
            // A client gets many answers to calls that were cancelled meanwhile.
            if role == .server, !isNew { glitches.spend(.heads) }
            return
        }
        if streams[place].flags.contains(.remoteEnded) { return violate(place, code: HTTP2Code.streamClosed) }
        if endsStream { streams[place].flags.insert(.remoteEnded) }
        if isMalformed || outcome.isMalformed { return violate(place) }
        if outcome.isOversized { glitches.spend(.heads) } else { glitches.earnHead() }
        let isTrailers = streams[place].flags.contains(role == .server ? .announced : .finalHead)
        if isTrailers {
            takeTrailers(place, isOversized: outcome.isOversized, endsStream: endsStream)
        } else if role == .server {
            takeRequest(place, isOversized: outcome.isOversized, endsStream: endsStream)
        } else {
            takeResponse(place, isOversized: outcome.isOversized, endsStream: endsStream)
        }
    }

    /// The stream that a head belongs to, opened if it is new; nil when it is over, refused, or came behind our GOAWAY.
    private mutating func placeForHead(_ id: StreamID) -> Int? {
        if let place = streams.find(id) { return streams[place].flags.contains(.closed) ? nil : place }
        guard role == .server, id > lastSeenStream else { return nil }
        lastSeenStream = id
        guard !saidGoAway else { return nil }
        lastPeerStream = id
        guard active < settings.maxConcurrentStreams else {
            writeReset(id, HTTP2Code.refusedStream)
            return nil
        }
        if id > Self.lastUsableStream { isExhausted = true }
        active += 1
        return streams.insert(id, receivable: settings.streamWindow, sendable: peerWindow)
    }

    private mutating func takeRequest(_ place: Int, isOversized: Bool, endsStream: Bool) {
        let id = streams[place].id
        if isOversized { return refuse(place, status: 431) }
        guard HTTP2Rules.isWellFormed(heads.building, .request, allowsProtocol: limits.allowsUpgrade) else {
            return violate(place)
        }
        switch HTTP2Rules.judgeRequest(&heads.building, limits, &knownAuthority) {
        case .accept:
            if heads.building.contains(.protocol) {
                // Nothing to say in the protocol that it asks for.
                guard !endsStream else { return violate(place) }
                streams[place].flags.insert(.upgrade)
            } else {
                guard let length = HTTP2Rules.contentLength(heads.building), !endsStream || length <= 0 else {
                    return violate(place)
                }
                streams[place].expected = length
            }
            streams[place].flags.insert(.announced)
            heads.commit()
            events.append(.head(id, .request, endStream: endsStream))
        case .answer(let status):
            refuse(place, status: status)
        case .malformed:
            violate(place)
        }
    }

    /// The request gets an answer of our owner's, and its body is read over.
    private mutating func refuse(_ place: Int, status: Int) {
        streams[place].flags.formUnion([.announced, .discardsBody])
        heads.commit()
        events.append(.violation(streams[place].id, status: status))
    }

    private mutating func takeResponse(_ place: Int, isOversized: Bool, endsStream: Bool) {
        let id = streams[place].id
        let isUpgrade = streams[place].flags.contains(.upgrade)
        guard !isOversized, HTTP2Rules.isWellFormed(heads.building, .response, allowsProtocol: false),
            let kind = HTTP2Rules.judgeResponse(&heads.building, isUpgrade: isUpgrade)
        else { return violate(place) }
        if kind == .interim {
            streams[place].interim += 1
            guard streams[place].interim <= limits.interimResponses, !endsStream,
                !heads.building.contains(.contentLength)
            else { return violate(place) }
        } else {
            guard
                let length = HTTP2Rules.bodyLength(
                    &heads.building, asksNoBody: streams[place].flags.contains(.asksNoBody)),
                !endsStream || length <= 0
            else { return violate(place) }
            streams[place].expected = length
            streams[place].flags.insert(.finalHead)
        }
        heads.commit()
        events.append(.head(id, kind, endStream: endsStream))
        if endsStream { closeIfEnded(place) }
    }

    private mutating func takeTrailers(_ place: Int, isOversized: Bool, endsStream: Bool) {
        let id = streams[place].id
        let isRead = !streams[place].flags.contains(.discardsBody)
        guard !isOversized, endsStream, heads.building.byteCount <= limits.trailerBytes,
            HTTP2Rules.isWellFormed(heads.building, .trailers, allowsProtocol: false),
            !isRead || streams[place].expected <= 0
        else { return violate(place) }
        if isRead {
            HTTP2Rules.cleanTrailers(&heads.building)
            if heads.building.isEmpty {
                glitches.spend(.heads)
                events.append(.endStream(id))
            } else {
                heads.commit()
                events.append(.trailers(id))
            }
        }
        closeIfEnded(place)
    }
}
