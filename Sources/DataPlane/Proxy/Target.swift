internal import MeshModel
internal import Reactor
internal import Routing
internal import TLS
internal import Upstream

/// The next hop of one try: where it is, how it is spoken to, and who must answer. One object, so that handing it on costs one
/// retain.
final class Target: Sendable {
    let address: SocketAddress
    let serverName: [UInt8]
    let use: PoolKey.Use
    let expectation: Expectation
    let context: TLSContext?
    /// One of our proxies: it believes our fields and we its.
    let isProxy: Bool
    /// Behind it is another gateway's decision: the call carries an origin assertion.
    let isGateway: Bool
    let times: ConnectionTimes

    init(
        address: SocketAddress, serverName: [UInt8], use: PoolKey.Use, expectation: Expectation, context: TLSContext?,
        isProxy: Bool, isGateway: Bool, times: ConnectionTimes
    ) {
        self.address = address
        self.serverName = serverName
        self.use = use
        self.expectation = expectation
        self.context = context
        self.isProxy = isProxy
        self.isGateway = isGateway
        self.times = times
    }
}

/// What the path of a request asks of a target, as plain values: handing it on retains nothing.
struct Hop {
    /// Names the target in its worker: what a connection was found good for once, it is good for.
    let number: UInt64
    /// Where the cache has the target.
    fileprivate let place: Int
    let address: SocketAddress
    let use: PoolKey.Use
    let isProxy: Bool
    /// Speaks TLS, with an identity that a configuration may replace.
    let hasContext: Bool
}

/// The targets of HTTP requests that one worker made last. They belong to one configuration.
struct TargetCache: ~Copyable {
    /// A place with what its target is for; `hop` names none while it is empty.
    private struct Entry {
        var destination = Destination.Place.none
        /// Nil: the app behind this sidecar.
        var kind: Candidate.Kind?
        var prefersHTTP2 = false
        var hop: Hop?

        func isFor(_ kind: Candidate.Kind, _ place: Destination.Place, _ prefersHTTP2: Bool) -> Bool {
            guard hop != nil, destination.isSame(as: place), self.prefersHTTP2 == prefersHTTP2, let held = self.kind
            else { return false }
            return kind.isSame(as: held)
        }
    }

    /// A power of two; services and endpoints beyond it share places.
    private static let places = 64

    private var entries: [Entry] = []
    private var targets: [Target?] = []
    private var number: UInt64 = 0

    /// A new configuration.
    mutating func removeAll() {
        entries.removeAll()
        targets.removeAll()
    }

    /// Where a candidate is reached.
    mutating func mesh(
        _ kind: Candidate.Kind, _ destination: Destination, prefersHTTP2: Bool, _ configuration: ProxyConfiguration
    ) -> Hop? {
        let place = Self.place(kind, destination)
        if place < entries.count, entries[place].isFor(kind, destination.place, prefersHTTP2) {
            return entries[place].hop
        }
        guard let made = configuration.target(kind, destination, http: true, prefersHTTP2: prefersHTTP2) else {
            return nil
        }
        let hop = keep(made, at: place)
        entries[place] = Entry(destination: destination.place, kind: kind, prefersHTTP2: prefersHTTP2, hop: hop)
        return hop
    }

    /// The app behind this sidecar.
    mutating func app(_ address: SocketAddress, _ destination: Destination?, prefersHTTP2: Bool) -> Hop {
        let named = destination?.place ?? .none
        let place = Int(address.port) & (Self.places - 1)
        if place < entries.count, let held = entries[place].hop, held.address == address, entries[place].kind == nil,
            entries[place].destination.isSame(as: named), entries[place].prefersHTTP2 == prefersHTTP2
        {
            return held
        }
        let hop = keep(
            Target(
                address: address, serverName: [], use: prefersHTTP2 ? .plainHTTP2 : .plainHTTP1, expectation: .anybody,
                context: nil, isProxy: false, isGateway: false,
                times: destination.map { ConnectionTimes($0.traffic.settings) } ?? .standard),
            at: place)
        entries[place] = Entry(destination: named, kind: nil, prefersHTTP2: prefersHTTP2, hop: hop)
        return hop
    }

