import MeshModel
import Routing
import Testing

@Suite struct CandidateWalkTests {
    private let suffix = "shop.svc.clusterset.local"

    private func health(_ table: RoutingTable) -> Health {
        var health = Health(probesIdle: false)
        health.reconcile(with: table, now: .zero)
        return health
    }

    /// Everything a walk gives out, in order.
    private func all(
        _ plan: CandidateWalk.Plan, _ destination: Destination, _ table: RoutingTable, _ health: borrowing Health,
        now: Instant = instant(1), wall: Int64 = 0, seed: UInt64 = 1
    ) -> [Candidate] {
        var walk = CandidateWalk(plan: plan, wall: WallTime(seconds: wall))
        var random = RandomBits(seed: seed)
        var result: [Candidate] = []
        while let next = walk.next(destination, table, health, now: now, random: &random) { result.append(next) }
        return result
    }

    @Test func prefersZoneThenRegionThenClusterThenGateways() {
        var mesh = Mesh()
        mesh.add(
            "api", zones: ["eu/x", "b", "a", "eu/x", "b", "a"], remotes: ["west"], export: .all)
        let table = mesh.sidecarTable()
        let health = health(table)
        for seed in UInt64(1)...20 {
            let order = all(.source, table.reached("api.\(suffix)"), table, health, seed: seed)
            let ids = order.compactMap(\.endpointID)
            #expect(Set(ids.prefix(2)) == [3, 6])
            #expect(Set(ids[2..<4]) == [2, 5])
            #expect(Set(ids[4..<6]) == [1, 4])
            #expect(Set(order[6...].map(\.word)) == ["gw0", "gw1"])
            #expect(order[6].isFailover && !order[0].isFailover)
        }
        // A plain name fails with its local instances.
        #expect(all(.source, table.reached("api"), table, health).count == 6)
    }

    @Test func unknownLocalityIsNearToNobody() {
        var mesh = Mesh()
        mesh.add("api", zones: ["a", "a"])
        let table = RoutingTable(
            mesh.snapshot, ownRole: .gateway(name: label("east-1"), locality: .unknown))
        let health = health(table)
        let api = mesh.sidecarTable().reached("api")
        #expect(table.current(api) == nil)
        #expect(all(.ingress, api, table, health).isEmpty)
    }

    @Test func leavesATierOnlyWhenNothingInItIsHealthy() {
        var mesh = Mesh()
        mesh.add("api", zones: ["a", "a", "b"], remotes: ["west"])
        let table = mesh.sidecarTable()
        var health = health(table)
        let api = table.reached("api.\(suffix)")
        health.failed(health.handle(of: 1), .connectRefused, now: instant(1))
        #expect(all(.source, api, table, health).first?.word == "2")
        health.failed(health.handle(of: 2), .probeFailed, now: instant(1))
        #expect(all(.source, api, table, health).first?.word == "3")
        health.failed(health.handle(of: 3), .connectRefused, now: instant(1))
        #expect(Set(all(.source, api, table, health).map(\.word)) == ["gw0", "gw1"])
        health.failed(health.handle(ofGateway: 0), .connectRefused, now: instant(1))
        health.failed(health.handle(ofGateway: 1), .connectRefused, now: instant(1))
        // Never to a host that is known to be dead.
        #expect(all(.source, api, table, health).isEmpty)
        var walk = CandidateWalk(plan: .source, wall: WallTime(seconds: 0))
        var random = RandomBits(seed: 1)
        let none = walk.next(api, table, health, now: instant(1), random: &random)
        #expect(none == nil && walk.reason == .noEndpoint)
    }

    @Test func ejectedOnesAreTheLastResort() {
        var mesh = Mesh()
        mesh.add("api", zones: ["a", "a"], remotes: ["west"])
        let table = mesh.sidecarTable()
        var health = health(table)
        for _ in 0..<5 { health.failed(health.handle(of: 1), .status5xx, now: instant(1)) }
        let order = all(.source, table.reached("api.\(suffix)"), table, health)
        #expect(order.map(\.word).first == "2")
        #expect(order.map(\.word).last == "1")
        #expect(order.count == 4)
    }

    @Test func egressKeepsTheFailoverOrder() {
        var mesh = Mesh()
        mesh.add("pay", remotes: ["north", "south", "west"]) {
            $0.traffic.failoverOrder = [cluster("west"), cluster("mars")]
        }
        mesh.add("not", remotes: ["north", "south", "west"]) { $0.traffic.failoverExcluded = [cluster("north")] }
        let table = mesh.gatewayTable()
        let health = health(table)
        let pay = table.named("80.pay.\(suffix)", from: .ownWorkload)!
        #expect(all(.egress(foreignCaller: false), pay, table, health).compactMap(\.member) == [0, 0, 1, 1, 2, 2])
        let not = table.named("80.not.\(suffix)", from: .ownWorkload)!
        #expect(all(.egress(foreignCaller: false), not, table, health).compactMap(\.member) == [2, 2, 0, 0])
        let order = all(.egress(foreignCaller: false), pay, table, health)
        #expect(order.map(\.isFailover) == [false, false, true, true, true, true])
        let pinned = table.named("80.pay.shop.svc.south.clusterset.local", from: .ownWorkload)!
        #expect(all(.egress(foreignCaller: false), pinned, table, health).compactMap(\.member) == [2, 2])
    }

