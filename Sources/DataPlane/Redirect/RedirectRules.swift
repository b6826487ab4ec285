package import Settings

/// The rules of one family, as text for iptables-restore: our own chains in the nat table, and one jump to each.
///
/// A text is applied with `--noflush`: a declared chain is emptied and filled anew, nothing else is touched, and the whole
/// table changes at once or not at all.
package struct RedirectRules {
    package static let inbound = "MESHFED_INBOUND"
    package static let outbound = "MESHFED_OUTBOUND"
    package static let names = "MESHFED_DNS"
    /// 15020 and 15021 answer scrapers and the kubelet in plaintext.
    package static let ownPorts: [UInt16] = [15_020, 15_021]

    private let settings: RedirectSettings
    private let family: RedirectSettings.Family

    package init(_ settings: RedirectSettings, _ family: RedirectSettings.Family) {
        self.settings = settings
        self.family = family
    }

    /// The jumps from the built-in chains, without the command word.
    private var jumps: [String] {
        var list = ["PREROUTING -p tcp -j \(Self.inbound)", "OUTPUT -p tcp -j \(Self.outbound)"]
        if settings.dnsPort != nil { list.append("OUTPUT -p udp -m udp --dport 53 -j \(Self.names)") }
        return list
    }

    /// What `--apply` gives to iptables-restore. `held`: our own jumps that stand already; they are replaced.
    package func apply(replacing held: [String] = []) -> String {
        var lines = ["*nat"] + [Self.inbound, Self.outbound, Self.names].map { ":\($0) - [0:0]" }
        lines += held.map { "-D \($0)" }
        lines += jumps.map { jump in
            // Before anybody else's: a rule that rewrites DNS to a node's resolver would hide it from us.
            let parts = jump.split(separator: " ", maxSplits: 1)
            return "-I \(parts[0]) 1 \(parts[1])"
        }
        lines += inboundRules + outboundRules + nameRules
        return (lines + ["COMMIT", ""]).joined(separator: "\n")
    }

    /// What `--remove` gives: `held` jumps out, then `chains` that exist. Empty when there is nothing of ours.
    package static func remove(_ held: [String], chains: [String]) -> String {
        guard !held.isEmpty || !chains.isEmpty else { return "" }
        let lines = ["*nat"] + held.map { "-D \($0)" } + chains.map { "-F \($0)" } + chains.map { "-X \($0)" }
        return (lines + ["COMMIT", ""]).joined(separator: "\n")
    }

    private var inboundRules: [String] {
        let skipped = [settings.inboundPort] + Self.ownPorts + settings.excludeInbound
        var lines = skipped.map { "-A \(Self.inbound) -p tcp -m tcp --dport \($0) -j RETURN" }
        let target = "-j REDIRECT --to-ports \(settings.inboundPort)"
        switch settings.includeInbound {
        case .all: lines.append("-A \(Self.inbound) -p tcp \(target)")
        case .some(let ports):
            lines += ports.map { "-A \(Self.inbound) -p tcp -m tcp --dport \($0) \(target)" }
        }
        return lines
    }

    /// The sidecar's own traffic, by user or mark.
    private func own(_ chain: String) -> [String] {
        var lines = settings.uids.map { "-A \(chain) -m owner --uid-owner \($0) -j RETURN" }
        if let mark = settings.mark {
            lines.append("-A \(chain) -m mark --mark 0x\(String(mark, radix: 16)) -j RETURN")
        }
        return lines
    }

    private var outboundRules: [String] {
        let chain = Self.outbound
        let target = "-j REDIRECT --to-ports \(settings.outboundPort)"
        var lines = own(chain)
        if let port = settings.dnsPort {
            // Before loopback: a stub resolver on 127.0.0.53 is asked by way of lo.
            lines.append("-A \(chain) -p tcp -m tcp --dport 53 -j REDIRECT --to-ports \(port)")
        }
        // The pod's own addresses are reached by way of lo too: the app that calls itself is left alone.
        lines.append("-A \(chain) -o lo -j RETURN")
        lines += settings.excludeOutbound.map { "-A \(chain) -p tcp -m tcp --dport \($0) -j RETURN" }
        lines += ranges(settings.excludeCIDRs).map { "-A \(chain) -d \($0) -j RETURN" }
        lines += settings.includeOutbound.map { "-A \(chain) -p tcp -m tcp --dport \($0) \(target)" }
        if settings.includeCIDRs.isEmpty {
            lines.append("-A \(chain) -p tcp \(target)")
        } else {
            lines += ranges(settings.includeCIDRs).map { "-A \(chain) -d \($0) -p tcp \(target)" }
        }
        return lines
    }

    private var nameRules: [String] {
        guard let port = settings.dnsPort else { return [] }
        return own(Self.names) + ["-A \(Self.names) -p udp -m udp --dport 53 -j REDIRECT --to-ports \(port)"]
    }

    private func ranges(_ list: [AddressRange]) -> [AddressRange] { list.filter { $0.isIPv6 == (family == .ipv6) } }
}

/// The nat table as `iptables -t nat -S` prints it: what is ours in it, and what stands in our way.
package struct NATTable {
    /// Our jumps, without the command word.
    package private(set) var ownJumps: [String] = []
    /// Our chains that exist.
    package private(set) var ownChains: [String] = []
    private var rules: [(chain: Substring, text: Substring)] = []

    package init(_ listing: String) {
        for line in listing.split(separator: "\n") {
            let words = line.split(separator: " ")
            guard words.count >= 2 else { continue }
            if words[0] == "-N", words[1].hasPrefix("MESHFED_") { ownChains.append(String(words[1])) }
            guard words[0] == "-A", !words[1].hasPrefix("MESHFED_") else { continue }
            if words.contains(where: { $0.hasPrefix("MESHFED_") }) {
                ownJumps.append(String(line.dropFirst(3)))
            } else {
                rules.append((words[1], line))
            }
        }
    }

    /// A rule of somebody else that sends the pod's traffic elsewhere; nil when there is none. Rules for loopback
    /// destinations (a container engine's resolver on 127.0.0.11) are no obstacle.
    package var obstacle: String? {
        var chains: Set<Substring> = ["OUTPUT", "PREROUTING"]
        var seen: Set<Substring> = []
        while let chain = chains.popFirst() {
            guard seen.insert(chain).inserted else { continue }
            for rule in rules where rule.chain == chain {
                let words = rule.text.split(separator: " ")
                if let at = words.firstIndex(of: "-d"), at + 1 < words.count, words[at + 1].hasPrefix("127.") {
                    continue
                }
                guard let at = words.firstIndex(of: "-j") ?? words.firstIndex(of: "-g"), at + 1 < words.count else {
                    continue
                }
                if ["REDIRECT", "DNAT", "TPROXY"].contains(words[at + 1]) { return String(rule.text) }
                chains.insert(words[at + 1])
            }
        }
        return nil
    }
}
