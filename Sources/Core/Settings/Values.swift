package import MeshModel

/// Where to listen: an IP literal and a port; port 0 picks a free one.
package struct ListenAddress: Hashable, Sendable, CustomStringConvertible {
    /// IPv4 or IPv6, without brackets.
    package let host: String
    package let port: UInt16

    /// Reads `127.0.0.1:15080` or `[::]:15006`; nil for anything else, also for a name.
    package init?(_ text: String) {
        guard let value = HostPort(text, zeroPort: true), IPLiteral.isAddress(value.host) else { return nil }
        host = value.host
        port = value.port
    }

    package var isLoopback: Bool { IPLiteral.isLoopback(host) }
    package var description: String { HostPort(host: host, port: port).description }
}

/// Where the admin page listens: never wider than this machine.
package enum AdminAddress: Hashable, Sendable {
    /// A loopback address.
    case tcp(ListenAddress)
    /// A UNIX socket's path.
    case unix(String)
}

package enum LogFormat: String, Hashable, Sendable {
    case text
    case json
}

/// Where the enrolment token is read from; never an argument, which `ps` would show.
package enum TokenSource: Hashable, Sendable {
    case file(String)
    case standardInput
}

/// A PEM file with the roots of one trust domain: `--bundle TD=PEM`.
package struct BundleFile: Hashable, Sendable {
    package let trustDomain: TrustDomain
    package let path: String

    package init(trustDomain: TrustDomain, path: String) {
        self.trustDomain = trustDomain
        self.path = path
    }
}

/// Where a proxy has its identity and its snapshot from.
package enum ProxySource: Hashable, Sendable {
    /// A broker, found by the token at first and by the state directory from then on.
    case broker(stateDirectory: String, token: TokenSource?)
    /// Files, without a broker.
    case standalone(snapshot: String, certificate: String, key: String)
}

/// What both roles of meshfed-proxy have.
package struct ProxySettings: Hashable, Sendable {
    package let source: ProxySource
    /// Added to the bundles of the snapshot; a domain that it has is replaced.
    package let bundles: [BundleFile]
    package let locality: Locality
    package let admin: AdminAddress
    package let metrics: ListenAddress
    package let ready: ListenAddress
    /// Nil: as many as CPU affinity and cgroup quota allow.
    package let workers: Int?
    package let logFormat: LogFormat
    /// How long a drain waits for what is in flight.
    package let grace: Duration
    /// Leaves of verified peers that a worker keeps decoded.
    package let knownCertificates: Int
    package let handover: Handover
    package let limits: Limits

    /// How one process hands its listeners to the next.
    package struct Handover: Hashable, Sendable {
        /// The UNIX socket for it; nil: `handover.sock` in the state directory, none without one.
        package var path: String?
        /// Take the listeners over from the process that runs.
        package var takes = false

        package init(path: String? = nil, takes: Bool = false) {
            self.path = path
            self.takes = takes
        }
    }

    /// What the process may use; nil: as much as machine and cgroup allow.
    package struct Limits: Hashable, Sendable {
        /// Connections that others opened.
        package var connections: Int?
        /// Requests in progress.
        package var requests: Int?
        /// Bytes of resident memory.
        package var memory: Int?

        package init(connections: Int? = nil, requests: Int? = nil, memory: Int? = nil) {
            self.connections = connections
            self.requests = requests
            self.memory = memory
        }
    }

    package init(
        source: ProxySource, bundles: [BundleFile], locality: Locality, admin: AdminAddress, metrics: ListenAddress,
        ready: ListenAddress, workers: Int? = nil, logFormat: LogFormat, grace: Duration,
        knownCertificates: Int = 1_024, handover: Handover = Handover(), limits: Limits = Limits()
    ) {
        self.knownCertificates = knownCertificates
        self.handover = handover
        self.limits = limits
        self.source = source
        self.bundles = bundles
        self.locality = locality
        self.admin = admin
        self.metrics = metrics
        self.ready = ready
        self.workers = workers
        self.logFormat = logFormat
        self.grace = grace
    }
}

