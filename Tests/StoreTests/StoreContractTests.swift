import Foundation
import MeshTestKit
import Store
import Synchronization
import Testing

/// What every store promises; each test runs against all of them.
@Suite struct StoreContractTests {
    let table = StoreTable("things")
    let workshop: Workshop

    init() throws { workshop = try Workshop() }

    private func key(_ name: String) -> StoreKey { StoreKey(table, name) }

    @Test(arguments: Kind.allCases) func readsWhatItWrote(_ kind: Kind) throws {
        let store = try kind.make(workshop)
        #expect(store.revision == .zero)
        try store.write { (tx) throws(StoreError) in
            try tx.put(key("a"), [1])
            #expect(try tx.get(key("a"))?.value == [1])
            try tx.put(key("b"), [])
        }
        #expect(store.revision == Revision(1))
        #expect(try store.get(key("a")) == StoreEntry(key: key("a"), value: [1], revision: Revision(1)))
        #expect(try store.get(key("b"))?.value == [])
        #expect(try store.get(StoreKey(StoreTable("others"), "a")) == nil)
        try store.write { (tx) throws(StoreError) in #expect(try tx.delete(key("a"))) }
        #expect(try store.get(key("a")) == nil)
        #expect(store.revision == Revision(2))
    }

    @Test(arguments: Kind.allCases) func aWriteOfNothingMakesNoRevision(_ kind: Kind) throws {
        let store = try kind.make(workshop)
        let count = try store.write { (tx) throws(StoreError) in try tx.count(table) }
        #expect(count == 0 && store.revision == .zero)
        try store.write { (tx) throws(StoreError) in #expect(try !tx.delete(key("none"))) }
        #expect(store.revision == .zero)
    }

    @Test(arguments: Kind.allCases) func conditionsDecide(_ kind: Kind) throws {
        let store = try kind.make(workshop)
        try store.write { (tx) throws(StoreError) in
            #expect(try !tx.put(key("a"), [0], if: .present))
            #expect(try tx.put(key("a"), [1], if: .absent))
            #expect(try !tx.put(key("a"), [2], if: .absent))
        }
        try store.write { (tx) throws(StoreError) in
            #expect(try !tx.put(key("a"), [3], if: .at(Revision(9))))
            #expect(try tx.put(key("a"), [3], if: .at(Revision(1))))
            #expect(try !tx.put(key("a"), [4], if: .at(Revision(1))))
            #expect(try tx.put(key("a"), [4], if: .present))
            #expect(try !tx.delete(key("a"), if: .at(Revision(1))))
            #expect(try !tx.delete(key("a"), if: .absent))
        }
        #expect(try store.get(key("a"))?.value == [4])
        try store.write { (tx) throws(StoreError) in #expect(try tx.delete(key("a"), if: .at(Revision(2)))) }
        #expect(try store.get(key("a")) == nil)
    }

    @Test(arguments: Kind.allCases) func aBodyThatThrowsWritesNothing(_ kind: Kind) throws {
        let store = try kind.make(workshop)
        try store.write { (tx) throws(StoreError) in try tx.put(key("kept"), [1]) }
        #expect(throws: StoreError.conflict("no")) {
            try store.write { (tx) throws(StoreError) in
                try tx.put(key("kept"), [2])
                try tx.put(key("new"), [2])
                _ = try tx.delete(key("kept"))
                throw .conflict("no")
            }
        }
        #expect(try store.get(key("kept"))?.value == [1])
        #expect(try store.get(key("new")) == nil)
        #expect(store.revision == Revision(1))
        #expect(try store.changes(since: Revision(1)) == .changes([], upTo: Revision(1)))
    }

    @Test(arguments: Kind.allCases) func aCommitUndoesOnlyWhatThrew(_ kind: Kind) throws {
        let store = try kind.make(workshop)
        func put(_ name: String) -> StoreWork {
            func work(_ tx: any StoreTransaction) throws(StoreError) { try tx.put(key(name), [1]) }
            return work
        }
        func fail(_ tx: any StoreTransaction) throws(StoreError) {
            try tx.put(key("bad"), [1])
            throw .conflict("bad")
        }
        func look(_ tx: any StoreTransaction) throws(StoreError) { #expect(try tx.get(key("one")) != nil) }
        let results = store.commit([put("one"), fail, look, put("two")])
        #expect(
            results == [
                .success(Revision(1)), .failure(.conflict("bad")), .success(nil), .success(Revision(2)),
            ])
        #expect(try store.get(key("bad")) == nil)
        #expect(try store.get(key("two"))?.revision == Revision(2))
    }

    @Test(arguments: Kind.allCases) func listsInOrderOfBytes(_ kind: Kind) throws {
        let store = try kind.make(workshop)
        let keys: [[UInt8]] = [
            [], [0], [1], [1, 0], [1, 255], [1, 255, 255], [2], [255], [255, 255], [255, 255, 1],
        ]
        try store.write { (tx) throws(StoreError) in
            for key in keys.reversed() { try tx.put(StoreKey(table, key), key) }
            try tx.put(StoreKey(StoreTable("thing"), [1]), [9])
        }
        func names(_ prefix: [UInt8], after: [UInt8]? = nil, limit: Int = .max) throws -> [[UInt8]] {
            try store.read { (tx) throws(StoreError) in
                try tx.list(table, prefix: prefix, after: after, limit: limit).map(\.key.key)
            }
        }
        #expect(try names([]) == keys)
        #expect(try names([1]) == [[1], [1, 0], [1, 255], [1, 255, 255]])
        #expect(try names([1, 255]) == [[1, 255], [1, 255, 255]])
        #expect(try names([255, 255]) == [[255, 255], [255, 255, 1]])
        #expect(try names([1], after: [1, 0], limit: 1) == [[1, 255]])
        #expect(try names([], limit: 0) == [])
        #expect(try store.read { (tx) throws(StoreError) in try tx.count(table, prefix: [1]) } == 4)
    }

    @Test(arguments: Kind.allCases) func limitsAreHeld(_ kind: Kind) throws {
        let store = try kind.make(workshop)
        let long = StoreKey(table, [UInt8](repeating: 1, count: StoreLimits.keyLength + 1))
        #expect(throws: StoreError.self) { try store.write { (tx) throws(StoreError) in try tx.put(long, []) } }
        let value = [UInt8](repeating: 1, count: StoreLimits.valueLength + 1)
        #expect(throws: StoreError.self) { try store.write { (tx) throws(StoreError) in try tx.put(key("v"), value) } }
        #expect(store.revision == .zero)
    }

    @Test(arguments: Kind.allCases) func historyTellsWhatChanged(_ kind: Kind) throws {
        let store = try kind.make(workshop, history: 3)
        try store.write { (tx) throws(StoreError) in
            try tx.put(key("b"), [1])
            try tx.put(key("a"), [1])
            try tx.put(key("a"), [2])
        }
        try store.write { (tx) throws(StoreError) in _ = try tx.delete(key("a")) }
        let first = [
            StoreChange(key: key("a"), revision: Revision(1), kind: .put),
            StoreChange(key: key("b"), revision: Revision(1), kind: .put),
        ]
        let second = StoreChange(key: key("a"), revision: Revision(2), kind: .delete)
        #expect(try store.changes(since: .zero) == .changes(first + [second], upTo: Revision(2)))
        #expect(try store.changes(since: .zero, limit: 1) == .changes(first, upTo: Revision(1)))
        #expect(try store.changes(since: Revision(1)) == .changes([second], upTo: Revision(2)))
        #expect(try store.changes(since: Revision(3)) == .gone(current: Revision(2)))
        for number in 3...6 {
            try store.write { (tx) throws(StoreError) in try tx.put(key("c"), [UInt8(number)]) }
        }
        #expect(try store.changes(since: Revision(2)) == .gone(current: Revision(6)))
        guard case .changes(let last, let upTo) = try store.changes(since: Revision(3)) else {
            Issue.record("the history keeps three revisions")
            return
        }
        #expect(last.count == 3 && upTo == Revision(6))
    }

    @Test(arguments: Kind.allCases) func observersHearOfCommits(_ kind: Kind) throws {
        let store = try kind.make(workshop)
        let heard = Mutex<[Revision]>([])
        var observation: StoreObservation? = store.observe { revision in heard.withLock { $0.append(revision) } }
        try store.write { (tx) throws(StoreError) in try tx.put(key("a"), [1]) }
        try? store.write { (tx) throws(StoreError) in throw .conflict("x") }
        try store.write { (tx) throws(StoreError) in try tx.put(key("a"), [2]) }
        #expect(heard.withLock { $0 } == [Revision(1), Revision(2)])
        withExtendedLifetime(observation) {}
        observation = nil
        try store.write { (tx) throws(StoreError) in try tx.put(key("a"), [3]) }
        #expect(heard.withLock { $0.count } == 2)
    }

    @Test(arguments: Kind.allCases) func aClosedStoreAndAnOldTransactionRefuse(_ kind: Kind) throws {
        let store = try kind.make(workshop)
        nonisolated(unsafe) var kept: (any StoreTransaction)?
        try store.write { (tx) throws(StoreError) in unsafe kept = tx }
        #expect(throws: StoreError.closed) { _ = try unsafe kept?.get(key("a")) }
        try store.close()
        #expect(throws: StoreError.closed) { try store.write { (tx) throws(StoreError) in try tx.put(key("a"), [1]) } }
        #expect(throws: StoreError.self) { try store.get(key("a")) }
    }

    @Test(arguments: Kind.allCases) func behavesAsADictionaryDoes(_ kind: Kind) throws {
        var random = SplitMix64.announced()
        let store = try kind.make(workshop)
        var model: [[UInt8]: [UInt8]] = [:]
        for _ in 0..<150 {
            let fails = Int.random(in: 0..<4, using: &random) == 0
            var next = model
            var steps: [([UInt8], [UInt8]?)] = []
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let key = random.bytes(Int.random(in: 0...2, using: &random)).map { $0 % 3 }
                let value: [UInt8]? = Bool.random(using: &random) ? random.bytes(3) : nil
                steps.append((key, value))
                next[key] = value
            }
            try? store.write { (tx) throws(StoreError) in
                for (key, value) in steps {
                    if let value {
                        try tx.put(StoreKey(table, key), value)
                    } else {
                        let isThere = try tx.get(StoreKey(table, key)) != nil
                        #expect(try tx.delete(StoreKey(table, key)) == isThere)
                    }
                }
                if fails { throw .conflict("rolled back") }
            }
            if !fails { model = next }
            let stored = try store.read { (tx) throws(StoreError) in try tx.list(table) }
            #expect(Dictionary(uniqueKeysWithValues: stored.map { ($0.key.key, $0.value) }) == model)
        }
    }

    @Test(arguments: Kind.allCases) func theStoreThreadGathersAndAnswersAll(_ kind: Kind) throws {
        let store = try kind.make(workshop)
        let thread = StoreThread(store: store)
        let answers = Mutex<[Result<Int, StoreError>]>([])
        for number in 0..<1_000 {
            try thread.submit { (tx) throws(StoreError) -> Int in
                if number % 10 == 0 { throw .conflict("tenth") }
                try tx.put(StoreKey(StoreTable("things"), "\(number)"), [1])
                return number
            } completion: { result in
                answers.withLock { $0.append(result) }
            }
        }
        thread.close()
        let all = answers.withLock { $0 }
        #expect(all.count == 1_000)
        #expect(all.filter { $0 == .failure(.conflict("tenth")) }.count == 100)
        #expect(try store.read { (tx) throws(StoreError) in try tx.count(table) } == 900)
        #expect(throws: StoreError.closed) {
            try thread.submit({ (_) throws(StoreError) in 1 }, completion: { _ in Issue.record("never called") })
        }
    }

    @Test func theQueueIsBounded() throws {
        let store = MemoryStore()
        let thread = StoreThread(store: store, capacity: 2)
        let gate = DispatchSemaphore(value: 0)
        let entered = DispatchSemaphore(value: 0)
        try thread.submit { (_) throws(StoreError) in
            entered.signal()
            gate.wait()
        } completion: { _ in
        }
        entered.wait()
        for _ in 0..<2 { try thread.submit({ (_) throws(StoreError) in () }, completion: { _ in }) }
        #expect(throws: StoreError.overloaded) {
            try thread.submit({ (_) throws(StoreError) in () }, completion: { _ in })
        }
        gate.signal()
        thread.close()
    }
}
