/// Where the services of a serialised snapshot stand, and the rest of it as a message of its own.
///
/// The messages of 10,000 endpoints take ten times as much memory as what is made of them, and what is made between them keeps
/// their pages from going back to the kernel: services are parsed one after the other.
struct SnapshotParts {
    /// `Snapshot.services` (snapshot.proto).
    private static let services: UInt64 = 8

    private(set) var services: [Range<Int>] = []
    private(set) var rest: [UInt8] = []

    /// Nil for bytes that are not fields one after the other, or hold groups: the parser judges them whole.
    init?(_ bytes: [UInt8]) {
        var place = 0
        while place < bytes.count {
            let start = place
            guard let key = Self.number(bytes, &place), key >> 3 > 0 else { return nil }
            var content = 0
            switch key & 7 {
            case 0: guard Self.number(bytes, &place) != nil else { return nil }
            case 1: content = 8
            case 2:
                guard let length = Self.number(bytes, &place), length <= UInt64(bytes.count - place) else { return nil }
                content = Int(length)
            case 5: content = 4
            default: return nil
            }
            guard content <= bytes.count - place else { return nil }
            if key == Self.services << 3 | 2 {
                services.append(place..<place + content)
            } else {
                rest.append(contentsOf: bytes[start..<place + content])
            }
            place += content
        }
    }

    /// A varint of at most ten bytes; nil when it does not end.
    private static func number(_ bytes: [UInt8], _ place: inout Int) -> UInt64? {
        var value: UInt64 = 0
        for shift in stride(from: 0, to: 64, by: 7) {
            guard place < bytes.count else { return nil }
            let byte = bytes[place]
            place += 1
            value |= UInt64(byte & 0x7F) << UInt64(shift)
            if byte < 0x80 { return value }
        }
        return nil
    }
}
