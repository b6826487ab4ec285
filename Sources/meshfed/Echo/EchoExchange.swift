import MeshModel
import Wire

/// One request: what it said, and how far the answer is.
final class EchoExchange {
    enum Phase: Equatable {
        case receiving
        case waiting(until: Instant)
        /// Bytes of the body that are not queued yet.
        case sending(Int)
        /// A health watch that stays open.
        case watching
        /// All of the answer is queued.
        case done
    }

    /// A health request is some bytes long.
    private static let largestMessage = 65_536

    let method: String
    let path: String
    let plan: EchoPlan
    let isGRPC: Bool
    /// `Expect: 100-continue`: the body comes when it is asked for.
    let expectsContinue: Bool
    /// The value of x-forwarded-client-cert, as it came.
    let caller: [UInt8]
    var phase = Phase.receiving
    private let authority: String
    private let version: String
    private let headers: [(String, String)]
    private var trailers: [(String, String)] = []
    private var bodyBytes = 0
    private var digest = StreamingSHA256()
    private var frames = GRPCFrameDecoder(limit: EchoExchange.largestMessage)

    init(_ head: borrowing HeaderBlock, isHTTP2: Bool) {
        method = Self.text(head.value(of: .method))
        path = Self.text(head.value(of: .path))
        let name = Self.text(head.value(of: .authority))
        authority = name.isEmpty ? Self.text(head.value(of: .host)) : name
        version = isHTTP2 ? "HTTP/2" : "HTTP/1.1"
        headers = Self.fields(head)
        caller = Self.bytes(head.value(of: .xForwardedClientCert))
        plan = EchoPlan(path)
        expectsContinue = head.value(of: .expect).equalsIgnoringCase("100-continue")
        isGRPC = isHTTP2 && Self.text(head.value(of: .contentType)).hasPrefix("application/grpc")
    }

    func receive(_ bytes: Span<UInt8>) {
        bodyBytes += bytes.count
        if isGRPC { frames.append(bytes) } else { digest.update(bytes) }
    }

    func receiveTrailers(_ block: borrowing HeaderBlock) { trailers = Self.fields(block) }

    /// The next whole gRPC message; nil when there is none yet.
    func nextMessage() throws(GRPCFault) -> [UInt8]? {
        guard try frames.next() else { return nil }
        return Self.message(of: frames)
    }

    private static func message(of frames: borrowing GRPCFrameDecoder) -> [UInt8] { bytes(frames.message) }

    /// The JSON of the answer.
    func report(name: String, peer: String) -> String {
        var entries: [(String, OutputValue)] = [
            ("name", .text(name)), ("method", .text(method)), ("path", .text(path)), ("authority", .text(authority)),
            ("protocol", .text(version)), ("peer", .text(peer)), ("headers", Self.value(headers)),
            ("bodyBytes", .number(Int64(bodyBytes))), ("bodySHA256", .text(digest.hexadecimal())),
        ]
        if !trailers.isEmpty { entries.append(("trailers", Self.value(trailers))) }
        return OutputValue.record(entries).json
    }

    /// Fields of one name are joined by a comma, as RFC 9110 5.3 allows.
    private static func value(_ fields: [(String, String)]) -> OutputValue {
        var order: [String] = []
        var values: [String: String] = [:]
        for (name, text) in fields {
            if let held = values[name] {
                values[name] = "\(held), \(text)"
            } else {
                order.append(name)
                values[name] = text
            }
        }
        return .record(order.map { ($0, .text(values[$0] ?? "")) })
    }

    private static func fields(_ block: borrowing HeaderBlock) -> [(String, String)] {
        var fields: [(String, String)] = []
        for index in 0..<block.count where !block.name(at: index).isPseudo {
            fields.append((text(block.nameBytes(at: index)), text(block.value(at: index))))
        }
        return fields
    }

    private static func text(_ span: Span<UInt8>) -> String { String(decoding: bytes(span), as: UTF8.self) }

    private static func bytes(_ span: Span<UInt8>) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(span.count)
        for index in 0..<span.count { bytes.append(span[index]) }
        return bytes
    }
}

/// What a path asks for: `/status/503`, `/delay/250ms`, `/bytes/1048576`; any other path the usual answer.
struct EchoPlan {
    /// A terabyte: `/bytes` is made up as it is sent.
    private static let mostBytes = 1 << 40
    private static let longestDelay = Duration.seconds(600)

    var status = 200
    var delay = Duration.zero
    /// Nil: the JSON.
    var bytes: Int?

    init(_ path: String) {
        let plain = path.utf8.prefix { $0 != 0x3F }
        let parts = plain.split(separator: 0x2F).map { String(decoding: $0, as: UTF8.self) }
        guard parts.count == 2 else { return }
        switch parts[0] {
        case "status":
            if let number = Self.number(parts[1]), (200...599).contains(number) {
                status = number
            } else {
                status = 400
            }
        case "delay":
            if let duration = Duration(gep2257: parts[1]), duration <= Self.longestDelay {
                delay = duration
            } else {
                status = 400
            }
        case "bytes":
            if let number = Self.number(parts[1]), number <= Self.mostBytes { bytes = number } else { status = 400 }
        default: break
        }
    }

    private static func number(_ text: String) -> Int? {
        guard (1...13).contains(text.utf8.count), text.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) else { return nil }
        return Int(text)
    }
}
