import MeshModel
import Routing
import Testing

@Suite struct HealthTests {
    private func health(_ table: RoutingTable, gateway: Bool = true) -> Health {
        var health = Health(probesIdle: gateway)
        health.reconcile(with: table, now: .zero)
        return health
    }

    @Test func aRefusedConnectTakesOutAtOnceUntilAProbePasses() {
        var mesh = Mesh()
        mesh.add("api", zones: ["a", "a"])
        var health = health(mesh.gatewayTable())
        let first = health.handle(of: 1)
        let second = health.handle(of: 2)
        let isOut = health.failed(first, .connectRefused, now: instant(1))
        #expect(isOut)
        // No cap: the last one goes too.
        health.failed(second, .probeFailed, now: instant(1))
        let unhealthy = health.unhealthyEndpoints()
        #expect(unhealthy == [1, 2])
        health.succeeded(first, now: instant(2))
        let stillOut = !health.isUsable(first, now: instant(1_000)) && !health.isAlive(first)
        #expect(stillOut)
        health.probePassed(first, now: instant(3))
        let isBack = health.isUsable(first, now: instant(3))
        #expect(isBack)
    }

    @Test func ejectsAfterFiveForThirtySecondsTimesN() {
        var mesh = Mesh()
        mesh.add("api", zones: ["a", "a"])
        var health = health(mesh.gatewayTable())
        let one = health.handle(of: 1)
        for count in 1...5 {
            let isOut = health.failed(one, .status5xx, now: instant(1))
            #expect(isOut == (count == 5))
        }
        var usable = [instant(1), instant(30.9), instant(31)].map { health.isUsable(one, now: $0) }
        #expect(usable == [false, false, true])
        let isAlive = health.isAlive(one)
        #expect(isAlive)
        for _ in 0..<5 { health.failed(one, .connectTimeout, now: instant(40)) }
        usable = [instant(99), instant(100)].map { health.isUsable(one, now: $0) }
        #expect(usable == [false, true])
        // After serving as long as the last ejection took, n starts anew.
        health.succeeded(one, now: instant(161))
        for _ in 0..<5 { health.failed(one, .status5xx, now: instant(200)) }
        usable = [instant(229), instant(230)].map { health.isUsable(one, now: $0) }
        #expect(usable == [false, true])
    }

    @Test func aSuccessBetweenStartsTheCountAnew() {
        var mesh = Mesh()
        mesh.add("api", zones: ["a", "a"])
        var health = health(mesh.gatewayTable())
        let one = health.handle(of: 1)
        for _ in 0..<10 {
            for _ in 0..<4 { health.failed(one, .status5xx, now: instant(1)) }
            health.succeeded(one, now: instant(1))
        }
        let isUsable = health.isUsable(one, now: instant(1))
        #expect(isUsable)
    }

    @Test func neverEjectsMoreThanHalfOfALocality() {
        for seed in UInt64(1)...60 {
            var random = TestRandom(seed)
            var mesh = Mesh()
            let size = 1 + random.below(9)
            mesh.add("api", zones: (0..<size).map { _ in random.chance(50) ? "a" : "b" })
            var health = health(mesh.gatewayTable())
            for step in 0..<400 {
                let now = instant(Double(step))
                let id = EndpointID(1 + random.below(size))
                let handle = health.handle(of: id)
                if random.chance(80) {
                    health.failed(handle, random.chance(50) ? .status5xx : .connectTimeout, now: now)
                } else {
                    health.succeeded(handle, now: now)
                }
                for zone in ["a", "b"] {
                    var members = 0
                    var out = 0
                    for endpoint in mesh.snapshot.services[0].endpoints where endpoint.locality.zone == zone {
                        members += 1
                        let handle = health.handle(of: endpoint.id)
                        if !health.isUsable(handle, now: now) { out += 1 }
                    }
                    #expect(out * 2 <= members, "seed \(seed)")
                }
            }
        }
    }

    @Test func aGatewayIsNeverEjectedForItsBackends() {
        var mesh = Mesh()
        mesh.add("pay", remotes: ["west"])
        var health = health(mesh.gatewayTable())
        let west = health.handle(ofGateway: 2)
        for _ in 0..<100 { health.failed(west, .status5xx, now: instant(1)) }
        let isUsable = health.isUsable(west, now: instant(1))
        #expect(isUsable)
        health.failed(west, .connectRefused, now: instant(1))
        let isAlive = health.isAlive(west)
        #expect(!isAlive)
    }

