internal import Glibc
internal import Reactor

/// A proxy's state directory (PROTOCOLS section 1, Restart): 0700, files 0600, of the own user, locked by one process.
///
/// Files: `key.pem svid.pem` (and `key.next.pem svid.next.pem` while a renewal is under way), `snapshot.bin`,
/// `enrolment.json` (no secret), `lock`. Written whole: a temporary file, fsync, rename, fsync of the directory.
package final class ProxyStateDirectory {
    package let path: String
    private var lock: FileLock?

    /// A directory that another process holds and will hand over: to be read only until `adoptLock`. Throws `state` as the other
    /// way in does.
    package init(heldByAnother path: String) throws(FeedError) {
        self.path = path
        try Self.judge(path, isDirectory: true)
    }

    /// The lock, to be sent to the process that takes over.
    package var lockDescriptor: Int32? {
        switch lock {
        case .some(let held): held.descriptor
        case .none: nil
        }
    }

    /// The lock that the other process sent: the directory is this one's from here on.
    package func adoptLock(_ descriptor: Int32) { lock = FileLock(adopting: descriptor) }

    /// Takes the lock, when nobody holds it any more.
    package func acquireLock() throws(FeedError) {
        do throws(SocketError) { lock = try FileLock.acquire(path: path + "/lock") } catch {
            throw FeedError(.state, error.description)
        }
    }

    /// Lets go; what the other process has of the lock holds it.
    package func releaseLock() { lock = nil }

    /// Makes the directory where there is none, and locks it. Throws `state` for one that is no directory, of another user,
    /// open to others, or in use by another process.
    package init(path: String) throws(FeedError) {
        self.path = path
        // SAFETY: the path lives for the call.
        if unsafe mkdir(path, 0o700) != 0, errno != EEXIST {
            throw FeedError(.state, "the state directory \(path) cannot be made: \(Self.reason())")
        }
        try Self.judge(path, isDirectory: true)
        do throws(SocketError) {
            lock = try FileLock.acquire(path: path + "/lock")
        } catch {
            guard error.code == EWOULDBLOCK else { throw FeedError(.state, error.description) }
            throw FeedError(
                .state, "the state directory \(path) is in use by another process",
                "give each process its own --state-dir")
        }
    }

    /// The whole file; nil when there is none. Throws `state` for one that is longer than `limit`, open to others, no regular
    /// file, or unreadable.
    package func read(_ name: String, limit: Int) throws(FeedError) -> [UInt8]? {
        let file = "\(path)/\(name)"
        // SAFETY: the path lives for the call.
        let handle = unsafe open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        if handle < 0, errno == ENOENT { return nil }
        guard handle >= 0 else { throw FeedError(.state, "\(file) cannot be read: \(Self.reason())") }
        defer { close(handle) }
        try Self.judge(file, isDirectory: false)
        guard let bytes = FileBytes.readAll(handle, limit: limit) else {
            throw FeedError(.state, "\(file) cannot be read, or is longer than \(limit) bytes")
        }
        return bytes
    }

    /// Replaces the file at once and durably.
    package func write(_ name: String, _ bytes: [UInt8]) throws(FeedError) {
        let file = "\(path)/\(name)"
        let temporary = file + ".tmp"
        // SAFETY: the paths live for the calls.
        unsafe unlink(temporary)
        let handle = unsafe open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard handle >= 0 else { throw FeedError(.state, "\(temporary) cannot be made: \(Self.reason())") }
        let isWritten = FileBytes.writeAll(handle, bytes) && fsync(handle) == 0
        let failure = isWritten ? "" : Self.reason()
        close(handle)
        guard isWritten else {
            unsafe unlink(temporary)
            throw FeedError(.state, "\(file) cannot be written: \(failure)")
        }
        try rename("\(name).tmp", to: name)
    }

    /// Replaces `target` by `name`, durably.
    package func rename(_ name: String, to target: String) throws(FeedError) {
        // SAFETY: the paths live for the call.
        guard unsafe Glibc.rename("\(path)/\(name)", "\(path)/\(target)") == 0 else {
            throw FeedError(.state, "\(path)/\(target) cannot be written: \(Self.reason())")
        }
        try sync()
    }

    /// Nothing happens where there is none.
    package func remove(_ name: String) throws(FeedError) {
        // SAFETY: the path lives for the call.
        guard unsafe unlink("\(path)/\(name)") == 0 || errno == ENOENT else {
            throw FeedError(.state, "\(path)/\(name) cannot be removed: \(Self.reason())")
        }
    }

    private func sync() throws(FeedError) {
        // SAFETY: the path lives for the call.
        let handle = unsafe open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard handle >= 0 else { throw FeedError(.state, "\(path): \(Self.reason())") }
        defer { close(handle) }
        guard fsync(handle) == 0 else { throw FeedError(.state, "\(path): \(Self.reason())") }
    }

    private static func judge(_ path: String, isDirectory: Bool) throws(FeedError) {
        var status = stat()
        // SAFETY: path and structure live for the call.
        guard unsafe lstat(path, &status) == 0 else { throw FeedError(.state, "\(path): \(reason())") }
        guard status.st_mode & S_IFMT == (isDirectory ? S_IFDIR : S_IFREG) else {
            throw FeedError(.state, "\(path) is not a \(isDirectory ? "directory" : "regular file")")
        }
        guard status.st_uid == geteuid() else {
            throw FeedError(
                .state, "\(path) belongs to another user", "run as its owner, or choose another --state-dir")
        }
        guard status.st_mode & 0o077 == 0 else {
            throw FeedError(
                .state, "\(path) is open to others",
                isDirectory
                    ? "give a directory of its own, or chmod 700 \(path)" : "chmod 600 \(path)")
        }
    }

    private static func reason() -> String {
        // SAFETY: the text is copied before the next call.
        unsafe String(cString: strerror(errno))
    }
}

/// Whole files through descriptors.
enum FileBytes {
    /// Nil on an error, and above `limit`.
    static func readAll(_ handle: Int32, limit: Int) -> [UInt8]? {
        var bytes: [UInt8] = []
        var room = [UInt8](repeating: 0, count: 65_536)
        while true {
            // SAFETY: the buffer has that many bytes.
            let count = unsafe room.withUnsafeMutableBytes { unsafe Glibc.read(handle, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { return nil }
            if count == 0 { return bytes }
            bytes += room[..<count]
            if bytes.count > limit { return nil }
        }
    }

    static func writeAll(_ handle: Int32, _ bytes: [UInt8]) -> Bool {
        var start = 0
        while start < bytes.count {
            // SAFETY: the buffer outlives the call.
            let count = unsafe bytes.withUnsafeBytes {
                unsafe Glibc.write(handle, $0.baseAddress?.advanced(by: start), $0.count - start)
            }
            guard count > 0 || errno == EINTR else { return false }
            start += max(0, count)
        }
        return true
    }
}
