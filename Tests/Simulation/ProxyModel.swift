import Compiler
import ControlCoding
import MeshModel

/// A way that a proxy would take: a service of another cluster.
struct Route: Hashable {
    let service: ObjectName
    let cluster: ClusterID
}

/// A sidecar or gateway as thin as can be: it has an SVID, a feed and the last snapshot, and routes by them.
final class ProxyModel {
    /// Short, so that many end within a run.
    static let lifetime = Duration.seconds(12)

    unowned let site: Site
    let number: Int
    private(set) var snapshot: Snapshot?
    private(set) var routes: Set<Route> = []
    private(set) var svidEnd = Instant.zero
    /// Nil while the feed is cut or the broker is down.
    private(set) var connectedSince: Instant?
    var isCutOff = false

    init(_ site: Site, _ number: Int) {
        self.site = site
        self.number = number
    }

    private var world: World { site.world }

    func reconnect() {
        let incarnation = site.incarnation
        world.after(world.milliseconds(50...400)) { [unowned self] in
            guard site.incarnation == incarnation, !isCutOff, site.process != nil, connectedSince == nil else { return }
            connectedSince = world.now
            renew(incarnation)
            if let published = site.process?.published { offer(published) }
        }
    }

    func disconnect() { connectedSince = nil }

    /// Half of the lifetime later again, as long as the broker answers.
    private func renew(_ incarnation: Int) {
        guard connectedSince != nil, site.incarnation == incarnation else { return }
        svidEnd = world.now + Self.lifetime
        let since = connectedSince
        world.after(Self.lifetime / 2) { [unowned self] in
            if connectedSince == since { renew(incarnation) }
        }
    }

    func offer(_ snapshot: Snapshot) {
        let since = connectedSince
        guard since != nil else { return }
        world.after(world.milliseconds(1...20)) { [unowned self] in
            guard connectedSince == since else { return }
            if let held = self.snapshot, (held.epoch, held.revision) >= (snapshot.epoch, snapshot.revision) { return }
            take(snapshot)
        }
    }

    private func take(_ snapshot: Snapshot) {
        self.snapshot = snapshot
        var next: Set<Route> = []
        let usable = Set(
            snapshot.members.filter { member in
                member.freshness != .gone
                    && snapshot.bundles.contains { $0.trustDomain == member.trustDomain && !$0.roots.isEmpty }
            }.map(\.cluster))
        for service in snapshot.services {
            for remote in service.remotes where usable.contains(remote.cluster) {
                next.insert(Route(service: service.name, cluster: remote.cluster))
            }
        }
        if world.scenario.bug == .routesToTheExcluded { next.formUnion(routes) }
        routes = next
        world.oracle.took(self, snapshot)
    }

    /// What it would send a request to now.
    func activeRoutes(_ now: Instant) -> Set<Route> {
        if now >= svidEnd, world.scenario.bug != .outlivesItsSVID { return [] }
        return routes
    }
}

/// Objects of one cluster, drawn anew with every change.
enum Catalogue {
    static let namespace = Label("shop")!

    /// `app` in every cluster, one of its own, each exported to all, to some or to none; imports of some of the others.
    static func objects(_ index: Int, _ world: World) -> [MeshObject] {
        var objects: [MeshObject] = []
        for name in ["app", "own\(index)"] {
            objects.append(object(name, .service(ServiceObject(ports: [port], selector: ["app": name]))))
            objects.append(
                object("\(name)-w", labels: ["app": name], .workload(workload("10.\(index).1.\(name.count)"))))
            let scope: ExportScope
            switch world.below(4) {
            case 0: scope = .clusters((0..<world.scenario.siteCount).filter { _ in world.chance(50) }.map(cluster))
            case 1 where name == "app": scope = .none
            default: scope = .all
            }
            if scope != .none {
                objects.append(object(name, .serviceExport(ServiceExportObject(scope: scope, plainNames: false))))
            }
        }
        var rules: [ImportObject.Rule] = []
        for other in 0..<world.scenario.siteCount where other != index && world.chance(70) {
            rules.append(
                ImportObject.Rule(
                    cluster: cluster(other), namespace: namespace, service: world.chance(30) ? Label("app") : nil))
        }
        objects.append(object("imports", .importRules(ImportObject(rules: rules, plainNames: false))))
        return objects
    }

    private static func cluster(_ index: Int) -> ClusterID { ClusterID("c\(index)")! }

    private static var port: ServiceObject.Port {
        ServiceObject.Port(port: ServicePort(name: "", port: 80, appProtocol: .http), target: .number(8_080))
    }

    private static func workload(_ address: String) -> WorkloadObject {
        WorkloadObject(
            address: address, ports: [:], locality: .unknown, network: "", serviceAccount: Label("default")!, weight: 1,
            security: .mesh)
    }

    private static func object(_ name: String, labels: [String: String] = [:], _ body: MeshObject.Body) -> MeshObject {
        MeshObject(
            metadata: ObjectMetadata(
                name: Label(name)!, namespace: namespace, labels: labels,
                location: SourceLocation(file: "simulation", line: 1)), body: body)
    }
}
