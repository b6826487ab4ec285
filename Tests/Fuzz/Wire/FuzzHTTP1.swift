internal import Containers
internal import Wire

/// Everything that a session said about some input: two ways of cutting the same bytes must say the same.
private struct Transcript: Equatable {
    var events: [HTTPEvent] = []
    var bytes: [UInt8] = []
    var failure: HTTPFailure?
}

/// Reads every event, checks what must always hold, and keeps what does not depend on the cuts.
private func read(_ session: inout HTTPSession, _ transcript: inout Transcript) {
    while let event = session.nextEvent() {
        switch event {
        case .data(let stream, let offset, let count):
            precondition(count > 0)
            append(session.bytes(offset, count), to: &transcript.bytes)
            session.consume(stream, count)
            continue
        case .head(let stream, _, _), .trailers(let stream), .violation(let stream, _):
            let block = session.takeHead(stream)
            check(block, &transcript.bytes)
            session.recycle(block)
        case .endStream, .closed, .writable, .goAway, .settings, .pong: break
        }
        transcript.events.append(event)
    }
}

private func append(_ span: Span<UInt8>, to bytes: inout [UInt8]) {
    for index in 0..<span.count { bytes.append(span[index]) }
}

/// No control byte in a value, no connection field, no Host: what a head may hold.
private func check(_ block: borrowing HeaderBlock, _ bytes: inout [UInt8]) {
    for index in 0..<block.count {
        if !isClean(block.value(at: index)) { preconditionFailure("a control byte") }
        append(block.nameBytes(at: index), to: &bytes)
        append(block.value(at: index), to: &bytes)
        let name = block.name(at: index)
        precondition(!name.isHopByHop && name != .host)
    }
}

private func isClean(_ value: Span<UInt8>) -> Bool {
    for index in 0..<value.count where !value[index].isFieldContent { return false }
    return true
}

private func run(_ session: inout HTTPSession, _ bytes: Span<UInt8>, pieces: Int, answers: Bool) -> Transcript {
    var transcript = Transcript()
    var output = ByteBuffer()
    var answered = 0
    var start = 0
    while start < bytes.count, !session.shouldClose {
        let end = min(bytes.count, start + pieces)
        do { try session.receive(bytes.extracting(start..<end)) } catch {}
        start = end
        read(&session, &transcript)
        while answers, session.activeStreams == 1, answered < 64, case .endStream? = transcript.events.last {
            answered += 1
            answer(&session, &output)
            read(&session, &transcript)
        }
    }
    transcript.failure = session.failure
    do { try session.receiveEnd() } catch {}
    output.removeAll()
    do { try session.produce(into: &output, upTo: 1_048_576) } catch {}
    read(&session, &transcript)
    return transcript
}

private func answer(_ session: inout HTTPSession, _ output: inout ByteBuffer) {
    var head = HeaderBlock()
    head.append(.status, "200")
    for stream in stride(from: StreamID(1), to: 200, by: 2) {
        session.sendHead(stream, head, .response, endStream: false)
        session.sendData(stream, [1, 2, 3].span, endStream: true)
    }
    output.removeAll()
    do { try session.produce(into: &output, upTo: 1_048_576) } catch {}
}

/// A server reads hostile requests: whole, byte by byte and in sevens, with the same result.
package func fuzzHTTP1Server(_ bytes: Span<UInt8>) {
    var limits = HTTPLimits()
    limits.allowsConnect = true
    var first: Transcript?
    for pieces in [Int.max / 2, 1, 7] {
        var session = HTTPSession.http1(role: .server, limits: limits)
        let transcript = run(&session, bytes, pieces: pieces, answers: false)
        if let first { precondition(first == transcript, "the cuts matter") }
        first = transcript
    }
    var answering = HTTPSession.http1(role: .server, limits: limits)
    _ = run(&answering, bytes, pieces: 4_096, answers: true)
}

/// A client reads hostile responses, to GET and to HEAD.
package func fuzzHTTP1Client(_ bytes: Span<UInt8>) {
    for method in ["GET", "HEAD"] as [StaticString] {
        var first: Transcript?
        for pieces in [Int.max / 2, 1, 7] {
            var session = HTTPSession.http1(role: .client)
            var head = HeaderBlock()
            head.append(.method, method)
            head.append(.scheme, "https")
            head.append(.authority, "shop.test")
            head.append(.path, "/")
            var output = ByteBuffer()
            do {
                _ = try session.openStream(head, endStream: true)
                try session.produce(into: &output, upTo: 65_536)
            } catch { preconditionFailure("our own request was refused") }
            let transcript = run(&session, bytes, pieces: pieces, answers: false)
            if let first { precondition(first == transcript, "the cuts matter") }
            first = transcript
        }
    }
}
