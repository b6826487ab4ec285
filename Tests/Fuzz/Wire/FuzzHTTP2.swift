internal import Containers
internal import Wire

/// Drives a session with hostile frames while the owner does all that an owner does: answers, resets, half consumes.
private func drive(_ session: inout HTTPSession, _ bytes: Span<UInt8>, from offset: Int, isServer: Bool) {
    var output = ByteBuffer()
    var start = offset
    var turn = 0
    while start < bytes.count, !session.shouldClose {
        let end = min(bytes.count, start + 97)
        do { try session.receive(bytes.extracting(start..<end)) } catch {}
        start = end
        while let event = session.nextEvent() {
            turn += 1
            switch event {
            case .data(let stream, let offset, let count):
                precondition(count > 0)
                _ = session.bytes(offset, count)
                session.consume(stream, turn % 3 == 0 ? count / 2 : count)
            case .head(let stream, _, let endStream):
                let block = session.takeHead(stream)
                check(block)
                if isServer { respond(&session, stream, block, turn, endStream) }
                session.recycle(block)
            case .violation(let stream, let status):
                var head = HeaderBlock()
                head.append(.status, number: status)
                session.sendHead(stream, head, .response, endStream: true)
            case .trailers(let stream):
                check(session.takeHead(stream))
            case .closed(let stream, _):
                if turn % 2 == 0 { session.reset(stream, code: HTTP2Code.cancel) }
                session.consume(stream, 1_000_000)
            case .endStream, .writable, .goAway, .settings, .pong: break
            }
        }
        output.removeAll()
        do { try session.produce(into: &output, upTo: 20_000) } catch {}
    }
    session.connectionLost()
    while session.nextEvent() != nil {}
    precondition(session.activeStreams == 0)
}

private func check(_ block: borrowing HeaderBlock) {
    for index in 0..<block.count {
        if !isClean(block.nameBytes(at: index), block.value(at: index)) { preconditionFailure("a malformed field") }
        let name = block.name(at: index)
        precondition(!name.isHopByHop && name != .host)
    }
}

private func isClean(_ name: Span<UInt8>, _ value: Span<UInt8>) -> Bool {
    for index in 0..<value.count where !value[index].isFieldContent { return false }
    for index in 0..<name.count where name[index] != name[index].lowercased { return false }
    return true
}

private func respond(
    _ session: inout HTTPSession, _ stream: StreamID, _ request: borrowing HeaderBlock, _ turn: Int, _ endStream: Bool
) {
    var head = HeaderBlock()
    head.append(.status, "200")
    switch turn % 5 {
    case 0:
        session.sendHead(stream, head, .response, endStream: true)
    case 1:
        session.sendHead(stream, head, .interim, endStream: false)
        session.sendHead(stream, head, .response, endStream: false)
        session.sendData(stream, [UInt8](repeating: 1, count: 5_000).span, endStream: true)
    case 2:
        session.sendHead(stream, request, .response, endStream: false)
        session.sendTrailers(stream, request)
    case 3:
        session.reset(stream, code: HTTP2Code.refusedStream)
    default:
        session.sendHead(stream, head, .response, endStream: false)
        session.sendData(stream, [UInt8](repeating: 1, count: 100_000).span, endStream: false)
    }
}

/// A server reads hostile frames behind a correct preface.
package func fuzzHTTP2Server(_ bytes: Span<UInt8>) {
    var session = HTTPSession.http2(role: .server)
    let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + [0, 0, 0, 4, 0, 0, 0, 0, 0]
    do { try session.receive(preface.span) } catch { preconditionFailure("the preface was refused") }
    drive(&session, bytes, from: 0, isServer: true)
    var bare = HTTPSession.http2(role: .server)
    drive(&bare, bytes, from: 0, isServer: true)
}

/// A client with four requests under way reads hostile frames.
package func fuzzHTTP2Client(_ bytes: Span<UInt8>) {
    var session = HTTPSession.http2(role: .client)
    var output = ByteBuffer()
    var head = HeaderBlock()
    head.append(.method, "POST")
    head.append(.scheme, "https")
    head.append(.authority, "shop.test")
    head.append(.path, "/")
    do {
        for round in 0..<4 {
            let stream = try session.openStream(head, endStream: round % 2 == 0)
            session.sendData(stream, [UInt8](repeating: 1, count: 70_000).span, endStream: true)
        }
        try session.produce(into: &output, upTo: 65_536)
    } catch { preconditionFailure("our own requests were refused") }
    drive(&session, bytes, from: 0, isServer: false)
}
