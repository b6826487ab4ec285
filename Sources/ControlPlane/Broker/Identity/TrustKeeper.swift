internal import Authority
internal import Identity
internal import MeshModel
internal import TLS

/// The broker's own SVID, whom it believes, and the TLS contexts made of both. New connections take the newest.
final class TrustKeeper {
    /// A private key between its request and its certificate.
    private final class NewKey: Sendable {
        let key: PrivateKey
        init() throws(IdentityError) { key = try PrivateKey.generate() }
    }

    private let authority: Authority
    private let id: SPIFFEID
    private(set) var svid: SVID
    private(set) var ownBundle: TrustBundle
    /// Of admitted members.
    private var otherBundles: [TrustBundle] = []
    private var judged: [TrustBundle: Bool] = [:]
    private var generation: UInt64 = 1
    private(set) var trust: TrustStore
    /// 15012: mTLS with own proxies, own admins and brokers of members.
    private(set) var mutual: TLSContext
    /// 8443: server-authenticated; sends the root along for those who know only its pin.
    private(set) var open: TLSContext
    /// Dialling with the own SVID, for HTTP/2 and for `meshfed-tcp/1`.
    private(set) var client: TLSContext
    private(set) var tcpClient: TLSContext
    private(set) var renewal: WallTime

    /// Issues the first SVID in a commit of its own.
    init(_ authority: Authority, name: Label, wall: WallTime, jitter: Double) throws(BrokerFailure) {
        self.authority = authority
        id = SPIFFEID.broker(in: authority.trustDomain, name: name)
        let id = id
        do {
            let fresh = try NewKey()
            let request = try CertificateRequest(der: CertificateRequest.make(key: fresh.key))
            let issued = try authority.write { (desk) throws(AuthorityError) in
                try desk.issue(id, request: request, now: wall)
            }
            let svid = try SVID(chainDER: issued.chain, key: fresh.key.duplicate())
            let bundle = try authority.bundle(now: wall)
            let trust = try TrustStore([bundle], generation: 1)
            let contexts = try Contexts(svid, trust, root: bundle.roots.first)
            self.svid = svid
            ownBundle = bundle
            self.trust = trust
            mutual = contexts.mutual
            open = contexts.open
            client = contexts.client
            tcpClient = contexts.tcpClient
            renewal = svid.renewal(jitter: jitter)
        } catch {
            throw .state("the broker's own certificate cannot be made: \(error)")
        }
    }

    /// Renews at half life on the store thread.
    func renewIfDue(_ desk: LoopDesk, wall: WallTime, jitter: Double, failed: @escaping (String) -> Void) {
        guard wall >= renewal else { return }
        // A failure is tried again after a twelfth of the life, at most 60 s: long before the end.
        let life = max(0, svid.notAfter.seconds - svid.notBefore.seconds)
        renewal = wall.advanced(bySeconds: min(60, max(1, life / 12)))
        let fresh: NewKey
        let request: CertificateRequest
        do throws(IdentityError) {
            fresh = try NewKey()
            request = try CertificateRequest(der: CertificateRequest.make(key: fresh.key))
        } catch {
            return failed(error.description)
        }
        let id = id
        desk.write(authority) { (desk) throws(AuthorityError) in
            try desk.issue(id, request: request, now: wall)
        } then: { [self] result in
            do {
                let issued = try result.get()
                let renewed = try SVID(chainDER: issued.chain, key: fresh.key.duplicate())
                try adopt(renewed, ownBundle, otherBundles)
                renewal = renewed.renewal(jitter: jitter)
            } catch {
                failed("\(error)")
            }
        }
    }

    /// Believes these members from now on; a bundle that cannot be used is as good as none.
    func believe(_ bundles: [TrustBundle]) throws {
        let bundles = usable(bundles)
        guard bundles != otherBundles else { return }
        try adopt(svid, ownBundle, bundles)
    }

    /// Those of which a trust store can be made: one member's mistake must not keep the others out, nor an eviction.
    func usable(_ bundles: [TrustBundle]) -> [TrustBundle] {
        var known: [TrustBundle: Bool] = [:]
        for bundle in bundles {
            known[bundle] = judged[bundle] ?? ((try? TrustStore([bundle], generation: 0)) != nil)
        }
        judged = known
        return bundles.filter { known[$0] == true && $0.trustDomain != ownBundle.trustDomain }
    }

    /// Reads the own bundle again. True when it is another one.
    func refresh(wall: WallTime) throws -> Bool {
        let bundle = try authority.bundle(now: wall)
        guard bundle != ownBundle else { return false }
        try adopt(svid, bundle, otherBundles)
        return true
    }

    private func adopt(_ svid: SVID, _ own: TrustBundle, _ others: [TrustBundle]) throws {
        let trust = try TrustStore([own] + others, generation: generation + 1)
        let contexts = try Contexts(svid, trust, root: own.roots.first)
        generation += 1
        self.svid = svid
        ownBundle = own
        otherBundles = others
        self.trust = trust
        mutual = contexts.mutual
        open = contexts.open
        client = contexts.client
        tcpClient = contexts.tcpClient
    }

    /// True when the peer's own domain has revoked its serial. A domain that is no longer believed is the eviction's matter.
    func isRevoked(_ peer: PeerIdentity) -> Bool {
        let bundles = [ownBundle] + otherBundles
        return bundles.first { $0.trustDomain == peer.trustDomain }?.revokedSerials.contains(peer.serial) ?? false
    }

    private struct Contexts {
        let mutual: TLSContext
        let open: TLSContext
        let client: TLSContext
        let tcpClient: TLSContext

        init(_ svid: SVID, _ trust: TrustStore, root: [UInt8]?) throws(TLSError) {
            mutual = try TLSContext.server(
                svid: svid, trust: trust, clientCertificate: .required, serverNames: .any, protocols: [.http2, .http1])
            open = try TLSContext.server(
                svid: svid, trust: trust, clientCertificate: .none, serverNames: .any, protocols: [.http2, .http1],
                sendsRoot: root)
            client = try TLSContext.client(svid: svid, trust: trust, protocols: [.http2])
            tcpClient = try TLSContext.client(svid: svid, trust: trust, protocols: [.tcp])
        }
    }
}
