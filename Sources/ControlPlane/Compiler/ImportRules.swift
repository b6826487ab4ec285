internal import MeshModel

/// The import rules of a cluster, all Import objects together (PROTOCOLS section 3): default none.
struct ImportRules {
    private struct Key: Hashable {
        let cluster: ClusterID?
        let namespace: Label
        let service: Label?
    }

    /// Rule → whether plain names mean the clusterset name.
    private var rules: [Key: Bool] = [:]

    init(_ imports: [Placed<ImportObject>]) {
        for object in imports {
            for rule in object.body.rules where !ImportObject.isReserved(rule.namespace) {
                let key = Key(cluster: rule.cluster, namespace: rule.namespace, service: rule.service)
                rules[key] = object.body.plainNames || rules[key] ?? false
            }
        }
    }

    enum Coverage { case none, imported(plainNames: Bool) }

    func coverage(of service: ObjectName, from cluster: ClusterID) -> Coverage {
        guard !ImportObject.isReserved(service.namespace) else { return .none }
        let matches = [
            Key(cluster: cluster, namespace: service.namespace, service: service.name),
            Key(cluster: cluster, namespace: service.namespace, service: nil),
            Key(cluster: nil, namespace: service.namespace, service: service.name),
            Key(cluster: nil, namespace: service.namespace, service: nil),
        ].compactMap { rules[$0] }
        return matches.isEmpty ? .none : .imported(plainNames: matches.contains(true))
    }

    /// True when some rule could bring `service` in from somewhere.
    func names(_ service: ObjectName) -> Bool {
        rules.keys.contains {
            $0.namespace == service.namespace && ($0.service == nil || $0.service == service.name)
        }
    }
}
