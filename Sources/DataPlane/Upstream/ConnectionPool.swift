package import Containers

/// Which connections may carry an exchange of a key. It holds names only; the connections stand in the worker's slab.
package struct ConnectionPool: ~Copyable {
    private var members: [PoolKey: [Handle]] = [:]

    package init() {}

    package mutating func add(_ connection: Handle, to key: PoolKey) { members[key, default: []].append(connection) }

    package mutating func remove(_ connection: Handle, from key: PoolKey) {
        guard let place = members.index(forKey: key) else { return }
        members.values[place].removeAll { $0 == connection }
        if members.values[place].isEmpty { members.remove(at: place) }
    }

    package func count(_ key: PoolKey) -> Int { members[key]?.count ?? 0 }

    /// The connections of a key, oldest first.
    package func connections(_ key: PoolKey) -> [Handle] { members[key] ?? [] }
}
