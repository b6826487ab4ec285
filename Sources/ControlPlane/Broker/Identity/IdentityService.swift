internal import Authority
internal import ControlCoding
internal import Federation
internal import Identity
internal import MeshModel
internal import Reactor
internal import RPC
internal import Settings
internal import Wire

/// How processes get and keep their SVIDs: `Issue` on 15012, `Enrol` and `Renew` on 8443, and the SPIFFE bundle endpoint.
final class IdentityService {
    /// Requests that wait for the store at once; a fleet that returns comes with jitter and tries again.
    private static let maximumOpen = 1_024

    private unowned let broker: Broker
    private var failures = FailureLimiter()
    private var open = 0

    init(_ broker: Broker) { self.broker = broker }

    func installMutual(on service: RPCService) {
        service.unary("/meshfed.identity.v1.Identity/Issue", limit: CodingLimits.frameBytes) {
            [unowned self] call in issue(call)
        }
    }

    func installOpen(on service: RPCService) {
        service.unary("/meshfed.identity.v1.Enrolment/Enrol", limit: CodingLimits.frameBytes) {
            [unowned self] call in enrol(call)
        }
        service.unary("/meshfed.identity.v1.Enrolment/Renew", limit: CodingLimits.frameBytes) {
            [unowned self] call in renew(call)
        }
        for path in ["/", "/bundle", "/bundle.json"] {
            service.http("GET", path) { [unowned self] call in
                call.respond(
                    status: 200, contentType: "application/json",
                    body: BundleDocument.json(broker.trust.ownBundle))
            }
        }
    }

    /// Renews the session's own ID, for own workloads and gateways only.
    private func issue(_ call: RPCCall) {
        guard let peer = call.peer.identity, broker.isOwnProxy(peer) else {
            broker.counts.refusedCalls += 1
            return call.fail(.permissionDenied, "only workloads and gateways of this cluster renew here")
        }
        guard
            let request = request(
                call, { () throws(CodingError) in try IdentityCoding.decodeIssueRequest(call.message) })
        else { return }
        let wall = broker.loop.wall
        let bundles = [broker.trust.ownBundle] + broker.trust.usable(broker.federation.view.bundles)
        perform(call, source: nil) { (desk) throws(AuthorityError) in
            try desk.issue(peer.id, request: request, now: wall)
        } answer: { issued in
            IssueAnswer(
                chain: issued.chain, bundles: bundles, notBefore: issued.notBefore, notAfter: issued.notAfter
            ).encode()
        }
    }

    private func enrol(_ call: RPCCall) {
        let decoded: (tokenSecret: [UInt8], certificateRequest: [UInt8])
        let source = call.peer.address?.ipText ?? ""
        do throws(CodingError) {
            decoded = try IdentityCoding.decodeEnrolRequest(call.message)
        } catch {
            return call.fail(.invalidArgument, error.description)
        }
        guard let request = request(call, { () throws(CodingError) in decoded.certificateRequest }) else { return }
        let wall = broker.loop.wall
        let secret = decoded.tokenSecret
        perform(call, source: source) { (desk) throws(AuthorityError) in
            try desk.redeem(secret: secret, request: request, now: wall)
        } answer: { [unowned self] issued in
            broker.counts.enrolments += 1
            return enrolment(issued)
        }
    }

    private func renew(_ call: RPCCall) {
        let decoded: RenewalRequest
        let source = call.peer.address?.ipText ?? ""
        do throws(CodingError) {
            decoded = try RenewalRequest.decode(call.message)
        } catch {
            return call.fail(.invalidArgument, error.description)
        }
        guard let request = request(call, { () throws(CodingError) in decoded.certificateRequest }) else { return }
        let wall = broker.loop.wall
        perform(call, source: source) { (desk) throws(AuthorityError) in
            try desk.renewExpired(
                oldLeaf: decoded.oldLeaf, request: request, signature: decoded.signature, now: wall)
        } answer: { [unowned self] issued in
            broker.counts.renewedExpired += 1
            broker.log.warning("an SVID was renewed after its end", ["identity": "\(issued.id)", "from": source])
            return enrolment(issued)
        }
    }

    /// The CSR's key with its proof; fails the call and gives nil where there is none.
    private func request(
        _ call: RPCCall, _ bytes: () throws(CodingError) -> [UInt8]
    ) -> CertificateRequest? {
        do {
            return try CertificateRequest(der: try bytes())
        } catch {
            call.fail(.invalidArgument, "bad_request: \(error)")
            return nil
        }
    }

    /// One transaction; the answer leaves when it is durable. Failures of a `source` slow it down.
    private func perform(
        _ call: RPCCall, source: String?,
        _ body: @escaping @Sendable (AuthorityDesk) throws(AuthorityError) -> IssuedSVID,
        answer: @escaping (IssuedSVID) -> [UInt8]
    ) {
        if let source, !failures.mayTry(source, now: broker.loop.now) {
            return call.fail(.resourceExhausted, "too many tries; wait a moment")
        }
        guard open < Self.maximumOpen else { return call.fail(.unavailable, "busy; try again") }
        open += 1
        broker.desk.write(broker.state.authority, body) { [unowned self] result in
            open -= 1
            switch result {
            case .success(let issued):
                broker.counts.issued += 1
                call.reply(answer(issued))
            case .failure(let error):
                if let source {
                    failures.failed(source, now: broker.loop.now)
                    broker.counts.refusedEnrolments += 1
                    broker.log.warning("enrolment refused", ["from": source, "reason": error.word])
                }
                if case .store(let inner) = error { broker.storeFailed(inner) }
                let refusal = CallRefusal(error)
                call.fail(refusal.status, refusal.text)
            }
        }
    }

    private func enrolment(_ issued: IssuedSVID) -> [UInt8] {
        EnrolmentAnswer(
            chain: issued.chain, bundle: broker.trust.ownBundle, cluster: broker.settings.cluster, identity: issued.id,
            brokerAddresses: broker.ownBrokerAddresses, enrolmentAddresses: broker.ownJoinAddresses,
            notBefore: issued.notBefore, notAfter: issued.notAfter
        ).encode()
    }
}
