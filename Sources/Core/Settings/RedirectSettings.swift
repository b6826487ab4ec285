internal import MeshModel

/// What `meshfed-proxy redirect` is asked to do in this network namespace, and which traffic it is about.
package struct RedirectSettings: Hashable, Sendable {
    package enum Action: Hashable, Sendable { case print, apply, remove }
    package enum Family: Hashable, Sendable, CaseIterable { case ipv4, ipv6 }

    /// Ports by list, or all of them.
    package enum Ports: Hashable, Sendable {
        case all
        case some([UInt16])
    }

    package var action: Action
    package var families: [Family]
    /// Whose own traffic is not captured; empty where only a mark says it.
    package var uids: [UInt32]
    /// SO_MARK of the sidecar's own sockets; nil where only the uid says it.
    package var mark: UInt32?
    package var outboundPort: UInt16
    package var inboundPort: UInt16
    /// Nil: DNS is left alone.
    package var dnsPort: UInt16?
    package var includeInbound: Ports
    package var excludeInbound: [UInt16]
    /// Destinations that are captured; empty: all.
    package var includeCIDRs: [AddressRange]
    package var excludeCIDRs: [AddressRange]
    /// Ports that are captured whatever their destination.
    package var includeOutbound: [UInt16]
    package var excludeOutbound: [UInt16]

    /// The numbers that Istio's users know: uid 1337, ports 15001 and 15006.
    package init(action: Action) {
        self.action = action
        families = Family.allCases
        uids = [1_337]
        outboundPort = 15_001
        inboundPort = 15_006
        includeInbound = .all
        excludeInbound = []
        includeCIDRs = []
        excludeCIDRs = []
        includeOutbound = []
        excludeOutbound = []
    }
}

/// An address with a prefix length: `10.0.0.0/8`, `2001:db8::/32`; a bare address is one host.
package struct AddressRange: Hashable, Sendable, CustomStringConvertible {
    package let text: String
    package let isIPv6: Bool

    /// Nil for anything else, also for a prefix length beyond the address.
    package init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard let address = parts.first, parts.count <= 2 else { return nil }
        let bytes = Array(address.utf8)
        isIPv6 = IPLiteral.v6(bytes) != nil
        guard isIPv6 || IPLiteral.v4(bytes) != nil else { return nil }
        let widest = isIPv6 ? 128 : 32
        if parts.count == 2 {
            guard let length = FlagValues.number(parts[1]), length <= widest else { return nil }
            self.text = text
        } else {
            self.text = "\(text)/\(widest)"
        }
    }

    package var description: String { text }
}

/// `meshfed-proxy redirect`.
enum RedirectFlags {
    static let table = FlagTable(
        program: ProxyCommand.program, command: "redirect",
        purpose: "sends a pod's traffic to its sidecar by iptables and ip6tables rules",
        flags: [
            FlagDescription("print", nil, "Prints the rules; touches nothing."),
            FlagDescription("apply", nil, "Puts the rules in place, in place of our earlier ones."),
            FlagDescription("remove", nil, "Takes our rules out, and nothing else."),
            FlagDescription(
                "uid", "UID,…", default: "1337", example: "1337",
                "Users whose own traffic is not captured: the sidecar's."),
            FlagDescription(
                "mark", "NUMBER", example: "0x539",
                "In place of the uid (a user namespace has one uid): the sidecar's own --mark."),
            FlagDescription("outbound-port", "PORT", default: "15001", example: "15001", "Where outbound goes."),
            FlagDescription("inbound-port", "PORT", default: "15006", example: "15006", "Where inbound goes."),
            FlagDescription("dns", nil, "Captures port 53 too, by UDP and TCP."),
            FlagDescription("dns-port", "PORT", default: "15053", example: "15053", "Where DNS goes."),
            FlagDescription(
                "include-inbound-ports", "PORT,…|*", default: "*", example: "8080,9090", "Inbound ports to capture."),
            FlagDescription(
                "exclude-inbound-ports", "PORT,…", example: "22", "Inbound ports to leave alone."),
            FlagDescription(
                "include-outbound-cidrs", "CIDR,…|*", default: "*", example: "10.0.0.0/8",
                "Destinations to capture; give 240.240.0.0/16 and 2001:2::/48 for the mesh's own addresses alone."),
            FlagDescription(
                "exclude-outbound-cidrs", "CIDR,…", example: "169.254.169.254/32", "Destinations to leave alone."),
            FlagDescription(
                "include-outbound-ports", "PORT,…", example: "5432",
                "Ports to capture whatever --include-outbound-cidrs says."),
            FlagDescription("exclude-outbound-ports", "PORT,…", example: "25", "Outbound ports to leave alone."),
            FlagDescription(
                "family", "FAMILY", default: "both", example: "ipv4",
                "both, ipv4 or ipv6; both leaves out a family that the namespace lacks."),
        ],
        examples: [
            "meshfed-proxy redirect --print --dns", "meshfed-proxy redirect --apply --dns --exclude-outbound-ports 25",
            "meshfed-proxy redirect --remove",
        ], takesDash: false)

