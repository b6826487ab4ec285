internal import ControlCoding
internal import Identity
package import MeshModel
package import RPC

/// What a feed says of its process.
package struct FeedSettings: Sendable {
    package enum Role: Hashable, Sendable {
        case sidecar(workload: ObjectName)
        /// Where others reach its 15443.
        case gateway(name: Label, advertised: GatewayAddress)
    }

    package let role: Role
    package let locality: Locality
    /// The release, for `meshfed status`.
    package let version: String
    /// `host:port` of 15012 to use in place of what the enrolment said; empty: as enrolled.
    package let addresses: [String]

    package init(role: Role, locality: Locality, version: String, addresses: [String] = []) {
        self.role = role
        self.locality = locality
        self.version = version
        self.addresses = addresses
    }
}

/// Subscribes to the broker's feed, keeps the last good snapshot on disk, and says how old what is held is.
///
/// The data plane outlives the control plane: the stored snapshot is given at the start, and nothing is withdrawn because
/// the broker is away. Everything runs on the loop's thread.
package final class FeedClient {
    private static let path = "/meshfed.proxy.v1.Feed/Subscribe"
    private static let file = "snapshot.bin"
    /// Keepalives are sent when nothing else was for so long; three times of it is silence (feed.proto).
    private static let keepalive = Duration.seconds(5)
    private static let silence = Duration.seconds(15)
    /// How long a connection may take to bring its first frame.
    private static let patience = Duration.seconds(20)
    /// A failure that repeats is told again after this.
    private static let reminder = Duration.seconds(60)

    /// Why a snapshot cannot be used; nil: it can. Asked before `onSnapshot`.
    package var judge: ((Snapshot) -> String?)?
    /// A snapshot to route by: from disk at the start, from the broker later, and again when the age of a link changes.
    package var onSnapshot: ((Snapshot) -> Void)?
    /// Set: changes of link ages come here alone, not as a new snapshot.
    package var onLinks: (([Member]) -> Void)?
    /// The state changed.
    package var onState: (() -> Void)?
    /// What did not work, one line each.
    package var onProblem: ((String) -> Void)?
    /// The snapshot in use.
    package private(set) var snapshot: Snapshot?
    /// The broker is heard on an open stream.
    package private(set) var isConnected = false
    /// Why the last stream ended; empty while one is open.
    package private(set) var lastFailure = ""

    private let loop: RPCLoop
    private let settings: FeedSettings
    private let identity: IdentityKeeper
    private let directory: ProxyStateDirectory
    private let instance: [UInt8]
    private var channel: RPCChannel?
    private var stream: RPCStream?
    private var lastHeard: Instant
    private var lastSent: Instant
    private var counter: UInt64 = 0
    private var health = HealthLedger()
    private var backoff = Backoff(first: .milliseconds(250), longest: .seconds(10))
    private var tries = 0
    private var retry = RPCTimer.none
    private var tick = RPCTimer.none
    private var isStarted = false
    private var isDraining = false
    private var isRetired = false
    private var reportedAt = Instant.zero
    private var plaintext: [PlaintextCount]?
    private var plaintextTold: [PlaintextCount]?
    private let since: WallTime

    package init(loop: RPCLoop, settings: FeedSettings, directory: ProxyStateDirectory, identity: IdentityKeeper) {
        self.loop = loop
        self.settings = settings
        self.directory = directory
        self.identity = identity
        // 16 bytes that tell two processes of one name apart; no secret.
        since = loop.wall
        instance = (0..<16).map { _ in UInt8.random(in: 0 ... .max) }
        lastHeard = loop.now
        lastSent = loop.now
    }

    /// Time since the broker was last heard, or since the start: `meshfed_feed_age_seconds`.
    package var age: Duration { loop.now - lastHeard }

    /// Gives the stored snapshot, then subscribes as soon as there is an SVID.
    package func start() {
        guard !isStarted else { return }
        isStarted = true
        lastHeard = loop.now
        loadLastGood()
        beat()
        connect()
    }

    /// Lame duck: the broker takes this proxy out of the catalog; the feed goes on.
    package func drain() {
        isDraining = true
        send(.draining)
    }

    /// Another process of this name has the state directory: listens on until the end, and neither writes nor reports.
    package func retire() { isRetired = true }

    package func stop() {
        isStarted = false
        loop.cancel(retry)
        loop.cancel(tick)
        let old = stream
        stream = nil
        old?.finish()
        // What is queued (a `draining`) still leaves; the connection ends with its stream, or with the loop.
        loop.after(.milliseconds(200)) { [channel] in channel?.close() }
        channel = nil
        isConnected = false
    }

    /// The whole view of this gateway's probes; the broker is told what changed.
    package func report(health view: [EndpointID: Bool]) {
        health.update(view, wall: loop.wall)
        sendHealth()
    }

    /// All that came to the app without an identity since the start, by service; the broker is told when it changed.
    package func report(plaintext counts: [PlaintextCount]) {
        plaintext = counts.sorted { $0.service < $1.service }
        sendPlaintext()
    }

    // MARK: Disk

    private func loadLastGood() {
        do throws(FeedError) {
            guard let bytes = try directory.read(Self.file, limit: CodingLimits.snapshotFileBytes) else { return }
            let stored: Snapshot
            do throws(CodingError) { stored = try SnapshotFile.decode(bytes, sha256: SHA256.hash) } catch {
                throw FeedError(.state, "\(directory.path)/\(Self.file) is not used: \(error)")
            }
            if let reason = refusal(of: stored) {
                throw FeedError(.state, "\(directory.path)/\(Self.file) is not used: \(reason)")
            }
            identity.learn(stored.bundles)
            snapshot = stored
            onSnapshot?(stored)
        } catch { onProblem?(error.description) }
    }

    private func store(_ bytes: [UInt8]) {
        if isRetired { return }
        do throws(FeedError) {
            try directory.write(Self.file, SnapshotFile.encode(serialized: bytes, sha256: SHA256.hash))
        } catch { onProblem?("the last good snapshot is not stored: \(error)") }
    }

    // MARK: The stream

    private func connect() {
        guard isStarted, stream == nil else { return }
        let addresses = settings.addresses.isEmpty ? identity.brokerAddresses : settings.addresses
        guard let security = identity.brokerSecurity, let target = BrokerTarget.pick(addresses, try: tries) else {
            return later(.milliseconds(200))
        }
        tries += 1
        channel?.close()
        var limits = RPCLimits()
        limits.heldPerConnection = 2 * CodingLimits.snapshotFileBytes
        let channel = loop.channel(target, security: security, limits: limits)
        self.channel = channel
        let stream = channel.stream(Self.path, limit: CodingLimits.snapshotFileBytes)
        self.stream = stream
        // The stream tells its end later: by then nobody else may hold it.
        stream.onMessage = { [weak self, weak stream] in if let stream { self?.received($0, on: stream) } }
        stream.onEnd = { [weak self, weak stream] in if let stream { self?.ended($0, stream, target) } }
        health.restart()
        plaintextTold = nil
        counter = 0
        lastSent = loop.now
        send(.hello(hello()))
        if isDraining { send(.draining) }
        loop.after(Self.patience) { [weak self, weak stream] in
            guard let self, let stream, self.stream === stream, !self.isConnected else { return }
            stream.cancel()
        }
    }

    private func hello() -> SubscriberHello {
        let role: SubscriberHello.Role
        switch settings.role {
        case .sidecar(let workload): role = .sidecar(workload: workload)
        case .gateway(let name, let advertised): role = .gateway(name: name, advertised: advertised)
        }
        return SubscriberHello(
            role: role, version: settings.version, locality: settings.locality, epoch: snapshot?.epoch ?? 0,
            revision: snapshot?.revision ?? 0, instance: instance)
    }

    private func received(_ bytes: [UInt8], on stream: RPCStream) {
        guard self.stream === stream else { return }
        let frame: BrokerFrame
        do throws(CodingError) { frame = try BrokerFrame.decode(bytes) } catch {
            onProblem?("a frame of the broker cannot be read: \(error)")
            return stream.cancel()
        }
        lastHeard = loop.now
        backoff.reset()
        if !isConnected {
            isConnected = true
            lastFailure = ""
            onState?()
            sendHealth()
            sendPlaintext()
        }
        switch frame {
        case .snapshot(let epoch, let revision, let content): take(epoch, revision, content)
        case .links(let epoch, let states): apply(states, epoch: epoch)
        case .keepalive: break
        }
    }

    private func take(_ epoch: UInt64, _ revision: UInt64, _ content: [UInt8]) {
        var reason: String?
        do throws(CodingError) {
            let fresh = try SnapshotCoding.decode(content)
            if fresh.epoch != epoch || fresh.revision != revision {
                reason = "the frame says revision \(epoch)/\(revision), the snapshot \(fresh.epoch)/\(fresh.revision)"
            } else {
                reason = refusal(of: fresh)
            }
            if reason == nil {
                identity.learn(fresh.bundles)
                store(content)
                snapshot = fresh
                onSnapshot?(fresh)
            }
        } catch { reason = error.description }
        if let reason { onProblem?("snapshot \(epoch)/\(revision) is refused: \(reason)") }
        let limited = reason.map { String(decoding: $0.utf8.prefix(CodingLimits.reasonBytes), as: UTF8.self) }
        send(.ack(epoch: epoch, revision: revision, refused: limited))
    }

    /// Why a snapshot is not one for this process.
    private func refusal(of fresh: Snapshot) -> String? {
        if let domain = identity.trustDomain, domain != fresh.trustDomain {
            return "it is of trust domain \(fresh.trustDomain), this process of \(domain)"
        }
        if let cluster = identity.cluster, cluster != fresh.cluster {
            return "it is of cluster \(fresh.cluster), this process of \(cluster)"
        }
        if let snapshot, snapshot.epoch == fresh.epoch, snapshot.revision > fresh.revision {
            return "its revision is older than \(snapshot.revision), which is in use"
        }
        do throws(IdentityError) { _ = try TrustStore(fresh.bundles, generation: 0) } catch { return error.description }
        return judge?(fresh)
    }

    private func apply(_ states: [LinkState], epoch: UInt64) {
        guard var changed = snapshot, changed.epoch == epoch else { return }
        for state in states {
            guard let index = changed.members.firstIndex(where: { $0.cluster == state.cluster }) else { continue }
            changed.members[index].freshness = state.freshness
        }
        guard changed.members != snapshot?.members else { return }
        snapshot = changed
        if let onLinks { onLinks(changed.members) } else { onSnapshot?(changed) }
    }

    private func ended(_ end: RPCEnd, _ stream: RPCStream, _ target: RPCTarget) {
        guard self.stream === stream else { return }
        self.stream = nil
        let wasConnected = isConnected
        isConnected = false
        let failure = "the feed at \(target) ended: \(end)"
        if failure != lastFailure || loop.now - reportedAt >= Self.reminder {
            reportedAt = loop.now
            onProblem?(failure)
        }
        lastFailure = failure
        if wasConnected { onState?() }
        guard isStarted, !isRetired else { return }
        later(backoff.next())
    }

    private func later(_ delay: Duration) {
        loop.cancel(retry)
        retry = loop.after(delay) { [weak self] in self?.connect() }
    }

    // MARK: Sending

    private func send(_ frame: SubscriberFrame) {
        guard let stream else { return }
        guard stream.send(frame.encode()) else {
            // The broker does not read: the stream is of no use.
            if stream.isOpen { stream.cancel() }
            return
        }
        lastSent = loop.now
    }

    private func sendHealth() {
        guard isConnected, !isRetired else { return }
        for part in health.changes(limit: CodingLimits.healthPerFrame) { send(.health(part)) }
    }

    private func sendPlaintext() {
        guard isConnected, let plaintext, plaintext != plaintextTold else { return }
        plaintextTold = plaintext
        send(.plaintext(since: since, plaintext))
    }

    private func beat() {
        tick = loop.after(.seconds(1)) { [weak self] in
            guard let self, self.isStarted else { return }
            if self.isConnected {
                if self.loop.now - self.lastHeard >= Self.silence {
                    self.onProblem?("the broker said nothing for 15 s")
                    self.stream?.cancel()
                } else if self.loop.now - self.lastSent >= Self.keepalive {
                    self.counter += 1
                    self.send(.keepalive(counter: self.counter))
                }
            }
            self.beat()
        }
    }
}
