internal import Admin
internal import ControlCoding
internal import Feed
internal import Glibc
internal import Identity
internal import MeshModel
internal import Proxy
internal import Reactor
internal import Routing
internal import RPC
internal import Settings
internal import Telemetry
internal import TLS

/// The process around the workers: identity and feed come in, configurations go out by letter, pages tell how it is.
///
/// Everything here runs on the main thread. Without SVID, bundle and snapshot nothing is served: not ready, fail closed.
package final class ProxyHost {
    /// How often the workers' view of the endpoints is gathered for the broker.
    private static let healthInterval = Duration.milliseconds(500)
    /// How often a sidecar's counts of plaintext are.
    private static let plaintextInterval = Duration.seconds(5)

    /// Descriptors kept for what is no proxied connection.
    private static let ownDescriptors = 96

    let plan: HostPlan
    let loop: RPCLoop
    let crew: WorkerCrew
    let keeper: IdentityKeeper
    let feed: FeedClient?
    let directory: ProxyStateDirectory?
    /// The process whose place this one takes, until it has it.
    var takeover: Takeover?
    /// Where the next process asks for this one's place.
    var handoverPoint: HandoverPoint?
    var isHandedOver = false
    /// Bound sockets beside the workers', by name: the role's own and the pages'.
    var otherSockets: [HostPlan.HandedSocket]
    let memory: MemoryWatch
    private let gauges = GaugeRegistry()
    private let sink: LogSink?
    private let limits = LimitCells()
    private let extraBundles: [TrustBundle]
    var snapshot: Snapshot?
    var svid: SVID?
    private var trust: TrustStore?
    var configuration: ProxyConfiguration?
    var generation: UInt32 = 0
    private var adminText = ""
    private var isReadyTold = false
    private var isTrimming = false
    var isDraining = false
    /// The workers were told to end.
    var isEnding = false
    var appDeadline = Instant.zero
    var workersLeft: Int
    private let startedAt: Int64

    /// Runs a proxy to its end; the exit status.
    package static func run(_ plan: HostPlan) -> Int32 {
        do throws(HostFailure) {
            let host = try ProxyHost(plan)
            try host.serve()
            return 0
        } catch {
            Notice.write("\(plan.word): \(error)")
            return error.status
        }
    }

    private init(_ plan: HostPlan) throws(HostFailure) {
        self.plan = plan
        startedAt = Machine.walltime
        let descriptors = Machine.raiseDescriptorLimit()
        memory = MemoryWatch(asked: plan.proxy.limits.memory)
        let loop: RPCLoop
        do throws(RPCSetupError) { loop = try RPCLoop() } catch { throw HostFailure("\(error)") }
        self.loop = loop
        sink = try? LogSink(descriptor: 1)
        let count = plan.proxy.workers ?? plan.defaultWorkers
        workersLeft = count
        var settings = WorkerSettings(
            isGateway: plan.isGateway, entries: plan.listening.map(\.entry),
            logFormat: plan.proxy.logFormat == .json ? .json : .text, sampleSeed: UInt64.random(in: 1 ... .max))
        settings.logSink = sink
        settings.grace = plan.proxy.grace
        settings.capturesInbound = plan.capture.isOn
        settings.probes = plan.capture.probes
        settings.knownCertificates = plan.proxy.knownCertificates
        // Every connection that comes in may need one that goes out; listeners, pages, feed and files have theirs.
        let room = max(16, (descriptors - Self.ownDescriptors) / 2 / count)
        let limits = plan.proxy.limits
        let connections = limits.connections.map { max(16, $0 / count) } ?? settings.maximumConnections
        settings.maximumConnections = min(connections, room)
        if let requests = limits.requests { settings.maximumExchanges = max(16, requests / count) }
        settings.memoryLimit = memory.limit
        settings.namespace = plan.namespace
        settings.appAddress = plan.appAddress.flatMap { SocketAddress(ip: $0, port: 0) }
        extraBundles = try StandaloneFiles.bundles(plan.proxy.bundles)
        let takeover = try Takeover(plan)
        self.takeover = takeover
        otherSockets = try plan.openOwn?(takeover?.inherited ?? Inheritance()) ?? []
        switch plan.proxy.source {
        case .standalone(let file, let certificate, let key):
            let loaded = try StandaloneFiles.load(snapshot: file, certificate: certificate, key: key)
            if let reason = plan.judge(loaded.snapshot, loaded.svid.id) {
                throw HostFailure("\(file): \(reason)", status: 65)
            }
            try StandaloneFiles.judge(
                loaded.svid, certificate: certificate, bundles: Self.bundles(loaded.snapshot, extraBundles),
                now: loop.wall)
            keeper = IdentityKeeper.standalone(loop: loop, svid: loaded.svid)
            snapshot = loaded.snapshot
            feed = nil
            directory = nil
            crew = try Self.bind(plan, count, settings, takeover)
        case .broker(let path, let source):
            let state: ProxyStateDirectory
            let token: JoinToken?
            do throws(FeedError) {
                if takeover == nil {
                    state = try ProxyStateDirectory(path: path)
                } else {
                    state = try ProxyStateDirectory(heldByAnother: path)
                    let stored = try StoredState(reading: state)
                    svid = stored.svid
                    snapshot = stored.snapshot
                }
                token = try Self.token(source)
            } catch {
                throw HostFailure("\(error)", status: error.kind == .token ? 65 : 1)
            }
            directory = state
            crew = try Self.bind(plan, count, settings, takeover)
            keeper = IdentityKeeper(loop: loop, directory: state, role: plan.keeperRole, token: token)
            let port = crew.addresses.first?.port ?? 0
            feed = FeedClient(
                loop: loop,
                settings: FeedSettings(
                    role: plan.feedRole(port), locality: plan.proxy.locality, version: Release.version),
                directory: state, identity: keeper)
        }
    }

    private static func token(_ source: TokenSource?) throws(FeedError) -> JoinToken? {
        switch source {
        case .file(let path): try TokenText.read(file: path)
        case .standardInput: try TokenText.read(file: nil)
        case nil: nil
        }
    }

    private static func bind(
        _ plan: HostPlan, _ count: Int, _ settings: WorkerSettings, _ takeover: Takeover?
    ) throws(HostFailure) -> WorkerCrew {
        try WorkerCrew(count: count, settings: settings, listening: plan.listening, inherited: takeover?.inherited)
    }

    // MARK: Running

    private func serve() throws(HostFailure) {
        try openPages()
        do throws(RPCSetupError) {
            try loop.onSignal { [unowned self] signal in
                if signal == SIGTERM || signal == SIGINT || signal == SIGQUIT {
                    drain(waitsForApp: plan.capture.drain > .zero && !isDraining)
                }
            }
        } catch {
            throw HostFailure("\(error)")
        }
        let inbox = loop.inbox
        let bound = RPCBound(self)
        try prepareTakeover()
        try crew.start { inbox.post { bound.value.workerEnded() } }
        try finishTakeover()
        openHandover()
        memory.start(loop) { [unowned self] bytes in crew.post(.memory(beside: bytes)) }
        var fatal: HostFailure?
        keeper.onSVID = { [unowned self] svid in adopt(svid) }
        keeper.onProblem = { [unowned self] problem in
            Notice.write("\(plan.word): \(problem)")
            if !problem.isTemporary, svid == nil {
                fatal = HostFailure("\(problem)")
                loop.stop(grace: .zero)
            }
        }
        feed?.judge = { [unowned self] snapshot in plan.judge(snapshot, svid?.id) }
        feed?.onSnapshot = { [unowned self] snapshot in adopt(snapshot) }
        feed?.onProblem = { [unowned self] text in Notice.write("\(plan.word): \(text)") }
        do throws(FeedError) { try keeper.start() } catch {
            throw HostFailure("\(error)", status: error.kind == .token ? 65 : 1)
        }
        feed?.start()
        if feed != nil { if plan.isGateway { gatherHealth() } else { gatherPlaintext() } }
        loop.run()
        if let sink { _ = sink.finish(within: .seconds(1)) }
        if let fatal { throw fatal }
    }

    private func openPages() throws(HostFailure) {
        let all = RPCService()
        AdminService.install(on: all, pages: .all, sources: sources)
        let open = RPCService()
        AdminService.install(on: open, pages: .open, sources: sources)
        let ready = RPCService()
        AdminService.install(on: ready, pages: .ready, sources: sources)
        switch plan.proxy.admin {
        case .tcp(let address): adminText = try listen(address, all, "admin")
        case .unix(let path):
            let name = "admin unix:\(path)"
            let socket: ListenerSocket
            do throws(SocketError) {
                if let inherited = takeover?.inherited.take(name).first {
                    socket = ListenerSocket(adopting: inherited)
                } else {
                    socket = try ListenerSocket.bind(unixPath: path)
                }
            } catch { throw HostFailure("\(error)") }
            adminText = path
            _ = try serve(socket, name, all)
        }
        adminText += ", metrics \(try listen(plan.proxy.metrics, open, "metrics"))"
        adminText += ", ready \(try listen(plan.proxy.ready, ready, "ready"))"
    }

    private func listen(_ address: ListenAddress, _ service: RPCService, _ flag: String) throws(HostFailure) -> String {
        guard let socket = SocketAddress(ip: address.host, port: address.port) else {
            throw HostFailure("--\(flag) \(address): no address of this machine")
        }
        let name = "\(flag) \(address)"
        let bound: ListenerSocket
        if let inherited = takeover?.inherited.take(name).first {
            bound = ListenerSocket(adopting: inherited)
        } else {
            do throws(SocketError) { bound = try ListenerSocket.bind(socket) } catch {
                throw HostFailure(
                    "--\(flag): cannot listen on \(socket): \(error.text); is another process using it? choose another port"
                )
            }
        }
        return "\(try serve(bound, name, service) ?? socket)"
    }

    private func serve(
        _ socket: consuming ListenerSocket, _ name: String, _ service: RPCService
    ) throws(HostFailure) -> SocketAddress? {
        otherSockets.append((name, socket.descriptor))
        do throws(RPCSetupError) {
            return try loop.serve(socket, name: name, security: .plain, service: service)
        } catch { throw HostFailure("\(error)") }
    }

    // MARK: What comes in

    private func adopt(_ fresh: SVID) {
        // After a takeover the keeper tells what is in use already.
        if let svid, svid.leaf.der == fresh.leaf.der, configuration != nil { return }
        svid = fresh
        generation &+= 1
        reconfigure()
    }

    private func adopt(_ fresh: Snapshot) {
        if fresh.bundles != snapshot?.bundles || trust == nil {
            generation &+= 1
            trust = nil
        }
        snapshot = fresh
        reconfigure()
    }

    /// Makes a configuration of what is there and hands it to the workers, whole.
    func reconfigure() {
        guard let snapshot, let svid else { return }
        if trust == nil { trust = makeTrust(snapshot) }
        guard let trust else { return }
        do throws(TLSError) {
            let fresh = try ProxyConfiguration(
                snapshot: snapshot, ownRole: plan.ownRole(snapshot), trust: trust, svid: svid, generation: generation,
                limits: plan.isGateway ? limits : nil)
            configuration = fresh
            plan.onSnapshot?(snapshot)
            crew.post(.configure(fresh))
            limits.reconcile(with: fresh.table)
            tellReady()
            trimSoon()
        } catch {
            Notice.write("\(plan.word): the snapshot is not used: \(error)")
        }
    }

    /// Decoding and building leave more free memory behind than the result takes: it goes back to the kernel once the workers
    /// have let the old snapshot go.
    private func trimSoon() {
        guard !isTrimming else { return }
        isTrimming = true
        loop.after(.seconds(1)) { [unowned self] in
            isTrimming = false
            Machine.trim()
        }
    }

    /// The snapshot's bundles; a domain that the command line names is replaced.
    private static func bundles(_ snapshot: Snapshot, _ extra: [TrustBundle]) -> [TrustBundle] {
        let named = Set(extra.map(\.trustDomain))
        return snapshot.bundles.filter { !named.contains($0.trustDomain) } + extra
    }

    private func makeTrust(_ snapshot: Snapshot) -> TrustStore? {
        do throws(IdentityError) {
            return try TrustStore(Self.bundles(snapshot, extraBundles), generation: UInt64(generation))
        } catch {
            Notice.write("\(plan.word): the bundles are not used: \(error)")
            return nil
        }
    }

    private func tellReady() {
        guard !isReadyTold else { return }
        isReadyTold = true
        let addresses = crew.addresses.map(\.description).joined(separator: " ")
        Notice.write("\(plan.word): ready on \(addresses), admin \(adminText)")
    }

    // MARK: Health

    private func gatherHealth() {
        loop.after(Self.healthInterval) { [unowned self] in
            crew.gather(loop) { [unowned self] reports in
                tellHealth(reports)
                if !isDraining { gatherHealth() }
            }
        }
    }

    /// An endpoint is unhealthy for this gateway when one of its workers found it so and none has found it well since.
    private func tellHealth(_ reports: [WorkerReport]) {
        guard let snapshot else { return }
        var view: [EndpointID: Bool] = [:]
        for service in snapshot.services { for endpoint in service.endpoints { view[endpoint.id] = true } }
        for report in reports {
            for endpoint in report.unhealthy where view[endpoint] != nil { view[endpoint] = false }
        }
        feed?.report(health: view)
    }

    /// Says when `strict` is safe: the broker hears of every request without an identity.
    private func gatherPlaintext() {
        crew.gather(loop) { [unowned self] reports in
            var counts: [ServiceID: PlaintextCount] = [:]
            for tally in reports.flatMap(\.plaintext) {
                counts[tally.service, default: PlaintextCount(service: tally.service, last: tally.last)].add(tally)
            }
            feed?.report(plaintext: Array(counts.values))
            loop.after(Self.plaintextInterval) { [unowned self] in if !isDraining { gatherPlaintext() } }
        }
    }

    // MARK: Pages

    private var sources: AdminSources {
        AdminSources(
            metrics: { [unowned self] format, done in
                crew.gather(loop) { [unowned self] reports in
                    done(
                        MetricsWriter.page(
                            reports.map(\.metrics), gauges: readGauges(reports), logLinesDropped: sink?.dropped ?? 0,
                            format: format))
                }
            },
            notReady: { [unowned self] in notReady },
            configDump: { [unowned self] done in
                done(
                    ConfigDump.page(
                        process: [
                            ("role", plan.word), ("version", Release.version),
                            ("listeners", crew.addresses.map(\.description).joined(separator: " ")),
                            ("identity", svid?.id.description ?? ""), ("generation", "\(generation)"),
                            ("workers", "\(crew.mailboxes.count)"),
                        ], snapshot: snapshot))
            },
            certificates: { [unowned self] done in
                done(CertificatePage.page(identity: svid.map(Self.identity), bundles: bundlePages))
            },
            quit: { [unowned self] in drain() })
    }

    private static func identity(_ svid: SVID) -> CertificatePage.Identity {
        CertificatePage.Identity(
            id: svid.id, serial: Hex.encode(svid.leaf.serial), notBefore: svid.notBefore, notAfter: svid.notAfter)
    }

    private var bundlePages: [CertificatePage.Bundle] {
        (snapshot?.bundles ?? []).map { bundle in
            CertificatePage.Bundle(
                trustDomain: bundle.trustDomain, roots: bundle.roots.map { Hex.encode(SHA256.hash($0)) },
                revoked: bundle.revokedSerials.count)
        }
    }

    private var notReady: [String] {
        var reasons: [String] = []
        if svid == nil { reasons.append("no SVID: \(keeper.problem?.description ?? "enrolment is under way")") }
        if snapshot == nil {
            let failure = feed?.lastFailure ?? ""
            reasons.append("no snapshot: \(failure.isEmpty ? "none has come yet" : failure)")
        }
        if snapshot != nil, trust == nil { reasons.append("no usable bundle") }
        if let svid, svid.notAfter < loop.wall { reasons.append("the SVID has expired") }
        if isDraining { reasons.append("draining") }
        return reasons
    }

    private func readGauges(_ reports: [WorkerReport]) -> [Gauge] {
        var list = gauges.read()
        list.append(Gauge(.build, 1, labels: [.init("version", Release.version), .init("role", plan.word)]))
        list.append(Gauge(.startTime, Double(startedAt)))
        list.append(Gauge(.residentMemory, Double(Machine.residentMemory)))
        list.append(Gauge(.openDescriptors, Double(Machine.openDescriptors)))
        if memory.limit > 0 { list.append(Gauge(.memoryLimit, Double(memory.limit))) }
        list.append(Gauge(.memoryPressure, Double(reports.map(\.pressure.rawValue).max() ?? 0)))
        list.append(Gauge(.connectionsOpen, Double(reports.reduce(0) { $0 + $1.connections })))
        list.append(Gauge(.requestsActive, Double(reports.reduce(0) { $0 + $1.exchanges })))
        if let svid { list.append(Gauge(.certificateExpiry, Double(svid.notAfter.seconds))) }
        if let feed { list.append(Gauge(.feedAge, Double(feed.age.wholeMilliseconds) / 1_000)) }
        if let snapshot {
            list.append(Gauge(.snapshotRevision, Double(snapshot.revision)))
            let endpoints = snapshot.services.reduce(0) { $0 + $1.endpoints.count }
            let unhealthy = Set(reports.flatMap(\.unhealthy)).count
            list.append(Gauge(.endpointsTotal, Double(endpoints)))
            list.append(Gauge(.endpointsHealthy, Double(max(0, endpoints - unhealthy))))
            for member in snapshot.members {
                let age: Int64
                switch member.freshness {
                case .fresh: age = 0
                case .stale(let since): age = max(0, loop.wall.seconds - since.seconds)
                case .gone: continue
                }
                list.append(Gauge(.linkAge, Double(age), labels: [.init("cluster", member.cluster.description)]))
            }
        }
        return list
    }
}
