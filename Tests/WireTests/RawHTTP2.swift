/// Frames written by hand, for what a session of ours never sends.
struct RawHTTP2 {
    var bytes: [UInt8] = []

    struct Frame: Equatable {
        var type: UInt8
        var flags: UInt8
        var stream: Int32
        var payload: [UInt8]
    }

    /// Preface and empty SETTINGS.
    mutating func open() {
        bytes += Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
        frame(4, 0, 0, [])
    }

    mutating func frame(_ type: UInt8, _ flags: UInt8, _ stream: Int32, _ payload: [UInt8]) {
        let count = payload.count
        bytes += [UInt8(count >> 16 & 255), UInt8(count >> 8 & 255), UInt8(count & 255), type, flags]
        for shift: Int32 in [24, 16, 8, 0] { bytes.append(UInt8(truncatingIfNeeded: stream >> shift)) }
        bytes += payload
    }

    /// HEADERS with literal fields, never indexed, no Huffman code.
    mutating func headers(_ stream: Int32, _ fields: [(String, String)], endStream: Bool, endHeaders: Bool = true) {
        frame(1, (endHeaders ? 4 : 0) | (endStream ? 1 : 0), stream, Self.literals(fields))
    }

    static func literals(_ fields: [(String, String)]) -> [UInt8] {
        var payload: [UInt8] = []
        for (name, value) in fields {
            payload.append(0x10)
            payload += length(name.utf8.count) + Array(name.utf8)
            payload += length(value.utf8.count) + Array(value.utf8)
        }
        return payload
    }

    private static func length(_ count: Int) -> [UInt8] {
        if count < 127 { return [UInt8(count)] }
        var result: [UInt8] = [127]
        var rest = count - 127
        while rest >= 128 {
            result.append(UInt8(rest & 127) | 128)
            rest >>= 7
        }
        return result + [UInt8(rest)]
    }

    static func frames(_ bytes: [UInt8]) -> [Frame] {
        var result: [Frame] = []
        var index = 0
        while index + 9 <= bytes.count {
            let count = Int(bytes[index]) << 16 | Int(bytes[index + 1]) << 8 | Int(bytes[index + 2])
            let end = index + 9 + count
            guard end <= bytes.count else { break }
            var stream: Int32 = 0
            for byte in bytes[(index + 5)..<(index + 9)] { stream = stream << 8 | Int32(byte) }
            result.append(
                Frame(
                    type: bytes[index + 3], flags: bytes[index + 4], stream: stream,
                    payload: Array(bytes[(index + 9)..<end])))
            index = end
        }
        return result
    }
}
