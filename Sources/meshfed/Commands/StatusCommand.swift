import ArgumentParser
import ControlProtocol
import Glibc

/// `meshfed status`.
struct StatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "The broker and all that hangs on it: members, proxies, authorities, alarms.",
        discussion: "EXAMPLE\n  meshfed status -o json")

    @OptionGroup var broker: BrokerOption
    @OptionGroup var output: OutputOption

    func run() throws {
        let answer: AdminStatusResponse = try AdminClient(broker).call("Status", AdminStatusRequest())
        output.print(value(answer)) { wide in text(answer, wide: wide) }
    }

    private func text(_ status: AdminStatusResponse, wide: Bool) -> String {
        let now = Int64(time(nil))
        var configuration = status.configurationDirectory.isEmpty ? "by meshfed apply" : status.configurationDirectory
        configuration += status.configurationError.isEmpty ? ": accepted" : ": REFUSED, what ran goes on:"
        var text = KeyedLines.text([
            ("cluster", "\(status.cluster), trust domain \(status.trustDomain)"),
            ("version", "\(status.version), up \(TimeWords.span(now - status.started))"),
            (
                "catalog",
                "epoch \(status.epoch), revision \(status.revision): \(status.services) services, "
                    + "\(status.endpoints) endpoints"
            ), ("configuration", configuration),
        ])
        for line in status.configurationError.split(whereSeparator: \.isNewline) {
            text += "  \(TextTable.plain(String(line)))\n"
        }
        if wide {
            text += KeyedLines.text(
                [("federation key", status.federationKey)]
                    + status.listeners.map { ("listens \($0.purpose)", $0.address) })
        }
        if !status.members.isEmpty { text += "\n" + MemberWords.table(status.members, wide: wide) }
        if !status.proxies.isEmpty { text += "\n" + proxies(status, wide: wide, now: now) }
        var authorities = TextTable("AUTHORITY", "STATE", "ENDS")
        for authority in status.authorities {
            authorities.row(
                String(authority.id.prefix(16)), authority.state, TimeWords.distance(authority.notAfter, now: now))
        }
        if !authorities.isEmpty { text += "\n" + authorities.text() }
        var alarms = TextTable("ALARM", "WHEN", "CLUSTER", "WHAT")
        for alarm in status.alarms {
            alarms.row(alarm.kind, TimeWords.distance(alarm.time, now: now), alarm.cluster, alarm.text)
        }
        if !alarms.isEmpty { text += "\n" + alarms.text() }
        return text
    }

    private func proxies(_ status: AdminStatusResponse, wide: Bool, now: Int64) -> String {
        var table = TextTable(
            "PROXY", "NAME", "REVISION", "AGE", "SVID ENDS", "LOCALITY", "NOTE", "IDENTITY", "VERSION", "ADDRESS")
        for proxy in status.proxies {
            var note = proxy.refused.isEmpty ? "" : "refused a snapshot: \(proxy.refused)"
            if note.isEmpty, proxy.ackedRevision < status.revision { note = "behind" }
            table.row(
                proxy.role, proxy.name, "\(proxy.ackedRevision)",
                "\(MemberWords.tenths(Double(proxy.ageMilliseconds) / 1_000))s",
                TimeWords.distance(proxy.svidExpires, now: now), MemberWords.locality(proxy.locality), note,
                proxy.identity, proxy.version, proxy.address)
        }
        return table.text(columns: wide ? nil : 7)
    }

    private func value(_ status: AdminStatusResponse) -> OutputValue {
        .record([
            ("cluster", .text(status.cluster)), ("trustDomain", .text(status.trustDomain)),
            ("version", .text(status.version)), ("started", TimeWords.value(status.started)),
            ("epoch", .text("\(status.epoch)")), ("revision", .text("\(status.revision)")),
            ("services", .number(Int64(status.services))), ("endpoints", .number(Int64(status.endpoints))),
            ("configurationDirectory", .optional(status.configurationDirectory)),
            ("configurationError", .optional(status.configurationError)),
            ("federationKey", .text(status.federationKey)),
            ("members", .list(status.members.map(MemberWords.value))),
            (
                "proxies",
                .list(
                    status.proxies.map { proxy in
                        .record([
                            ("role", .text(proxy.role)), ("name", .text(proxy.name)),
                            ("identity", .text(proxy.identity)), ("version", .text(proxy.version)),
                            ("locality", .optional(MemberWords.locality(proxy.locality))),
                            ("address", .optional(proxy.address)), ("ackedRevision", .text("\(proxy.ackedRevision)")),
                            ("refused", .optional(proxy.refused)),
                            ("connectedSince", TimeWords.value(proxy.connectedSince)),
                            ("svidExpires", TimeWords.value(proxy.svidExpires)),
                            ("ageSeconds", .decimal(Double(proxy.ageMilliseconds) / 1_000)),
                        ])
                    })
            ),
            (
                "authorities",
                .list(
                    status.authorities.map { authority in
                        .record([
                            ("id", .text(authority.id)), ("state", .text(authority.state)),
                            ("notBefore", TimeWords.value(authority.notBefore)),
                            ("notAfter", TimeWords.value(authority.notAfter)),
                        ])
                    })
            ),
            (
                "alarms",
                .list(
                    status.alarms.map { alarm in
                        .record([
                            ("time", TimeWords.value(alarm.time)), ("kind", .text(alarm.kind)),
                            ("cluster", .optional(alarm.cluster)), ("text", .text(alarm.text)),
                        ])
                    })
            ),
            (
                "listeners",
                .list(
                    status.listeners.map {
                        .record([("purpose", .text($0.purpose)), ("address", .text($0.address))])
                    })
            ),
        ])
    }
}
