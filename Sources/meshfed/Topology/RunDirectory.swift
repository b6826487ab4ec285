import Foundation
import Glibc
import Manifest
import MeshModel

/// The state directory of one running topology.
enum RunDirectory {
    private static let marker = ".meshfed-topology"

    /// Where a topology lives unless `--state-dir` says otherwise: below XDG_RUNTIME_DIR or /tmp, by uid and name.
    static func standard(name: String) -> String {
        let base = ProcessInfo.processInfo.environment["XDG_RUNTIME_DIR"] ?? "/tmp"
        return "\(base)/meshfed-topology-\(getuid())/\(name)"
    }

    /// Makes an empty directory (0700) at `path`. One that a dead run left is emptied; any other content is refused.
    static func claim(_ path: String) throws {
        let files = FileManager.default
        let parent = (path as NSString).deletingLastPathComponent
        if !files.fileExists(atPath: parent) {
            try files.createDirectory(
                atPath: parent, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        }
        var info = stat()
        // SAFETY: lstat writes one stat for the length of the call.
        if unsafe lstat(path, &info) == 0 {
            guard info.st_mode & S_IFMT == S_IFDIR, info.st_uid == geteuid() else {
                throw TopologyFailure("\(path) is not a directory of this user; choose another --state-dir")
            }
            if try ControlSocket.ask(ControlRequest(verb: .status), directory: path, seconds: 5) != nil {
                throw TopologyFailure(
                    "a topology runs in \(path) already; take it down first, or choose another --state-dir")
            }
            let content = try files.contentsOfDirectory(atPath: path)
            guard content.isEmpty || content.contains(marker) else {
                throw TopologyFailure("\(path) holds other files; choose an empty or new --state-dir")
            }
            for entry in content { try files.removeItem(atPath: "\(path)/\(entry)") }
        } else {
            try files.createDirectory(
                atPath: path, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
        }
        try files.setAttributes([.posixPermissions: 0o700], ofItemAtPath: path)
        try Data().write(to: URL(fileURLWithPath: "\(path)/\(marker)"))
    }

    /// Removes the directory, or all of it but the logs.
    static func remove(_ path: String, keepLogs: Bool) {
        let files = FileManager.default
        guard files.fileExists(atPath: "\(path)/\(marker)") else { return }
        guard keepLogs else {
            try? files.removeItem(atPath: path)
            return
        }
        for entry in (try? files.contentsOfDirectory(atPath: path)) ?? []
        where entry != "logs" && entry != marker && entry != "supervisor.log" {
            try? files.removeItem(atPath: "\(path)/\(entry)")
        }
    }

    static func absolute(_ path: String) -> String {
        let full = path.hasPrefix("/") ? path : FileManager.default.currentDirectoryPath + "/" + path
        return (full as NSString).standardizingPath
    }
}
