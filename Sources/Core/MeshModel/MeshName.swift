/// A service name as it stands on a mesh leg (PROTOCOLS section 3).
///
/// `<service>.<namespace>.svc.clusterset.local`, pinned `….svc.<cluster>.clusterset.local`, or the local
/// `….svc.cluster.local`, which no gateway accepts. Always lower case.
package struct MeshName: Hashable, Comparable, Sendable, CustomStringConvertible {
    package enum Scope: Hashable, Sendable {
        case clusterset
        case pinned(ClusterID)
        case local
    }

    package let service: Label
    package let namespace: Label
    package let scope: Scope

    package init(service: Label, namespace: Label, scope: Scope) {
        self.service = service
        self.namespace = namespace
        self.scope = scope
    }

    /// Reads one of the three full forms; nil for anything else, also for upper case or a trailing dot.
    package init?(_ bytes: some Collection<UInt8>) {
        let labels = bytes.split(separator: 0x2E, omittingEmptySubsequences: false)
        guard labels.count == 5 || labels.count == 6, let service = Label(Array(labels[0])),
            let namespace = Label(Array(labels[1])), labels[2].elementsEqual("svc".utf8),
            labels[labels.count - 1].elementsEqual("local".utf8)
        else { return nil }
        let domain = labels[labels.count - 2]
        self.service = service
        self.namespace = namespace
        if labels.count == 5, domain.elementsEqual("clusterset".utf8) {
            scope = .clusterset
        } else if labels.count == 5, domain.elementsEqual("cluster".utf8) {
            scope = .local
        } else if labels.count == 6, domain.elementsEqual("clusterset".utf8), let label = Label(Array(labels[3])) {
            scope = .pinned(ClusterID(label))
        } else {
            return nil
        }
    }

    package var objectName: ObjectName { ObjectName(namespace: namespace, name: service) }

    package var description: String {
        switch scope {
        case .clusterset: "\(service).\(namespace).svc.clusterset.local"
        case .pinned(let cluster): "\(service).\(namespace).svc.\(cluster).clusterset.local"
        case .local: "\(service).\(namespace).svc.cluster.local"
        }
    }

    package static func < (left: MeshName, right: MeshName) -> Bool { left.description < right.description }
}

/// The SNI of a mesh leg: `<port>.<mesh name>`, lower case.
package struct ServiceAddress: Hashable, Sendable, CustomStringConvertible {
    package let name: MeshName
    package let port: UInt16

    package init(name: MeshName, port: UInt16) {
        self.name = name
        self.port = port
    }

    /// Reads an SNI; nil when it is not `<port>.<mesh name>`.
    package init?(serverName bytes: some Collection<UInt8>) {
        let all = Array(bytes)
        guard all.count <= 253, let dot = all.firstIndex(of: 0x2E), let port = Grammar.port(all[..<dot]),
            let name = MeshName(all[(dot + 1)...])
        else { return nil }
        self.init(name: name, port: port)
    }

    /// `<port>.<mesh name>`: SNI, and the audience of an origin assertion.
    package var serverName: String { "\(port).\(name)" }
    /// `<mesh name>:<port>`: `:authority` between proxies.
    package var authority: String { "\(name):\(port)" }
    package var description: String { serverName }

    /// The mesh's own service, answered by every gateway itself to members.
    package static func probe(of cluster: ClusterID) -> ServiceAddress {
        guard let service = Label("probe"), let namespace = Label("meshfed-system") else {
            preconditionFailure("literal labels")
        }
        return ServiceAddress(name: MeshName(service: service, namespace: namespace, scope: .pinned(cluster)), port: 80)
    }
}
