import Containers
import MeshModel
import Routing
import Testing

@Suite struct RateLimiterTests {
    private func rule(
        _ name: String, _ requests: Int, per: Duration = .seconds(1), burst: Int,
        subject: LimitRule.Subject = .service, mode: LimitRule.Mode = .enforce
    ) -> LimitRule {
        LimitRule(name: name, requests: requests, per: per, burst: burst, subject: subject, mode: mode)
    }

    private func table(_ rules: [LimitRule], _ cells: LimitCells, revision: UInt64 = 1) -> RoutingTable {
        var mesh = Mesh()
        mesh.snapshot.revision = revision
        mesh.add("api", zones: ["a"]) { $0.limits = rules }
        return mesh.gatewayTable(cells)
    }

    private let web = CallerKey(spiffe("spiffe://east.mesh/ns/shop/sa/web"))
    private let cart = CallerKey(spiffe("spiffe://east.mesh/ns/shop/sa/cart"))

    private func passes(_ table: RoutingTable, _ caller: CallerKey, _ now: Instant) -> Bool {
        RateLimiter.decide(table, service: 0, caller: caller, now: now)?.isLimited == false
    }

    @Test func passesTheBurstAndThenTheRate() {
        let table = table([rule("shop/l#0", 10, burst: 5)], LimitCells())
        var passed = 0
        for _ in 0..<50 where passes(table, web, instant(100)) { passed += 1 }
        #expect(passed == 5)
        passed = 0
        for step in 0..<1_000 where passes(table, web, instant(100 + Double(step + 1) / 100)) { passed += 1 }
        #expect(passed == 100)
    }

    @Test func noWindowHoldsMoreThanBurstAndRequests() {
        for seed in UInt64(1)...120 {
            var random = TestRandom(seed)
            let requests = 1 + random.below(30)
            let burst = random.below(20)
            let per = Duration.milliseconds(1 + random.below(2_000))
            let subject: LimitRule.Subject = random.chance(50) ? .service : .caller
            let table = table([rule("r", requests, per: per, burst: burst, subject: subject)], LimitCells())
            let window = per.components.seconds * 1_000_000_000 + per.components.attoseconds / 1_000_000_000
            var now = Instant(nanoseconds: UInt64(1 + random.below(1_000_000_000)))
            var times: [UInt64] = []
            let step = max(1, Int(window) / (requests * 2))
            for _ in 0..<600 {
                if random.chance(70) { now = now + .nanoseconds(Int64(random.below(step))) }
                if random.chance(1) { now = now + per }
                if passes(table, web, now) { times.append(now.nanoseconds) }
            }
            var start = 0
            for end in times.indices {
                while times[end] - times[start] >= UInt64(window) { start += 1 }
                #expect(end - start + 1 < requests + max(burst, 1), "seed \(seed)")
            }
            #expect(!times.isEmpty)
        }
    }

    @Test func everyGatewayHasItsOwnCount() {
        let gateways = (0..<3).map { _ in table([rule("shop/l#0", 10, burst: 0)], LimitCells()) }
        var passed = 0
        for step in 0..<100 {
            for gateway in gateways where passes(gateway, web, instant(5 + Double(step) / 100)) { passed += 1 }
        }
        #expect(passed == 30)
    }

    @Test func workersOfAProcessShareTheCount() async {
        let table = table([rule("shop/l#0", 1, per: .seconds(1_000_000), burst: 500)], LimitCells())
        let web = web
        let passed = await withTaskGroup(of: Int.self) { group in
            for _ in 0..<4 {
                group.addTask {
                    var passed = 0
                    for _ in 0..<2_000 {
                        let decision = RateLimiter.decide(table, service: 0, caller: web, now: instant(9))
                        if decision?.isLimited == false { passed += 1 }
                    }
                    return passed
                }
            }
            return await group.reduce(0, +)
        }
        #expect(passed == 500)
    }

    @Test func workersShareCallersCellsToo() async {
        let table = table([rule("shop/l#0", 1, per: .seconds(1_000), burst: 10, subject: .caller)], LimitCells())
        let keys = (0..<20).map { CallerKey(spiffe("spiffe://east.mesh/ns/shop/sa/c\($0)")) }
        let passed = await withTaskGroup(of: Int.self) { group in
            for _ in 0..<4 {
                group.addTask {
                    var passed = 0
                    for round in 0..<2_000 {
                        let key = keys[round % keys.count]
                        let decision = RateLimiter.decide(table, service: 0, caller: key, now: instant(9))
                        if decision?.isLimited == false { passed += 1 }
                    }
                    return passed
                }
            }
            return await group.reduce(0, +)
        }
        #expect(passed == 200)
    }

    @Test func callersDoNotTakeFromEachOther() {
        let table = table([rule("shop/l#0", 1, burst: 0, subject: .caller)], LimitCells())
        #expect(passes(table, web, instant(1)))
        #expect(!passes(table, web, instant(1.5)))
        #expect(passes(table, cart, instant(1.5)))
        #expect(passes(table, web, instant(2.1)))
    }

