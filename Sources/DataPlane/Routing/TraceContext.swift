package import Containers

/// W3C trace context: `traceparent` read strictly, made where it is missing, and given on with a span of our own.
package struct TraceContext: Hashable, Sendable {
    /// Bytes of a `traceparent` of version 00.
    package static let length = 55

    package let traceHigh: UInt64
    package let traceLow: UInt64
    package let span: UInt64
    package let flags: UInt8

    package init(traceHigh: UInt64, traceLow: UInt64, span: UInt64, flags: UInt8) {
        self.traceHigh = traceHigh
        self.traceLow = traceLow
        self.span = span
        self.flags = flags
    }

    /// Nil for anything but the grammar: lower-case hexadecimal, version not ff, no ID of zeros; version 00 has exactly
    /// 55 bytes, a later one may go on after a dash and is read as 00 (Trace Context 1, section 3.2.2).
    package init?(_ value: Span<UInt8>) {
        guard value.count >= Self.length, value[2] == 0x2D, value[35] == 0x2D, value[52] == 0x2D,
            let version = Self.hexadecimal(value, 0, 2), version != 0xFF,
            value.count == Self.length || (version != 0 && value[55] == 0x2D),
            let high = Self.hexadecimal(value, 3, 16), let low = Self.hexadecimal(value, 19, 16), high | low != 0,
            let span = Self.hexadecimal(value, 36, 16), span != 0, let flags = Self.hexadecimal(value, 53, 2)
        else { return nil }
        self.init(traceHigh: high, traceLow: low, span: span, flags: UInt8(truncatingIfNeeded: flags))
    }

    /// A new trace; it is sampled in `percent` of the cases.
    package static func fresh(samplePercent percent: Double, random: inout RandomBits) -> TraceContext {
        let limit = UInt64(min(max(percent, 0), 100) * 10_000)
        let isSampled = random.below(1_000_000) < limit
        return TraceContext(
            traceHigh: random.next(), traceLow: nonzero(&random), span: nonzero(&random), flags: isSampled ? 1 : 0)
    }

    /// The same trace with a new span: what the next hop gets.
    package func child(random: inout RandomBits) -> TraceContext {
        TraceContext(traceHigh: traceHigh, traceLow: traceLow, span: Self.nonzero(&random), flags: flags & 1)
    }

    package var isSampled: Bool { flags & 1 == 1 }

    /// Appends the header's value, version 00.
    package func append(into target: inout ByteBuffer) {
        // "00-"
        target.append(word: (0x2D_3030 as UInt64).littleEndian, count: 3)
        target.append(digits: traceHigh)
        target.append(digits: traceLow)
        target.append(0x2D)
        target.append(digits: span)
        let last = UInt64(Self.digit(flags & 0xF)) << 16 | UInt64(Self.digit(flags >> 4)) << 8 | 0x2D
        target.append(word: last.littleEndian, count: 3)
    }

    private static func nonzero(_ random: inout RandomBits) -> UInt64 { max(random.next(), 1) }

    private static func hexadecimal(_ value: Span<UInt8>, _ start: Int, _ count: Int) -> UInt64? {
        var number: UInt64 = 0
        for index in start..<(start + count) {
            switch value[index] {
            case 0x30...0x39: number = number << 4 | UInt64(value[index] - 0x30)
            case 0x61...0x66: number = number << 4 | UInt64(value[index] - 0x57)
            default: return nil
            }
        }
        return number
    }

    private static func digit(_ value: UInt8) -> UInt8 { value < 10 ? 0x30 + value : 0x57 + value }
}
