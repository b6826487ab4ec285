internal import MeshModel
internal import Reactor
internal import Settings
internal import Telemetry

/// The broker's own log: one line for each event on standard error, as text or JSON. No secret is ever handed to it.
final class BrokerLog {
    enum Level: String { case info, warning, error }

    private let sink: LogSink
    private let format: LogFormat

    init(_ format: LogFormat) throws(BrokerFailure) {
        self.format = format
        do throws(LogSinkError) { sink = try LogSink(descriptor: 2) } catch {
            throw .setup("the log cannot be set up: \(error)")
        }
    }

    /// Lines that were lost because nobody read them.
    var dropped: UInt64 { sink.dropped }

    func info(_ text: String, _ fields: KeyValuePairs<String, String> = [:]) { write(.info, text, fields) }
    func warning(_ text: String, _ fields: KeyValuePairs<String, String> = [:]) { write(.warning, text, fields) }
    func error(_ text: String, _ fields: KeyValuePairs<String, String> = [:]) { write(.error, text, fields) }

    /// A line as it is, for whoever waits for it (`broker: ready …`).
    func announce(_ line: String) { offer(Array(line.utf8) + [0x0A]) }

    /// Waits for what was written to reach the descriptor.
    func close() { _ = sink.finish(within: .seconds(1)) }

    private func write(_ level: Level, _ text: String, _ fields: KeyValuePairs<String, String>) {
        var line: [UInt8] = []
        switch format {
        case .text:
            TimeText.appendWhole(WallTime(seconds: Machine.walltime), into: &line)
            line += Array(" \(level.rawValue) broker: ".utf8)
            appendPlain(text, &line)
            for (key, value) in fields where !value.isEmpty {
                line += Array(" \(key)=".utf8)
                appendQuoted(value, &line)
            }
        case .json:
            line += Array(#"{"time":""#.utf8)
            TimeText.appendWhole(WallTime(seconds: Machine.walltime), into: &line)
            line += Array(#"","level":"\#(level.rawValue)","component":"broker","message":"#.utf8)
            appendQuoted(text, &line)
            for (key, value) in fields where !value.isEmpty {
                line += Array(#","\#(key)":"#.utf8)
                appendQuoted(value, &line)
            }
            line.append(0x7D)
        }
        line.append(0x0A)
        offer(line)
    }

    /// The sink's lock is held for a copy only: a few tries always find it free.
    private func offer(_ line: [UInt8]) {
        for _ in 0..<1_000 where sink.offer(line.span, lines: 1) { return }
    }

    /// Text from peers stands in lines: no control byte may end one.
    private func appendPlain(_ text: String, _ line: inout [UInt8]) {
        for byte in text.utf8 {
            if byte == 0x0A { line += Array("; ".utf8) } else { line.append(byte < 0x20 || byte == 0x7F ? 0x3F : byte) }
        }
    }

    private func appendQuoted(_ text: String, _ line: inout [UInt8]) {
        line.append(0x22)
        for byte in text.utf8 {
            switch byte {
            case 0x22: line += Array(#"\""#.utf8)
            case 0x5C: line += Array(#"\\"#.utf8)
            case 0x0A: line += Array(#"\n"#.utf8)
            case 0..<0x20, 0x7F: line.append(0x3F)
            default: line.append(byte)
            }
        }
        line.append(0x22)
    }
}
