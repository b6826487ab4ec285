internal import Compiler
internal import ControlCoding
internal import MeshModel

/// What the gateways' probes say of local endpoints. An endpoint is healthy as long as any gateway holds it healthy, or none
/// has said anything (PROTOCOLS section 7).
final class HealthBoard {
    private unowned let broker: Broker
    private var reports: [Label: [EndpointID: Bool]] = [:]
    private(set) var unhealthy: Set<EndpointID> = []
    /// Workloads whose sidecar drains: no new work for them, whatever the probes still find.
    private var leaving: Set<ObjectName> = []

    init(_ broker: Broker) { self.broker = broker }

    /// Changes since the gateway's last report. Endpoints that this cluster does not have are passed over.
    func reported(_ gateway: Label, _ list: [EndpointHealth]) {
        let known = broker.snapshots.endpointIDs
        for entry in list where known.contains(entry.endpoint) {
            reports[gateway, default: [:]][entry.endpoint] = entry.healthy
        }
        review()
    }

    /// The gateway is no longer one of the cluster.
    func forget(_ gateway: Label) {
        if reports.removeValue(forKey: gateway) != nil { review() }
    }

    /// The sidecar of a workload stops.
    func draining(_ workload: ObjectName) {
        if leaving.insert(workload).inserted { review() }
    }

    /// A sidecar of the workload serves (again).
    func subscribed(_ workload: ObjectName) {
        if leaving.remove(workload) != nil { review() }
    }

    /// Drops what is said of endpoints that are gone.
    func prune() {
        let known = broker.snapshots.endpointIDs
        for gateway in Array(reports.keys) {
            reports[gateway] = reports[gateway]?.filter { known.contains($0.key) }
        }
        review()
    }

    private func review() {
        var down: Set<EndpointID> = []
        var up: Set<EndpointID> = []
        for report in reports.values {
            for (endpoint, healthy) in report {
                if healthy { up.insert(endpoint) } else { down.insert(endpoint) }
            }
        }
        var found = down.subtracting(up)
        if !leaving.isEmpty { found.formUnion(broker.snapshots.endpointIDs(of: leaving)) }
        guard found != unhealthy else { return }
        unhealthy = found
        broker.snapshots.compileSoon()
    }
}

extension SnapshotDriver {
    /// Numbers of all local endpoints in the newest snapshot.
    var endpointIDs: Set<EndpointID> {
        Set(compilation?.snapshot.services.flatMap { $0.endpoints.map(\.id) } ?? [])
    }

    /// Those of some workloads.
    func endpointIDs(of workloads: Set<ObjectName>) -> [EndpointID] {
        (compilation?.snapshot.services ?? []).flatMap { service in
            service.endpoints.filter { workloads.contains($0.workload) }.map(\.id)
        }
    }
}
