import Foundation
import Glibc

/// The supervisor's UNIX socket, mode 0600: one JSON line in, one JSON line out, then it closes.
///
/// It is reached through `/proc/self/fd` of the directory, so that a long path does not meet the 108 bytes of sun_path.
final class ControlSocket {
    static let name = "control.sock"
    /// A request is a verb and some names.
    private static let maximumRequest = 64 * 1024

    private let descriptor: Int32

    /// Binds and listens in `directory`; what a dead supervisor left there is replaced.
    init(directory: String) throws {
        // SAFETY: open, unlink and bind read their paths and the address for the length of each call.
        let folder = unsafe open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        defer { close(folder) }
        let path = "/proc/self/fd/\(folder)/\(Self.name)"
        _ = unsafe unlink(path)
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        let mask = umask(0o177)
        defer { _ = umask(mask) }
        guard unsafe Self.with(path, { unsafe bind(descriptor, $0, $1) }) == 0, listen(descriptor, 16) == 0 else {
            throw TopologyFailure("cannot listen on \(directory)/\(Self.name): \(ChildProcess.errorText(errno))")
        }
    }

    deinit { close(descriptor) }

    /// The next request and the descriptor to answer on, or nil when none came within `milliseconds`.
    func next(milliseconds: Int32) -> (request: ControlRequest?, connection: Int32)? {
        var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        // SAFETY: one pollfd, written for the length of the call.
        guard unsafe poll(&entry, 1, milliseconds) == 1 else { return nil }
        let connection = accept(descriptor, nil, nil)
        guard connection >= 0 else { return nil }
        let line = Self.readLine(connection, milliseconds: 1_000)
        return (line.flatMap { try? JSONDecoder().decode(ControlRequest.self, from: $0) }, connection)
    }

    /// Writes `answer` and closes the connection.
    static func answer(_ answer: ControlAnswer, on connection: Int32) {
        if let data = try? JSONEncoder().encode(answer) { _ = write(data + Data("\n".utf8), to: connection) }
        close(connection)
    }

    /// Asks the supervisor of `directory`; nil when none listens there.
    static func ask(_ request: ControlRequest, directory: String, seconds: Int32) throws -> ControlAnswer? {
        // SAFETY: open and connect read the path and the address for the length of each call.
        let folder = unsafe open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard folder >= 0 else { return nil }
        defer { close(folder) }
        let connection = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        defer { close(connection) }
        guard unsafe with("/proc/self/fd/\(folder)/\(name)", { unsafe connect(connection, $0, $1) }) == 0 else {
            return nil
        }
        guard write(try JSONEncoder().encode(request) + Data("\n".utf8), to: connection),
            let line = readLine(connection, milliseconds: seconds * 1_000)
        else {
            throw TopologyFailure("the supervisor of \(directory) gave no answer within \(seconds) s; see its log")
        }
        return try JSONDecoder().decode(ControlAnswer.self, from: line)
    }

    private static func write(_ data: Data, to descriptor: Int32) -> Bool {
        var sent = 0
        while sent < data.count {
            let rest = data.dropFirst(sent)
            // SAFETY: the pointer is used inside the closure only.
            let count = unsafe rest.withUnsafeBytes {
                unsafe send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return false }
            sent += count
        }
        return true
    }

    private static func readLine(_ descriptor: Int32, milliseconds: Int32) -> Data? {
        var data = Data()
        let deadline = Date().addingTimeInterval(Double(milliseconds) / 1_000)
        var block = [UInt8](repeating: 0, count: 4_096)
        while data.count <= maximumRequest * 16 {
            let left = deadline.timeIntervalSinceNow
            var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            // SAFETY: one pollfd, and a block of its own length, for the length of each call.
            guard left > 0, unsafe poll(&entry, 1, Int32(left * 1_000)) == 1 else { return nil }
            let count = unsafe read(descriptor, &block, block.count)
            guard count > 0 else { return nil }
            data += block[..<count]
            if let end = data.firstIndex(of: 0x0A) { return data[..<end] }
        }
        return nil
    }

    private static func with(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        // SAFETY: the path is shorter than sun_path (/proc/self/fd/N/control.sock) and is copied inside the closure.
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { room in
            unsafe room.copyBytes(from: path.utf8.prefix(room.count - 1))
        }
        return unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }
}
