import ControlCoding
import Federation
import Identity
import MeshModel
import MeshTestKit

/// A few brokers in one process on one clock, wired without loss. Rows are durable as soon as they are emitted, in their order.
final class Lab {
    struct Site {
        var machine: FederationMachine
        var rows: [String: FederationRow] = [:]
        var alarms: [FederationAlarm] = []
        var answers: [UInt64: Result<[UInt8], JoinRefusal>] = [:]
        var expelled: [ClusterID] = []
        var ends: [StreamID: StreamEnd] = [:]
        var dials: [ClusterID] = []
        var seed: UInt8 = 0
    }

    struct Wire {
        var left: String
        var right: String
    }

    let ring = KeyRing()
    var sites: [String: Site] = [:]
    var wires: [UInt64: Wire] = [:]
    /// Frames on the way: (to, stream, bytes).
    var queue: [(String, StreamID, [UInt8])] = []
    var clock = Moment(Instant(nanoseconds: 1_000_000_000), WallTime(seconds: 1_000_000))
    private var nextNumber: UInt64 = 1

    static func id(_ name: String) -> ClusterID { ClusterID(name)! }
    static func domain(_ name: String) -> TrustDomain { TrustDomain("\(name).mesh")! }

    func verifier() -> RecordVerifier {
        let ring = ring
        return RecordVerifier(
            verify: { ring.verify($0, $1, $2) }, hash: { SHA256.hash($0) },
            rootHash: { $0.first == 0x72 ? SHA256.hash($0) : nil })
    }

    func signer(_ name: String, _ seed: UInt8) -> FederationSigner {
        let key = ring.key(Array(name.utf8) + [seed])
        return FederationSigner(
            publicKey: key.publicKey, keyName: KeyName(SHA256.hash(key.publicKey))!, sign: { key.sign($0) })
    }

    func configuration(_ name: String, seed: UInt8) -> FederationConfiguration {
        FederationConfiguration(
            cluster: Self.id(name), trustDomain: Self.domain(name), signer: signer(name, seed), verifier: verifier(),
            version: "test", random: { 7 })
    }

    static func root(_ name: String) -> [UInt8] { Array("root of \(name)".utf8) }

    func description(_ name: String, roots: [[UInt8]]? = nil, gateways: Int = 1) -> OwnDescription {
        OwnDescription(
            brokerAddresses: ["\(name).example:15012"],
            gateways: (0..<gateways).map {
                GatewayAddress(name: Label("gw\($0)")!, address: "10.0.0.\($0)", port: 15_443, locality: .unknown)
            },
            bundle: BundleStatement(trustDomain: Self.domain(name), roots: roots ?? [Self.root(name)]))
    }

    func add(_ names: String...) throws {
        for name in names {
            let machine = try FederationMachine(configuration(name, seed: 0), rows: [], at: clock)
            sites[name] = Site(machine: machine)
            try run(name) { lab, machine in try machine.describe(lab.description(name), at: lab.clock) }
        }
    }

    /// Runs an event of one site and does what it says.
    func run(_ name: String, _ event: (Lab, inout FederationMachine) throws -> [FederationAction]) rethrows {
        guard var site = sites[name] else { return }
        let actions = try event(self, &site.machine)
        sites[name] = site
        perform(actions, name)
    }

    func perform(_ actions: [FederationAction], _ name: String) {
        for action in actions {
            switch action {
            case .persist(let rows):
                for row in rows { sites[name]?.rows["\(row.table.rawValue) \(row.key)"] = row.value == nil ? nil : row }
            case .send(let id, let bytes):
                guard let wire = wires[id.number] else { continue }
                queue.append((wire.left == name ? wire.right : wire.left, id, bytes))
            case .close(let id, let end):
                sites[name]?.ends[id] = end
                if let wire = wires.removeValue(forKey: id.number) {
                    // What was sent before the end still arrives.
                    drain()
                    run(wire.left == name ? wire.right : wire.left) { lab, machine in
                        machine.streamClosed(id, at: lab.clock)
                    }
                }
            case .dial(let cluster, _): sites[name]?.dials.append(cluster)
            case .answerJoin(let call, let result): sites[name]?.answers[call] = result
            case .viewChanged, .linksChanged: continue
            case .expel(let cluster, _): sites[name]?.expelled.append(cluster)
            case .alarm(let alarm): sites[name]?.alarms.append(alarm)
            }
        }
    }

