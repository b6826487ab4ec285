internal import Containers

/// What text is appended to: the array of a page, or the buffer of a log batch.
protocol ByteTarget: ~Copyable {
    mutating func append(_ byte: UInt8)
    mutating func append(bytes: Span<UInt8>)
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
}

/// Numbers as text without a String.
enum Decimal {
    static func append<Target: ByteTarget & ~Copyable>(_ value: UInt64, into target: inout Target) {
        append(value, width: 1, into: &target)
    }

    /// Appends `value` with at least `width` digits.
    static func append<Target: ByteTarget & ~Copyable>(_ value: UInt64, width: Int, into target: inout Target) {
        if value < 10, width <= 1 { return target.append(0x30 + UInt8(value)) }
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

/// Numbers in lower-case hexadecimal, 16 digits each.
enum Hexadecimal {
    static func append<Target: ByteTarget & ~Copyable>(_ value: UInt64, into target: inout Target) {
        var digits = InlineArray<16, UInt8>(repeating: 0x30)
        var rest = value
        for index in 0..<16 {
            let digit = UInt8(truncatingIfNeeded: rest & 0xF)
            digits[15 - index] = digit < 10 ? 0x30 + digit : 0x57 + digit
            rest >>= 4
        }
        target.append(bytes: digits.span)
    }
}
