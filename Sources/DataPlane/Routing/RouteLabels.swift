package import MeshModel
package import Telemetry

/// The metrics labels of every destination and cluster of one table, interned in one worker's `WorkerMetrics`.
///
/// Made by each worker when it takes a table, so that no text is interned per request. A class: asking it costs one retain
/// instead of one for each of its tables.
package final class RouteLabels: Sendable {
    package struct Labels: Hashable, Sendable {
        package let service: LabelHandle
        package let namespace: LabelHandle
    }

    private let stamp: UInt64
    private let destinations: [Labels]
    private let members: [LabelHandle]
    private let rules: [[LabelHandle]]
    /// By the position of the outcome in `LimitOutcome.allCases`.
    private let outcomes: [LabelHandle]
    package let ownCluster: LabelHandle

    package init(_ table: RoutingTable, metrics: inout WorkerMetrics) {
        stamp = table.stamp
        var labels: [Labels] = []
        for destination in table.destinations {
            labels.append(
                Labels(
                    service: metrics.intern(destination.meshName), namespace: metrics.intern(destination.namespace)))
        }
        destinations = labels
        var clusters: [LabelHandle] = []
        for member in table.snapshot.members { clusters.append(metrics.intern(member.cluster.bytes)) }
        members = clusters
        ownCluster = metrics.intern(table.snapshot.cluster.bytes)
        var names: [[LabelHandle]] = []
        for service in table.limits {
            var row: [LabelHandle] = []
            for binding in service { row.append(metrics.intern(binding.name)) }
            names.append(row)
        }
        rules = names
        outcomes = LimitOutcome.allCases.map { metrics.intern(Array("\($0.word)".utf8)) }
    }

    /// The labels of a destination; `unknown` for one of another table.
    package func labels(of destination: Destination) -> Labels { labels(of: destination.place) }

    package func labels(of place: Destination.Place) -> Labels {
        let index = Int(place.index)
        guard place.stamp == stamp, index >= 0, index < destinations.count else {
            return Labels(service: .unknown, namespace: .unknown)
        }
        return destinations[index]
    }

    /// The label of a member's cluster by its index in the snapshot.
    package func cluster(ofMember member: Int) -> LabelHandle {
        member >= 0 && member < members.count ? members[member] : .unknown
    }

    /// The label of what a rule said.
    package func outcome(_ outcome: LimitOutcome) -> LabelHandle { outcomes[outcome.position] }

    /// Counts a request on every rule of a service (`RateLimiter.decide`), and in `metrics` what each one said.
    package func decide(
        _ table: RoutingTable, service: Int, caller: CallerKey, now: Instant, counting metrics: inout WorkerMetrics
    ) -> LimitDecision? {
        RateLimiter.decide(table, service: service, caller: caller, now: now) { index, outcome in
            metrics.count(.limitDecisions, rule(index, ofService: service), outcomes[outcome.position])
        }
    }

    /// The label of a rate limit rule.
    package func rule(_ index: Int, ofService service: Int) -> LabelHandle {
        guard service >= 0, service < rules.count, index >= 0, index < rules[service].count else { return .unknown }
        return rules[service][index]
    }
}
