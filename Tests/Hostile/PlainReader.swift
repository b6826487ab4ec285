/// Another reader of HTTP/1.1 requests than the one under test: as plain as possible, and with no leniency at all. What meshfed
/// writes must mean the same to it as it meant to meshfed.
struct PlainReader {
    struct Request: Equatable {
        var method: [UInt8]
        var target: [UInt8]
        var host: [UInt8]
        var body: [UInt8]
        var names: [[UInt8]]
    }

    /// Nil for anything that is not exactly one whole request.
    static func one(_ bytes: [UInt8]) -> Request? {
        var reader = PlainReader(rest: bytes[...])
        guard let request = reader.request(), reader.rest.isEmpty else { return nil }
        return request
    }

    private var rest: ArraySlice<UInt8>

    private mutating func line() -> [UInt8]? {
        guard let end = rest.firstIndex(of: 0x0D), end + 1 < rest.endIndex, rest[end + 1] == 0x0A else { return nil }
        let line = Array(rest[..<end])
        rest = rest[(end + 2)...]
        return line.contains { $0 < 0x20 && $0 != 0x09 || $0 == 0x7F } ? nil : line
    }

    private mutating func request() -> Request? {
        guard let start = line() else { return nil }
        let words = start.split(separator: 0x20, omittingEmptySubsequences: false).map(Array.init)
        guard words.count == 3, words[2] == Array("HTTP/1.1".utf8) else { return nil }
        var host: [UInt8]?
        var length: Int?
        var isChunked = false
        var names: [[UInt8]] = []
        while true {
            guard let line = line() else { return nil }
            if line.isEmpty { break }
            guard let colon = line.firstIndex(of: 0x3A), colon > 0 else { return nil }
            let name = line[..<colon].map { $0 >= 0x41 && $0 <= 0x5A ? $0 | 0x20 : $0 }
            guard !name.contains(where: { $0 <= 0x20 || $0 >= 0x7F }) else { return nil }
            let value = Self.trimmed(line[(colon + 1)...])
            names.append(name)
            switch String(decoding: name, as: UTF8.self) {
            case "host":
                guard host == nil else { return nil }
                host = value
            case "content-length":
                guard length == nil, let number = Self.decimal(value) else { return nil }
                length = number
            case "transfer-encoding":
                guard !isChunked, value == Array("chunked".utf8) else { return nil }
                isChunked = true
            default: break
            }
        }
        guard let host, !(isChunked && length != nil) else { return nil }
        guard let body = isChunked ? chunks() : take(length ?? 0) else { return nil }
        return Request(method: words[0], target: words[1], host: host, body: body, names: names)
    }

    private mutating func chunks() -> [UInt8]? {
        var body: [UInt8] = []
        while true {
            guard let line = line(), let size = Self.hexadecimal(line), let part = take(size) else { return nil }
            if size == 0 { break }
            body += part
            guard let end = self.line(), end.isEmpty else { return nil }
        }
        while let line = line() {
            if line.isEmpty { return body }
            guard line.contains(0x3A) else { return nil }
        }
        return nil
    }

    private mutating func take(_ count: Int) -> [UInt8]? {
        guard rest.count >= count else { return nil }
        let bytes = Array(rest.prefix(count))
        rest = rest.dropFirst(count)
        return bytes
    }

    private static func trimmed(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
        let start = bytes.drop { $0 == 0x20 || $0 == 0x09 }
        return Array(start.reversed().drop { $0 == 0x20 || $0 == 0x09 }.reversed())
    }

    private static func decimal(_ bytes: [UInt8]) -> Int? {
        guard !bytes.isEmpty, bytes.count < 10 else { return nil }
        return bytes.reduce(Optional(0)) { sum, byte in
            byte >= 0x30 && byte <= 0x39 ? sum.map { $0 * 10 + Int(byte - 0x30) } : nil
        }
    }

    private static func hexadecimal(_ bytes: [UInt8]) -> Int? {
        guard !bytes.isEmpty, bytes.count < 8 else { return nil }
        return bytes.reduce(Optional(0)) { sum, byte in
            switch byte {
            case 0x30...0x39: sum.map { $0 * 16 + Int(byte - 0x30) }
            case 0x41...0x46: sum.map { $0 * 16 + Int(byte - 0x37) }
            case 0x61...0x66: sum.map { $0 * 16 + Int(byte - 0x57) }
            default: nil
            }
        }
    }
}
