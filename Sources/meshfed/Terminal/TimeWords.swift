/// Times and ages in words.
enum TimeWords {
    /// `2026-11-21T06:20:00Z` of seconds since 1970; the calendar by Howard Hinnant's `civil_from_days`.
    static func stamp(_ seconds: Int64) -> String {
        let bounded = min(max(seconds, -62_135_596_800), 253_402_300_799)
        var days = bounded / 86_400
        var rest = bounded % 86_400
        if rest < 0 {
            rest += 86_400
            days -= 1
        }
        let shifted = days + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthShifted = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * monthShifted + 2) / 5 + 1
        let month = monthShifted < 10 ? monthShifted + 3 : monthShifted - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        func padded(_ number: Int64, _ width: Int) -> String {
            let text = "\(number)"
            return String(repeating: "0", count: max(0, width - text.utf8.count)) + text
        }
        return "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))T"
            + "\(padded(rest / 3_600, 2)):\(padded(rest / 60 % 60, 2)):\(padded(rest % 60, 2))Z"
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