    static func settings(_ values: FlagValues) throws(SettingsError) -> RedirectSettings {
        let actions: [(String, RedirectSettings.Action)] = [("print", .print), ("apply", .apply), ("remove", .remove)]
        let wanted = actions.filter { values.has($0.0) }
        guard let action = wanted.first, wanted.count == 1 else {
            throw values.table.error(
                "", wanted.isEmpty ? "redirect needs a verb" : "redirect takes one verb", "--print, --apply or --remove"
            )
        }
        var settings = RedirectSettings(action: action.1)
        if values.has("mark") {
            settings.mark = try mark(values)
            settings.uids = []
        }
        if values.has("uid") {
            settings.uids = []
            for text in try list(values, "uid") {
                guard let uid = FlagValues.number(text) else {
                    throw values.error("uid", "\(shown(text)) is no number of a user")
                }
                settings.uids.append(UInt32(uid))
            }
        }
        settings.outboundPort = try port(values, "outbound-port") ?? settings.outboundPort
        settings.inboundPort = try port(values, "inbound-port") ?? settings.inboundPort
        let dnsPort = try port(values, "dns-port") ?? 15_053
        if values.has("dns") { settings.dnsPort = dnsPort }
        if values.text("include-inbound-ports") ?? "*" != "*" {
            settings.includeInbound = .some(try ports(values, "include-inbound-ports"))
        }
        settings.excludeInbound = try ports(values, "exclude-inbound-ports")
        if values.text("include-outbound-cidrs") ?? "*" != "*" {
            settings.includeCIDRs = try ranges(values, "include-outbound-cidrs")
        }
        settings.excludeCIDRs = try ranges(values, "exclude-outbound-cidrs")
        settings.includeOutbound = try ports(values, "include-outbound-ports")
        settings.excludeOutbound = try ports(values, "exclude-outbound-ports")
        switch values.text("family") ?? "both" {
        case "both": break
        case "ipv4": settings.families = [.ipv4]
        case "ipv6": settings.families = [.ipv6]
        default:
            throw values.error("family", "\(shown(values.text("family") ?? "")) is no family", "both, ipv4 or ipv6")
        }
        return settings
    }

    /// A mark other than 0, which every socket has: decimal or `0x…`.
    static func mark(_ values: FlagValues) throws(SettingsError) -> UInt32? {
        guard let text = values.text("mark") else { return nil }
        let number =
            text.hasPrefix("0x") ? UInt32(text.dropFirst(2), radix: 16) : FlagValues.number(text).map { UInt32($0) }
        guard let number, number > 0, !text.contains("+") else {
            throw values.error("mark", "\(shown(text)) is no mark (1 to 0xffffffff)")
        }
        return number
    }

    private static func list(_ values: FlagValues, _ name: String) throws(SettingsError) -> [String] {
        guard let text = values.text(name) else { return [] }
        let parts = text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        guard parts.count <= 64 else { throw values.error(name, "has more than 64 entries") }
        return parts
    }

    private static func port(_ values: FlagValues, _ name: String) throws(SettingsError) -> UInt16? {
        try values.integer(name, in: 1...65_535).map { UInt16($0) }
    }

    private static func ports(_ values: FlagValues, _ name: String) throws(SettingsError) -> [UInt16] {
        var found: [UInt16] = []
        for text in try list(values, name) {
            guard let number = FlagValues.number(text), let port = UInt16(exactly: number), port > 0 else {
                throw values.error(name, "\(shown(text)) is no port")
            }
            found.append(port)
        }
        return found
    }

    private static func ranges(_ values: FlagValues, _ name: String) throws(SettingsError) -> [AddressRange] {
        var found: [AddressRange] = []
        for text in try list(values, name) {
            guard let range = AddressRange(text) else { throw values.error(name, "\(shown(text)) is no CIDR range") }
            found.append(range)
        }
        return found
    }
}
