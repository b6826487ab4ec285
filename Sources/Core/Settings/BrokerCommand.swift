internal import MeshModel

/// What the arguments behind `meshfed broker run` ask for.
package enum BrokerCommand: Hashable, Sendable {
    case run(BrokerSettings)
    /// Text for standard output.
    case help(String)

    /// Reads `arguments` (those behind `broker run`) and the environment into validated settings.
    ///
    /// - Parameter environment: the value of a variable, nil where it is not set.
    /// - Throws: `SettingsError`, to be printed on standard error with exit status 64.
    package static func parse(_ arguments: [String], environment: (String) -> String?) throws(SettingsError)
        -> BrokerCommand
    {
        guard let values = try table.parse(arguments, environment: environment) else { return .help(table.help) }
        guard let cluster = try values.label("cluster").map(ClusterID.init) else { throw values.missing("cluster") }
        let domainText = values.text("trust-domain") ?? "\(cluster).mesh"
        guard let domain = TrustDomain(domainText) else {
            throw values.error("trust-domain", "\(shown(domainText)) is no trust domain (a-z, 0-9, '.', '-', '_')")
        }
        guard let state = try values.path("state-dir") else { throw values.missing("state-dir") }
        let advertise = values.text("advertise")
        if let advertise, !IPLiteral.isUnicast(advertise), !HostPort.isHostName(Array(advertise.utf8)) {
            throw values.error("advertise", "\(shown(advertise)) is no host that others could dial (without a port)")
        }
        let mtls = try values.listener("listen-mtls", default: "[::]:15012")
        let join = try values.listener("listen-join", default: "[::]:8443")
        let http = try values.listener("listen-http", default: "127.0.0.1:15014")
        if mtls.port != 0, mtls == join {
            throw values.error("listen-join", "\(join) is taken by --listen-mtls", "another port")
        }
        for (name, other) in [("listen-mtls", mtls), ("listen-join", join)] where http.port != 0 && http == other {
            throw values.error("listen-http", "\(http) is taken by --\(name)", "another port")
        }
        return .run(
            BrokerSettings(
                cluster: cluster, trustDomain: domain, stateDirectory: state,
                configDirectory: try values.path("config"), listenMTLS: mtls, listenJoin: join, listenHTTP: http,
                advertise: advertise, workers: try values.integer("workers", in: 1...256),
                logFormat: try values.logFormat(),
                grace: try values.duration("grace", in: .zero ... .seconds(3_600)) ?? .seconds(10),
                svidLifetime: try values.duration("svid-ttl", in: .seconds(60) ... .seconds(86_400))
                    ?? .seconds(86_400)))
    }

    private static let table = FlagTable(
        program: "meshfed", command: "broker run",
        purpose: "the control plane of one cluster: authority, catalog, federation, feed",
        flags: [
            FlagDescription("cluster", "NAME", example: "east", "The cluster's name, unique in the federation."),
            FlagDescription(
                "trust-domain", "DOMAIN", default: "NAME.mesh", example: "east.mesh",
                "The SPIFFE trust domain; fixed when the root is made."),
            FlagDescription(
                "state-dir", "DIR", example: "/var/lib/meshfed/broker",
                "Holds store, keys and admin socket (0700); locked while it runs. A root is made in an empty one only."),
            FlagDescription(
                "config", "DIR", example: "/etc/meshfed/objects", "A watched directory of objects (YAML or JSON)."),
            FlagDescription(
                "listen-mtls", "ADDR:PORT", default: "[::]:15012", example: "[::]:15012",
                "Feed, federation, identity and admin calls, by mTLS."),
            FlagDescription(
                "listen-join", "ADDR:PORT", default: "[::]:8443", example: "[::]:8443", "Joining and enrolment."),
            FlagDescription(
                "listen-http", "ADDR:PORT", default: "127.0.0.1:15014", example: "127.0.0.1:15014",
                "/metrics, /healthz and a read-only page."),
            FlagDescription(
                "advertise", "HOST", example: "203.0.113.2",
                "What tokens and the membership record carry; by itself the first address that is not loopback."),
            FlagDescription(
                "svid-ttl", "DURATION", default: "24h", example: "1h",
                "How long a certificate lives, 1m to 24h; proxies renew at half of it."),
            FlagDescription("workers", "N", default: "as many as CPUs", example: "2", "Threads, 1 to 256."),
            FlagDescription("log-format", "FORMAT", default: "text", example: "json", "text or json."),
            FlagDescription(
                "grace", "DURATION", default: "10s", example: "30s",
                "How long a stop waits for what is in flight, 0s to 1h."),
        ],
        examples: [
            "meshfed broker run --cluster east --state-dir /var/lib/meshfed/broker --config /etc/meshfed/objects"
        ],
        takesDash: false)
}
