import Authority
import Compiler
import ControlCoding
import Federation
import Identity
import MeshModel
import MeshTestKit
import Store

/// One cluster: a disk, perhaps a running broker, and its proxies.
final class Site {
    /// What a crash takes.
    final class Process {
        var machine: FederationMachine
        var queue = ActionQueue()
        /// End of the sync that is under way; the next one waits for it.
        var syncEnd = Instant.zero
        var revision: UInt64 = 0
        var catalogRevision: UInt64 = 0
        var offered: [CatalogRecord]?
        var compiled: Snapshot?
        var published: Snapshot?
        var isCompileDue = false
        /// Compiled, waiting for the rows that they rest on.
        var pendingSnapshots: [(batch: UInt64, snapshot: Snapshot)] = []

        init(_ machine: FederationMachine) { self.machine = machine }
    }

    unowned let world: World
    let index: Int
    let cluster: ClusterID
    let domain: TrustDomain
    /// Wall clock minus the true time.
    let skew: Int64
    private(set) var incarnation = 0
    private(set) var process: Process?
    private(set) var proxies: [ProxyModel] = []

    // Durable.
    private var disk: [String: FederationRow] = [:]
    private var keyNumber: UInt8 = 0
    private var starts: UInt64 = 0
    private var identifiers = IDTable()
    private let store = MemoryStore()
    private let vault = MemoryVault()
    private(set) var authority: Authority?
    private(set) var objects: [MeshObject] = []
    private(set) var roots: [[UInt8]]
    private(set) var gateways: [GatewayAddress] = []
    /// Token of the sponsor that it uses until it is in.
    var token: [UInt8]?

    init(_ world: World, _ index: Int) throws {
        self.world = world
        self.index = index
        cluster = ClusterID("c\(index)")!
        domain = TrustDomain("c\(index).mesh")!
        skew = Int64(world.below(29)) - 14
        roots = [Array("root \(index) 0".utf8)]
        objects = Catalogue.objects(index, world)
        for number in 0..<3 { proxies.append(ProxyModel(self, number)) }
        if index == 0 {
            authority = try Authority.open(
                vault: vault, store: store, cluster: cluster, trustDomain: domain, now: moment.wall,
                random: seededRandom(world.scenario.seed))
        }
    }

    var moment: Moment {
        Moment(world.now, WallTime(seconds: 1_893_456_000 + skew + Int64(world.now.nanoseconds / 1_000_000_000)))
    }

    var signer: FederationSigner { signer(keyNumber) }

    private func signer(_ number: UInt8) -> FederationSigner {
        let key = world.ring.key([UInt8(index), number])
        return FederationSigner(
            publicKey: key.publicKey, keyName: KeyName(SHA256.hash(key.publicKey))!, sign: { key.sign($0) })
    }

    var description: OwnDescription {
        OwnDescription(
            brokerAddresses: ["\(cluster).example:15012"], gateways: gateways,
            bundle: BundleStatement(trustDomain: domain, roots: roots))
    }

    /// One to three, never the same twice.
    private func drawGateways() {
        gateways = (0...world.below(3)).map {
            GatewayAddress(
                name: Label("gw\($0)")!, address: "10.\(index).0.\($0 + 1)", port: UInt16(1_024 + world.below(60_000)),
                locality: .unknown)
        }
    }

    func trusts(_ other: TrustDomain) -> Bool { process?.machine.isMember(other) ?? false }

    // MARK: Life

    func start() {
        incarnation += 1
        starts += 1
        let seed = world.random.next()
        let configuration = FederationConfiguration(
            cluster: cluster, trustDomain: domain, signer: signer, verifier: world.verifier, version: "sim",
            random: { seed })
        do {
            let rows = disk.keys.sorted().compactMap { disk[$0] }
            process = Process(try FederationMachine(configuration, rows: rows, at: moment))
        } catch {
            return world.fail(.sequencesNeverFall, "\(cluster) cannot read its own rows: \(error)")
        }
        world.oracle.started(self)
        drawGateways()
        redescribe()
        compileSoon()
        tick(incarnation)
        tryToJoin(incarnation)
        for proxy in proxies { proxy.reconnect() }
    }

