internal import CLinux

/// Starts an operating system thread that runs `body` to its end; nobody joins it.
package enum WorkerThread {
    private final class Start {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }

    /// - Parameter name: at most 15 bytes are shown by the system.
    package static func start(name: String, body: @escaping @Sendable () -> Void) throws(SocketError) {
        let start = unsafe Unmanaged.passRetained(Start(body))
        // SAFETY: the retained object is taken back exactly once: by the thread, or here when none started.
        let result = unsafe name.withCString { text in
            unsafe clinux_start_thread(
                text,
                { context in
                    guard let context = unsafe context else { return }
                    unsafe Unmanaged<Start>.fromOpaque(context).takeRetainedValue().body()
                }, start.toOpaque())
        }
        if result != 0 {
            unsafe start.release()
            throw SocketError(code: -result, operation: "start thread \(name)")
        }
    }
}
