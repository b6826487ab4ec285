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
            CheckRun(broker, stream, CheckPlan(broker, timeout: timeout)).start()
        }
    }
}

/// One check under way; it lives as long as its calls do.
final class CheckRun {
    /// Calls at once; each has a thread for its time.
    private static let parallel = 8

    private let broker: Broker
    private let stream: RPCStream
    private var results: [AdminCheckResult]
    private var lines: [CheckPlan.Line]
    private var running = 0

    init(_ broker: Broker, _ stream: RPCStream, _ plan: CheckPlan) {
        self.broker = broker
        self.stream = stream
        results = plan.results
        lines = plan.lines.reversed()
    }

    func start() {
        for result in results { send(result) }
        results = []
        next()
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
        let order = line.orders[index]
        broker.desk.offload("check") {
            ProbeCall.run(order)
        } then: { [self] found in
            let result = found ?? ProbeResult(.overload, "no thread could be had for the call")
            let isCallerAtFault = result.reason == Reason.notAllowed.rawValue
            if isCallerAtFault, index + 1 < line.orders.count, stream.isOpen { return run(line, index: index + 1) }
            report(line, order, result)
            running -= 1
            next()
        }
    }

    private func report(_ line: CheckPlan.Line, _ order: ProbeOrder, _ result: ProbeResult) {
        var message = AdminCheckResult()
        message.kind = line.kind
        message.source = broker.settings.cluster.description
        message.destination = line.destination.description
        message.subject = line.subject
        message.outcome = result.reason == nil ? .ok : .failed
        message.reason = result.reason ?? ""
        message.detail = result.detail + (order.caller.map { ", as \($0)" } ?? "") + Self.advice(result.reason)
        message.milliseconds = result.milliseconds
        message.gateway = order.gateway.name.description
        send(message)
    }

    private func send(_ result: AdminCheckResult) {
        // A reader that takes nothing of all this is gone.
        if stream.isOpen, !stream.send(MessageCoding.encode(result)) { stream.cancel() }
    }

    private static func advice(_ reason: String?) -> String {
        switch reason.flatMap(Reason.init(rawValue:)) {
        case .notAllowed?: "; the owner's AuthorizationPolicy has to allow a caller of this cluster"
        case .noRoute?: "; is it exported there, and imported here?"
        case .noEndpoint?: "; no healthy workload or gateway is left there"
        case .connectFailed?, .connectTimeout?: "; is the gateway's address reachable from here?"
        case .upstreamTLS?: "; see meshfed bundle show in both clusters"
        default: ""
        }
    }
}
