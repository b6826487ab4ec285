/// Where an object was read, for error texts.
package struct SourceLocation: Hashable, Sendable, CustomStringConvertible {
    package var file: String
    package var line: Int

    package init(file: String, line: Int) {
        self.file = file
        self.line = line
    }

    package var description: String { "\(file):\(line)" }
}

package struct ObjectMetadata: Hashable, Sendable {
    package var name: Label
    package var namespace: Label
    package var labels: [String: String]
    package var annotations: [String: String]
    package var location: SourceLocation

    package init(
        name: Label, namespace: Label, labels: [String: String] = [:], annotations: [String: String] = [:],
        location: SourceLocation
    ) {
        self.name = name
        self.namespace = namespace
        self.labels = labels
        self.annotations = annotations
        self.location = location
    }

    package var objectName: ObjectName { ObjectName(namespace: namespace, name: name) }
}

/// The own cluster: `Cluster` (meshfed.io/v1alpha1), one per configuration.
package struct ClusterObject: Hashable, Sendable {
    package var cluster: ClusterID
    package var trustDomain: TrustDomain
    /// Addresses (`host:port`) at which other members reach the broker's 15012, when they can.
    package var brokerAddresses: [String]

    package init(cluster: ClusterID, trustDomain: TrustDomain, brokerAddresses: [String]) {
        self.cluster = cluster
        self.trustDomain = trustDomain
        self.brokerAddresses = brokerAddresses
    }
}

/// A Kubernetes v1 `Service` as far as the mesh reads it.
package struct ServiceObject: Hashable, Sendable {
    package struct Port: Hashable, Sendable {
        package var port: ServicePort
        /// A number, or the name of a Workload port.
        package var target: Target

        package init(port: ServicePort, target: Target) {
            self.port = port
            self.target = target
        }
    }
    package enum Target: Hashable, Sendable {
        case number(UInt16)
        case name(String)
    }

    package var ports: [Port]
    package var selector: [String: String]

    package init(ports: [Port], selector: [String: String]) {
        self.ports = ports
        self.selector = selector
    }
}

/// A running thing with an address and an identity (as Istio's WorkloadEntry).
package struct WorkloadObject: Hashable, Sendable {
    package var address: String
    package var ports: [String: UInt16]
    package var locality: Locality
    package var network: String
    package var serviceAccount: Label
    package var weight: UInt32
    package var security: EndpointSecurity

    package init(
        address: String, ports: [String: UInt16], locality: Locality, network: String, serviceAccount: Label,
        weight: UInt32, security: EndpointSecurity
    ) {
        self.address = address
        self.ports = ports
        self.locality = locality
        self.network = network
        self.serviceAccount = serviceAccount
        self.weight = weight
        self.security = security
    }
}

/// Which remote records are routable: (member, namespace, service), each with `nil` for any.
package struct ImportObject: Hashable, Sendable {
    package struct Rule: Hashable, Sendable {
        package var cluster: ClusterID?
        package var namespace: Label
        package var service: Label?

        package init(cluster: ClusterID?, namespace: Label, service: Label?) {
            self.cluster = cluster
            self.namespace = namespace
            self.service = service
        }
    }

    package var rules: [Rule]
    package var plainNames: Bool

    package init(rules: [Rule], plainNames: Bool) {
        self.rules = rules
        self.plainNames = plainNames
    }

    /// True for `kube-*` and `meshfed-*`, which are never imported, whatever a rule says (PROTOCOLS section 3).
    package static func isReserved(_ namespace: Label) -> Bool {
        namespace.bytes.starts(with: "kube-".utf8) || namespace.bytes.starts(with: "meshfed-".utf8)
    }
}

package struct ServiceExportObject: Hashable, Sendable {
    /// From annotation `meshfed.io/export-to`; `*` is `.all`.
    package var scope: ExportScope
    package var plainNames: Bool

    package init(scope: ExportScope, plainNames: Bool) {
        self.scope = scope
        self.plainNames = plainNames
    }
}

/// One key of a TrafficPolicy, so that two policies can share a service where they do not set the same key.
package enum TrafficField: String, Hashable, Comparable, Sendable, CaseIterable {
    case failoverOrder = "failover.order"
    case failoverExclude = "failover.exclude"
    case connectTimeout = "timeouts.connect"
    case handshakeTimeout = "timeouts.handshake"
    case headersTimeout = "timeouts.headers"
    case requestTimeout = "timeouts.request"
    case perTryTimeout = "timeouts.perTry"
    case idleTimeout = "timeouts.idle"
    case connectionIdleTimeout = "timeouts.connectionIdle"
    case maximumConnectionAge = "timeouts.connectionMaxAge"
    case attempts = "retries.attempts"
    case budgetPercent = "retries.budgetPercent"
    case budgetMinimumPerSecond = "retries.budgetMinimumPerSecond"
    case consecutiveErrors = "ejection.consecutiveErrors"
    case ejectionTime = "ejection.baseTime"
    case maximumEjectionPercent = "ejection.maxPercent"
    case probeInterval
    case maximumRequestsPerEndpoint = "maxRequestsPerEndpoint"
    case staleness

    package static func < (left: TrafficField, right: TrafficField) -> Bool { left.rawValue < right.rawValue }
}

