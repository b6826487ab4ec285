import Foundation
import Manifest
import MeshModel

/// A failure of the local runner: one line that says what, where and what to try.
struct TopologyFailure: Error, CustomStringConvertible {
    /// 1 for what went wrong while running, 65 for a file that cannot be run (PROTOCOLS section 10).
    enum Kind: Int32 {
        case running = 1
        case badFile = 65
    }

    let description: String
    let kind: Kind

    init(_ description: String, kind: Kind = .running) {
        self.description = description
        self.kind = kind
    }
}

/// A network of the topology: the one between the clusters, or the pod network of one of them.
enum RunNetwork: Hashable {
    case wan
    case cluster(String)

    /// The word that stands for it in namespace names and reports.
    var key: String {
        switch self {
        case .wan: "wan"
        case .cluster(let name): "\(name)-net"
        }
    }
}

/// One interface of a node: a veth whose other end is a port of the network's bridge.
struct RunLeg: Hashable {
    let network: RunNetwork
    let interface: String
    let address: String
    let prefixLength: Int
}

/// One network namespace with what stands in it: a broker, a gateway or a pod.
struct RunNode {
    enum Kind: String {
        case broker, gateway, pod
    }

    /// `<cluster>/<name>`, unique in the topology.
    let id: String
    let kind: Kind
    let cluster: String
    let legs: [RunLeg]
    /// Host routes (address → next hop): a pod reaches its own broker's and gateways' WAN addresses over the pod network.
    var routes: [(destination: String, nextHop: String)] = []
    /// Of a pod whose traffic is captured.
    var capture: RunCapture?

    /// The address in the pod network.
    var address: String { legs[0].address }
    var key: String { id.replacing("/", with: "-") }
}

/// What a pod needs whose traffic its sidecar captures.
struct RunCapture: Hashable {
    /// Virtual addresses are captured where a default route of their family leads out.
    let nextHop: String
    /// A unique local address (RFC 4193) with the prefix of the pod network, so that IPv6 is captured too.
    let address6: String
    /// The user that the rules leave alone; nil: by mark.
    let uid: Int?
    let redirect: [String]

    /// The sidecar's user, and the mark of its sockets where a user namespace knows no second user.
    static let uid = 1_337
    static let mark = "0x539"

    /// True where processes can take any user: not in a user namespace with one.
    static var hasUsers: Bool {
        let map = (try? String(contentsOfFile: "/proc/self/uid_map", encoding: .utf8)) ?? ""
        return map.split(separator: " ").last.flatMap { Int($0.trimmingCharacters(in: .whitespacesAndNewlines)) } ?? 0
            > uid
    }
}

/// How the runner knows that a process serves.
enum RunReadiness: Equatable {
    /// Its log has a line with these words.
    case line(String)
    /// It listens on these TCP ports of its namespace.
    case ports([UInt16])
}

/// One process of the topology.
struct RunProcess {
    /// `<cluster>/<node>` or, in a pod, `<cluster>/<pod>/app` and `…/sidecar`.
    let id: String
    let node: String
    var arguments: [String]
    var environment: [String: String] = [:]
    let readiness: RunReadiness
    /// Nil: the runner's own.
    var uid: Int?
    /// The file with the token of its first start; a later start finds its SVID in the state directory.
    var tokenFile: String?
    /// Arguments of `meshfed token create` behind that file.
    var tokenArguments: [String] = []

    var key: String { id.replacing("/", with: "-") }
}

/// One member cluster as the runner sees it.
struct RunCluster {
    let name: String
    let trustDomain: String
    let subnet: IPv4Network
    let directory: String
    /// The configuration objects: those of the file and a Workload for each pod.
    let objects: [MeshObject]

    var configuration: String { "\(directory)/config" }
    var brokerState: String { "\(directory)/broker" }
    var adminSocket: String { "\(directory)/broker/admin.sock" }
}

/// What `topology up` starts: addresses given out, command lines written, nothing touched yet.
struct RunPlan {
    let name: String
    let wan: IPv4Network
    private(set) var clusters: [RunCluster] = []
    private(set) var nodes: [RunNode] = []
    private(set) var brokers: [RunProcess] = []
    /// Apps, sidecars and gateways: started when the brokers serve.
    private(set) var others: [RunProcess] = []
    let joins: [TopologyJoin]

