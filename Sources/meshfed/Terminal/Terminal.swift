import Glibc

/// Standard output for data, standard error for words about it.
enum Terminal {
    /// True when a person watches standard error: progress is shown to people only.
    static var isWatched: Bool { isatty(2) == 1 }

    /// The value of an environment variable.
    static func variable(_ name: String) -> String? {
        // SAFETY: the text is copied at once; nothing in this program changes the environment.
        unsafe getenv(name).map { unsafe String(cString: $0) }
    }

    /// Data, as it is. Nobody reading it any more (`| head`) ends the command quietly.
    static func out(_ text: String) {
        if !write(Array(text.utf8), to: 1) { exit(errno == EPIPE ? 0 : 1) }
    }

    /// A line on standard error.
    static func note(_ text: String) { _ = write(Array(text.utf8) + [0x0A], to: 2) }

    /// Lets SIGINT and its kind end this process again: `Signals.block` is for those that run on.
    static func letSignalsEnd() {
        var set = sigset_t()
        // SAFETY: the set is written and read during the calls only.
        _ = unsafe sigemptyset(&set)
        for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2] { _ = unsafe sigaddset(&set, signal) }
        _ = unsafe sigprocmask(SIG_UNBLOCK, &set, nil)
    }

    /// Writes all bytes; false (with errno) when that fails.
    private static func write(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
        var rest = ArraySlice(bytes)
        while !rest.isEmpty {
            // SAFETY: the bytes are lent for the length of the call.
            let count = unsafe rest.withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return false }
            rest = rest.dropFirst(count)
        }
        return true
    }
}