    func drain() {
        while !queue.isEmpty {
            let (name, id, bytes) = queue.removeFirst()
            run(name) { lab, machine in machine.received(id, bytes, at: lab.clock) }
        }
    }

    /// Opens a stream dialled by `left`.
    @discardableResult
    func connect(_ left: String, _ right: String) -> StreamID {
        let id = StreamID(nextNumber)
        nextNumber += 1
        wires[id.number] = Wire(left: left, right: right)
        run(left) { lab, machine in
            machine.streamOpened(id, trustDomain: Self.domain(right), dialledByUs: true, at: lab.clock)
        }
        run(right) { lab, machine in
            machine.streamOpened(id, trustDomain: Self.domain(left), dialledByUs: false, at: lab.clock)
        }
        drain()
        return id
    }

    func cut(_ id: StreamID) {
        guard let wire = wires.removeValue(forKey: id.number) else { return }
        for name in [wire.left, wire.right] {
            run(name) { lab, machine in machine.streamClosed(id, at: lab.clock) }
        }
    }

    /// The whole join, with a token that the ledger has agreed to.
    @discardableResult
    func join(_ joiner: String, to sponsor: String, plan: Bool = false) throws -> JoinOutcome {
        let request = try sites[joiner]!.machine.joinRequest(
            tokenSecret: [UInt8](repeating: 1, count: 32), plan: plan)
        let intent = try sites[sponsor]!.machine.joinIntent(request)
        nextNumber += 1
        let call = nextNumber
        run(sponsor) { lab, machine in machine.join(call, intent, at: lab.clock) }
        drain()
        let answer = try sites[sponsor]!.answers[call]!.get()
        if plan { return try sites[joiner]!.machine.planned(answer, trustDomain: Self.domain(sponsor)) }
        var outcome: JoinOutcome?
        try run(joiner) { lab, machine in
            let (result, actions) = try machine.joined(answer, trustDomain: Self.domain(sponsor), at: lab.clock)
            outcome = result
            return actions
        }
        drain()
        return outcome!
    }

    /// Lets time pass second by second.
    func pass(_ seconds: Int) {
        for _ in 0..<seconds {
            clock.instant = clock.instant + .seconds(1)
            clock.wall = clock.wall.advanced(bySeconds: 1)
            for name in sites.keys.sorted() { run(name) { lab, machine in machine.tick(at: lab.clock) } }
            drain()
        }
    }

    /// The process dies and comes back with what is on disk.
    func restart(_ name: String) throws {
        for (number, wire) in wires where wire.left == name || wire.right == name { cut(StreamID(number)) }
        let rows = Array(sites[name]!.rows.values)
        sites[name]!.machine = try FederationMachine(
            configuration(name, seed: sites[name]!.seed), rows: rows, at: clock)
    }

    func members(_ name: String) -> [String] { sites[name]!.machine.view.members.map(\.cluster.description) }
    func freshness(_ name: String, of member: String) -> Freshness? {
        sites[name]!.machine.view.members.first { $0.cluster == Self.id(member) }?.freshness
    }
    func services(_ name: String, of member: String) -> [String] {
        sites[name]!.machine.view.catalogs.first { $0.cluster == Self.id(member) }?.records.map {
            "\($0.service.name)"
        } ?? []
    }
    func alarms(_ name: String) -> [FederationAlarm.Kind] { sites[name]!.alarms.map(\.kind) }

    func offer(_ name: String, revision: UInt64, epoch: UInt64 = 1, _ services: [String: ExportScope]) {
        let records = services.keys.sorted().map { service in
            CatalogRecord(
                service: ObjectName(namespace: Label("shop")!, name: Label(service)!), cluster: Self.id(name),
                ports: [ServicePort(name: "", port: 80, appProtocol: .http)],
                capacities: [RemoteCapacity(locality: .unknown, healthyCount: 1, capacity: 1)],
                authorization: Authorization(), exportTo: services[service]!)
        }
        let catalog = MemberCatalog(cluster: Self.id(name), epoch: epoch, revision: revision, records: records)
        run(name) { lab, machine in machine.offer(catalog, at: lab.clock) }
        drain()
    }

    func status(_ name: String, _ cluster: String) -> FederationMemberStatus? {
        sites[name]!.machine.status(at: clock.instant).last { $0.statement.cluster == Self.id(cluster) }
    }
}
