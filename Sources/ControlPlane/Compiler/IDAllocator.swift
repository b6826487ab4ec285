package import MeshModel

/// What has a stable number in snapshots.
package enum IDKey: Hashable, Comparable, Sendable, CustomStringConvertible {
    case service(ObjectName)
    /// A workload as an endpoint of one service.
    case endpoint(service: ObjectName, workload: Label)

    /// `service/<namespace>/<name>` or `endpoint/<namespace>/<service>/<workload>`: the key in a store.
    package var description: String {
        switch self {
        case .service(let name): "service/\(name)"
        case .endpoint(let service, let workload): "endpoint/\(service)/\(workload)"
        }
    }

    /// Reads what `description` wrote; nil for anything else.
    package init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard parts.count >= 3, let namespace = Label(parts[1]), let name = Label(parts[2]) else { return nil }
        let service = ObjectName(namespace: namespace, name: name)
        switch (parts[0], parts.count) {
        case ("service", 3): self = .service(service)
        case ("endpoint", 4):
            guard let workload = Label(parts[3]) else { return nil }
            self = .endpoint(service: service, workload: workload)
        default: return nil
        }
    }

    package static func < (left: IDKey, right: IDKey) -> Bool { left.description < right.description }
}

/// Gives each key one number for ever: pools, ejection and limit cells of the proxies are keyed by them, so a number
/// must not move to another name, not even over a restart of the broker.
package protocol IDAllocator {
    /// The number of `key`, a new one when it has none yet. Never 0. Services and endpoints count apart.
    mutating func identifier(for key: IDKey) -> UInt32
}

/// Numbers in memory. A broker fills it from its store, compiles, and writes `added` back with the snapshot's revision.
package struct IDTable: IDAllocator, Sendable {
    private var known: [IDKey: UInt32]
    private var nextService: UInt32 = 1
    private var nextEndpoint: UInt32 = 1
    /// The keys that got a number since the table was made or `takeAdded` was called, in the order they got it.
    package private(set) var added: [(key: IDKey, identifier: UInt32)] = []

    package init(known: [IDKey: UInt32] = [:]) {
        self.known = known
        for (key, identifier) in known {
            switch key {
            case .service: nextService = max(nextService, identifier &+ 1)
            case .endpoint: nextEndpoint = max(nextEndpoint, identifier &+ 1)
            }
        }
    }

    package mutating func identifier(for key: IDKey) -> UInt32 {
        if let identifier = known[key] { return identifier }
        let identifier: UInt32
        switch key {
        case .service:
            identifier = nextService
            nextService += 1
        case .endpoint:
            identifier = nextEndpoint
            nextEndpoint += 1
        }
        known[key] = identifier
        added.append((key, identifier))
        return identifier
    }

    /// Hands out `added` and empties it.
    package mutating func takeAdded() -> [(key: IDKey, identifier: UInt32)] {
        defer { added = [] }
        return added
    }
}
