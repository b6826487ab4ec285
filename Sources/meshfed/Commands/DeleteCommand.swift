import ArgumentParser
import ControlProtocol
import MeshModel

/// `meshfed delete`.
struct DeleteCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Take objects away from the broker: all of them, or none.",
        discussion: """
            For what came by meshfed apply or meshfed join. Objects of the broker's own directory (--config) belong to that: \
            remove their file. -f names the objects by the files that they were applied from.

            EXAMPLES
              meshfed delete RateLimitPolicy quotes -n shop
              meshfed delete import joined
              meshfed delete -f objects.yaml --dry-run
            """)

    @Argument(help: "Service, Workload, ServiceExport, Import, TrafficPolicy, RateLimitPolicy, …") var kind: String?
    @Argument(help: "The object's name, or namespace/name.") var name: String?
    @Option(name: [.short, .long], help: "The namespace.") var namespace = "default"
    @Option(
        name: [.customShort("f"), .customLong("filename")], parsing: .singleValue,
        help: "A file or directory that holds the objects, or - for standard input; may be repeated.")
    var files: [String] = []
    @Flag(help: "Check only; nothing is changed.") var dryRun = false
    @OptionGroup var broker: BrokerOption
    @OptionGroup var output: OutputOption

    func validate() throws {
        if let kind {
            if !files.isEmpty { throw ValidationError("give KIND NAME, or -f FILE, not both") }
            if name == nil { throw ValidationError("delete needs the name: meshfed delete \(kind) NAME") }
            _ = try KindArgument.canonical(kind)
        } else if files.isEmpty {
            throw ValidationError("nothing is named: give KIND NAME, or -f FILE")
        }
    }

    func run() throws {
        var request = AdminDeleteRequest()
        request.objects = try references()
        request.dryRun = dryRun
        let client = try AdminClient(broker)
        let answer: AdminDeleteResponse = try client.call(
            "Delete", request, doing: "deleting \(request.objects.count) objects")
        output.print(
            AppliedObjects.value(answer.objects, revision: answer.revision, dryRun: answer.dryRun)
        ) { _ in AppliedObjects.text(answer.objects, dryRun: answer.dryRun) }
    }

    private func references() throws -> [AdminObjectReference] {
        if let kind, let name {
            let canonical = try KindArgument.canonical(kind)
            let isClusterScoped = KindArgument.isClusterScoped(canonical)
            if let full = ObjectName(name), name.contains("/"), !isClusterScoped {
                return [Self.reference(canonical, "\(full.namespace)", "\(full.name)")]
            }
            return [Self.reference(canonical, isClusterScoped ? "" : namespace, name)]
        }
        return try ObjectFiles.objects(files).map { object in
            Self.reference(
                object.kind, object.isClusterScoped ? "" : "\(object.metadata.namespace)", "\(object.metadata.name)")
        }
    }

    private static func reference(_ kind: String, _ namespace: String, _ name: String) -> AdminObjectReference {
        var reference = AdminObjectReference()
        reference.kind = kind
        reference.namespace = namespace
        reference.name = name
        return reference
    }
}