    @Test func staleComesAfterFreshAndGoneNever() {
        var mesh = Mesh()
        mesh.add("pay", remotes: ["west", "north", "south"]) {
            $0.traffic.failoverOrder = [cluster("west"), cluster("north"), cluster("south")]
        }
        mesh.add("old", remotes: ["west", "south"]) { $0.traffic.maximumStaleness = .seconds(60) }
        mesh.snapshot.members[0].freshness = .stale(since: WallTime(seconds: 1_000))
        mesh.snapshot.members[1].freshness = .gone
        let table = mesh.gatewayTable()
        let health = health(table)
        let pay = table.named("80.pay.\(suffix)", from: .ownWorkload)!
        #expect(all(.egress(foreignCaller: false), pay, table, health).compactMap(\.member) == [2, 2, 0, 0])
        let old = table.named("80.old.\(suffix)", from: .ownWorkload)!
        #expect(all(.egress(foreignCaller: false), old, table, health, wall: 1_060).count == 4)
        #expect(all(.egress(foreignCaller: false), old, table, health, wall: 1_061).compactMap(\.member) == [2, 2])
        let pinned = table.named("80.old.shop.svc.west.clusterset.local", from: .ownWorkload)!
        var walk = CandidateWalk(plan: .egress(foreignCaller: false), wall: WallTime(seconds: 2_000))
        var random = RandomBits(seed: 1)
        let none = walk.next(pinned, table, health, now: .zero, random: &random)
        #expect(none == nil && walk.reason == .stale)
    }

