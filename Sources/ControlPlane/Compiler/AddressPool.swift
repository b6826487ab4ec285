package import MeshModel

/// Gives each mesh name of the cluster its number in the virtual ranges, for as long as the name exists and 24 hours more.
///
/// What it holds is what the broker stores: sidecars, resolvers' caches and apps' connections outlive a broker.
package struct AddressPool: Sendable {
    /// A cached answer, an app's connection pool, a snapshot on a disk: all older than this are nobody's business.
    package static let quarantine: Int64 = 86_400

    /// A name's number, and since when the name is gone (nil: it is there).
    package struct Entry: Hashable, Sendable {
        package var number: UInt32
        package var goneSince: WallTime?

        package init(number: UInt32, goneSince: WallTime? = nil) {
            self.number = number
            self.goneSince = goneSince
        }
    }

    /// What has to be written before anybody sees the addresses; nil: the row goes.
    package struct Change: Hashable, Sendable {
        package let name: MeshName
        package let entry: Entry?
    }

    private var held: [MeshName: Entry]
    private var next: UInt32
    private var changes: [MeshName: Entry?] = [:]
    /// Names of the last assignment that got nothing.
    package private(set) var unserved: [MeshName] = []

    package init(held: [MeshName: Entry] = [:]) {
        self.held = held
        next = (held.values.map(\.number).max() ?? 0) + 1
    }

    /// Puts addresses into every service of `snapshot`. Names that are new get theirs in sorted order.
    package mutating func assign(_ snapshot: inout Snapshot, now: WallTime) {
        var wanted: Set<MeshName> = []
        let names = snapshot.services.map { $0.meshNames(in: snapshot.cluster) }
        for list in names { wanted.formUnion(list) }
        for (name, entry) in held where entry.goneSince == nil && !wanted.contains(name) {
            set(name, Entry(number: entry.number, goneSince: now))
        }
        unserved = []
        for name in wanted.sorted() { take(name, now) }
        for index in snapshot.services.indices {
            snapshot.services[index].virtualAddresses = names[index].compactMap { name in
                guard let entry = held[name], entry.goneSince == nil else { return nil }
                return VirtualAddress(name: name, number: entry.number)
            }
        }
    }

    /// Hands out what changed and forgets it.
    package mutating func takeChanges() -> [Change] {
        defer { changes = [:] }
        return changes.sorted { $0.key < $1.key }.map { Change(name: $0.key, entry: $0.value) }
    }

    private mutating func take(_ name: MeshName, _ now: WallTime) {
        if let entry = held[name] {
            if entry.goneSince != nil { set(name, Entry(number: entry.number)) }
            return
        }
        if VirtualAddress.numbers.contains(next) {
            set(name, Entry(number: next))
            next += 1
            return
        }
        // The one that is gone for longest; an even clock would give the lowest number first.
        let free = held.filter { entry in
            guard let since = entry.value.goneSince else { return false }
            return since.seconds <= now.seconds - Self.quarantine
        }.min {
            ($0.value.goneSince?.seconds ?? 0, $0.value.number) < ($1.value.goneSince?.seconds ?? 0, $1.value.number)
        }
        guard let free else {
            unserved.append(name)
            return
        }
        held[free.key] = nil
        changes[free.key] = .some(nil)
        set(name, Entry(number: free.value.number))
    }

    private mutating func set(_ name: MeshName, _ entry: Entry) {
        held[name] = entry
        changes[name] = .some(entry)
    }
}
