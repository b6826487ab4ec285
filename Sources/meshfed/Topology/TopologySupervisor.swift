import Foundation
import Glibc
import Manifest
import MeshModel

/// Owns the processes of one topology from `up` to `down`. Lives on the main thread (children end with it).
///
/// It starts public commands only: it writes configuration objects and command lines, never a key, an SVID or a row.
final class TopologySupervisor {
    struct Options {
        var directory: String
        var timeout: Double
        var join: Bool
        var keepLogs: Bool
    }

    private let plan: RunPlan
    private let programs: RunPrograms
    private let options: Options
    private let network: NamespaceNetwork
    private let control: ControlSocket
    private let say: (String) -> Void
    private var children: [Child] = []
    private var ready = false
    private var stopRequested: String?
    private var waitingForDown: [Int32] = []
    private let begun = Date()

    /// One process of the plan and what became of it.
    private struct Child {
        var process: RunProcess
        let log: String
        var pid: pid_t?
        var isReady = false
        var wasReady = false
        var stopped = false
        var end: ChildEnd?
        /// Size of the log when it was started: readiness is looked for behind it.
        var logStart: UInt64 = 0
    }

    init(plan: RunPlan, programs: RunPrograms, options: Options, say: @escaping (String) -> Void) throws {
        self.plan = plan
        self.programs = programs
        self.options = options
        self.say = say
        network = NamespaceNetwork(topology: plan.name, supervisor: getpid())
        control = try ControlSocket(directory: options.directory)
        children = (plan.brokers + plan.others).map {
            Child(process: $0, log: "\(options.directory)/logs/\($0.key).log")
        }
    }

    /// Brings everything up; throws (after taking all down) when something does not serve in time.
    func bringUp() throws {
        do {
            try makeFiles()
            try network.build(plan)
            say("networks: \(plan.nodes.count) namespaces, \(plan.clusters.count) cluster networks and the WAN")
            try redirect()
            for process in plan.brokers { try start(process.id) }
            try waitUntilReady()
            try makeTokens()
            for process in plan.others { try start(process.id) }
            try waitUntilReady()
            if options.join {
                for join in plan.joins { try perform(join) }
            }
            ready = true
        } catch {
            takeDown()
            throw error
        }
    }

    /// Serves the control socket until `down`, a signal or the end of the caller's patience; then takes all down.
    func run() {
        while stopRequested == nil { turn(milliseconds: 100) }
        say("stopping: \(stopRequested ?? "")")
        takeDown()
    }

    // MARK: - Bringing up

    /// Rules first: what an app sends before its sidecar is ready goes nowhere.
    private func redirect() throws {
        for node in plan.nodes {
            guard let capture = node.capture else { continue }
            let result = try Command.run(
                [programs.proxy] + capture.redirect, namespace: network.namespace(node.key))
            guard result.succeeded else { throw TopologyFailure("\(node.id): \(result.lastLine)") }
            try "nameserver \(capture.nextHop)\n".write(
                toFile: "\(workDirectory(of: node.id))/resolv.conf", atomically: true, encoding: .utf8)
        }
    }

    private func makeFiles() throws {
        let files = FileManager.default
        try files.createDirectory(atPath: "\(options.directory)/logs", withIntermediateDirectories: true)
        for cluster in plan.clusters {
            try files.createDirectory(atPath: cluster.configuration, withIntermediateDirectories: true)
            for object in cluster.objects {
                let name = "\(object.kind.lowercased())-\(object.metadata.namespace)-\(object.metadata.name).yaml"
                try ManifestWriter.yaml(object).write(
                    toFile: "\(cluster.configuration)/\(name)", atomically: true, encoding: .utf8)
            }
        }
        for node in plan.nodes where node.kind == .pod {
            try files.createDirectory(atPath: workDirectory(of: node.id), withIntermediateDirectories: true)
        }
    }

    /// One token per gateway and sidecar, each written by the command itself to a file.
    private func makeTokens() throws {
        var running: [(id: String, pid: pid_t, log: String)] = []
        for process in plan.others {
            guard let file = process.tokenFile, let node = plan.node(process.node),
                let cluster = plan.cluster(node.cluster)
            else { continue }
            let log = "\(options.directory)/logs/\(process.key).token.log"
            let pid = try ChildProcess.start(
                [programs.meshfed, "token", "create", "--broker", cluster.adminSocket] + process.tokenArguments
                    + ["--out", file], namespace: nil, environment: [:], directory: options.directory, log: log)
            running.append((process.id, pid, log))
        }
        for token in running {
            try finish(token.pid, log: token.log, what: "token for \(token.id)")
        }
        say("tokens: \(running.count) made")
    }

