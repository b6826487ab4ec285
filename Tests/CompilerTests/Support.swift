import Compiler
import Foundation
import Manifest
import MeshModel

func cluster(_ name: String) -> ClusterID {
    guard let cluster = ClusterID(name) else { preconditionFailure("\(name) is a label") }
    return cluster
}

func domain(_ name: String) -> TrustDomain {
    guard let domain = TrustDomain(name) else { preconditionFailure("\(name) is a trust domain") }
    return domain
}

func name(_ text: String) -> ObjectName {
    guard let name = ObjectName(text) else { preconditionFailure("\(text) is namespace/name") }
    return name
}

func objects(_ text: String) -> [MeshObject] {
    do throws(ManifestError) {
        return try ManifestReader.objects(in: text, file: "f.yaml")
    } catch {
        preconditionFailure("\(error)")
    }
}

/// Documents of objects, each written short.
enum Write {
    static func service(_ name: String, _ spec: String) -> String {
        "apiVersion: v1\nkind: Service\nmetadata: {name: \(name), namespace: shop}\nspec: \(spec)\n---\n"
    }
    static func workload(_ name: String, _ address: String, _ rest: String = "", labels: String = "app: web") -> String
    {
        "apiVersion: meshfed.io/v1alpha1\nkind: Workload\nmetadata: {name: \(name), namespace: shop, labels: {\(labels)}}\n"
            + "spec: {address: \(address)\(rest)}\n---\n"
    }
    static func export(_ name: String, to clusters: String = "'*'") -> String {
        "apiVersion: multicluster.x-k8s.io/v1beta1\nkind: ServiceExport\n"
            + "metadata: {name: \(name), namespace: shop, annotations: {meshfed.io/export-to: \(clusters)}}\n---\n"
    }
    static func own(_ kind: String, _ name: String, _ spec: String) -> String {
        let scoped = ["Import", "MeshPolicy", "Cluster", "Member", "Gateway"].contains(kind)
        return "apiVersion: meshfed.io/v1alpha1\nkind: \(kind)\n"
            + "metadata: {name: \(name)\(scoped ? "" : ", namespace: shop")}\nspec: \(spec)\n---\n"
    }
    static func target(_ name: String) -> String { "targetRefs: [{kind: Service, name: \(name)}]" }
}

func input(_ text: String, members: [MemberInput] = [], unhealthy: Set<EndpointID> = []) -> CompilerInput {
    CompilerInput(
        cluster: cluster("east"), trustDomain: domain("east.mesh"), epoch: 3, revision: 9, objects: objects(text),
        members: members, unhealthy: unhealthy)
}

func compile(_ input: CompilerInput) throws(CompileError) -> Compilation {
    var identifiers = IDTable()
    return try SnapshotCompiler.compile(input, identifiers: &identifiers)
}

func problems(_ input: CompilerInput) -> [String] {
    do throws(CompileError) {
        _ = try compile(input)
        return []
    } catch {
        return error.problems.map(\.description)
    }
}

func record(_ service: String, _ owner: String, healthy: UInt32 = 2, protocol: AppProtocol = .http) -> CatalogRecord {
    CatalogRecord(
        service: name(service), cluster: cluster(owner),
        ports: [ServicePort(name: "http", port: 80, appProtocol: `protocol`)],
        capacities: [
            RemoteCapacity(locality: Locality(region: "r", zone: "z"), healthyCount: healthy, capacity: healthy)
        ], authorization: Authorization())
}

func member(_ owner: String, _ records: [CatalogRecord]) -> MemberInput {
    MemberInput(
        member: Member(cluster: cluster(owner), trustDomain: domain("\(owner).mesh"), gateways: [], freshness: .fresh),
        catalog: MemberCatalog(cluster: cluster(owner), epoch: 1, revision: 1, records: records))
}
