internal import Compiler
internal import ControlCoding
internal import Federation
internal import MeshModel
internal import RPC
internal import Reactor
internal import Settings
internal import Store
internal import Wire

/// Compiles what every proxy routes by, at most every 50 ms, and hands it on when all that it rests on is durable.
final class SnapshotDriver {
    /// A snapshot as the feed sends it: encoded once for all subscribers.
    struct Published {
        let snapshot: Snapshot
        /// A whole frame of the feed.
        let frame: [UInt8]
    }

    /// A compiled snapshot on its way out.
    private final class Waiting {
        let snapshot: Snapshot
        /// The federation's rows up to this batch have to be durable.
        let batch: UInt64
        var awaitsIdentifiers: Bool

        init(_ snapshot: Snapshot, batch: UInt64, awaitsIdentifiers: Bool) {
            self.snapshot = snapshot
            self.batch = batch
            self.awaitsIdentifiers = awaitsIdentifiers
        }
    }

    /// From the first change to the snapshot (PROTOCOLS section 8).
    private static let debounce = Duration.milliseconds(50)

    private unowned let broker: Broker
    let epoch: UInt64
    private(set) var revision: UInt64 = 0
    /// The newest, perhaps not yet published.
    private(set) var compilation: Compilation?
    private(set) var published: Published?
    /// Why the newest state of the cluster makes no snapshot; empty when it does.
    private(set) var failure = ""
    private(set) var withdrawn = WithdrawnImports()

    private var identifiers: IDTable
    private var addresses: AddressPool
    private var waiting: [Waiting] = []
    /// Called with the first snapshot that is published: the broker serves.
    var onFirst: (() -> Void)?
    private var isDue = false
    private var lastDuration = Duration.zero
    private var offered: [CatalogRecord]?
    private var offeredGateways: [GatewayAddress] = []
    private var catalogRevision: UInt64 = 0

    init(
        _ broker: Broker, epoch: UInt64, identifiers: [IDKey: UInt32], addresses: [MeshName: AddressPool.Entry]
    ) {
        self.broker = broker
        self.epoch = epoch
        self.identifiers = IDTable(known: identifiers)
        self.addresses = AddressPool(held: addresses)
    }

    /// Compiles within 50 ms; a cluster whose snapshot takes long waits longer, so that a flapping endpoint leaves four
    /// fifths of the thread to everything else.
    func compileSoon() {
        guard !isDue else { return }
        isDue = true
        broker.loop.after(max(Self.debounce, lastDuration * 4)) { [weak self] in
            guard let self, isDue else { return }
            compile()
        }
    }

    /// Compiles what there is; the revision rises when the result is another one.
    func compile() {
        isDue = false
        let start = Machine.boottime
        defer { lastDuration = .nanoseconds(Int64(clamping: Machine.boottime &- start)) }
        var result: Compilation
        do throws(CompileError) {
            result = try SnapshotCompiler.compile(input(broker.objects.book.all), identifiers: &identifiers)
            failure = ""
        } catch {
            // Every change was judged before; what is left is a mistake of ours, and the last snapshot stays.
            if failure != error.description {
                broker.log.error("the snapshot cannot be made", ["problems": "\(error)"])
            }
            failure = error.description
            return
        }
        addresses.assign(&result.snapshot, now: broker.loop.wall)
        tellAddresses()
        let pending = save()
        broker.federation.setSponsors(result.sponsors)
        describe(result)
        offer(result)
        var next = result
        if let last = compilation {
            withdrawn.note(from: last, to: result, at: broker.loop.wall)
            next.snapshot.revision = last.snapshot.revision
            guard next.snapshot != last.snapshot else {
                compilation = next
                if let pending { write(pending, for: nil) }
                return
            }
        }
        revision += 1
        next.snapshot.revision = revision
        compilation = next
        let entry = Waiting(
            next.snapshot, batch: broker.federation.newestBatch, awaitsIdentifiers: pending != nil)
        waiting.append(entry)
        if let pending { write(pending, for: entry) }
        publish()
    }

    /// Refuses objects that do not make a snapshot together.
    func judge(_ objects: [MeshObject]) throws(ObjectRefusal) {
        var trial = identifiers
        do throws(CompileError) {
            _ = try SnapshotCompiler.compile(input(objects), identifiers: &trial)
        } catch {
            throw ObjectRefusal(.invalidArgument, error.description)
        }
    }

