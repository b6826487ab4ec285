import Containers
import Glibc
import Link
import MeshModel
import Reactor
import TLS
import Wire

/// One request or response as a test sees it.
final class Message {
    let stream: StreamID
    fileprivate(set) var fields: [(name: String, value: String)] = []
    fileprivate(set) var trailers: [(name: String, value: String)] = []
    fileprivate(set) var body: [UInt8] = []
    /// The head came.
    fileprivate(set) var hasHead = false
    /// The head ended the message.
    fileprivate(set) var isHeadOnly = false
    /// All of it came.
    fileprivate(set) var isEnded = false
    /// The stream is over, and how.
    fileprivate(set) var closed: HTTPStreamError?

    init(stream: StreamID) { self.stream = stream }

    subscript(_ name: String) -> String? { fields.first { $0.name == name }?.value }
    func all(_ name: String) -> [String] { fields.filter { $0.name == name }.map(\.value) }
    var status: String { self[":status"] ?? "" }
    var error: String? { self["meshfed-error"] }
    var text: String { String(decoding: body, as: UTF8.self) }
    var isOver: Bool { isEnded || closed != nil }
}

/// A test's end of a connection: the app's server, the app's client, or a mesh peer.
final class Line {
    enum Version: Hashable, Sendable { case raw, http1, http2 }

    var link: HTTPLink?
    let role: HTTPRole
    let version: Version
    private(set) var failure: TransportError?
    /// Bytes of a raw line.
    private(set) var received: [UInt8] = []
    /// The peer's direction has ended.
    private(set) var ended = false
    private(set) var sawGoAway = false
    private(set) var isEstablished = false
    private(set) var messages: [StreamID: Message] = [:]
    /// Called once per request, when all of it is here; or with its head, for `early`.
    var onRequest: ((Line, Message) -> Void)?
    var isEarly = false
    /// False: bytes are left in the socket.
    var isReading = true
    /// False: body bytes are kept back until `release`.
    var isConsuming = true
    private var owed: [(stream: StreamID, count: Int)] = []

    init(_ transport: consuming Transport, role: HTTPRole, version: Version) {
        self.role = role
        self.version = version
        link = HTTPLink(transport)
    }

    var descriptor: Int32 { link?.transport.descriptor ?? -1 }
    var isOpen: Bool { link != nil && failure == nil }
    var text: String { String(decoding: received, as: UTF8.self) }

    func startHTTP(_ version: Version) {
        var limits = HTTPLimits()
        limits.isSecure = link?.transport.isSecure == true
        switch version {
        case .raw: break
        case .http1: link?.session = .http1(role: role, limits: limits)
        case .http2: link?.session = .http2(role: role, limits: limits, settings: .mesh)
        }
    }

    var interest: Interest {
        guard let wanted = link?.transport.wantedInterest(reading: false) else { return [] }
        var interest = wanted
        if isReading, !ended, link?.wantsInput == true { interest.insert(.readable) }
        return interest
    }

    var mustWork: Bool { isOpen && isReading && !ended && link?.transport.holdsInput == true }

    func step(_ stage: Stage, readable: Bool) {
        guard isOpen else { return }
        do throws(TransportError) {
            if !isEstablished {
                isEstablished = try link?.transport.advance(&stage.buffers, wall: stage.wall) ?? false
                guard isEstablished else { return }
                startHTTP(version)
            }
            if readable || link?.transport.holdsInput == true { read(&stage.buffers) }
            try link?.write(&stage.buffers, &stage.scratch)
            events()
            try link?.write(&stage.buffers, &stage.scratch)
        } catch {
            failure = error
        }
    }

    private func read(_ buffers: inout WorkerBuffers) {
        while isReading, !ended, failure == nil, link?.wantsInput == true {
            switch link?.read(&buffers) {
            case .raw:
                // SAFETY: the plaintext is lent for the call.
                unsafe buffers.plain.withUnsafeBufferPointer { unsafe received += $0 }
            case .fed: events()
            case .end:
                ended = true
                events()
            case .failed(let error):
                events()
                failure = error
            case .idle, .none: return
            }
            if link?.transport.holdsInput != true { return }
        }
    }

