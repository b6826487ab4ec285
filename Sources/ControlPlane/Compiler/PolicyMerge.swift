internal import MeshModel

/// The policies of one cluster, spread over the services that they name.
struct PolicyMerge {
    private(set) var traffic: [ObjectName: TrafficSettings] = [:]
    private(set) var limits: [ObjectName: [LimitRule]] = [:]
    private(set) var authorization: [ObjectName: Authorization] = [:]
    private(set) var mutualTLS: [ObjectName: MutualTLSMode] = [:]
    private(set) var settings = MeshSettings()
    private(set) var sponsors: [ClusterID]?
    private(set) var problems: [ObjectProblem] = []
    /// Who set the mode of a service, for the checks that follow.
    private(set) var modeOwners: [ObjectName: Placed<MeshPolicyObject>] = [:]

    private struct Setting: Hashable {
        let service: ObjectName
        let field: TrafficField
    }

    init(_ index: ObjectIndex) {
        var owners: [Setting: String] = [:]
        for policy in index.traffic {
            for service in policy.body.targets {
                for field in policy.body.fields.sorted() {
                    if let other = owners[Setting(service: service, field: field)] {
                        problems.append(
                            policy.problem(
                                "spec.\(field.rawValue)", "is set for service \(service) by \(other) too",
                                "set it in one of them"))
                        continue
                    }
                    owners[Setting(service: service, field: field)] = "\(policy.subject) (\(policy.metadata.location))"
                    Self.copy(field, from: policy.body.settings, to: &traffic[service, default: TrafficSettings()])
                }
            }
        }
        for policy in index.limits {
            for service in policy.body.targets {
                for rule in policy.body.rules {
                    var named = rule
                    named.name = "\(policy.name)/\(rule.name)@\(service.name)"
                    limits[service, default: []].append(named)
                }
            }
        }
        for policy in index.authorization {
            for service in policy.body.targets {
                authorization[service, default: Authorization()].rules += policy.body.rules
            }
        }
        mergeMesh(index.mesh)
    }

    private mutating func mergeMesh(_ policies: [Placed<MeshPolicyObject>]) {
        var wide: Placed<MeshPolicyObject>?
        for policy in policies {
            if policy.body.targets.isEmpty {
                if let wide {
                    problems.append(
                        policy.problem(
                            "spec", "is mesh-wide, as is \(wide.subject) (\(wide.metadata.location))",
                            "put the settings into one of them, or give this one targetRefs"))
                    continue
                }
                wide = policy
                settings = policy.body.settings
                settings.acceptAttested.sort()
                sponsors = policy.body.sponsors?.sorted()
            }
            for service in policy.body.targets {
                if let other = modeOwners[service] {
                    problems.append(
                        policy.problem(
                            "spec.mtls.mode",
                            "is set for service \(service) by \(other.subject) (\(other.metadata.location)) too",
                            "set it in one of them"))
                    continue
                }
                modeOwners[service] = policy
                mutualTLS[service] = policy.body.settings.mutualTLS
            }
        }
    }

    private static func copy(_ field: TrafficField, from source: TrafficSettings, to target: inout TrafficSettings) {
        switch field {
        case .failoverOrder: target.failoverOrder = source.failoverOrder
        case .failoverExclude: target.failoverExcluded = source.failoverExcluded
        case .connectTimeout: target.connectTimeout = source.connectTimeout
        case .handshakeTimeout: target.handshakeTimeout = source.handshakeTimeout
        case .headersTimeout: target.headersTimeout = source.headersTimeout
        case .requestTimeout: target.requestTimeout = source.requestTimeout
        case .perTryTimeout: target.perTryTimeout = source.perTryTimeout
        case .idleTimeout: target.idleTimeout = source.idleTimeout
        case .connectionIdleTimeout: target.connectionIdleTimeout = source.connectionIdleTimeout
        case .maximumConnectionAge: target.maximumConnectionAge = source.maximumConnectionAge
        case .attempts: target.maximumAttempts = source.maximumAttempts
        case .budgetPercent: target.retryBudgetPercent = source.retryBudgetPercent
        case .budgetMinimumPerSecond: target.retryBudgetMinimumPerSecond = source.retryBudgetMinimumPerSecond
        case .consecutiveErrors: target.ejectAfter = source.ejectAfter
        case .ejectionTime: target.ejectionTime = source.ejectionTime
        case .maximumEjectionPercent: target.maximumEjectionPercent = source.maximumEjectionPercent
        case .probeInterval: target.probeInterval = source.probeInterval
        case .maximumRequestsPerEndpoint: target.maximumRequestsPerEndpoint = source.maximumRequestsPerEndpoint
        case .staleness: target.maximumStaleness = source.maximumStaleness
        }
    }
}