package struct GatewaySettings: Hashable, Sendable {
    package let name: Label
    package let listen: ListenAddress
    /// What members dial; nil port: that of the listener. Nil only without a broker.
    package let advertise: Advertise?
    package let proxy: ProxySettings

    package struct Advertise: Hashable, Sendable {
        /// An IP literal.
        package let host: String
        package let port: UInt16?

        package init(host: String, port: UInt16? = nil) {
            self.host = host
            self.port = port
        }
    }

    package init(name: Label, listen: ListenAddress, advertise: Advertise? = nil, proxy: ProxySettings) {
        self.name = name
        self.listen = listen
        self.advertise = advertise
        self.proxy = proxy
    }
}

package struct SidecarSettings: Hashable, Sendable {
    package let workload: ObjectName
    package let listenInbound: ListenAddress
    /// Loopback only.
    package let listenOutbound: [ListenAddress]
    package let tcp: [OutboundTCP]
    package let inboundPlain: [InboundPlain]
    /// Where the app listens: an IP literal.
    package let appAddress: String
    package let proxy: ProxySettings
    /// Where the kernel's rules send outbound connections; empty: nothing is captured. Loopback only.
    package var listenCaptured: [ListenAddress] = []
    /// Where DNS is answered; empty: it is not. Loopback only.
    package var listenNames: [ListenAddress] = []
    /// Where the resolvers stand that other names are forwarded to.
    package var resolverFile = "/etc/resolv.conf"
    /// SO_MARK of every own socket.
    package var mark: UInt32?
    /// Paths that may be asked without an identity.
    package var probes: [Probe] = []
    /// How long outbound goes on after SIGTERM while the app still has connections or listeners.
    package var drain = Duration.zero

    /// `--probe PORT/PATH`: what the kubelet asks.
    package struct Probe: Hashable, Sendable {
        package let port: UInt16
        package let path: String

        package init(port: UInt16, path: String) {
            self.port = port
            self.path = path
        }
    }

    /// `--tcp LISTEN=NAME:PORT`: a loopback listener whose streams go to one mesh name.
    package struct OutboundTCP: Hashable, Sendable {
        package let listen: ListenAddress
        /// A mesh name in any of its forms (`mysql`, `mysql.default`, `…clusterset.local`), lower case.
        package let name: String
        package let port: UInt16

        package init(listen: ListenAddress, name: String, port: UInt16) {
            self.listen = listen
            self.name = name
            self.port = port
        }
    }

    /// `--inbound-plain LISTEN=PORT`: plaintext for a permissive service, without redirection.
    package struct InboundPlain: Hashable, Sendable {
        package let listen: ListenAddress
        package let appPort: UInt16

        package init(listen: ListenAddress, appPort: UInt16) {
            self.listen = listen
            self.appPort = appPort
        }
    }

    package init(
        workload: ObjectName, listenInbound: ListenAddress, listenOutbound: [ListenAddress], tcp: [OutboundTCP],
        inboundPlain: [InboundPlain], appAddress: String, proxy: ProxySettings
    ) {
        self.workload = workload
        self.listenInbound = listenInbound
        self.listenOutbound = listenOutbound
        self.tcp = tcp
        self.inboundPlain = inboundPlain
        self.appAddress = appAddress
        self.proxy = proxy
    }
}

package struct BrokerSettings: Hashable, Sendable {
    package let cluster: ClusterID
    package let trustDomain: TrustDomain
    package let stateDirectory: String
    package let configDirectory: String?
    package let listenMTLS: ListenAddress
    package let listenJoin: ListenAddress
    package let listenHTTP: ListenAddress
    /// Host that tokens and the membership record carry; nil: the first address that is not loopback.
    package let advertise: String?
    package let workers: Int?
    package let logFormat: LogFormat
    package let grace: Duration
    /// Life of the SVIDs that the cluster's authority gives.
    package let svidLifetime: Duration

    package init(
        cluster: ClusterID, trustDomain: TrustDomain, stateDirectory: String, configDirectory: String? = nil,
        listenMTLS: ListenAddress, listenJoin: ListenAddress, listenHTTP: ListenAddress, advertise: String? = nil,
        workers: Int? = nil, logFormat: LogFormat, grace: Duration, svidLifetime: Duration = .seconds(86_400)
    ) {
        self.cluster = cluster
        self.trustDomain = trustDomain
        self.stateDirectory = stateDirectory
        self.svidLifetime = svidLifetime
        self.configDirectory = configDirectory
        self.listenMTLS = listenMTLS
        self.listenJoin = listenJoin
        self.listenHTTP = listenHTTP
        self.advertise = advertise
        self.workers = workers
        self.logFormat = logFormat
        self.grace = grace
    }
}
