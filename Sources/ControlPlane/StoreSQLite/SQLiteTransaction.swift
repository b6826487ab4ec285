import Foundation
import GRDB
import MeshModel
import Store

/// One transaction, or one reading, on a connection that GRDB lends for the length of a closure.
final class SQLiteTransaction: StoreTransaction {
    private let database: Database
    private(set) var hasWritten = false
    private var isOpen = true
    let revision: Revision

    init(_ database: Database, revision: Revision) {
        self.database = database
        self.revision = revision
    }

    /// The revision that this one's writes get.
    var next: Revision { Revision(revision.number + 1) }

    func end() { isOpen = false }

    func get(_ key: StoreKey) throws(StoreError) -> StoreEntry? {
        try run { database in
            let statement = try database.cachedStatement(
                sql: "SELECT value, revision FROM entry WHERE tbl = ? AND key = ?")
            guard let row = try Row.fetchOne(statement, arguments: [key.table.name.description, Data(key.key)]) else {
                return nil
            }
            return StoreEntry(
                key: key, value: [UInt8](row[0] as Data), revision: Revision(UInt64(bitPattern: row[1])))
        }
    }

    func list(
        _ table: StoreTable, prefix: [UInt8], after: [UInt8]?, limit: Int
    ) throws(StoreError) -> [StoreEntry] {
        try run { database in
            var sql = "SELECT key, value, revision FROM entry WHERE tbl = ? AND key >= ?"
            var arguments: StatementArguments = [table.name.description, Data(prefix)]
            if let end = Self.successor(prefix) {
                sql += " AND key < ?"
                arguments += [Data(end)]
            }
            if let after {
                sql += " AND key > ?"
                arguments += [Data(after)]
            }
            sql += " ORDER BY key LIMIT ?"
            arguments += [Int64(clamping: max(0, limit))]
            let rows = try Row.fetchCursor(database, sql: sql, arguments: arguments)
            var found: [StoreEntry] = []
            while let row = try rows.next() {
                found.append(
                    StoreEntry(
                        key: StoreKey(table, [UInt8](row[0] as Data)), value: [UInt8](row[1] as Data),
                        revision: Revision(UInt64(bitPattern: row[2]))))
            }
            return found
        }
    }

    func count(_ table: StoreTable, prefix: [UInt8]) throws(StoreError) -> Int {
        try run { database in
            var sql = "SELECT count(*) FROM entry WHERE tbl = ? AND key >= ?"
            var arguments: StatementArguments = [table.name.description, Data(prefix)]
            if let end = Self.successor(prefix) {
                sql += " AND key < ?"
                arguments += [Data(end)]
            }
            return try Int.fetchOne(database, sql: sql, arguments: arguments) ?? 0
        }
    }

    func put(_ key: StoreKey, _ value: [UInt8], if condition: StoreCondition) throws(StoreError) -> Bool {
        guard key.key.count <= StoreLimits.keyLength, value.count <= StoreLimits.valueLength else {
            throw .tooLarge("\(key) is larger than the store takes")
        }
        let (table, name, bytes) = (key.table.name.description, Data(key.key), Data(value))
        let number = Int64(bitPattern: next.number)
        return try run { database in
            switch condition {
            case .always:
                try database.execute(
                    sql: """
                        INSERT INTO entry(tbl, key, value, revision) VALUES (?, ?, ?, ?)
                        ON CONFLICT(tbl, key) DO UPDATE SET value = excluded.value, revision = excluded.revision
                        """, arguments: [table, name, bytes, number])
            case .absent:
                try database.execute(
                    sql: """
                        INSERT INTO entry(tbl, key, value, revision) VALUES (?, ?, ?, ?)
                        ON CONFLICT(tbl, key) DO NOTHING
                        """, arguments: [table, name, bytes, number])
            case .present:
                try database.execute(
                    sql: "UPDATE entry SET value = ?, revision = ? WHERE tbl = ? AND key = ?",
                    arguments: [bytes, number, table, name])
            case .at(let revision):
                try database.execute(
                    sql: "UPDATE entry SET value = ?, revision = ? WHERE tbl = ? AND key = ? AND revision = ?",
                    arguments: [bytes, number, table, name, Int64(bitPattern: revision.number)])
            }
            return try self.record(database, key, kind: 1)
        }
    }

    func delete(_ key: StoreKey, if condition: StoreCondition) throws(StoreError) -> Bool {
        let (table, name) = (key.table.name.description, Data(key.key))
        return try run { database in
            switch condition {
            case .always, .present:
                try database.execute(sql: "DELETE FROM entry WHERE tbl = ? AND key = ?", arguments: [table, name])
            case .absent: return false
            case .at(let revision):
                try database.execute(
                    sql: "DELETE FROM entry WHERE tbl = ? AND key = ? AND revision = ?",
                    arguments: [table, name, Int64(bitPattern: revision.number)])
            }
            return try self.record(database, key, kind: 0)
        }
    }

    /// Whether the last statement changed a row; if so, the change goes into the history.
    private func record(_ database: Database, _ key: StoreKey, kind: Int) throws -> Bool {
        guard database.changesCount == 1 else { return false }
        hasWritten = true
        try database.execute(
            sql: "INSERT OR REPLACE INTO change(revision, tbl, key, kind) VALUES (?, ?, ?, ?)",
            arguments: [Int64(bitPattern: next.number), key.table.name.description, Data(key.key), kind])
        return true
    }

    private func run<Result>(_ body: (Database) throws -> Result) throws(StoreError) -> Result {
        guard isOpen else { throw .closed }
        return try SQLiteStore.translate("the database") { try body(database) }
    }

    /// The smallest key above every key that begins with `prefix`; nil when there is none.
    private static func successor(_ prefix: [UInt8]) -> [UInt8]? {
        var end = prefix
        while let last = end.popLast() {
            if last < 0xFF { return end + [last + 1] }
        }
        return nil
    }
}
