/// Why something of this module could not be made or read. Refusals of a peer are `PeerRefusal` and `OriginRefusal`.
package enum IdentityError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The bytes are not what they should be; the text names the thing and the fault.
    case malformed(String)
    /// A key that meshfed does not use: leaf keys are ECDSA P-256 (PROTOCOLS section 1).
    case unsupportedKey(String)
    /// The private key is not the one whose public half the certificate holds.
    case keyMismatch
    /// A certificate that is well-formed but no SVID; the text says which rule it breaks.
    case notAnSVID(String)
    /// A bundle that cannot be used; the text names the trust domain and the fault.
    case badBundle(String)
    /// OpenSSL failed where only lack of memory or of randomness makes it fail; the text names the call.
    case cryptographyFailed(String)

    package var description: String {
        switch self {
        case .malformed(let text): text
        case .unsupportedKey(let text): text
        case .keyMismatch: "the private key does not belong to the certificate"
        case .notAnSVID(let text): "not an SVID: \(text)"
        case .badBundle(let text): text
        case .cryptographyFailed(let call): "the cryptography library failed in \(call)"
        }
    }
}
