internal import Authority
internal import Compiler
internal import ControlCoding
internal import ControlProtocol
internal import Federation
internal import Identity
internal import MeshModel
internal import RPC
internal import Settings
internal import Wire

/// `meshfed status | service list | endpoint list | bundle show | snapshot show`.
extension AdminService {
    func installViews(_ service: RPCService) {
        view(service, "Status") { [unowned self] (_: AdminStatusRequest) throws(CallRefusal) in try status() }
        view(service, "ListServices") { [unowned self] request throws(CallRefusal) in try services(request) }
        view(service, "ListEndpoints") { [unowned self] request throws(CallRefusal) in try endpoints(request) }
        view(service, "ShowBundle") { [unowned self] request throws(CallRefusal) in try bundles(request) }
        view(service, "ShowSnapshot") { [unowned self] (_: AdminShowSnapshotRequest) throws(CallRefusal) in
            guard let published = broker.snapshots.published else {
                throw CallRefusal(.unavailable, "no snapshot is published yet; try again in a moment")
            }
            var response = AdminShowSnapshotResponse()
            response.snapshot = SnapshotCoding.message(published.snapshot)
            return response
        }
    }

    // MARK: status

    func status() throws(CallRefusal) -> AdminStatusResponse {
        var response = AdminStatusResponse()
        response.cluster = broker.settings.cluster.description
        response.trustDomain = broker.settings.trustDomain.description
        response.version = Release.version
        response.started = broker.started.seconds
        response.epoch = broker.snapshots.epoch
        response.revision = broker.snapshots.revision
        response.configurationError =
            broker.objects.directoryError.isEmpty ? broker.snapshots.failure : broker.objects.directoryError
        response.configurationDirectory = broker.settings.configDirectory ?? ""
        response.members = members
        response.proxies = broker.feed.proxies.map { Self.proxy($0, now: broker.loop.now) }
        response.authorities = try authorities()
        response.alarms = broker.alarms.alarms.map { alarm in
            var message = AdminAlarm()
            message.time = alarm.time.seconds
            message.kind = alarm.kind
            message.cluster = alarm.cluster?.description ?? ""
            message.text = alarm.text
            return message
        }
        let snapshot = broker.snapshots.compilation?.snapshot
        response.services = UInt32(clamping: snapshot?.services.count ?? 0)
        response.endpoints = UInt32(clamping: snapshot?.services.reduce(0) { $0 + $1.endpoints.count } ?? 0)
        response.federationKey = broker.federation.machine.ownKeyName.description
        response.listeners = broker.listeners.map { listener in
            var message = AdminListener()
            message.purpose = listener.purpose
            message.address = listener.address
            return message
        }
        return response
    }

    private static func proxy(_ subscriber: Subscriber, now: Instant) -> AdminProxy {
        var message = AdminProxy()
        message.name = subscriber.name
        message.identity = subscriber.identity.id.description
        message.ackedRevision = subscriber.acked
        message.refused = subscriber.refused
        message.connectedSince = subscriber.connectedSince.seconds
        message.svidExpires = subscriber.identity.notAfter.seconds
        message.ageMilliseconds = UInt64(clamping: (now - subscriber.heard).wholeNanoseconds / 1_000_000)
        guard let hello = subscriber.hello else { return message }
        message.version = hello.version
        message.locality.region = hello.locality.region
        message.locality.zone = hello.locality.zone
        switch hello.role {
        case .sidecar: message.role = "sidecar"
        case .gateway(_, let address):
            message.role = "gateway"
            message.address = address.map(GatewayRegistry.text) ?? ""
        }
        return message
    }

    private func authorities() throws(CallRefusal) -> [AdminAuthorityState] {
        let entries: [AuthorityEntry]
        do throws(AuthorityError) {
            entries = try broker.state.authority.read { (view) throws(AuthorityError) in try view.machine().entries }
        } catch {
            throw CallRefusal(error)
        }
        return entries.map { entry in
            var message = AdminAuthorityState()
            message.state = entry.phase.rawValue
            guard let root = try? Certificate(der: entry.root) else { return message }
            message.id = Hex.encode(root.publicKey.fingerprint)
            message.notBefore = root.notBefore.seconds
            message.notAfter = root.notAfter.seconds
            return message
        }
    }

    // MARK: services and endpoints

