import MeshModel
import Settings
import Testing

/// The settings of a command line, or the error's text.
private func parse(_ line: String, _ environment: [String: String] = [:]) -> Result<ProxyCommand, SettingsError> {
    do throws(SettingsError) {
        return .success(try ProxyCommand.parse(line.split(separator: " ").map(String.init)) { environment[$0] })
    } catch {
        return .failure(error)
    }
}

private func gateway(_ rest: String, _ environment: [String: String] = [:]) throws -> GatewaySettings {
    guard case .gateway(let settings) = try parse("gateway run --name gw-1 " + rest, environment).get() else {
        throw SettingsError(program: "", key: "", what: "no gateway", advice: "")
    }
    return settings
}

private func sidecar(_ rest: String, _ environment: [String: String] = [:]) throws -> SidecarSettings {
    guard case .sidecar(let settings) = try parse("sidecar run --workload shop/web-1 " + rest, environment).get() else {
        throw SettingsError(program: "", key: "", what: "no sidecar", advice: "")
    }
    return settings
}

@Suite struct ProxyCommandTests {
    @Test func takingOverNeedsAPlaceToDoItAt() throws {
        let plain = try gateway("--state-dir /s --advertise 203.0.113.10 -").proxy
        #expect(plain.handover == .init() && plain.limits == .init())
        let next = try gateway("--state-dir /s --advertise 203.0.113.10 --takeover").proxy
        #expect(next.handover.takes && next.handover.path == nil)
        #expect(
            try gateway("--state-dir /s --advertise 203.0.113.10", ["MESHFED_TAKEOVER": "1"]).proxy.handover.takes)
        let files = "--snapshot s --svid c --key k"
        #expect(throws: SettingsError.self) { try gateway("\(files) --takeover") }
        #expect(throws: SettingsError.self) { try gateway("--state-dir /s", ["MESHFED_TAKEOVER": "perhaps"]) }
        #expect(throws: SettingsError.self) {
            try gateway("\(files) --handover /\(String(repeating: "x", count: 103))")
        }
        let standalone = try gateway("\(files) --takeover --handover /run/g.sock").proxy
        #expect(standalone.handover.takes && standalone.handover.path == "/run/g.sock")
    }

    @Test func limitsAreNumbersAndSizes() throws {
        let limits = try gateway(
            "--snapshot s --svid c --key k --max-connections 1000 --max-requests 2000 --memory-limit 256MiB"
        ).proxy.limits
        #expect(limits == .init(connections: 1_000, requests: 2_000, memory: 268_435_456))
        for (text, bytes) in [("268435456", 268_435_456), ("65536KiB", 67_108_864), ("2GiB", 2_147_483_648)] {
            #expect(
                try gateway("--snapshot s --svid c --key k --memory-limit \(text)").proxy.limits.memory == bytes)
        }
        for text in ["1MiB", "256MB", "-1", "1.5GiB", "9999999999999GiB", "MiB", "99999999999999", "2000GiB"] {
            #expect(throws: SettingsError.self, "\(text)") {
                try gateway("--snapshot s --svid c --key k --memory-limit \(text)")
            }
        }
        #expect(throws: SettingsError.self) { try gateway("--snapshot s --svid c --key k --max-connections 1") }
    }

    @Test func gatewayDefaultsAreThoseOfTheContract() throws {
        let settings = try gateway("--state-dir /s --advertise 203.0.113.10 -")
        #expect(settings.listen.description == "[::]:15443")
        #expect(settings.advertise == GatewaySettings.Advertise(host: "203.0.113.10", port: nil))
        #expect(settings.proxy.source == .broker(stateDirectory: "/s", token: .standardInput))
        #expect(settings.proxy.admin == .tcp(try #require(ListenAddress("127.0.0.1:15000"))))
        #expect(settings.proxy.metrics.description == "0.0.0.0:15020")
        #expect(settings.proxy.ready.description == "0.0.0.0:15021")
        #expect(settings.proxy.workers == nil && settings.proxy.grace == .seconds(10))
        #expect(settings.proxy.knownCertificates == 1_024)
        #expect(settings.proxy.logFormat == .text && settings.proxy.locality == .unknown)
    }

    @Test func sidecarTakesEveryFlag() throws {
        let settings = try sidecar(
            "--snapshot s --svid c --key k --bundle east.mesh=e.pem --bundle west.mesh=w=1.pem"
                + " --listen-inbound [::]:0 --listen-outbound 127.0.0.2:15080 --tcp 127.0.0.1:3306=mysql.default:3306"
                + " --tcp [::1]:3306=mysql:3306 --inbound-plain 0.0.0.0:8080=80 --app-address ::1 --region us-east"
                + " --zone us-east-1a --admin unix:/run/a.sock --metrics=[::1]:0 --ready 127.0.0.1:0 --workers 4"
                + " --log-format json --grace 1m30s --known-certificates 0")
        #expect(settings.workload.description == "shop/web-1")
        #expect(settings.proxy.source == .standalone(snapshot: "s", certificate: "c", key: "k"))
        #expect(settings.proxy.bundles.map(\.path) == ["e.pem", "w=1.pem"])
        #expect(settings.listenInbound.port == 0)
        #expect(settings.listenOutbound.map(\.description) == ["127.0.0.2:15080"])
        #expect(settings.tcp.map(\.name) == ["mysql.default", "mysql"] && settings.tcp[1].listen.host == "::1")
        #expect(settings.inboundPlain.map(\.appPort) == [80])
        #expect(settings.appAddress == "::1" && settings.proxy.admin == .unix("/run/a.sock"))
        #expect(settings.proxy.locality == Locality(region: "us-east", zone: "us-east-1a"))
        #expect(settings.proxy.workers == 4 && settings.proxy.grace == .seconds(90))
        #expect(settings.proxy.logFormat == .json && settings.proxy.knownCertificates == 0)
    }

    @Test func sidecarDefaults() throws {
        let settings = try sidecar("--state-dir /s")
        #expect(settings.listenInbound.description == "[::]:15006")
        #expect(settings.listenOutbound.map(\.description) == ["127.0.0.1:15080", "[::1]:15080"])
        #expect(settings.proxy.workers == 1 && settings.appAddress == "127.0.0.1")
        #expect(settings.proxy.source == .broker(stateDirectory: "/s", token: nil))
    }

    @Test func flagsWinOverTheEnvironment() throws {
        let environment = [
            "MESHFED_STATE_DIR": "/e", "MESHFED_ADMIN": "127.0.0.1:1", "MESHFED_TCP": "127.0.0.1:1=a:1,127.0.0.1:2=b:2",
            "MESHFED_GRACE": "",
        ]
        let settings = try sidecar("--admin 127.0.0.1:9", environment)
        #expect(settings.proxy.source == .broker(stateDirectory: "/e", token: nil))
        #expect(settings.proxy.admin == .tcp(try #require(ListenAddress("127.0.0.1:9"))))
        #expect(settings.tcp.map(\.name) == ["a", "b"])
        #expect(settings.proxy.grace == .seconds(10))
    }

    @Test(arguments: [
        ("", "meshfed-proxy: no command; try meshfed-proxy --help"),
        ("gateway", "meshfed-proxy: gateway needs a verb; try meshfed-proxy gateway run --help"),
        ("gateway start", "\"gateway start\" is no command"),
        ("redirect", "redirect needs a verb; try --print, --apply or --remove"),
        ("--frob", "\"--frob\" is not expected here"),
        ("gateway run --name gw-1 extra", "\"extra\" is not expected here"),
        ("gateway run --name gw-1 --listn x", "--listn: is unknown; try --listen"),
        ("gateway run --state-dir s", "--name: is missing; try --name gw-1"),
        ("gateway run --name GW --state-dir s", "--name: \"GW\" is no name"),
        ("gateway run --name gw-1 --state-dir s", "--advertise: is missing; try --advertise 203.0.113.10:15443"),
        ("gateway run --name gw-1 --advertise 1.2.3.4", "--state-dir: is missing"),
        ("gateway run --name gw-1 --advertise gw.example --state-dir s", "--advertise: \"gw.example\" is no address"),
        ("gateway run --name gw-1 --advertise 0.0.0.0 --state-dir s", "--advertise: \"0.0.0.0\" is no address"),
        (
            "gateway run --name gw-1 --advertise 1.2.3.4 --state-dir s --listen 1.2.3.4",
            "--listen: \"1.2.3.4\" is no addr"
        ),
        (
            "gateway run --name gw-1 --advertise 1.2.3.4 --state-dir s --listen [::]:70000",
            "--listen: \"[::]:70000\" is no"
        ),
        ("gateway run --name gw-1 --advertise 1.2.3.4 --state-dir s --listen localhost:1", "is no address with a port"),
        ("gateway run --name gw-1 --name gw-2", "--name: is given twice"),
        ("gateway run --name", "--name: needs a value; try --name gw-1"),
        ("gateway run --name --listen", "--name: needs a value"),
        (
            "gateway run --name gw-1 --advertise 1.2.3.4 --state-dir s --workers 0",
            "--workers: \"0\" is no number from 1"
        ),
        ("gateway run --name gw-1 --advertise 1.2.3.4 --state-dir s --workers +2", "--workers: \"+2\" is no number"),
        ("gateway run --name gw-1 --advertise 1.2.3.4 --state-dir s --grace 10", "--grace: \"10\" is no duration"),
        ("gateway run --name gw-1 --advertise 1.2.3.4 --state-dir s --zone a", "--zone: has no region"),
        (
            "gateway run --name gw-1 --advertise 1.2.3.4 --state-dir s --admin 0.0.0.0:1",
            "--admin: 0.0.0.0:1 is no loopback"
        ),
        ("gateway run --name gw-1 --advertise 1.2.3.4 --state-dir s --ready 0.0.0.0:15020", "is taken by --metrics"),
        ("gateway run --name gw-1 --advertise 1.2.3.4 --state-dir s --log-format xml", "try text or json"),
        ("gateway run --name gw-1 --advertise 1.2.3.4 --state-dir s --token-file f -", "--token-file: stands beside -"),
        ("gateway run --name gw-1 --snapshot s --svid c", "--key: is missing"),
        (
            "gateway run --name gw-1 --snapshot s --svid c --key k --state-dir d",
            "--state-dir: stands beside --snapshot"
        ),
        ("gateway run --name gw-1 --snapshot s --svid c --key k --bundle x", "--bundle: \"x\" is no TRUST-DOMAIN=FILE"),
        (
            "gateway run --name gw-1 --snapshot s --svid c --key k --bundle a=b --bundle a=c",
            "--bundle: a is given twice"
        ),
        ("sidecar run --workload web --state-dir s", "--workload: \"web\" is no namespace/name"),
        ("sidecar run --workload a/b --state-dir s --listen-outbound 0.0.0.0:15080", "lend out this pod's identity"),
        ("sidecar run --workload a/b --state-dir s --listen-outbound 127.0.0.1:1,", "\"\" is no address with a port"),
        ("sidecar run --workload a/b --state-dir s --tcp 10.0.0.1:1=a:1", "--tcp: 10.0.0.1:1 is no loopback address"),
        ("sidecar run --workload a/b --state-dir s --tcp 127.0.0.1:1=10.0.0.1:1", "is no LISTEN=NAME:PORT"),
        ("sidecar run --workload a/b --state-dir s --tcp 127.0.0.1:1=A:1", "is no LISTEN=NAME:PORT"),
        ("sidecar run --workload a/b --state-dir s --tcp 127.0.0.1:1=a:1 --tcp 127.0.0.1:1=b:1", "is taken by --tcp"),
        ("sidecar run --workload a/b --state-dir s --inbound-plain 0.0.0.0:1=0", "is no LISTEN=PORT"),
        ("sidecar run --workload a/b --state-dir s --app-address x", "--app-address: \"x\" is no address of a host"),
    ])
    func mistakesNameTheFlagAndWhatToTry(line: String, expected: String) {
        switch parse(line) {
        case .success(let command): Issue.record("accepted: \(command)")
        case .failure(let error):
            #expect(error.description.contains(expected), "\(error)")
            #expect(error.description.hasPrefix("meshfed-proxy: ") && error.description.contains("; try "))
        }
        #expect(SettingsError.exitStatus == 64)
    }

    @Test func variablesAreNamedInErrors() {
        let result = parse("gateway run --name gw-1 --advertise 1.2.3.4 --state-dir s", ["MESHFED_WORKERS": "many"])
        guard case .failure(let error) = result else {
            Issue.record("accepted")
            return
        }
        #expect(error.key == "MESHFED_WORKERS")
    }

    @Test func helpListsEveryFlagWithItsVariable() throws {
        for line in ["gateway run --help", "sidecar run -h", "--help", "help"] {
            guard case .help(let text) = try parse(line).get() else {
                Issue.record("no help")
                continue
            }
            #expect(text.hasSuffix("\n"))
        }
        guard case .help(let text) = try parse("sidecar run --help").get() else { return }
        for word in [
            "--listen-outbound ADDR:PORT,…", "MESHFED_LISTEN_OUTBOUND", "default 127.0.0.1:15080,[::1]:15080",
            "EXAMPLES",
        ] {
            #expect(text.contains(word))
        }
        #expect(try parse("version").get() == .version(asJSON: false))
        #expect(try parse("--version").get() == .version(asJSON: false))
        #expect(try parse("version -o json").get() == .version(asJSON: true))
        #expect(throws: SettingsError.self) { try parse("version -o yaml").get() }
    }
}
