/// Rows of this module that are not messages of the contract: a version byte, then fields in a fixed order, all lengths and
/// numbers big-endian. They never leave the broker's own store.
struct RowWriter {
    private(set) var bytes: [UInt8] = [1]

    mutating func number(_ value: UInt64) {
        for shift in stride(from: UInt64(56), through: 0, by: -8) {
            bytes.append(UInt8(truncatingIfNeeded: value >> shift))
        }
    }

    mutating func number(_ value: Int64) { number(UInt64(bitPattern: value)) }
    mutating func byte(_ value: UInt8) { bytes.append(value) }
    mutating func flag(_ value: Bool) { bytes.append(value ? 1 : 0) }

    mutating func data(_ value: [UInt8]) {
        number(UInt64(value.count))
        bytes += value
    }

    mutating func text(_ value: String) { data(Array(value.utf8)) }
}

/// Reads what `RowWriter` wrote; nil for anything else, so that a damaged store is told, not trapped on.
struct RowReader {
    private let bytes: [UInt8]
    private var position = 1

    init?(_ bytes: [UInt8]) {
        guard bytes.first == 1 else { return nil }
        self.bytes = bytes
    }

    var isAtEnd: Bool { position == bytes.count }

    mutating func byte() -> UInt8? {
        guard position < bytes.count else { return nil }
        defer { position += 1 }
        return bytes[position]
    }

    mutating func flag() -> Bool? {
        switch byte() {
        case 0?: false
        case 1?: true
        default: nil
        }
    }

    mutating func number() -> UInt64? {
        guard bytes.count - position >= 8 else { return nil }
        defer { position += 8 }
        return bytes[position..<(position + 8)].reduce(0) { $0 << 8 | UInt64($1) }
    }

    mutating func signedNumber() -> Int64? { number().map(Int64.init(bitPattern:)) }

    mutating func data() -> [UInt8]? {
        guard let length = number(), length <= UInt64(bytes.count - position) else { return nil }
        defer { position += Int(length) }
        return Array(bytes[position..<(position + Int(length))])
    }

    mutating func text() -> String? { data().flatMap { String(validating: $0, as: UTF8.self) } }
}
