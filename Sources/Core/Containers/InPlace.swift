internal import Synchronization

/// A member that keeps a large noncopyable struct in its place.
///
/// The compiler hands a struct that it could load to every borrowing call as a copy in a temporary, however large it is: asking
/// an exchange one question copied a kilobyte. A struct with this member has an address and nothing else, so that its address is
/// what is handed on. It takes one byte and holds nothing. (docs/decisions, "structs in their place")
public struct InPlace: ~Copyable {
    private let pin = Atomic<UInt8>(0)

    public init() {}
}