    private func perform(_ join: TopologyJoin) throws {
        guard let joiner = plan.cluster(join.cluster.description), let sponsor = plan.cluster(join.sponsor.description)
        else { return }
        let file = "\(options.directory)/\(joiner.name).join-token"
        let log = "\(options.directory)/logs/join-\(joiner.name).log"
        let token = try ChildProcess.start(
            [
                programs.meshfed, "token", "create", "--broker", sponsor.adminSocket, "--for", "federation",
                "--cluster", joiner.name, "--trust-domain", joiner.trustDomain, "--out", file,
            ], namespace: nil, environment: [:], directory: options.directory, log: log)
        try finish(token, log: log, what: "federation token of \(sponsor.name) for \(joiner.name)")
        var arguments = [programs.meshfed, "join", "--broker", joiner.adminSocket, "--token-file", file]
        if !join.imports.isEmpty { arguments += ["--import", join.imports.joined(separator: ",")] }
        let pid = try ChildProcess.start(
            arguments, namespace: nil, environment: [:], directory: options.directory, log: log)
        try finish(pid, log: log, what: "\(joiner.name) joining \(sponsor.name)")
        say("joined: \(joiner.name) through \(sponsor.name)")
    }

    private func finish(_ pid: pid_t, log: String, what: String) throws {
        let deadline = Date().addingTimeInterval(options.timeout)
        while true {
            if let end = ChildProcess.end(of: pid) {
                guard end == .exited(0) else { throw failure("\(what): \(end)", log: log) }
                return
            }
            if Date() > deadline || stopRequested != nil {
                ChildProcess.signal(pid, SIGKILL)
                while ChildProcess.end(of: pid) == nil { usleep(1_000) }
                throw failure("\(what): \(stopRequested ?? "not done within \(Int(options.timeout)) s")", log: log)
            }
            turn(milliseconds: 5)
        }
    }

    private func start(_ id: String) throws {
        guard let index = children.firstIndex(where: { $0.process.id == id }), children[index].pid == nil,
            let node = plan.node(children[index].process.node)
        else { return }
        let child = children[index]
        var arguments = child.process.arguments
        if let file = child.process.tokenFile, !child.wasReady { arguments += ["--token-file", file] }
        let size = (try? FileManager.default.attributesOfItem(atPath: child.log)[.size]) as? UInt64
        children[index].logStart = size ?? 0
        children[index].pid = try ChildProcess.start(
            arguments, namespace: network.namespace(node.key), environment: child.process.environment,
            directory: node.kind == .pod ? workDirectory(of: node.id) : options.directory, log: child.log,
            uid: child.process.uid)
        children[index].isReady = false
        children[index].stopped = false
        children[index].end = nil
    }

    private func waitUntilReady() throws {
        let deadline = Date().addingTimeInterval(options.timeout)
        while true {
            turn(milliseconds: 10)
            if let reason = stopRequested { throw TopologyFailure("stopped while coming up: \(reason)") }
            let waiting = children.filter { ($0.pid != nil || $0.end != nil) && !$0.isReady }
            if waiting.isEmpty { return }
            if let dead = waiting.first(where: { $0.end != nil }), let end = dead.end {
                throw failure("\(dead.process.id) \(end) while coming up", log: dead.log)
            }
            if Date() > deadline {
                let names = waiting.map(\.process.id).joined(separator: ", ")
                throw failure("not ready within \(Int(options.timeout)) s: \(names)", log: waiting[0].log)
            }
        }
    }

    // MARK: - The loop

    /// Reaps, looks for readiness, reads signals, answers one control request.
    private func turn(milliseconds: Int32) {
        for index in children.indices {
            guard let pid = children[index].pid else { continue }
            if let end = ChildProcess.end(of: pid) {
                children[index].pid = nil
                children[index].isReady = false
                children[index].end = end
                ChildProcess.signal(pid, SIGKILL)
                if !children[index].stopped, stopRequested == nil {
                    say("\(children[index].process.id) \(end); its log: \(children[index].log)")
                }
            } else if !children[index].isReady, serves(children[index], pid: pid) {
                children[index].isReady = true
                children[index].wasReady = true
                say("\(children[index].process.id) is ready (\(elapsed()))")
            }
        }
        if let signal = TopologySignals.pending() { stopRequested = "signal \(signal)" }
        guard let (request, connection) = control.next(milliseconds: milliseconds) else { return }
        guard let request else {
            return ControlSocket.answer(ControlAnswer(error: "not a request", report: nil), on: connection)
        }
        switch request.verb {
        case .status:
            ControlSocket.answer(ControlAnswer(error: nil, report: report()), on: connection)
        case .down:
            stopRequested = "down"
            waitingForDown.append(connection)
        case .start, .stop:
            var answer = ControlAnswer(error: nil, report: nil)
            do { try change(request) } catch { answer.error = "\(error)" }
            answer.report = report()
            ControlSocket.answer(answer, on: connection)
        }
    }

    private func change(_ request: ControlRequest) throws {
        for name in request.processes {
            let indices = children.indices.filter {
                children[$0].process.id == name || children[$0].process.node == name
            }
            guard !indices.isEmpty else { throw TopologyFailure("no process \(name); `topology status` lists them") }
            for index in indices {
                if request.verb == .start {
                    try start(children[index].process.id)
                } else if let pid = children[index].pid {
                    children[index].stopped = true
                    ChildProcess.signal(pid, request.signal ?? SIGTERM)
                }
            }
        }
    }