    func crash() {
        guard process != nil else { return }
        process = nil
        incarnation += 1
        world.processEnded(self)
        for proxy in proxies { proxy.disconnect() }
    }

    private func tick(_ incarnation: Int) {
        world.after(.milliseconds(500)) { [unowned self] in
            guard process != nil, self.incarnation == incarnation else { return }
            run { machine, moment in machine.tick(at: moment) }
            tick(incarnation)
        }
    }

    // MARK: The machine and its disk

    func run(_ event: (inout FederationMachine, Moment) -> [FederationAction]) {
        guard let process else { return }
        let actions = event(&process.machine, moment)
        process.queue.append(actions)
        pump()
    }

    func attempt(_ event: (inout FederationMachine, Moment) throws -> [FederationAction]) -> Bool {
        guard let process, let actions = try? event(&process.machine, moment) else { return false }
        process.queue.append(actions)
        pump()
        return true
    }

    private func pump() {
        guard let process else { return }
        let incarnation = incarnation
        for batch in process.queue.batches() {
            process.syncEnd = max(world.now + world.milliseconds(2...25), process.syncEnd)
            world.after(process.syncEnd - world.now) { [unowned self] in
                guard self.process === process, self.incarnation == incarnation else { return }
                for row in batch.rows {
                    let key = "\(row.table.rawValue) \(row.key)"
                    disk[key] = row.value == nil ? nil : row
                }
                process.queue.written(upTo: batch.number)
                pump()
            }
            if world.scenario.bug == .visibleBeforeDurable { process.queue.written(upTo: batch.number) }
        }
        for action in process.queue.released() { perform(action) }
        publish()
    }

    private func perform(_ action: FederationAction) {
        switch action {
        case .persist: return
        case .send(let id, let bytes):
            world.oracle.sent(self, bytes)
            world.send(id, from: self, bytes)
            if self === world.liar { Liar.follow(self, id, bytes) }
        case .close(let id, _): world.close(id, by: self)
        case .dial(let cluster, _): world.dial(self, cluster)
        case .answerJoin(let call, let result): world.oracle.joinCalls.removeValue(forKey: call)?(result)
        case .viewChanged, .linksChanged, .expel: compileSoon()
        case .alarm: return
        }
    }

    func receive(_ id: StreamID, _ bytes: [UInt8], from site: Site) {
        if world.scenario.bug == .deafToCatalogs, index == 2, !world.isFirstHalf,
            let frame = try? SyncFrame.decode(bytes, from: site.cluster)
        {
            switch frame {
            case .delta, .snapshot: return
            default: break
            }
        }
        run { machine, moment in machine.received(id, bytes, at: moment) }
    }

    // MARK: Snapshot

    func compileSoon() {
        guard let process, !process.isCompileDue else { return }
        process.isCompileDue = true
        let incarnation = incarnation
        world.after(.milliseconds(50)) { [unowned self] in
            guard self.process === process, self.incarnation == incarnation else { return }
            process.isCompileDue = false
            compile(process)
        }
    }

