internal import MeshModel
internal import Telemetry

/// Times and ages in words.
enum TimeWords {
    /// `2026-11-21T06:20:00Z` of seconds since 1970.
    static func stamp(_ seconds: Int64) -> String {
        var text: [UInt8] = []
        TimeText.appendWhole(WallTime(seconds: seconds), into: &text)
        return String(decoding: text, as: UTF8.self)
    }

    /// The stamp, or nothing for 0, which stands for "not set".
    static func value(_ seconds: Int64) -> OutputValue { seconds == 0 ? .nothing : .text(stamp(seconds)) }

    /// `3d4h`, `2h5m`, `45s`: two units at most.
    static func span(_ seconds: Int64) -> String {
        let total = max(0, seconds)
        var parts: [String] = []
        var rest = total
        for (unit, size) in [("d", Int64(86_400)), ("h", 3_600), ("m", 60), ("s", 1)]
        where rest >= size || !parts.isEmpty {
            if rest >= size { parts.append("\(rest / size)\(unit)") }
            rest %= size
            if parts.count == 2 { break }
        }
        return parts.isEmpty ? "0s" : parts.joined()
    }

    /// `in 23h` or `3m ago`.
    static func distance(_ seconds: Int64, now: Int64) -> String {
        if seconds == 0 { return "-" }
        return seconds >= now ? "in \(span(seconds - now))" : "\(span(now - seconds)) ago"
    }
}
