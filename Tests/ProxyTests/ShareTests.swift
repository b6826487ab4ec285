import MeshTestKit
import Proxy
import Testing

/// The rules for what can run out, without sockets.
@Suite struct ShareTests {
    private let one = spiffe("spiffe://east.mesh/ns/shop/sa/one")
    private let two = spiffe("spiffe://east.mesh/ns/shop/sa/two")

    @Test func aCallerHoldsAtMostAsManyAsAreLeft() {
        var shares = CallerShares()
        let greedy = shares.retain(one)
        let late = shares.retain(two)
        var total = 0
        while shares.mayBegin(greedy, total: total, capacity: 100) {
            shares.begin(greedy)
            total += 1
        }
        #expect(total == 50)
        while shares.mayBegin(late, total: total, capacity: 100) {
            shares.begin(late)
            total += 1
        }
        #expect(total == 75)
        #expect(shares.isAboveAverage(greedy, total: total) && !shares.isAboveAverage(late, total: total))
        shares.end(greedy)
        #expect(shares.mayBegin(late, total: total - 1, capacity: 100))
    }

    @Test func thereIsAlwaysRoomForOneMoreCaller() {
        var random = SplitMix64.announced()
        var shares = CallerShares()
        let capacity = 64
        var held: [CallerShares.Account] = []
        let callers = (0..<12).map { spiffe("spiffe://east.mesh/ns/shop/sa/c\($0)") }
        for _ in 0..<20_000 {
            if random.next() % 3 > 0 {
                let account = shares.retain(callers[Int(random.next() % UInt64(callers.count))])
                if shares.mayBegin(account, total: held.count, capacity: capacity), held.count < capacity {
                    shares.begin(account)
                    held.append(account)
                }
                shares.release(account)
            } else if !held.isEmpty {
                shares.end(held.remove(at: Int(random.next() % UInt64(held.count))))
            }
            #expect(held.count <= capacity)
            let stranger = shares.retain(spiffe("spiffe://east.mesh/ns/shop/sa/stranger"))
            #expect(shares.mayBegin(stranger, total: held.count, capacity: capacity))
            shares.release(stranger)
        }
        for account in held { shares.end(account) }
        #expect(shares.count == 0 && shares.busy == 0, "no account outlives what it counts")
    }

    @Test func connectionsFollowTheSameRule() {
        var shares = CallerShares()
        var total = 0
        var good = 0
        for _ in 0..<20 {
            let account = shares.retain(one)
            total += 1
            if shares.connect(account, total: total, capacity: 20) { good += 1 }
        }
        #expect(good == 10)
    }

    @Test func aTurnIsSharedOnlyWhereThereAreOthers() {
        var shares = CallerShares()
        let alone = shares.retain(one)
        for _ in 0..<1_000 { shares.take(alone, turn: 1) }
        #expect(shares.hasTurn(alone, turn: 1))
        let other = shares.retain(two)
        #expect(!shares.hasTurn(alone, turn: 1) && shares.hasTurn(other, turn: 1) && shares.hasTurn(alone, turn: 2))
        #expect(shares.hasTurn(.none, turn: 1))
    }

    @Test func stagesComeInOrderAndDoNotFlutter() {
        var stage = MemoryPressure.calm
        var seen: [MemoryPressure] = []
        for used in 0...100 {
            let next = stage.next(used: used, limit: 100)
            #expect(next >= stage)
            if next != stage { seen.append(next) }
            stage = next
        }
        #expect(seen == [.lean, .shedding, .closed])
        #expect(stage.next(used: MemoryPressure.closed.threshold - 1, limit: 100) == .closed)
        #expect(stage.next(used: MemoryPressure.closed.threshold - 5, limit: 100) == .shedding)
        #expect(stage.next(used: 0, limit: 100) == .calm)
        #expect(MemoryPressure.calm.next(used: .max, limit: 1) == .closed)
        #expect(MemoryPressure.closed.next(used: .max, limit: 0) == .calm, "no limit, no pressure")
    }
}
