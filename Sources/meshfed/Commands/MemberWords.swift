import ControlProtocol

/// Members and localities, for people and programs.
enum MemberWords {
    static func table(_ members: [AdminMember], wide: Bool) -> String {
        var table = TextTable(
            "CLUSTER", "TRUST DOMAIN", "STATE", "DATA", "AGE", "SERVICES", "NOTE", "SPONSOR", "GATEWAYS", "BROKER",
            "VERSION", "FEDERATION KEY")
        for member in members {
            table.row(
                member.cluster, member.trustDomain, state(member.state),
                member.state == .admitted ? freshness(member.freshness) : "",
                member.hasLinkAgeSeconds ? "\(tenths(member.linkAgeSeconds))s" : "", "\(member.services)", note(member),
                member.sponsor, member.gateways.map(gateway).joined(separator: ","),
                member.brokerAddresses.joined(separator: ","), member.version, String(member.federationKey.prefix(16)))
        }
        return table.text(columns: wide ? nil : 7)
    }

    static func value(_ member: AdminMember) -> OutputValue {
        .record([
            ("cluster", .text(member.cluster)), ("trustDomain", .text(member.trustDomain)),
            ("state", .text(state(member.state))), ("epoch", .text("\(member.epoch)")),
            ("sequence", .text("\(member.sequence)")), ("federationKey", .text(member.federationKey)),
            ("rootHashes", .texts(member.rootHashes)), ("sponsor", .optional(member.sponsor)),
            ("brokerAddresses", .texts(member.brokerAddresses)),
            ("gateways", .list(member.gateways.map(gatewayValue))), ("data", .text(freshness(member.freshness))),
            ("linkAgeSeconds", member.hasLinkAgeSeconds ? .decimal(member.linkAgeSeconds) : .nothing),
            ("connected", .flag(member.connected)),
            ("clockSkewSeconds", member.hasClockSkewSeconds ? .decimal(member.clockSkewSeconds) : .nothing),
            ("services", .number(Int64(member.services))), ("reason", .optional(member.reason)),
            ("version", .optional(member.version)),
        ])
    }

    static func state(_ state: AdminMemberState) -> String {
        switch state {
        case .admitted: "admitted"
        case .pending: "pending"
        case .gone: "gone"
        case .unspecified, .UNRECOGNIZED: "unknown"
        }
    }

    static func freshness(_ freshness: ModelFreshness) -> String {
        switch freshness {
        case .fresh: "fresh"
        case .stale: "stale"
        case .gone: "gone"
        case .unspecified, .UNRECOGNIZED: ""
        }
    }

    static func locality(_ locality: ModelLocality) -> String {
        locality.zone.isEmpty ? locality.region : "\(locality.region)/\(locality.zone)"
    }

    static func gatewayValue(_ gateway: ModelGateway) -> OutputValue {
        .record([
            ("name", .text(gateway.name)), ("address", .text(self.gateway(gateway))),
            ("locality", .optional(locality(gateway.locality))),
        ])
    }

    static func gateway(_ gateway: ModelGateway) -> String {
        gateway.address.utf8.contains(0x3A)
            ? "[\(gateway.address)]:\(gateway.port)" : "\(gateway.address):\(gateway.port)"
    }

    static func tenths(_ number: Double) -> String {
        guard number.isFinite, abs(number) < 1e15 else { return "?" }
        return "\((number * 10).rounded() / 10)"
    }

    /// What a person should know: why it waits or went, clocks that differ, a link that is down.
    private static func note(_ member: AdminMember) -> String {
        var notes: [String] = []
        if !member.reason.isEmpty { notes.append(member.reason) }
        if member.state == .admitted, !member.connected { notes.append("not connected") }
        // PROTOCOLS section 7: `check` warns above 10 s.
        if member.hasClockSkewSeconds, abs(member.clockSkewSeconds) > 10 {
            notes.append("its clock differs by \(tenths(member.clockSkewSeconds)) s")
        }
        return notes.joined(separator: "; ")
    }
}
