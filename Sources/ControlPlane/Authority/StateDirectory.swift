import Foundation
import Glibc
package import Identity

/// The broker's state directory (PROTOCOLS section 1, Restart): 0700, files 0600, of the own user. It is the vault of the keys,
/// and says where the database lies.
package final class StateDirectory: KeyVault {
    package let path: String
    private static let confirmed = ".key"
    private static let staged = ".key.new"
    /// A private key's PEM has about 250 bytes.
    private static let maximumLength = 16_384

    /// Makes the directory where there is none. Throws `refusedState` for one that is no directory, of another user, or open to
    /// others.
    package init(path: String) throws(AuthorityError) {
        self.path = path
        // SAFETY: the path lives for the call.
        if unsafe mkdir(path, 0o700) != 0, errno != EEXIST {
            throw .refusedState("\(path) cannot be made: \(Self.reason())")
        }
        try Self.judge(path, isDirectory: true)
    }

    package var databasePath: String { path + "/store.db" }
    package var adminSocketPath: String { path + "/admin.sock" }

    /// True when nothing of a broker is here yet: only then may a database be made.
    package func isNew() throws(AuthorityError) -> Bool {
        guard try confirmedNames().isEmpty else { return false }
        // SAFETY: the paths live for the calls.
        return unsafe access(databasePath, F_OK) != 0
    }

    package func stage(_ name: String, _ key: borrowing PrivateKey) throws(AuthorityError) {
        let pem: [UInt8]
        do throws(IdentityError) { pem = try key.pem() } catch { throw .identity(error) }
        let file = try Self.file(path, name, Self.staged)
        // SAFETY: the path lives for the calls.
        unsafe unlink(file)
        let handle = unsafe open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard handle >= 0 else { throw .refusedState("\(file) cannot be made: \(Self.reason())") }
        defer { close(handle) }
        var start = 0
        while start < pem.count {
            // SAFETY: the buffer outlives the call.
            let count = unsafe pem.withUnsafeBytes {
                unsafe write(handle, $0.baseAddress?.advanced(by: start), $0.count - start)
            }
            guard count > 0 || errno == EINTR else {
                throw .refusedState("\(file) cannot be written: \(Self.reason())")
            }
            start += max(0, count)
        }
        guard fsync(handle) == 0 else { throw .refusedState("\(file) cannot be written: \(Self.reason())") }
        try sync()
    }

    package func confirm(_ name: String) throws(AuthorityError) {
        let from = try Self.file(path, name, Self.staged)
        // SAFETY: the paths live for the calls.
        guard unsafe access(from, F_OK) == 0 else { return }
        guard unsafe rename(from, try Self.file(path, name, Self.confirmed)) == 0 else {
            throw .refusedState("\(from) cannot be renamed: \(Self.reason())")
        }
        try sync()
    }

    package func key(_ name: String) throws(AuthorityError) -> PrivateKey? {
        for end in [Self.confirmed, Self.staged] {
            let file = try Self.file(path, name, end)
            // SAFETY: the path lives for the calls.
            let handle = unsafe open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
            if handle < 0, errno == ENOENT { continue }
            guard handle >= 0 else { throw .refusedState("\(file) cannot be read: \(Self.reason())") }
            defer { close(handle) }
            try Self.judge(file, isDirectory: false)
            var bytes = [UInt8](repeating: 0, count: Self.maximumLength)
            // SAFETY: the buffer has that many bytes.
            let count = unsafe bytes.withUnsafeMutableBytes { unsafe pread(handle, $0.baseAddress, $0.count, 0) }
            guard count > 0 else { throw .refusedState("\(file) is empty or cannot be read: restore a backup") }
            do throws(IdentityError) {
                return try PrivateKey(pem: Array(bytes.prefix(count)))
            } catch {
                throw .refusedState("\(file): \(error)")
            }
        }
        return nil
    }

    package func destroy(_ name: String) throws(AuthorityError) {
        for end in [Self.confirmed, Self.staged] {
            let file = try Self.file(path, name, end)
            // SAFETY: the path lives for the call.
            guard unsafe unlink(file) == 0 || errno == ENOENT else {
                throw .refusedState("\(file) cannot be removed: \(Self.reason())")
            }
        }
        try sync()
    }

    package func confirmedNames() throws(AuthorityError) -> [String] { try names(Self.confirmed) }
    package func stagedNames() throws(AuthorityError) -> [String] { try names(Self.staged) }

    private func names(_ end: String) throws(AuthorityError) -> [String] {
        do {
            return try FileManager.default.contentsOfDirectory(atPath: path)
                .filter { $0.hasSuffix(end) && !$0.hasPrefix(".") }.map { String($0.dropLast(end.count)) }.sorted()
        } catch {
            throw .refusedState("\(path) cannot be read: \(error.localizedDescription)")
        }
    }

    private func sync() throws(AuthorityError) {
        // SAFETY: the path lives for the call.
        let handle = unsafe open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard handle >= 0 else { throw .refusedState("\(path): \(Self.reason())") }
        defer { close(handle) }
        guard fsync(handle) == 0 else { throw .refusedState("\(path): \(Self.reason())") }
    }

    /// Names are our own; this keeps a mistake from leaving the directory.
    private static func file(_ path: String, _ name: String, _ end: String) throws(AuthorityError) -> String {
        guard !name.isEmpty,
            name.utf8.allSatisfy({ $0 == 0x2D || (0x30...0x39).contains($0) || (0x61...0x7A).contains($0) })
        else { throw .refusedState("'\(name)' is no name of a key") }
        return "\(path)/\(name)\(end)"
    }

    private static func judge(_ path: String, isDirectory: Bool) throws(AuthorityError) {
        var status = stat()
        // SAFETY: path and structure live for the call.
        guard unsafe lstat(path, &status) == 0 else { throw .refusedState("\(path): \(reason())") }
        guard status.st_mode & S_IFMT == (isDirectory ? S_IFDIR : S_IFREG) else {
            throw .refusedState("\(path) is not a \(isDirectory ? "directory" : "regular file")")
        }
        guard status.st_uid == geteuid() else { throw .refusedState("\(path) belongs to another user") }
        guard status.st_mode & 0o077 == 0 else {
            throw .refusedState(
                "\(path) is open to others: "
                    + (isDirectory ? "give a directory of its own, or run chmod 700 on it" : "run chmod 600 on it"))
        }
    }

    private static func reason() -> String {
        // SAFETY: the text is copied before the next call.
        unsafe String(cString: strerror(errno))
    }
}