    @Test func probesWhatIsUnhealthySuspectOrIdle() {
        var mesh = Mesh()
        mesh.add("api", zones: ["a", "a", "a"], remotes: ["west"])
        let table = mesh.gatewayTable()
        var sidecarLike = health(table, gateway: false)
        var due: [Health.ProbeTarget] = []
        sidecarLike.dueProbes(now: instant(100), into: &due)
        #expect(due.isEmpty)
        sidecarLike.failed(sidecarLike.handle(of: 2), .connectRefused, now: instant(100))
        sidecarLike.failed(sidecarLike.handle(ofGateway: 3), .connectTimeout, now: instant(100))
        sidecarLike.dueProbes(now: instant(100.5), into: &due)
        #expect(due.map(\.what) == [.gateway(3)])
        due.removeAll()
        sidecarLike.dueProbes(now: instant(101), into: &due)
        #expect(due.map(\.what) == [.endpoint(service: 0, endpoint: 1, id: 2)])
        due.removeAll()
        sidecarLike.dueProbes(now: instant(101.2), into: &due)
        #expect(due.isEmpty)

        var gateway = health(table)
        gateway.succeeded(gateway.handle(of: 1), now: instant(0.5))
        gateway.dueProbes(now: instant(1), into: &due)
        #expect(
            due.map(\.what) == [
                .endpoint(service: 0, endpoint: 1, id: 2), .endpoint(service: 0, endpoint: 2, id: 3),
            ])
        due.removeAll()
        gateway.dueProbes(now: instant(2), limit: 2, into: &due)
        #expect(due.count == 2)
    }

    @Test func survivesASnapshotSwap() {
        var mesh = Mesh()
        mesh.add("api", zones: ["a", "a", "a"])
        var health = health(mesh.gatewayTable())
        let first = health.handle(of: 1)
        let second = health.handle(of: 2)
        let third = health.handle(of: 3)
        health.started(second)
        health.failed(first, .connectRefused, now: instant(1))
        health.failed(third, .connectRefused, now: instant(1))
        mesh.snapshot.revision = 2
        mesh.snapshot.services[0].endpoints[2].address = "10.7.7.7"
        mesh.snapshot.services[0].endpoints.remove(at: 1)
        health.reconcile(with: mesh.gatewayTable(), now: instant(2))
        let isStillOut = !health.isAlive(first)
        #expect(isStillOut)
        // A moved endpoint is a new target; a handle of what is gone does nothing.
        let moved = health.handle(of: 3)
        #expect(moved != third)
        let isAlive = health.isAlive(moved)
        #expect(isAlive)
        health.ended(second)
        health.failed(second, .connectRefused, now: instant(2))
        let gone = health.handle(of: 2)
        #expect(gone.isNone)
        let unhealthy = health.unhealthyEndpoints()
        #expect(unhealthy == [1])
    }

    @Test func aGatewayTakesTheFeedsWordForNewEndpointsAndThenItsOwn() {
        var mesh = Mesh()
        mesh.add("api", zones: ["a", "a"]) { $0.endpoints[0].healthy = false }
        var health = health(mesh.gatewayTable())
        let one = health.handle(of: 1)
        var isAlive = health.isAlive(one)
        #expect(!isAlive)
        var due: [Health.ProbeTarget] = []
        health.dueProbes(now: .zero, into: &due)
        #expect(due.map(\.what) == [.endpoint(service: 0, endpoint: 0, id: 1)])
        health.probePassed(one, now: instant(0.1))
        mesh.snapshot.revision = 2
        health.reconcile(with: mesh.gatewayTable(), now: instant(0.2))
        isAlive = health.isAlive(one)
        #expect(isAlive)
    }

    @Test func countsWhatIsInFlight() {
        var mesh = Mesh()
        mesh.add("api", zones: ["a"])
        var health = health(mesh.gatewayTable())
        let one = health.handle(of: 1)
        health.started(one)
        health.started(one)
        health.ended(one)
        let inFlight = health.inFlight(one)
        #expect(inFlight == 1)
        health.ended(one)
        health.ended(one)
        let none = health.inFlight(one)
        #expect(none == 0)
    }
}
