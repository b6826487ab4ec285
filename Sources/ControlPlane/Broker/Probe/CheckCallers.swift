internal import MeshModel

/// Whose calls a check makes for one port of one imported service, the most promising first.
struct CheckCallers {
    /// Identities of local workloads that the owner's policy, as its catalog tells it, would let in.
    private static let maximumAllowed = 64
    /// Others: the catalog may be older than the owner's policy, and only a call knows.
    private static let maximumOthers = 8

    /// Never empty.
    let tried: [SPIFFEID]
    /// How many there are, with those that are not tried.
    let total: Int

    /// Nil where no local workload could call.
    init?(_ all: [SPIFFEID], _ policy: Authorization, port: UInt16) {
        guard !all.isEmpty else { return nil }
        var allowed: [SPIFFEID] = []
        var others: [SPIFFEID] = []
        for caller in all {
            if Self.isLetIn(caller, policy, port) { allowed.append(caller) } else { others.append(caller) }
        }
        tried = Array(allowed.prefix(Self.maximumAllowed) + others.prefix(Self.maximumOthers))
        total = all.count
    }

    /// Identities of the cluster's workloads, each once, whether they stand behind a service or only call.
    static func identities(_ objects: [MeshObject], in domain: TrustDomain) -> [SPIFFEID] {
        var found: Set<SPIFFEID> = []
        for object in objects {
            guard case .workload(let workload) = object.body else { continue }
            found.insert(
                .workload(
                    in: domain, namespace: object.metadata.namespace, serviceAccount: workload.serviceAccount))
        }
        return found.sorted()
    }

    /// A guess that sets the order of the calls; the proxies on the way decide.
    private static func isLetIn(_ caller: SPIFFEID, _ policy: Authorization, _ port: UInt16) -> Bool {
        let rules = policy.rules.filter { rule in
            (rule.ports.isEmpty || rule.ports.contains(port)) && rule.callers.contains { $0.matches(caller) }
        }
        return rules.contains { $0.action == .allow } && !rules.contains { $0.action == .deny }
    }
}
