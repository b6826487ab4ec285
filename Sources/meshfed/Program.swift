import ArgumentParser
import Broker
import Glibc
import Settings

/// `meshfed`: the broker, and the commands that talk to one.
enum Program {
    /// Runs one command line; the exit status: 0, 1 a failure, 64 a wrong command line, 65 a bad input file.
    static func run(_ arguments: [String]) -> Int32 {
        if let verb = unbuilt(arguments) {
            Terminal.note("meshfed: \(verb) is not available in this version; try meshfed --help")
            return CommandFailure.Kind.usage.rawValue
        }
        if arguments.starts(with: ["broker", "run"]) { return broker(Array(arguments.dropFirst(2))) }
        do {
            var command = try MeshfedCommand.parseAsRoot(arguments)
            if !(command is any Supervising) { Terminal.letSignalsEnd() }
            try command.run()
            return 0
        } catch {
            return end(error)
        }
    }

    /// Verbs that are named in docs/PROTOCOLS.md section 10 and not built yet.
    private static func unbuilt(_ arguments: [String]) -> String? {
        let verb = arguments.prefix(2).joined(separator: " ")
        switch (arguments.first, verb) {
        case ("diff"?, _), ("why"?, _), ("matrix"?, _), ("authority"?, _): return arguments.first
        case (_, "service show"), (_, "bundle list"), (_, "bundle federate"): return verb
        default: return nil
        }
    }

    private static func broker(_ arguments: [String]) -> Int32 {
        let settings: BrokerSettings
        do throws(SettingsError) {
            switch try BrokerCommand.parse(arguments, environment: Terminal.variable) {
            case .run(let parsed): settings = parsed
            case .help(let text):
                Terminal.out(text)
                return 0
            }
        } catch {
            Terminal.note("\(error)")
            return SettingsError.exitStatus
        }
        do throws(BrokerFailure) { return try BrokerProgram.run(settings) } catch {
            Terminal.note(CommandFailure("broker: \(error)").text)
            return error.exitStatus
        }
    }

    /// Help goes to standard output; an error is one line on standard error.
    private static func end(_ error: any Error) -> Int32 {
        switch error {
        case let failure as CommandFailure:
            Terminal.note(failure.text)
            return failure.kind.rawValue
        case let failure as TopologyFailure:
            Terminal.note("meshfed topology: \(failure)")
            return failure.kind.rawValue
        default:
            let code = MeshfedCommand.exitCode(for: error)
            if code.isSuccess {
                Terminal.out(MeshfedCommand.fullMessage(for: error) + "\n")
                return 0
            }
            let message = MeshfedCommand.message(for: error)
            guard code == .validationFailure else {
                if !message.isEmpty { Terminal.note("meshfed: \(message)") }
                return code.rawValue == 0 ? 1 : code.rawValue
            }
            let line = message.split(whereSeparator: \.isNewline).joined(separator: " ")
            Terminal.note("meshfed: \(line); try \(helpCall(error))")
            return CommandFailure.Kind.usage.rawValue
        }
    }

    /// `meshfed token create --help`, from the usage line that the parser would print.
    private static func helpCall(_ error: any Error) -> String {
        let full = MeshfedCommand.fullMessage(for: error)
        let usage = full.split(whereSeparator: \.isNewline).first { $0.hasPrefix("Usage: ") }
        let words = (usage ?? "").dropFirst(7).split(separator: " ").prefix { word in
            word.first.map { $0.isLetter } ?? false
        }
        return (words.isEmpty ? "meshfed" : words.joined(separator: " ")) + " --help"
    }
}

/// A command that handles the stop signals itself; for all others they end the process, as a shell expects.
protocol Supervising {}

/// The root of the command line.
struct MeshfedCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "meshfed",
        abstract: "A service mesh over several clusters: the broker, and the commands that talk to it.",
        discussion: """
            Every command but broker, topology, echo, svid, snapshot build and version asks a broker: --broker names its \
            admin socket (STATE-DIR/admin.sock) or https://HOST:15012; MESHFED_BROKER stands for the flag.

            EXAMPLES
              meshfed broker run --cluster east --state-dir /var/lib/meshfed/broker
              meshfed token create --for federation --cluster west
              meshfed join --token-file token --import shop
              meshfed status
            """,
        version: Release.version,
        subcommands: [
            BrokerHelp.self, TopologyCommand.self, TokenCommand.self, JoinCommand.self, LeaveCommand.self,
            EvictCommand.self, MemberCommand.self, StatusCommand.self, ServiceCommand.self, EndpointCommand.self,
            BundleCommand.self, SVIDCommand.self, ApplyCommand.self, GetCommand.self, DeleteCommand.self,
            SnapshotCommand.self,
            CheckCommand.self, EchoCommand.self, VersionCommand.self,
        ])
}

/// `meshfed broker`: stands in the overview; `broker run` is read by Settings, which shares its flags with the environment.
struct BrokerHelp: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "broker", abstract: "Run the control plane of one cluster: `meshfed broker run --help`.",
        discussion: "EXAMPLE\n  meshfed broker run --cluster east --state-dir /var/lib/meshfed/broker")

    func run() throws { throw ValidationError("broker needs a verb: meshfed broker run") }
}

/// `meshfed version`.
struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "version", abstract: "Print the release.", discussion: "EXAMPLE\n  meshfed version -o json")

    @OptionGroup var output: OutputOption

    func run() throws {
        output.print(.record([("version", .text(Release.version))])) { _ in Release.version + "\n" }
    }
}
