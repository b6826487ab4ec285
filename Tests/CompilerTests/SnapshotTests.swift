import Compiler
import MeshModel
import MeshTestKit
import Testing

@Suite struct SnapshotTests {
    private let web =
        Write.service(
            "web", "{selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}, {name: tcp, port: 7000}]}")
        + Write.workload("web-1", "10.0.0.1", ", serviceAccount: web, ports: {http: 8080}, locality: r/a")
        + Write.workload("web-2", "10.0.0.2", ", serviceAccount: web, ports: {http: 8081}, locality: r/b, weight: 3")
        + Write.workload("other", "10.0.0.3", labels: "app: other")

    @Test func selectorsFindWorkloadsAndPorts() throws {
        let snapshot = try compile(input(web)).snapshot
        #expect(snapshot.epoch == 3 && snapshot.revision == 9)
        let service = snapshot.services[0]
        #expect(service.name == name("shop/web") && service.isLocal)
        #expect(service.endpoints.map(\.address) == ["10.0.0.1", "10.0.0.2"])
        #expect(service.endpoints[0].targetPorts == [80: 8080, 7000: 7000])
        #expect(service.endpoints[1].targetPorts == [80: 8081, 7000: 7000])
        #expect(service.endpoints[0].identity.description == "spiffe://east.mesh/ns/shop/sa/web")
        #expect(service.endpoints.map(\.healthy) == [true, true])
        #expect(service.meshName.scope == .local)
    }

    @Test func unhealthyEndpointsAreMarked() throws {
        let first = try compile(input(web)).snapshot.services[0].endpoints[0]
        let second = try compile(input(web, unhealthy: [first.id])).snapshot.services[0]
        #expect(second.endpoints.map(\.healthy) == [false, true])
    }

    @Test func theOrderOfTheObjectsDoesNotMatter() throws {
        var random = SplitMix64.announced()
        let text =
            web + Write.service("a", "{selector: {app: other}, ports: [{port: 1}]}") + Write.export("web")
            + Write.own("Import", "i", "{rules: [{namespace: shop}]}")
            + Write.own("AuthorizationPolicy", "p1", "{\(Write.target("web")), rules: [{}]}")
            + Write.own("AuthorizationPolicy", "p2", "{\(Write.target("web")), rules: [{ports: [80]}]}")
            + Write.own(
                "RateLimitPolicy", "l", "{\(Write.target("web")), rules: [{name: a, limit: {requests: 1, per: 1s}}]}")
        var given = input(
            text,
            members: [
                member("west", [record("shop/b", "west"), record("shop/a", "west")]),
                member("north", [record("shop/b", "north")]),
            ])
        let first = try compile(given)
        for _ in 0..<20 {
            given.objects.shuffle(using: &random)
            given.members.shuffle(using: &random)
            for index in given.members.indices { given.members[index].catalog?.records.shuffle(using: &random) }
            #expect(try compile(given) == first)
        }
        #expect(first.snapshot.services.map(\.name.description) == ["shop/a", "shop/b", "shop/web"])
        #expect(first.snapshot.services[1].remotes.map(\.cluster.description) == ["north", "west"])
        #expect(first.snapshot.members.map(\.cluster.description) == ["north", "west"])
        #expect(first.snapshot.services[2].authorization.rules.map(\.name) == ["shop/p1#0", "shop/p2#0"])
        #expect(first.snapshot.services[2].limits.map(\.name) == ["shop/l/a@web"])
    }

    @Test func numbersStayWithTheirNames() throws {
        var identifiers = IDTable()
        let before = try SnapshotCompiler.compile(input(web), identifiers: &identifiers).snapshot
        let added = identifiers.takeAdded()
        #expect(
            added.map(\.key.description) == ["service/shop/web", "endpoint/shop/web/web-1", "endpoint/shop/web/web-2"])
        #expect(identifiers.added.isEmpty)
        let more =
            Write.service("a", "{selector: {app: web}, ports: [{port: 1}]}") + web
            + Write.workload("web-0", "10.0.0.9", ", ports: {http: 1}")
        // A broker that starts again fills the table from its store, which holds the keys as text.
        var known: [IDKey: UInt32] = [:]
        for (key, identifier) in added { known[try #require(IDKey(key.description))] = identifier }
        var restarted = IDTable(known: known)
        let after = try SnapshotCompiler.compile(input(more), identifiers: &restarted).snapshot
        let service = try #require(after.services.first { $0.name == name("shop/web") })
        #expect(service.id == before.services[0].id)
        for endpoint in before.services[0].endpoints {
            #expect(service.endpoints.contains { $0.id == endpoint.id && $0.workload == endpoint.workload })
        }
        let all = after.services.flatMap(\.endpoints).map(\.id)
        #expect(Set(all).count == all.count && !all.contains(0))
        #expect(Set(after.services.map(\.id)).count == 2)
    }

    @Test func keysReadBack() {
        for text in ["", "service", "service/a", "service/a/b/c", "endpoint/a/b", "other/a/b", "service/A/b"] {
            #expect(IDKey(text) == nil)
        }
        #expect(IDKey("endpoint/a/b/c") == .endpoint(service: name("a/b"), workload: name("a/c").name))
    }

    @Test func trafficPoliciesShareAService() throws {
        let text =
            web + Write.own("TrafficPolicy", "a", "{\(Write.target("web")), timeouts: {request: 1s}}")
            + Write.own(
                "TrafficPolicy", "b", "{\(Write.target("web")), retries: {attempts: 1}, failover: {order: [west]}}")
        let traffic = try compile(input(text)).snapshot.services[0].traffic
        #expect(traffic.requestTimeout == .seconds(1) && traffic.maximumAttempts == 1)
        #expect(traffic.failoverOrder == [cluster("west")] && traffic.connectTimeout == .seconds(2))
    }

    @Test func meshPolicySetsModes() throws {
        let text =
            web + Write.service("b", "{selector: {app: other}, ports: [{port: 1}]}")
            + Write.own(
                "MeshPolicy", "mesh",
                "{mtls: {mode: permissive}, federation: {sponsors: [west, north]}, accessLog: false}")
            + Write.own(
                "MeshPolicy", "strict",
                "{mtls: {mode: strict}, targetRefs: [{kind: Service, name: web, namespace: shop}]}")
            + Write.own("Cluster", "east", "{brokerAddresses: [\"10.0.0.5:15012\"]}")
        let result = try compile(input(text))
        #expect(result.snapshot.settings.mutualTLS == .permissive && !result.snapshot.settings.accessLog)
        #expect(result.snapshot.services.map(\.mutualTLS) == [nil, .strict])
        #expect(result.sponsors == [cluster("north"), cluster("west")])
        #expect(result.brokerAddresses == ["10.0.0.5:15012"])
    }
}