    private func services(_ request: AdminListServicesRequest) throws(CallRefusal) -> AdminListServicesResponse {
        var response = AdminListServicesResponse()
        guard let compilation = broker.snapshots.compilation else { return response }
        let namespace = request.namespace.isEmpty ? nil : try Self.label(request.namespace, "namespace")
        let ages = freshness(compilation.snapshot)
        let messages = SnapshotCoding.message(compilation.snapshot).services
        for (service, message) in zip(compilation.snapshot.services, messages) {
            guard namespace == nil || service.name.namespace == namespace else { continue }
            if service.isLocal {
                var entry = AdminServiceEntry()
                entry.name = message.name
                entry.cluster = broker.settings.cluster.description
                entry.state = "local"
                entry.meshName = service.meshName.description
                entry.ports = message.ports
                entry.healthy = UInt32(clamping: service.endpoints.count(where: \.healthy))
                entry.total = UInt32(clamping: service.endpoints.count)
                entry.export = message.export
                entry.freshness = .fresh
                response.services.append(entry)
            }
            for (remote, part) in zip(service.remotes, message.remotes) {
                var entry = AdminServiceEntry()
                entry.name = message.name
                entry.cluster = remote.cluster.description
                entry.state = "imported"
                entry.meshName = service.meshName.description
                entry.ports = part.ports
                entry.healthy = remote.healthyCount
                entry.total = remote.capacities.reduce(0) { $0 &+ $1.capacity }
                entry.freshness = ages[remote.cluster] ?? .gone
                response.services.append(entry)
            }
        }
        for offer in compilation.available where namespace == nil || offer.service.namespace == namespace {
            var entry = AdminServiceEntry()
            entry.name = offer.service.description
            entry.cluster = offer.cluster.description
            entry.state = "available"
            let name = MeshName(service: offer.service.name, namespace: offer.service.namespace, scope: .clusterset)
            entry.meshName = name.description
            entry.ports = offer.ports.map(Self.port)
            entry.healthy = offer.healthyCount
            entry.freshness = ages[offer.cluster] ?? .gone
            response.services.append(entry)
        }
        let own = broker.settings.cluster.description
        response.services.sort { left, right in
            (left.name, left.cluster == own ? 0 : 1, left.cluster) < (
                right.name, right.cluster == own ? 0 : 1, right.cluster
            )
        }
        return response
    }

    private func freshness(_ snapshot: Snapshot) -> [ClusterID: ModelFreshness] {
        Dictionary(
            snapshot.members.map { ($0.cluster, MemberCoding.message($0.freshness).0) },
            uniquingKeysWith: { first, _ in first })
    }

    private static func port(_ port: ServicePort) -> ModelServicePort {
        var message = ModelServicePort()
        message.name = port.name
        message.port = UInt32(port.port)
        message.appProtocol =
            switch port.appProtocol {
            case .http: .http
            case .http2: .http2
            case .grpc: .grpc
            case .tcp: .tcp
            case .auto: .auto
            }
        return message
    }

    private func endpoints(_ request: AdminListEndpointsRequest) throws(CallRefusal) -> AdminListEndpointsResponse {
        var response = AdminListEndpointsResponse()
        guard let snapshot = broker.snapshots.compilation?.snapshot else { return response }
        let namespace = request.namespace.isEmpty ? nil : try Self.label(request.namespace, "namespace")
        let name = request.service.isEmpty ? nil : try Self.label(request.service, "service")
        var gateways: [ClusterID: String] = [:]
        for member in snapshot.members {
            gateways[member.cluster] = member.gateways.map(GatewayRegistry.text).joined(separator: ",")
        }
        for (service, message) in zip(snapshot.services, SnapshotCoding.message(snapshot).services) {
            guard namespace == nil || service.name.namespace == namespace, name == nil || service.name.name == name
            else { continue }
            for endpoint in message.endpoints.sorted(by: { $0.workload < $1.workload }) {
                var entry = AdminEndpointEntry()
                entry.service = message.name
                entry.cluster = snapshot.cluster.description
                entry.workload = endpoint.workload
                entry.address = endpoint.address
                entry.locality = endpoint.locality
                entry.identity = endpoint.identity
                entry.healthy = endpoint.healthy
                entry.weight = endpoint.weight
                entry.ports = endpoint.targetPorts
                response.endpoints.append(entry)
            }
            for remote in message.remotes {
                for capacity in remote.capacities {
                    var entry = AdminEndpointEntry()
                    entry.service = message.name
                    entry.cluster = remote.cluster
                    entry.address = ClusterID(remote.cluster).flatMap { gateways[$0] } ?? ""
                    entry.locality = capacity.locality
                    entry.healthy = capacity.healthyCount > 0
                    entry.weight = capacity.healthyCount
                    response.endpoints.append(entry)
                }
            }
        }
        return response
    }

    private func bundles(_ request: AdminShowBundleRequest) throws(CallRefusal) -> AdminShowBundleResponse {
        let bundles = [broker.trust.ownBundle] + broker.trust.usable(broker.federation.view.bundles)
        let shown = bundles.filter {
            request.trustDomain.isEmpty || $0.trustDomain.description == request.trustDomain
        }
        guard !shown.isEmpty else {
            throw CallRefusal(.notFound, "no bundle of trust domain '\(Self.shown(request.trustDomain))' is held")
        }
        var response = AdminShowBundleResponse()
        response.bundles = shown.map(BundleCoding.message)
        return response
    }
}
