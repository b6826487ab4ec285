import Foundation
import GRDB
internal import MeshModel
package import Store
import Synchronization

/// The store of one broker: SQLite in WAL mode with `synchronous=FULL`, so that what was answered survives a loss of power.
package final class SQLiteStore: KeyValueStore {
    private let pool: DatabasePool
    private let guardian: SQLiteFile
    private let observers = StoreObservers()
    private let history: Int
    private struct State {
        var revision = Revision.zero
        /// Set when a commit failed: what is on the disk is then unknown until the next start.
        var failure: StoreError?
    }
    private let state = Mutex(State())

    /// Opens the database at `path`, or makes one there when `create` is true and there is none.
    ///
    /// Throws `refused` or `corrupt`, saying why and what to do, for a file that is empty, damaged, not writable, open to
    /// others, of another schema, without its main file, or held by another process.
    package init(path: String, create: Bool, history: Int = StoreLimits.history) throws(StoreError) {
        self.history = history
        guardian = try SQLiteFile(path: path)
        try guardian.check(create: create)
        pool = try Self.translate(path) {
            var configuration = Configuration()
            configuration.label = "store"
            configuration.busyMode = .timeout(5)
            configuration.maximumReaderCount = 4
            return try DatabasePool(path: path, configuration: configuration)
        }
        let revision = try Self.translate(path) {
            try pool.writeWithoutTransaction { database in
                // GRDB sets NORMAL after opening a pool; only what is set now stays.
                try database.execute(sql: "PRAGMA synchronous = FULL")
                // A reader that stays open makes the log grow; what it leaves behind is cut to this many bytes.
                try database.execute(sql: "PRAGMA journal_size_limit = 67108864")
                guard try Int.fetchOne(database, sql: "PRAGMA synchronous") == 2,
                    try String.fetchOne(database, sql: "PRAGMA journal_mode") == "wal"
                else { throw StoreError.refused("\(path): the database does not take synchronous=FULL in WAL mode") }
                return try Self.number("revision", database)
            }
        }
        state.withLock { $0.revision = Revision(revision) }
    }

    package var revision: Revision { state.withLock { $0.revision } }

    /// `PRAGMA synchronous` of the writer: 2 is FULL.
    package func synchronousLevel() throws(StoreError) -> Int {
        try Self.translate(guardian.path) {
            try pool.writeWithoutTransaction { try Int.fetchOne($0, sql: "PRAGMA synchronous") ?? -1 }
        }
    }

    /// Bytes in the write-ahead log: grows while a reader stays open; worth an alarm above some tens of MiB.
    package var logByteCount: Int { SQLiteFile.size(guardian.path + "-wal") ?? 0 }

    package func read<Result: Sendable>(
        _ body: (any StoreReading) throws(StoreError) -> Result
    ) throws(StoreError) -> Result {
        try Self.translate(guardian.path) {
            try pool.read { database in
                let transaction = SQLiteTransaction(database, revision: Revision(try Self.number("revision", database)))
                defer { transaction.end() }
                return try body(transaction)
            }
        }
    }

    package func commit(_ works: [StoreWork]) -> [Result<Revision?, StoreError>] {
        if let failure = state.withLock({ $0.failure }) { return works.map { _ in .failure(failure) } }
        let before = revision
        var results: [Result<Revision?, StoreError>] = []
        var after = before
        do throws(StoreError) {
            try Self.translate(guardian.path) {
                try pool.writeWithoutTransaction { database in
                    try database.inTransaction(.immediate) {
                        for work in works { results.append(try Self.run(work, database, &after)) }
                        if after > before {
                            try database.execute(
                                sql: "UPDATE meta SET value = ? WHERE name = 'revision'",
                                arguments: [Int64(bitPattern: after.number)])
                            try Self.prune(database, after, history)
                        }
                        return .commit
                    }
                }
            }
        } catch {
            state.withLock { $0.failure = error }
            return works.map { _ in .failure(error) }
        }
        if after > before {
            state.withLock { $0.revision = after }
            observers.notify(after)
        }
        return results
    }

    package func changes(since revision: Revision, limit: Int) throws(StoreError) -> StoreHistory {
        try Self.translate(guardian.path) {
            try pool.read { database in
                let current = Revision(try Self.number("revision", database))
                guard revision.number >= (try Self.number("pruned", database)), revision <= current else {
                    return StoreHistory.gone(current: current)
                }
                let rows = try Row.fetchCursor(
                    database,
                    sql: "SELECT revision, tbl, key, kind FROM change WHERE revision > ? ORDER BY revision, tbl, key",
                    arguments: [Int64(bitPattern: revision.number)])
                var found: [StoreChange] = []
                while let row = try rows.next() {
                    let number = Revision(UInt64(bitPattern: row[0]))
                    if found.count >= limit, let last = found.last, last.revision != number {
                        return .changes(found, upTo: last.revision)
                    }
                    let key = StoreKey(try Self.table(row[1]), [UInt8](row[2] as Data))
                    found.append(StoreChange(key: key, revision: number, kind: row[3] == 1 ? .put : .delete))
                }
                return .changes(found, upTo: current)
            }
        }
    }

    package func observe(_ notice: @escaping @Sendable (Revision) -> Void) -> StoreObservation { observers.add(notice) }

    package func close() throws(StoreError) {
        state.withLock { $0.failure = $0.failure ?? .closed }
        try Self.translate(guardian.path) { try pool.close() }
    }

    /// One piece of work in a savepoint of its own.
    private static func run(
        _ work: StoreWork, _ database: Database, _ revision: inout Revision
    ) throws -> Result<Revision?, StoreError> {
        let transaction = SQLiteTransaction(database, revision: revision)
        defer { transaction.end() }
        var refusal: StoreError?
        try database.inSavepoint {
            do throws(StoreError) {
                try work(transaction)
                return .commit
            } catch {
                // A failing disk ends the commit; what the body itself refuses ends the body alone.
                switch error {
                case .unavailable, .corrupt: throw error
                case .conflict, .tooLarge, .refused, .overloaded, .closed:
                    refusal = error
                    return .rollback
                }
            }
        }
        if let refusal { return .failure(refusal) }
        guard transaction.hasWritten else { return .success(nil) }
        revision = transaction.next
        return .success(revision)
    }

    private static func prune(_ database: Database, _ revision: Revision, _ history: Int) throws {
        let keep = UInt64(clamping: max(0, history))
        guard revision.number > keep else { return }
        let limit = Int64(bitPattern: revision.number - keep)
        try database.execute(sql: "DELETE FROM change WHERE revision <= ?", arguments: [limit])
        try database.execute(sql: "UPDATE meta SET value = max(value, ?) WHERE name = 'pruned'", arguments: [limit])
    }

    private static func number(_ name: String, _ database: Database) throws -> UInt64 {
        guard let value = try Int64.fetchOne(database, sql: "SELECT value FROM meta WHERE name = ?", arguments: [name])
        else { throw StoreError.corrupt("the database lacks its '\(name)' number") }
        return UInt64(bitPattern: value)
    }

    private static func table(_ name: String) throws -> StoreTable {
        guard let text = ASCIIText(name) else { throw StoreError.corrupt("a table's name in the database is damaged") }
        return StoreTable(stored: text)
    }

    /// Runs `body` and gives every error one of our names.
    static func translate<Result>(_ path: String, _ body: () throws -> Result) throws(StoreError) -> Result {
        do {
            return try body()
        } catch let error as StoreError {
            throw error
        } catch let error as DatabaseError {
            switch error.resultCode {
            case .SQLITE_CORRUPT, .SQLITE_NOTADB:
                throw .corrupt("\(path): \(error.message ?? "the database is damaged")")
            case .SQLITE_MISUSE: throw .closed
            default: throw .unavailable("\(path): \(error.message ?? "the database failed") (\(error.resultCode))")
            }
        } catch {
            throw .unavailable("\(path): \(error)")
        }
    }
}
