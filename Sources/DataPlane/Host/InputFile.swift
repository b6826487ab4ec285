internal import Glibc

/// Files that an operator names on the command line.
enum InputFile {
    /// The whole file. Throws with what, where and what to try. `secret`: nobody else may be able to read it.
    static func read(_ path: String, flag: String, limit: Int, secret: Bool = false) throws(HostFailure) -> [UInt8] {
        // SAFETY: the path lives for the call.
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw HostFailure("--\(flag) \(path): \(text(errno)); give a file that this user can read", status: 65)
        }
        defer { close(descriptor) }
        var facts = stat()
        // SAFETY: written during the call only.
        guard unsafe fstat(descriptor, &facts) == 0, facts.st_mode & S_IFMT == S_IFREG else {
            throw HostFailure("--\(flag) \(path): not a regular file", status: 65)
        }
        if secret, facts.st_mode & 0o077 != 0 {
            throw HostFailure(
                "--\(flag) \(path): others may read this key; try 'chmod 600 \(path)'", status: 65)
        }
        guard facts.st_size <= limit else {
            throw HostFailure("--\(flag) \(path): larger than \(limit) bytes", status: 65)
        }
        var bytes = [UInt8](repeating: 0, count: Int(facts.st_size))
        var filled = 0
        while filled < bytes.count {
            let room = bytes.count - filled
            // SAFETY: the buffer has `room` bytes from `filled` on.
            let count = unsafe bytes.withUnsafeMutableBytes { buffer in
                unsafe Glibc.read(descriptor, buffer.baseAddress.map { unsafe $0 + filled }, room)
            }
            guard count > 0 else { break }
            filled += count
        }
        guard filled == bytes.count else { throw HostFailure("--\(flag) \(path): cannot be read", status: 65) }
        return bytes
    }

    private static func text(_ code: Int32) -> String {
        // SAFETY: strerror's text is copied at once.
        unsafe strerror(code).map { unsafe String(cString: $0) } ?? "error \(code)"
    }
}

/// What goes to standard error: one line.
package enum Notice {
    package static func write(_ line: String) {
        let bytes = Array("\(line)\n".utf8)
        // SAFETY: the bytes live for the call.
        _ = unsafe bytes.withUnsafeBytes { unsafe Glibc.write(2, $0.baseAddress, $0.count) }
    }
}