    /// - Parameters:
    ///   - directory: the state directory, absolute.
    ///   - topologyDirectory: where the topology file stands, for apps that read files beside it.
    init(_ topology: Topology, directory: String, topologyDirectory: String, programs: RunPrograms) throws {
        name = topology.name.description
        wan = topology.wan
        joins = topology.joins
        var nextWAN = 1
        for cluster in topology.clusters {
            try place(
                cluster, directory: directory, topologyDirectory: topologyDirectory, programs: programs,
                nextWAN: &nextWAN)
        }
        for join in topology.joins {
            for member in [join.cluster, join.sponsor] where cluster(member.description) == nil {
                throw TopologyFailure("join names cluster \(member), which the file does not have", kind: .badFile)
            }
        }
    }

    func cluster(_ name: String) -> RunCluster? { clusters.first { $0.name == name } }
    func node(_ id: String) -> RunNode? { nodes.first { $0.id == id } }

    private mutating func place(
        _ cluster: TopologyCluster, directory: String, topologyDirectory: String, programs: RunPrograms,
        nextWAN: inout Int
    ) throws {
        let name = cluster.name.description
        let home = "\(directory)/\(name)"
        guard !wan.overlaps(cluster.subnet) else {
            throw TopologyFailure(
                "cluster \(name): subnet \(cluster.subnet) overlaps the WAN \(wan); give them different networks",
                kind: .badFile)
        }
        var addresses = AddressSource(network: cluster.subnet, holder: "cluster \(name)")
        var wide = AddressSource(network: wan, holder: "the WAN", next: nextWAN)

        var edge: [RunNode] = []
        let broker = RunNode(
            id: "\(name)/broker", kind: .broker, cluster: name,
            legs: [try addresses.leg(.cluster(name), "eth0"), try wide.leg(.wan, "wan0")])
        edge.append(broker)
        brokers.append(
            RunProcess(
                id: broker.id, node: broker.id,
                arguments: [
                    programs.meshfed, "broker", "run", "--cluster", name,
                    "--trust-domain", cluster.trustDomain.description, "--state-dir", "\(home)/broker",
                    "--config", "\(home)/config", "--advertise", broker.legs[1].address,
                ] + cluster.broker.arguments, readiness: .line("broker: ready")))

        for gateway in cluster.gateways {
            let node = RunNode(
                id: "\(name)/\(gateway.name)", kind: .gateway, cluster: name,
                legs: [try addresses.leg(.cluster(name), "eth0"), try wide.leg(.wan, "wan0")])
            edge.append(node)
            others.append(
                RunProcess(
                    id: node.id, node: node.id,
                    arguments: [
                        programs.proxy, "gateway", "run", "--name", gateway.name.description,
                        "--state-dir", "\(home)/\(gateway.name)", "--advertise", node.legs[1].address,
                        "--region", cluster.region, "--zone", gateway.zone,
                    ] + gateway.arguments, readiness: .line("gateway: ready"),
                    tokenFile: "\(home)/\(gateway.name).token",
                    tokenArguments: ["--for", "gateway", "--name", gateway.name.description]))
        }
        nodes += edge

        var workloads: [MeshObject] = []
        for pod in cluster.pods {
            var node = RunNode(
                id: "\(name)/\(pod.name)", kind: .pod, cluster: name,
                legs: [try addresses.leg(.cluster(name), "eth0")])
            node.routes = edge.map { ($0.legs[1].address, $0.address) }
            if let sidecar = pod.sidecar, sidecar.capture, let bridge = cluster.subnet.host(cluster.subnet.hostCount) {
                node.capture = Self.capture(sidecar, node, bridge)
            }
            guard self.node(node.id) == nil else {
                throw TopologyFailure(
                    "cluster \(name): two of its broker, gateways and pods are called \(pod.name); rename one",
                    kind: .badFile)
            }
            workloads.append(pod.workload(address: node.address, region: cluster.region))
            others += processes(
                of: pod, node: node, region: cluster.region, home: home, topologyDirectory: topologyDirectory,
                programs: programs)
            nodes.append(node)
        }
        clusters.append(
            RunCluster(
                name: name, trustDomain: cluster.trustDomain.description, subnet: cluster.subnet, directory: home,
                objects: cluster.objects + workloads))
        nextWAN = wide.next
    }

