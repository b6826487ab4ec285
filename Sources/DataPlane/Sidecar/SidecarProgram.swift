internal import Feed
internal import Host
internal import MeshModel
internal import Names
internal import Proxy
internal import Reactor
internal import Routing
package import Settings

/// One pod's proxy: mTLS in, mTLS out, the app on loopback between them.
package enum SidecarProgram {
    /// Runs to the end; the exit status.
    package static func run(_ settings: SidecarSettings) -> Int32 {
        var listening = [HostPlan.Listening(settings.listenInbound, .mesh)]
        for address in settings.listenOutbound { listening.append(.init(address, .explicit)) }
        for outbound in settings.tcp {
            listening.append(
                .init(outbound.listen, .outboundTCP(host: Array("\(outbound.name):\(outbound.port)".utf8))))
        }
        for plain in settings.inboundPlain {
            listening.append(.init(plain.listen, .inboundPlain(appPort: plain.appPort)))
        }
        for address in settings.listenCaptured { listening.append(.init(address, .captured)) }
        if let mark = settings.mark {
            do throws(SocketError) { try Machine.useMark(mark) } catch {
                Notice.write("sidecar: --mark: \(error.text); it needs CAP_NET_ADMIN in this network namespace")
                return 1
            }
        }
        let workload = settings.workload
        var plan = HostPlan(
            word: "sidecar", proxy: settings.proxy, listening: listening, isGateway: false, defaultWorkers: 1,
            keeperRole: .sidecar(workload: workload), namespace: workload.namespace, appAddress: settings.appAddress,
            ownRole: { snapshot in
                .sidecar(workload: workload, locality: place(workload, settings.proxy.locality, snapshot))
            }, judge: { judge($0, $1, workload) }, feedRole: { _ in .sidecar(workload: workload) })
        plan.capture.isOn = !settings.listenCaptured.isEmpty
        plan.capture.probes = settings.probes.map { ProbePath(port: $0.port, path: Array($0.path.utf8)) }
        plan.capture.drain = settings.drain
        guard !settings.listenNames.isEmpty else { return ProxyHost.run(plan) }
        var names: NamesService?
        plan.openOwn = { inherited throws(HostFailure) in
            do throws(SocketError) {
                let service = try NamesService(
                    settings.listenNames.compactMap { SocketAddress(ip: $0.host, port: $0.port) },
                    resolverFile: settings.resolverFile
                ) { inherited.take($0).first }
                names = service
                return service.sockets.map { ($0.name, $0.descriptor) }
            } catch {
                throw HostFailure("--dns: \(error); is another process using it? choose another by --listen-dns")
            }
        }
        plan.onSnapshot = { names?.adopt($0, namespace: workload.namespace) }
        plan.onHandedOver = { names?.retire() }
        defer { names?.stop() }
        return ProxyHost.run(plan)
    }

    /// As the flags say; else as the catalog says of the workload.
    private static func place(_ workload: ObjectName, _ told: Locality, _ snapshot: Snapshot) -> Locality {
        if told != .unknown { return told }
        for service in snapshot.services {
            for endpoint in service.endpoints where endpoint.workload == workload { return endpoint.locality }
        }
        return .unknown
    }

    /// The workload that the command line names must be the one that the SVID speaks for (PROTOCOLS section 8).
    private static func judge(_ snapshot: Snapshot, _ id: SPIFFEID?, _ workload: ObjectName) -> String? {
        guard let id else { return nil }
        guard id.trustDomain == snapshot.trustDomain else {
            return "the snapshot is of \(snapshot.trustDomain), the SVID says \(id)"
        }
        guard case .workload = id.kind else { return "the SVID says \(id), which is no workload" }
        for service in snapshot.services {
            for endpoint in service.endpoints where endpoint.workload == workload && endpoint.identity != id {
                return "workload \(workload) is \(endpoint.identity), the SVID says \(id)"
            }
        }
        return nil
    }
}
