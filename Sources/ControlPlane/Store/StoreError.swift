/// Why a store did not do what was asked.
package enum StoreError: Error, Hashable, Sendable, CustomStringConvertible {
    /// A condition that the transaction's own body required did not hold; nothing was written.
    case conflict(String)
    /// A key or value beyond its limit; nothing was written.
    case tooLarge(String)
    /// The disk or the database failed. Whether the last write is there is unknown; the store takes no more writes.
    case unavailable(String)
    /// The database's content is damaged.
    case corrupt(String)
    /// The database may not be opened: another schema, another process, wrong permissions. The text says what to do.
    case refused(String)
    /// More work is waiting than the queue holds; try again later.
    case overloaded
    /// The transaction or the store is over.
    case closed

    package var description: String {
        switch self {
        case .conflict(let text), .tooLarge(let text), .unavailable(let text), .corrupt(let text), .refused(let text):
            text
        case .overloaded: "too many changes are waiting for the store"
        case .closed: "the store is closed"
        }
    }
}
