internal import ControlCoding
package import Identity
package import MeshModel
package import RPC
internal import TLS

/// Gets and keeps the SVID of a proxy: enrolment by token, renewal at half life, renewal after expiry (PROTOCOLS section 1).
///
/// The key is made and stored before anything is sent, and used again until an answer is stored: a crash between the two
/// sides is harmless. Everything runs on the loop's thread.
package final class IdentityKeeper {
    /// Whom the SVID must name.
    package enum Role: Hashable, Sendable {
        case sidecar(workload: ObjectName)
        case gateway(name: Label)
    }

    /// How long after its end an SVID can still be renewed (PROTOCOLS section 1).
    package static let renewableAfterExpiry: Int64 = 7 * 86_400
    /// The longest sleep before the wall clock is looked at again: it may be set.
    private static let longestSleep = Duration.seconds(60)
    private static let callDeadline = Duration.seconds(10)

    /// A new SVID: the first one, and every renewed one.
    package var onSVID: ((SVID) -> Void)?
    /// What did not work. Tries go on when `isTemporary`; else the process cannot continue without help.
    package var onProblem: ((FeedError) -> Void)?
    package private(set) var svid: SVID?
    /// The last thing that did not work; nil once it does.
    package private(set) var problem: FeedError?

    private let loop: RPCLoop
    private let files: IdentityFiles?
    private let role: Role?
    private var token: JoinToken?
    private var record: EnrolmentRecord?
    private var trust: TrustStore?
    private var generation: UInt64 = 0
    private var context: TLSContext?
    private var renewsAt = WallTime(seconds: .max)
    private var timer = RPCTimer.none
    private var backoff = Backoff(first: .milliseconds(250), longest: .seconds(10))
    private var tries = 0
    private var channel: RPCChannel?
    private var isStopped = false
    private var reportedAt = Instant.zero

    /// - Parameter token: nil where the state directory must suffice.
    package init(loop: RPCLoop, directory: ProxyStateDirectory, role: Role, token: JoinToken?) {
        self.loop = loop
        files = IdentityFiles(directory)
        self.role = role
        self.token = token
    }

    private init(loop: RPCLoop, svid: SVID) {
        self.loop = loop
        self.svid = svid
        files = nil
        role = nil
    }

    /// A keeper without a broker: the SVID stays as it is.
    package static func standalone(loop: RPCLoop, svid: SVID) -> IdentityKeeper {
        IdentityKeeper(loop: loop, svid: svid)
    }

    /// `host:port` of the broker's 15012, best first; empty before the enrolment.
    package var brokerAddresses: [String] { record?.brokerAddresses ?? [] }
    package var trustDomain: TrustDomain? { record?.trustDomain ?? svid?.id.trustDomain }
    package var cluster: ClusterID? { record?.cluster }
    /// The own trust domain's bundle as it was learned last.
    package var ownBundle: TrustBundle? { record?.bundle }

    /// How the broker is dialled with the SVID; nil while there is none.
    package var brokerSecurity: RPCClientSecurity? {
        guard let context, let domain = trustDomain else { return nil }
        return .tls(context: { context }, serverName: "", accepts: { Self.isBroker($0, of: domain) })
    }

    /// Reads what the state directory holds, and enrols or renews where that is needed. Throws what no try would mend.
    package func start() throws(FeedError) {
        guard let files else {
            if let svid { loop.soon { [self] in onSVID?(svid) } }
            return
        }
        record = try files.record()
        svid = try files.svid()
        if let svid, record != nil {
            try checkRole(svid.id)
            rebuildTrust()
            if loop.wall <= svid.notAfter { loop.soon { [self] in onSVID?(svid) } }
            return plan(svid)
        }
        guard let token else {
            throw FeedError(
                .token, "\(files.path) holds no SVID and there is no token",
                "give --token-file with the output of 'meshfed token create --for \(roleText)'")
        }
        try check(token)
        act()
    }

    package func stop() {
        isStopped = true
        loop.cancel(timer)
        channel?.close()
        channel = nil
    }

    /// The bundles of a snapshot: the own one, when it is not older, replaces what the enrolment learned.
    package func learn(_ bundles: [TrustBundle]) {
        guard var changed = record, let own = bundles.first(where: { $0.trustDomain == changed.trustDomain }),
            !own.roots.isEmpty, own != changed.bundle, own.sequence >= changed.bundle.sequence
        else { return }
        changed.bundle = own
        record = changed
        store(changed)
        rebuildTrust()
        guard let svid, let trust, (try? trust.verify(chain: svid.chainDER, purpose: .client, now: loop.wall)) == nil,
            loop.wall <= svid.notAfter
        else { return }
        // The authority that signed the SVID is believed no longer.
        renewsAt = loop.wall
        sleep(.zero)
    }

    // MARK: When

    private func plan(_ svid: SVID) {
        renewsAt = svid.renewal(jitter: Double.random(in: 0...1))
        sleepUntilDue()
    }

    private func sleepUntilDue() {
        let wait = max(0, renewsAt.seconds - loop.wall.seconds)
        sleep(min(Self.longestSleep, .seconds(wait)))
    }

    private func sleep(_ delay: Duration) {
        loop.cancel(timer)
        guard !isStopped else { return }
        timer = loop.after(delay) { [weak self] in self?.act() }
    }

    private func act() {
        guard !isStopped, channel == nil else { return }
        do throws(FeedError) {
            guard let svid, record != nil else { return try enrol() }
            guard loop.wall >= renewsAt else { return sleepUntilDue() }
            if loop.wall <= svid.notAfter { return try issue(svid) }
            if loop.wall <= svid.notAfter.advanced(bySeconds: Self.renewableAfterExpiry) { return try renew(svid) }
            guard let token else {
                throw FeedError(
                    .token, "the SVID ended more than 7 days ago and cannot be renewed",
                    "give --token-file with the output of 'meshfed token create --for \(roleText)'")
            }
            try check(token)
            try enrol()
        } catch { failed(error) }
    }

    private func failed(_ error: FeedError) {
        report(error)
        // What is refused stays refused, mostly; an SVID that is still good leaves time to look again now and then.
        if error.isTemporary { sleep(backoff.next()) } else if svid != nil { sleep(Self.longestSleep) }
    }

    private func succeeded(_ svid: SVID) {
        self.svid = svid
        problem = nil
        backoff.reset()
        rebuildTrust()
        plan(svid)
        onSVID?(svid)
    }

    // MARK: The three ways

    private func enrol() throws(FeedError) {
        guard let token, let files else { return }
        let request = try files.firstKeyRequest()
        let message = IdentityCoding.encodeEnrolRequest(tokenSecret: token.secret, certificateRequest: request)
        let pinned: TLSContext
        do throws(TLSError) { pinned = try .client(pin: token.pin, protocols: [.http2]) } catch {
            throw FeedError(.answer, error.description)
        }
        let security = RPCClientSecurity.tls(
            context: { pinned }, serverName: "", accepts: { Self.isBroker($0, of: token.trustDomain) })
        ask("enrol", "/meshfed.identity.v1.Enrolment/Enrol", message, token.addresses, security) {
            [self] bytes, root throws(FeedError) in
            let answer = try enrolment(bytes)
            guard answer.identity.trustDomain == token.trustDomain, answer.cluster == token.cluster else {
                throw FeedError(.answer, "the broker's answer is for \(answer.identity), the token for another cluster")
            }
            if let root, !answer.bundle.roots.contains(root) {
                throw FeedError(.answer, "the broker's bundle does not hold the root that it showed")
            }
            try checkRole(answer.identity)
            let svid = try files.firstSVID(answer.chain)
            try verify(svid, answer.identity, answer.bundle)
            // The record comes first: an SVID without it could not find its broker.
            try files.write(EnrolmentRecord(answer))
            try files.confirmFirst(svid)
            record = EnrolmentRecord(answer)
            self.token = nil
            succeeded(svid)
        }
    }

    private func issue(_ old: SVID) throws(FeedError) {
        guard let files, let security = brokerSecurity else { return }
        let message = IdentityCoding.encodeIssueRequest(certificateRequest: try files.nextKeyRequest())
        ask("renew the SVID", "/meshfed.identity.v1.Identity/Issue", message, brokerAddresses, security) {
            [self] bytes, _ throws(FeedError) in
            let answer: IssueAnswer
            do throws(CodingError) { answer = try IssueAnswer.decode(bytes) } catch {
                throw FeedError(.answer, "the broker's answer cannot be read: \(error)")
            }
            guard var changed = record else { return }
            if let own = answer.bundles.first(where: { $0.trustDomain == changed.trustDomain }), !own.roots.isEmpty,
                own.sequence >= changed.bundle.sequence
            {
                changed.bundle = own
            }
            let svid = try files.nextSVID(answer.chain)
            try verify(svid, old.id, changed.bundle)
            if changed != record { try files.write(changed) }
            record = changed
            try files.confirmNext(svid)
            succeeded(svid)
        }
    }

    private func renew(_ old: SVID) throws(FeedError) {
        guard let files, let trust, let domain = trustDomain else { return }
        let request = try files.nextKeyRequest()
        let proof: [UInt8]
        let serverOnly: TLSContext
        do throws(IdentityError) {
            proof = try RenewalProof.sign(oldLeaf: old.leaf.der, request: request, key: old.key)
        } catch { throw FeedError(.state, error.description) }
        do throws(TLSError) { serverOnly = try .client(svid: nil, trust: trust, protocols: [.http2]) } catch {
            throw FeedError(.answer, error.description)
        }
        let message = RenewalRequest(oldLeaf: old.leaf.der, certificateRequest: request, signature: proof).encode()
        let security = RPCClientSecurity.tls(
            context: { serverOnly }, serverName: "", accepts: { Self.isBroker($0, of: domain) })
        let addresses = record?.enrolmentAddresses ?? []
        ask("renew the SVID that ran out", "/meshfed.identity.v1.Enrolment/Renew", message, addresses, security) {
            [self] bytes, _ throws(FeedError) in
            let answer = try enrolment(bytes)
            let svid = try files.nextSVID(answer.chain)
            try verify(svid, old.id, answer.bundle)
            try files.write(EnrolmentRecord(answer))
            record = EnrolmentRecord(answer)
            try files.confirmNext(svid)
            succeeded(svid)
        }
    }

    /// One call over one of the addresses, the next one at the next try.
    private func ask(
        _ purpose: String, _ path: String, _ message: [UInt8], _ addresses: [String], _ security: RPCClientSecurity,
        _ use: @escaping ([UInt8], [UInt8]?) throws(FeedError) -> Void
    ) {
        guard let target = BrokerTarget.pick(addresses, try: tries) else {
            return failed(FeedError(.answer, "cannot \(purpose): no address of the broker is known"))
        }
        tries += 1
        let channel = loop.channel(target, security: security)
        self.channel = channel
        channel.unary(path, message, deadline: Self.callDeadline) { [self] result in
            self.channel = nil
            let root = channel.learnedRoot
            channel.close()
            guard !isStopped else { return }
            do throws(FeedError) {
                switch result {
                case .success(let bytes): try use(bytes, root)
                case .failure(let end): throw BrokerTarget.error(end, purpose, target)
                }
            } catch { failed(error) }
        }
    }

    // MARK: Checks

    private func check(_ token: JoinToken) throws(FeedError) {
        guard loop.wall <= token.expires.advanced(bySeconds: Leeway.seconds) else {
            throw FeedError(
                .token, "the token has expired", "make a new one: meshfed token create --for \(roleText)")
        }
        switch role {
        case .sidecar? where token.purpose != .sidecar, .gateway? where token.purpose != .gateway:
            throw FeedError(
                .token, "the token is for a \(token.purpose.word) (\(token.subject)), not for this process",
                "make one: meshfed token create --for \(roleText)")
        case .sidecar?, .gateway?, nil: break
        }
        if let id = SPIFFEID(token.subject) { try checkRole(id) }
    }

    private func checkRole(_ id: SPIFFEID) throws(FeedError) {
        let fits: Bool
        switch (role, id.kind) {
        case (.gateway(let name)?, .gateway(let other)): fits = name.text == other
        case (.sidecar(let workload)?, .workload(let namespace, _)): fits = workload.namespace == namespace
        case (nil, _): fits = true
        case (.gateway?, _), (.sidecar?, _): fits = false
        }
        guard !fits else { return }
        throw FeedError(
            .token, "the identity is \(id), but this process is \(roleText)",
            "use its own state directory, or a token made with --for \(roleText)")
    }

    private var roleText: String {
        switch role {
        case .gateway(let name)?: "gateway --name \(name)"
        case .sidecar(let workload)?: "sidecar --namespace \(workload.namespace) --service-account …"
        case nil: "sidecar"
        }
    }

    private func enrolment(_ bytes: [UInt8]) throws(FeedError) -> EnrolmentAnswer {
        do throws(CodingError) { return try EnrolmentAnswer.decode(bytes) } catch {
            throw FeedError(.answer, "the broker's answer cannot be read: \(error)")
        }
    }

    /// The SVID is the one that was asked for, and chains to the bundle that came with it.
    private func verify(_ svid: SVID, _ id: SPIFFEID, _ bundle: TrustBundle) throws(FeedError) {
        guard svid.id == id else { throw FeedError(.answer, "the broker issued \(svid.id) in place of \(id)") }
        do {
            let store = try TrustStore([bundle], generation: 0)
            _ = try store.verify(chain: svid.chainDER, purpose: .client, now: loop.wall)
        } catch let error as PeerRefusal {
            throw FeedError(
                .answer, "the SVID that the broker issued is not good: \(error.reason)",
                "compare the clocks of both sides")
        } catch {
            throw FeedError(.answer, "the broker's bundle cannot be used: \(error)")
        }
    }

    private static func isBroker(_ peer: PeerIdentity, of domain: TrustDomain) -> Bool {
        guard case .broker = peer.id.kind else { return false }
        return peer.trustDomain == domain
    }

    // MARK: Trust

    private func rebuildTrust() {
        guard let record, let svid else { return }
        generation += 1
        do {
            let store = try TrustStore([record.bundle], generation: generation)
            context = try TLSContext.client(svid: svid, trust: store, protocols: [.http2])
            trust = store
        } catch { report(FeedError(.answer, "the own trust bundle cannot be used: \(error)")) }
    }

    private func store(_ record: EnrolmentRecord) {
        do throws(FeedError) { try files?.write(record) } catch { report(error) }
    }

    /// The same problem is told again after a minute at the earliest.
    private func report(_ error: FeedError) {
        let isNew = problem != error || loop.now - reportedAt >= Self.longestSleep
        problem = error
        guard isNew else { return }
        reportedAt = loop.now
        onProblem?(error)
    }
}

extension EnrolmentRecord {
    init(_ answer: EnrolmentAnswer) {
        self.init(
            cluster: answer.cluster, trustDomain: answer.identity.trustDomain, brokerAddresses: answer.brokerAddresses,
            enrolmentAddresses: answer.enrolmentAddresses, bundle: answer.bundle)
    }
}
