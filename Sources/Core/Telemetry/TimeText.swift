package import MeshModel

/// RFC 3339 in UTC without Foundation.
package enum TimeText {
    /// Appends `2026-02-03T04:05:06.789Z`. Years outside 0000–9999 are written as the nearest that fits.
    package static func append(_ time: WallTime, milliseconds: Int = 0, into target: inout [UInt8]) {
        appendSeconds(time, into: &target)
        target.append(0x2E)
        Decimal.append(UInt64(min(max(milliseconds, 0), 999)), width: 3, into: &target)
        target.append(0x5A)
    }

    /// Appends `2026-02-03T04:05:06Z`.
    package static func appendWhole(_ time: WallTime, into target: inout [UInt8]) {
        appendSeconds(time, into: &target)
        target.append(0x5A)
    }

    /// Days to civil date by Howard Hinnant's algorithm (chrono-compatible low-level date algorithms).
    static func appendSeconds(_ time: WallTime, into target: inout [UInt8]) {
        let clamped = min(max(time.seconds, -62_167_219_200), 253_402_300_799)
        var days = clamped / 86_400
        var rest = clamped % 86_400
        if rest < 0 {
            rest += 86_400
            days -= 1
        }
        let shifted = days + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        field(year, 4, 0x2D, &target)
        field(month, 2, 0x2D, &target)
        field(day, 2, 0x54, &target)
        field(rest / 3_600, 2, 0x3A, &target)
        field(rest / 60 % 60, 2, 0x3A, &target)
        Decimal.append(UInt64(max(rest % 60, 0)), width: 2, into: &target)
    }

    private static func field(_ value: Int64, _ width: Int, _ separator: UInt8, _ target: inout [UInt8]) {
        Decimal.append(UInt64(max(value, 0)), width: width, into: &target)
        target.append(separator)
    }
}
