/// Why a proxy cannot have its identity or its state: what, where, and what to try.
package struct FeedError: Error, Hashable, Sendable, CustomStringConvertible {
    package enum Kind: Hashable, Sendable {
        /// The state directory or a file in it.
        case state
        /// The token: damaged, expired, used, revoked, or for somebody else.
        case token
        /// The broker cannot be reached or is not the one that is expected: worth another try.
        case broker
        /// What the broker answered cannot be used.
        case answer
    }

    package let kind: Kind
    package let what: String
    package let advice: String

    package init(_ kind: Kind, _ what: String, _ advice: String = "") {
        self.kind = kind
        self.what = what
        self.advice = advice
    }

    package var description: String { advice.isEmpty ? what : "\(what); \(advice)" }

    /// Another try may end otherwise.
    package var isTemporary: Bool { kind == .broker }
}
