import Foundation
import Manifest
import MeshModel

/// The problems of `text`, as one string for each; empty when it is read.
func problems(in text: String) -> [String] {
    do throws(ManifestError) {
        _ = try ManifestReader.objects(in: text, file: "f.yaml")
        return []
    } catch {
        return error.problems.map(\.description)
    }
}

func topologyProblems(in text: String) -> [String] {
    do throws(ManifestError) {
        _ = try ManifestReader.topology(in: text, file: "t.yaml")
        return []
    } catch {
        return error.problems.map(\.description)
    }
}

/// The `topology` folder of the package, found from this file.
var topologyFolder: String {
    URL(fileURLWithPath: #filePath).resolvingSymlinksInPath().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("topology").path
}

/// A folder for one test, gone with it.
final class TemporaryFolder {
    let path: String

    init() throws {
        path = NSTemporaryDirectory() + "meshfed-manifest-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func write(_ name: String, _ text: String) throws {
        try Data(text.utf8).write(to: URL(fileURLWithPath: "\(path)/\(name)"))
    }
}
