internal import Containers

/// What text is appended to: the array of a page, or the buffer of a log batch.
protocol ByteTarget: ~Copyable {
    mutating func append(_ byte: UInt8)
    mutating func append(bytes: Span<UInt8>)
    /// Appends the first `count` (at most eight) bytes of `word` as they lie in memory.
    mutating func append(word: UInt64, count: Int)
}

extension ByteTarget where Self: ~Copyable {
    /// Appends the UTF-8 of a literal.
    mutating func append(text: StaticString) {
        // SAFETY: a static string's storage lives for ever.
        append(bytes: unsafe Span<UInt8>(_unsafeStart: text.utf8Start, count: text.utf8CodeUnitCount))
    }
}

extension ByteBuffer: ByteTarget {
    mutating func append(bytes: Span<UInt8>) { append(bytes) }
}

extension Array: ByteTarget where Element == UInt8 {
    mutating func append(bytes: Span<UInt8>) {
        // SAFETY: the buffer is used within the closure only.
        unsafe bytes.withUnsafeBufferPointer { unsafe append(contentsOf: $0) }
    }

    mutating func append(word: UInt64, count: Int) {
        var rest = word.littleEndian
        for _ in 0..<Swift.min(Swift.max(count, 0), 8) {
            append(UInt8(truncatingIfNeeded: rest))
            rest >>= 8
        }
    }
}

/// Numbers as text without a String.
enum Decimal {
    static func append<Target: ByteTarget & ~Copyable>(_ value: UInt64, into target: inout Target) {
        append(value, width: 1, into: &target)
    }

    /// Appends `value` with at least `width` digits.
    static func append<Target: ByteTarget & ~Copyable>(_ value: UInt64, width: Int, into target: inout Target) {
        if value < 10_000, width <= 4 {
            // Four digits at a time: two pairs, each in half a word, and of each its tens.
            let number = UInt32(truncatingIfNeeded: value)
            let pairs = (number / 100) | (number % 100) << 16
            let tens = (pairs &* 103) >> 10 & 0x000F_000F
            let digits = (pairs &- tens &* 10) << 8 | tens | 0x3030_3030
            let count = max(width, value < 10 ? 1 : value < 100 ? 2 : value < 1_000 ? 3 : 4)
            return target.append(word: UInt64(digits >> UInt32(32 &- 8 &* count)).littleEndian, count: count)
        }
        if value < 100_000_000, width <= 8 {
            var rest = UInt32(truncatingIfNeeded: value)
            var word: UInt64 = 0
            var count = 0
            repeat {
                word = word << 8 | UInt64(0x30 + rest % 10)
                rest /= 10
                count &+= 1
            } while rest > 0
            while count < width {
                word = word << 8 | 0x30
                count &+= 1
            }
            return target.append(word: word.littleEndian, count: count)
        }
        var digits = InlineArray<20, UInt8>(repeating: 0x30)
        var rest = value
        var start = 20
        while rest > 0 {
            start -= 1
            digits[start] = 0x30 + UInt8(truncatingIfNeeded: rest % 10)
            rest /= 10
        }
        start = min(start, 20 - min(max(width, 1), 20))
        target.append(bytes: digits.span.extracting(start..<20))
    }

    /// Nanoseconds as seconds with a decimal point; `trimmed` drops zeros at the end.
    static func appendSeconds(_ nanoseconds: UInt64, into target: inout [UInt8], trimmed: Bool = false) {
        append(nanoseconds / 1_000_000_000, into: &target)
        let rest = nanoseconds % 1_000_000_000
        if rest == 0, trimmed { return }
        target.append(0x2E)
        append(rest, width: 9, into: &target)
        while trimmed, target.last == 0x30 { target.removeLast() }
    }
}
