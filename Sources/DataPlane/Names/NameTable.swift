package import MeshModel
package import Wire

/// What the mesh says to DNS questions, made of one snapshot; immutable, asked by one thread.
package final class NameTable: Sendable {
    /// Seconds: an address of the mesh is stable, an endpoint's is not.
    private static let timeToLive: UInt32 = 5

    private struct Entry: Sendable {
        var v4: [[UInt8]] = []
        var v6: [[UInt8]] = []
        /// A name's own address follows the default routes; an endpoint's address stands anyhow.
        var isVirtual = true
        /// Port by name, for `_<name>._tcp.<this name>`.
        var ports: [(name: [UInt8], port: UInt16)] = []
    }

    /// What is done with a question.
    package enum Verdict: Hashable, Sendable {
        case answer(DNSAnswer)
        /// Not the mesh's: the resolvers of the machine know.
        case forward
    }

    private let entries: [[UInt8]: Entry]
    /// Names of the mesh that have no address: the range is used up, or the snapshot is older than addresses are.
    private let unserved: Set<[UInt8]>
    /// Services with endpoints, by what stands behind the first label of their endpoints' names.
    private let headless: [[UInt8]: Int]
    private let listed: [Service]
    /// `<service>.<namespace>` of every service of the mesh.
    private let services: Set<[UInt8]>
    private let namespace: [UInt8]

    /// - Parameter namespace: the workload's own, for one-label names.
    package init(_ snapshot: Snapshot, namespace: Label) {
        var entries: [[UInt8]: Entry] = [:]
        var services: Set<[UInt8]> = []
        var unserved: Set<[UInt8]> = []
        var headless: [[UInt8]: Int] = [:]
        var listed: [Service] = []
        for service in snapshot.services {
            let plain = "\(service.name.name).\(service.name.namespace)"
            services.insert(Array(plain.utf8))
            var local: Entry?
            var clusterset: Entry?
            for address in service.virtualAddresses {
                var entry = Entry(v4: [address.v4], v6: [address.v6])
                entry.ports = Self.ports(of: address.name, service)
                switch address.name.scope {
                case .clusterset:
                    clusterset = entry
                    entries[Array(address.name.description.utf8)] = entry
                case .local: local = entry
                case .pinned: entries[Array(address.name.description.utf8)] = entry
                }
            }
            let named = service.plainNames && clusterset != nil ? clusterset : local
            let isNamed = service.isLocal || service.plainNames
            for name in [plain, "\(plain).svc", "\(plain).svc.cluster.local"] {
                entries[Array(name.utf8)] = named
                if named == nil, isNamed { unserved.insert(Array(name.utf8)) }
            }
            for name in service.meshNames(in: snapshot.cluster)
            where !service.virtualAddresses.contains(where: { $0.name == name }) {
                unserved.insert(Array(name.description.utf8))
            }
            guard !service.endpoints.isEmpty else { continue }
            headless[Array("\(plain).svc.cluster.local".utf8)] = listed.count
            if service.export.isExported {
                headless[Array("\(snapshot.cluster).\(plain).svc.clusterset.local".utf8)] = listed.count
            }
            listed.append(service)
        }
        self.headless = headless
        self.listed = listed
        self.entries = entries
        self.services = services
        self.unserved = unserved
        self.namespace = namespace.bytes
    }

    private static func ports(of name: MeshName, _ service: Service) -> [(name: [UInt8], port: UInt16)] {
        var ports = service.ports
        if case .pinned(let cluster) = name.scope, let remote = service.remotes.first(where: { $0.cluster == cluster })
        {
            ports = remote.ports
        }
        return ports.filter { !$0.name.isEmpty }.map { (Array($0.name.utf8), $0.port) }
    }

    /// `<workload>.<service>…`: one endpoint by its own address, for clients that choose by themselves. Made when it is asked
    /// for: there are many.
    private func endpoint(_ name: [UInt8]) -> Entry? {
        guard let dot = name.firstIndex(of: 0x2E), let index = headless[Array(name[(dot + 1)...])] else { return nil }
        let service = listed[index]
        guard
            let endpoint = service.endpoints.first(where: {
                $0.workload.namespace == service.name.namespace && name[..<dot].elementsEqual($0.workload.name.bytes)
            })
        else { return nil }
        let text = Array(endpoint.address.utf8)
        var entry = Entry(isVirtual: false)
        if let four = IPLiteral.v4(text) { entry.v4 = [four] } else if let six = IPLiteral.v6(text) { entry.v6 = [six] }
        entry.ports = service.ports.compactMap { port in
            guard !port.name.isEmpty, let target = endpoint.targetPorts[port.port] else { return nil }
            return (Array(port.name.utf8), target)
        }
        return entry
    }

    /// Judges one question. `hasV4`, `hasV6`: a default route of the family exists, so that virtual addresses are captured.
    package func judge(_ query: DNSQuery, hasV4: Bool, hasV6: Bool) -> Verdict {
        guard query.questionClass == DNSCode.internet else {
            return Self.isOurs(query.name) ? .answer(DNSAnswer(code: DNSCode.refused)) : .forward
        }
        if let entry = find(query.name) { return .answer(addresses(entry, query, hasV4, hasV6)) }
        if unserved.contains(qualified(query.name)) { return .answer(DNSAnswer(code: DNSCode.serverFailure)) }
        if let (port, entry) = service(query.name) {
            guard query.type == DNSCode.srv || query.type == DNSCode.any else { return .answer(empty(query.name)) }
            let target = query.name.split(separator: 0x2E, maxSplits: 2).last.map(Array.init) ?? []
            _ = entry
            return .answer(
                DNSAnswer(records: [.service(port: port, target: target)], timeToLive: Self.timeToLive))
        }
        return isHeldBack(query.name) ? .answer(Self.absent(query.name)) : .forward
    }

    /// Where nothing is known yet: the mesh's zones are not asked for elsewhere.
    package static func judgeWithoutTable(_ query: DNSQuery) -> Verdict {
        isOurs(query.name) || query.name.hasSuffix("cluster.local")
            ? .answer(DNSAnswer(code: DNSCode.serverFailure)) : .forward
    }

    private func find(_ name: [UInt8]) -> Entry? {
        entries[name] ?? entries[qualified(name)] ?? endpoint(name)
    }

    /// One label is a service of the workload's own namespace.
    private func qualified(_ name: [UInt8]) -> [UInt8] {
        name.isEmpty || name.contains(0x2E) ? name : name + [0x2E] + namespace
    }

    /// `_<port>._tcp.<name>`.
    private func service(_ name: [UInt8]) -> (UInt16, Entry)? {
        let parts = name.split(separator: 0x2E, maxSplits: 2)
        guard parts.count == 3, parts[0].first == 0x5F, parts[1].elementsEqual("_tcp".utf8),
            let entry = find(Array(parts[2])),
            let port = entry.ports.first(where: { $0.name.elementsEqual(parts[0].dropFirst()) })
        else { return nil }
        return (port.port, entry)
    }

    private func addresses(_ entry: Entry, _ query: DNSQuery, _ hasV4: Bool, _ hasV6: Bool) -> DNSAnswer {
        var found: [[UInt8]] = []
        if query.type == DNSCode.a || query.type == DNSCode.any, hasV4 || !entry.isVirtual { found += entry.v4 }
        if query.type == DNSCode.aaaa || query.type == DNSCode.any, hasV6 || !entry.isVirtual { found += entry.v6 }
        guard !found.isEmpty else { return empty(query.name) }
        return DNSAnswer(records: found.map { .address($0) }, timeToLive: Self.timeToLive)
    }

    /// The name is there, this type is not.
    private func empty(_ name: [UInt8]) -> DNSAnswer {
        DNSAnswer(zone: Self.zone(of: name), timeToLive: Self.timeToLive)
    }

    private static func absent(_ name: [UInt8]) -> DNSAnswer {
        DNSAnswer(code: DNSCode.nameError, zone: zone(of: name), timeToLive: timeToLive)
    }

    private static func zone(of name: [UInt8]) -> [UInt8] {
        for zone in ["clusterset.local", "cluster.local"] where name.hasSuffix(zone) { return Array(zone.utf8) }
        // A short form: it is its own zone, so that nothing else is denied with it.
        return name
    }

    /// Names that are never asked for elsewhere: the mesh's zone, wherever a search list put it, the names of its services
    /// under `cluster.local`, and the reverse of its addresses.
    private func isHeldBack(_ name: [UInt8]) -> Bool {
        if Self.isOurs(name) { return true }
        guard name.hasSuffix("cluster.local") else { return false }
        let labels = name.split(separator: 0x2E)
        for start in 0..<max(0, labels.count - 1)
        where services.contains(Array(labels[start]) + [0x2E] + Array(labels[start + 1])) { return true }
        return false
    }

    private static func isOurs(_ name: [UInt8]) -> Bool {
        if name.hasSuffix("240.240.in-addr.arpa") || name.hasSuffix("0.0.0.0.2.0.0.0.1.0.0.2.ip6.arpa") { return true }
        let labels = name.split(separator: 0x2E)
        for index in labels.indices.dropLast()
        where labels[index].elementsEqual("clusterset".utf8) && labels[index + 1].elementsEqual("local".utf8) {
            return true
        }
        return false
    }
}

extension [UInt8] {
    /// True for the zone itself and for names in it.
    func hasSuffix(_ zone: String) -> Bool {
        let tail = Array(zone.utf8)
        guard count >= tail.count, self[(count - tail.count)...].elementsEqual(tail) else { return false }
        return count == tail.count || self[count - tail.count - 1] == 0x2E
    }
}