    /// A target that is asked for by nobody else; good until the next one of these.
    mutating func once(_ target: Target) -> Hop { keep(target, at: Self.places) }

    /// The target itself, for whoever dials or compares it.
    func target(_ hop: Hop) -> Target? { hop.place < targets.count ? targets[hop.place] : nil }

    private mutating func keep(_ target: Target, at place: Int) -> Hop {
        if entries.isEmpty {
            entries = Array(repeating: Entry(), count: Self.places + 1)
            targets = Array(repeating: nil, count: Self.places + 1)
        }
        number &+= 1
        targets[place] = target
        return Hop(
            number: number, place: place, address: target.address, use: target.use, isProxy: target.isProxy,
            hasContext: target.context != nil)
    }

    private static func place(_ kind: Candidate.Kind, _ destination: Destination) -> Int {
        let number =
            switch kind {
            case .endpoint(_, let endpoint, _): endpoint
            case .localGateway(let gateway): gateway
            case .remoteGateway(let member, let gateway, _): member &* 8 &+ gateway
            }
        return (destination.index &* 7 &+ number) & (places - 1)
    }
}

extension Candidate.Kind {
    /// As `==`, which other modules find through a witness table.
    fileprivate func isSame(as other: Candidate.Kind) -> Bool {
        switch (self, other) {
        case (.endpoint(let service, let endpoint, let id), .endpoint(let service2, let endpoint2, let id2)):
            service == service2 && endpoint == endpoint2 && id == id2
        case (.localGateway(let gateway), .localGateway(let gateway2)): gateway == gateway2
        case (
            .remoteGateway(let member, let gateway, let remote), .remoteGateway(let member2, let gateway2, let remote2)
        ):
            member == member2 && gateway == gateway2 && remote == remote2
        case (.endpoint, _), (.localGateway, _), (.remoteGateway, _): false
        }
    }
}

/// How long the steps of a connection to the next hop may take (TrafficPolicy).
struct ConnectionTimes {
    /// TCP connect.
    let connect: Duration
    /// TLS, and the first SETTINGS where they are waited for.
    let handshake: Duration
    /// Without an exchange.
    let idle: Duration
    /// Until nothing new is put on it; zero: no limit.
    let maximumAge: Duration

    init(_ traffic: TrafficSettings) {
        connect = traffic.connectTimeout
        handshake = traffic.handshakeTimeout
        idle = traffic.connectionIdleTimeout
        maximumAge = traffic.maximumConnectionAge
    }

    /// What no service's policy says: probes.
    static var standard: ConnectionTimes { ConnectionTimes(TrafficSettings()) }
}

