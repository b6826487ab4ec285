package import Containers

/// A growable run of bytes that a session appends its output to.
package typealias OutputBuffer = ByteBuffer

extension ByteBuffer {
    /// A non-negative number in decimal; a negative one is written as 0.
    package mutating func append(decimal number: Int) {
        var digits: InlineArray<20, UInt8> = .init(repeating: 48)
        var rest = UInt64(Swift.max(0, number))
        var start = 20
        repeat {
            start -= 1
            digits[start] = 48 + UInt8(truncatingIfNeeded: rest % 10)
            rest /= 10
        } while rest > 0
        append(digits.span.extracting(start..<20))
    }

    /// A non-negative number in lower-case hexadecimal, as chunk sizes are written.
    package mutating func append(hexadecimal number: Int) {
        var digits: InlineArray<16, UInt8> = .init(repeating: 48)
        var rest = UInt64(Swift.max(0, number))
        var start = 16
        repeat {
            start -= 1
            let digit = UInt8(truncatingIfNeeded: rest & 15)
            digits[start] = digit < 10 ? 48 + digit : 87 + digit
            rest >>= 4
        } while rest > 0
        append(digits.span.extracting(start..<16))
    }
}
