package import Identity
package import Store

/// Why the authority did not do what was asked. `word` is what goes over the wire; `description` is for a person.
package enum AuthorityError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Keys and database do not belong together, or may not be used; nothing was made.
    case refusedState(String)
    case store(StoreError)
    case identity(IdentityError)
    /// A step of the life cycle that is not allowed now; the text says what has to come first.
    case wrongPhase(String)
    /// Not every proxy and member has said that it holds the bundle with the new root.
    case notAcknowledged(needed: UInt64, acknowledged: UInt64)
    case unknownAuthority(String)
    /// The ID is of another trust domain, or not one that this call may give.
    case foreignIdentity(String)
    case tokenUnknown
    case tokenExpired
    case tokenRevoked
    /// The token was used up, by another key.
    case tokenUsed
    /// The token is for something else: another purpose, cluster or trust domain.
    case tokenMismatch(String)
    case renewalRefused(String)
    case revoked
    /// A bounded list is full; the text says which and what to do.
    case full(String)
    case badRequest(String)

    /// One word, the same in answers and logs.
    package var word: String {
        switch self {
        case .refusedState: "refused_state"
        case .store: "store"
        case .identity: "bad_request"
        case .wrongPhase: "wrong_phase"
        case .notAcknowledged: "not_acknowledged"
        case .unknownAuthority: "unknown_authority"
        case .foreignIdentity: "foreign_identity"
        case .tokenUnknown: "token_unknown"
        case .tokenExpired: "token_expired"
        case .tokenRevoked: "token_revoked"
        case .tokenUsed: "token_used"
        case .tokenMismatch: "token_mismatch"
        case .renewalRefused: "renewal_refused"
        case .revoked: "revoked"
        case .full: "full"
        case .badRequest: "bad_request"
        }
    }

    package var description: String {
        switch self {
        case .refusedState(let text), .wrongPhase(let text), .foreignIdentity(let text), .tokenMismatch(let text),
            .renewalRefused(let text), .full(let text), .badRequest(let text):
            text
        case .store(let error): error.description
        case .identity(let error): error.description
        case .notAcknowledged(let needed, let acknowledged):
            "the bundle with the new root is sequence \(needed), but only \(acknowledged) is acknowledged by all; wait for it"
        case .unknownAuthority(let id): "there is no authority '\(id)'"
        case .tokenUnknown: "this broker does not know the token; make a new one with 'meshfed token create'"
        case .tokenExpired: "the token has expired; make a new one with 'meshfed token create'"
        case .tokenRevoked: "the token was revoked"
        case .tokenUsed: "the token was used already, with another key; make a new one with 'meshfed token create'"
        case .revoked: "the certificate is revoked; enrol anew with a token"
        }
    }
}
