import Compiler
import Foundation
import Manifest
import MeshModel
import Testing

@Suite struct StandaloneTests {
    private var topologies: String {
        URL(fileURLWithPath: #filePath).resolvingSymlinksInPath().deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("topology").path
    }

    @Test func theExampleCompiles() throws {
        let objects = try ConfigDirectory.objects(inFile: "\(topologies)/standalone.yaml")
        let result = try StandaloneCompiler.compile(objects, cluster: cluster("east"))
        let snapshot = result.snapshot
        #expect(snapshot.trustDomain == domain("east.mesh"))
        #expect(snapshot.gateways.map(\.port) == [15_443])
        #expect(snapshot.members.map(\.trustDomain) == [domain("west.mesh")])
        #expect(snapshot.services.map(\.name.description) == ["shop/reviews", "shop/web"])
        #expect(snapshot.services[0].remotes[0].healthyCount == 2)
        #expect(snapshot.services[0].remotes[0].authorization.rules.map(\.callers) == [[.any]])
        #expect(try StandaloneCompiler.compile(objects, cluster: cluster("east")) == result)
    }

    @Test(arguments: ["two-clusters.yaml", "three-clusters.yaml", "full.yaml"])
    func theTopologiesOfTheTreeCompile(file: String) throws {
        let topology = try ConfigDirectory.topology(inFile: "\(topologies)/\(file)")
        for own in topology.clusters {
            let pods = own.pods.enumerated().map { index, pod in
                pod.workload(address: own.subnet.host(index + 20) ?? "10.0.0.1", region: own.region)
            }
            let result = try compile(
                CompilerInput(
                    cluster: own.name, trustDomain: own.trustDomain, epoch: 1, revision: 1, objects: own.objects + pods)
            )
            #expect(!result.snapshot.services.isEmpty || own.objects.allSatisfy { $0.kind != "Service" })
            #expect(!result.warnings.contains { $0.path == "spec.selector" }, "\(result.warnings)")
        }
    }

    @Test func membersBringTheirRoots() throws {
        let pem = "-----BEGIN CERTIFICATE-----\\nAQID\\n-----END CERTIFICATE-----\\n"
        let text = Write.own("Member", "west", "{gateways: [], bundle: \"\(pem)\"}")
        let snapshot = try StandaloneCompiler.compile(objects(text), cluster: cluster("east")).snapshot
        #expect(snapshot.bundles == [TrustBundle(trustDomain: domain("west.mesh"), roots: [[1, 2, 3]])])
    }

    @Test(arguments: [
        (Write.own("Member", "east", "{gateways: []}"), "is the own cluster"),
        (Write.own("Member", "west", "{gateways: [], trustDomain: east.mesh}"), "is that of this cluster too"),
        (
            Write.own(
                "Member", "west",
                "{gateways: [], services: [{namespace: a, name: b, ports: [{port: 1}]}, {namespace: a, name: b, ports: [{port: 1}]}]}"
            ),
            "spec.services[1]: a/b is there twice"
        ),
    ])
    func wrongMembersAreRefused(text: String, expected: String) {
        do throws(CompileError) {
            _ = try StandaloneCompiler.compile(objects(text), cluster: cluster("east"))
            Issue.record("accepted")
        } catch {
            #expect(error.description.contains(expected), "\(error)")
        }
    }
}
