internal import Containers

/// The block cannot be decoded: the tables of both sides differ from now on, and the connection ends with
/// COMPRESSION_ERROR (RFC 9113 4.3).
package struct HPACKError: Error {}

/// Integers with a prefix (RFC 7541 5.1).
enum HPACKInteger {
    /// No string and no table is as long: what is larger is an attack on the reader's arithmetic.
    static let limit = 1 << 28
    /// Continuation bytes that `limit` can need: five groups of seven bits.
    private static let continuationLimit = 5

    /// Reads the integer whose prefix is `mask` of the byte at `place`, and moves `place` behind it.
    @inline(__always)
    static func read(_ bytes: Span<UInt8>, _ place: inout Int, mask: UInt8) throws(HPACKError) -> Int {
        guard place < bytes.count else { throw HPACKError() }
        let prefix = bytes[place] & mask
        place &+= 1
        return prefix < mask ? Int(prefix) : try readMore(bytes, &place, Int(mask))
    }

    @inline(never)
    private static func readMore(_ bytes: Span<UInt8>, _ place: inout Int, _ mask: Int) throws(HPACKError) -> Int {
        var value = mask
        for group in 0..<continuationLimit {
            guard place < bytes.count else { throw HPACKError() }
            let byte = bytes[place]
            place &+= 1
            value &+= Int(byte & 0x7f) << (7 &* group)
            if byte & 0x80 == 0 {
                guard value <= limit else { throw HPACKError() }
                return value
            }
        }
        throw HPACKError()
    }

    /// Appends `value` behind the bits `pattern` of the first byte.
    @inline(__always)
    static func append(_ value: Int, mask: UInt8, pattern: UInt8, to output: inout ByteBuffer) {
        if value < Int(mask) {
            output.append(pattern | UInt8(truncatingIfNeeded: value))
        } else {
            appendMore(value, mask, pattern, &output)
        }
    }

    @inline(never)
    private static func appendMore(_ value: Int, _ mask: UInt8, _ pattern: UInt8, _ output: inout ByteBuffer) {
        output.append(pattern | mask)
        var rest = value &- Int(mask)
        while rest >= 0x80 {
            output.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        output.append(UInt8(truncatingIfNeeded: rest))
    }
}
