import Foundation

/// The files of the project as git sees them: those committed and those that could be. Paths are relative to the root.
enum Tree {
    /// The folder of Package.swift, found from this file; links are followed.
    static let root = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()

    static let files: [String] = listed() ?? walked()

    static func text(_ path: String) throws -> String {
        String(decoding: try Data(contentsOf: root.appendingPathComponent(path)), as: UTF8.self)
    }

    /// Every Swift file below Sources and Tests, taken apart once for all tests.
    static let sources: [String: SwiftText] = {
        var found: [String: SwiftText] = [:]
        for path in files where path.hasSuffix(".swift") && (path.hasPrefix("Sources/") || path.hasPrefix("Tests/")) {
            guard let text = try? text(path) else { continue }
            found[path] = isGenerated(path) ? SwiftText(generated: text) : SwiftText(text)
        }
        return found
    }()

    static func source(_ path: String) throws -> SwiftText {
        if let source = sources[path] { return source }
        return SwiftText(try text(path))
    }

    /// Swift files written by hand below `folder`.
    static func swift(below folder: String) -> [String] {
        files.filter { $0.hasPrefix(folder + "/") && $0.hasSuffix(".swift") && !isGenerated($0) }
    }

    static func isGenerated(_ path: String) -> Bool {
        path.hasSuffix(".pb.swift") || path.hasSuffix(".generated.swift")
    }

    /// Nil where git is not there or will not speak.
    private static func listed() -> [String]? {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        process.currentDirectoryURL = root
        let output = Pipe()
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        guard (try? process.run()) != nil else { return nil }
        let data = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        guard process.terminationStatus == 0, !data.isEmpty else { return nil }
        let paths = data.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
        // A file that was deleted but not yet committed is still listed.
        return Set(paths).filter { FileManager.default.fileExists(atPath: root.appendingPathComponent($0).path) }
            .sorted()
    }

    /// Nil for what is no folder.
    private static func names(_ folder: String) -> [String]? {
        try? FileManager.default.contentsOfDirectory(atPath: root.appendingPathComponent(folder).path)
    }

    private static func walked() -> [String] {
        let skipped: Set<String> = ["out", "__pycache__"]
        var paths: [String] = []
        func walk(_ folder: String) {
            guard let names = names(folder) else { return paths.append(folder) }
            for name in names where !skipped.contains(name) && !name.hasPrefix(".git") && !name.hasPrefix(".build") {
                walk(folder.isEmpty ? name : "\(folder)/\(name)")
            }
        }
        walk("")
        return paths.sorted()
    }
}
