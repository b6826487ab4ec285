package import Containers
internal import Glibc
internal import MeshModel
internal import Synchronization

package enum LogSinkError: Error, Hashable {
    /// The pipe or the thread could not be made; the system's error number.
    case unavailable(Int32)
}

/// Log lines on their way to a descriptor, written by a thread of its own, so that a blocked reader stops nobody.
///
/// At most `limit` bytes wait; what comes then is dropped and counted. Workers hand in whole batches once per turn; the
/// lock is held for a copy only, never over a write, and is only tried for.
package final class LogSink: Sendable {
    private struct State: ~Copyable, Sendable {
        var waiting = ByteBuffer()
        var lines = 0
        var isClosing = false
    }

    /// How long the thread lets lines gather before it writes: waking it for each turn of a busy worker cost that worker a
    /// system call and a switch of threads per turn. Whoever reads the log waits that much longer.
    private static let gatherMilliseconds: Int32 = 10

    private let descriptor: Int32
    private let wakeReader: Int32
    private let wakeWriter: Int32
    private let limit: Int
    private let state = Mutex(State())
    private let droppedLines = Atomic<UInt64>(0)
    private let isFinished = Atomic<Bool>(false)

    /// Writes to `descriptor`, which stays the caller's; `limit` is the most bytes that wait (1 MiB: about 2,000 lines,
    /// a second of a busy worker).
    package init(descriptor: Int32, limit: Int = 1_048_576) throws(LogSinkError) {
        var ends: [Int32] = [-1, -1]
        // SAFETY: `pipe` fills the two descriptors of the array.
        guard unsafe pipe(&ends) == 0 else { throw .unavailable(errno) }
        self.descriptor = descriptor
        self.limit = limit
        wakeReader = ends[0]
        wakeWriter = ends[1]
        _ = fcntl(wakeReader, F_SETFD, FD_CLOEXEC)
        _ = fcntl(wakeWriter, F_SETFD, FD_CLOEXEC)
        _ = fcntl(wakeWriter, F_SETFL, O_NONBLOCK)
        var thread = pthread_t()
        let held = unsafe Unmanaged.passRetained(self)
        // SAFETY: the thread takes over the reference that was retained for it.
        let result = unsafe pthread_create(&thread, nil, LogSink.body, held.toOpaque())
        guard result == 0 else {
            unsafe held.release()
            throw .unavailable(result)
        }
        pthread_detach(thread)
    }

    deinit {
        _ = Glibc.close(wakeReader)
        _ = Glibc.close(wakeWriter)
    }

    /// Lines that were lost since the start.
    package var dropped: UInt64 { droppedLines.load(ordering: .relaxed) }

    /// Takes a batch of whole lines. True when it is dealt with (queued, or dropped and counted because too much
    /// waits); false when the lock was taken just then and the caller should try again next turn.
    package func offer(_ batch: Span<UInt8>, lines: Int) -> Bool {
        queue(batch.count, lines) { state in state.waiting.append(bytes: batch) }
    }

    /// As `offer`. Where nothing waits the buffers change places, and `batch` has whatever stood in the other one.
    package func take(_ batch: inout ByteBuffer, lines: Int) -> Bool {
        queue(batch.count, lines) { state in
            if state.waiting.isEmpty {
                swap(&state.waiting, &batch)
            } else {
                state.waiting.append(bytes: batch.bytes)
            }
        }
    }

    private func queue(_ count: Int, _ lines: Int, _ add: (inout State) -> Void) -> Bool {
        if count > limit {
            droppedLines.wrappingAdd(UInt64(clamping: lines), ordering: .relaxed)
            return true
        }
        var wake = false
        var full = false
        let taken: Void? = state.withLockIfAvailable { state in
            if state.isClosing || state.waiting.count + count > limit {
                full = true
            } else {
                let urgent = limit / 4
                let before = state.waiting.count
                add(&state)
                wake = before == 0 || (before < urgent && before + count >= urgent)
                state.lines += lines
            }
        }
        guard taken != nil else { return false }
        if full { droppedLines.wrappingAdd(UInt64(clamping: lines), ordering: .relaxed) }
        if wake { signal() }
        return true
    }

    /// Stops taking lines and waits up to `grace` for those that wait to be written. True when all were.
    package func finish(within grace: Duration) -> Bool {
        state.withLock { $0.isClosing = true }
        signal()
        for _ in 0..<max(1, grace.wholeMilliseconds) {
            if isFinished.load(ordering: .acquiring) { return true }
            usleep(1_000)
        }
        return isFinished.load(ordering: .acquiring)
    }

    private func signal() {
        var byte: UInt8 = 0
        // SAFETY: one byte of a live variable; the pipe's writing end does not block.
        _ = unsafe write(wakeWriter, &byte, 1)
    }

    private static let body: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = { raw in
        if let raw = unsafe raw {
            // SAFETY: the pointer is the reference that `init` retained for this thread.
            unsafe Unmanaged<LogSink>.fromOpaque(raw).takeRetainedValue().run()
        }
        return nil
    }

    private func run() {
        var batch = ByteBuffer()
        var closing = false
        while !closing || !batch.isEmpty {
            if !closing { waitForSignal() }
            var lines = 0
            batch.removeAll()
            state.withLock { state in
                swap(&state.waiting, &batch)
                lines = state.lines
                state.lines = 0
                closing = state.isClosing
            }
            if !batch.isEmpty, !writeAll(batch.bytes) {
                droppedLines.wrappingAdd(UInt64(clamping: lines), ordering: .relaxed)
            }
        }
        isFinished.store(true, ordering: .releasing)
    }

    /// Waits for the first lines, and then a moment for more of them.
    private func waitForSignal() {
        var bytes: [UInt8] = Array(repeating: 0, count: 64)
        // SAFETY: reads at most the 64 bytes of the array.
        while unsafe read(wakeReader, &bytes, 64) < 0, errno == EINTR {}
        // A second signal says that much waits, or that it is the end.
        var second = pollfd(fd: wakeReader, events: Int16(POLLIN), revents: 0)
        // SAFETY: one live pollfd.
        _ = unsafe poll(&second, 1, Self.gatherMilliseconds)
    }

    private func writeAll(_ batch: Span<UInt8>) -> Bool {
        var offset = 0
        while offset < batch.count {
            // SAFETY: `offset` is below the count, so the range lies in the array.
            let written = unsafe batch.bytes.withUnsafeBytes { bytes in
                guard let base = bytes.baseAddress else { return 0 }
                return unsafe write(descriptor, base + offset, bytes.count - offset)
            }
            if written > 0 {
                offset += written
            } else if written < 0, errno == EAGAIN {
                var wait = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                // SAFETY: one live pollfd.
                _ = unsafe poll(&wait, 1, 1_000)
            } else if written == 0 || errno != EINTR {
                return false
            }
        }
        return true
    }
}
