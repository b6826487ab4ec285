import Foundation
import GRDB
import Glibc
import Store

/// The files of a database: holds the lock that keeps a second process away, and judges them before anything is opened.
final class SQLiteFile: Sendable {
    /// The schema that this program writes and reads. Another one is refused; a later release may bring a migration.
    static let schema = 1
    /// `mshf`: marks the file as ours (PRAGMA application_id).
    static let applicationID = 0x6D73_6866

    let path: String
    private let lock: Int32

    /// Takes the lock on `<path>.lock`; it ends with the process, however that ends.
    init(path: String) throws(StoreError) {
        self.path = path
        // SAFETY: the path lives for the call.
        let file = unsafe open(path + ".lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard file >= 0 else { throw .refused("\(path).lock cannot be opened: \(Self.reason())") }
        guard flock(file, LOCK_EX | LOCK_NB) == 0 else {
            let text = errno == EWOULDBLOCK ? "another process holds the database" : Self.reason()
            Glibc.close(file)
            throw .refused("\(path): \(text)")
        }
        lock = file
    }

    deinit { Glibc.close(lock) }

    /// Makes the database where there is none and `create` says so; judges the one that is there.
    func check(create: Bool) throws(StoreError) {
        guard let size = Self.size(path) else {
            // A log holds committed changes: making a fresh file beside it would bury them.
            for left in ["-wal", "-journal"] where (Self.size(path + left) ?? 0) > 0 {
                throw .refused("\(path)\(left) is there but \(path) is not: restore the whole backup")
            }
            guard create else { throw .refused("\(path): there is no database") }
            return try make()
        }
        guard size > 0 else { throw .refused("\(path) is empty: restore a backup, or remove it to begin anew") }
        try checkPermissions()
        try checkContent()
    }

    /// Builds the database under another name and renames it, so that it is whole or not there.
    private func make() throws(StoreError) {
        let fresh = path + ".new"
        // SAFETY: each path lives for its call.
        for left in ["", "-wal", "-shm", "-journal"] { unsafe unlink(fresh + left) }
        // SAFETY: the path lives for the call.
        let file = unsafe open(fresh, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard file >= 0 else { throw .refused("\(fresh) cannot be made: \(Self.reason())") }
        Glibc.close(file)
        try SQLiteStore.translate(fresh) {
            let queue = try DatabaseQueue(path: fresh)
            try queue.writeWithoutTransaction { try $0.execute(sql: "PRAGMA synchronous = FULL") }
            try queue.write { database in
                try database.execute(
                    sql: """
                        CREATE TABLE entry(
                            tbl TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, revision INTEGER NOT NULL,
                            PRIMARY KEY(tbl, key)
                        ) STRICT, WITHOUT ROWID;
                        CREATE TABLE change(
                            revision INTEGER NOT NULL, tbl TEXT NOT NULL, key BLOB NOT NULL, kind INTEGER NOT NULL,
                            PRIMARY KEY(revision, tbl, key)
                        ) STRICT, WITHOUT ROWID;
                        CREATE TABLE meta(name TEXT PRIMARY KEY NOT NULL, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
                        INSERT INTO meta(name, value) VALUES ('revision', 0), ('pruned', 0);
                        PRAGMA user_version = \(Self.schema);
                        PRAGMA application_id = \(Self.applicationID);
                        """)
            }
            try queue.close()
        }
        // SAFETY: both paths live for the call.
        guard unsafe rename(fresh, path) == 0 else { throw .refused("\(path) cannot be made: \(Self.reason())") }
        try syncDirectory()
    }

    private func checkPermissions() throws(StoreError) {
        var status = stat()
        // SAFETY: the structure outlives the call.
        guard unsafe lstat(path, &status) == 0 else { throw .refused("\(path): \(Self.reason())") }
        guard status.st_mode & S_IFMT == S_IFREG else { throw .refused("\(path) is not a regular file") }
        guard status.st_uid == geteuid() else { throw .refused("\(path) belongs to another user") }
        guard status.st_mode & 0o077 == 0 else { throw .refused("\(path) is open to others: run chmod 600 on it") }
        // Root may write to anything; a file that its owner may not write to was made so on purpose.
        guard status.st_mode & 0o200 != 0, unsafe access(path, W_OK) == 0 else {
            throw .refused("\(path) is read-only")
        }
    }

    /// Reads the header by hand first: SQLite would take a file that is too short for an empty one.
    private func checkContent() throws(StoreError) {
        // SAFETY: the path lives for the call.
        let file = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard file >= 0 else { throw .refused("\(path): \(Self.reason())") }
        defer { Glibc.close(file) }
        var header = [UInt8](repeating: 0, count: 100)
        // SAFETY: the buffer has 100 bytes.
        let count = unsafe header.withUnsafeMutableBytes { unsafe pread(file, $0.baseAddress, $0.count, 0) }
        guard count == 100, header.starts(with: Array("SQLite format 3".utf8) + [0]) else {
            throw .corrupt("\(path) is not a database of meshfed")
        }
        func number(_ place: Int) -> Int { header[place..<place + 4].reduce(0) { $0 << 8 | Int($1) } }
        guard number(68) == Self.applicationID else { throw .refused("\(path) is a database of another program") }
        let schema = number(60)
        guard schema == Self.schema else {
            let way =
                schema > Self.schema ? "newer: use the release that wrote it" : "older: use a release that can read it"
            throw .refused("\(path) has schema \(schema), this release has \(Self.schema); it is \(way)")
        }
        let damage = try SQLiteStore.translate(path) {
            let queue = try DatabaseQueue(path: path)
            let lines = try queue.inDatabase { try String.fetchAll($0, sql: "PRAGMA quick_check(3)") }
            let version = try queue.inDatabase { try Int.fetchOne($0, sql: "PRAGMA user_version") }
            try queue.close()
            return lines == ["ok"] && version == Self.schema ? "" : lines.joined(separator: "; ")
        }
        guard damage.isEmpty else { throw .corrupt("\(path) is damaged (\(damage)): restore a backup") }
    }

    private func syncDirectory() throws(StoreError) {
        let folder = (path as NSString).deletingLastPathComponent
        // SAFETY: the path lives for the call.
        let file = unsafe open(folder.isEmpty ? "." : folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard file >= 0 else { throw .unavailable("\(folder): \(Self.reason())") }
        defer { Glibc.close(file) }
        guard fsync(file) == 0 else { throw .unavailable("\(folder): \(Self.reason())") }
    }

    /// Bytes of the file, nil when there is none.
    static func size(_ path: String) -> Int? {
        var status = stat()
        // SAFETY: the structure outlives the call.
        return unsafe lstat(path, &status) == 0 ? Int(status.st_size) : nil
    }

    private static func reason() -> String {
        // SAFETY: the text is copied before the next call.
        unsafe String(cString: strerror(errno))
    }
}
