import Compiler
import MeshModel
import Testing

@Suite struct AddressPoolTests {
    private static let start = WallTime(seconds: 1_000_000)

    private func snapshot(_ names: [String]) throws -> Snapshot {
        let cluster = try #require(Label("east").map { ClusterID($0) })
        let domain = try #require(TrustDomain("east.mesh"))
        var snapshot = Snapshot(cluster: cluster, trustDomain: domain, epoch: 1, revision: 1)
        for (index, name) in names.enumerated() {
            let name = try #require(ObjectName("shop/\(name)"))
            snapshot.services.append(Service(id: UInt32(index + 1), name: name, ports: []))
        }
        return snapshot
    }

    private func numbers(_ snapshot: Snapshot) -> [String: UInt32] {
        var found: [String: UInt32] = [:]
        for service in snapshot.services {
            for address in service.virtualAddresses { found[address.name.description] = address.number }
        }
        return found
    }

    @Test func aNameKeepsItsAddressWhateverComesAndGoes() throws {
        var pool = AddressPool()
        var first = try snapshot(["a", "b"])
        pool.assign(&first, now: Self.start)
        var second = try snapshot(["0", "b", "c"])
        pool.assign(&second, now: Self.start)
        #expect(numbers(second)["b.shop.svc.cluster.local"] == numbers(first)["b.shop.svc.cluster.local"])
        #expect(Set(numbers(second).values).count == 3)
        #expect(Set(numbers(second).values).isDisjoint(with: [numbers(first)["a.shop.svc.cluster.local"] ?? 0]))
    }

    @Test func whatIsWrittenDownGivesTheSameAddressesAfterARestart() throws {
        var pool = AddressPool()
        var first = try snapshot(["a", "b", "c"])
        pool.assign(&first, now: Self.start)
        var rows: [MeshName: AddressPool.Entry] = [:]
        for change in pool.takeChanges() { rows[change.name] = change.entry }
        #expect(rows.count == 3 && pool.takeChanges().isEmpty)
        var again = AddressPool(held: rows)
        var second = try snapshot(["c", "b", "a", "d"])
        again.assign(&second, now: Self.start)
        for (name, number) in numbers(first) { #expect(numbers(second)[name] == number) }
    }

    @Test func anExhaustedRangeWaitsADayBeforeItGivesAnAddressAgain() throws {
        var rows: [MeshName: AddressPool.Entry] = [:]
        for number in VirtualAddress.numbers {
            let name = try #require(MeshName("n\(number).shop.svc.cluster.local".utf8))
            // The name n7 is gone since the start.
            rows[name] = AddressPool.Entry(number: number, goneSince: number == 7 ? Self.start : nil)
        }
        let names = VirtualAddress.numbers.filter { $0 != 7 }.map { "n\($0)" }
        var pool = AddressPool(held: rows)
        var early = try snapshot(names + ["new"])
        pool.assign(&early, now: WallTime(seconds: Self.start.seconds + AddressPool.quarantine - 1))
        #expect(numbers(early)["new.shop.svc.cluster.local"] == nil)
        #expect(pool.unserved.map(\.description) == ["new.shop.svc.cluster.local"])
        var late = try snapshot(names + ["new"])
        pool.assign(&late, now: WallTime(seconds: Self.start.seconds + AddressPool.quarantine))
        #expect(numbers(late)["new.shop.svc.cluster.local"] == 7)
        let changes = pool.takeChanges()
        #expect(changes.contains { $0.name.description == "n7.shop.svc.cluster.local" && $0.entry == nil })
    }

    @Test func addressesAreOfTheReservedRanges() throws {
        let name = try #require(MeshName("a.b.svc.clusterset.local".utf8))
        let address = try #require(VirtualAddress(name: name, number: 261))
        #expect(address.v4Text == "240.240.1.5" && address.v4 == [240, 240, 1, 5])
        #expect(address.v6.count == 16 && VirtualAddress.isVirtual(address.v6) && VirtualAddress.isVirtual(address.v4))
        #expect(VirtualAddress(name: name, number: 0) == nil && VirtualAddress(name: name, number: 65_535) == nil)
    }
}
