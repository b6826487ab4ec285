internal import ControlCoding
internal import ControlProtocol
internal import MeshModel
internal import RPC
internal import Settings
internal import SwiftProtobuf
internal import Wire

/// `meshfed check`: a few calls at a time, each result sent as it is known.
extension AdminService {
    /// Longest and usual time of one call.
    private static let longestCall = Duration.seconds(60)
    private static let usualCall = Duration.seconds(5)

    func check(_ stream: RPCStream) {
        guard permits(stream.peer) else {
            return stream.finish(.permissionDenied, "\(stream.peer.description) may not administer this broker")
        }
        stream.onMessage = { [unowned self, unowned stream] bytes in
            stream.onMessage = nil
            let request: AdminCheckRequest
            do throws(CodingError) {
                request = try MessageCoding.decode(AdminCheckRequest.self, bytes)
            } catch {
                return stream.finish(.invalidArgument, error.description)
            }
            let wanted = Duration.milliseconds(Int64(request.timeoutMilliseconds))
            let timeout = wanted == .zero ? Self.usualCall : min(wanted, Self.longestCall)
            CheckRun(broker, stream, timeout).start()
        }
    }
}

/// One check under way; it lives as long as its calls do.
final class CheckRun {
    /// Calls at once; each has a thread for its time.
    private static let parallel = 8
    /// What was just joined, started or applied gets this long to arrive before it is judged.
    private static let patience = Duration.seconds(5)
    private static let glance = Duration.milliseconds(100)
    /// A link that was lost longer ago does not come back by waiting, in seconds.
    private static let hope: Int64 = 10

    private let broker: Broker
    private let stream: RPCStream
    private let timeout: Duration
    private let begun: Instant
    private var lines: [CheckPlan.Line] = []
    private var running = 0

    init(_ broker: Broker, _ stream: RPCStream, _ timeout: Duration) {
        self.broker = broker
        self.stream = stream
        self.timeout = timeout
        begun = broker.loop.now
    }

    /// Waits until nothing is on its way, then judges and calls.
    func start() {
        guard stream.isOpen else { return }
        guard isSettled || broker.loop.now - begun >= Self.patience else {
            broker.loop.after(Self.glance) { self.start() }
            return
        }
        let plan = CheckPlan(broker)
        for result in plan.results { send(result) }
        lines = plan.lines.reversed()
        next()
    }

    private var isSettled: Bool {
        guard let published = broker.snapshots.published?.snapshot,
            published.revision == broker.snapshots.revision
        else { return false }
        for proxy in broker.feed.proxies where proxy.judged < published.revision { return false }
        let wall = broker.loop.wall
        for member in published.members {
            if case .stale(let since) = member.freshness, wall.seconds - since.seconds < Self.hope { return false }
        }
        return true
    }

    private func next() {
        while running < Self.parallel, stream.isOpen, let line = lines.popLast() {
            running += 1
            run(line, index: 0)
        }
        if running == 0 { stream.finish() }
    }

    /// Tries the line's callers in turn; the first that is let in decides.
    private func run(_ line: CheckPlan.Line, index: Int) {
        let caller = line.callers?.tried[index]
        let order = ProbeOrder(
            gateway: line.gateway, target: line.target, caller: caller, isTCP: line.isTCP,
            context: line.isTCP ? broker.trust.tcpClient : broker.trust.client,
            trustDomain: broker.settings.trustDomain, timeout: timeout)
        broker.desk.offload("check") {
            ProbeCall.run(order)
        } then: { [self] found in
            let result = found ?? ProbeResult(.overload, "no thread could be had for the call")
            let isRefused = result.reason == Reason.notAllowed.rawValue
            if isRefused, let callers = line.callers, index + 1 < callers.tried.count, stream.isOpen {
                return run(line, index: index + 1)
            }
            report(line, caller, result, isRefused: isRefused)
            running -= 1
            next()
        }
    }

    private func report(_ line: CheckPlan.Line, _ caller: SPIFFEID?, _ result: ProbeResult, isRefused: Bool) {
        var message = AdminCheckResult()
        message.kind = line.kind
        message.source = broker.settings.cluster.description
        message.destination = line.destination.description
        message.subject = line.subject
        message.outcome = result.reason == nil ? .ok : .failed
        message.reason = result.reason ?? ""
        message.detail = result.detail
        if isRefused, let callers = line.callers {
            message.detail += CheckWords.refused(callers)
        } else if let caller {
            message.detail += ", as \(caller)"
        }
        message.detail += CheckWords.advice(result.reason)
        message.milliseconds = result.milliseconds
        message.gateway = line.gateway.name.description
        send(message)
    }

    private func send(_ result: AdminCheckResult) {
        // A reader that takes nothing of all this is gone.
        if stream.isOpen, !stream.send(MessageCoding.encode(result)) { stream.cancel() }
    }
}
