package import MeshModel

/// A topology file (kind `Topology`): clusters, their processes and addresses, for one machine.
///
/// It is what `meshfed topology up` starts and what `make demo` and the integration suites run on.
package struct Topology: Hashable, Sendable {
    package var name: Label
    package var location: SourceLocation
    /// The network between the clusters.
    package var wan: IPv4Network
    package var clusters: [TopologyCluster]
    /// Joins that `up` makes by itself, in this order.
    package var joins: [TopologyJoin]

    package init(
        name: Label, location: SourceLocation, wan: IPv4Network, clusters: [TopologyCluster], joins: [TopologyJoin]
    ) {
        self.name = name
        self.location = location
        self.wan = wan
        self.clusters = clusters
        self.joins = joins
    }
}

/// One member cluster of a topology.
package struct TopologyCluster: Hashable, Sendable {
    package var name: ClusterID
    package var trustDomain: TrustDomain
    /// Region of every gateway and pod of the cluster.
    package var region: String
    /// The pod network: broker, gateways and pods each get an address of it.
    package var subnet: IPv4Network
    package var broker: TopologyBroker
    package var gateways: [TopologyGateway]
    package var pods: [TopologyPod]
    /// What the broker's configuration directory holds, but for the Workload objects of `pods`, which the runner makes.
    package var objects: [MeshObject]

    package init(
        name: ClusterID, trustDomain: TrustDomain, region: String, subnet: IPv4Network, broker: TopologyBroker,
        gateways: [TopologyGateway], pods: [TopologyPod], objects: [MeshObject]
    ) {
        self.name = name
        self.trustDomain = trustDomain
        self.region = region
        self.subnet = subnet
        self.broker = broker
        self.gateways = gateways
        self.pods = pods
        self.objects = objects
    }
}

package struct TopologyBroker: Hashable, Sendable {
    /// Further flags of `meshfed broker run`.
    package var arguments: [String]

    package init(arguments: [String] = []) { self.arguments = arguments }
}

package struct TopologyGateway: Hashable, Sendable {
    package var name: Label
    package var zone: String
    /// Further flags of `meshfed-proxy gateway run`.
    package var arguments: [String]

    package init(name: Label, zone: String, arguments: [String] = []) {
        self.name = name
        self.zone = zone
        self.arguments = arguments
    }
}

/// One pod: its app, its sidecar and the Workload that stands for it.
package struct TopologyPod: Hashable, Sendable {
    package var name: Label
    package var namespace: Label
    package var serviceAccount: Label
    package var zone: String
    package var labels: [String: String]
    /// Nil: nothing runs there but the sidecar (a place to call from).
    package var app: TopologyApp?
    /// Nil: the pod has no sidecar.
    package var sidecar: TopologySidecar?
    /// Ports of the Workload by name.
    package var ports: [String: UInt16]
    package var security: EndpointSecurity
    package var weight: UInt32

    package init(
        name: Label, namespace: Label, serviceAccount: Label, zone: String, labels: [String: String],
        app: TopologyApp?, sidecar: TopologySidecar?, ports: [String: UInt16], security: EndpointSecurity,
        weight: UInt32 = 1
    ) {
        self.name = name
        self.namespace = namespace
        self.serviceAccount = serviceAccount
        self.zone = zone
        self.labels = labels
        self.app = app
        self.sidecar = sidecar
        self.ports = ports
        self.security = security
        self.weight = weight
    }

    /// The Workload object of this pod at the address that the runner gave it.
    package func workload(address: String, region: String) -> MeshObject {
        MeshObject(
            metadata: ObjectMetadata(
                name: name, namespace: namespace, labels: labels,
                location: SourceLocation(file: "pod \(namespace)/\(name)", line: 1)),
            body: .workload(
                WorkloadObject(
                    address: address, ports: ports, locality: Locality(region: region, zone: zone), network: "",
                    serviceAccount: serviceAccount, weight: weight, security: security)))
    }
}

/// What runs in the pod's network namespace beside the sidecar.
package enum TopologyApp: Hashable, Sendable {
    /// `meshfed echo run` on these ports.
    case echo(http: [UInt16], grpc: [UInt16], tcp: [UInt16])
    /// Another program: argument vector (never a shell line) and additions to its environment.
    case command([String], environment: [String: String])
}

package struct TopologySidecar: Hashable, Sendable {
    /// Values of `--tcp`: `127.0.0.1:3306=mysql.default:3306`.
    package var outbound: [String]
    /// Further flags of `meshfed-proxy sidecar run`.
    package var arguments: [String]
    /// The pod's traffic and its DNS are redirected to the sidecar.
    package var capture: Bool
    /// Further flags of `meshfed-proxy redirect --apply`.
    package var redirectArguments: [String]

    package init(
        outbound: [String] = [], arguments: [String] = [], capture: Bool = false, redirectArguments: [String] = []
    ) {
        self.capture = capture
        self.redirectArguments = redirectArguments
        self.outbound = outbound
        self.arguments = arguments
    }
}

/// `cluster` joins with a token that `sponsor` made, and imports `imports` (`shop`, `orders/api`).
package struct TopologyJoin: Hashable, Sendable {
    package var cluster: ClusterID
    package var sponsor: ClusterID
    package var imports: [String]

    package init(cluster: ClusterID, sponsor: ClusterID, imports: [String]) {
        self.cluster = cluster
        self.sponsor = sponsor
        self.imports = imports
    }
}

/// An IPv4 network in CIDR form, `10.1.0.0/24`: host bits zero, prefix 8–29.
package struct IPv4Network: Hashable, Sendable, CustomStringConvertible {
    /// The network address in host byte order.
    package let address: UInt32
    package let prefixLength: Int

    package init?(_ text: String) {
        let parts = text.utf8.split(separator: 0x2F, omittingEmptySubsequences: false)
        guard parts.count == 2, let prefix = ScalarGrammar.integer(Array(parts[1])), (8...29).contains(prefix),
            let bytes = IPLiteral.v4(parts[0])
        else { return nil }
        var value: UInt32 = 0
        for byte in bytes { value = value << 8 | UInt32(byte) }
        guard value & (UInt32.max >> UInt32(prefix)) == 0 else { return nil }
        address = value
        prefixLength = prefix
    }

    /// How many addresses can be given to hosts: all but the network's and the broadcast address.
    package var hostCount: Int { (1 << (32 - prefixLength)) - 2 }

    /// The `number`-th host address as text, from 1; nil beyond the last.
    package func host(_ number: Int) -> String? {
        guard number >= 1, number <= hostCount else { return nil }
        return Self.text(address + UInt32(number))
    }

    /// True when the two share an address.
    package func overlaps(_ other: IPv4Network) -> Bool {
        let mask = UInt32.max << UInt32(32 - min(prefixLength, other.prefixLength))
        return address & mask == other.address & mask
    }

    package var description: String { "\(Self.text(address))/\(prefixLength)" }

    private static func text(_ value: UInt32) -> String {
        "\(value >> 24).\(value >> 16 & 255).\(value >> 8 & 255).\(value & 255)"
    }
}
