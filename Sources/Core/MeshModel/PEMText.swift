/// PEM (RFC 7468) certificates as text in configuration objects. Only the armour is judged here, not the certificate.
package enum PEMText {
    private static let begin = Array("-----BEGIN CERTIFICATE-----".utf8)
    private static let end = Array("-----END CERTIFICATE-----".utf8)

    /// DER bytes of every certificate in order; nil when the text holds none, or anything else than certificates.
    package static func certificates(_ text: String) -> [[UInt8]]? {
        var found: [[UInt8]] = []
        var body: [UInt8]?
        for line in text.utf8.split(whereSeparator: { $0 == 0x0A || $0 == 0x0D }) {
            let trimmed = trim(line)
            if trimmed.isEmpty { continue }
            if trimmed == begin {
                guard body == nil else { return nil }
                body = []
            } else if trimmed == end {
                guard let armoured = body, let certificate = base64(armoured), !certificate.isEmpty else { return nil }
                found.append(certificate)
                body = nil
            } else {
                guard body != nil else { return nil }
                body?.append(contentsOf: trimmed)
            }
        }
        return body == nil && !found.isEmpty ? found : nil
    }

    private static func trim(_ line: Substring.UTF8View.SubSequence) -> [UInt8] {
        var bytes = Array(line)
        while let last = bytes.last, last == 0x20 || last == 0x09 { bytes.removeLast() }
        return Array(bytes.drop { $0 == 0x20 || $0 == 0x09 })
    }

    /// Standard base64 with padding; nil for a byte outside the alphabet or a wrong length.
    private static func base64(_ text: [UInt8]) -> [UInt8]? {
        guard text.count % 4 == 0 else { return nil }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.count / 4 * 3)
        var bits: UInt32 = 0
        var held = 0
        var padding = 0
        for byte in text {
            if byte == 0x3D {
                padding += 1
                continue
            }
            guard padding == 0, let value = sextet(byte) else { return nil }
            bits = bits << 6 | UInt32(value)
            held += 6
            if held >= 8 {
                held -= 8
                bytes.append(UInt8(truncatingIfNeeded: bits >> UInt32(held)))
            }
        }
        return padding <= 2 && held == padding * 2 ? bytes : nil
    }

    private static func sextet(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x41...0x5A: byte - 0x41
        case 0x61...0x7A: byte - 0x61 + 26
        case 0x30...0x39: byte - 0x30 + 52
        case 0x2B: 62
        case 0x2F: 63
        default: nil
        }
    }
}
