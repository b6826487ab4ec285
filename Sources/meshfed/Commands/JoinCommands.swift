import ArgumentParser
import ControlProtocol
import Identity
import MeshModel

/// `meshfed join`.
struct JoinCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "join",
        abstract: "Join the federation of the cluster that made a token.",
        discussion: """
            Prints what is trusted, imported and exported by it. The same join again changes nothing. --plan only says \
            what would happen and uses nothing up.

            EXAMPLES
              meshfed join --token-file west.token --import shop,orders/api --plan
              meshfed join --token-file west.token --import shop
              ssh east meshfed token create --for federation --cluster west | meshfed join -
            """)

    @Argument(help: "The token, or - for standard input; --token-file keeps it out of `ps`.") var token: String?
    @Option(help: "The file that holds the token.") var tokenFile: String?
    @Option(
        name: .customLong("import"), parsing: .singleValue,
        help: "What may be called there: namespaces and namespace/service, separated by commas.")
    var imports: [String] = []
    @Flag(help: "Only say what would happen.") var plan = false
    @OptionGroup var broker: BrokerOption
    @OptionGroup var output: OutputOption

    func validate() throws {
        for item in items where Label(item) == nil && ObjectName(item) == nil {
            throw ValidationError("--import '\(item)' is no namespace and no namespace/service")
        }
    }

    private var items: [String] { imports.flatMap { $0.split(separator: ",").map(String.init) } }

    func run() throws {
        let token = try TokenInput.read(argument: token, file: tokenFile)
        guard token.purpose == .federation else {
            throw CommandFailure(
                "this token is for a \(token.purpose.word), not for joining; make one with meshfed token create "
                    + "--for federation", kind: .badFile)
        }
        var request = AdminJoinRequest()
        request.token = token.text
        request.imports = items
        request.plan = plan
        let client = try AdminClient(broker)
        let answer: AdminJoinResponse = try client.call(
            "Join", request, seconds: 60,
            doing: "joining \(token.cluster) at \(token.addresses.joined(separator: ", "))")
        output.print(value(answer)) { _ in text(answer) }
    }

    private func text(_ answer: AdminJoinResponse) -> String {
        let sponsor = answer.sponsor
        var text =
            answer.plan
            ? "plan: would join \(sponsor.cluster); nothing was changed and the token is unused\n"
            : answer.alreadyJoined
                ? "already joined through \(sponsor.cluster); nothing was changed\n"
                : "joined through \(sponsor.cluster)\n"
        text += "\ntrusted\n"
        var members = TextTable("CLUSTER", "TRUST DOMAIN", "ROOTS (SHA-256 of the key)", "STATE")
        var seen: Set<String> = []
        for member in [sponsor] + answer.admitted where seen.insert(member.cluster).inserted {
            members.row(
                member.cluster, member.trustDomain,
                member.rootHashes.map { String($0.prefix(16)) }.joined(separator: " "),
                answer.plan ? "would be admitted" : "admitted")
        }
        for member in answer.pending {
            members.row(
                member.cluster, member.trustDomain,
                member.rootHashes.map { String($0.prefix(16)) }.joined(separator: " "),
                "pending: meshfed member accept \(member.cluster)")
        }
        text += indented(members.text())
        text += "\nimported\n" + list(answer.imports, none: "nothing: no --import was given")
        if !answer.importedServices.isEmpty { text += "  services: " + words(answer.importedServices) + "\n" }
        if !answer.availableServices.isEmpty { text += "  available: " + words(answer.availableServices) + "\n" }
        text += "\nexported\n" + list(answer.exportedServices, none: "nothing: no service has a ServiceExport")
        if !answer.importObject.isEmpty {
            text +=
                answer.plan ? "\nwould be written\n" : "\nwritten (keep it in git, or change it with meshfed apply)\n"
            text += indented(answer.importObject)
        }
        text += answer.plan ? "\nnext: the same command without --plan\n" : "\nnext: meshfed check\n"
        return text
    }

    private func value(_ answer: AdminJoinResponse) -> OutputValue {
        .record([
            ("plan", .flag(answer.plan)), ("alreadyJoined", .flag(answer.alreadyJoined)),
            ("sponsor", MemberWords.value(answer.sponsor)), ("admitted", .list(answer.admitted.map(MemberWords.value))),
            ("pending", .list(answer.pending.map(MemberWords.value))), ("imports", .texts(answer.imports)),
            ("importedServices", .texts(answer.importedServices)),
            ("availableServices", .texts(answer.availableServices)),
            ("exportedServices", .texts(answer.exportedServices)), ("importObject", .optional(answer.importObject)),
        ])
    }

    private func list(_ items: [String], none: String) -> String {
        items.isEmpty ? "  \(none)\n" : items.map { "  \(TextTable.plain($0))\n" }.joined()
    }

    private func words(_ items: [String]) -> String { items.map(TextTable.plain).joined(separator: " ") }

    private func indented(_ text: String) -> String {
        text.split(whereSeparator: \.isNewline).map { "  \($0)\n" }.joined()
    }
}

