import MeshModel
import Routing
import Testing

@Suite struct RetryTests {
    private func failed(
        _ cause: FailedTry.Cause, method: FailedTry.Method = .other, body: FailedTry.Body = .none,
        grpc: FailedTry.GRPC = .no, dispatched: Bool = false, started: Bool = false, attempts: Int = 1, free: Int = 0
    ) -> FailedTry {
        FailedTry(
            method: method, body: body, grpc: grpc, cause: cause, isDispatched: dispatched, isResponseStarted: started,
            attempts: attempts, freeRepeats: free)
    }

    private func judge(_ failed: FailedTry, allowed: Int = 3) -> RetryRules.Answer {
        RetryRules.judge(failed, allowed: allowed)
    }

    @Test func whatReachedNoAppMayBeRepeatedForEveryMethod() {
        for grpc in [FailedTry.GRPC.no, .noMessageSent, .messageSent] {
            for cause in [FailedTry.Cause.unreached, .refusedStream, .answered(.noEndpoint), .answered(.draining)] {
                #expect(judge(failed(cause, body: .kept, grpc: grpc)) == .charged)
            }
        }
    }

    @Test func whatMayHaveReachedAnAppOnlyForRepeatableMethods() {
        for cause in [FailedTry.Cause.brokenOff, .timedOut, .answered(.upstreamReset)] {
            #expect(judge(failed(cause, method: .other, dispatched: true)) == .no)
            #expect(judge(failed(cause, method: .repeatable, dispatched: true)) == .charged)
            #expect(judge(failed(cause, method: .repeatable, body: .kept, dispatched: true)) == .charged)
            #expect(judge(failed(cause, method: .repeatable, body: .lost, dispatched: true)) == .no)
            #expect(judge(failed(cause, grpc: .noMessageSent, dispatched: true)) == .charged)
            #expect(judge(failed(cause, method: .repeatable, grpc: .messageSent, dispatched: true)) == .no)
        }
        #expect(judge(failed(.refusedStream, grpc: .messageSent, dispatched: true)) == .charged)
    }

    @Test func nothingAfterTheFirstResponseByteOrWithoutTheBody() {
        for cause in [FailedTry.Cause.connect, .unreached, .brokenOff] {
            #expect(judge(failed(cause, method: .repeatable, started: true)) == .no)
            #expect(judge(failed(cause, method: .repeatable, body: .lost)) == .no)
        }
    }

    @Test func refusedConnectsAreFreeFiveTimes() {
        for free in 0..<5 { #expect(judge(failed(.connect, attempts: 3, free: free)) == .free) }
        #expect(judge(failed(.connect, attempts: 1, free: 5)) == .no)
    }

    @Test func threeAttemptsOverAllHops() {
        #expect(judge(failed(.unreached, attempts: 2)) == .charged)
        #expect(judge(failed(.unreached, attempts: 3)) == .no)
        #expect(judge(failed(.unreached, attempts: 3), allowed: 10) == .no)
        #expect(judge(failed(.unreached, attempts: 1), allowed: 1) == .no)
        #expect(judge(failed(.unreached, attempts: .max), allowed: .max) == .no)
    }

    @Test func theOwnersWordIsFinal() {
        for reason in Reason.allCases {
            let answer = judge(failed(.answered(reason), method: .repeatable))
            #expect(answer == (RetryRules.isFinal(reason) ? .no : .charged))
        }
        for reason in [Reason.notAllowed, .noRoute, .rateLimited] { #expect(RetryRules.isFinal(reason)) }
        for reason in [Reason.noEndpoint, .overload, .connectFailed] { #expect(!RetryRules.isFinal(reason)) }
    }

    private func table() -> RoutingTable {
        var mesh = Mesh()
        mesh.add("api", zones: ["a"])
        mesh.add("none", zones: ["a"], firstID: 9) { $0.traffic.retryBudgetMinimumPerSecond = 0 }
        return mesh.sidecarTable()
    }

    @Test func theBudgetIsAShareOfTheRequests() {
        let table = table()
        var budgets = RetryBudgets()
        budgets.reconcile(with: table, now: .zero)
        let none = table.reached("none")
        var granted = budgets.withdraw(none, now: .zero)
        #expect(!granted)
        for _ in 0..<4 { budgets.requestStarted(none) }
        granted = budgets.withdraw(none, now: .zero)
        #expect(!granted)
        budgets.requestStarted(none)
        granted = budgets.withdraw(none, now: .zero)
        #expect(granted)
        granted = budgets.withdraw(none, now: instant(1_000))
        #expect(!granted)
    }

    @Test func theFloorComesWithTime() {
        let table = table()
        var budgets = RetryBudgets()
        budgets.reconcile(with: table, now: .zero)
        let api = table.reached("api")
        var granted = 0
        for step in 0..<10_000 where budgets.withdraw(api, now: instant(Double(step) / 1_000)) { granted += 1 }
        // Ten at once, then ten per second for ten seconds.
        #expect(granted >= 108 && granted <= 110)
    }

    @Test func neverMoreThanShareFloorAndReserve() {
        let table = table()
        let api = table.reached("api")
        for seed in UInt64(1)...40 {
            var random = TestRandom(seed)
            var budgets = RetryBudgets()
            budgets.reconcile(with: table, now: .zero)
            var now = Instant.zero
            var requests = 0
            var retries = 0
            for _ in 0..<3_000 {
                now = now + .microseconds(Int64(random.below(5_000)))
                if random.chance(50) {
                    budgets.requestStarted(api)
                    requests += 1
                } else if budgets.withdraw(api, now: now) {
                    retries += 1
                }
                let seconds = Double(now.nanoseconds) / 1e9
                #expect(Double(retries) <= 100 + 10 * seconds + 0.2 * Double(requests), "seed \(seed)")
            }
        }
    }

    @Test func theBudgetSurvivesASwap() {
        var mesh = Mesh()
        mesh.add("api", zones: ["a"])
        let first = mesh.sidecarTable()
        var budgets = RetryBudgets()
        budgets.reconcile(with: first, now: .zero)
        let api = first.reached("api")
        while budgets.withdraw(api, now: .zero) {}
        mesh.snapshot.revision = 2
        mesh.snapshot.services[0].plainNames = true
        let second = mesh.sidecarTable()
        budgets.reconcile(with: second, now: .zero)
        var granted = budgets.withdraw(second.reached("api"), now: .zero)
        #expect(!granted)
        granted = budgets.withdraw(api, now: .zero)
        #expect(!granted)
        granted = budgets.withdraw(api, now: instant(1))
        #expect(granted)
    }
}
