import Synchronization

/// Keeps an observation alive; the last reference ends it.
package final class StoreObservation: Sendable {
    private let end: @Sendable () -> Void

    package init(end: @escaping @Sendable () -> Void) { self.end = end }
    deinit { end() }
}

/// The list of those who want to know of commits; shared by the stores.
package final class StoreObservers: Sendable {
    private struct State {
        var next = 0
        var notices: [Int: @Sendable (Revision) -> Void] = [:]
    }
    private let state = Mutex(State())

    package init() {}

    package func add(_ notice: @escaping @Sendable (Revision) -> Void) -> StoreObservation {
        let name = state.withLock { state in
            state.next += 1
            state.notices[state.next] = notice
            return state.next
        }
        return StoreObservation { [weak self] in self?.state.withLock { _ = $0.notices.removeValue(forKey: name) } }
    }

    package func notify(_ revision: Revision) {
        let notices = state.withLock { Array($0.notices.values) }
        for notice in notices { notice(revision) }
    }
}
