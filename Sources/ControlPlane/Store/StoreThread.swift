import Foundation
import Synchronization

/// The only thread that writes: takes work from a bounded queue and puts what has gathered into one commit, so that one
/// `fsync` serves many (group commit). Completions are called on this thread, after the commit is durable.
package final class StoreThread: Sendable {
    /// Pieces of work in one commit: bounds how long the first of them waits for the others.
    package static let maximumBatch = 256

    private struct Item {
        let work: @Sendable (any StoreTransaction) throws(StoreError) -> Void
        let done: @Sendable (Result<Revision?, StoreError>) -> Void
    }
    private struct State {
        var items: [Item] = []
        var isClosing = false
    }

    private let store: any KeyValueStore
    private let capacity: Int
    private let state = Mutex(State())
    private let wake = DispatchSemaphore(value: 0)
    private let ended = DispatchSemaphore(value: 0)

    /// Starts the thread. At most `capacity` pieces of work wait. Signals must be blocked before (ARCHITECTURE, Threads).
    package init(store: any KeyValueStore, capacity: Int = 4_096) {
        self.store = store
        self.capacity = capacity
        let thread = Thread { [self] in run() }
        thread.name = "store"
        thread.start()
    }

    /// Queues `body` as one transaction; `completion` gets its result once that is durable, or its error once it is undone.
    /// Throws `overloaded` when the queue is full and `closed` after `close`; then `completion` is not called.
    package func submit<Value: Sendable>(
        _ body: @escaping @Sendable (any StoreTransaction) throws(StoreError) -> Value,
        completion: @escaping @Sendable (Result<Value, StoreError>) -> Void
    ) throws(StoreError) {
        let slot = Slot<Value>()
        let item = Item(
            work: { (transaction) throws(StoreError) in
                slot.value.withLock { $0 = nil }
                let value = try body(transaction)
                slot.value.withLock { $0 = value }
            },
            done: { outcome in
                switch outcome {
                case .success: completion(slot.value.withLock { $0 }.map { .success($0) } ?? .failure(.closed))
                case .failure(let error): completion(.failure(error))
                }
            })
        let refusal: StoreError? = state.withLock { state in
            if state.isClosing { return .closed }
            if state.items.count >= capacity { return .overloaded }
            state.items.append(item)
            return nil
        }
        if let refusal { throw refusal }
        wake.signal()
    }

    /// Does what is queued, then ends the thread and returns. Does not close the store. Not to be called from a completion.
    package func close() {
        let first = state.withLock { state in
            defer { state.isClosing = true }
            return !state.isClosing
        }
        guard first else { return }
        wake.signal()
        ended.wait()
    }

    private func run() {
        while true {
            wake.wait()
            let (batch, isClosing) = state.withLock { state in
                let batch = Array(state.items.prefix(Self.maximumBatch))
                state.items.removeFirst(batch.count)
                return (batch, state.isClosing && state.items.isEmpty)
            }
            if !batch.isEmpty {
                var works: [StoreWork] = []
                for item in batch { works.append(item.work) }
                let results = store.commit(works)
                for (index, item) in batch.enumerated() {
                    item.done(index < results.count ? results[index] : .failure(.closed))
                }
            }
            if isClosing { break }
            if state.withLock({ !$0.items.isEmpty || $0.isClosing }) { wake.signal() }
        }
        ended.signal()
    }

    /// Carries a result from the body to the completion.
    private final class Slot<Value: Sendable>: Sendable {
        let value = Mutex<Value?>(nil)
    }
}
