/// The counters that are not per request: a name, what it counts and at most three labels.
package enum EventFamily: UInt8, Sendable, CaseIterable {
    /// Rate limit decisions: rule, decision (`allowed`, `limited`, `shadow_limited`, `overflow`).
    case limitDecisions
    /// Requests that went to another cluster than the first in order: service, from, to.
    case failovers
    /// Calls whose origin assertion was refused: reason, cluster of the direct peer.
    case originRefused
    /// Repeated tries: destination service, reason of the failed try, `charged` or `free`.
    case retries
    /// Endpoints taken out: destination service, why (`consecutive_failures`, `connect`, `probe`).
    case ejections
    /// Handshakes that ended in an error: side (`downstream`, `upstream`), reason.
    case handshakeFailures
    /// What peers did wrong on the wire, after the handshake: side (`downstream`, `upstream`), reason.
    case peerFaults
    /// Frames of HTTP/2 that cost us more than the peer: side, kind.
    case glitches
    /// Connections taken: listener.
    case connections
    /// Calls without mTLS that came to the app: destination service, `allowed` or `refused`.
    case plaintext
    /// A limit of this process was met and its answer given: limit.
    case limitsReached

    package var name: StaticString {
        switch self {
        case .limitDecisions: "meshfed_limit_decisions"
        case .failovers: "meshfed_failovers"
        case .originRefused: "meshfed_origin_refused"
        case .retries: "meshfed_retries"
        case .ejections: "meshfed_ejections"
        case .handshakeFailures: "meshfed_handshake_failures"
        case .peerFaults: "meshfed_peer_faults"
        case .glitches: "meshfed_http2_glitches"
        case .connections: "meshfed_connections"
        case .plaintext: "meshfed_plaintext_requests"
        case .limitsReached: "meshfed_limits_reached"
        }
    }

    var help: StaticString {
        switch self {
        case .limitDecisions: "Rate limit decisions by rule."
        case .failovers: "Requests sent to another cluster because a nearer one could not take them."
        case .originRefused: "Calls refused because of their origin assertion."
        case .retries: "Tries after the first, by the reason of the failed one."
        case .ejections: "Endpoints taken out of balancing."
        case .handshakeFailures: "TLS handshakes that failed."
        case .peerFaults: "Connections and requests ended because of what the peer sent."
        case .glitches: "HTTP/2 frames that are of no use and cost more than they cost the peer."
        case .connections: "Connections accepted."
        case .plaintext: "Requests (TCP: connections) without mTLS that came for a service."
        case .limitsReached: "Requests, connections and pauses of listeners by the limit that called for them."
        }
    }

    var labels: [StaticString] {
        switch self {
        case .limitDecisions: ["rule", "decision"]
        case .failovers: ["destination_service", "source_cluster", "destination_cluster"]
        case .originRefused: ["reason", "source_cluster"]
        case .retries: ["destination_service", "reason", "budget"]
        case .ejections: ["destination_service", "reason"]
        case .handshakeFailures: ["side", "reason"]
        case .peerFaults: ["side", "reason"]
        case .glitches: ["side", "kind"]
        case .connections: ["listener"]
        case .plaintext: ["destination_service", "decision"]
        case .limitsReached: ["limit"]
        }
    }

    /// The packed key of one series; labels that the family lacks are left out.
    func key(_ first: LabelHandle, _ second: LabelHandle, _ third: LabelHandle) -> RequestMetricKey {
        let count = labelCount
        var key = RequestMetricKey(reporter: .source, requestProtocol: .http, security: .unknown)
        key.identity =
            UInt64(rawValue) | UInt64(first.raw) << 16 | (count > 1 ? UInt64(second.raw) << 32 : 0)
            | (count > 2 ? UInt64(third.raw) << 48 : 0)
        key.outcome = 0
        return key
    }

    var labelCount: Int {
        switch self {
        case .connections, .limitsReached: 1
        case .plaintext, .limitDecisions, .originRefused, .ejections, .handshakeFailures, .peerFaults, .glitches: 2
        case .failovers, .retries: 3
        }
    }

    static func family(of key: RequestMetricKey) -> EventFamily {
        EventFamily(rawValue: UInt8(truncatingIfNeeded: key.identity)) ?? .connections
    }

    static func handles(of key: RequestMetricKey) -> [LabelHandle] {
        let all = [16, 32, 48].map { LabelHandle(raw: UInt16(truncatingIfNeeded: key.identity >> UInt64($0))) }
        return Array(all.prefix(family(of: key).labelCount))
    }
}
