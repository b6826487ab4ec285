import Foundation

/// What `topology status -o json` says: enough for a test to enter a namespace, read a log or find a socket.
struct TopologyReport: Codable {
    struct Network: Codable {
        let id: String
        let namespace: String
        let subnet: String
        /// The bridge's own address: a place outside every pod to call from.
        let address: String
    }

    struct Cluster: Codable {
        let name: String
        let trustDomain: String
        let adminSocket: String
        let configuration: String
        let brokerState: String
    }

    struct Node: Codable {
        let id: String
        let kind: String
        let cluster: String
        let namespace: String
        /// Interface → address.
        let addresses: [String: String]
        let stateDirectory: String
    }

    struct Process: Codable {
        let id: String
        let node: String
        /// `starting`, `ready`, `stopped` (asked for) or `ended` (by itself).
        let state: String
        /// Absent unless it runs.
        let pid: Int32?
        /// How it ended last.
        let end: String?
        let log: String
        let command: [String]
    }

    let name: String
    let supervisor: Int32
    let stateDirectory: String
    let ready: Bool
    let networks: [Network]
    let clusters: [Cluster]
    let nodes: [Node]
    let processes: [Process]

    func encoded() throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return try encoder.encode(self)
    }

    /// A table for people.
    var table: String {
        var rows = [["PROCESS", "STATE", "PID", "ADDRESS", "NAMESPACE"]]
        for process in processes {
            let node = nodes.first { $0.id == process.node }
            rows.append([
                process.id, process.state + (process.end.map { " (\($0))" } ?? ""),
                process.pid.map(String.init) ?? "-", node?.addresses["eth0"] ?? "-", node?.namespace ?? "-",
            ])
        }
        let widths = (0..<5).map { column in rows.map { $0[column].count }.max() ?? 0 }
        let lines = rows.map { row in
            zip(row, widths).map { $0.padding(toLength: $1, withPad: " ", startingAt: 0) }.joined(separator: "  ")
        }
        return lines.joined(separator: "\n") + "\nstate: \(stateDirectory)"
    }
}

/// One request to a supervisor, a JSON line; the answer is one JSON line.
struct ControlRequest: Codable {
    enum Verb: String, Codable {
        case status, down, start, stop
    }

    let verb: Verb
    /// Processes that `start` and `stop` mean; a node's id means all of its processes.
    var processes: [String] = []
    /// Signal of `stop`; 15 unless given.
    var signal: Int32?
}

struct ControlAnswer: Codable {
    /// Nil when all went well.
    var error: String?
    var report: TopologyReport?
}
