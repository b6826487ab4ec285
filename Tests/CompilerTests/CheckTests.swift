import Compiler
import MeshModel
import Testing

/// What spans several objects: each case names the place and says what is wrong.
@Suite struct CheckTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let text: String
        let expected: String
        var testDescription: String { expected }

        init(_ text: String, _ expected: String) {
            self.text = text
            self.expected = expected
        }
    }

    private static let web = Write.service(
        "web", "{selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}")
    private static let one = Write.workload("web-1", "10.0.0.1", ", ports: {http: 8080}")

    private static let refused: [Case] = [
        Case(web + web, "f.yaml:6: Service shop/web: metadata.name: is defined twice, first at f.yaml:1; rename"),
        Case(
            web + Write.workload("web-1", "10.0.0.1"),
            "Service shop/web: spec.ports[0].targetPort: Workload shop/web-1 (f.yaml:6) has no port named http; add it"),
        Case(Write.export("web"), "ServiceExport shop/web: metadata.name: there is no Service shop/web"),
        Case(
            Write.own("AuthorizationPolicy", "p", "{\(Write.target("web")), rules: [{}]}"),
            "AuthorizationPolicy shop/p: spec.targetRefs: there is no Service shop/web here"),
        Case(
            web + one + Write.own("AuthorizationPolicy", "p", "{\(Write.target("web")), rules: [{ports: [81]}]}"),
            "spec.rules[0].ports: Service shop/web has no port 81; it has 80"),
        Case(
            web + one + Write.own("TrafficPolicy", "a", "{\(Write.target("web")), timeouts: {request: 1s}}")
                + Write.own("TrafficPolicy", "b", "{\(Write.target("web")), timeouts: {request: 1s}}"),
            "TrafficPolicy shop/b: spec.timeouts.request: is set for service shop/web by TrafficPolicy shop/a (f.yaml:11)"
        ),
        Case(
            web + one + Write.own("TrafficPolicy", "a", "{\(Write.target("web")), failover: {order: [east]}}"),
            "spec.failover.order: names east, the own cluster"),
        Case(
            Write.own("MeshPolicy", "a", "{mtls: {mode: strict}}") + Write.own("MeshPolicy", "b", "{accessLog: true}"),
            "MeshPolicy b: spec: is mesh-wide, as is MeshPolicy a (f.yaml:1)"),
        Case(
            Write.own(
                "MeshPolicy", "a", "{mtls: {mode: strict}, targetRefs: [{kind: Service, name: x, namespace: shop}]}"),
            "MeshPolicy a: spec.targetRefs: there is no Service shop/x here"),
        Case(
            web + Write.workload("web-1", "10.0.0.1", ", ports: {http: 80}, tls: plain")
                + Write.own(
                    "MeshPolicy", "a",
                    "{mtls: {mode: strict}, targetRefs: [{kind: Service, name: web, namespace: shop}]}"),
            "spec.mtls.mode: strict for shop/web, but Workload shop/web-1 has tls: plain"),
        Case(
            web + one + Write.service("too", "{selector: {app: web}, ports: [{port: 81, targetPort: 8080}]}")
                + Write.own(
                    "MeshPolicy", "a",
                    "{mtls: {mode: permissive}, targetRefs: [{kind: Service, name: too, namespace: shop}]}"),
            "Workload shop/web-1 port 8080 would be strict for it and permissive for shop/too"),
        Case(Write.own("Cluster", "west", "{}"), "Cluster west: metadata.name: this cluster is east"),
        Case(
            Write.own("Cluster", "east", "{trustDomain: other}"),
            "spec.trustDomain: is other, but the broker's is east.mesh"),
        Case(
            Write.own("Gateway", "gw-1", "{address: 10.0.0.1}"),
            "Gateway gw-1: kind: is for meshfed snapshot build only"),
        Case(Write.own("Member", "west", "{gateways: []}"), "Member west: kind: is for meshfed snapshot build only"),
    ]

    @Test(arguments: refused)
    func contradictionsAreRefused(wrong: Case) {
        let found = problems(input(wrong.text))
        #expect(found.contains { $0.contains(wrong.expected) }, "found: \(found)")
    }

    private static let warned: [Case] = [
        Case(Write.service("web", "{ports: [{port: 80}]}"), "spec.selector: is empty, so no workload serves it"),
        Case(web, "spec.selector: matches no Workload in namespace shop"),
        Case(
            Write.own("TrafficPolicy", "a", "{\(Write.target("web")), retries: {attempts: 1}}"),
            "there is no Service shop/web, and no import covers it"),
        Case(
            web + one + Write.own("TrafficPolicy", "a", "{\(Write.target("web")), failover: {exclude: [south]}}"),
            "spec.failover.exclude: south is no member of this federation now"),
        Case(
            web + one + Write.workload("web-2", "10.0.0.1", ", ports: {http: 1}"),
            "spec.address: 10.0.0.1 is the address of Workload shop/web-1 too"),
    ]

    @Test(arguments: warned)
    func doubtfulThingsStandWithAWarning(odd: Case) throws {
        let found = try compile(input(odd.text)).warnings.map(\.description)
        #expect(found.contains { $0.contains(odd.expected) }, "found: \(found)")
    }

    @Test func allProblemsAreListedInOrder() {
        let text = Self.web + Self.web + Write.export("a") + Write.export("b")
        let lines = problems(input(text)).map { $0.split(separator: ":")[1] }
        #expect(lines == ["6", "11", "15"])
    }
}