    private func events() {
        while let event = link?.session?.nextEvent() {
            switch event {
            case .head(let stream, let kind, let endStream):
                let message = message(stream)
                let fields = take(stream)
                if kind == .interim { continue }
                message.fields = fields
                message.hasHead = true
                message.isHeadOnly = endStream
                if endStream { message.isEnded = true }
                if role == .server, endStream || isEarly { onRequest?(self, message) }
            case .violation(let stream, let status):
                link?.session?.reset(stream, code: 1)
                message(stream).fields = [(":violation", "\(status)")]
            case .data(let stream, let offset, let count):
                message(stream).body += link?.copy(offset, count) ?? []
                if isConsuming { link?.session?.consume(stream, count) } else { owed.append((stream, count)) }
            case .trailers(let stream):
                message(stream).trailers = take(stream)
                finish(stream)
            case .endStream(let stream): finish(stream)
            case .closed(let stream, let error): message(stream).closed = error
            case .goAway: sawGoAway = true
            case .writable, .settings, .pong: break
            }
        }
    }

    private func finish(_ stream: StreamID) {
        let message = message(stream)
        guard !message.isEnded else { return }
        message.isEnded = true
        if role == .server, !isEarly { onRequest?(self, message) }
    }

    func message(_ stream: StreamID) -> Message {
        if let known = messages[stream] { return known }
        let fresh = Message(stream: stream)
        messages[stream] = fresh
        return fresh
    }

    private func take(_ stream: StreamID) -> [(name: String, value: String)] {
        guard let block = link?.session?.takeHead(stream) else { return [] }
        return fields(of: block)
    }

    /// Lets go what was kept back.
    func release() {
        isConsuming = true
        for (stream, count) in owed { link?.session?.consume(stream, count) }
        owed = []
    }

    // MARK: Verbs

    func send(_ bytes: [UInt8], _ stage: Stage) {
        do throws(TransportError) { try link?.transport.send(bytes.span, &stage.buffers) } catch { failure = error }
    }

    func endOutput(_ stage: Stage) {
        do throws(TransportError) { try link?.transport.endOutput(&stage.buffers) } catch { failure = error }
    }

    func abort() {
        link?.transport.abort()
        link = nil
    }

    func close() { link = nil }

    /// Sends a request's head and, unless more follows, ends it.
    func open(_ fields: [(String, String)], body: [UInt8]? = nil, ends: Bool = true) -> Message {
        var stream: StreamID = 0
        do throws(HTTPFailure) {
            stream = try link?.session?.openStream(block(fields), endStream: ends && body == nil) ?? 0
        } catch {
            let lost = Message(stream: -1)
            lost.closed = .connection
            return lost
        }
        if let body { link?.session?.sendData(stream, body.span, endStream: ends) }
        return message(stream)
    }

    func sendBody(_ message: Message, _ bytes: [UInt8], ends: Bool) {
        link?.session?.sendData(message.stream, bytes.span, endStream: ends)
    }

    func sendTrailers(_ message: Message, _ fields: [(String, String)]) {
        link?.session?.sendTrailers(message.stream, block(fields))
    }

    func respond(
        _ message: Message, _ status: String = "200", _ fields: [(String, String)] = [], body: [UInt8]? = [],
        trailers: [(String, String)]? = nil
    ) {
        let isWhole = trailers == nil
        let head = block([(":status", status)] + fields)
        link?.session?.sendHead(message.stream, head, .response, endStream: false)
        if let body { link?.session?.sendData(message.stream, body.span, endStream: isWhole) }
        if let trailers { sendTrailers(message, trailers) }
    }

    func reset(_ message: Message, code: UInt32) { link?.session?.reset(message.stream, code: code) }
}

func block(_ fields: [(String, String)]) -> HeaderBlock {
    var block = HeaderBlock()
    for (name, value) in fields { block.append(name: Array(name.utf8).span, value: Array(value.utf8).span) }
    return block
}

private func fields(of block: borrowing HeaderBlock) -> [(name: String, value: String)] {
    var fields: [(name: String, value: String)] = []
    for index in 0..<block.count {
        fields.append((text(block.nameBytes(at: index)), text(block.value(at: index))))
    }
    return fields
}

private func text(_ span: Span<UInt8>) -> String {
    // SAFETY: the span is copied during the call.
    unsafe span.withUnsafeBufferPointer { unsafe String(decoding: $0, as: UTF8.self) }
}

extension HTTPLink {
    /// The bytes of a `data` event.
    fileprivate func copy(_ offset: Int, _ count: Int) -> [UInt8] {
        let span = bytes(offset, count)
        // SAFETY: the span is copied during the call.
        return unsafe span.withUnsafeBufferPointer { unsafe Array($0) }
    }
}