    @Test func tooManyCallersShareOneCellAndAreCounted() {
        let cells = LimitCells()
        let table = table([rule("shop/l#0", 1, per: .seconds(1_000), burst: 0, subject: .caller)], cells)
        var passed = 0
        var overflowed = 0
        for number in 0..<20_000 {
            let key = CallerKey(spiffe("spiffe://east.mesh/ns/shop/sa/c\(number)"))
            let decision = RateLimiter.decide(table, service: 0, caller: key, now: instant(1)) { _, outcome in
                if outcome == .overflowLimited || outcome == .overflowAllowed { overflowed += 1 }
            }
            if decision?.isLimited == false { passed += 1 }
        }
        // At most one each for 4,096 slots and one for all others together.
        #expect(passed <= 4_097 && passed > 3_000)
        #expect(overflowed > 15_000 && UInt64(overflowed) == table.limits[0][0].cell.overflow)
        // Once their burst is back, the slots serve others.
        let late = CallerKey(spiffe("spiffe://east.mesh/ns/shop/sa/late"))
        #expect(passes(table, late, instant(2_000)))
    }

    @Test func aSwapGivesNobodyAFreshQuota() {
        let cells = LimitCells()
        let first = table([rule("shop/l#0", 1, per: .seconds(100), burst: 0)], cells)
        #expect(passes(first, web, instant(1)))
        let second = table([rule("shop/l#0", 1, per: .seconds(100), burst: 0)], cells, revision: 2)
        #expect(!passes(second, web, instant(2)))
        let none = table([], cells, revision: 3)
        cells.reconcile(with: none)
        #expect(RateLimiter.decide(none, service: 0, caller: web, now: instant(2)) == nil)
        #expect(passes(table([rule("shop/l#0", 1, per: .seconds(100), burst: 0)], cells, revision: 4), web, instant(3)))
    }

    @Test func shadowRulesOnlyWatch() {
        let table = table([rule("shop/l#0", 1, burst: 0, mode: .shadow)], LimitCells())
        var outcomes: [LimitOutcome] = []
        for _ in 0..<3 {
            let decision = RateLimiter.decide(table, service: 0, caller: web, now: instant(1)) { outcomes.append($1) }
            #expect(decision == nil)
        }
        #expect(outcomes == [.allowed, .shadowLimited, .shadowLimited])
    }

    @Test func aRefusedRequestCostsTheOthersNothing() {
        let cells = LimitCells()
        let both = table([rule("wide", 10, burst: 10), rule("tight", 1, burst: 0)], cells)
        for _ in 0..<100 { _ = passes(both, web, instant(1)) }
        let decision = RateLimiter.decide(both, service: 0, caller: web, now: instant(1))
        #expect(decision?.isLimited == true && decision?.rule == 1)
        let wide = table([rule("wide", 10, burst: 10)], cells, revision: 2)
        var left = 0
        for _ in 0..<100 where passes(wide, web, instant(1)) { left += 1 }
        #expect(left == 9)
    }

    @Test func sidecarsIgnoreLimits() {
        var mesh = Mesh()
        mesh.add("web", zones: ["a"]) { $0.limits = [rule("shop/l#0", 1, burst: 0)] }
        let table = mesh.sidecarTable()
        #expect(RateLimiter.decide(table, service: 0, caller: web, now: .zero) == nil)
        #expect(RateLimiter.decide(table, service: -1, caller: web, now: .zero) == nil)
        #expect(RateLimiter.decide(table, service: 99, caller: web, now: .zero) == nil)
    }

    private func text(_ write: (inout ByteBuffer) -> Void) -> String {
        var buffer = ByteBuffer()
        write(&buffer)
        var bytes: [UInt8] = []
        for index in 0..<buffer.count { bytes.append(buffer.bytes[index]) }
        return String(decoding: bytes, as: UTF8.self)
    }

    @Test func writesTheHeadersOfTheDraft() {
        let table = table([rule("shop/l#0", 2, per: .seconds(10), burst: 2)], LimitCells())
        let binding = table.limits[0][0]
        func decide() -> LimitDecision? { RateLimiter.decide(table, service: 0, caller: web, now: instant(50)) }
        guard let first = decide(), decide() != nil, let third = decide() else {
            Issue.record("no decision")
            return
        }
        #expect(text { first.writePolicy(binding, into: &$0) } == "\"shop/l#0\";q=2;w=10")
        #expect(text { first.writeLimit(binding, into: &$0) } == "\"shop/l#0\";r=1;t=5")
        #expect(third.isLimited)
        #expect(text { third.writeLimit(binding, into: &$0) } == "\"shop/l#0\";r=0;t=5")
        #expect(text { third.writeRetryAfter(into: &$0) } == "5")
        #expect(!passes(table, web, instant(54.9)))
        #expect(passes(table, web, instant(55)))
    }

    @Test func oddRulesDoNotTrap() {
        for requests in [Int.min, 0, 1, .max] {
            for burst in [Int.min, 0, .max] {
                for per in [Duration.seconds(-1), .zero, .nanoseconds(1), .seconds(Int64.max)] {
                    for subject in [LimitRule.Subject.service, .caller] {
                        let table = table([rule("r", requests, per: per, burst: burst, subject: subject)], LimitCells())
                        for now in [Instant.zero, instant(1), .distantFuture] {
                            _ = RateLimiter.decide(table, service: 0, caller: web, now: now)
                        }
                    }
                }
            }
        }
    }
}
