internal import Containers

/// Questions and copies that take their source as a whole: a caller whose blocks stand in slabs can lend a block, but not a span
/// of it, beyond one call.
extension HeaderBlock {
    /// The first field of that name has exactly this value.
    package func says(_ name: HeaderName, _ literal: StaticString) -> Bool { value(of: name).equals(literal) }

    package func says(_ name: HeaderName, _ bytes: [UInt8]) -> Bool { value(of: name).equals(bytes.span) }

    /// A copy of the value of the first field of that name; empty when there is none.
    package func bytes(of name: HeaderName) -> [UInt8] {
        let value = value(of: name)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(value.count)
        for index in 0..<value.count { bytes.append(value[index]) }
        return bytes
    }

    /// Two fields or more of that name.
    package func isRepeated(_ name: HeaderName) -> Bool {
        guard let first = first(name) else { return false }
        return next(name, from: first + 1) != nil
    }

    /// The value of the first field of that name as a decimal number.
    package func number(_ name: HeaderName) -> Int? { value(of: name).decimal }

    package mutating func append(_ name: HeaderName, _ text: borrowing OutputBuffer) { append(name, text.bytes) }

    package mutating func append(name: StaticString, _ text: borrowing OutputBuffer) {
        append(name: name, value: text.bytes)
    }

    /// A field of that name (in lower case) is there, known or not.
    package func contains(named name: StaticString) -> Bool {
        for index in 0..<count where nameBytes(at: index).equals(name) { return true }
        return false
    }
}