    private static func capture(_ sidecar: TopologySidecar, _ node: RunNode, _ bridge: String) -> RunCapture {
        let uid = RunCapture.hasUsers ? RunCapture.uid : nil
        let own = uid == nil ? ["--mark", RunCapture.mark] : ["--uid", "\(RunCapture.uid)"]
        // The IPv4 address as the interface's identifier: fd00:6d66:: is locally assigned.
        let groups = node.address.split(separator: ".").compactMap { Int($0) }.map { String($0, radix: 16) }
        return RunCapture(
            nextHop: bridge, address6: "fd00:6d66::\(groups.joined(separator: ":"))/64", uid: uid,
            redirect: ["redirect", "--apply", "--dns"] + own + sidecar.redirectArguments)
    }

    private func processes(
        of pod: TopologyPod, node: RunNode, region: String, home: String, topologyDirectory: String,
        programs: RunPrograms
    ) -> [RunProcess] {
        var result: [RunProcess] = []
        if let app = pod.app {
            var environment = [
                "MESHFED_POD": node.id, "MESHFED_ADDRESS": node.address, "TOPOLOGY_DIR": topologyDirectory,
            ]
            var arguments: [String]
            var ports = Array(pod.ports.values)
            switch app {
            case .echo(let http, let grpc, let tcp):
                arguments = [programs.meshfed, "echo", "run", "--name", node.id]
                for port in http { arguments += ["--http", "127.0.0.1:\(port)"] }
                for port in grpc { arguments += ["--grpc", "127.0.0.1:\(port)"] }
                for port in tcp { arguments += ["--tcp", "127.0.0.1:\(port)"] }
                ports = http + grpc + tcp
                if pod.sidecar == nil {
                    arguments = arguments.map { $0.replacing("127.0.0.1:", with: "0.0.0.0:") }
                }
            case .command(let command, let additions):
                arguments = command
                environment.merge(additions) { $1 }
            }
            result.append(
                RunProcess(
                    id: "\(node.id)/app", node: node.id, arguments: arguments, environment: environment,
                    readiness: .ports(ports.sorted())))
        }
        if let sidecar = pod.sidecar {
            result.append(
                RunProcess(
                    id: "\(node.id)/sidecar", node: node.id,
                    arguments: [
                        programs.proxy, "sidecar", "run", "--workload", "\(pod.namespace)/\(pod.name)",
                        "--state-dir", "\(home)/\(pod.name)", "--region", region, "--zone", pod.zone,
                    ] + sidecar.outbound.flatMap { ["--tcp", $0] } + Self.captureFlags(node, home, pod)
                        + sidecar.arguments,
                    readiness: .line("sidecar: ready"), uid: node.capture?.uid, tokenFile: "\(home)/\(pod.name).token",
                    tokenArguments: [
                        "--for", "sidecar", "--namespace", pod.namespace.description,
                        "--service-account", pod.serviceAccount.description,
                    ]))
        }
        return result
    }
}

extension RunPlan {
    /// Flags of a capturing sidecar; the resolver of its pod is the bridge, unless its own flags say otherwise.
    private static func captureFlags(_ node: RunNode, _ home: String, _ pod: TopologyPod) -> [String] {
        guard let capture = node.capture else { return [] }
        return ["--capture", "--dns", "--resolv-conf", "\(home)/\(pod.name).d/resolv.conf"]
            + (capture.uid == nil ? ["--mark", RunCapture.mark] : [])
    }
}

/// Gives out the host addresses of one network in order; the last one is the bridge's.
private struct AddressSource {
    let network: IPv4Network
    let holder: String
    var next = 1

    mutating func leg(_ name: RunNetwork, _ interface: String) throws -> RunLeg {
        guard next < network.hostCount, let address = network.host(next) else {
            throw TopologyFailure(
                "\(holder): \(network) has only \(network.hostCount) addresses; take a shorter prefix", kind: .badFile)
        }
        next += 1
        return RunLeg(network: name, interface: interface, address: address, prefixLength: network.prefixLength)
    }
}
