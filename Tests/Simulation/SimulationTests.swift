import Glibc
import MeshModel
import Testing

/// Ten clusters, every kind of trouble, and what must hold all the same.
@Suite struct SimulationTests {
    /// `MESHFED_SEED` alone, or the first `MESHFED_SOAK_SEEDS` (50).
    static var seeds: [UInt64] {
        if let seed = variable("MESHFED_SEED") { return [seed] }
        return Array(1...(variable("MESHFED_SOAK_SEEDS") ?? 50))
    }

    private static func variable(_ name: String) -> UInt64? {
        // SAFETY: read before anything changes the environment; the text is copied at once.
        guard let text = unsafe getenv(name) else { return nil }
        return UInt64(unsafe String(cString: text)).flatMap { $0 > 0 ? $0 : nil }
    }

    @Test(arguments: seeds) func everyInvariantHolds(seed: UInt64) throws {
        let (violation, oracle, healed) = try Trouble.run(Scenario(seed: seed))
        if let violation { print("simulation: MESHFED_SEED=\(seed) fails: \(violation)") }
        #expect(violation == nil, "replay with MESHFED_SEED=\(seed)")
        #expect(oracle.checkedRoutes > 1_000, "nothing was routed")
        #expect(healed < .seconds(30))
    }

    /// A checker that finds nothing is worth nothing: each mistake must be found, and be found by its own invariant.
    @Test(arguments: SeededBug.allCases) func eachSeededBugIsCaught(bug: SeededBug) throws {
        for seed in UInt64(1)...12 {
            let (violation, _, _) = try Trouble.run(Scenario(seed: seed, bug: bug))
            if let violation {
                #expect(violation.invariant == bug.breaks, "seed \(seed): \(violation)")
                return
            }
        }
        Issue.record("\(bug.rawValue) was not noticed in 12 runs")
    }

    @Test func everyInvariantHasABug() {
        #expect(Set(SeededBug.allCases.map(\.breaks)) == Set(Invariant.allCases))
    }

    /// The seed decides all: the same seed gives the same run.
    @Test func aSeedReplays() throws {
        let first = try Trouble.run(Scenario(seed: 3, bug: .visibleBeforeDurable))
        let second = try Trouble.run(Scenario(seed: 3, bug: .visibleBeforeDurable))
        #expect(first.violation?.description == second.violation?.description)
        #expect(first.oracle.checkedRoutes == second.oracle.checkedRoutes)
        #expect(first.healed == second.healed)
    }
}
