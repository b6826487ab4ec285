import Foundation

/// A store that lives and dies with the process: for tests and simulations. It keeps the same promises as the others, but for
/// durability.
package final class MemoryStore: KeyValueStore {
    private let lock = NSLock()
    // SAFETY: reached only with `lock` held.
    private nonisolated(unsafe) let guarded = MemoryCore()
    private let observers = StoreObservers()
    private let history: Int

    /// Keeps the changes of the last `history` revisions.
    package init(history: Int = StoreLimits.history) { self.history = history }

    // SAFETY: every caller holds `lock`.
    private var core: MemoryCore { unsafe guarded }

    package var revision: Revision { lock.withLock { core.revision } }

    package func read<Result: Sendable>(
        _ body: (any StoreReading) throws(StoreError) -> Result
    ) throws(StoreError) -> Result {
        lock.lock()
        defer { lock.unlock() }
        guard !core.isClosed else { throw .closed }
        let transaction = MemoryTransaction(core)
        defer { transaction.end() }
        return try body(transaction)
    }

    package func commit(_ works: [StoreWork]) -> [Result<Revision?, StoreError>] {
        lock.lock()
        let before = core.revision
        var results: [Result<Revision?, StoreError>] = []
        for work in works {
            guard !core.isClosed else {
                results.append(.failure(.closed))
                continue
            }
            let transaction = MemoryTransaction(core)
            do throws(StoreError) {
                try work(transaction)
                results.append(.success(transaction.seal()))
            } catch {
                transaction.undo()
                results.append(.failure(error))
            }
            transaction.end()
        }
        core.prune(keeping: history)
        let after = core.revision
        lock.unlock()
        if after > before { observers.notify(after) }
        return results
    }

    package func changes(since revision: Revision, limit: Int) throws(StoreError) -> StoreHistory {
        lock.lock()
        defer { lock.unlock() }
        guard !core.isClosed else { throw .closed }
        guard revision >= core.pruned, revision <= core.revision else { return .gone(current: core.revision) }
        var found: [StoreChange] = []
        for change in core.changes where change.revision > revision {
            if found.count >= limit, let last = found.last, last.revision != change.revision {
                return .changes(found, upTo: last.revision)
            }
            found.append(change)
        }
        return .changes(found, upTo: core.revision)
    }

    package func observe(_ notice: @escaping @Sendable (Revision) -> Void) -> StoreObservation { observers.add(notice) }

    package func close() throws(StoreError) { lock.withLock { core.isClosed = true } }
}

/// The state of a `MemoryStore`.
private final class MemoryCore {
    var tables: [StoreTable: [[UInt8]: StoreEntry]] = [:]
    var changes: [StoreChange] = []
    var revision = Revision.zero
    /// The history reaches back to this revision.
    var pruned = Revision.zero
    var isClosed = false

    func prune(keeping history: Int) {
        let keep = UInt64(clamping: max(0, history))
        guard revision.number > keep, revision.number - keep > pruned.number else { return }
        pruned = Revision(revision.number - keep)
        changes.removeAll { $0.revision <= pruned }
    }
}

/// One transaction on a `MemoryCore`, with what is needed to undo it.
private final class MemoryTransaction: StoreTransaction {
    private let core: MemoryCore
    private var undone: [(key: StoreKey, entry: StoreEntry?)] = []
    private var written: [StoreKey: StoreChange.Kind] = [:]
    private var isOpen = true

    init(_ core: MemoryCore) { self.core = core }

    var revision: Revision { core.revision }

    func get(_ key: StoreKey) throws(StoreError) -> StoreEntry? {
        guard isOpen else { throw .closed }
        return core.tables[key.table]?[key.key]
    }

    func list(
        _ table: StoreTable, prefix: [UInt8], after: [UInt8]?, limit: Int
    ) throws(StoreError) -> [StoreEntry] {
        guard isOpen else { throw .closed }
        let found = (core.tables[table] ?? [:]).values.filter { entry in
            entry.key.key.starts(with: prefix) && (after.map { $0.lexicographicallyPrecedes(entry.key.key) } ?? true)
        }
        return Array(found.sorted { $0.key < $1.key }.prefix(max(0, limit)))
    }

    func count(_ table: StoreTable, prefix: [UInt8]) throws(StoreError) -> Int {
        guard isOpen else { throw .closed }
        return (core.tables[table] ?? [:]).keys.count { $0.starts(with: prefix) }
    }

    func put(_ key: StoreKey, _ value: [UInt8], if condition: StoreCondition) throws(StoreError) -> Bool {
        guard isOpen else { throw .closed }
        guard key.key.count <= StoreLimits.keyLength, value.count <= StoreLimits.valueLength else {
            throw .tooLarge("\(key) is larger than the store takes")
        }
        let old = core.tables[key.table]?[key.key]
        guard holds(condition, old) else { return false }
        undone.append((key, old))
        core.tables[key.table, default: [:]][key.key] = StoreEntry(key: key, value: value, revision: next)
        written[key] = .put
        return true
    }

    func delete(_ key: StoreKey, if condition: StoreCondition) throws(StoreError) -> Bool {
        guard isOpen else { throw .closed }
        guard let old = core.tables[key.table]?[key.key], holds(condition, old) else { return false }
        undone.append((key, old))
        core.tables[key.table]?[key.key] = nil
        written[key] = .delete
        return true
    }

    /// Makes the writes a revision; nil when there are none.
    func seal() -> Revision? {
        guard !written.isEmpty else { return nil }
        core.revision = next
        for (key, kind) in written.sorted(by: { $0.key < $1.key }) {
            core.changes.append(StoreChange(key: key, revision: core.revision, kind: kind))
        }
        return core.revision
    }

    func undo() {
        for (key, entry) in undone.reversed() { core.tables[key.table, default: [:]][key.key] = entry }
    }

    func end() { isOpen = false }

    private var next: Revision { Revision(core.revision.number + 1) }

    private func holds(_ condition: StoreCondition, _ entry: StoreEntry?) -> Bool {
        switch condition {
        case .always: true
        case .absent: entry == nil
        case .present: entry != nil
        case .at(let revision): entry?.revision == revision
        }
    }
}
