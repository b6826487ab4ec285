import Foundation
import Manifest
import MeshModel

/// The manifests that `-f` names: files, directories, `-` for standard input.
enum ObjectFiles {
    /// The longest text on standard input; what a directory may hold in all.
    private static let maximumLength = ConfigDirectory.maximumBytes

    /// All objects in the order of the paths, or a failure (65) with a line for each problem.
    static func objects(_ paths: [String]) throws(CommandFailure) -> [MeshObject] {
        var objects: [MeshObject] = []
        for path in paths {
            do throws(ManifestError) { objects += try read(path) } catch {
                throw CommandFailure(error.description, kind: .badFile)
            }
        }
        return objects
    }

    private static func read(_ path: String) throws(ManifestError) -> [MeshObject] {
        if path == "-" {
            let bytes: [UInt8]
            do throws(CommandFailure) { bytes = try Files.standardInput(limit: maximumLength) } catch {
                throw refused("standard input", "cannot be read")
            }
            guard let text = String(validating: bytes, as: UTF8.self) else {
                throw refused("standard input", "is no UTF-8 text")
            }
            return try ManifestReader.objects(
                in: text, file: "standard input", attachment: ConfigDirectory.attachment(beside: "./-"))
        }
        var isDirectory: ObjCBool = false
        // SAFETY: the flag is written during the call only.
        let exists = unsafe FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory)
        guard exists, isDirectory.boolValue else { return try ConfigDirectory.objects(inFile: path) }
        return try ConfigDirectory.objects(in: path)
    }

    private static func refused(_ file: String, _ what: String) -> ManifestError {
        ManifestError(problems: [
            ObjectProblem(
                location: SourceLocation(file: file, line: 1), subject: "", path: "", what: what,
                advice: "give YAML or JSON")
        ])
    }
}
