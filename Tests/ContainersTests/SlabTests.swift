import Containers
import MeshTestKit
import Testing

@Suite struct SlabTests {
    /// Counts how many are alive.
    private final class Census {
        var alive = 0
    }
    private struct Tenant: ~Copyable {
        let census: Census
        var value: Int

        init(_ census: Census, _ value: Int) {
            self.census = census
            self.value = value
            census.alive += 1
        }
        deinit { census.alive -= 1 }
    }

    private func value(_ tenant: consuming Tenant?) -> Int? {
        switch consume tenant {
        case .some(let tenant): tenant.value
        case .none: nil
        }
    }

    @Test func staleHandlesAreRecognised() {
        let census = Census()
        var slab = Slab<Tenant>(capacity: 10)
        guard let first = slab.insert(Tenant(census, 1)) else {
            Issue.record("full")
            return
        }
        holds(slab.contains(first) && slab[first].value == 1)
        holds(slab.remove(first))
        holds(!slab.contains(first) && !slab.remove(first))
        holds(value(slab.take(first)) == nil)
        guard let second = slab.insert(Tenant(census, 2)) else {
            Issue.record("full")
            return
        }
        holds(second.slot == first.slot && second != first)
        holds(!slab.contains(first) && slab.contains(second))
        slab[second].value += 5
        holds(value(slab.take(second)) == 7)
        holds(census.alive == 0 && slab.count == 0)
    }

    @Test func noneNamesNothing() {
        var slab = Slab<Int>(capacity: 4)
        holds(Handle.none.isNone && !slab.contains(.none))
        _ = slab.insert(1)
        holds(!slab.contains(.none) && !slab.contains(Handle(slot: 0, generation: 0)))
        holds(!slab.contains(Handle(slot: 0, generation: 2)) && !slab.contains(Handle(slot: 9_999, generation: 1)))
    }

    @Test func capacityIsALimit() {
        let census = Census()
        var slab = Slab<Tenant>(capacity: 2)
        guard let first = slab.insert(Tenant(census, 1)) else {
            Issue.record("full")
            return
        }
        holds(slab.insert(Tenant(census, 2)) != nil)
        holds(slab.isFull)
        holds(slab.insert(Tenant(census, 3)) == nil)
        holds(census.alive == 2)
        slab.remove(first)
        holds(slab.insert(Tenant(census, 4)) != nil)
        holds(census.alive == 2)
    }

    @Test func everythingDiesWithTheSlab() {
        let census = Census()
        do {
            var slab = Slab<Tenant>(capacity: 1_000)
            for value in 0..<200 { _ = slab.insert(Tenant(census, value)) }
            for handle in slab.handles where slab[handle].value % 3 == 0 { slab.remove(handle) }
            holds(census.alive == slab.count)
        }
        holds(census.alive == 0)
    }

    @Test func agreesWithADictionary() {
        var random = SplitMix64.announced()
        var slab = Slab<Int>(capacity: 150)
        var model: [Handle: Int] = [:]
        var dead: [Handle] = []
        for step in 0..<20_000 {
            if Bool.random(using: &random) {
                if let handle = slab.insert(step) {
                    holds(model.count < 150 && model[handle] == nil)
                    model[handle] = step
                } else {
                    holds(model.count == 150)
                }
            } else if let handle = model.keys.randomElement(using: &random) {
                holds(slab.take(handle) == model.removeValue(forKey: handle))
                dead.append(handle)
            }
            if let old = dead.randomElement(using: &random) { holds(!slab.contains(old)) }
            holds(slab.count == model.count)
        }
        holds(Set(slab.handles) == Set(model.keys))
        for (handle, value) in model {
            holds(slab[handle] == value)
            holds(slab.handle(at: Int(handle.slot)) == handle)
        }
    }
}
