import Foundation
import Glibc

/// Files that a command reads and writes.
enum Files {
    /// All of standard input, at most `limit` bytes.
    static func standardInput(limit: Int) throws(CommandFailure) -> [UInt8] {
        try read(descriptor: 0, name: "standard input", limit: limit)
    }

    /// All of `path`, at most `limit` bytes; `-` is standard input.
    static func read(_ path: String, limit: Int) throws(CommandFailure) -> [UInt8] {
        if path == "-" { return try standardInput(limit: limit) }
        // SAFETY: the path is read during the call only.
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("cannot read \(path)", errno, "check the path") }
        defer { close(descriptor) }
        return try read(descriptor: descriptor, name: path, limit: limit)
    }

    /// A private key: refused when others than its owner can read it.
    static func readSecret(_ path: String, limit: Int) throws(CommandFailure) -> [UInt8] {
        var info = stat()
        // SAFETY: written during the call only.
        if unsafe stat(path, &info) == 0, info.st_mode & 0o077 != 0 {
            throw CommandFailure("\(path) can be read by others than its owner; chmod 600 \(path)", kind: .badFile)
        }
        return try read(path, limit: limit)
    }

    /// Writes `path` whole or not at all, with mode 0600: a file beside it, synced, then renamed.
    static func writePrivate(_ bytes: [UInt8], to path: String) throws(CommandFailure) {
        var name = Array("\(path).XXXXXX".utf8CString)
        // SAFETY: mkstemp rewrites the last six bytes of the array that it is lent; its file has mode 0600.
        let descriptor = unsafe mkstemp(&name)
        guard descriptor >= 0 else { throw failure("cannot write \(path)", errno, "check that its folder exists") }
        let temporary = String(decoding: name.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        var rest = ArraySlice(bytes)
        var code: Int32 = 0
        while !rest.isEmpty, code == 0 {
            // SAFETY: the bytes are lent for the length of the call.
            let count = unsafe rest.withUnsafeBytes { unsafe write(descriptor, $0.baseAddress, $0.count) }
            if count > 0 { rest = rest.dropFirst(count) } else if errno != EINTR { code = errno }
        }
        if code == 0, fsync(descriptor) != 0 { code = errno }
        if close(descriptor) != 0, code == 0 { code = errno }
        // SAFETY: both paths are read during the calls only.
        if code == 0, unsafe rename(temporary, path) != 0 { code = errno }
        guard code == 0 else {
            _ = unsafe unlink(temporary)
            throw failure("cannot write \(path)", code, "check its folder and the free space")
        }
    }

    private static func read(descriptor: Int32, name: String, limit: Int) throws(CommandFailure) -> [UInt8] {
        var bytes: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 65_536)
        while true {
            // SAFETY: the block is lent for the length of the call.
            let count = unsafe block.withUnsafeMutableBytes { unsafe Glibc.read(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw failure("cannot read \(name)", errno, "give a file") }
            if count == 0 { return bytes }
            bytes += block[..<count]
            guard bytes.count <= limit else {
                throw CommandFailure("\(name) is longer than \(limit) bytes; give another file", kind: .badFile)
            }
        }
    }

    private static func failure(_ what: String, _ code: Int32, _ advice: String) -> CommandFailure {
        // SAFETY: strerror's text is copied at once; only the main thread calls it.
        CommandFailure("\(what): \(unsafe String(cString: strerror(code))); \(advice)")
    }
}
