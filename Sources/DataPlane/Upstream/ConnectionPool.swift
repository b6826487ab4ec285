package import Containers

/// Which connections may carry an exchange of a key. It holds names only; the connections stand in the worker's slab.
package struct ConnectionPool: ~Copyable {
    private var places: [PoolKey: Int] = [:]
    /// Connections by place, oldest first; a place whose last connection went stays for its key.
    private var members: [[Handle]] = []
    private var keys: [PoolKey] = []
    private var free: [Int] = []
    /// The key asked for last: most requests in a row go the same way.
    private var recent = -1

    package init() {}

    package mutating func add(_ connection: Handle, to key: PoolKey) {
        if let place = place(of: key) {
            members[place].append(connection)
        } else if let place = free.popLast() {
            keys[place] = key
            members[place].append(connection)
            places[key] = place
        } else {
            places[key] = members.count
            keys.append(key)
            members.append([connection])
        }
    }

    package mutating func remove(_ connection: Handle, from key: PoolKey) {
        guard let place = place(of: key) else { return }
        members[place].removeAll { $0 == connection }
        guard members[place].isEmpty else { return }
        places[key] = nil
        free.append(place)
        recent = -1
    }

    package mutating func count(_ key: PoolKey) -> Int { place(of: key).map { members[$0].count } ?? 0 }

    /// Where the connections of a key stand until the next `add` or `remove`; nil when there are none.
    package mutating func place(of key: PoolKey) -> Int? {
        if recent >= 0, keys[recent] == key { return recent }
        guard let found = places[key] else { return nil }
        recent = found
        return found
    }

    /// The number of connections at a place.
    package func count(at place: Int) -> Int { members[place].count }

    /// The connections at a place, oldest first.
    package func connection(_ index: Int, at place: Int) -> Handle { members[place][index] }
}
