/// One entry for libFuzzer and for unit tests: any bytes, through every parser of this module that reads what peers send.
package enum IdentityFuzzEntry {
    /// Parsers that the first byte selects.
    package static let parserCount: UInt8 = 8

    /// Must return for every input.
    package static func judge(_ bytes: [UInt8]) {
        guard let selector = bytes.first else { return }
        judge(Array(bytes.dropFirst()), parser: selector % parserCount)
    }

    /// As `judge`, with the parser chosen by number. Returns true when the bytes were accepted.
    @discardableResult
    package static func judge(_ bytes: [UInt8], parser: UInt8) -> Bool {
        switch parser {
        case 0: (try? Certificate(der: bytes)) != nil
        case 1: (try? CertificateRequest(der: bytes)) != nil
        case 2: (try? PublicKey(spki: bytes)) != nil
        case 3: OriginToken(text: bytes.span) != nil
        case 4: OriginToken(text: Base64.encodeURL(bytes).span) != nil
        case 5: OriginClaims(decoding: bytes[...]) != nil
        case 6: (try? JoinToken(text: String(decoding: bytes, as: UTF8.self))) != nil
        default: (try? PEM.certificates(bytes)) != nil
        }
    }
}
