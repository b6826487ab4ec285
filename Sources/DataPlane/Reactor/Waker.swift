internal import CLinux

/// Wakes another thread's reactor. The only descriptor that two threads share.
package final class Waker: Sendable {
    package let descriptor: Int32

    package init() throws(SocketError) { descriptor = try checked(clinux_eventfd(), "eventfd") }

    deinit { clinux_close(descriptor) }

    package func wake() { clinux_eventfd_wake(descriptor) }

    /// Called by the woken thread before it looks at its letters.
    package func drain() { clinux_eventfd_drain(descriptor) }
}

/// The signals that both programs handle.
package enum Signals {
    /// Blocks them for this thread and every later one and ignores SIGPIPE: the first statement of `main`, before any library
    /// starts a thread.
    package static func block() { clinux_block_signals() }
}

/// The blocked signals as a descriptor.
package struct SignalSource: ~Copyable {
    private let socket: Socket

    package init() throws(SocketError) {
        socket = Socket(adopting: try checked(clinux_signalfd(), "signalfd"))
    }

    package var descriptor: Int32 { socket.descriptor }

    /// The next signal that came, or nil.
    package func next() -> Int32? {
        let signal = clinux_signal_read(socket.descriptor)
        return signal > 0 ? signal : nil
    }
}

/// A lock that one process at a time holds on a file; it goes with the process, however that ends.
package struct FileLock: ~Copyable {
    private let socket: Socket

    /// Throws EWOULDBLOCK when another process holds it.
    package static func acquire(path: String) throws(SocketError) -> FileLock {
        // SAFETY: the path is read during the call only.
        let descriptor = unsafe path.withCString { unsafe clinux_lock_file($0) }
        return FileLock(socket: Socket(adopting: try checked(descriptor, "lock \(path)")))
    }

    private init(socket: consuming Socket) { self.socket = socket }

    /// Takes over a lock that another process handed on: it is held as long as either has its descriptor.
    package init(adopting descriptor: Int32) { socket = Socket(adopting: descriptor) }

    package var descriptor: Int32 { socket.descriptor }
}

/// What the machine gives this process.
package enum Machine {
    /// Workers that make sense: the smaller of CPU affinity and cgroup quota, at least one.
    package static var usableCPUs: Int {
        let affinity = max(1, Int(clinux_affinity_count()))
        let quota = Int(clinux_cgroup_cpus())
        return quota > 0 ? min(affinity, quota) : affinity
    }

    /// Every socket made from now on carries this mark; EPERM without CAP_NET_ADMIN. Before any thread.
    package static func useMark(_ mark: UInt32) throws(SocketError) {
        _ = try checked(clinux_use_mark(mark), "mark sockets")
    }

    /// Gives free memory of the heap back to the kernel: after much was built and let go.
    package static func trim() { clinux_trim() }

    /// Raises the limit of open files to what the system allows; the new limit.
    @discardableResult
    package static func raiseDescriptorLimit() -> Int { Int(clinux_raise_descriptor_limit()) }

    /// The smallest memory limit of the cgroups around this process, in bytes; nil where there is none. Before any thread.
    package static var memoryLimit: Int? {
        let limit = clinux_memory_limit()
        return limit > 0 ? Int(limit) : nil
    }

    /// What the cgroup of `memoryLimit` uses, page cache left out; 0 where it cannot be read.
    package static var cgroupMemory: Int { Int(clinux_cgroup_memory()) }
    /// Resident memory of the process in bytes.
    package static var residentMemory: Int { Int(clinux_resident_memory()) }
    package static var openDescriptors: Int { Int(clinux_open_descriptors()) }
    /// Gives memory that was freed back to the kernel; takes milliseconds.
    package static func trimMemory() { clinux_trim_memory() }

    /// Moments outside any loop: start-up only.
    package static var boottime: UInt64 { clinux_boottime() }
    package static var walltime: Int64 { clinux_walltime() }
}
