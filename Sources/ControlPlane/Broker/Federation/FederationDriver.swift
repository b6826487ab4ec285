internal import Authority
internal import ControlCoding
internal import Federation
internal import Identity
internal import MeshModel
internal import RPC
internal import Store
internal import Wire

/// Runs the federation's machine: hands it events and time, writes its rows, and does what it asks for once they are durable.
final class FederationDriver {
    /// How often the machine looks at leases and links; its own deadlines are seconds.
    private static let interval = Duration.milliseconds(250)
    /// Between two tries to write when the store's queue is full.
    private static let retry = Duration.milliseconds(50)
    /// How long the last words to an expelled member have to get through; PROTOCOLS section 7 allows 2 s for all of it.
    private static let lastWords = Duration.milliseconds(500)

    private unowned let broker: Broker
    private(set) var machine: FederationMachine
    private(set) lazy var links = FederationLinks(broker)
    private var queue = ActionQueue()
    private var unsent: [ActionQueue.Batch] = []
    private var awaiting: [(batch: UInt64, then: () -> Void)] = []
    private var joinCalls: [UInt64: (Result<[UInt8], JoinRefusal>) -> Void] = [:]
    private var nextCall: UInt64 = 1
    private var sponsors: [ClusterID]??
    private var isPumping = false
    private var isViewDue = false

    init(_ broker: Broker, _ machine: FederationMachine) {
        self.broker = broker
        self.machine = machine
    }

    var moment: Moment { Moment(broker.loop.now, broker.loop.wall) }
    var view: FederationView { machine.view }
    var newestBatch: UInt64 { queue.newest }
    func isDurable(_ batch: UInt64) -> Bool { queue.isDurable(batch) }

    /// Starts the clock, and believes the members of the last run.
    func start() {
        believe()
        tick()
    }

    private func tick() {
        run { machine, moment in machine.tick(at: moment) }
        broker.loop.after(Self.interval) { [weak self] in self?.tick() }
    }

    // MARK: Events

    func run(_ event: (inout FederationMachine, Moment) -> [FederationAction]) {
        queue.append(event(&machine, moment))
        pump()
    }

    /// An event that may be refused; then nothing happened.
    func attempt(
        _ event: (inout FederationMachine, Moment) throws(FederationError) -> [FederationAction]
    ) throws(FederationError) {
        queue.append(try event(&machine, moment))
        pump()
    }

    /// Calls `then` when everything that the machine has decided so far is durable and was told.
    func whenDurable(_ then: @escaping () -> Void) {
        awaiting.append((queue.newest, then))
        pump()
    }

    func describe(_ description: OwnDescription) {
        do throws(FederationError) {
            try attempt { (machine, moment) throws(FederationError) in try machine.describe(description, at: moment) }
        } catch {
            broker.alarms.raise("federation_key", nil, "own records cannot be signed: \(error)", at: broker.loop.wall)
        }
    }

    func offer(_ catalog: MemberCatalog) { run { machine, moment in machine.offer(catalog, at: moment) } }

    /// Told to the machine when it changes only.
    func setSponsors(_ sponsors: [ClusterID]?) {
        guard self.sponsors != .some(sponsors) else { return }
        self.sponsors = .some(sponsors)
        run { machine, moment in machine.setSponsors(sponsors, at: moment) }
    }

    /// As sponsor, the last step of a join; `then` gets the answer when it is durable.
    func join(_ intent: JoinIntent, then: @escaping (Result<[UInt8], JoinRefusal>) -> Void) {
        let call = nextCall
        nextCall += 1
        joinCalls[call] = then
        run { machine, moment in machine.join(call, intent, at: moment) }
    }

    /// A new federation key after leave or eviction; it is on the disk before the machine knows of it.
    func revive() throws(CallRefusal) {
        let signer: FederationSigner
        do throws(BrokerFailure) { signer = try FederationKeys.make(broker.state) } catch {
            throw CallRefusal(.internalError, error.description)
        }
        do throws(FederationError) {
            try attempt { (machine, moment) throws(FederationError) in try machine.revive(signer, at: moment) }
        } catch {
            throw CallRefusal(error)
        }
        broker.log.warning("a new federation key was made", ["key": "\(signer.keyName)"])
        broker.snapshots.compileSoon()
    }

