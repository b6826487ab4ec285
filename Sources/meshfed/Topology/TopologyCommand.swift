import ArgumentParser
import Foundation
import Glibc
import Manifest
import MeshModel

/// `meshfed topology …`: runs the clusters of a topology file on this machine, in network namespaces.
struct TopologyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "topology",
        abstract: "Run several clusters on this machine, in network namespaces.",
        discussion: """
            Needs root, or `unshare -Urnm` for an ordinary user.

            EXAMPLES
              meshfed topology up topology/two-clusters.yaml --detach
              meshfed topology status topology/two-clusters.yaml
              meshfed topology stop topology/two-clusters.yaml west/gw-1 --kill
              meshfed topology down topology/two-clusters.yaml
            """,
        subcommands: [Up.self, Status.self, Down.self, Start.self, Stop.self, Validate.self])

    /// Where the topology runs: named by its file, or by its state directory.
    struct Place: ParsableArguments {
        @Argument(help: "The topology file.") var file: String?
        @Option(help: "Directory for configuration, state and logs (default: one named after the topology).")
        var stateDir: String?

        func directory() throws -> String {
            if let stateDir { return RunDirectory.absolute(stateDir) }
            guard let file else { throw ValidationError("give the topology file, or --state-dir") }
            return RunDirectory.standard(name: try TopologyCommand.load(file).name.description)
        }

        func ask(_ request: ControlRequest, seconds: Int32) throws -> ControlAnswer {
            let directory = try directory()
            guard let answer = try ControlSocket.ask(request, directory: directory, seconds: seconds) else {
                throw TopologyFailure("no topology runs in \(directory); start it with `meshfed topology up`")
            }
            if let error = answer.error { throw TopologyFailure(error) }
            return answer
        }
    }

    struct Up: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Start every process of the file and keep it until a signal or `down`.",
            discussion: "EXAMPLE\n  unshare -Urnm meshfed topology up topology/two-clusters.yaml")

        @Argument(help: "The topology file.") var file: String
        @Option(help: "Directory for configuration, state and logs (default: one named after the topology).")
        var stateDir: String?
        @Flag(help: "Return when all is ready; a supervisor stays behind.") var detach = false
        @Flag(help: "Leave out the joins of the file.") var noJoin = false
        @Flag(help: "Keep the logs after the end.") var keepLogs = false
        @Option(help: "Seconds that the processes have to become ready.") var timeout = 60.0
        @Flag(help: .hidden) var supervise = false

        func run() throws {
            try TopologyCommand.reporting {
                let topology = try TopologyCommand.load(file)
                let programs = try RunPrograms.find()
                let directory = RunDirectory.absolute(stateDir ?? RunDirectory.standard(name: "\(topology.name)"))
                let home = (RunDirectory.absolute(file) as NSString).deletingLastPathComponent
                let plan = try RunPlan(
                    topology, directory: directory, topologyDirectory: home, programs: programs)
                if detach { return try leaveSupervisor(directory: directory, programs: programs) }

                TopologySignals.block()
                if !supervise { try NamespaceNetwork.prepare() }
                let removed = try NamespaceNetwork.removeStale()
                if removed > 0 { TopologyCommand.say("removed \(removed) namespaces of a run that is gone") }
                if !supervise { try RunDirectory.claim(directory) }
                let supervisor = try TopologySupervisor(
                    plan: plan, programs: programs,
                    options: .init(directory: directory, timeout: timeout, join: !noJoin, keepLogs: keepLogs),
                    say: TopologyCommand.say)
                try supervisor.bringUp()
                TopologyCommand.say("ready: \(topology.name) in \(directory)")
                supervisor.run()
            }
        }

        /// Starts this command again as a supervisor in a session of its own and follows its log until it is ready.
        private func leaveSupervisor(directory: String, programs: RunPrograms) throws {
            try NamespaceNetwork.prepare()
            try RunDirectory.claim(directory)
            let log = "\(directory)/supervisor.log"
            var arguments = [programs.meshfed, "topology", "up", RunDirectory.absolute(file), "--supervise"]
            arguments += ["--state-dir", directory, "--timeout", "\(timeout)"]
            if noJoin { arguments.append("--no-join") }
            if keepLogs { arguments.append("--keep-logs") }
            let pid = try ChildProcess.start(
                arguments, namespace: nil, environment: ["MESHFED_PROXY": programs.proxy], directory: "/", log: log,
                survivesParent: true)
            let follower = FileHandle(forReadingAtPath: log)
            var tail = ""
            while true {
                let end = ChildProcess.end(of: pid)
                if let data = try follower?.readToEnd(), !data.isEmpty {
                    FileHandle.standardError.write(data)
                    tail = String((tail + String(decoding: data, as: UTF8.self)).suffix(4_096))
                }
                if tail.contains("topology: ready:") { return }
                if end != nil { throw ExitCode(1) }
                usleep(20_000)
            }
        }
    }

    struct Status: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Say what runs: namespaces, addresses, processes, logs.",
            discussion: "EXAMPLE\n  meshfed topology status topology/two-clusters.yaml -o json")

        @OptionGroup var place: Place
        @Option(name: .shortAndLong, help: "table or json.") var output = "table"

        func run() throws {
            try TopologyCommand.reporting {
                guard let report = try place.ask(ControlRequest(verb: .status), seconds: 10).report else { return }
                print(output == "json" ? String(decoding: try report.encoded(), as: UTF8.self) : report.table)
            }
        }

        func validate() throws {
            guard ["table", "json"].contains(output) else { throw ValidationError("-o is table or json") }
        }
    }

    struct Down: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "End every process and remove every namespace.",
            discussion: "EXAMPLE\n  meshfed topology down topology/two-clusters.yaml")

        @OptionGroup var place: Place

        func run() throws {
            try TopologyCommand.reporting { _ = try place.ask(ControlRequest(verb: .down), seconds: 30) }
        }
    }

    struct Start: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Start processes that were stopped.",
            discussion: "EXAMPLE\n  meshfed topology start topology/two-clusters.yaml west/gw-1")

        @Argument(help: "The topology file.") var file: String
        @Argument(help: "Processes or nodes: west/gw-1, east/web/app.") var processes: [String]
        @Option(help: "The state directory, unless it is the usual one.") var stateDir: String?

        func run() throws {
            try TopologyCommand.reporting {
                try Change.ask(.start, file: file, stateDir: stateDir, processes: processes, signal: nil)
            }
        }
    }

    struct Stop: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Stop single processes, to see what happens.",
            discussion: "EXAMPLE\n  meshfed topology stop topology/two-clusters.yaml east/reviews-1 --kill")

        @Argument(help: "The topology file.") var file: String
        @Argument(help: "Processes or nodes: west/gw-1, east/web/app.") var processes: [String]
        @Option(help: "The state directory, unless it is the usual one.") var stateDir: String?
        @Flag(help: "SIGKILL in place of SIGTERM.") var kill = false

        func run() throws {
            try TopologyCommand.reporting {
                try Change.ask(
                    .stop, file: file, stateDir: stateDir, processes: processes, signal: kill ? SIGKILL : SIGTERM)
            }
        }
    }

    struct Validate: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Check a topology file; nothing is started.",
            discussion: "EXAMPLE\n  meshfed topology validate topology/two-clusters.yaml")

        @Argument(help: "The topology file.") var file: String

        func run() throws {
            try TopologyCommand.reporting {
                let topology = try TopologyCommand.load(file)
                let plan = try RunPlan(
                    topology, directory: "/", topologyDirectory: "/", programs: RunPrograms(meshfed: "", proxy: ""))
                print(
                    "\(file): valid: \(plan.clusters.count) clusters, \(plan.nodes.count) nodes, "
                        + "\(plan.brokers.count + plan.others.count) processes")
            }
        }
    }

    private enum Change {
        static func ask(
            _ verb: ControlRequest.Verb, file: String, stateDir: String?, processes: [String], signal: Int32?
        ) throws {
            let directory = try stateDir ?? RunDirectory.standard(name: "\(TopologyCommand.load(file).name)")
            let request = ControlRequest(verb: verb, processes: processes, signal: signal)
            guard
                let answer = try ControlSocket.ask(
                    request, directory: RunDirectory.absolute(directory), seconds: 10)
            else { throw TopologyFailure("no topology runs in \(directory)") }
            if let error = answer.error { throw TopologyFailure(error) }
        }
    }

    static func say(_ line: String) { FileHandle.standardError.write(Data("topology: \(line)\n".utf8)) }

    /// Turns a failure into its one line and exit code.
    static func reporting(_ body: () throws -> Void) throws {
        do { try body() } catch let failure as TopologyFailure {
            FileHandle.standardError.write(Data("meshfed topology: \(failure)\n".utf8))
            throw ExitCode(failure.kind.rawValue)
        }
    }
}