/// `meshfed leave`.
struct LeaveCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "leave", abstract: "Leave the federation: every member drops this cluster.",
        discussion: "A return takes a new token.\n\nEXAMPLE\n  meshfed leave")

    @OptionGroup var broker: BrokerOption
    @OptionGroup var output: OutputOption

    func run() throws {
        let answer: AdminLeaveResponse = try AdminClient(broker).call(
            "Leave", AdminLeaveRequest(), seconds: 60, doing: "telling the members")
        output.print(.record([("told", .texts(answer.told)), ("unreached", .texts(answer.unreached))])) { _ in
            var text =
                "left the federation; told: \(answer.told.isEmpty ? "nobody" : answer.told.joined(separator: ", "))\n"
            if !answer.unreached.isEmpty {
                text += "not reached, they learn it from others: \(answer.unreached.joined(separator: ", "))\n"
            }
            return text
        }
    }
}

/// `meshfed evict`.
struct EvictCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "evict", abstract: "Take a member out of the federation at once.",
        discussion:
            "Its return takes a new token and a new federation key.\n\nEXAMPLE\n  meshfed evict west --reason \"keys were copied\""
    )

    @Argument(help: "The member's cluster name.") var cluster: String
    @Option(help: "Why, for people; goes to all members.") var reason = ""
    @OptionGroup var broker: BrokerOption
    @OptionGroup var output: OutputOption

    func validate() throws {
        if ClusterID(cluster) == nil { throw ValidationError("'\(cluster)' is no cluster name") }
    }

    func run() throws {
        var request = AdminEvictRequest()
        request.cluster = cluster
        request.reason = reason
        let answer: AdminEvictResponse = try AdminClient(broker).call("Evict", request)
        output.print(MemberWords.value(answer.member)) { _ in "\(cluster) is evicted\n" }
    }
}

/// `meshfed member …`.
struct MemberCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "member", abstract: "The other clusters of the federation.",
        discussion: "EXAMPLE\n  meshfed member list",
        subcommands: [List.self, Accept.self])

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print the members: admitted, pending and gone.",
            discussion: "EXAMPLE\n  meshfed member list -o wide")

        @OptionGroup var broker: BrokerOption
        @OptionGroup var output: OutputOption

        func run() throws {
            let answer: AdminListMembersResponse = try AdminClient(broker).call(
                "ListMembers", AdminListMembersRequest())
            if answer.members.isEmpty, !output.isData { Terminal.note("no members yet: meshfed join") }
            output.print(.list(answer.members.map(MemberWords.value))) { wide in
                MemberWords.table(answer.members, wide: wide)
            }
        }
    }

    struct Accept: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Admit a pending member that no sponsor of this cluster vouched for.",
            discussion: "Compare its federation key with what its owner says.\n\nEXAMPLE\n  meshfed member accept north"
        )

        @Argument(help: "The member's cluster name.") var cluster: String
        @Option(help: "Its federation key (SHA-256, hexadecimal), where two claim the name.") var federationKey = ""
        @OptionGroup var broker: BrokerOption
        @OptionGroup var output: OutputOption

        func validate() throws {
            if ClusterID(cluster) == nil { throw ValidationError("'\(cluster)' is no cluster name") }
            if !federationKey.isEmpty, Hex.decode(federationKey)?.count != 32 {
                throw ValidationError("--federation-key is no SHA-256 in hexadecimal (64 digits)")
            }
        }

        func run() throws {
            var request = AdminAcceptMemberRequest()
            request.cluster = cluster
            request.federationKey = federationKey.lowercased()
            let answer: AdminAcceptMemberResponse = try AdminClient(broker).call("AcceptMember", request)
            output.print(MemberWords.value(answer.member)) { _ in
                "\(cluster) is admitted (trust domain \(TextTable.plain(answer.member.trustDomain)))\n"
            }
        }
    }
}