    private func compile(_ process: Process) {
        let view = process.machine.view
        var input = CompilerInput(
            cluster: cluster, trustDomain: domain, epoch: starts, revision: process.revision + 1, objects: objects,
            gateways: gateways)
        input.members = view.members.map { member in
            MemberInput(member: member, catalog: view.catalogs.first { $0.cluster == member.cluster })
        }
        input.bundles = view.bundles + [TrustBundle(trustDomain: domain, roots: roots)]
        guard let result = try? SnapshotCompiler.compile(input, identifiers: &identifiers) else {
            return world.fail(.routesWithinTheSnapshot, "\(cluster): the objects do not compile")
        }
        if result.exports != process.offered {
            process.offered = result.exports
            process.catalogRevision += 1
            let catalog = MemberCatalog(
                cluster: cluster, epoch: starts, revision: process.catalogRevision, gateways: gateways,
                records: result.exports)
            world.oracle.offered(self, catalog)
            run { machine, moment in machine.offer(catalog, at: moment) }
        }
        var snapshot = result.snapshot
        if let last = process.compiled {
            snapshot.revision = last.revision
            if snapshot == last { return }
            snapshot.revision = process.revision + 1
        }
        process.revision = snapshot.revision
        process.compiled = snapshot
        // The machine's state runs ahead of the disk: the snapshot waits for what it was made of.
        process.pendingSnapshots.append((process.queue.newest, snapshot))
        publish()
    }

    private func publish() {
        guard let process else { return }
        while let first = process.pendingSnapshots.first, process.queue.isDurable(first.batch) {
            process.pendingSnapshots.removeFirst()
            let read = first.snapshot
            // Every fifth goes over the wire for real: coding it is half of the cost of a run.
            if first.snapshot.revision % 5 == 0 {
                guard let bytes = try? SnapshotCoding.encode(read), (try? SnapshotCoding.decode(bytes)) == read else {
                    return world.fail(.routesWithinTheSnapshot, "\(cluster): its snapshot does not survive the wire")
                }
            }
            if world.scenario.bug == .keepsTheEvicted, let before = process.published,
                Set(before.members.map(\.cluster)).isStrictSuperset(of: read.members.map(\.cluster))
            {
                continue
            }
            process.published = read
            world.oracle.published(self, read)
            for proxy in proxies { proxy.offer(read) }
        }
    }

    // MARK: Changes

    func redescribe() {
        world.oracle.describes(self)
        let description = description
        _ = attempt { machine, moment in try machine.describe(description, at: moment) }
    }

    func changeGateways() {
        drawGateways()
        redescribe()
        compileSoon()
    }

    func replaceRoot() {
        // The new one beside the old one first, as the authority does it.
        roots = [roots[roots.count - 1], Array("root \(index) \(world.random.next())".utf8)]
        redescribe()
        compileSoon()
    }

    func changeObjects() {
        objects = Catalogue.objects(index, world)
        compileSoon()
    }

    /// After an eviction or `leave`: a new key, durable first.
    func renewKey() -> Bool {
        guard let process else { return false }
        if !process.machine.isOwnKeyDead {
            guard attempt({ machine, moment in try machine.leave(reason: "", at: moment).actions }) else {
                return false
            }
        }
        // The tombstone must be durable before the key that made it is given up.
        guard process.queue.isEmpty else { return false }
        let next = signer(keyNumber + 1)
        guard attempt({ machine, moment in try machine.revive(next, at: moment) }) else { return false }
        // Key file and store change together: a crash before the sync leaves both as they were.
        let incarnation = incarnation
        world.after(process.syncEnd - world.now) { [unowned self] in
            guard self.process === process, self.incarnation == incarnation else { return }
            keyNumber += 1
            redescribe()
        }
        return true
    }

    // MARK: Joining

    private func tryToJoin(_ incarnation: Int) {
        world.after(world.milliseconds(200...2_000)) { [unowned self] in
            guard let process, self.incarnation == incarnation else { return }
            defer { tryToJoin(incarnation) }
            guard let token, !process.machine.isOwnKeyDead, !trusts(world.sponsor.domain),
                let request = try? process.machine.joinRequest(tokenSecret: token, plan: false)
            else { return }
            Joining.ask(self, request) { [unowned self] answer in
                guard self.process === process, self.incarnation == incarnation else { return }
                let domain = world.sponsor.domain
                if attempt({ machine, moment in
                    try machine.joined(answer, trustDomain: domain, at: moment).actions
                }) {
                    world.oracle.rejoined(self)
                }
            }
        }
    }
}
