import MeshModel
import Routing
import Testing

@Suite struct AuthoriserTests {
    private let own = domain("east.mesh")
    private let callers = [
        "spiffe://east.mesh/ns/shop/sa/web", "spiffe://east.mesh/ns/shop/sa/web2",
        "spiffe://east.mesh/ns/shopping/sa/web",
        "spiffe://west.mesh/ns/shop/sa/web", "spiffe://east.mesh.evil/ns/shop/sa/web", "spiffe://west.mesh/other",
    ].map(spiffe)

    private func prefix(_ text: String) -> CallerPattern {
        guard let text = ASCIIText(text) else { preconditionFailure("prefix") }
        return .prefix(text)
    }

    private func rule(_ action: AuthorizationRule.Action, _ callers: [CallerPattern], _ ports: [UInt16] = [])
        -> AuthorizationRule
    {
        AuthorizationRule(name: "n/p#0", action: action, callers: callers, ports: ports)
    }

    private func decide(_ rules: [AuthorizationRule], _ caller: Int, port: UInt16 = 80) -> AuthorizationDecision {
        Authoriser.decide(Authorization(rules: rules), caller: callers[caller], port: port, owner: own)
    }

    @Test func defaultsDifferByTrustDomain() {
        #expect(decide([], 0) == .allowed(rule: nil))
        #expect(decide([], 3) == .denied(rule: nil))
        #expect(decide([], 4) == .denied(rule: nil))
    }

    @Test func anAllowRuleClosesTheDefaultForAllPorts() {
        let rules = [rule(.allow, [.identity(callers[1])], [9_000])]
        #expect(decide(rules, 0) == .denied(rule: nil))
        #expect(decide(rules, 1) == .denied(rule: nil))
        #expect(decide(rules, 1, port: 9_000) == .allowed(rule: 0))
    }

    @Test func denyWinsWhereverItStands() {
        let allow = rule(.allow, [.any])
        let deny = rule(.deny, [.trustDomain(domain("west.mesh"))])
        #expect(decide([allow, deny], 3) == .denied(rule: 1))
        #expect(decide([deny, allow], 3) == .denied(rule: 0))
        #expect(decide([allow, deny], 0) == .allowed(rule: 0))
        #expect(decide([deny], 0) == .allowed(rule: nil))
    }

    @Test func prefixesEndAtASlash() {
        let rules = [rule(.allow, [prefix("spiffe://east.mesh/ns/shop/")])]
        #expect(decide(rules, 0).isAllowed)
        #expect(decide(rules, 1).isAllowed)
        #expect(!decide(rules, 2).isAllowed)
        #expect(!decide(rules, 4).isAllowed)
    }

    @Test func nobodyIsMeantByAnEmptyList() {
        #expect(decide([rule(.deny, [])], 0) == .allowed(rule: nil))
        #expect(decide([rule(.allow, [])], 0) == .denied(rule: nil))
    }

    /// The words of MeshModel/Policies.swift, written down as naively as they can be.
    private func naive(_ rules: [AuthorizationRule], _ caller: SPIFFEID, _ port: UInt16) -> Bool {
        let matching = rules.filter { rule in
            (rule.ports.isEmpty || rule.ports.contains(port)) && rule.callers.contains { $0.matches(caller) }
        }
        if matching.contains(where: { $0.action == .deny }) { return false }
        if matching.contains(where: { $0.action == .allow }) { return true }
        if caller.trustDomain != own { return false }
        return !rules.contains { $0.action == .allow }
    }

    @Test func agreesWithTheNaiveReading() {
        for seed in UInt64(1)...400 {
            var random = TestRandom(seed)
            var rules: [AuthorizationRule] = []
            for _ in 0..<random.below(6) {
                var patterns: [CallerPattern] = []
                for _ in 0..<random.below(3) {
                    switch random.below(4) {
                    case 0: patterns.append(.any)
                    case 1: patterns.append(.identity(callers[random.below(callers.count)]))
                    case 2: patterns.append(.trustDomain(callers[random.below(callers.count)].trustDomain))
                    default: patterns.append(prefix("spiffe://east.mesh/ns/shop/"))
                    }
                }
                let ports: [UInt16] = random.chance(50) ? [] : [UInt16(80 + random.below(2))]
                rules.append(rule(random.chance(40) ? .deny : .allow, patterns, ports))
            }
            for caller in callers {
                for port in [UInt16(80), 81, 82] {
                    let got = Authoriser.decide(
                        Authorization(rules: rules), caller: caller, port: port, owner: own)
                    #expect(got.isAllowed == naive(rules, caller, port), "seed \(seed)")
                    if case .allowed(let index?) = got { #expect(rules[index].action == .allow) }
                    if case .denied(let index?) = got { #expect(rules[index].action == .deny) }
                }
            }
        }
    }
}
