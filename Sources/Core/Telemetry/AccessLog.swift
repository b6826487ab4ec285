internal import Containers
package import MeshModel

/// The keys of a log line: the words of the metrics' labels and what only a line can say (PROTOCOLS section 11).
package enum LogKey: UInt8, Sendable, CaseIterable {
    case reporter, method, path, authority, serverName, requestProtocol, connectionSecurityPolicy
    case responseCode, responseFlags, reason, grpcStatus
    case sourcePrincipal, sourceCluster, sourceAddress
    case destinationService, destinationServiceNamespace, destinationCluster, upstream
    case durationMilliseconds, bytesReceived, bytesSent, hops, attempts, traceID, requestID, rule
    case level, event, side, message

    var word: StaticString {
        switch self {
        case .reporter: "reporter"
        case .method: "method"
        case .path: "path"
        case .authority: "authority"
        case .serverName: "server_name"
        case .requestProtocol: "request_protocol"
        case .connectionSecurityPolicy: "connection_security_policy"
        case .responseCode: "response_code"
        case .responseFlags: "response_flags"
        case .reason: "reason"
        case .grpcStatus: "grpc_status"
        case .sourcePrincipal: "source_principal"
        case .sourceCluster: "source_cluster"
        case .sourceAddress: "source_address"
        case .destinationService: "destination_service"
        case .destinationServiceNamespace: "destination_service_namespace"
        case .destinationCluster: "destination_cluster"
        case .upstream: "upstream"
        case .durationMilliseconds: "duration_ms"
        case .bytesReceived: "bytes_received"
        case .bytesSent: "bytes_sent"
        case .hops: "hops"
        case .attempts: "attempts"
        case .traceID: "trace_id"
        case .requestID: "request_id"
        case .rule: "rule"
        case .level: "level"
        case .event: "event"
        case .side: "side"
        case .message: "message"
        }
    }

    /// Bytes of the value that are written. Paths and messages may be long, names never need to be.
    var limit: Int {
        switch self {
        case .path, .message: 1_024
        case .sourcePrincipal, .authority, .serverName: 512
        default: 256
        }
    }
}

/// A key with what stands around it, at most forty bytes, which are written as words.
private struct LogPrefix {
    private(set) var words = InlineArray<5, UInt64>(repeating: 0)
    private(set) var count = 0

    init(_ parts: StaticString...) {
        for part in parts {
            for byte in Array("\(part)".utf8) where count < 40 {
                words[count / 8] |= (UInt64(byte) << UInt64(count % 8 * 8)).littleEndian
                count += 1
            }
        }
    }
}

/// Fields that many lines have in common, written once.
package struct LogFields: ~Copyable {
    var text = ByteBuffer()

    package init() {}
}

