internal import Containers
internal import MeshModel
internal import Wire

/// Parts of a message, each inside a frame that is valid: the fuzzer's bytes all go where the target is about.
package func fuzzParts(_ codec: String, _ bytes: Span<UInt8>) -> Bool {
    switch codec {
    case "chunked": fuzzChunked(bytes)
    case "headers": fuzzHead(Array("GET /a HTTP/1.1\r\nhost: shop.test\r\n".utf8), bytes, Array("\r\n\r\n".utf8))
    case "target": fuzzHead(Array("OPTIONS ".utf8), bytes, Array(" HTTP/1.1\r\nhost: shop.test\r\n\r\n".utf8))
    case "server-name": fuzzServerName(bytes)
    default: return false
    }
    return true
}

// MARK: Bodies

/// A body that we take for complete is one for a plain reader of RFC 9112 7.1 too, with the same bytes.
private func fuzzChunked(_ bytes: Span<UInt8>) {
    var session = HTTPSession.http1(role: .server)
    let head = Array("POST / HTTP/1.1\r\nhost: shop.test\r\ntransfer-encoding: chunked\r\n\r\n".utf8)
    do { try session.receive(head.span) } catch { preconditionFailure("our own head was refused") }
    var body: [UInt8] = []
    var isEnded = false
    do { try session.receive(bytes) } catch {}
    while let event = session.nextEvent() {
        switch event {
        case .data(let stream, let offset, let count):
            body += copy(session.bytes(offset, count))
            session.consume(stream, count)
        case .endStream: isEnded = true
        case .trailers(let stream):
            isEnded = true
            session.recycle(session.takeHead(stream))
        case .head(let stream, _, _), .violation(let stream, _): session.recycle(session.takeHead(stream))
        case .closed, .writable, .goAway, .settings, .pong: break
        }
    }
    let plain = PlainChunks(copy(bytes))
    if isEnded {
        precondition(plain.isComplete && plain.body == body, "a plain reader reads another body")
    } else {
        precondition(plain.body.starts(with: body), "bytes that are not the body's")
    }
}

/// Reads as RFC 9112 7.1 has it, without limits and without a thought for hostile senders.
private struct PlainChunks {
    var body: [UInt8] = []
    var isComplete = false

    init(_ bytes: [UInt8]) {
        var rest = bytes[...]
        while let line = Self.line(&rest) {
            let digits = line.prefix { Character(UnicodeScalar($0)).isHexDigit }
            guard let size = Int(String(decoding: digits, as: UTF8.self), radix: 16) else { return }
            if size == 0 {
                while let trailer = Self.line(&rest) { if trailer.isEmpty { isComplete = true; return } }
                return
            }
            body += rest.prefix(size)
            guard rest.count >= size + 2 else { return }
            rest = rest.dropFirst(size)
            guard rest.starts(with: [13, 10]) else { return }
            rest = rest.dropFirst(2)
        }
    }

    private static func line(_ rest: inout ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
        var index = rest.startIndex
        while index + 1 < rest.endIndex {
            if rest[index] == 13, rest[index + 1] == 10 {
                let line = rest[..<index]
                rest = rest[(index + 2)...]
                return line
            }
            index += 1
        }
        return nil
    }
}

// MARK: Heads

/// What was read from a head, written again in either version, is read as the same: nobody behind us judges another.
private func fuzzHead(_ before: [UInt8], _ bytes: Span<UInt8>, _ after: [UInt8]) {
    var server = HTTPSession.http1(role: .server)
    let text = before + copy(bytes) + after
    do { try server.receive(text.span) } catch {}
    guard let event = server.nextEvent(), case .head(let stream, .request, _) = event else { return }
    var block = server.takeHead(stream)
    let first = fields(of: block)
    // As a proxy does: the scheme is that of its own leg, whatever an absolute target said.
    block.replace(.scheme, "https")
    for isHTTP2 in [false, true] {
        guard let again = carried(block, isHTTP2: isHTTP2) else { continue }
        precondition(again == first, "another head, HTTP/2: \(isHTTP2)")
    }
}

/// Nil when the head cannot be said in that version.
private func carried(_ block: borrowing HeaderBlock, isHTTP2: Bool) -> [[UInt8]]? {
    var client = isHTTP2 ? HTTPSession.http2(role: .client) : HTTPSession.http1(role: .client)
    var limits = HTTPLimits()
    // Any scheme: it is written by each leg's proxy, and `http` is refused behind TLS.
    limits.isSecure = false
    var server =
        isHTTP2 ? HTTPSession.http2(role: .server, limits: limits) : HTTPSession.http1(role: .server, limits: limits)
    var wire = ByteBuffer()
    do {
        _ = try client.openStream(block, endStream: false)
        try client.produce(into: &wire, upTo: 1_048_576)
    } catch { return nil }
    do { try server.receive(wire.bytes) } catch {}
    while let event = server.nextEvent() {
        switch event {
        case .head(let stream, .request, _): return fields(of: server.takeHead(stream))
        case .settings: continue
        case .head, .data, .trailers, .endStream, .closed, .violation, .writable, .goAway, .pong: break
        }
        break
    }
    preconditionFailure("what we wrote ourselves is refused, HTTP/2: \(isHTTP2)")
}

/// `name: value` of each field, sorted where their order says nothing, cookies joined.
private func fields(of block: borrowing HeaderBlock) -> [[UInt8]] {
    var lines: [[UInt8]] = []
    var cookies: [[UInt8]] = []
    // The scheme of each leg is its proxy's to say.
    for index in 0..<block.count where block.name(at: index) != .scheme {
        let value = copy(block.value(at: index))
        if block.name(at: index) == .cookie {
            cookies.append(value)
        } else {
            lines.append(copy(block.nameBytes(at: index)) + [58] + value)
        }
    }
    if !cookies.isEmpty { lines.append(Array("cookie:".utf8) + cookies.joined(separator: [59, 32])) }
    return lines.sorted { $0.lexicographicallyPrecedes($1) }
}

private func copy(_ span: Span<UInt8>) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(span.count)
    for index in 0..<span.count { bytes.append(span[index]) }
    return bytes
}

// MARK: Names

/// An SNI that names a service is written back byte for byte, and its authority names the same port and host.
private func fuzzServerName(_ bytes: Span<UInt8>) {
    let text = copy(bytes)
    guard let address = ServiceAddress(serverName: text) else { return }
    precondition(Array(address.serverName.utf8) == text, "another spelling of the same name")
    let written = Array(address.authority.utf8)
    guard let authority = HostAuthority(written.span) else { preconditionFailure("our own authority is refused") }
    precondition(authority.port == address.port && authority.kind == .name)
    precondition(Array(address.name.description.utf8) == Array(written[authority.host]))
}
