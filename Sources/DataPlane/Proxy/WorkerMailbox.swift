internal import Containers
package import MeshModel
package import Reactor
internal import Synchronization
package import Telemetry

/// What other threads may ask of a worker.
package enum WorkerLetter: Sendable {
    case configure(ProxyConfiguration)
    /// A connection that another worker accepted; the descriptor is the receiver's to close.
    case adopt(descriptor: Int32, role: Int, peer: SocketAddress?)
    /// As `drain`, for what comes to the app; what the app itself calls goes on.
    case drainInbound
    /// No new connections, GOAWAY to all, end when the last one is gone or the grace period is over.
    case drain
    /// Time stands still there: what a timeout does shows without waiting for it.
    case hold(Instant)
    /// As `drain`, but another process has the listeners: what waits on them is its.
    case handOver
    /// Memory that counts against the limit beside the resident one: what the kernel holds for the process's sockets.
    case memory(beside: Int)
    /// Answer with a report, on the worker's thread.
    case report(@Sendable (WorkerReport) -> Void)
}

/// What a worker tells the main thread.
package struct WorkerReport: Sendable {
    package let metrics: MetricsSnapshot
    package let connections: Int
    package let exchanges: Int
    package let unhealthy: [EndpointID]
    package let healthChanges: UInt64
    package let generation: UInt32
    /// What came without an identity, by service.
    package let plaintext: [PlaintextCount]
    package let pressure: MemoryPressure
}

/// The only way into a worker from other threads.
package final class WorkerMailbox: Sendable {
    /// Letters that may wait: a scrape, a snapshot, a burst of handed-over connections.
    private static let limit = 65_536

    private let box = LetterBox<WorkerLetter>(limit: WorkerMailbox.limit)
    let waker: Waker
    /// Connections of the worker, as of its last turn and what was handed to it since.
    let load = Atomic<Int>(0)

    package init() throws(SocketError) { waker = try Waker() }

    /// False when the worker does not keep up; the letter is dropped.
    @discardableResult
    package func post(_ letter: WorkerLetter) -> Bool {
        let isPosted = box.post(letter)
        waker.wake()
        return isPosted
    }

    func takeAll() -> [WorkerLetter] {
        waker.drain()
        return box.takeAll()
    }
}
