internal import CLinux
internal import Glibc

/// A call of the kernel that failed: which, and with what errno.
package struct SocketError: Error, Hashable, Sendable, CustomStringConvertible {
    /// errno, positive.
    package let code: Int32
    /// What was tried, in words: `bind 0.0.0.0:15443`, `connect`, `accept`.
    package let operation: String

    package init(code: Int32, operation: String) {
        self.code = code
        self.operation = operation
    }

    /// The kernel's own text for the code.
    package var text: String {
        // SAFETY: strerror's text lives for ever or until the thread's next call; it is copied at once.
        unsafe clinux_error_text(code).map { unsafe String(cString: $0) } ?? "error \(code)"
    }

    package var description: String { "\(operation): \(text)" }

    /// Nobody listens there, or who does sent RST.
    package var isRefused: Bool { code == ECONNREFUSED || code == ECONNRESET || code == EPIPE }
    package var isTimeout: Bool { code == ETIMEDOUT }
    /// The address is taken by another socket.
    package var isAddressInUse: Bool { code == EADDRINUSE }
    /// We ran out of something of our own: it says nothing of the peer (PROTOCOLS section 4).
    package var isOwnExhaustion: Bool {
        code == EMFILE || code == ENFILE || code == EADDRNOTAVAIL || code == ENOBUFS || code == ENOMEM
    }
}

/// Turns a shim's result into a value or an error.
func checked(_ result: Int32, _ operation: @autoclosure () -> String) throws(SocketError) -> Int32 {
    if result < 0 { throw SocketError(code: -result, operation: operation()) }
    return result
}
