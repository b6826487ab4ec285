import ArgumentParser
import ControlProtocol
import Manifest
import MeshModel

/// `meshfed apply`.
struct ApplyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "apply", abstract: "Give objects to the broker: all of them, or none.",
        discussion: """
            Objects that the broker reads from its own directory (--config) belong to that: change them there.

            EXAMPLES
              meshfed apply -f objects.yaml --dry-run
              meshfed apply -f objects/ -f more.yaml
              cat objects.yaml | meshfed apply -f -
            """)

    @Option(
        name: [.customShort("f"), .customLong("filename")], parsing: .singleValue,
        help: "A file or directory of objects (YAML or JSON), or - for standard input; may be repeated.")
    var files: [String]
    @Flag(help: "Check only; nothing is changed.") var dryRun = false
    @OptionGroup var broker: BrokerOption
    @OptionGroup var output: OutputOption

    func validate() throws {
        if files.isEmpty { throw ValidationError("no objects: give -f FILE") }
    }

    func run() throws {
        let objects = try ObjectFiles.objects(files)
        try refuseTwins(objects)
        var request = AdminApplyRequest()
        request.objects = objects.map(ManifestWriter.json)
        request.dryRun = dryRun
        let client = try AdminClient(broker)
        let answer: AdminApplyResponse
        do throws(CallFailure) {
            answer = try client.attempt("Apply", request, doing: "applying \(objects.count) objects")
        } catch {
            // The broker judges what spans several objects; it knows neither the file nor the line.
            guard error.isRefusal else { throw client.failure(error) }
            throw CommandFailure(
                error.message.split(whereSeparator: \.isNewline).map { placed(String($0), objects) }
                    .joined(separator: "\n"), kind: .badFile)
        }
        output.print(
            AppliedObjects.value(answer.objects, revision: answer.revision, dryRun: answer.dryRun)
        ) { _ in AppliedObjects.text(answer.objects, dryRun: answer.dryRun) }
    }

    private func refuseTwins(_ objects: [MeshObject]) throws(CommandFailure) {
        var first: [String: SourceLocation] = [:]
        for object in objects {
            if let other = first.updateValue(object.metadata.location, forKey: object.subject) {
                throw CommandFailure(
                    "\(object.metadata.location): \(object.subject): stands at \(other) too; give it once",
                    kind: .badFile)
            }
        }
    }

    /// Puts the place of the object that `line` speaks of in front of it.
    private func placed(_ line: String, _ objects: [MeshObject]) -> String {
        let object = objects.filter { line.contains($0.subject) }.max { $0.subject.utf8.count < $1.subject.utf8.count }
        guard let object else { return "\(files.joined(separator: ", ")): \(line)" }
        return line.hasPrefix("\(object.metadata.location)") ? line : "\(object.metadata.location): \(line)"
    }
}

/// A kind as a person writes it: case and a plural s do not matter.
enum KindArgument {
    private static let clusterScoped = ["Cluster", "Import", "MeshPolicy"]
    private static let known =
        clusterScoped + [
            "Service", "Workload", "ServiceExport", "TrafficPolicy", "RateLimitPolicy", "AuthorizationPolicy",
        ]

    /// As manifests write it.
    static func canonical(_ text: String) throws -> String {
        let word = text.lowercased()
        for known in known {
            let plural = known.hasSuffix("y") ? "\(known.dropLast())ies" : "\(known)s"
            if known.lowercased() == word || plural.lowercased() == word { return known }
        }
        throw ValidationError("'\(text)' is no kind; one of \(known.joined(separator: ", "))")
    }

    static func isClusterScoped(_ canonical: String) -> Bool { clusterScoped.contains(canonical) }
}

/// What apply and delete did.
enum AppliedObjects {
    static func value(_ objects: [AdminAppliedObject], revision: UInt64, dryRun: Bool) -> OutputValue {
        .record([
            ("dryRun", .flag(dryRun)), ("revision", .text("\(revision)")),
            (
                "objects",
                .list(
                    objects.map {
                        .record([
                            ("kind", .text($0.kind)), ("namespace", .optional($0.namespace)), ("name", .text($0.name)),
                            ("result", .text($0.result)),
                        ])
                    })
            ),
        ])
    }

    static func text(_ objects: [AdminAppliedObject], dryRun: Bool) -> String {
        objects.map { object in
            let name = object.namespace.isEmpty ? object.name : "\(object.namespace)/\(object.name)"
            return "\(object.kind) \(name) \(object.result)\(dryRun ? " (dry run)" : "")\n"
        }.joined()
    }
}

/// `meshfed get`.
struct GetCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "get", abstract: "Print objects as the broker holds them.",
        discussion: """
            KIND is a kind as manifests write it; case and a plural s do not matter.

            EXAMPLES
              meshfed get services -n shop
              meshfed get RateLimitPolicy quotes -n shop -o yaml
            """)

    @Argument(help: "Service, Workload, ServiceExport, Import, TrafficPolicy, RateLimitPolicy, …") var kind: String
    @Argument(help: "Only the one of this name.") var name = ""
    @Option(name: [.short, .long], help: "Only this namespace.") var namespace = ""
    @OptionGroup var broker: BrokerOption
    @OptionGroup var output: OutputOption

    func validate() throws { _ = try KindArgument.canonical(kind) }

    func run() throws {
        var request = AdminGetRequest()
        request.kind = try KindArgument.canonical(kind)
        request.name = name
        request.namespace = namespace
        if let full = ObjectName(name) {
            request.namespace = "\(full.namespace)"
            request.name = "\(full.name)"
        }
        let answer: AdminGetResponse = try AdminClient(broker).call("Get", request)
        if answer.objects.isEmpty, !name.isEmpty {
            throw CommandFailure("no \(request.kind) \(name); meshfed get \(request.kind) lists all")
        }
        switch output.output {
        case .table, .wide:
            if answer.objects.isEmpty { Terminal.note("no objects of kind \(request.kind)") }
            var table = TextTable("NAMESPACE", "NAME", "SOURCE")
            for object in answer.objects {
                table.row(object.namespace, object.name, object.source.isEmpty ? "meshfed apply" : object.source)
            }
            if !table.isEmpty { Terminal.out(table.text(columns: output.output == .wide ? nil : 2)) }
        case .json: Terminal.out(ManifestWriter.prettyJSON(try parsed(answer), asList: name.isEmpty))
        case .yaml: Terminal.out(ManifestWriter.yaml(try parsed(answer)))
        }
    }

    private func parsed(_ answer: AdminGetResponse) throws(CommandFailure) -> [MeshObject] {
        var objects: [MeshObject] = []
        for object in answer.objects {
            do throws(ManifestError) {
                objects.append(try ManifestWriter.object(fromJSON: Array(object.json.utf8), file: object.name))
            } catch {
                throw CommandFailure("the broker's \(object.kind) \(object.name) cannot be read: \(error)")
            }
        }
        return objects
    }
}
