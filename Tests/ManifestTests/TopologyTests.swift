import Manifest
import MeshModel
import Testing

@Suite struct TopologyTests {
    @Test(arguments: ["two-clusters.yaml", "three-clusters.yaml", "full.yaml"])
    func filesOfTheTreeAreRead(name: String) throws {
        let topology = try ConfigDirectory.topology(inFile: "\(topologyFolder)/\(name)")
        #expect(topology.clusters.count >= 2)
    }

    @Test func fullShowsEveryKindAndEveryTrafficKey() throws {
        let topology = try ConfigDirectory.topology(inFile: "\(topologyFolder)/full.yaml")
        let kinds = Set(topology.clusters.flatMap(\.objects).map(\.kind))
        #expect(
            kinds == [
                "Service", "Workload", "ServiceExport", "Import", "TrafficPolicy", "RateLimitPolicy",
                "AuthorizationPolicy", "MeshPolicy",
            ])
        var fields: Set<TrafficField> = []
        for case .trafficPolicy(let policy) in topology.clusters.flatMap(\.objects).map(\.body) {
            fields.formUnion(policy.fields)
        }
        #expect(fields == Set(TrafficField.allCases))
        let east = topology.clusters[0]
        #expect(east.broker.arguments == ["--log-format", "json"])
        #expect(east.gateways.map(\.zone) == ["us-east-1a", "us-east-1b"])
        #expect(east.pods[0].app == .echo(http: [8080], grpc: [9090], tcp: [7000]))
        #expect(east.pods[0].sidecar?.outbound == ["127.0.0.1:7001=ledger.shop.svc.clusterset.local:7000"])
        #expect(east.pods[1].sidecar == nil && east.pods[1].security == .plain)
        #expect(topology.clusters[1].trustDomain.description == "west.mesh")
        #expect(topology.clusters[1].objects.map(\.kind) == ["Service", "ServiceExport"])
        #expect(topology.clusters[1].objects[0].metadata.annotations.isEmpty)
        #expect(topology.joins.map(\.imports) == [["shop"]])
        let standalone = try ConfigDirectory.objects(inFile: "\(topologyFolder)/standalone.yaml")
        #expect(Set(standalone.map(\.kind)).isSuperset(of: ["Cluster", "Member", "Gateway"]))
    }

    private func text(clusters: String, rest: String = "") -> String {
        "apiVersion: meshfed.io/v1alpha1\nkind: Topology\nmetadata: {name: t}\nspec:\n  clusters:\n\(clusters)\(rest)"
    }

    @Test func podsGetDefaults() throws {
        let topology = try ManifestReader.topology(
            in: text(clusters: "  - {name: east, subnet: 10.1.0.0/24, pods: [{name: a}, {name: b, tls: mutual}]}\n"),
            file: "t.yaml")
        let pods = topology.clusters[0].pods
        #expect(topology.wan.description == "172.31.0.0/24")
        #expect(topology.clusters[0].trustDomain.description == "east.mesh")
        #expect(pods[0].sidecar != nil && pods[0].security == .mesh && pods[0].namespace.description == "default")
        #expect(pods[1].sidecar == nil && pods[1].security == .mutual)
        #expect(pods[0].workload(address: "10.1.0.9", region: "r").kind == "Workload")
    }

    @Test(arguments: [
        ("  - {name: east, subnet: 10.1.0.1/24}\n", "\"10.1.0.1/24\" is no IPv4 network"),
        ("  - {name: east, subnet: 172.31.0.0/25}\n", "subnet 172.31.0.0/25 of east overlaps that of wan"),
        (
            "  - {name: east, subnet: 10.1.0.0/24}\n  - {name: west, subnet: 10.1.0.0/16}\n",
            "subnet 10.1.0.0/16 of west overlaps that of east"
        ),
        (
            "  - {name: east, subnet: 10.1.0.0/24}\n  - {name: east, subnet: 10.2.0.0/24}\n",
            "cluster east is there twice"
        ),
        ("  - {name: east, subnet: 10.1.0.0/24, pods: [{name: a}, {name: a}]}\n", "pod default/a is there twice"),
        ("  - {name: east, subnet: 10.1.0.0/24, pods: [{name: a, app: {}}]}\n", "has neither echo nor command"),
        ("  - {name: east, subnet: 10.1.0.0/24, pods: [{name: a, app: {command: \"a b\"}}]}\n", "must be a list"),
        (
            "  - {name: east, subnet: 10.1.0.0/24, pods: [{name: a, sidecar: {outbound: [\"0.0.0.0:1=a:1\"]}}]}\n",
            "is no outbound listener"
        ),
        (
            "  - {name: east, subnet: 10.1.0.0/24, pods: [{name: a, tls: mesh, sidecar: {none: true}}]}\n",
            "but tls is mesh"
        ),
        (
            "  - {name: east, subnet: 10.1.0.0/29, pods: [{name: a}, {name: b}, {name: c}, {name: d}, {name: e}]}\n",
            "larger subnet"
        ),
        ("  - {name: east, subnet: 10.1.0.0/24, objects: [{apiVersion: v1, kind: Pod}]}\n", "unknown kind \"Pod\""),
        (
            "  - {name: east, subnet: 10.1.0.0/24}\n  joins: [{cluster: west, to: east}]\n",
            "joins names west, which is not in this topology"
        ),
        ("  - {name: east, subnet: 10.1.0.0/24, color: red}\n", "spec.clusters[0]: unknown key \"color\""),
    ])
    func mistakesAreNamed(clusters: String, expected: String) {
        let found = topologyProblems(in: text(clusters: clusters))
        #expect(found.contains { $0.contains(expected) }, "found: \(found)")
    }

    @Test func plainObjectsNameTheirClusters() {
        let cluster = "  - {name: east, subnet: 10.1.0.0/24}\n"
        let object = { (annotation: String) in
            "---\napiVersion: v1\nkind: Service\nmetadata: {name: a, annotations: {meshfed.io/cluster: \(annotation)}}\n"
                + "spec: {ports: [{port: 80}]}\n"
        }
        #expect(topologyProblems(in: text(clusters: cluster, rest: object("east"))).isEmpty)
        let unknown = topologyProblems(in: text(clusters: cluster, rest: object("west")))
        #expect(unknown.contains { $0.contains("cluster west is not in this topology") })
        #expect(topologyProblems(in: "apiVersion: v1\nkind: Pod\n").contains { $0.contains("unknown kind") })
        #expect(topologyProblems(in: "").contains { $0.contains("holds no Topology") })
    }

    @Test func networksCountTheirHosts() {
        let network = IPv4Network("10.1.0.0/29")
        #expect(network?.hostCount == 6)
        #expect(network?.host(1) == "10.1.0.1")
        #expect(network?.host(6) == "10.1.0.6")
        #expect(network?.host(7) == nil && network?.host(0) == nil)
        for text in ["10.1.0.0", "10.1.0.0/30", "10.1.0.0/7", "10.1.0.8/28", "10.1.0.0/+24", "010.1.0.0/24", "a/24"] {
            #expect(IPv4Network(text) == nil)
        }
    }
}
