package import Identity
package import MeshModel
internal import Reactor
package import Routing
package import TLS
internal import Upstream

/// Everything that a worker decides by, made off the path and swapped in whole: the routing table, whom to believe, who we are.
package final class ProxyConfiguration: Sendable {
    package let table: RoutingTable
    package let trust: TrustStore
    package let svid: SVID
    /// Rises with every change of SVID or bundles: connections of an older one finish what they carry.
    package let generation: UInt32
    let server: TLSContext
    let meshHTTP: TLSContext
    let meshTCP: TLSContext
    let mutualHTTP1: TLSContext
    let mutualHTTP2: TLSContext
    let mutualTCP: TLSContext
    /// By the roots of `tls: simple` workloads, in PEM.
    private let simpleHTTP1: [String: TLSContext]
    private let simpleHTTP2: [String: TLSContext]
    private let simpleTCP: [String: TLSContext]
    /// Addresses of `RoutingTable.gateways`, in its order.
    let gatewayAddresses: [SocketAddress?]
    /// First gateway of each member in `gatewayAddresses`.
    let memberBase: [Int]
    /// Addresses of the endpoints of each service; the port is that of a sidecar.
    let endpointAddresses: [[SocketAddress?]]
    let probeServerNames: [[UInt8]]
    /// What stands before the caller in `x-forwarded-client-cert`.
    let certificateIntroduction: [UInt8]

    /// Where sidecars take mTLS (PROTOCOLS section 2): peers always dial it, redirected or not.
    static let sidecarPort: UInt16 = 15_006

    package init(
        snapshot: Snapshot, ownRole: OwnRole, trust: TrustStore, svid: SVID, generation: UInt32, limits: LimitCells?
    ) throws(TLSError) {
        let table = RoutingTable(snapshot, ownRole: ownRole, limits: limits)
        self.table = table
        self.trust = trust
        self.svid = svid
        self.generation = generation
        certificateIntroduction = Array("By=\(svid.id);URI=".utf8)
        server = try TLSContext.server(
            svid: svid, trust: trust, clientCertificate: .required, serverNames: .mesh,
            protocols: [.tcp, .http2, .http1])
        meshHTTP = try TLSContext.client(svid: svid, trust: trust, protocols: [.http2])
        meshTCP = try TLSContext.client(svid: svid, trust: trust, protocols: [.tcp])
        mutualHTTP1 = try TLSContext.client(svid: svid, trust: trust, protocols: [.http1])
        mutualHTTP2 = try TLSContext.client(svid: svid, trust: trust, protocols: [.http2, .http1])
        mutualTCP = try TLSContext.client(svid: svid, trust: trust, protocols: [])
        var http1: [String: TLSContext] = [:]
        var http2: [String: TLSContext] = [:]
        var tcp: [String: TLSContext] = [:]
        for service in snapshot.services {
            for endpoint in service.endpoints {
                guard case .simple(let roots) = endpoint.security, http1[roots] == nil else { continue }
                http1[roots] = try TLSContext.client(roots: Array(roots.utf8), protocols: [.http1])
                http2[roots] = try TLSContext.client(roots: Array(roots.utf8), protocols: [.http2, .http1])
                tcp[roots] = try TLSContext.client(roots: Array(roots.utf8), protocols: [])
            }
        }
        simpleHTTP1 = http1
        simpleHTTP2 = http2
        simpleTCP = tcp
        gatewayAddresses = table.gateways.map { SocketAddress(ip: $0.address.address, port: $0.address.port) }
        var base = snapshot.gateways.count
        var bases: [Int] = []
        for member in snapshot.members {
            bases.append(base)
            base += member.gateways.count
        }
        memberBase = bases
        endpointAddresses = snapshot.services.map { service in
            service.endpoints.map { SocketAddress(ip: $0.address, port: Self.sidecarPort) }
        }
        probeServerNames = table.gateways.map { target in
            let cluster = target.member < 0 ? snapshot.cluster : snapshot.members[target.member].cluster
            return Array(ServiceAddress.probe(of: cluster).serverName.utf8)
        }
    }

    func simple(_ roots: String, _ use: PoolKey.Use) -> TLSContext? {
        switch use {
        case .simpleHTTP1: simpleHTTP1[roots]
        case .simpleHTTP2: simpleHTTP2[roots]
        default: simpleTCP[roots]
        }
    }

    /// The trust domain of the own cluster.
    package var ownDomain: TrustDomain { table.snapshot.trustDomain }
}
