internal import Authority
internal import ControlCoding
internal import Federation
internal import Glibc
internal import Identity
internal import Manifest
internal import MeshModel
internal import Reactor
internal import RPC
internal import Settings
internal import Store
internal import StoreSQLite
internal import TLS

/// The control plane of one cluster: its parts, and what they share. Everything here lives on the loop's thread; commits are
/// the store thread's.
final class Broker {
    /// A bound address, for `status`.
    struct Listener {
        let purpose: String
        let address: String
    }

    let settings: BrokerSettings
    let loop: RPCLoop
    let log: BrokerLog
    let state: BrokerState
    let desk: LoopDesk
    let alarms: AlarmList
    let trust: TrustKeeper
    let started: WallTime
    var counts = BrokerCounts()
    private(set) var listeners: [Listener] = []
    /// `host:port` of 15012 and 8443 as others dial them.
    private(set) var ownBrokerAddresses: [String] = []
    private(set) var ownJoinAddresses: [String] = []
    /// Why the broker had to stop; nil while it did not.
    private(set) var stopReason: BrokerFailure?
    private(set) var isStopping = false

    private let records: BrokerRecords
    private let startMachine: FederationMachine
    private let startBook: ObjectBook
    private let startDirectoryError: String

    private(set) lazy var objects = ObjectDesk(self, startBook)
    private(set) lazy var snapshots = SnapshotDriver(
        self, epoch: records.epoch, identifiers: records.identifiers, addresses: records.addresses)
    private(set) lazy var gateways = GatewayRegistry(self, known: records.gateways)
    private(set) lazy var health = HealthBoard(self)
    private(set) lazy var federation = FederationDriver(self, startMachine)
    private(set) lazy var feed = FeedHub(self)
    private(set) lazy var identities = IdentityService(self)
    private(set) lazy var sponsor = SponsorService(self)
    private(set) lazy var admin = AdminService(self)
    private(set) lazy var page = BrokerPage(self)
    private var watch: DirectoryWatch?

    /// Reads the store and the configuration; nothing listens yet.
    init(
        _ settings: BrokerSettings, loop: RPCLoop, log: BrokerLog, state: BrokerState
    ) throws(BrokerFailure) {
        let records = try BrokerRecords(state.store)
        let machine = try FederationKeys.machine(settings, state, records.federation, Moment(loop.now, loop.wall))
        let configuration = try StartConfiguration(settings, records, state.store)
        let trust = try TrustKeeper(
            state.authority, name: settings.cluster.label, wall: loop.wall, jitter: Double.random(in: 0...1))
        self.settings = settings
        self.loop = loop
        self.log = log
        self.state = state
        self.records = records
        self.trust = trust
        startMachine = machine
        startBook = configuration.book
        startDirectoryError = configuration.directoryError
        desk = LoopDesk(loop: loop, store: state.store)
        alarms = AlarmList(log)
        started = loop.wall
    }

    // MARK: Life

    /// Listens, compiles the first snapshot, then starts the clocks; `ready` gets the line that says so when that snapshot
    /// is published.
    func start(ready: @escaping (String) -> Void) throws(BrokerFailure) {
        try listen()
        snapshots.onFirst = { [unowned self] in ready(readyLine) }
        if !startDirectoryError.isEmpty { objects.refuseDirectory(startDirectoryError) }
        snapshots.compile()
        guard snapshots.failure.isEmpty else { throw .configuration(snapshots.failure) }
        federation.start()
        if let path = settings.configDirectory { watch = DirectoryWatch(self, path: path) }
        everySecond()
        everyMinute()
        do throws(RPCSetupError) {
            try loop.onSignal { [unowned self] signal in
                switch signal {
                case SIGTERM, SIGINT, SIGQUIT:
                    log.info("stopping", ["signal": "\(signal)"])
                    stop()
                case SIGHUP: watch?.reload()
                default: return
                }
            }
        } catch {
            throw BrokerFailure(error)
        }
    }

    private var readyLine: String {
        let places = listeners.map { "\($0.address) (\($0.purpose))" }.joined(separator: ", ")
        return "broker: ready on \(places); cluster \(settings.cluster), trust domain \(settings.trustDomain)"
    }

