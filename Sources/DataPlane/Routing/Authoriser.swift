package import MeshModel

/// The outcome of an owner's authorisation; `rule` is the index of the rule that decided, nil for the default.
package enum AuthorizationDecision: Hashable, Sendable {
    case allowed(rule: Int?)
    case denied(rule: Int?)

    package var isAllowed: Bool {
        switch self {
        case .allowed: true
        case .denied: false
        }
    }
}

/// The one engine that sidecars, ingress and egress gateways authorise with (PROTOCOLS section 4).
package enum Authoriser {
    /// A deny that matches wins; then an allow; then the default: inside the owner's trust domain allowed until some
    /// allow rule exists, whatever its ports; across trust domains never.
    package static func decide(
        _ authorization: Authorization, caller: SPIFFEID, port: UInt16, owner: TrustDomain
    ) -> AuthorizationDecision {
        var allow: Int?
        var hasAllow = false
        for index in authorization.rules.indices {
            let isDeny = authorization.rules[index].action == .deny
            if !isDeny {
                hasAllow = true
                if allow != nil { continue }
            }
            guard matches(authorization.rules[index], caller, port) else { continue }
            if isDeny { return .denied(rule: index) }
            allow = index
        }
        if let allow { return .allowed(rule: allow) }
        if hasAllow { return .denied(rule: nil) }
        return caller.trustDomain.text == owner.text ? .allowed(rule: nil) : .denied(rule: nil)
    }

    private static func matches(_ rule: AuthorizationRule, _ caller: SPIFFEID, _ port: UInt16) -> Bool {
        guard rule.ports.isEmpty || rule.ports.contains(port) else { return false }
        for pattern in rule.callers where pattern.matches(caller) { return true }
        return false
    }
}
