import Foundation
import Manifest

extension TopologyCommand {
    /// The longest topology file: a slip of the finger should not be read into memory whole.
    private static let maximumLength = 4 << 20

    /// Reads a topology file; a `caFile` in it is taken relative to its folder.
    static func load(_ file: String) throws -> Topology {
        let folder = (RunDirectory.absolute(file) as NSString).deletingLastPathComponent
        guard let data = FileManager.default.contents(atPath: file), data.count <= maximumLength else {
            throw TopologyFailure("\(file): cannot be read, or is larger than 4 MiB; check the path", kind: .badFile)
        }
        guard let text = String(validating: data, as: UTF8.self) else {
            throw TopologyFailure("\(file): is no UTF-8 text; give a YAML or JSON file", kind: .badFile)
        }
        do {
            return try ManifestReader.topology(in: text, file: file) { path in
                FileManager.default.contents(atPath: path.hasPrefix("/") ? path : "\(folder)/\(path)").map(Array.init)
            }
        } catch {
            throw TopologyFailure("\(error)", kind: .badFile)
        }
    }
}