    // MARK: Rows, then actions

    private func pump() {
        guard !isPumping else { return }
        isPumping = true
        defer { isPumping = false }
        while true {
            unsent += queue.batches()
            writeUnsent()
            let actions = queue.released()
            for action in actions { perform(action) }
            let before = awaiting.count
            let ready = awaiting.filter { queue.isDurable($0.batch) }
            awaiting.removeAll { queue.isDurable($0.batch) }
            for item in ready { item.then() }
            if actions.isEmpty, awaiting.count == before, ready.isEmpty { break }
        }
        broker.snapshots.publish()
    }

    private func writeUnsent() {
        while let batch = unsent.first {
            unsent.removeFirst()
            var wasRefused = false
            var isSubmitted = false
            broker.desk.write { (transaction) throws(StoreError) in
                for row in batch.rows {
                    if let value = row.value {
                        try transaction.put(BrokerTable.key(row), value)
                    } else {
                        try transaction.delete(BrokerTable.key(row))
                    }
                }
            } then: { [unowned self] result in
                switch result {
                case .success:
                    queue.written(upTo: batch.number)
                    pump()
                case .failure(.overloaded) where !isSubmitted: wasRefused = true
                case .failure(let error): broker.storeFailed(error)
                }
            }
            isSubmitted = true
            guard wasRefused else { continue }
            // Nothing may overtake it.
            unsent.insert(batch, at: 0)
            broker.loop.after(Self.retry) { [weak self] in self?.pump() }
            return
        }
    }

    private func perform(_ action: FederationAction) {
        switch action {
        case .persist: return
        case .send(let stream, let bytes): links.send(stream, bytes)
        case .close(let stream, let end): links.close(stream, end)
        case .dial(let cluster, let addresses): links.dial(cluster, addresses)
        case .answerJoin(let call, let result): joinCalls.removeValue(forKey: call)?(result)
        case .viewChanged: viewChanged()
        case .linksChanged(let states):
            broker.feed.tell(states)
            broker.snapshots.compileSoon()
        case .expel(let cluster, let domain): expel(cluster, domain)
        case .alarm(let alarm):
            broker.alarms.raise(alarm.kind.rawValue, alarm.cluster, alarm.text, at: broker.loop.wall)
        }
    }

    /// Members or bundles moved. The machine's state runs ahead of the disk: trust follows when that has caught up.
    private func viewChanged() {
        broker.snapshots.compileSoon()
        guard !isViewDue else { return }
        isViewDue = true
        awaiting.append(
            (
                queue.newest,
                { [unowned self] in
                    isViewDue = false
                    believe()
                }
            ))
    }

    private func believe() {
        do {
            try broker.trust.believe(machine.view.bundles)
        } catch {
            broker.alarms.raise("bundle", nil, "the members' bundles cannot be used: \(error)", at: broker.loop.wall)
        }
    }

    /// The end of a membership here: trust and routes at once, open connections after the last words, tokens in the store.
    private func expel(_ cluster: ClusterID, _ domain: TrustDomain) {
        broker.log.warning("member expelled", ["cluster": "\(cluster)", "trust domain": "\(domain)"])
        believe()
        broker.snapshots.compile()
        broker.loop.after(Self.lastWords) { [unowned self] in
            guard !machine.isMember(domain) else { return }
            broker.loop.closeConnections { $0.trustDomain == domain }
        }
        broker.desk.write(broker.state.authority) { (desk) throws(AuthorityError) in
            _ = try desk.revokeTokens(admitting: cluster)
        } then: { [unowned broker] result in
            if case .failure(let error) = result {
                broker.alarms.raise(
                    "tokens", cluster, "its tokens were not revoked: \(error)", at: broker.loop.wall)
            }
        }
    }
}
