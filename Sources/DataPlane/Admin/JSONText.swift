/// Writes JSON (RFC 8259) in the order of the calls; commas are its own business.
struct JSONText {
    private(set) var bytes: [UInt8] = []
    private var needsComma = false

    mutating func object(_ name: String? = nil, _ body: (inout JSONText) -> Void) { group(name, 0x7B, 0x7D, body) }

    mutating func array(_ name: String? = nil, _ body: (inout JSONText) -> Void) { group(name, 0x5B, 0x5D, body) }

    mutating func array<Element>(
        _ name: String, of list: some Sequence<Element>, _ body: (inout JSONText, Element) -> Void
    ) {
        array(name) { json in for element in list { body(&json, element) } }
    }

    mutating func string(_ name: String? = nil, _ value: String) {
        begin(name)
        quote(value)
        needsComma = true
    }

    mutating func number(_ name: String? = nil, _ value: some BinaryInteger) {
        begin(name)
        bytes += Array("\(value)".utf8)
        needsComma = true
    }

    mutating func bool(_ name: String? = nil, _ value: Bool) {
        begin(name)
        bytes += Array((value ? "true" : "false").utf8)
        needsComma = true
    }

    private mutating func group(_ name: String?, _ open: UInt8, _ close: UInt8, _ body: (inout JSONText) -> Void) {
        begin(name)
        bytes.append(open)
        needsComma = false
        body(&self)
        bytes.append(close)
        needsComma = true
    }

    private mutating func begin(_ name: String?) {
        if needsComma { bytes.append(0x2C) }
        needsComma = false
        guard let name else { return }
        quote(name)
        bytes.append(0x3A)
    }

    private mutating func quote(_ text: String) {
        bytes.append(0x22)
        for byte in text.utf8 {
            switch byte {
            case 0x22, 0x5C: bytes += [0x5C, byte]
            case 0..<0x20, 0x7F:
                let digits = Array("0123456789abcdef".utf8)
                bytes += Array("\\u00".utf8) + [digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            default: bytes.append(byte)
            }
        }
        bytes.append(0x22)
    }
}
