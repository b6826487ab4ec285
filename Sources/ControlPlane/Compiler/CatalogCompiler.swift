internal import MeshModel

/// The own services of a snapshot → the records that members are shown: counts by locality, never a pod.
enum CatalogCompiler {
    static func records(of snapshot: Snapshot) -> [CatalogRecord] {
        snapshot.services.filter { $0.isLocal && $0.export.isExported }.map { service in
            var counts: [Locality: RemoteCapacity] = [:]
            for endpoint in service.endpoints {
                var capacity =
                    counts[endpoint.locality]
                    ?? RemoteCapacity(locality: endpoint.locality, healthyCount: 0, capacity: 0)
                capacity.capacity = UInt32(clamping: UInt64(capacity.capacity) + UInt64(endpoint.weight))
                if endpoint.healthy { capacity.healthyCount += 1 }
                counts[endpoint.locality] = capacity
            }
            return CatalogRecord(
                service: service.name, cluster: snapshot.cluster, ports: service.ports,
                capacities: counts.values.sorted { $0.locality < $1.locality },
                authorization: service.authorization, exportTo: service.export)
        }
    }
}
