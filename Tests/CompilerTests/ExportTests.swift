import Compiler
import MeshModel
import Testing

@Suite struct ExportTests {
    private let text =
        Write.service("web", "{selector: {app: web}, ports: [{name: http, port: 80}]}")
        + Write.service("api", "{selector: {app: web}, ports: [{name: http, port: 80}]}")
        + Write.service("hidden", "{selector: {app: web}, ports: [{name: http, port: 80}]}") + Write.export("web")
        + Write.export("api", to: "west") + Write.workload("w-1", "10.0.0.1", ", locality: r/a, weight: 2")
        + Write.workload("w-2", "10.0.0.2", ", locality: r/a") + Write.workload("w-3", "10.0.0.3", ", locality: r/b")
        + Write.own(
            "AuthorizationPolicy", "p", "{\(Write.target("web")), rules: [{from: {trustDomains: [west.mesh]}}]}")

    @Test func recordsCountByLocality() throws {
        let first = try compile(input(text))
        let down = try #require(
            first.snapshot.services.first { $0.name == name("shop/web") }?.endpoints.first { $0.address == "10.0.0.1" })
        let result = try compile(input(text, unhealthy: [down.id]))
        #expect(result.exports.map(\.service.description) == ["shop/api", "shop/web"])
        let web = result.exports[1]
        #expect(web.capacities.map(\.locality.zone) == ["a", "b"])
        #expect(web.capacities.map(\.healthyCount) == [1, 1] && web.capacities.map(\.capacity) == [3, 1])
        #expect(web.authorization.rules.map(\.name) == ["shop/p#0"])
        #expect(result.exports[0].capacities.map(\.healthyCount) == [2, 1])
    }

    @Test func membersSeeWhatIsExportedToThem() throws {
        var given = input(text)
        given.gateways = [
            GatewayAddress(name: name("a/gw-2").name, address: "172.31.0.3", port: 1, locality: .unknown),
            GatewayAddress(name: name("a/gw-1").name, address: "172.31.0.2", port: 1, locality: .unknown),
        ]
        let result = try compile(given)
        let west = result.catalog(for: cluster("west"))
        let north = result.catalog(for: cluster("north"))
        #expect(west.records.map(\.service.description) == ["shop/api", "shop/web"])
        #expect(north.records.map(\.service.description) == ["shop/web"])
        #expect(west.records.allSatisfy { $0.exportTo == .all })
        #expect(west.gateways.map(\.name.description) == ["gw-1", "gw-2"])
        #expect(west.epoch == 3 && west.revision == 9 && west.cluster == cluster("east"))
    }
}