package struct TrafficPolicyObject: Hashable, Sendable {
    package var targets: [ObjectName]
    /// The values of `fields`; every other one is its default.
    package var settings: TrafficSettings
    /// The keys that the policy sets.
    package var fields: Set<TrafficField>

    package init(targets: [ObjectName], settings: TrafficSettings, fields: Set<TrafficField>) {
        self.targets = targets
        self.settings = settings
        self.fields = fields
    }
}

package struct RateLimitPolicyObject: Hashable, Sendable {
    package var targets: [ObjectName]
    package var rules: [LimitRule]

    package init(targets: [ObjectName], rules: [LimitRule]) {
        self.targets = targets
        self.rules = rules
    }
}

package struct AuthorizationPolicyObject: Hashable, Sendable {
    package var targets: [ObjectName]
    package var rules: [AuthorizationRule]

    package init(targets: [ObjectName], rules: [AuthorizationRule]) {
        self.targets = targets
        self.rules = rules
    }
}

/// Mesh-wide, or (with targets) the mTLS mode of single services.
package struct MeshPolicyObject: Hashable, Sendable {
    package var targets: [ObjectName]
    package var settings: MeshSettings
    /// Members whose countersignature admits others by itself; nil is the default of PROTOCOLS section 7.
    package var sponsors: [ClusterID]?

    package init(targets: [ObjectName], settings: MeshSettings, sponsors: [ClusterID]?) {
        self.targets = targets
        self.settings = settings
        self.sponsors = sponsors
    }
}

/// Another cluster, written by hand (`Member`): only for `meshfed snapshot build`, where no broker learns it by joining.
/// Its name is the cluster's.
package struct MemberObject: Hashable, Sendable {
    package struct Offer: Hashable, Sendable {
        package var name: ObjectName
        package var ports: [ServicePort]
        package var capacity: RemoteCapacity

        package init(name: ObjectName, ports: [ServicePort], capacity: RemoteCapacity) {
            self.name = name
            self.ports = ports
            self.capacity = capacity
        }
    }

    package var trustDomain: TrustDomain
    package var gateways: [GatewayAddress]
    package var services: [Offer]
    /// PEM text of the member's roots; empty where the proxies get them by `--bundle`.
    package var bundle: String

    package init(trustDomain: TrustDomain, gateways: [GatewayAddress], services: [Offer], bundle: String) {
        self.trustDomain = trustDomain
        self.gateways = gateways
        self.services = services
        self.bundle = bundle
    }
}

/// An own gateway, written by hand (`Gateway`): only for `meshfed snapshot build`. Its name is the gateway's.
package struct GatewayObject: Hashable, Sendable {
    /// An IP literal.
    package var address: String
    package var port: UInt16
    package var locality: Locality

    package init(address: String, port: UInt16, locality: Locality) {
        self.address = address
        self.port = port
        self.locality = locality
    }
}

/// One configuration object, checked by itself; what spans several objects is the Compiler's to check.
package struct MeshObject: Hashable, Sendable {
    package enum Body: Hashable, Sendable {
        case cluster(ClusterObject)
        case service(ServiceObject)
        case workload(WorkloadObject)
        case serviceExport(ServiceExportObject)
        case importRules(ImportObject)
        case trafficPolicy(TrafficPolicyObject)
        case rateLimitPolicy(RateLimitPolicyObject)
        case authorizationPolicy(AuthorizationPolicyObject)
        case meshPolicy(MeshPolicyObject)
        case member(MemberObject)
        case gateway(GatewayObject)
    }

    package var metadata: ObjectMetadata
    package var body: Body

    package init(metadata: ObjectMetadata, body: Body) {
        self.metadata = metadata
        self.body = body
    }

    /// The object's kind as it is written in a manifest.
    package var kind: String {
        switch body {
        case .cluster: "Cluster"
        case .service: "Service"
        case .workload: "Workload"
        case .serviceExport: "ServiceExport"
        case .importRules: "Import"
        case .trafficPolicy: "TrafficPolicy"
        case .rateLimitPolicy: "RateLimitPolicy"
        case .authorizationPolicy: "AuthorizationPolicy"
        case .meshPolicy: "MeshPolicy"
        case .member: "Member"
        case .gateway: "Gateway"
        }
    }

    /// True for kinds without a namespace; theirs is `meshfed-system` here.
    package var isClusterScoped: Bool {
        switch body {
        case .cluster, .importRules, .meshPolicy, .member, .gateway: true
        case .service, .workload, .serviceExport, .trafficPolicy, .rateLimitPolicy, .authorizationPolicy: false
        }
    }

    /// True for kinds that only `meshfed snapshot build` reads; a broker refuses them.
    package var isStandaloneOnly: Bool {
        switch body {
        case .member, .gateway: true
        case .cluster, .service, .workload, .serviceExport, .importRules, .trafficPolicy, .rateLimitPolicy,
            .authorizationPolicy, .meshPolicy:
            false
        }
    }

    /// `Service shop/reviews`, or `Cluster east` for a kind without a namespace.
    package var subject: String {
        isClusterScoped ? "\(kind) \(metadata.name)" : "\(kind) \(metadata.objectName)"
    }
}
