internal import Feed
internal import Host
internal import MeshModel
internal import Proxy
internal import Reactor
internal import Routing
package import Settings

/// The cluster edge: one mTLS listener, whatever is behind it decided per request.
package enum GatewayProgram {
    /// Runs to the end; the exit status.
    package static func run(_ settings: GatewaySettings) -> Int32 {
        let locality = settings.proxy.locality
        let plan = HostPlan(
            word: "gateway", proxy: settings.proxy, listening: [.init(settings.listen, .mesh)], isGateway: true,
            defaultWorkers: Machine.usableCPUs, keeperRole: .gateway(name: settings.name),
            ownRole: { _ in .gateway(name: settings.name, locality: locality) }, judge: judge,
            feedRole: { port in
                .gateway(
                    name: settings.name,
                    advertised: GatewayAddress(
                        name: settings.name, address: settings.advertise?.host ?? settings.listen.host,
                        port: settings.advertise?.port ?? port, locality: locality))
            })
        return ProxyHost.run(plan)
    }

    /// A gateway serves its own cluster's snapshot, with an SVID of that cluster's trust domain.
    private static func judge(_ snapshot: Snapshot, _ id: SPIFFEID?) -> String? {
        guard let id else { return nil }
        guard id.trustDomain == snapshot.trustDomain else {
            return "the snapshot is of \(snapshot.trustDomain), the SVID says \(id)"
        }
        guard case .gateway = id.kind else { return "the SVID says \(id), which is no gateway" }
        return nil
    }
}
