internal import MeshModel
internal import RPC
internal import Wire

/// Which address of a broker a try takes, and what its failure means.
enum BrokerTarget {
    /// The addresses (`host:port`) take turns.
    static func pick(_ addresses: [String], try number: Int) -> RPCTarget? {
        let usable = addresses.compactMap { HostPort($0) }
        guard !usable.isEmpty else { return nil }
        let pair = usable[number % usable.count]
        return .tcp(host: pair.host, port: pair.port)
    }

    /// What the end of a call means for whoever waits for its answer.
    static func error(_ end: RPCEnd, _ purpose: String, _ target: RPCTarget) -> FeedError {
        let what = "cannot \(purpose) at \(target): \(end.message)"
        switch end.status {
        case .unavailable, .deadlineExceeded, .resourceExhausted, .aborted, .cancelled, .internalError, .unknown, .ok,
            .dataLoss, .outOfRange:
            // With a pin there is one root that will ever do: another one does not become it by waiting.
            let kind: FeedError.Kind =
                end.message.contains("does not end at a root") && purpose == "enrol" ? .token : .broker
            return FeedError(kind, what, end.status == .unavailable ? advice(end.message) : "")
        case .invalidArgument, .notFound, .alreadyExists, .permissionDenied, .failedPrecondition, .unimplemented,
            .unauthenticated:
            return FeedError(.token, what, "")
        }
    }

    private static func advice(_ message: String) -> String {
        if message.contains("refused") { return "is the broker running, and is its port open to here?" }
        if message.contains("root") {
            return "the broker there has another root: is it the cluster that made the token?"
        }
        if message.contains("expired") || message.contains("valid yet") { return "compare the clocks of both sides" }
        return ""
    }
}
