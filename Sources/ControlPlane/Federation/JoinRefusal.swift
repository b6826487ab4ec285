internal import ControlCoding
package import MeshModel

/// Why a `Join` is refused for another reason than its token. The words go over the wire; the text says what to try.
package enum JoinRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    case malformed(String)
    /// The federation key left or was evicted.
    case keyDead
    /// A name, domain, key or root that is known under another member.
    case conflict(String)
    case badSignature
    /// The sponsor itself has left, or its key does not sign.
    case sponsorUnable

    package var word: String {
        switch self {
        case .malformed: "malformed"
        case .keyDead: "key_dead"
        case .conflict: "conflict"
        case .badSignature: "bad_signature"
        case .sponsorUnable: "sponsor_unable"
        }
    }

    package var description: String {
        switch self {
        case .malformed(let text): "\(word): \(text)"
        case .keyDead: "\(word): this federation key left or was evicted; a return needs a new one"
        case .conflict(let text): "\(word): \(text)"
        case .badSignature: "\(word): the joiner's records are not signed by its federation key"
        case .sponsorUnable: "\(word): the sponsor has left the federation itself"
        }
    }
}

/// A join that may happen as soon as the token's ledger (the authority's) agrees: who wants in, with which secret.
///
/// The order that makes a crash harmless: `FederationMachine.joinIntent`, then the ledger binds the token to the key and that
/// is durable, then `FederationMachine.join`. After a crash between the two the same request finds the token bound to its own
/// key and goes on.
package struct JoinIntent: Hashable, Sendable {
    package let cluster: ClusterID
    package let trustDomain: TrustDomain
    /// DER SPKI: what the token is bound to.
    package let federationKey: [UInt8]
    package let tokenSecret: [UInt8]
    /// Nothing may be consumed.
    package let isPlan: Bool
    let request: JoinRequest
    let statement: MembershipStatement
    let keyName: KeyName
}

/// What a join brings, or in a plan would bring.
package struct JoinOutcome: Hashable, Sendable {
    package var sponsor: ClusterID
    package var admitted: [ClusterID]
    package var pending: [ClusterID]
    /// Exports of the sponsor to this cluster.
    package var exports: [ObjectName]
    /// The sponsor was a member before.
    package var alreadyJoined: Bool
}
