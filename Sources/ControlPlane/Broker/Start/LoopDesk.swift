internal import Authority
internal import Reactor
internal import RPC
internal import Store

/// Work that other threads do, with results that come back to the loop's thread: commits of the store thread, and reading
/// that would hold the loop up.
final class LoopDesk {
    private let inbox: RPCInbox
    private let thread: StoreThread

    init(loop: RPCLoop, store: any KeyValueStore) {
        inbox = loop.inbox
        thread = StoreThread(store: store)
    }

    /// Runs `body` as one transaction; `then` gets its result on the loop when it is durable, or its error when it is undone.
    /// A full queue is an error like any other, given at once.
    func write<Value: Sendable>(
        _ body: @escaping @Sendable (any StoreTransaction) throws(StoreError) -> Value,
        then: @escaping (Result<Value, StoreError>) -> Void
    ) {
        let bound = RPCBound(then)
        let inbox = inbox
        do throws(StoreError) {
            try thread.submit(body) { result in inbox.post { bound.value(result) } }
        } catch {
            then(.failure(error))
        }
    }

    /// The same for the authority's work.
    func write<Value: Sendable>(
        _ authority: Authority, _ body: @escaping @Sendable (AuthorityDesk) throws(AuthorityError) -> Value,
        then: @escaping (Result<Value, AuthorityError>) -> Void
    ) {
        let bound = RPCBound(then)
        let inbox = inbox
        do throws(StoreError) {
            try authority.submit(to: thread, body) { result in inbox.post { bound.value(result) } }
        } catch {
            then(.failure(.store(error)))
        }
    }

    /// Runs `work` on a thread of its own; `then` gets what it returned on the loop. Nil when no thread could be had.
    func offload<Value: Sendable>(
        _ name: String, _ work: @escaping @Sendable () -> Value, then: @escaping (Value?) -> Void
    ) {
        let bound = RPCBound(then)
        let inbox = inbox
        do throws(SocketError) {
            try WorkerThread.start(name: name) {
                let value = work()
                inbox.post { bound.value(value) }
            }
        } catch {
            then(nil)
        }
    }

    /// Does what is queued, then ends the store thread.
    func close() { thread.close() }
}
