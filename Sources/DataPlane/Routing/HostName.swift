/// A host as an app writes it, brought to the one spelling that the table knows: lower case, no trailing dot, and for a
/// one-label name the caller's namespace behind it.
enum HostName {
    /// A DNS name has at most 253 bytes; a label and its dot may be added.
    private static let capacity = 320

    /// Splits `host[:port]` and hands over the spelling of the table; `.malformed` when it is no host.
    static func withParts(
        _ host: Span<UInt8>, namespace: [UInt8], _ body: (Span<UInt8>, UInt16?) -> HostMatch
    ) -> HostMatch {
        var end = host.count
        var port: UInt16?
        for index in 0..<host.count where host[index] == 0x3A {
            guard let number = parsePort(host.extracting((index + 1)..<host.count)) else { return .malformed }
            port = number
            end = index
            break
        }
        if end > 0, host[end - 1] == 0x2E { end -= 1 }
        guard end > 0, end <= 253 else { return .malformed }
        var name = InlineArray<320, UInt8>(repeating: 0)
        var dots = 0
        for index in 0..<end {
            let byte = host[index]
            switch byte {
            case 0x61...0x7A, 0x30...0x39, 0x2D, 0x5F: name[index] = byte
            case 0x41...0x5A: name[index] = byte | 0x20
            case 0x2E:
                if index == 0 || host[index - 1] == 0x2E { return .malformed }
                dots += 1
                name[index] = byte
            default: return .malformed
            }
        }
        var count = end
        if dots == 0, count + 1 + namespace.count <= capacity {
            name[count] = 0x2E
            for (offset, byte) in namespace.enumerated() { name[count + 1 + offset] = byte }
            count += 1 + namespace.count
        }
        return body(name.span.extracting(0..<count), port)
    }

    /// 1–65535, decimal digits only, no leading zero.
    private static func parsePort(_ digits: Span<UInt8>) -> UInt16? {
        guard digits.count > 0, digits.count <= 5, digits[0] != 0x30 else { return nil }
        var value: UInt32 = 0
        for index in 0..<digits.count {
            guard digits[index] >= 0x30, digits[index] <= 0x39 else { return nil }
            value = value * 10 + UInt32(digits[index] - 0x30)
        }
        return UInt16(exactly: value)
    }
}
