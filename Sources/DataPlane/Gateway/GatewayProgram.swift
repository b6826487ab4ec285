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
            ownRole: { _ in .gateway(name: settings.name, locality: locality) }, judge: { _ in nil },
            feedRole: { port in
                .gateway(
                    name: settings.name,
                    advertised: GatewayAddress(
                        name: settings.name, address: settings.advertise?.host ?? settings.listen.host,
                        port: settings.advertise?.port ?? port, locality: locality))
            })
        return ProxyHost.run(plan)
    }
}
