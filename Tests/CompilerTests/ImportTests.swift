import Compiler
import MeshModel
import Testing

@Suite struct ImportTests {
    private let offers = [
        member("west", [record("shop/web", "west"), record("shop/api", "west"), record("kube-system/dns", "west")]),
        member("north", [record("shop/web", "north", healthy: 5), record("shop/web", "east")]),
    ]

    private func imported(_ rules: String, _ extra: String = "") throws -> Compilation {
        try compile(input(extra + Write.own("Import", "i", "{rules: [\(rules)]}"), members: offers))
    }

    private func names(_ result: Compilation) -> [String] {
        result.snapshot.services.flatMap { service in service.remotes.map { "\($0.cluster):\(service.name)" } }
    }

    @Test func nothingIsImportedByItself() throws {
        let result = try compile(input("", members: offers))
        #expect(result.snapshot.services.isEmpty)
        #expect(
            result.available.map { "\($0.cluster):\($0.service)" } == [
                "north:shop/web", "west:shop/api", "west:shop/web",
            ])
        #expect(result.available[0].healthyCount == 5)
    }

    @Test func rulesNameMemberNamespaceAndService() throws {
        #expect(try names(imported("{namespace: shop}")) == ["west:shop/api", "north:shop/web", "west:shop/web"])
        #expect(try names(imported("{cluster: north, namespace: shop}")) == ["north:shop/web"])
        #expect(try names(imported("{namespace: shop, service: api}")) == ["west:shop/api"])
        #expect(try names(imported("{cluster: west, namespace: shop, service: web}")) == ["west:shop/web"])
        #expect(try names(imported("{namespace: other}")) == [])
        #expect(
            try imported("{cluster: north, namespace: shop}").available.map(\.cluster.description) == ["west", "west"])
    }

    @Test func reservedNamespacesStayAway() throws {
        var given = input("", members: offers)
        let rule = ImportObject.Rule(cluster: nil, namespace: name("kube-system/x").namespace, service: nil)
        given.objects = [
            MeshObject(
                metadata: ObjectMetadata(
                    name: name("a/i").name, namespace: name("meshfed-system/i").namespace,
                    location: SourceLocation(file: "f", line: 1)),
                body: .importRules(ImportObject(rules: [rule], plainNames: false)))
        ]
        #expect(try compile(given).snapshot.services.isEmpty)
    }

    @Test func aRemoteServiceIsNotLocal() throws {
        let result = try imported("{cluster: west, namespace: shop, service: api}")
        let service = result.snapshot.services[0]
        #expect(!service.isLocal && service.endpoints.isEmpty && service.ports.map(\.port) == [80])
        #expect(service.meshName.scope == .clusterset && !service.plainNames)
        #expect(result.exports.isEmpty)
    }

    @Test func aLocalServiceKeepsItsEndpoints() throws {
        let local =
            Write.service("web", "{selector: {app: web}, ports: [{name: http, port: 80}]}")
            + Write.workload("w", "10.0.0.1")
        let service = try imported("{namespace: shop, service: web}", local).snapshot.services[0]
        #expect(service.isLocal && service.endpoints.count == 1 && service.remotes.count == 2)
        #expect(service.meshName.scope == .clusterset)
    }

    @Test func plainNamesComeFromTheRuleOrTheExport() throws {
        let text = Write.own("Import", "i", "{rules: [{namespace: shop, service: api}], plainNames: true}")
        #expect(try compile(input(text, members: offers)).snapshot.services[0].plainNames)
        let export =
            Write.service("web", "{selector: {app: web}, ports: [{port: 80}]}")
            + "apiVersion: multicluster.x-k8s.io/v1beta1\nkind: ServiceExport\n"
            + "metadata: {name: web, namespace: shop, annotations: {meshfed.io/plain-names: \"true\"}}\n"
        #expect(try compile(input(export)).snapshot.services[0].plainNames)
    }

    @Test func catalogGatewaysReplaceThoseOfTheMembership() throws {
        let address = { (text: String) in
            GatewayAddress(name: name("a/gw").name, address: text, port: 15_443, locality: .unknown)
        }
        var west = member("west", [])
        west.member.gateways = [address("10.9.0.1")]
        #expect(try compile(input("", members: [west])).snapshot.members[0].gateways[0].address == "10.9.0.1")
        west.catalog?.gateways = [address("10.9.0.2")]
        #expect(try compile(input("", members: [west])).snapshot.members[0].gateways[0].address == "10.9.0.2")
    }

    @Test func policiesReachImportedServices() throws {
        let text =
            Write.own("Import", "i", "{rules: [{namespace: shop}]}")
            + Write.own("TrafficPolicy", "t", "{\(Write.target("api")), failover: {order: [west]}}")
            + Write.own(
                "RateLimitPolicy", "l", "{\(Write.target("api")), rules: [{name: a, limit: {requests: 1, per: 1s}}]}")
        let result = try compile(input(text, members: offers))
        #expect(result.snapshot.services[0].traffic.failoverOrder == [cluster("west")])
        #expect(result.snapshot.services[0].limits.count == 1)
        #expect(result.warnings.isEmpty)
    }

    @Test func differentProtocolsAreWarnedOf() throws {
        let local = Write.service("web", "{selector: {app: web}, ports: [{name: tcp, port: 80}]}")
        let warnings = try imported("{namespace: shop, service: web}", local).warnings.map(\.description)
        #expect(warnings.contains { $0.contains("port 80 is tcp here and http in north") })
    }
}
