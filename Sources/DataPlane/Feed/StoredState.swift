internal import ControlCoding
package import Identity
package import MeshModel

/// What a state directory holds for a process that takes over: enough to serve before the broker is heard.
package struct StoredState {
    package let svid: SVID
    package let snapshot: Snapshot

    /// Reads without changing anything. Throws `state` for files that cannot be used, and where one is missing.
    package init(reading directory: ProxyStateDirectory) throws(FeedError) {
        guard let svid = try IdentityFiles(directory).stored() else {
            throw FeedError(.state, "\(directory.path) holds no SVID yet", "wait until the running process is ready")
        }
        guard let bytes = try directory.read("snapshot.bin", limit: CodingLimits.snapshotFileBytes) else {
            throw FeedError(
                .state, "\(directory.path) holds no snapshot yet", "wait until the running process is ready")
        }
        self.svid = svid
        do throws(CodingError) { snapshot = try SnapshotFile.decode(bytes, sha256: SHA256.hash) } catch {
            throw FeedError(.state, "\(directory.path)/snapshot.bin is not used: \(error)")
        }
    }
}
