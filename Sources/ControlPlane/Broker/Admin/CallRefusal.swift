internal import Authority
internal import ControlCoding
internal import Federation
internal import Identity
internal import RPC
internal import Store
internal import Wire

/// Why a call is refused: the gRPC status and one line that says what, where and what to try.
struct CallRefusal: Error {
    let status: GRPCStatus
    let text: String

    init(_ status: GRPCStatus, _ text: String) {
        self.status = status
        self.text = text
    }

    /// The word goes first: it is what programs look at.
    init(_ error: AuthorityError) {
        text = "\(error.word): \(error)"
        status =
            switch error {
            case .store(.overloaded): .unavailable
            case .store, .refusedState: .internalError
            case .identity, .badRequest, .tokenMismatch: .invalidArgument
            case .wrongPhase, .notAcknowledged: .failedPrecondition
            case .unknownAuthority: .notFound
            case .foreignIdentity, .tokenUnknown, .tokenExpired, .tokenRevoked, .tokenUsed, .renewalRefused, .revoked:
                .permissionDenied
            case .full: .resourceExhausted
            }
    }

    init(_ error: FederationError) {
        text = error.description
        status =
            switch error {
            case .unknownMember: .notFound
            case .corruptRow, .signing: .internalError
            case .ambiguous, .notPending, .conflict, .ownKeyDead, .badAnswer: .failedPrecondition
            }
    }

    init(_ refusal: ObjectRefusal) { self.init(refusal.status, refusal.text) }
    init(_ error: CodingError) { self.init(.invalidArgument, error.description) }
    init(_ error: IdentityError) { self.init(.invalidArgument, error.description) }
    init(_ end: RPCEnd, _ where: String) { self.init(end.status, "\(`where`): \(end.message)") }
}