    /// Publishes what waits and rests on durable rows only, in order.
    func publish() {
        var newest: Snapshot?
        while let first = waiting.first, !first.awaitsIdentifiers, broker.federation.isDurable(first.batch) {
            newest = waiting.removeFirst().snapshot
        }
        guard let newest else { return }
        do throws(CodingError) {
            let bytes = try SnapshotCoding.encode(newest)
            let frame = BrokerFrame.snapshot(epoch: newest.epoch, revision: newest.revision, bytes: bytes).encode()
            published = Published(snapshot: newest, frame: frame)
        } catch {
            broker.alarms.raise("snapshot", nil, "the snapshot is refused: \(error)", at: broker.loop.wall)
            return
        }
        broker.counts.snapshots += 1
        broker.feed.publish()
        let first = onFirst
        onFirst = nil
        first?()
    }

    // MARK: Parts

    private func input(_ objects: [MeshObject]) -> CompilerInput {
        let view = broker.federation.view
        var catalogs: [ClusterID: MemberCatalog] = [:]
        for catalog in view.catalogs { catalogs[catalog.cluster] = catalog }
        return CompilerInput(
            cluster: broker.settings.cluster, trustDomain: broker.settings.trustDomain, epoch: epoch,
            revision: revision, objects: objects, gateways: broker.gateways.live,
            members: view.members.map { MemberInput(member: $0, catalog: catalogs[$0.cluster]) },
            bundles: [broker.trust.ownBundle] + broker.trust.usable(view.bundles), unhealthy: broker.health.unhealthy)
    }

    /// Numbers that were given out just now: they have to be durable before a proxy keys anything by them.
    private func save() -> [Row]? {
        var rows: [Row] = identifiers.takeAdded().map {
            (StoreKey(BrokerTable.identifiers, $0.key.description), BrokerRecords.bytes(UInt64($0.identifier)))
        }
        rows += addresses.takeChanges().map { (AddressRow.key($0.name), $0.entry.map(AddressRow.encode)) }
        return rows.isEmpty ? nil : rows
    }

    /// The range is exhausted: what exists goes on, the newest names have no address.
    private func tellAddresses() {
        guard let first = addresses.unserved.first else { return }
        broker.alarms.raise(
            "addresses", nil,
            "240.240.0.0/16 is used up: \(addresses.unserved.count) names have no address, the first is \(first);"
                + " names that are gone give theirs back after 24 h", at: broker.loop.wall)
    }

    /// A row to be written; without a value it goes.
    private typealias Row = (key: StoreKey, value: [UInt8]?)

    private func write(_ rows: [Row], for entry: Waiting?) {
        broker.desk.write { (transaction) throws(StoreError) in
            for row in rows {
                if let value = row.value {
                    try transaction.put(row.key, value)
                } else {
                    try transaction.delete(row.key)
                }
            }
        } then: { [unowned self] result in
            switch result {
            case .success:
                entry?.awaitsIdentifiers = false
                publish()
            case .failure(.overloaded):
                broker.loop.after(Self.debounce) { [weak self] in self?.write(rows, for: entry) }
            case .failure(let error): broker.storeFailed(error)
            }
        }
    }

    /// What the members are told of this cluster itself.
    private func describe(_ result: Compilation) {
        let addresses = result.brokerAddresses.isEmpty ? broker.ownBrokerAddresses : result.brokerAddresses
        let bundle = broker.trust.ownBundle
        broker.federation.describe(
            OwnDescription(
                brokerAddresses: addresses, gateways: broker.gateways.live,
                bundle: BundleStatement(
                    trustDomain: bundle.trustDomain, roots: bundle.roots, revokedSerials: bundle.revokedSerials)))
    }

    /// What the members are offered.
    private func offer(_ result: Compilation) {
        let gateways = broker.gateways.live
        guard result.exports != offered || gateways != offeredGateways else { return }
        offered = result.exports
        offeredGateways = gateways
        catalogRevision += 1
        broker.federation.offer(
            MemberCatalog(
                cluster: broker.settings.cluster, epoch: epoch, revision: catalogRevision, gateways: gateways,
                records: result.exports))
    }
}
