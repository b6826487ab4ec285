internal import Authority
internal import Identity
internal import MeshModel
internal import Reactor
internal import Settings
internal import Store
internal import StoreSQLite

/// What a broker keeps on its disk: the state directory (0700, locked), the database and the authority's keys, which must
/// belong together.
final class BrokerState {
    private struct Held: ~Copyable {
        let lock: FileLock
    }

    let directory: StateDirectory
    let store: SQLiteStore
    let authority: Authority
    private let held: Held

    /// Opens what is there, or founds a new cluster in an empty directory.
    init(_ settings: BrokerSettings, wall: WallTime) throws(BrokerFailure) {
        do {
            directory = try StateDirectory(path: settings.stateDirectory)
            held = Held(lock: try Self.lock(directory.path))
            let isNew = try directory.isNew()
            store = try SQLiteStore(path: directory.databasePath, create: isNew)
            authority = try Authority.open(
                vault: directory, store: store, cluster: settings.cluster, trustDomain: settings.trustDomain, now: wall,
                svidLifetime: settings.svidLifetime)
        } catch let failure as BrokerFailure {
            throw failure
        } catch {
            throw .state("\(error)")
        }
    }

    private static func lock(_ path: String) throws(BrokerFailure) -> FileLock {
        do throws(SocketError) {
            return try FileLock.acquire(path: path + "/lock")
        } catch {
            throw .state("\(path): another process uses this state directory (\(error.text)); stop it first")
        }
    }
}
