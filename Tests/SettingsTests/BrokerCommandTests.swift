import MeshModel
import Settings
import Testing

@Suite struct BrokerCommandTests {
    private func parse(_ line: String) throws(SettingsError) -> BrokerCommand {
        try BrokerCommand.parse(line.split(separator: " ").map(String.init)) { _ in nil }
    }

    @Test func defaultsAreThoseOfTheContract() throws {
        guard case .run(let settings) = try parse("--cluster east --state-dir /s") else {
            Issue.record("help")
            return
        }
        #expect(settings.trustDomain.description == "east.mesh")
        #expect(settings.listenMTLS.description == "[::]:15012")
        #expect(settings.listenJoin.description == "[::]:8443")
        #expect(settings.listenHTTP.description == "127.0.0.1:15014")
        #expect(settings.advertise == nil && settings.configDirectory == nil && settings.workers == nil)
    }

    @Test func everyFlagIsTaken() throws {
        guard
            case .run(let settings) = try parse(
                "--cluster east --trust-domain a.b --state-dir /s --config /c --listen-mtls 127.0.0.1:0 --listen-join"
                    + " 127.0.0.1:0 --listen-http [::1]:0 --advertise broker.example --log-format json --workers 2 --grace 0s"
            )
        else { return }
        #expect(settings.trustDomain.description == "a.b" && settings.configDirectory == "/c")
        #expect(settings.advertise == "broker.example" && settings.workers == 2 && settings.grace == .zero)
        guard case .help(let text) = try parse("--help") else {
            Issue.record("no help")
            return
        }
        #expect(text.contains("MESHFED_STATE_DIR"))
    }

    @Test(arguments: [
        ("--state-dir /s", "meshfed: --cluster: is missing"), ("--cluster east", "--state-dir: is missing"),
        ("--cluster East --state-dir s", "--cluster: \"East\" is no name"),
        ("--cluster east --state-dir s --trust-domain A", "--trust-domain: \"A\" is no trust domain"),
        ("--cluster east --state-dir s --advertise a:1", "--advertise: \"a:1\" is no host"),
        (
            "--cluster east --state-dir s --listen-join [::]:15012",
            "--listen-join: [::]:15012 is taken by --listen-mtls"
        ),
        ("--cluster east --state-dir s -", "\"-\" is not expected here"),
    ])
    func mistakesAreNamed(line: String, expected: String) {
        do throws(SettingsError) {
            _ = try parse(line)
            Issue.record("accepted")
        } catch {
            #expect(error.description.contains(expected), "\(error)")
        }
    }
}
