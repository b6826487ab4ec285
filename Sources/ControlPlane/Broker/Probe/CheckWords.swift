internal import MeshModel

/// Words of a check's answers.
enum CheckWords {
    /// `23h59m`, `40s`: two units at most.
    static func span(_ seconds: Int64) -> String {
        var parts: [String] = []
        var rest = max(0, seconds)
        for (unit, size) in [("d", Int64(86_400)), ("h", 3_600), ("m", 60), ("s", 1)] where parts.count < 2 {
            if rest >= size { parts.append("\(rest / size)\(unit)") }
            rest %= size
        }
        return parts.isEmpty ? "0s" : parts.joined()
    }

    /// The callers that were refused, shortly.
    static func refused(_ callers: CheckCallers) -> String {
        let shown = callers.tried.prefix(4).map { "\($0)" }.joined(separator: ", ")
        if callers.total == 1 { return ", as the only caller of this cluster: \(shown)" }
        let more = callers.total - min(4, callers.tried.count)
        let rest = more > 0 ? " and \(more) more" : ""
        return ", as each of the \(callers.total) callers of this cluster: \(shown)\(rest)"
    }

    /// What to try.
    static func advice(_ reason: String?) -> String {
        switch reason.flatMap(Reason.init(rawValue:)) {
        case .notAllowed?: "; the owner's AuthorizationPolicy has to allow a caller of this cluster"
        case .noRoute?: "; is it exported there, and imported here?"
        case .noEndpoint?: "; no healthy workload or gateway is left there"
        case .connectFailed?, .connectTimeout?: "; is what should answer there up, and can it be reached?"
        case .upstreamTLS?: "; see meshfed bundle show in both clusters"
        case .stale?: "; is the other cluster's broker up?"
        default: ""
        }
    }
}