/// The log lines of one worker, gathered over a loop turn and handed to the `LogSink` at its end.
///
/// A line is written field by field between `begin` and `end`; nothing is allocated once the buffer has grown.
package struct AccessLog: ~Copyable {
    package enum Format: Sendable { case json, text }

    /// What one turn may gather, in bytes; further lines of the turn are dropped and counted.
    static let batchLimit = 262_144

    private let format: Format
    private var batch = ByteBuffer()
    /// What stands before each key's value: before a number, and before text.
    private let names: [LogPrefix]
    private let openings: [LogPrefix]
    private var lines = 0
    private var lineStart = 0
    private var second = WallTime(seconds: .min)
    private var secondText: [UInt8] = []
    private var millisecond = -1
    /// How every line of this millisecond begins.
    private var stamp = ByteBuffer()
    /// Lines that did not fit in a batch; the sink counts its own.
    package private(set) var dropped: UInt64 = 0

    package init(format: Format) {
        self.format = format
        let isJSON = format == .json
        names = LogKey.allCases.map { LogPrefix(isJSON ? ",\"" : " ", $0.word, isJSON ? "\":" : "=") }
        openings = LogKey.allCases.map { LogPrefix(isJSON ? ",\"" : " ", $0.word, isJSON ? "\":\"" : "=") }
    }

    package var isEmpty: Bool { batch.isEmpty }

    /// Starts a line with its time.
    package mutating func begin(at time: WallTime, milliseconds: Int) {
        if time.seconds != second.seconds || milliseconds != millisecond { setTime(time, milliseconds) }
        lineStart = batch.count
        Self.copy(stamp, into: &batch)
    }

    private mutating func setTime(_ time: WallTime, _ milliseconds: Int) {
        if time.seconds != second.seconds {
            second = time
            secondText.removeAll(keepingCapacity: true)
            TimeText.appendSeconds(time, into: &secondText)
        }
        millisecond = milliseconds
        stamp.removeAll()
        stamp.append(text: format == .json ? "{\"time\":\"" : "time=")
        stamp.append(secondText)
        stamp.append(0x2E)
        Decimal.append(UInt64(min(max(milliseconds, 0), 999)), width: 3, into: &stamp)
        stamp.append(text: format == .json ? "Z\"" : "Z")
    }

    /// Adds bytes, escaped and cut to the key's limit. Empty ones are left out.
    package mutating func field(_ key: LogKey, _ value: Span<UInt8>) {
        if value.isEmpty { return }
        open(key)
        switch format {
        case .json:
            Escape.json(value, limit: key.limit, into: &batch)
            batch.append(0x22)
        case .text: Escape.text(value, limit: key.limit, into: &batch)
        }
    }

    package mutating func field(_ key: LogKey, _ value: [UInt8]) { field(key, value.span) }

    /// Adds a word of our own.
    package mutating func field(_ key: LogKey, word: StaticString) {
        open(key)
        batch.append(text: word)
        if format == .json { batch.append(0x22) }
    }

    package mutating func field(_ key: LogKey, _ value: UInt64) {
        name(key)
        Decimal.append(value, into: &batch)
    }

    /// Adds a duration in milliseconds with three decimals.
    package mutating func field(_ key: LogKey, _ value: Duration) {
        name(key)
        let microseconds = value.wholeNanoseconds / 1_000
        Decimal.append(microseconds / 1_000, into: &batch)
        batch.append(0x2E)
        Decimal.append(microseconds % 1_000, width: 3, into: &batch)
    }

    /// Adds 16 or 8 bytes as lower-case hexadecimal.
    package mutating func field(_ key: LogKey, hexadecimal high: UInt64, _ low: UInt64) {
        open(key)
        batch.append(digits: high)
        batch.append(digits: low)
        if format == .json { batch.append(0x22) }
    }

    /// Adds fields that `keep` kept of another line.
    package mutating func fields(_ kept: borrowing LogFields) { batch.append(kept.text.bytes) }

    /// How much of the line stands; for `keep`.
    package var position: Int { batch.count - lineStart }

    /// Keeps a copy of the fields that were added since the line stood at `position`.
    package func keep(from position: Int, in kept: inout LogFields) {
        kept.text.removeAll()
        kept.text.append(batch.bytes.extracting((lineStart + position)...))
    }

    /// Ends the line; it is taken back when the batch is full.
    package mutating func end() {
        batch.append(text: format == .json ? "}\n" : "\n")
        if batch.count > Self.batchLimit {
            batch.truncate(to: lineStart)
            dropped &+= 1
        } else {
            lines += 1
        }
    }

    /// Hands the gathered lines to the sink. When the sink is busy for a moment they stay for the next turn.
    package mutating func flush(to sink: LogSink) {
        guard lines > 0, sink.take(&batch, lines: lines) else { return }
        lines = 0
        batch.removeAll()
    }

    /// Takes the gathered lines out, for tests and for callers with a sink of their own.
    package mutating func take() -> [UInt8] {
        defer {
            batch.removeAll()
            lines = 0
        }
        var taken: [UInt8] = []
        taken.append(bytes: batch.bytes)
        return taken
    }

    private mutating func name(_ key: LogKey) {
        let prefix = names[Int(key.rawValue)]
        batch.append(words: prefix.words, count: prefix.count)
    }

    private mutating func open(_ key: LogKey) {
        let prefix = openings[Int(key.rawValue)]
        batch.append(words: prefix.words, count: prefix.count)
    }

    private static func copy(_ source: borrowing ByteBuffer, into target: inout ByteBuffer) {
        target.append(source.bytes)
    }
}
