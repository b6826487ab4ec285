import Foundation
import Glibc
import Manifest

/// The network namespaces of one topology: a bridge namespace per network, one namespace per node, veth between them.
///
/// Nothing is made in the caller's own namespace, so two topologies never meet and pod networks may overlap.
/// Names are `mf-<pid of the supervisor>-<topology>-<what>`; by the pid a later run finds what a crash left behind.
struct NamespaceNetwork {
    static let directory = "/run/netns"
    private static let prefix = "mf-"

    let prefix: String

    init(topology: String, supervisor: pid_t) {
        prefix = "\(Self.prefix)\(supervisor)-\(topology)-"
    }

    func namespace(_ key: String) -> String { prefix + key }

    /// Checks that namespaces can be made here; inside a user namespace puts a private tmpfs under `/run` for their names.
    static func prepare() throws {
        let advice = "run as root, or as `unshare -Urnm meshfed topology up FILE`"
        guard geteuid() == 0 else {
            throw TopologyFailure("a topology needs network namespaces: \(advice)")
        }
        if !FileManager.default.isWritableFile(atPath: "/run") {
            guard mount("tmpfs", at: "/run", type: "tmpfs") else {
                throw TopologyFailure("cannot write \(directory) and cannot mount a tmpfs on /run: \(advice)")
            }
        }
        let probe = "\(prefix)\(getpid())-probe"
        let result = try Command.run(["ip", "netns", "add", probe])
        guard result.succeeded else {
            throw TopologyFailure("cannot make a network namespace (\(result.lastLine)): \(advice)")
        }
        _ = try? Command.run(["ip", "netns", "del", probe])
    }

    /// Ends the processes of supervisors that are gone and removes their namespaces; the number removed.
    static func removeStale() throws -> Int {
        var removed = 0
        for name in names() {
            guard name.hasPrefix(prefix), let owner = pid_t(name.dropFirst(prefix.count).prefix { $0 != "-" }),
                owner != getpid(), !isSupervisor(owner)
            else { continue }
            try remove(name)
            removed += 1
        }
        return removed
    }

    /// Makes every namespace, bridge and veth of `plan`, with addresses and routes.
    func build(_ plan: RunPlan) throws {
        var networks: [(RunNetwork, IPv4Network)] = [(.wan, plan.wan)]
        networks += plan.clusters.map { (.cluster($0.name), $0.subnet) }
        try batch(
            networks.map { "netns add \(namespace($0.0.key))" } + plan.nodes.map { "netns add \(namespace($0.key))" },
            in: nil)
        for (network, range) in networks {
            var lines = ["link set lo up", "link add br0 type bridge forward_delay 0", "link set br0 up"]
            if let address = range.host(range.hostCount) {
                lines.append("address add \(address)/\(range.prefixLength) dev br0")
            }
            var port = 0
            for node in plan.nodes {
                for leg in node.legs where leg.network == network {
                    port += 1
                    lines.append(
                        "link add p\(port) type veth peer name \(leg.interface) netns \(namespace(node.key))")
                    lines.append("link set p\(port) master br0 up")
                }
            }
            try batch(lines, in: namespace(network.key))
        }
        for node in plan.nodes {
            var lines = ["link set lo up"]
            for leg in node.legs {
                lines.append("address add \(leg.address)/\(leg.prefixLength) dev \(leg.interface)")
                lines.append("link set \(leg.interface) up")
            }
            lines += node.routes.map { "route add \($0.destination)/32 via \($0.nextHop)" }
            if let capture = node.capture {
                lines.append("route add default via \(capture.nextHop)")
                lines.append("address add \(capture.address6) dev eth0 nodad")
                lines.append("route add ::/0 dev eth0")
            }
            try batch(lines, in: namespace(node.key))
        }
    }

    /// Removes every namespace of this topology and ends what still runs in one.
    func tearDown() {
        for name in Self.names() where name.hasPrefix(prefix) { try? Self.remove(name) }
    }

    private func batch(_ lines: [String], in namespace: String?) throws {
        let input = try MemoryFile()
        try (lines.joined(separator: "\n") + "\n").write(toFile: input.path, atomically: false, encoding: .utf8)
        var command = ["ip"]
        if let namespace { command += ["-n", namespace] }
        let result = try Command.run(command + ["-batch", input.path])
        guard result.succeeded else {
            throw TopologyFailure("cannot build network \(namespace ?? "names"): \(result.lastLine)")
        }
    }

    private static func names() -> [String] {
        (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
    }

    private static func remove(_ name: String) throws {
        let pids = try Command.run(["ip", "netns", "pids", name]).output.split(separator: "\n").compactMap {
            pid_t($0)
        }
        for pid in pids where pid != getpid() { _ = kill(pid, SIGKILL) }
        _ = try Command.run(["ip", "netns", "del", name])
    }

    private static func isSupervisor(_ pid: pid_t) -> Bool {
        guard let data = FileManager.default.contents(atPath: "/proc/\(pid)/cmdline") else { return false }
        return data.split(separator: 0).contains { $0.elementsEqual("topology".utf8) }
    }

    private static func mount(_ source: String, at target: String, type: String) -> Bool {
        // SAFETY: the three strings live for the length of the call; no data argument.
        guard unsafe Glibc.mount(source, target, type, 0, nil) == 0 else { return false }
        return (try? FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)) != nil
    }
}

/// A short command whose end is waited for.
enum Command {
    struct Result {
        let end: ChildEnd
        let output: String

        var succeeded: Bool { end == .exited(0) }
        var lastLine: String { output.split(separator: "\n").last.map(String.init) ?? "\(end)" }
    }

    /// Runs `arguments` to its end (at most `seconds`), with both outputs in one text.
    static func run(_ arguments: [String], namespace: String? = nil, seconds: Double = 20) throws -> Result {
        let log = try MemoryFile()
        let pid = try ChildProcess.start(
            arguments, namespace: namespace, environment: [:], directory: "/", log: log.path)
        let deadline = Date().addingTimeInterval(seconds)
        while true {
            if let end = ChildProcess.end(of: pid) {
                let data = FileManager.default.contents(atPath: log.path) ?? Data()
                return Result(end: end, output: String(decoding: data, as: UTF8.self))
            }
            guard Date() < deadline else {
                ChildProcess.signal(pid, SIGKILL)
                while ChildProcess.end(of: pid) == nil { usleep(1_000) }
                throw TopologyFailure("\(arguments.joined(separator: " ")) took longer than \(Int(seconds)) s")
            }
            usleep(1_000)
        }
    }
}

/// A file without a name that children open by its path under /proc.
final class MemoryFile {
    private let descriptor: Int32
    var path: String { "/proc/\(getpid())/fd/\(descriptor)" }

    init() throws {
        var name = Array("/tmp/meshfed-XXXXXX".utf8CString)
        // SAFETY: mkstemp rewrites the six last bytes of the array that it is lent; unlink reads it.
        descriptor = unsafe mkstemp(&name)
        guard descriptor >= 0 else { throw TopologyFailure("cannot make a file in /tmp") }
        _ = unsafe unlink(name)
    }

    deinit { close(descriptor) }
}
