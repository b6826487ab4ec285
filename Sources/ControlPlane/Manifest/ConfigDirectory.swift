internal import Foundation
package import MeshModel

/// A directory of manifests: every `*.yaml`, `*.yml` and `*.json` in it, sorted by name, without its subdirectories.
///
/// Hidden files are passed over (a mounted ConfigMap has `..data` beside its files).
package enum ConfigDirectory {
    /// A directory with more is taken for a mistake.
    package static let maximumFiles = 1_000
    /// Of all files together: what a broker parses at every change.
    package static let maximumBytes = 16 * 1_048_576
    /// Of one PEM file that an object names.
    private static let maximumAttachment = 262_144

    /// Reads all files; either every object or every problem.
    ///
    /// - Throws: `ManifestError`, also when the directory or a file cannot be read.
    package static func objects(in directory: String) throws(ManifestError) -> [MeshObject] {
        let names = try fileNames(in: directory)
        let list = ProblemList()
        var objects: [MeshObject] = []
        var total = 0
        for name in names {
            let path = directory.hasSuffix("/") ? directory + name : "\(directory)/\(name)"
            do throws(ManifestError) {
                let text = try text(ofFile: path, limit: maximumBytes - total)
                total += text.utf8.count
                objects += try ManifestReader.objects(in: text, file: path, attachment: attachment(beside: path))
            } catch {
                error.problems.forEach(list.add)
            }
        }
        guard list.isEmpty else { throw list.error }
        return objects
    }

    /// Reads the objects of one file, `-` not included.
    package static func objects(inFile path: String) throws(ManifestError) -> [MeshObject] {
        let text = try text(ofFile: path, limit: maximumBytes)
        return try ManifestReader.objects(in: text, file: path, attachment: attachment(beside: path))
    }

    /// Reads one topology file.
    package static func topology(inFile path: String) throws(ManifestError) -> Topology {
        let text = try text(ofFile: path, limit: maximumBytes)
        return try ManifestReader.topology(in: text, file: path, attachment: attachment(beside: path))
    }

    /// The manifests of the directory, sorted by bytes.
    package static func fileNames(in directory: String) throws(ManifestError) -> [String] {
        let all: [String]
        do {
            all = try FileManager.default.contentsOfDirectory(atPath: directory)
        } catch {
            throw refused(
                directory, "cannot be read: \(reason(error))", "check that the directory exists and its rights")
        }
        let names = all.filter { name in
            !name.hasPrefix(".") && [".yaml", ".yml", ".json"].contains { name.hasSuffix($0) }
        }
        guard names.count <= maximumFiles else {
            throw refused(directory, "holds \(names.count) manifests", "at most \(maximumFiles)")
        }
        return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    /// Reads a PEM file that a manifest names, relative to the manifest; nil where it cannot be read.
    package static func attachment(beside manifest: String) -> (String) -> [UInt8]? {
        let folder = (manifest as NSString).deletingLastPathComponent
        return { name in
            let path = name.hasPrefix("/") || folder.isEmpty ? name : "\(folder)/\(name)"
            return bytes(ofFile: path, limit: maximumAttachment).flatMap { $0.count <= maximumAttachment ? $0 : nil }
        }
    }

    private static func text(ofFile path: String, limit: Int) throws(ManifestError) -> String {
        guard let bytes = bytes(ofFile: path, limit: limit) else {
            throw refused(path, "cannot be read", "check that the file exists, is a regular file, and its rights")
        }
        guard bytes.count <= limit else {
            throw refused(path, "is too large, or too large beside the others", "at most \(maximumBytes) bytes in all")
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw refused(path, "is no UTF-8 text", "save it as UTF-8")
        }
        return text
    }

    /// At most one byte more than `limit`, so that a larger file is noticed and never read whole.
    private static func bytes(ofFile path: String, limit: Int) -> [UInt8]? {
        let target = URL(fileURLWithPath: path).resolvingSymlinksInPath().path
        guard let type = try? FileManager.default.attributesOfItem(atPath: target)[.type] as? FileAttributeType,
            type != .typeDirectory, let handle = FileHandle(forReadingAtPath: target)
        else { return nil }
        defer { try? handle.close() }
        guard let data = try? handle.read(upToCount: max(0, limit) + 1) else {
            return limit >= 0 ? [] : nil
        }
        return Array(data)
    }

    private static func reason(_ error: any Error) -> String {
        let underlying = (error as NSError).userInfo[NSUnderlyingErrorKey] as? NSError
        return (underlying ?? (error as NSError)).localizedDescription
    }

    private static func refused(_ path: String, _ what: String, _ advice: String) -> ManifestError {
        ManifestError(problems: [
            ObjectProblem(
                location: SourceLocation(file: path, line: 1), subject: "", path: "", what: what, advice: advice)
        ])
    }
}
