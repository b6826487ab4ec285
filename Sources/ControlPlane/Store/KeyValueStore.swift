package import MeshModel

/// The number of a committed change: rises by one with each transaction that wrote something, and never goes back.
package struct Revision: Hashable, Comparable, Sendable, CustomStringConvertible {
    package let number: UInt64

    package init(_ number: UInt64) { self.number = number }
    /// Before the first change.
    package static let zero = Revision(0)
    package static func < (left: Revision, right: Revision) -> Bool { left.number < right.number }
    package var description: String { String(number) }
}

/// Where a value stands: a table, and a key in it. Both are compared as bytes.
package struct StoreKey: Hashable, Comparable, Sendable, CustomStringConvertible {
    package let table: StoreTable
    package let key: [UInt8]

    package init(_ table: StoreTable, _ key: [UInt8]) {
        self.table = table
        self.key = key
    }

    package init(_ table: StoreTable, _ key: String) { self.init(table, Array(key.utf8)) }

    package static func < (left: StoreKey, right: StoreKey) -> Bool {
        left.table == right.table ? left.key.lexicographicallyPrecedes(right.key) : left.table < right.table
    }
    package var description: String { "\(table.name)/\(String(decoding: key, as: UTF8.self))" }
}

/// The name of a table. Each module declares its own as constants.
package struct StoreTable: Hashable, Comparable, Sendable {
    package let name: ASCIIText

    /// For names written in the source; printable ASCII without space.
    package init(_ name: StaticString) {
        guard let text = ASCIIText("\(name)") else { preconditionFailure("a table's name is plain text") }
        self.name = text
    }

    /// For names that come from a database.
    package init(stored name: ASCIIText) { self.name = name }

    package static func < (left: StoreTable, right: StoreTable) -> Bool { left.name < right.name }
}

/// A value and the revision that wrote it last.
package struct StoreEntry: Hashable, Sendable {
    package let key: StoreKey
    package let value: [UInt8]
    package let revision: Revision

    package init(key: StoreKey, value: [UInt8], revision: Revision) {
        self.key = key
        self.value = value
        self.revision = revision
    }
}

/// What has to hold for a write to happen.
package enum StoreCondition: Hashable, Sendable {
    case always
    case absent
    case present
    /// The entry is there and was written last by this revision.
    case at(Revision)
}

/// One key that a revision wrote or removed.
package struct StoreChange: Hashable, Sendable {
    package enum Kind: Hashable, Sendable { case put, delete }

    package let key: StoreKey
    package let revision: Revision
    package let kind: Kind

    package init(key: StoreKey, revision: Revision, kind: Kind) {
        self.key = key
        self.revision = revision
        self.kind = kind
    }
}

/// What happened since a revision.
package enum StoreHistory: Hashable, Sendable {
    /// In order of revision; `upTo` is where to go on from.
    case changes([StoreChange], upTo: Revision)
    /// The history does not reach back that far, or the revision is not of this store: read everything again.
    case gone(current: Revision)
}

/// Limits on what is stored. A peer's data is judged long before it comes here; these guard against our own mistakes.
package enum StoreLimits {
    package static let keyLength = 1_024
    package static let valueLength = 16 << 20
    /// Revisions that `changes(since:)` can go back.
    package static let history = 8_192
}

/// Reading at one point in time. Valid inside the closure that got it only.
package protocol StoreReading: AnyObject {
    /// The newest revision that this sees.
    var revision: Revision { get }
    func get(_ key: StoreKey) throws(StoreError) -> StoreEntry?
    /// Entries of `table` whose key begins with `prefix` and is greater than `after`, in order of key, at most `limit`.
    func list(
        _ table: StoreTable, prefix: [UInt8], after: [UInt8]?, limit: Int
    ) throws(StoreError) -> [StoreEntry]
    /// How many entries of `table` have a key that begins with `prefix`.
    func count(_ table: StoreTable, prefix: [UInt8]) throws(StoreError) -> Int
}

extension StoreReading {
    /// Every entry of `table` under `prefix`, in order of key.
    package func list(_ table: StoreTable, prefix: [UInt8] = []) throws(StoreError) -> [StoreEntry] {
        try list(table, prefix: prefix, after: nil, limit: .max)
    }

    package func count(_ table: StoreTable) throws(StoreError) -> Int { try count(table, prefix: []) }
}

/// Reading and writing in one transaction. A write says whether it happened: that answer, not an earlier read, decides.
package protocol StoreTransaction: StoreReading {
    /// Writes when `condition` holds; returns whether it did.
    func put(_ key: StoreKey, _ value: [UInt8], if condition: StoreCondition) throws(StoreError) -> Bool
    /// Removes when `condition` holds and the entry is there; returns whether it did.
    func delete(_ key: StoreKey, if condition: StoreCondition) throws(StoreError) -> Bool
}

extension StoreTransaction {
    package func put(_ key: StoreKey, _ value: [UInt8]) throws(StoreError) {
        _ = try put(key, value, if: .always)
    }

    @discardableResult
    package func delete(_ key: StoreKey) throws(StoreError) -> Bool { try delete(key, if: .always) }
}

/// One piece of work in a commit; it returns nothing and hands its result out by itself.
package typealias StoreWork = (any StoreTransaction) throws(StoreError) -> Void

/// Everything that a broker needs after a crash: transactional, with revisions and a watch.
///
/// One writer at a time. What a `write` or `commit` returned for is durable. Calls must not be nested: a body uses the
/// transaction it was given, never the store.
package protocol KeyValueStore: AnyObject, Sendable {
    /// The newest committed revision.
    var revision: Revision { get }

    /// Reads at one point in time.
    func read<Result: Sendable>(
        _ body: (any StoreReading) throws(StoreError) -> Result
    ) throws(StoreError) -> Result

    /// Runs several pieces of work in one durable commit, in order. Each sees what those before it wrote, and is undone alone
    /// when it throws. Answers with each one's revision (nil when it wrote nothing) or error; when the commit itself fails,
    /// all of them fail.
    func commit(_ works: [StoreWork]) -> [Result<Revision?, StoreError>]

    /// What changed after `revision`; at most about `limit` changes, never half of a revision.
    func changes(since revision: Revision, limit: Int) throws(StoreError) -> StoreHistory

    /// Calls `notice` after every commit that wrote something, with the newest revision, on the thread that committed. It must
    /// be short and must not call the store. The observation lasts as long as the returned object.
    func observe(_ notice: @escaping @Sendable (Revision) -> Void) -> StoreObservation

    /// Ends it; later calls throw `closed`.
    func close() throws(StoreError)
}

extension KeyValueStore {
    /// Runs `body` in a commit of its own; everything or nothing of it is written.
    package func write<Result: Sendable>(
        _ body: (any StoreTransaction) throws(StoreError) -> Result
    ) throws(StoreError) -> Result {
        var result: Result?
        let outcome = withoutActuallyEscaping(body) { body in
            func work(_ transaction: any StoreTransaction) throws(StoreError) { result = try body(transaction) }
            return commit([work])
        }
        switch outcome.first {
        case .success?: break
        case .failure(let error)?: throw error
        case nil: throw .closed
        }
        guard let result else { throw .closed }
        return result
    }

    package func changes(since revision: Revision) throws(StoreError) -> StoreHistory {
        try changes(since: revision, limit: .max)
    }

    package func get(_ key: StoreKey) throws(StoreError) -> StoreEntry? {
        try read { (reading) throws(StoreError) in try reading.get(key) }
    }
}
