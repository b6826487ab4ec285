import ArgumentParser
import Compiler
import ControlCoding
import ControlProtocol
import Identity
import MeshModel

/// `meshfed snapshot …`.
struct SnapshotCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snapshot", abstract: "Make snapshots without a broker, and look into them.",
        discussion: "EXAMPLE\n  meshfed snapshot build -f objects.yaml --cluster east -o east.snapshot",
        subcommands: [Build.self, Show.self])

    struct Build: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Compile objects into a snapshot that gateways and sidecars run from, without a broker.",
            discussion: """
                The kinds Gateway and Member stand for what a broker would learn by enrolment and joining.

                EXAMPLE
                  meshfed snapshot build -f objects.yaml --cluster east -o east.snapshot
                """)

        @Option(
            name: [.customShort("f"), .customLong("file")], parsing: .singleValue,
            help: "A file or directory of objects, or - for standard input; may be repeated.")
        var files: [String]
        @Option(help: "The cluster that the snapshot is for.") var cluster: String
        @Option(name: [.customShort("o"), .customLong("output")], help: "The file to write (mode 0600).")
        var output: String
        @Option(help: "Revision in the snapshot.") var revision: UInt64 = 1

        func validate() throws {
            if files.isEmpty { throw ValidationError("no objects: give -f FILE") }
            if ClusterID(cluster) == nil {
                throw ValidationError("--cluster '\(cluster)' is no name (1 to 63 of a-z, 0-9 and -)")
            }
        }

        func run() throws {
            guard let name = ClusterID(cluster) else { return }
            let objects = try ObjectFiles.objects(files)
            let compilation: Compilation
            do throws(CompileError) {
                compilation = try StandaloneCompiler.compile(objects, cluster: name, revision: revision)
            } catch {
                throw CommandFailure(error.description, kind: .badFile)
            }
            let bytes: [UInt8]
            do throws(CodingError) {
                bytes = try SnapshotFile.encode(compilation.snapshot, sha256: SHA256.hash)
            } catch {
                throw CommandFailure("\(files.joined(separator: ", ")): \(error); make fewer objects", kind: .badFile)
            }
            try Files.writePrivate(bytes, to: output)
            for warning in compilation.warnings { Terminal.note("meshfed: warning: \(warning)") }
            let snapshot = compilation.snapshot
            Terminal.note(
                "\(output): \(snapshot.services.count) services, "
                    + "\(snapshot.services.reduce(0) { $0 + $1.endpoints.count }) endpoints, "
                    + "\(snapshot.gateways.count) gateways, \(snapshot.members.count) members")
        }
    }

    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print a snapshot: of a file, or the one that the broker serves now.",
            discussion: "EXAMPLE\n  meshfed snapshot show east.snapshot -o yaml")

        @Argument(help: "A snapshot file; left out: the broker's.") var file: String?
        @OptionGroup var broker: BrokerOption
        @OptionGroup var output: OutputOption

        func run() throws {
            let report = SnapshotReport(try snapshot())
            output.print(report.value) { report.text(wide: $0) }
        }

        private func snapshot() throws -> Snapshot {
            do {
                if let file {
                    let bytes = try Files.read(file, limit: CodingLimits.snapshotFileBytes)
                    return try SnapshotFile.decode(bytes, sha256: SHA256.hash)
                }
                let answer: AdminShowSnapshotResponse = try AdminClient(broker).call(
                    "ShowSnapshot", AdminShowSnapshotRequest())
                return try SnapshotCoding.model(answer.snapshot)
            } catch let error as CodingError {
                throw CommandFailure("\(file ?? "the broker's snapshot"): \(error); build it anew", kind: .badFile)
            }
        }
    }
}
