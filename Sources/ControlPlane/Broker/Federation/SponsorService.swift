internal import Authority
internal import ControlCoding
internal import Federation
internal import Identity
internal import MeshModel
internal import Reactor
internal import RPC
internal import Wire

/// `Federation/Join` on 8443: takes a token and countersigns the cluster that brings it.
///
/// The order makes a crash harmless: the request is judged, the token is bound to the joiner's key and that is durable, then
/// the machine admits it and the answer waits for its rows. The same request after a crash gets the same answer.
final class SponsorService {
    /// Joins under way at once; each is a signature and two commits.
    private static let maximumOpen = 64

    private unowned let broker: Broker
    private var failures = FailureLimiter()
    private var open = 0

    init(_ broker: Broker) { self.broker = broker }

    func install(on service: RPCService) {
        service.unary("/meshfed.federation.v1.Federation/Join", limit: CodingLimits.frameBytes) {
            [unowned self] call in join(call)
        }
    }

    private func join(_ call: RPCCall) {
        let source = call.peer.address?.ipText ?? ""
        guard open < Self.maximumOpen, failures.mayTry(source, now: broker.loop.now) else {
            return call.fail(.resourceExhausted, "too many tries; wait a moment")
        }
        let intent: JoinIntent
        let key: PublicKey
        do throws(JoinRefusal) {
            intent = try broker.federation.machine.joinIntent(call.message)
            guard let read = try? PublicKey(spki: intent.federationKey) else {
                throw JoinRefusal.malformed("the federation key cannot be read")
            }
            key = read
        } catch {
            failures.failed(source, now: broker.loop.now)
            return refuse(call, error, nil)
        }
        let wall = broker.loop.wall
        open += 1
        broker.desk.write(broker.state.authority) { (desk) throws(AuthorityError) in
            try desk.admit(
                secret: intent.tokenSecret, cluster: intent.cluster, trustDomain: intent.trustDomain,
                federationKey: key, plan: intent.isPlan, now: wall)
        } then: { [unowned self] result in
            switch result {
            case .failure(let error):
                open -= 1
                failures.failed(source, now: broker.loop.now)
                broker.counts.refusedJoins += 1
                broker.log.warning(
                    "join refused", ["cluster": "\(intent.cluster)", "from": source, "reason": error.word])
                let refusal = CallRefusal(error)
                call.fail(refusal.status, refusal.text)
            case .success: admit(call, intent)
            }
        }
    }

    private func admit(_ call: RPCCall, _ intent: JoinIntent) {
        broker.federation.join(intent) { [unowned self] result in
            open -= 1
            switch result {
            case .failure(let refusal): refuse(call, refusal, intent.cluster)
            case .success(let answer):
                if !intent.isPlan {
                    broker.counts.joins += 1
                    broker.log.info("member admitted by token", ["cluster": "\(intent.cluster)"])
                }
                call.reply(answer)
            }
        }
    }

    private func refuse(_ call: RPCCall, _ refusal: JoinRefusal, _ cluster: ClusterID?) {
        broker.counts.refusedJoins += 1
        broker.log.warning("join refused", ["cluster": cluster?.description ?? "", "reason": "\(refusal)"])
        let status: GRPCStatus =
            switch refusal {
            case .malformed: .invalidArgument
            case .badSignature: .permissionDenied
            case .keyDead, .conflict, .sponsorUnable: .failedPrecondition
            }
        call.fail(status, refusal.description)
    }
}
