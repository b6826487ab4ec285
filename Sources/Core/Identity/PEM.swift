/// PEM (RFC 7468), read strictly: known labels, base64 lines, no headers inside a block.
package enum PEM {
    /// The largest text that is read, in bytes: a chain of three certificates is about 3 KiB, a bundle of roots more.
    package static let maximumLength = 1 << 20

    /// One block: the label between the dashes and the bytes.
    package struct Block: Hashable, Sendable {
        package let label: String
        package let bytes: [UInt8]
    }

    /// Every block in order; text between blocks is allowed (RFC 7468 section 2).
    ///
    /// Throws `malformed` for a block that does not end, that ends with another label, or that is not base64.
    package static func blocks(_ text: [UInt8]) throws(IdentityError) -> [Block] {
        guard text.count <= maximumLength else { throw .malformed("PEM text longer than \(maximumLength) bytes") }
        var blocks: [Block] = []
        var label: String?
        var body: [UInt8] = []
        for raw in text.split(separator: 0x0A, omittingEmptySubsequences: true) {
            let line = trimmed(raw)
            if let begun = label {
                if let ended = name(line, "-----END ") {
                    guard ended == begun, let bytes = Base64.decode(body) else {
                        throw .malformed("the PEM block '\(begun)' is damaged")
                    }
                    blocks.append(Block(label: begun, bytes: bytes))
                    label = nil
                    body = []
                } else {
                    body += line
                }
            } else {
                label = name(line, "-----BEGIN ")
            }
        }
        guard label == nil else { throw .malformed("a PEM block does not end: the text is cut short") }
        return blocks
    }

    /// The DER of every certificate in order. Throws `malformed` where there is none, or a block of another kind.
    package static func certificates(_ text: [UInt8]) throws(IdentityError) -> [[UInt8]] {
        let blocks = try blocks(text)
        guard !blocks.isEmpty else { throw .malformed("no PEM block in the certificate text") }
        var certificates: [[UInt8]] = []
        for block in blocks {
            guard block.label == "CERTIFICATE" else { throw .malformed("'\(block.label)' among the certificates") }
            certificates.append(block.bytes)
        }
        return certificates
    }

    /// One block with lines of 64 characters.
    package static func encode(_ label: String, _ bytes: [UInt8]) -> [UInt8] {
        var text = Array("-----BEGIN \(label)-----\n".utf8)
        let body = Base64.encode(bytes)
        var start = 0
        while start < body.count {
            let end = min(start + 64, body.count)
            text += body[start..<end]
            text.append(0x0A)
            start = end
        }
        return text + Array("-----END \(label)-----\n".utf8)
    }

    /// A chain, one block after the other.
    package static func encode(certificates: [[UInt8]]) -> [UInt8] {
        certificates.reduce(into: []) { $0 += encode("CERTIFICATE", $1) }
    }

    private static func trimmed(_ line: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        var line = line
        while let last = line.last, last == 0x0D || last == 0x20 || last == 0x09 { line.removeLast() }
        return line
    }

    private static func name(_ line: ArraySlice<UInt8>, _ prefix: String) -> String? {
        let dashes = Array("-----".utf8)
        guard line.starts(with: prefix.utf8), line.count > prefix.utf8.count + dashes.count,
            Array(line.suffix(dashes.count)) == dashes
        else { return nil }
        return String(decoding: line.dropFirst(prefix.utf8.count).dropLast(dashes.count), as: UTF8.self)
    }
}