    private func listen() throws(BrokerFailure) {
        let mutual = RPCService()
        feed.install(on: mutual)
        identities.installMutual(on: mutual)
        mutual.stream(FederationLinks.path, limit: CodingLimits.frameBytes) { [unowned self] stream in
            federation.links.accept(stream)
        }
        admin.install(on: mutual)
        let open = RPCService()
        identities.installOpen(on: open)
        sponsor.install(on: open)
        let plain = RPCService()
        page.install(on: plain)
        let socket = RPCService()
        admin.install(on: socket)

        let mtls = try bind("mtls", settings.listenMTLS, .tls { [unowned self] in trust.mutual }, mutual, .of(20_000))
        let join = try bind("join", settings.listenJoin, .tls { [unowned self] in trust.open }, open, .strangers)
        page.port = try bind("http", settings.listenHTTP, .plain, plain, .of(256)).port
        try bindSocket(socket)
        ownBrokerAddresses = [advertised(mtls)]
        ownJoinAddresses = [advertised(join)]
    }

    private func bind(
        _ purpose: String, _ place: ListenAddress, _ security: RPCSecurity, _ service: RPCService, _ limits: RPCLimits
    ) throws(BrokerFailure) -> SocketAddress {
        guard let address = SocketAddress(ip: place.host, port: place.port) else {
            throw .setup("\(place) is no address to listen on")
        }
        do throws(RPCSetupError) {
            let bound = try loop.listen(.tcp(address), security: security, service: service, limits: limits) ?? address
            listeners.append(Listener(purpose: purpose, address: bound.description))
            return bound
        } catch {
            throw BrokerFailure(error)
        }
    }

    private func bindSocket(_ service: RPCService) throws(BrokerFailure) {
        let path = state.directory.adminSocketPath
        // The state directory is ours alone: a socket that is there is what a killed process left.
        // SAFETY: the path lives for the call.
        unsafe unlink(path)
        do throws(RPCSetupError) {
            _ = try loop.listen(.unix(path), security: .plain, service: service, limits: RPCLimits())
            listeners.append(Listener(purpose: "socket", address: path))
        } catch {
            throw BrokerFailure(error)
        }
    }

    /// How others reach a listener: `--advertise`, else its own address, else the first of this machine.
    private func advertised(_ bound: SocketAddress) -> String {
        let host = settings.advertise ?? (bound.isAny ? OwnAddress.first() : bound.ipText)
        return HostPort(host: host, port: bound.port).description
    }

    private func everySecond() {
        feed.sweep()
        gateways.sweep()
        trust.renewIfDue(desk, wall: loop.wall, jitter: Double.random(in: 0...1)) { [unowned self] text in
            alarms.raise("certificate", nil, "the broker's certificate was not renewed: \(text)", at: loop.wall)
        }
        loop.after(.seconds(1)) { [weak self] in self?.everySecond() }
    }

    /// The own bundle, what has had its time, peers whose certificates have ended or were revoked.
    private func everyMinute() {
        let wall = loop.wall
        do {
            if try trust.refresh(wall: wall) { snapshots.compileSoon() }
        } catch {
            alarms.raise("bundle", nil, "the own bundle cannot be used: \(error)", at: wall)
        }
        loop.closeConnections { [trust] peer in
            peer.notAfter.advanced(bySeconds: Leeway.seconds) < wall || trust.isRevoked(peer)
        }
        desk.write(state.authority) { (desk) throws(AuthorityError) in
            try desk.forget(now: wall)
        } then: {
            [unowned self] result in
            if case .failure(.store(let error)) = result { storeFailed(error) }
        }
        health.prune()
        if state.store.logByteCount > 256 << 20 {
            alarms.raise("store", nil, "the database's log has grown above 256 MiB: a reader holds it", at: wall)
        }
        loop.after(.seconds(60)) { [weak self] in self?.everyMinute() }
    }

    /// The store is in doubt: nothing may be answered any more, and the next start judges what is there.
    func storeFailed(_ error: StoreError) {
        switch error {
        case .unavailable, .corrupt:
            guard stopReason == nil else { return }
            stopReason = .store("the store failed: \(error)")
            log.error("the store failed; stopping", ["reason": error.description])
            loop.stop(grace: .zero)
        case .conflict, .tooLarge, .refused, .overloaded, .closed: return
        }
    }

    func stop() {
        guard !isStopping else { return }
        isStopping = true
        feed.closeAll()
        federation.links.closeAll()
        loop.stop(grace: settings.grace)
    }
}

extension RPCLimits {
    fileprivate static func of(_ connections: Int) -> RPCLimits {
        var limits = RPCLimits()
        limits.connections = connections
        return limits
    }

    /// For whoever knows the address: an enrolment or a join is one small call.
    fileprivate static var strangers: RPCLimits {
        var limits = of(4_096)
        limits.streamsPerConnection = 16
        limits.idle = .seconds(30)
        limits.heldPerConnection = 1_048_576
        return limits
    }
}
