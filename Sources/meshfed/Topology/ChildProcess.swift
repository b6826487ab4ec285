import Foundation
import Glibc

/// The programs that a topology runs.
struct RunPrograms {
    let meshfed: String
    let proxy: String

    /// This program, and `meshfed-proxy` beside it (or where `MESHFED_PROXY` says).
    static func find() throws -> RunPrograms {
        let own = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        let sibling = (own as NSString).deletingLastPathComponent + "/meshfed-proxy"
        let proxy = ProcessInfo.processInfo.environment["MESHFED_PROXY"] ?? sibling
        guard FileManager.default.isExecutableFile(atPath: proxy) else {
            throw TopologyFailure("no program \(proxy); build it, or name it in MESHFED_PROXY")
        }
        return RunPrograms(meshfed: own, proxy: proxy)
    }
}

/// How a child ended.
enum ChildEnd: Equatable, CustomStringConvertible {
    case exited(Int32)
    case killed(Int32)

    init(status: Int32) {
        let signal = status & 0x7F
        self = signal == 0 ? .exited(status >> 8 & 0xFF) : .killed(signal)
    }

    var description: String {
        switch self {
        case .exited(let code): "exited with status \(code)"
        case .killed(let signal): "ended by signal \(signal)"
        }
    }
}

/// Starts and watches children: own process group, empty signal mask, default handlers, no inherited descriptors.
///
/// `setpriv --pdeathsig KILL` makes each of them end with the thread that started it, so only the main thread may start one.
enum ChildProcess {
    /// Starts `arguments` in network namespace `namespace` (nil: the caller's), output appended to `log`.
    static func start(
        _ arguments: [String], namespace: String?, environment: [String: String], directory: String, log: String,
        survivesParent: Bool = false, uid: Int? = nil
    ) throws -> pid_t {
        var line: [String] = []
        if let namespace { line += ["nsenter", "--net=\(NamespaceNetwork.directory)/\(namespace)"] }
        line += ["env", "--chdir=\(directory)"]
        if !survivesParent { line += ["setpriv", "--pdeathsig", "KILL"] }
        if let uid {
            // The state directory below the runner's own is not the user's: it may pass all the same.
            line += [
                "--reuid", "\(uid)", "--clear-groups", "--inh-caps", "+dac_override", "--ambient-caps", "+dac_override",
            ]
        }
        line += arguments
        let variables = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        return try spawn(
            line, environment: variables.map { "\($0)=\($1)" }, log: log, session: survivesParent)
    }

    /// The end of child `pid`, nil while it runs.
    static func end(of pid: pid_t) -> ChildEnd? {
        var status: Int32 = 0
        // SAFETY: waitpid writes one Int32 for the length of the call.
        let result = unsafe waitpid(pid, &status, WNOHANG)
        if result == 0 { return nil }
        return result == pid ? ChildEnd(status: status) : .exited(255)
    }

    /// Sends `signal` to the whole process group that `pid` leads.
    static func signal(_ pid: pid_t, _ signal: Int32) {
        if kill(-pid, signal) != 0 { _ = kill(pid, signal) }
    }

    /// True while some process listens on every one of `ports` in the network namespace of `pid`.
    static func listens(_ pid: pid_t, on ports: [UInt16]) -> Bool {
        var open: Set<UInt16> = []
        for table in ["tcp", "tcp6"] {
            guard let data = FileManager.default.contents(atPath: "/proc/\(pid)/net/\(table)") else { continue }
            for row in String(decoding: data, as: UTF8.self).split(separator: "\n").dropFirst() {
                let fields = row.split(separator: " ", omittingEmptySubsequences: true)
                // sl local_address rem_address st …; 0A is TCP_LISTEN (include/net/tcp_states.h).
                guard fields.count > 3, fields[3] == "0A", let port = fields[1].split(separator: ":").last else {
                    continue
                }
                if let number = UInt16(port, radix: 16) { open.insert(number) }
            }
        }
        return ports.allSatisfy { open.contains($0) }
    }

    private static func spawn(
        _ arguments: [String], environment: [String], log: String, session: Bool
    ) throws -> pid_t {
        // SAFETY: attributes, actions and the two string vectors live until posix_spawnp returns and are freed after it.
        var attributes = posix_spawnattr_t()
        var actions = unsafe posix_spawn_file_actions_t()
        _ = unsafe posix_spawnattr_init(&attributes)
        _ = unsafe posix_spawn_file_actions_init(&actions)
        defer {
            _ = unsafe posix_spawnattr_destroy(&attributes)
            _ = unsafe posix_spawn_file_actions_destroy(&actions)
        }
        var none = sigset_t()
        var all = sigset_t()
        _ = unsafe sigemptyset(&none)
        _ = unsafe sigfillset(&all)
        _ = unsafe posix_spawnattr_setsigmask(&attributes, &none)
        _ = unsafe posix_spawnattr_setsigdefault(&attributes, &all)
        var flags = Int32(POSIX_SPAWN_SETSIGMASK) | Int32(POSIX_SPAWN_SETSIGDEF)
        flags |= session ? 0x80 : Int32(POSIX_SPAWN_SETPGROUP)  // 0x80 is POSIX_SPAWN_SETSID (spawn.h)
        _ = unsafe posix_spawnattr_setflags(&attributes, Int16(flags))
        _ = unsafe posix_spawnattr_setpgroup(&attributes, 0)
        _ = unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        _ = unsafe posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        _ = unsafe posix_spawn_file_actions_adddup2(&actions, 1, 2)
        closeDescriptorsOnExec()

        let vector = StringVector(arguments)
        let variables = StringVector(environment)
        var pid: pid_t = 0
        let code = unsafe posix_spawnp(
            &pid, arguments[0], &actions, &attributes, vector.pointers, variables.pointers)
        guard code == 0 else {
            throw TopologyFailure("cannot start \(arguments.joined(separator: " ")): \(errorText(code))")
        }
        return pid
    }

    /// Marks every descriptor but the three standard ones, whoever opened it: glibc's closefrom action is not in Glibc's module.
    private static func closeDescriptorsOnExec() {
        for entry in (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? [] {
            if let descriptor = Int32(entry), descriptor > 2 { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
        }
    }

    /// The system's words for an errno.
    static func errorText(_ code: Int32) -> String {
        // SAFETY: strerror's buffer is copied at once; only the main thread calls it.
        unsafe String(cString: strerror(code))
    }
}

/// A null-terminated vector of C strings, freed with the object.
@safe private final class StringVector {
    private(set) var pointers: [UnsafeMutablePointer<CChar>?]

    init(_ strings: [String]) {
        // SAFETY: each strdup is freed once, in deinit.
        unsafe pointers = strings.map { unsafe strdup($0) } + [nil]
    }

    deinit {
        for index in unsafe pointers.indices { unsafe free(pointers[index]) }
    }
}
