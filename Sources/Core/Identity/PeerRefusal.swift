internal import COpenSSL

/// Why a peer's certificates are not believed.
package enum PeerRefusal: Error, Hashable, Sendable, CaseIterable {
    case noCertificate
    case malformed
    case notSingleURI
    case badSPIFFEID
    case unknownTrustDomain
    case emptyBundle
    case leafIsCA
    case keyUsage
    case extendedKeyUsage
    case unsupportedKey
    case expired
    case notYetValid
    case unknownCA
    case badSignature
    case revoked
    case chainTooLong
    case wrongDomain
    case chainInvalid

    /// One sentence for logs; holds no byte of the peer's.
    package var reason: String {
        switch self {
        case .noCertificate: "the peer showed no certificate"
        case .malformed: "a certificate of the chain cannot be read"
        case .notSingleURI: "the leaf does not hold exactly one URI name"
        case .badSPIFFEID: "the leaf's URI is not a SPIFFE ID with a path"
        case .unknownTrustDomain: "there is no bundle for the leaf's trust domain"
        case .emptyBundle: "the bundle of the leaf's trust domain is empty"
        case .leafIsCA: "the leaf is a CA certificate"
        case .keyUsage: "the leaf's key usage is not digitalSignature, critical, without signing of certificates"
        case .extendedKeyUsage: "the leaf is not meant for this side of TLS"
        case .unsupportedKey: "a key of the chain is of a kind or size that is not accepted"
        case .expired: "a certificate of the chain has expired"
        case .notYetValid: "a certificate of the chain is not valid yet"
        case .unknownCA: "the chain does not end at a root of the leaf's trust domain"
        case .badSignature: "a signature in the chain is wrong"
        case .revoked: "the certificate is revoked"
        case .chainTooLong: "the chain is longer than leaf, intermediate and root"
        case .wrongDomain: "a CA of the chain belongs to another trust domain"
        case .chainInvalid: "the chain breaks a rule of RFC 5280"
        }
    }

    /// The X509_V_ERR_* that makes OpenSSL send `tlsAlert`.
    package var verifyError: Int32 {
        switch self {
        case .noCertificate, .malformed, .notSingleURI, .badSPIFFEID, .leafIsCA, .keyUsage, .unsupportedKey,
            .badSignature,
            .wrongDomain, .chainInvalid:
            X509_V_ERR_CERT_REJECTED
        case .unknownTrustDomain, .emptyBundle, .unknownCA: X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY
        case .chainTooLong: X509_V_ERR_CERT_CHAIN_TOO_LONG
        case .extendedKeyUsage: X509_V_ERR_INVALID_PURPOSE
        case .expired: X509_V_ERR_CERT_HAS_EXPIRED
        case .notYetValid: X509_V_ERR_CERT_NOT_YET_VALID
        case .revoked: X509_V_ERR_CERT_REVOKED
        }
    }

    /// The alert that the peer sees (RFC 8446 section 6.2; the mapping is OpenSSL 3.0's own).
    package var tlsAlert: UInt8 {
        switch self {
        case .noCertificate: 116
        case .malformed, .notSingleURI, .badSPIFFEID, .leafIsCA, .keyUsage, .unsupportedKey, .badSignature,
            .wrongDomain,
            .chainInvalid, .notYetValid:
            42
        case .unknownTrustDomain, .emptyBundle, .unknownCA, .chainTooLong: 48
        case .extendedKeyUsage: 43
        case .expired: 45
        case .revoked: 44
        }
    }

    /// What OpenSSL said about a chain, in our words.
    init(verifyError: Int32) {
        self =
            switch verifyError {
            case X509_V_ERR_CERT_CHAIN_TOO_LONG, X509_V_ERR_PATH_LENGTH_EXCEEDED: .chainTooLong
            case X509_V_ERR_INVALID_PURPOSE: .extendedKeyUsage
            case X509_V_ERR_CERT_SIGNATURE_FAILURE: .badSignature
            case X509_V_ERR_CA_KEY_TOO_SMALL, X509_V_ERR_EE_KEY_TOO_SMALL, X509_V_ERR_CA_MD_TOO_WEAK: .unsupportedKey
            case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
                X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT,
                X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, X509_V_ERR_CERT_UNTRUSTED, X509_V_ERR_INVALID_CA:
                .unknownCA
            default: .chainInvalid
            }
    }
}