    private func serves(_ child: Child, pid: pid_t) -> Bool {
        switch child.process.readiness {
        case .ports(let ports):
            return ChildProcess.listens(pid, on: ports)
        case .line(let words):
            guard let file = FileHandle(forReadingAtPath: child.log) else { return false }
            defer { try? file.close() }
            guard (try? file.seek(toOffset: child.logStart)) != nil, let data = try? file.readToEnd() else {
                return false
            }
            return String(decoding: data, as: UTF8.self).contains(words)
        }
    }

    // MARK: - Taking down

    /// Everything gets SIGTERM, two seconds, then SIGKILL; then the namespaces go, then the files.
    private func takeDown() {
        if stopRequested == nil { stopRequested = "failed" }
        for child in children { if let pid = child.pid { ChildProcess.signal(pid, SIGTERM) } }
        let deadline = Date().addingTimeInterval(2)
        while children.contains(where: { $0.pid != nil }), Date() < deadline { turn(milliseconds: 10) }
        for child in children { if let pid = child.pid { ChildProcess.signal(pid, SIGKILL) } }
        while children.contains(where: { $0.pid != nil }) { turn(milliseconds: 2) }
        network.tearDown()
        RunDirectory.remove(options.directory, keepLogs: options.keepLogs)
        say(options.keepLogs ? "down; logs in \(options.directory)/logs" : "down")
        for connection in waitingForDown { ControlSocket.answer(ControlAnswer(), on: connection) }
        waitingForDown = []
    }

    // MARK: - Words

    private func workDirectory(of node: String) -> String { "\(options.directory)/\(node).d" }

    private func elapsed() -> String { "\((Date().timeIntervalSince(begun) * 10).rounded() / 10) s" }

    private func failure(_ text: String, log: String) -> TopologyFailure {
        let data = FileManager.default.contents(atPath: log) ?? Data()
        let lines = String(decoding: data, as: UTF8.self).split(separator: "\n").suffix(8)
        guard !lines.isEmpty else { return TopologyFailure("\(text); its log is empty") }
        return TopologyFailure("\(text); the end of its log:\n    " + lines.joined(separator: "\n    "))
    }

    private func report() -> TopologyReport {
        var networks: [(RunNetwork, IPv4Network)] = [(.wan, plan.wan)]
        networks += plan.clusters.map { (.cluster($0.name), $0.subnet) }
        return TopologyReport(
            name: plan.name, supervisor: getpid(), stateDirectory: options.directory, ready: ready,
            networks: networks.map { key, range in
                TopologyReport.Network(
                    id: key.key, namespace: network.namespace(key.key), subnet: range.description,
                    address: range.host(range.hostCount) ?? "")
            },
            clusters: plan.clusters.map {
                TopologyReport.Cluster(
                    name: $0.name, trustDomain: $0.trustDomain, adminSocket: $0.adminSocket,
                    configuration: $0.configuration, brokerState: $0.brokerState)
            },
            nodes: plan.nodes.map { node in
                TopologyReport.Node(
                    id: node.id, kind: node.kind.rawValue, cluster: node.cluster,
                    namespace: network.namespace(node.key),
                    addresses: Dictionary(uniqueKeysWithValues: node.legs.map { ($0.interface, $0.address) }),
                    stateDirectory: "\(options.directory)/\(node.id)")
            },
            processes: children.map { child in
                TopologyReport.Process(
                    id: child.process.id, node: child.process.node,
                    state: child.pid != nil
                        ? (child.isReady ? "ready" : "starting") : (child.stopped ? "stopped" : "ended"),
                    pid: child.pid, end: child.end?.description, log: child.log, command: child.process.arguments)
            })
    }
}

/// Signals of the supervisor: blocked, and read between two turns.
enum TopologySignals {
    static func block() {
        var set = handled()
        // SAFETY: one sigset, read for the length of the call.
        _ = unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
    }

    /// The next pending one, nil when there is none.
    static func pending() -> Int32? {
        var waiting = sigset_t()
        // SAFETY: the set is written, then read, for the length of each call.
        guard unsafe sigpending(&waiting) == 0 else { return nil }
        var set = handled()
        var isWaiting = false
        for signal: Int32 in 1..<32 where unsafe sigismember(&set, signal) == 1 && sigismember(&waiting, signal) == 1 {
            isWaiting = true
        }
        guard isWaiting else { return nil }
        var signal: Int32 = 0
        // SAFETY: one of the set's signals waits, so that this does not block.
        guard unsafe sigwait(&set, &signal) == 0 else { return nil }
        return signal > 0 ? signal : nil
    }

    private static func handled() -> sigset_t {
        var set = sigset_t()
        _ = unsafe sigemptyset(&set)
        for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] { _ = unsafe sigaddset(&set, signal) }
        return set
    }
}
