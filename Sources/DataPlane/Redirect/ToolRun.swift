internal import Glibc

/// A short-lived system tool: run to its end with text on its standard input, both outputs taken as one text.
struct ToolRun {
    let status: Int32
    let output: String

    /// The most that is read of a tool's output.
    /// F_SETPIPE_SZ of linux/fcntl.h, which Glibc's module lacks, and what an ordinary user may ask of it.
    private static let setPipeSize: Int32 = 1_031
    private static let pipeSize: Int32 = 1_048_576
    private static let outputLimit = 4_194_304
    private static let folders = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin"]

    /// The path of a tool: PATH first, then the folders of system tools, which the PATH of a user may lack.
    static func find(_ name: String) -> String? {
        // SAFETY: the text is copied at once; no other thread exists.
        let path = unsafe getenv("PATH").map { unsafe String(cString: $0) } ?? ""
        for folder in path.split(separator: ":").map(String.init) + folders {
            let candidate = "\(folder)/\(name)"
            // SAFETY: the path is read during the call only.
            if unsafe access(candidate, X_OK) == 0 { return candidate }
        }
        return nil
    }

    /// Runs `arguments[0]`, an absolute path. Nil when it cannot be started.
    init?(_ arguments: [String], input: String = "") {
        // SAFETY (all calls): descriptors are ours, strings and structures live for the length of each call; the vector of
        // copies is freed below.
        var source: [Int32] = [-1, -1]
        var sink: [Int32] = [-1, -1]
        guard unsafe pipe(&source) == 0, unsafe pipe(&sink) == 0 else { return nil }
        defer {
            close(source[0])
            close(sink[0])
        }
        for descriptor in source + sink { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
        // The whole input fits into the pipe before anybody reads it.
        _ = fcntl(source[1], Self.setPipeSize, Self.pipeSize)
        _ = fcntl(source[1], F_SETFL, O_NONBLOCK)
        var bytes = ArraySlice(input.utf8)
        while !bytes.isEmpty {
            let count = unsafe bytes.withUnsafeBytes { unsafe write(source[1], $0.baseAddress, $0.count) }
            guard count > 0 else { break }
            bytes = bytes.dropFirst(count)
        }
        close(source[1])
        guard bytes.isEmpty else {
            close(sink[1])
            return nil
        }
        var actions = unsafe posix_spawn_file_actions_t()
        var attributes = posix_spawnattr_t()
        unsafe posix_spawn_file_actions_init(&actions)
        unsafe posix_spawnattr_init(&attributes)
        defer {
            unsafe posix_spawn_file_actions_destroy(&actions)
            unsafe posix_spawnattr_destroy(&attributes)
        }
        unsafe posix_spawn_file_actions_adddup2(&actions, source[0], 0)
        unsafe posix_spawn_file_actions_adddup2(&actions, sink[1], 1)
        unsafe posix_spawn_file_actions_adddup2(&actions, sink[1], 2)
        // SAFETY: both sets and the attributes are locals of ours.
        var none = sigset_t()
        var all = sigset_t()
        unsafe sigemptyset(&none)
        unsafe sigfillset(&all)
        unsafe posix_spawnattr_setsigmask(&attributes, &none)
        unsafe posix_spawnattr_setsigdefault(&attributes, &all)
        unsafe posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK) | Int16(POSIX_SPAWN_SETSIGDEF))
        // SAFETY: copies of the arguments, ended by nil, freed after the child is there; attributes and actions are ours.
        var vector: [UnsafeMutablePointer<CChar>?] = unsafe arguments.map { unsafe strdup($0) } + [nil]
        defer { for index in unsafe vector.indices { unsafe free(vector[index]) } }
        var pid: pid_t = 0
        let code = unsafe posix_spawn(&pid, arguments[0], &actions, &attributes, &vector, environ)
        close(sink[1])
        guard code == 0 else { return nil }
        var text: [UInt8] = []
        var room = [UInt8](repeating: 0, count: 65_536)
        while true {
            // SAFETY: the room is written to during the call only.
            let count = unsafe room.withUnsafeMutableBytes { unsafe read(sink[0], $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            if text.count < Self.outputLimit { text += room.prefix(count) }
        }
        var ended: Int32 = 0
        // SAFETY: the status is a local of ours.
        while unsafe waitpid(pid, &ended, 0) < 0 { guard errno == EINTR else { return nil } }
        status = ended & 0x7F == 0 ? ended >> 8 & 0xFF : 128 + ended & 0x7F
        output = String(decoding: text, as: UTF8.self)
    }

    /// The line that says most: the first one that is no hint to look elsewhere.
    var complaint: String {
        let lines = output.split(separator: "\n").map { line in
            // `iptables-restore v1.8.9 (nf_tables):` stands before the word of the kernel, which may be silent.
            let words = line.split(separator: " ")
            let isHeaded = words.count > 2 && words[2].hasPrefix("(") && words[2].hasSuffix("):")
            return (isHeaded ? words[3...] : words[...]).joined(separator: " ")
        }
        return lines.first { !$0.isEmpty && !$0.hasPrefix("Try ") && !$0.contains("Warning") } ?? "status \(status)"
    }
}