extension ProxyConfiguration {
    /// The target of a candidate of this configuration's table; nil when an address cannot be dialled.
    func target(_ kind: Candidate.Kind, _ destination: Destination, http: Bool, prefersHTTP2: Bool) -> Target? {
        let times = ConnectionTimes(destination.traffic.settings)
        switch kind {
        case .endpoint(let service, let index, _):
            guard let address = endpointAddresses[service][index] else { return nil }
            let endpoint = table.snapshot.services[service].endpoints[index]
            if case .mesh = endpoint.security {
                return Target(
                    address: address, serverName: destination.serverName, use: http ? .meshHTTP : .meshTCP,
                    expectation: .workload(endpoint.identity), context: http ? meshHTTP : meshTCP, isProxy: true,
                    isGateway: false, times: times)
            }
            guard let port = endpoint.targetPorts[destination.port.port] else { return nil }
            let app = address.withPort(port)
            switch endpoint.security {
            case .mesh: return nil
            case .plain:
                let use: PoolKey.Use = !http ? .plainTCP : prefersHTTP2 ? .plainHTTP2 : .plainHTTP1
                return Target(
                    address: app, serverName: [], use: use, expectation: .anybody, context: nil, isProxy: false,
                    isGateway: false, times: times)
            case .mutual:
                return Target(
                    address: app, serverName: destination.serverName,
                    use: !http ? .mutualTCP : prefersHTTP2 ? .mutualHTTP2 : .mutualHTTP1,
                    expectation: .workload(endpoint.identity),
                    context: !http ? mutualTCP : prefersHTTP2 ? mutualHTTP2 : mutualHTTP1, isProxy: false,
                    isGateway: false, times: times)
            case .simple(let roots):
                let use: PoolKey.Use = !http ? .simpleTCP : prefersHTTP2 ? .simpleHTTP2 : .simpleHTTP1
                guard let context = simple(roots, use) else { return nil }
                return Target(
                    address: app, serverName: destination.meshName, use: use,
                    expectation: .anybody, context: context, isProxy: false, isGateway: false, times: times)
            }
        case .localGateway(let index):
            return gateway(gatewayAddresses[index], ownDomain, destination.serverName, http, times)
        case .remoteGateway(let member, let gateway, _):
            return self.gateway(
                gatewayAddresses[memberBase[member] + gateway], table.snapshot.members[member].trustDomain,
                destination.serverName, http, times)
        }
    }

    private func gateway(
        _ address: SocketAddress?, _ domain: TrustDomain, _ serverName: [UInt8], _ http: Bool, _ times: ConnectionTimes
    ) -> Target? {
        guard let address else { return nil }
        return Target(
            address: address, serverName: serverName, use: http ? .meshHTTP : .meshTCP,
            expectation: .gateway(domain), context: http ? meshHTTP : meshTCP, isProxy: true, isGateway: true,
            times: times)
    }

    /// Where a health probe goes: HTTP/2 to a mesh endpoint or a gateway; nil for what is only connected to.
    func probeTarget(_ what: Health.ProbeTarget.What) -> Target? {
        let times = ConnectionTimes.standard
        switch what {
        case .endpoint(let service, let index, _):
            guard service < endpointAddresses.count, index < endpointAddresses[service].count,
                let address = endpointAddresses[service][index], let port = table.snapshot.services[service].ports.first
            else { return nil }
            let owner = table.snapshot.services[service]
            let endpoint = owner.endpoints[index]
            guard case .mesh = endpoint.security else { return nil }
            let name = ServiceAddress(name: owner.meshName, port: port.port).serverName
            return Target(
                address: address, serverName: Array(name.utf8), use: .meshHTTP,
                expectation: .workload(endpoint.identity),
                context: meshHTTP, isProxy: true, isGateway: false, times: times)
        case .gateway(let index):
            guard index < gatewayAddresses.count else { return nil }
            let member = table.gateways[index].member
            let domain = member < 0 ? ownDomain : table.snapshot.members[member].trustDomain
            return gateway(gatewayAddresses[index], domain, probeServerNames[index], true, times)
        }
    }

    /// The app's port of an endpoint that is not behind a sidecar.
    func knockAddress(_ what: Health.ProbeTarget.What) -> SocketAddress? {
        guard case .endpoint(let service, let index, _) = what, service < endpointAddresses.count,
            index < endpointAddresses[service].count, let address = endpointAddresses[service][index],
            let first = table.snapshot.services[service].ports.first,
            let port = table.snapshot.services[service].endpoints[index].targetPorts[first.port]
        else { return nil }
        return address.withPort(port)
    }
}

extension Destination {
    /// What tells the pools of two SNIs apart: the service, the port, and how wide the name reaches.
    var poolRoute: UInt64 {
        let reach: UInt64 =
            switch scope {
            case .clusterset: 1
            case .pinnedHere: 2
            case .pinned: 3
            case .local: 4
            }
        return UInt64(serviceID) << 24 | UInt64(port.port) << 8 | reach << 1 | (isProbe ? 1 : 0)
    }
}
