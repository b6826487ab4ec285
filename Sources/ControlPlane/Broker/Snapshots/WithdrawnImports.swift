internal import Compiler
internal import MeshModel

/// Imported services whose owner stopped to offer them, for `check`: to whoever calls them that looks like a failure, and nothing
/// else in the snapshot says it any more. Not stored: a broker that was started anew takes what it finds as meant.
struct WithdrawnImports {
    struct Key: Hashable {
        let cluster: ClusterID
        let service: ObjectName
    }

    /// After this long it was meant, in seconds.
    private static let memory: Int64 = 86_400
    /// A member that withdraws more at once left most of itself.
    private static let maximumCount = 1_024

    private var times: [Key: WallTime] = [:]

    /// Compares two compilations that follow one another.
    mutating func note(from old: Compilation, to new: Compilation, at wall: WallTime) {
        let members = Set(new.snapshot.members.map(\.cluster))
        let offered = Self.imported(new).union(
            new.available.map { Key(cluster: $0.cluster, service: $0.service) })
        for key in Self.imported(old).subtracting(offered).sorted(by: {
            ($0.cluster, $0.service) < ($1.cluster, $1.service)
        })
        where times.count < Self.maximumCount && times[key] == nil { times[key] = wall }
        times = times.filter { key, since in
            members.contains(key.cluster) && !offered.contains(key) && wall.seconds - since.seconds < Self.memory
        }
    }

    /// Those that `rules` still ask for, in order, with the time when they went.
    func missing(_ rules: [ImportObject.Rule]) -> [(key: Key, since: WallTime)] {
        times.filter { entry in
            rules.contains { rule in
                rule.namespace == entry.key.service.namespace
                    && (rule.service == nil || rule.service == entry.key.service.name)
                    && (rule.cluster == nil || rule.cluster == entry.key.cluster)
            }
        }.map { (key: $0.key, since: $0.value) }.sorted {
            ($0.key.service, $0.key.cluster) < ($1.key.service, $1.key.cluster)
        }
    }

    private static func imported(_ compilation: Compilation) -> Set<Key> {
        var found: Set<Key> = []
        for service in compilation.snapshot.services {
            for remote in service.remotes { found.insert(Key(cluster: remote.cluster, service: service.name)) }
        }
        return found
    }
}
