internal import Containers
internal import Reactor
internal import TLS
internal import Wire

/// A transport and the HTTP conversation on it: bytes move between the two here and nowhere else.
struct Conduit: ~Copyable {
    enum Input {
        case some
        case nothing
        /// FIN or close_notify.
        case end
        /// The conversation cannot go on; its last words are to be sent.
        case failed
    }

    /// Most bytes that one `produce` makes.
    private static let outputStep = 65_536
    /// Every HTTP/2 connection begins with it (RFC 9113 3.4); no method of HTTP/1.1 does.
    private static let preface: StaticString = "PRI "

    var transport: Transport
    var session: HTTPSession
    /// The version is not known yet: plaintext, or TLS without ALPN.
    private var isUndecided: Bool
    private var firstBytes = ByteBuffer()

    init(transport: consuming Transport, session: consuming HTTPSession, isUndecided: Bool) {
        self.transport = transport
        self.session = session
        self.isUndecided = isUndecided
    }

    /// Takes what one read gives and hands it to the session. `makeHTTP2` is asked once, when the first bytes say so.
    mutating func receive(
        _ buffers: inout WorkerBuffers, makeHTTP2: () -> HTTPSession
    ) throws(TransportError) -> Input {
        switch try transport.receive(&buffers) {
        case .wouldBlock: return .nothing
        case .end:
            do throws(HTTPFailure) { try session.receiveEnd() } catch { return .failed }
            return .end
        case .bytes:
            do throws(HTTPFailure) {
                guard isUndecided else {
                    try session.receive(buffers.plain)
                    return .some
                }
                firstBytes.append(buffers.plain)
                try decide(makeHTTP2)
            } catch { return .failed }
            return .some
        }
    }

    /// The version is known otherwise: ALPN, or prior knowledge. Before the first bytes only.
    mutating func become(_ session: consuming HTTPSession) {
        self.session = session
        isUndecided = false
    }

    private mutating func decide(_ makeHTTP2: () -> HTTPSession) throws(HTTPFailure) {
        let length = Self.preface.utf8CodeUnitCount
        let common = min(length, firstBytes.count)
        let isPrefix = firstBytes.bytes.extracting(first: common).equals(prefix: Self.preface, common)
        if isPrefix, firstBytes.count < length { return }
        isUndecided = false
        if isPrefix { session = makeHTTP2() }
        var bytes = ByteBuffer()
        swap(&bytes, &firstBytes)
        try session.receive(bytes.bytes)
    }

    /// Moves what the session has to say into the transport while the socket takes it. False when the session failed.
    mutating func send(_ buffers: inout WorkerBuffers, _ scratch: inout OutputBuffer) throws(TransportError) -> Bool {
        if transport.pendingOutput > 0, try !transport.flush(&buffers) { return true }
        var isSound = true
        while session.hasOutput, isSound, transport.pendingOutput == 0 {
            scratch.removeAll()
            do throws(HTTPFailure) {
                try session.produce(into: &scratch, upTo: Self.outputStep)
            } catch {
                isSound = false
                // What it says last: GOAWAY, or the refusal of HTTP/1.1.
                do throws(HTTPFailure) { try session.produce(into: &scratch, upTo: Self.outputStep) } catch {}
            }
            if scratch.isEmpty { break }
            try transport.send(scratch.bytes, &buffers)
        }
        return isSound
    }

    /// Puts the bytes of a `data` event behind what a message decoder holds.
    borrowing func append(_ offset: Int, _ count: Int, to decoder: inout GRPCFrameDecoder) {
        decoder.append(session.bytes(offset, count))
    }

    /// A copy of the bytes of a `data` event.
    borrowing func copy(_ offset: Int, _ count: Int) -> [UInt8] { [UInt8](copying: session.bytes(offset, count)) }
}

extension Span where Element == UInt8 {
    /// Equal to the first `length` bytes of a literal.
    fileprivate func equals(prefix literal: StaticString, _ length: Int) -> Bool {
        guard count == length, length <= literal.utf8CodeUnitCount else { return false }
        let whole = Array("\(literal)".utf8)
        for index in 0..<length where self[index] != whole[index] { return false }
        return true
    }
}

/// Owns a conduit; dropping it closes the socket, whoever still refers to the connection.
final class RPCLink {
    var conduit: Conduit

    init(_ conduit: consuming Conduit) { self.conduit = conduit }
}
