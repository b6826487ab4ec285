import Containers
import Glibc
import MeshModel
import Reactor
import Synchronization
import Testing

@Suite struct ThreadTests {
    @Test func lettersWakeAnotherThread() throws {
        let watch = try Watch()
        let waker = try Waker()
        let box = LetterBox<Int>(limit: 1_000)
        try watch.reactor.watch(waker.descriptor, .readable, token(1))
        let senders = 4
        for sender in 0..<senders {
            try WorkerThread.start(name: "test-sender") {
                for number in 0..<100 {
                    while !box.post(sender * 1_000 + number) { sched_yield() }
                    waker.wake()
                }
            }
        }
        var letters: [Int] = []
        #expect(
            watch.turn { watch in
                waker.drain()
                letters += box.takeAll()
                return letters.count == senders * 100
            })
        for sender in 0..<senders {
            let own = letters.filter { $0 / 1_000 == sender }
            #expect(own == (0..<100).map { sender * 1_000 + $0 }, "each sender's letters keep their order")
        }
        #expect(box.takeAll().isEmpty)
    }

    @Test func aFullBoxRefuses() {
        let box = LetterBox<Int>(limit: 2)
        #expect(box.post(1))
        #expect(box.post(2))
        #expect(!box.post(3))
        #expect(box.takeAll() == [1, 2])
        #expect(box.post(4))
        #expect(box.takeAll() == [4])
        #expect(!LetterBox<Int>(limit: 0).post(1))
    }

    @Test func aDrainedWakerIsQuiet() throws {
        let watch = try Watch()
        let waker = try Waker()
        try watch.reactor.watch(waker.descriptor, .readable, token(1))
        waker.wake()
        waker.wake()
        #expect(watch.waits(for: token(1), .readable))
        waker.drain()
        waker.drain()
        watch.reactor.turn(until: .zero)
        let quiet = watch.reactor.nextReady() == nil
        #expect(quiet)
    }

    @Test func aThreadHasItsName() throws {
        let watch = try Watch()
        let waker = try Waker()
        let name = Mutex("")
        let shared = Shared(name: name)
        try watch.reactor.watch(waker.descriptor, .readable, token(1))
        try WorkerThread.start(name: "a-name-that-is-too-long") {
            var text = [UInt8](repeating: 0, count: 32)
            // SAFETY: the buffer holds the bytes that the call may write.
            let file = unsafe open("/proc/thread-self/comm", O_RDONLY | O_CLOEXEC)
            let count = unsafe read(file, &text, text.count)
            _ = close(file)
            let bytes = text.prefix(max(0, count)).prefix { $0 != 0x0A }
            shared.name.withLock { $0 = String(decoding: bytes, as: UTF8.self) }
            waker.wake()
        }
        #expect(watch.waits(for: token(1), .readable))
        #expect(shared.name.withLock { $0 } == "a-name-that-is-")
    }

    private final class Shared: Sendable {
        let name: Mutex<String>
        init(name: consuming Mutex<String>) { self.name = name }
    }

    @Test func aFileIsLockedOnce() throws {
        let path = freshPath("lock")
        defer { _ = unsafe unlink(path) }
        do {
            let lock = try FileLock.acquire(path: path)
            #expect(code { () throws(SocketError) in try FileLock.acquire(path: path) } == EWOULDBLOCK)
            _ = consume lock
        }
        #expect(code { () throws(SocketError) in try FileLock.acquire(path: path) } == nil)
        #expect(code { () throws(SocketError) in try FileLock.acquire(path: "/nowhere/lock") } == ENOENT)
    }

    @Test func aLockFollowsNoLink() throws {
        let path = freshPath("lock")
        let link = freshPath("link")
        defer {
            _ = unsafe unlink(path)
            _ = unsafe unlink(link)
        }
        _ = try FileLock.acquire(path: path)
        #expect(unsafe symlink(path, link) == 0)
        #expect(code { () throws(SocketError) in try FileLock.acquire(path: link) } == ELOOP)
    }

    @Test func signalsComeAsReadiness() throws {
        // On a thread of its own: the signal is blocked and aimed there, so the test process never sees it.
        let watch = try Watch()
        let waker = try Waker()
        let shared = Shared(name: Mutex(""))
        try watch.reactor.watch(waker.descriptor, .readable, token(1))
        try WorkerThread.start(name: "test-signals") {
            Signals.block()
            var words: [String] = []
            if let source = try? SignalSource(), let inner = try? Watch() {
                words.append(source.next() == nil ? "none" : "early")
                try? inner.reactor.watch(source.descriptor, .readable, token(2))
                _ = pthread_kill(pthread_self(), SIGUSR1)
                _ = pthread_kill(pthread_self(), SIGHUP)
                if inner.waits(for: token(2), .readable) {
                    while let signal = source.next() { words.append("\(signal)") }
                }
            }
            shared.name.withLock { $0 = words.joined(separator: " ") }
            waker.wake()
        }
        #expect(watch.waits(for: token(1), .readable))
        #expect(Set(shared.name.withLock { $0 }.split(separator: " ")) == ["none", "\(SIGUSR1)", "\(SIGHUP)"])
    }

    @Test func theMachineGivesSomething() {
        #expect(Machine.usableCPUs >= 1)
        #expect(Machine.raiseDescriptorLimit() >= 256)
    }
}
