internal import MeshModel

/// What a command line of `meshfed-proxy` asks for.
package enum ProxyCommand: Hashable, Sendable {
    case gateway(GatewaySettings)
    case sidecar(SidecarSettings)
    case redirect(RedirectSettings)
    case version(asJSON: Bool)
    /// Text for standard output.
    case help(String)

    package static let program = "meshfed-proxy"

    /// Reads `arguments` (without the program's name) and the environment into validated settings.
    ///
    /// - Parameter environment: the value of a variable, nil where it is not set.
    /// - Throws: `SettingsError`, to be printed on standard error with exit status 64.
    package static func parse(_ arguments: [String], environment: (String) -> String?) throws(SettingsError)
        -> ProxyCommand
    {
        func error(_ what: String, _ advice: String) -> SettingsError {
            SettingsError(program: program, key: "", what: what, advice: advice)
        }
        let words = arguments.prefix { !$0.hasPrefix("-") }
        let rest = Array(arguments.dropFirst(min(2, words.count)))
        switch Array(words.prefix(2)) {
        case ["gateway", "run"]: return try gateway(rest, environment)
        case ["sidecar", "run"]: return try sidecar(rest, environment)
        case ["version"]:
            switch Array(arguments.dropFirst()) {
            case [], ["-o", "text"], ["--output", "text"]: return .version(asJSON: false)
            case ["-o", "json"], ["--output", "json"]: return .version(asJSON: true)
            default: throw error("version takes -o text or -o json only", "\(program) version -o json")
            }
        case ["help"], []:
            guard let first = arguments.first else { throw error("no command", "\(program) --help") }
            if ["help", "--help", "-h"].contains(first) { return .help(overview) }
            if first == "--version" { return .version(asJSON: false) }
            throw error("\(shown(first)) is not expected here", "\(program) --help")
        case ["gateway"], ["sidecar"]:
            if rest.contains("--help") || rest.contains("-h") || arguments.contains("--help") { return .help(overview) }
            throw error("\(words[0]) needs a verb", "\(program) \(words[0]) run --help")
        default:
            if words == ["redirect"] {
                let table = RedirectFlags.table
                let flags = Array(arguments.dropFirst())
                guard let values = try table.parse(flags, environment: { _ in nil }) else { return .help(table.help) }
                return .redirect(try RedirectFlags.settings(values))
            }
            throw error("\(shown(words.joined(separator: " "))) is no command", "\(program) --help")
        }
    }

    private static let overview = """
        meshfed-proxy: the data plane of meshfed

        USAGE
          meshfed-proxy gateway run [flags]   the edge of a cluster: mTLS in, mTLS out
          meshfed-proxy sidecar run [flags]   beside one workload: its identity, inbound and outbound
          meshfed-proxy redirect --print|--apply|--remove [flags]
                                              the rules that send a pod's traffic to its sidecar
          meshfed-proxy version [-o json]

        Each command prints its flags with --help.

        """

    // MARK: Roles

    private static func gateway(_ arguments: [String], _ environment: (String) -> String?) throws(SettingsError)
        -> ProxyCommand
    {
        let table = ProxyFlags.gateway
        guard let values = try table.parse(arguments, environment: environment) else { return .help(table.help) }
        guard let name = try values.label("name") else { throw values.missing("name") }
        let listen = try values.listener("listen", default: "[::]:15443")
        let proxy = try proxy(values)
        var advertise: GatewaySettings.Advertise?
        if let text = values.text("advertise") {
            advertise = try self.advertise(text, values)
        } else if case .broker = proxy.source {
            throw values.missing("advertise")
        }
        try checkDistinct(values, [("listen", listen)], proxy)
        return .gateway(GatewaySettings(name: name, listen: listen, advertise: advertise, proxy: proxy))
    }

    private static func sidecar(_ arguments: [String], _ environment: (String) -> String?) throws(SettingsError)
        -> ProxyCommand
    {
        let table = ProxyFlags.sidecar
        guard let values = try table.parse(arguments, environment: environment) else { return .help(table.help) }
        guard let workload = ObjectName(try values.required("workload")) else {
            throw values.error("workload", "\(shown(values.text("workload") ?? "")) is no namespace/name")
        }
        let inbound = try values.listener("listen-inbound", default: "[::]:15006")
        var outbound: [ListenAddress] = []
        let outboundText = values.text("listen-outbound") ?? "127.0.0.1:15080,[::1]:15080"
        for part in outboundText.split(separator: ",", omittingEmptySubsequences: false) {
            outbound.append(try values.listener(String(part), "listen-outbound", loopbackOnly: true))
        }
        var tcp: [SidecarSettings.OutboundTCP] = []
        for text in values.all("tcp") { tcp.append(try outboundTCP(text, values)) }
        var plain: [SidecarSettings.InboundPlain] = []
        for text in values.all("inbound-plain") { plain.append(try inboundPlain(text, values)) }
        let app = values.text("app-address") ?? "127.0.0.1"
        guard IPLiteral.isUnicast(app) else {
            throw values.error("app-address", "\(shown(app)) is no address of a host")
        }
        let proxy = try proxy(values, defaultWorkers: 1)
        let isCapturing = values.has("capture")
        let captured = try loopbacks(values, "listen-captured", isCapturing, "127.0.0.1:15001,[::1]:15001", "capture")
        let names = try loopbacks(values, "listen-dns", values.has("dns"), "127.0.0.1:15053,[::1]:15053", "dns")
        var probes: [SidecarSettings.Probe] = []
        for text in values.all("probe") { probes.append(try probe(text, values)) }
        let listeners =
            [("listen-inbound", inbound)] + outbound.map { ("listen-outbound", $0) } + tcp.map { ("tcp", $0.listen) }
            + plain.map { ("inbound-plain", $0.listen) } + captured.map { ("listen-captured", $0) }
            + names.map { ("listen-dns", $0) }
        try checkDistinct(values, listeners, proxy)
        var settings = SidecarSettings(
            workload: workload, listenInbound: inbound, listenOutbound: outbound, tcp: tcp, inboundPlain: plain,
            appAddress: app, proxy: proxy)
        settings.listenCaptured = captured
        settings.listenNames = names
        settings.resolverFile = try values.path("resolv-conf") ?? settings.resolverFile
        settings.mark = try RedirectFlags.mark(values)
        settings.probes = probes
        settings.drain =
            try values.duration("drain", in: .zero ... .seconds(3_600)) ?? (isCapturing ? .seconds(30) : .zero)
        return .sidecar(settings)
    }

    /// Loopback listeners that a switch turns on.
    private static func loopbacks(
        _ values: FlagValues, _ name: String, _ isOn: Bool, _ fallback: String, _ owner: String
    ) throws(SettingsError) -> [ListenAddress] {
        guard isOn else {
            if values.has(name) { throw values.error(name, "stands without --\(owner)", "--\(owner) beside it") }
            return []
        }
        var found: [ListenAddress] = []
        for part in (values.text(name) ?? fallback).split(separator: ",", omittingEmptySubsequences: false) {
            found.append(try values.listener(String(part), name, loopbackOnly: true))
        }
        return found
    }

    private static func probe(_ text: String, _ values: FlagValues) throws(SettingsError) -> SidecarSettings.Probe {
        guard let slash = text.firstIndex(of: "/"), let number = FlagValues.number(String(text[..<slash])),
            let port = UInt16(exactly: number), port > 0,
            text[slash...].utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != 0x3F && $0 != 0x23 })
        else { throw values.error("probe", "\(shown(text)) is no PORT/PATH") }
        return SidecarSettings.Probe(port: port, path: String(text[slash...]))
    }

    private static func proxy(_ values: FlagValues, defaultWorkers: Int? = nil) throws(SettingsError) -> ProxySettings {
        var bundles: [BundleFile] = []
        for text in values.all("bundle") {
            let parts = text.split(separator: "=", maxSplits: 1).map(String.init)
            guard parts.count == 2, let domain = TrustDomain(parts[0]) else {
                throw values.error("bundle", "\(shown(text)) is no TRUST-DOMAIN=FILE")
            }
            guard !bundles.contains(where: { $0.trustDomain == domain }) else {
                throw values.error("bundle", "\(domain) is given twice", "one file with all its roots")
            }
            bundles.append(BundleFile(trustDomain: domain, path: parts[1]))
        }
        let admin: AdminAddress
        if let text = values.text("admin"), text.hasPrefix("unix:") {
            let path = String(text.dropFirst(5))
            // sun_path of Linux holds 108 bytes, one of them the end.
            guard !path.isEmpty, path.utf8.count <= 107 else {
                throw values.error("admin", "\(shown(path)) is no path of a UNIX socket (at most 107 bytes)")
            }
            admin = .unix(path)
        } else {
            let address = try values.listener("admin", default: "127.0.0.1:15000")
            guard address.isLoopback else {
                throw values.error(
                    "admin", "\(address) is no loopback address", "127.0.0.1:15000 or unix:/run/admin.sock")
            }
            admin = .tcp(address)
        }
        return ProxySettings(
            source: try source(values), bundles: bundles, locality: try values.locality(), admin: admin,
            metrics: try values.listener("metrics", default: "0.0.0.0:15020"),
            ready: try values.listener("ready", default: "0.0.0.0:15021"),
            workers: try values.integer("workers", in: 1...256) ?? defaultWorkers,
            logFormat: try values.logFormat(),
            grace: try values.duration("grace", in: .zero ... .seconds(3_600)) ?? .seconds(10),
            knownCertificates: try values.integer("known-certificates", in: 0...4_096) ?? 1_024,
            handover: try handover(values), limits: try limits(values))
    }

    private static func handover(_ values: FlagValues) throws(SettingsError) -> ProxySettings.Handover {
        let path = try values.path("handover")
        // sun_path of Linux holds 108 bytes; the socket is made beside its place, as PATH.new.
        if let path, path.isEmpty || path.utf8.count > 103 {
            throw values.error("handover", "\(shown(path)) is no path of a UNIX socket (at most 103 bytes)")
        }
        let takes = try values.flag("takeover")
        if takes, path == nil, values.has("snapshot") {
            throw values.error("takeover", "needs --handover beside --snapshot", "--handover /run/meshfed/gw-1.sock")
        }
        return ProxySettings.Handover(path: path, takes: takes)
    }

    private static func limits(_ values: FlagValues) throws(SettingsError) -> ProxySettings.Limits {
        ProxySettings.Limits(
            connections: try values.integer("max-connections", in: 16...4_000_000),
            requests: try values.integer("max-requests", in: 16...16_000_000),
            memory: try values.size("memory-limit", in: 33_554_432...1_099_511_627_776))
    }

    private static func source(_ values: FlagValues) throws(SettingsError) -> ProxySource {
        if let snapshot = try values.path("snapshot") {
            for name in ["state-dir", "token-file"] where values.has(name) {
                throw values.error(name, "stands beside --snapshot", "one of them: a broker or files")
            }
            guard !values.dash else { throw values.table.error("", "- stands beside --snapshot", "it without -") }
            guard let certificate = try values.path("svid") else { throw values.missing("svid") }
            guard let key = try values.path("key") else { throw values.missing("key") }
            return .standalone(snapshot: snapshot, certificate: certificate, key: key)
        }
        for name in ["svid", "key"] where values.has(name) {
            throw values.error(name, "belongs to --snapshot", "--snapshot FILE beside it")
        }
        guard let directory = try values.path("state-dir") else { throw values.missing("state-dir") }
        var token: TokenSource? = values.dash ? .standardInput : nil
        if let file = try values.path("token-file") {
            guard token == nil else { throw values.error("token-file", "stands beside -", "one of them") }
            token = file == "-" ? .standardInput : .file(file)
        }
        return .broker(stateDirectory: directory, token: token)
    }

    // MARK: Values of single flags

    private static func advertise(_ text: String, _ values: FlagValues) throws(SettingsError)
        -> GatewaySettings.Advertise
    {
        if IPLiteral.isUnicast(text) { return GatewaySettings.Advertise(host: text, port: nil) }
        if text.hasPrefix("["), text.hasSuffix("]"), IPLiteral.isUnicast(String(text.dropFirst().dropLast())) {
            return GatewaySettings.Advertise(host: String(text.dropFirst().dropLast()), port: nil)
        }
        guard let value = HostPort(text), IPLiteral.isUnicast(value.host) else {
            throw values.error("advertise", "\(shown(text)) is no address that other clusters could dial")
        }
        return GatewaySettings.Advertise(host: value.host, port: value.port)
    }

    private static func outboundTCP(_ text: String, _ values: FlagValues) throws(SettingsError)
        -> SidecarSettings.OutboundTCP
    {
        let parts = text.split(separator: "=", maxSplits: 1).map(String.init)
        guard parts.count == 2, let target = HostPort(parts[1]), !IPLiteral.isAddress(target.host),
            target.host.utf8.allSatisfy({ $0 < 0x41 || $0 > 0x5A })
        else { throw values.error("tcp", "\(shown(text)) is no LISTEN=NAME:PORT with a mesh name") }
        let listen = try values.listener(parts[0], "tcp", loopbackOnly: true)
        return SidecarSettings.OutboundTCP(listen: listen, name: target.host, port: target.port)
    }

    private static func inboundPlain(_ text: String, _ values: FlagValues) throws(SettingsError)
        -> SidecarSettings.InboundPlain
    {
        let parts = text.split(separator: "=", maxSplits: 1).map(String.init)
        guard parts.count == 2, let port = HostPort("localhost:\(parts[1])")?.port else {
            throw values.error("inbound-plain", "\(shown(text)) is no LISTEN=PORT")
        }
        let listen = try values.listener(parts[0], "inbound-plain", loopbackOnly: false)
        return SidecarSettings.InboundPlain(listen: listen, appPort: port)
    }

    /// Two flags with one address and port: the second bind would fail with a less clear word.
    private static func checkDistinct(
        _ values: FlagValues, _ listeners: [(String, ListenAddress)], _ proxy: ProxySettings
    ) throws(SettingsError) {
        var all = listeners + [("metrics", proxy.metrics), ("ready", proxy.ready)]
        if case .tcp(let address) = proxy.admin { all.append(("admin", address)) }
        var owners: [ListenAddress: String] = [:]
        for (name, address) in all where address.port != 0 {
            if let other = owners[address] {
                throw values.error(name, "\(address) is taken by --\(other)", "another port")
            }
            owners[address] = name
        }
    }
}