    @Test func aForeignCallerAtEgressGetsLocalEndpointsFirst() {
        var mesh = Mesh()
        mesh.add("api", zones: ["b", "a"], remotes: ["west"], export: .all)
        let table = mesh.gatewayTable()
        let health = health(table)
        let api = table.named("80.api.\(suffix)", from: .ownWorkload)!
        #expect(
            all(.egress(foreignCaller: true), api, table, health).map(\.word).prefix(2) == ["2", "1"])
        #expect(all(.egress(foreignCaller: false), api, table, health).allSatisfy { $0.member == 0 })
        #expect(all(.ingress, api, table, health).map(\.word) == ["2", "1"])
    }

    @Test func avoidsAClusterThatSaidNoForAShortTime() {
        var mesh = Mesh()
        mesh.add("pay", remotes: ["west", "north"]) { $0.traffic.failoverOrder = [cluster("west")] }
        mesh.add("other", remotes: ["west", "north"]) { $0.traffic.failoverOrder = [cluster("west")] }
        let table = mesh.gatewayTable()
        var health = health(table)
        let pay = table.named("80.pay.\(suffix)", from: .ownWorkload)!
        let other = table.named("80.other.\(suffix)", from: .ownWorkload)!
        let egress = CandidateWalk.Plan.egress(foreignCaller: false)
        let first = all(egress, pay, table, health)[0]
        #expect(first.member == 0)
        health.remoteAnswered(first, .noEndpoint, now: instant(1))
        #expect(all(egress, pay, table, health, now: instant(1)).compactMap(\.member) == [1, 1, 0, 0])
        #expect(all(egress, other, table, health, now: instant(1)).first?.member == 0)
        #expect(all(egress, pay, table, health, now: instant(3)).first?.member == 0)
        health.remoteAnswered(first, .notAllowed, now: instant(3))
        #expect(all(egress, pay, table, health, now: instant(3)).first?.member == 0)
        // A gateway that drains is avoided itself, for all services.
        health.remoteAnswered(first, .draining, now: instant(4))
        #expect(!all(egress, other, table, health, now: instant(4)).prefix(3).contains { $0.handle == first.handle })
    }

    @Test func choosesTheOneWithFewerInFlight() {
        var mesh = Mesh()
        mesh.add("api", zones: ["a", "a"])
        let table = mesh.sidecarTable()
        var health = health(table)
        health.started(health.handle(of: 1))
        for seed in UInt64(1)...50 {
            #expect(all(.source, table.reached("api"), table, health, seed: seed).first?.word == "2")
        }
    }

    @Test func spreadsByWeight() {
        var mesh = Mesh()
        mesh.add("few", zones: ["a", "a", "a"]) { service in
            service.endpoints[1].weight = 3
            service.endpoints[2].weight = 0
        }
        mesh.add("many", zones: Array(repeating: "a", count: 40), firstID: 100)
        let table = mesh.sidecarTable()
        let health = health(table)
        var random = RandomBits(seed: 11)
        var counts: [EndpointID: Int] = [:]
        for _ in 0..<4_000 {
            for host in ["few", "many"] {
                var walk = CandidateWalk(plan: .source, wall: WallTime(seconds: 0))
                let next = walk.next(table.reached(host), table, health, now: .zero, random: &random)
                if let id = next?.endpointID { counts[id, default: 0] += 1 }
            }
        }
        #expect(counts[3] == nil)
        let heavy = counts[2] ?? 0
        #expect(heavy > 2_800 && heavy < 3_200)
        for id in EndpointID(100)..<140 { #expect((counts[id] ?? 0) > 50 && (counts[id] ?? 0) < 160) }
    }

    @Test func powerOfTwoChoicesKeepsTheLoadEven() {
        var mesh = Mesh()
        mesh.add("many", zones: Array(repeating: "a", count: 30))
        let table = mesh.sidecarTable()
        var health = health(table)
        var random = RandomBits(seed: 5)
        for _ in 0..<3_000 {
            var walk = CandidateWalk(plan: .source, wall: WallTime(seconds: 0))
            let next = walk.next(table.reached("many"), table, health, now: .zero, random: &random)
            if let next { health.started(next.handle) }
        }
        for id in EndpointID(1)...30 {
            let load = health.inFlight(health.handle(of: id))
            #expect(load > 92 && load < 108)
        }
    }

    @Test func aFullEndpointIsOverloadNotAbsence() {
        var mesh = Mesh()
        mesh.add("api", zones: ["a"]) { $0.traffic.maximumRequestsPerEndpoint = 2 }
        let table = mesh.sidecarTable()
        var health = health(table)
        let api = table.reached("api")
        health.started(health.handle(of: 1))
        #expect(all(.source, api, table, health).count == 1)
        health.started(health.handle(of: 1))
        var walk = CandidateWalk(plan: .source, wall: WallTime(seconds: 0))
        var random = RandomBits(seed: 1)
        let none = walk.next(api, table, health, now: .zero, random: &random)
        #expect(none == nil && walk.reason == .overload)
    }

    @Test func aSidecarBelievesTheFeedAboutHealth() {
        var mesh = Mesh()
        mesh.add("api", zones: ["a", "b"]) { $0.endpoints[0].healthy = false }
        let table = mesh.sidecarTable()
        let health = health(table)
        #expect(all(.source, table.reached("api"), table, health).map(\.word) == ["2"])
    }

    @Test func portsAndProtocolsMustFit() {
        var mesh = Mesh()
        mesh.add("api", ports: [80, 90], zones: ["a", "a"], remotes: ["west", "north"]) { service in
            service.endpoints[0].targetPorts[90] = nil
            service.remotes[0].ports.removeLast()
            service.remotes[1].ports[0].appProtocol = .tcp
        }
        let table = mesh.sidecarTable()
        let gateways = mesh.gatewayTable()
        let health = health(table)
        let egress = self.health(gateways)
        #expect(all(.source, table.reached("api.\(suffix):90"), table, health).first?.word == "2")
        let eighty = gateways.named("80.api.\(suffix)", from: .ownWorkload)!
        let ninety = gateways.named("90.api.\(suffix)", from: .ownWorkload)!
        #expect(all(.egress(foreignCaller: false), eighty, gateways, egress).compactMap(\.member) == [0, 0])
        #expect(all(.egress(foreignCaller: false), ninety, gateways, egress).compactMap(\.member) == [1, 1])
        #expect(gateways.named("80.api.shop.svc.north.clusterset.local", from: .ownWorkload) == nil)
    }

    @Test func givesOutEachTargetOnceAndNoneThatIsDead() {
        for seed in UInt64(1)...200 {
            var random = TestRandom(seed)
            var mesh = Mesh()
            let zones = (0..<random.below(25)).map { _ in ["a", "b", "eu/x"][random.below(3)] }
            mesh.add("api", zones: zones, remotes: random.chance(70) ? ["west", "north"] : [], export: .all)
            let table = mesh.gatewayTable()
            var health = health(table)
            for id in 0..<zones.count where random.chance(50) {
                health.failed(health.handle(of: EndpointID(id + 1)), .connectRefused, now: .zero)
            }
            for gateway in 0..<table.gateways.count where random.chance(40) {
                health.failed(health.handle(ofGateway: gateway), .probeFailed, now: .zero)
            }
            guard let api = table.named("80.api.\(suffix)", from: .ownWorkload) else { continue }
            let order = all(.egress(foreignCaller: true), api, table, health, seed: seed)
            #expect(Set(order.map(\.handle)).count == order.count, "seed \(seed)")
            #expect(order.count <= CandidateWalk.maximumTried)
            for candidate in order {
                let isAlive = health.isAlive(candidate.handle)
                #expect(isAlive, "seed \(seed)")
            }
            var living = 0
            for id in 0..<zones.count {
                let isAlive = health.isAlive(health.handle(of: EndpointID(id + 1)))
                if isAlive { living += 1 }
            }
            #expect(order.compactMap(\.endpointID).count == min(living, CandidateWalk.maximumTried), "seed \(seed)")
        }
    }
}
