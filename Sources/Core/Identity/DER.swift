package import MeshModel

/// Writes ASN.1 DER (X.690) by building values from the inside out. It writes only; what peers send is read by OpenSSL.
package enum DER {
    /// Any value: one tag byte, length, content.
    package static func value(_ tag: UInt8, _ content: [UInt8]) -> [UInt8] {
        var length: [UInt8] = []
        if content.count < 128 {
            length = [UInt8(content.count)]
        } else {
            var rest = content.count
            while rest > 0 {
                length.insert(UInt8(truncatingIfNeeded: rest), at: 0)
                rest >>= 8
            }
            length.insert(0x80 | UInt8(length.count), at: 0)
        }
        return [tag] + length + content
    }

    package static func sequence(_ parts: [UInt8]...) -> [UInt8] { value(0x30, parts.flatMap { $0 }) }
    package static func set(_ parts: [UInt8]...) -> [UInt8] { value(0x31, parts.flatMap { $0 }) }
    package static func octets(_ bytes: [UInt8]) -> [UInt8] { value(0x04, bytes) }
    package static func bits(_ bytes: [UInt8], unused: UInt8 = 0) -> [UInt8] { value(0x03, [unused] + bytes) }
    package static func boolean(_ flag: Bool) -> [UInt8] { value(0x01, [flag ? 0xFF : 0x00]) }
    package static func utf8(_ text: String) -> [UInt8] { value(0x0C, Array(text.utf8)) }

    /// A non-negative integer from its big-endian bytes; leading zeros are dropped, a sign byte added where needed.
    package static func integer(_ magnitude: [UInt8]) -> [UInt8] {
        var content = Array(magnitude.drop { $0 == 0 })
        if content.isEmpty || content[0] >= 0x80 { content.insert(0, at: 0) }
        return value(0x02, content)
    }

    /// `[number]`, constructed when it holds values, primitive when it holds bytes.
    package static func tagged(_ number: UInt8, _ content: [UInt8], constructed: Bool) -> [UInt8] {
        value((constructed ? 0xA0 : 0x80) | number, content)
    }

    /// An object identifier from its arcs, of which there are at least two.
    package static func object(_ arcs: [UInt32]) -> [UInt8] {
        precondition(arcs.count >= 2, "an object identifier has two arcs or more")
        var content = [UInt8(arcs[0] * 40 + arcs[1])]
        for arc in arcs.dropFirst(2) {
            var groups = [UInt8(arc & 0x7F)]
            var rest = arc >> 7
            while rest > 0 {
                groups.insert(UInt8(rest & 0x7F) | 0x80, at: 0)
                rest >>= 7
            }
            content += groups
        }
        return value(0x06, content)
    }

    /// UTCTime through 2049, GeneralizedTime after it (RFC 5280 section 4.1.2.5). Years are held to 1970–9999.
    package static func time(_ time: WallTime) -> [UInt8] {
        let seconds = min(max(time.seconds, 0), 253_402_300_799)
        let (days, clock) = (seconds / 86_400, seconds % 86_400)
        // Days to a civil date, counted in eras of 400 years from 0000-03-01.
        let shifted = days + 719_468
        let (era, dayOfEra) = (shifted / 146_097, shifted % 146_097)
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let part = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * part + 2) / 5 + 1
        let month = part < 10 ? part + 3 : part - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        func digits(_ number: Int64, _ width: Int) -> [UInt8] {
            let text = Array(String(number).utf8)
            return [UInt8](repeating: 0x30, count: max(0, width - text.count)) + text
        }
        let rest =
            digits(month, 2) + digits(day, 2) + digits(clock / 3_600, 2) + digits(clock / 60 % 60, 2)
            + digits(clock % 60, 2) + [0x5A]
        return year < 2_050 ? value(0x17, digits(year % 100, 2) + rest) : value(0x18, digits(year, 4) + rest)
    }
}

/// ECDSA signatures on P-256: r‖s (64 bytes) as meshfed writes them, SEQUENCE{r, s} as X.509 and OpenSSL do.
enum SignatureForm {
    static let length = 64

    static func der(_ signature: [UInt8]) -> [UInt8]? {
        guard signature.count == length else { return nil }
        return DER.sequence(DER.integer(Array(signature[..<32])), DER.integer(Array(signature[32...])))
    }

    /// From what OpenSSL wrote; nil when it is not two integers of at most 32 bytes.
    static func raw(_ der: [UInt8]) -> [UInt8]? {
        guard der.count >= 2, der[0] == 0x30, der[1] < 0x80, Int(der[1]) == der.count - 2 else { return nil }
        var rest = der[2...]
        var signature: [UInt8] = []
        for _ in 0..<2 {
            guard rest.count >= 2, rest.removeFirst() == 0x02 else { return nil }
            let count = Int(rest.removeFirst())
            guard count <= 33, rest.count >= count else { return nil }
            let magnitude = rest.prefix(count).drop { $0 == 0 }
            guard magnitude.count <= 32 else { return nil }
            signature += [UInt8](repeating: 0, count: 32 - magnitude.count) + magnitude
            rest = rest.dropFirst(count)
        }
        return rest.isEmpty ? signature : nil
    }
}
