import ArgumentParser
import ControlProtocol
import Identity
import MeshModel

/// `meshfed service …`.
struct ServiceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "service", abstract: "Services: local, imported, and merely available.",
        discussion: "EXAMPLE\n  meshfed service list -n shop", subcommands: [List.self])

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print every service by name and cluster.",
            discussion: "EXAMPLE\n  meshfed service list -n shop -o wide")

        @Option(name: [.short, .long], help: "Only this namespace.") var namespace = ""
        @OptionGroup var broker: BrokerOption
        @OptionGroup var output: OutputOption

        func run() throws {
            var request = AdminListServicesRequest()
            request.namespace = namespace
            let answer: AdminListServicesResponse = try AdminClient(broker).call("ListServices", request)
            output.print(.list(answer.services.map(Self.value))) { wide in
                var table = TextTable("SERVICE", "CLUSTER", "STATE", "HEALTHY", "PORTS", "DATA", "EXPORT", "MESH NAME")
                for service in answer.services {
                    table.row(
                        service.name, service.cluster, service.state,
                        "\(service.healthy)/\(max(service.total, service.healthy))",
                        service.ports.map { "\($0.port)/\(Self.word($0.appProtocol))" }.joined(separator: ","),
                        service.state == "local" ? "" : MemberWords.freshness(service.freshness),
                        Self.export(service.export), service.meshName)
                }
                return table.text(columns: wide ? nil : 6)
            }
        }

        private static func value(_ service: AdminServiceEntry) -> OutputValue {
            .record([
                ("name", .text(service.name)), ("cluster", .text(service.cluster)), ("state", .text(service.state)),
                ("meshName", .text(service.meshName)),
                (
                    "ports",
                    .list(
                        service.ports.map {
                            .record([
                                ("name", .optional($0.name)), ("port", .number(Int64($0.port))),
                                ("appProtocol", .text(word($0.appProtocol))),
                            ])
                        })
                ), ("healthy", .number(Int64(service.healthy))), ("total", .number(Int64(service.total))),
                ("export", .optional(export(service.export))),
                ("data", .optional(MemberWords.freshness(service.freshness))),
            ])
        }

        private static func word(_ proto: ModelAppProtocol) -> String {
            switch proto {
            case .http: "http"
            case .http2: "http2"
            case .grpc: "grpc"
            case .tcp: "tcp"
            case .auto: "auto"
            case .unspecified, .UNRECOGNIZED: "unknown"
            }
        }

        private static func export(_ scope: ModelExportScope) -> String {
            switch scope.kind {
            case .all: "*"
            case .clusters: scope.clusters.joined(separator: ",")
            case .none, .unspecified, .UNRECOGNIZED: ""
            }
        }
    }
}

/// `meshfed endpoint …`.
struct EndpointCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "endpoint", abstract: "What serves a service, here and elsewhere.",
        discussion: "EXAMPLE\n  meshfed endpoint list reviews -n shop", subcommands: [List.self])

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print the workloads of this cluster and the capacities of others.",
            discussion: "EXAMPLE\n  meshfed endpoint list reviews -n shop")

        @Argument(help: "Only this service.") var service = ""
        @Option(name: [.short, .long], help: "Only this namespace.") var namespace = ""
        @OptionGroup var broker: BrokerOption
        @OptionGroup var output: OutputOption

        func run() throws {
            var request = AdminListEndpointsRequest()
            request.namespace = namespace
            request.service = service
            if let name = ObjectName(service) {
                request.namespace = "\(name.namespace)"
                request.service = "\(name.name)"
            }
            let answer: AdminListEndpointsResponse = try AdminClient(broker).call("ListEndpoints", request)
            output.print(.list(answer.endpoints.map(Self.value))) { wide in
                var table = TextTable(
                    "SERVICE", "CLUSTER", "WORKLOAD", "ADDRESS", "HEALTHY", "LOCALITY", "WEIGHT", "PORTS", "IDENTITY")
                for endpoint in answer.endpoints {
                    table.row(
                        endpoint.service, endpoint.cluster, endpoint.workload, endpoint.address,
                        endpoint.healthy ? "yes" : "no", MemberWords.locality(endpoint.locality), "\(endpoint.weight)",
                        endpoint.ports.map { "\($0.port):\($0.target)" }.joined(separator: ","), endpoint.identity)
                }
                return table.text(columns: wide ? nil : 7)
            }
        }

        private static func value(_ endpoint: AdminEndpointEntry) -> OutputValue {
            .record([
                ("service", .text(endpoint.service)), ("cluster", .text(endpoint.cluster)),
                ("workload", .optional(endpoint.workload)), ("address", .text(endpoint.address)),
                ("locality", .optional(MemberWords.locality(endpoint.locality))),
                ("identity", .optional(endpoint.identity)), ("healthy", .flag(endpoint.healthy)),
                ("weight", .number(Int64(endpoint.weight))),
                (
                    "ports",
                    .list(
                        endpoint.ports.map {
                            .record([("port", .number(Int64($0.port))), ("target", .number(Int64($0.target)))])
                        })
                ),
            ])
        }
    }
}

/// `meshfed bundle …`.
struct BundleCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bundle", abstract: "The roots of every trust domain that is believed.",
        discussion: "EXAMPLE\n  meshfed bundle show west.mesh", subcommands: [Show.self])

    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print the roots in PEM, each domain by itself.",
            discussion: "EXAMPLE\n  meshfed bundle show west.mesh > west-roots.pem")

        @Argument(help: "Only this trust domain.") var trustDomain = ""
        @OptionGroup var broker: BrokerOption
        @OptionGroup var output: OutputOption

        func validate() throws {
            if !trustDomain.isEmpty, TrustDomain(trustDomain) == nil {
                throw ValidationError("'\(trustDomain)' is no trust domain")
            }
        }

        func run() throws {
            var request = AdminShowBundleRequest()
            request.trustDomain = trustDomain
            let answer: AdminShowBundleResponse = try AdminClient(broker).call("ShowBundle", request)
            if answer.bundles.isEmpty, !trustDomain.isEmpty {
                throw CommandFailure("no bundle for trust domain \(trustDomain); meshfed bundle show lists all")
            }
            output.print(.list(answer.bundles.map(Self.value))) { wide in
                answer.bundles.map { bundle in
                    var head = "# trust domain \(TextTable.plain(bundle.trustDomain))"
                    if wide { head += ", sequence \(bundle.sequence), \(bundle.revokedSerials.count) revoked" }
                    return head + "\n" + Self.pem(bundle)
                }.joined()
            }
        }

        private static func pem(_ bundle: ModelTrustBundle) -> String {
            String(decoding: PEM.encode(certificates: bundle.roots.map(Array.init)), as: UTF8.self)
        }

        private static func value(_ bundle: ModelTrustBundle) -> OutputValue {
            .record([
                ("trustDomain", .text(bundle.trustDomain)), ("sequence", .text("\(bundle.sequence)")),
                ("roots", .text(pem(bundle))),
                ("rootFingerprints", .texts(bundle.roots.map { Hex.encode(SHA256.hash(Array($0))) })),
                ("revokedSerials", .texts(bundle.revokedSerials.map { Hex.encode(Array($0)) })),
            ])
        }
    }
}
