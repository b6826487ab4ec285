import ArgumentParser
import ControlProtocol
import Glibc
import MeshModel

/// `meshfed token …`.
struct TokenCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "token", abstract: "Make, list and revoke the tokens that admit proxies, admins and clusters.",
        discussion: "EXAMPLE\n  meshfed token create --for gateway --name gw-1 --out gw-1.token",
        subcommands: [Create.self, List.self, Revoke.self])

    enum Purpose: String, ExpressibleByArgument, CaseIterable {
        case sidecar, gateway, admin, federation

        var message: AdminTokenPurpose {
            switch self {
            case .sidecar: .sidecar
            case .gateway: .gateway
            case .admin: .admin
            case .federation: .federation
            }
        }

        static func word(_ purpose: AdminTokenPurpose) -> String {
            allCases.first { $0.message == purpose }?.rawValue ?? "unknown"
        }
    }

    struct Create: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a token. It is printed once, and nobody can read it again.",
            discussion: """
                A token is used by one key within 15 minutes, unless --reusable, --max-uses and --ttl say otherwise.

                EXAMPLES
                  meshfed token create --for sidecar --namespace shop --service-account web --out web.token
                  meshfed token create --for gateway --name gw-1 --out gw-1.token
                  meshfed token create --for federation --cluster west --out west.token
                  meshfed token create --for sidecar --namespace shop --service-account web --reusable --ttl 30d --max-uses 100
                """)

        @Option(name: .customLong("for"), help: "sidecar, gateway, admin or federation.") var purpose: Purpose
        @Option(help: "Sidecar: the workload's namespace.") var namespace: String?
        @Option(help: "Sidecar: the workload's service account.") var serviceAccount: String?
        @Option(help: "Gateway, admin: its name.") var name: String?
        @Option(help: "Federation: the cluster that may join.") var cluster: String?
        @Option(help: "Federation: its trust domain (default CLUSTER.mesh).") var trustDomain: String?
        @Option(help: "How long it may be used first: 90s, 15m, 12h, 30d (default 15m).") var ttl: String?
        @Flag(help: "May be used by several keys: for templates of pods and machines.") var reusable = false
        @Option(help: "With --reusable: how many keys.") var maxUses: UInt32?
        @Option(name: .customLong("out"), help: "Write the token to this file (mode 0600) and not to standard output.")
        var file: String?
        @OptionGroup var broker: BrokerOption
        @OptionGroup var output: OutputOption

        func validate() throws {
            let wanted: [(String, String?, Bool)] = [
                ("--namespace", namespace, purpose == .sidecar),
                ("--service-account", serviceAccount, purpose == .sidecar),
                ("--name", name, purpose == .gateway || purpose == .admin),
                ("--cluster", cluster, purpose == .federation),
            ]
            for (flag, value, needed) in wanted {
                guard let value else {
                    if needed { throw ValidationError("--for \(purpose.rawValue) needs \(flag) NAME") }
                    continue
                }
                guard needed else { throw ValidationError("\(flag) does not go with --for \(purpose.rawValue)") }
                guard Label(value) != nil else {
                    throw ValidationError("\(flag) '\(value)' is no name (1 to 63 of a-z, 0-9 and -)")
                }
            }
            if let trustDomain {
                guard purpose == .federation else {
                    throw ValidationError("--trust-domain does not go with --for \(purpose.rawValue)")
                }
                guard TrustDomain(trustDomain) != nil else {
                    throw ValidationError(
                        "--trust-domain '\(trustDomain)' is no trust domain (a-z, 0-9, '.', '-', '_')")
                }
            }
            if let ttl, Self.seconds(ttl) == nil {
                throw ValidationError("--ttl '\(ttl)' is no duration from 1s to 366d, such as 15m or 30d")
            }
            if reusable != (maxUses != nil) {
                throw ValidationError(
                    reusable ? "--reusable needs --max-uses N" : "--max-uses goes with --reusable")
            }
            if maxUses == 0 { throw ValidationError("--max-uses is at least 1") }
        }

        func run() throws {
            var request = AdminCreateTokenRequest()
            request.purpose = purpose.message
            request.namespace = namespace ?? ""
            request.serviceAccount = serviceAccount ?? ""
            request.name = name ?? ""
            request.cluster = cluster ?? ""
            request.trustDomain = trustDomain ?? ""
            request.ttlSeconds = ttl.flatMap(Self.seconds) ?? 0
            request.reusable = reusable
            request.maximumUses = maxUses ?? 0
            let answer: AdminCreateTokenResponse = try AdminClient(broker).call("CreateToken", request)
            let token = answer.description_p
            if let file {
                do throws(CommandFailure) { try Files.writePrivate(Array((answer.token + "\n").utf8), to: file) } catch
                {
                    // A token that nobody has must not stay open.
                    var revocation = AdminRevokeTokenRequest()
                    revocation.id = token.id
                    let _: AdminRevokeTokenResponse? = try? AdminClient(broker).call("RevokeToken", revocation)
                    throw error
                }
            }
            let whom = token.identity.isEmpty ? "cluster \(token.cluster)" : token.identity
            let words =
                "token \(token.id) for \(whom), to be used within \(TimeWords.span(token.expires - Int64(time(nil))))"
            if file != nil || Terminal.isWatched {
                Terminal.note(file.map { "\($0): \(words)" } ?? words)
            }
            switch output.output {
            case .table, .wide: if file == nil { Terminal.out(answer.token + "\n") }
            case .json, .yaml:
                var entries = TokenCommand.entries(token)
                if let file {
                    entries.append(("file", .text(file)))
                } else {
                    entries.append(("token", .text(answer.token)))
                }
                output.print(.record(entries)) { _ in "" }
            }
        }

        /// GEP-2257, and days, which tokens of templates are given in.
        static func seconds(_ text: String) -> UInt32? {
            let limit: Int64 = 366 * 86_400
            if text.hasSuffix("d"), let days = UInt32(text.dropLast()), days >= 1, days <= 366, !text.hasPrefix("+") {
                return days * 86_400
            }
            guard let duration = Duration(gep2257: text) else { return nil }
            let seconds = duration.components.seconds
            return seconds >= 1 && seconds <= limit ? UInt32(seconds) : nil
        }
    }

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print the tokens that are not forgotten yet, without their secrets.",
            discussion: "EXAMPLE\n  meshfed token list -o wide")

        @OptionGroup var broker: BrokerOption
        @OptionGroup var output: OutputOption

        func run() throws {
            let answer: AdminListTokensResponse = try AdminClient(broker).call("ListTokens", AdminListTokensRequest())
            let now = Int64(time(nil))
            output.print(.list(answer.tokens.map { .record(TokenCommand.entries($0)) })) { wide in
                var table = TextTable("ID", "FOR", "WHOM", "STATE", "USES", "EXPIRES", "CREATED")
                for token in answer.tokens {
                    table.row(
                        token.id, Purpose.word(token.purpose), token.identity.isEmpty ? token.cluster : token.identity,
                        TokenCommand.state(token, now: now), "\(token.uses)/\(token.maximumUses)",
                        TimeWords.distance(token.expires, now: now), TimeWords.stamp(token.created))
                }
                return table.text(columns: wide ? nil : 6)
            }
        }
    }

    struct Revoke: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "End a token. What was enrolled with it stays.",
            discussion: "EXAMPLE\n  meshfed token revoke 5f1d0c2ab3e49876")

        @Argument(help: "Its ID, from `meshfed token list`.") var id: String
        @OptionGroup var broker: BrokerOption
        @OptionGroup var output: OutputOption

        func run() throws {
            var request = AdminRevokeTokenRequest()
            request.id = id
            let answer: AdminRevokeTokenResponse = try AdminClient(broker).call("RevokeToken", request)
            output.print(.record(TokenCommand.entries(answer.token))) { _ in "token \(id) is revoked\n" }
        }
    }

    private static func state(_ token: AdminToken, now: Int64) -> String {
        if token.revoked { return "revoked" }
        if token.expires < now { return "expired" }
        return token.maximumUses > 0 && token.uses >= token.maximumUses ? "used" : "open"
    }

    private static func entries(_ token: AdminToken) -> [(String, OutputValue)] {
        [
            ("id", .text(token.id)), ("for", .text(Purpose.word(token.purpose))),
            ("identity", .text(token.identity)), ("cluster", .optional(token.cluster)),
            ("trustDomain", .optional(token.trustDomain)),
            ("state", .text(state(token, now: Int64(time(nil))))), ("created", TimeWords.value(token.created)),
            ("expires", TimeWords.value(token.expires)), ("uses", .number(Int64(token.uses))),
            ("maximumUses", .number(Int64(token.maximumUses))), ("revoked", .flag(token.revoked)),
        ]
    }
}
