import Identity
import MeshModel
import MeshTestKit
import Reactor
import TLS
import Testing

@Suite struct HandshakeTests {
    let papers: Papers

    init() throws { papers = try Papers() }

    @Test func bothSidesKnowEachOther() throws {
        let wire = try papers.wire()
        #expect(wire.shakeHands())
        #expect(wire.near.peer?.id.description == "spiffe://west.mesh/meshfed/gateway/g1")
        #expect(wire.far.peer?.id.description == "spiffe://east.mesh/ns/shop/sa/web")
        #expect(wire.far.peer?.serial == papers.client.leaf.serial)
        #expect(wire.far.peer?.notAfter == papers.client.notAfter)
        #expect(wire.far.serverName == Names.api)
        #expect(wire.near.negotiated == .http2 && wire.far.negotiated == .http2)
        wire.sends(Array("hello".utf8), from: wire.near)
        wire.sends(Array("welcome".utf8), from: wire.far)
        #expect(wire.run { $0.far.received.count == 5 && $0.near.received.count == 7 })
        #expect(wire.far.received == Array("hello".utf8))
        #expect(wire.near.received == Array("welcome".utf8))
    }

    @Test func anIntermediateIsSentAlong() throws {
        let middle = try papers.east.intermediate()
        let key = try PrivateKey.generate()
        let leaf = try middle.leaf(CertificateMint.Leaf("spiffe://east.mesh/ns/a/sa/b"), publicKey: key.publicKey)
        let svid = try SVID(chainDER: [leaf, middle.certificate.der], key: key)
        let wire = try Wire(server: papers.serverContext(), client: papers.clientContext(svid: svid))
        #expect(wire.shakeHands())
        #expect(wire.far.peer?.id.description == "spiffe://east.mesh/ns/a/sa/b")
    }

    /// The server's refusal and the alert that the client sees for it.
    private func serverRefuses(
        _ expected: PeerRefusal, svid: SVID, trust: TrustStore? = nil, at wall: WallTime = CertificateMint.now,
        line: Int = #line
    ) throws {
        let wire = try Wire(server: papers.serverContext(trust: trust), client: papers.clientContext(svid: svid))
        wire.wall = wall
        #expect(wire.fails(), "line \(line)")
        #expect(wire.far.refusal == expected, "line \(line)")
        #expect(wire.far.peer == nil)
        #expect(!wire.far.isEstablished)
        #expect(wire.near.alert == expected.tlsAlert, "line \(line)")
        #expect(wire.far.failure?.isTLS == true && wire.near.failure?.isTLS == true)
    }

    @Test func theServerRefuses() throws {
        let stranger = try CertificateMint("north.mesh")
        try serverRefuses(.unknownTrustDomain, svid: stranger.svid("spiffe://north.mesh/ns/a/sa/b"))
        let empty = try TrustStore(
            [TrustBundle(trustDomain: papers.east.trustDomain, roots: []), papers.west.bundle()], generation: 2)
        try serverRefuses(.emptyBundle, svid: papers.client, trust: empty)
        // Signed by the root of another domain that is trusted, and by another root of the same name.
        try serverRefuses(.unknownCA, svid: papers.west.svid("spiffe://east.mesh/ns/shop/sa/web"))
        try serverRefuses(.unknownCA, svid: CertificateMint("east.mesh").svid("spiffe://east.mesh/ns/shop/sa/web"))
        let revoked = try TrustStore(
            [papers.east.bundle(revoked: [papers.client.leaf.serial]), papers.west.bundle()], generation: 3)
        try serverRefuses(.revoked, svid: papers.client, trust: revoked)
        let end = papers.client.notAfter
        let long = try papers.west.svid("spiffe://west.mesh/meshfed/gateway/g1") {
            $0.notAfter = CertificateMint.now.advanced(bySeconds: 1_000_000)
        }
        for (wall, refusal) in [(end.advanced(bySeconds: 31), PeerRefusal.expired), (end, nil)] {
            let wire = try Wire(server: papers.serverContext(svid: long), client: papers.clientContext())
            wire.wall = wall
            if let refusal {
                #expect(wire.fails())
                #expect(wire.far.refusal == refusal)
                #expect(wire.near.alert == 45)
            } else {
                #expect(wire.shakeHands(), "valid to its last second")
            }
        }
        let later = try papers.east.svid("spiffe://east.mesh/ns/a/sa/b") {
            $0.notBefore = CertificateMint.now.advanced(bySeconds: 31)
        }
        try serverRefuses(.notYetValid, svid: later)
    }

    @Test func theClientRefuses() throws {
        func clientRefuses(_ expected: PeerRefusal, svid: SVID, trust: TrustStore? = nil) throws {
            let wire = try Wire(server: papers.serverContext(svid: svid), client: papers.clientContext(trust: trust))
            #expect(wire.fails())
            #expect(wire.near.refusal == expected)
            #expect(wire.near.peer == nil && !wire.near.isEstablished)
            #expect(wire.far.alert == expected.tlsAlert)
            #expect(wire.far.refusal == nil)
        }
        let stranger = try CertificateMint("north.mesh")
        try clientRefuses(.unknownTrustDomain, svid: stranger.svid("spiffe://north.mesh/meshfed/gateway/g1"))
        try clientRefuses(.unknownCA, svid: papers.east.svid("spiffe://west.mesh/meshfed/gateway/g1"))
        let empty = try TrustStore([TrustBundle(trustDomain: papers.west.trustDomain, roots: [])], generation: 2)
        try clientRefuses(.emptyBundle, svid: papers.server, trust: empty)
        let revoked = try TrustStore([papers.west.bundle(revoked: [papers.server.leaf.serial])], generation: 3)
        try clientRefuses(.revoked, svid: papers.server, trust: revoked)
    }

    @Test func aClientWithoutACertificateIsRefused() throws {
        let client = try TLSContext.client(svid: nil, trust: papers.trust, protocols: [.http2])
        let wire = try Wire(server: papers.serverContext(), client: client)
        #expect(wire.fails())
        #expect(wire.far.failure?.isTLS == true)
        #expect(!wire.far.isEstablished)
        #expect(wire.near.alert == 116, "certificate_required")
        let open = try Wire(
            server: papers.serverContext(certificate: .none, names: .any), client: client, serverName: "")
        #expect(open.shakeHands())
        #expect(open.far.peer == nil)
        #expect(open.near.peer?.id == papers.server.id)
    }

    @Test(arguments: [
        "", "api", "80.api", "api.shop.svc.west.clusterset.local", "x.api.shop.svc.west.clusterset.local",
        "0.api.shop.svc.clusterset.local", "65536.api.shop.svc.clusterset.local", "080.api.shop.svc.clusterset.local",
        "+80.api.shop.svc.clusterset.local", "80.api.shop.svc.clusterset.local.", "80.api.shop.svc.clusterset",
        "80.API.shop.svc.clusterset.local", "80.api..svc.clusterset.local", "80.a_b.shop.svc.clusterset.local",
        "80.api.shop.svc.a.b.clusterset.local", "west.example", "80.api.shop.pod.clusterset.local",
    ])
    func aMalformedNameGetsAlert112(_ name: String) throws {
        let wire = try Wire(server: papers.serverContext(), client: papers.clientContext(), serverName: name)
        #expect(wire.fails())
        #expect(wire.near.alert == 112)
        #expect(wire.far.failure?.isTLS == true)
        #expect(!wire.far.isEstablished && wire.far.peer == nil)
    }

    @Test(arguments: [
        "80.api.shop.svc.clusterset.local", "65535.nobody.nowhere.svc.clusterset.local",
        "1.nobody.nowhere.svc.unknown.clusterset.local", "80.a.b.svc.cluster.local",
    ])
    func everyWellFormedNameGetsTheSameHandshake(_ name: String) throws {
        let wire = try Wire(server: papers.serverContext(), client: papers.clientContext(), serverName: name)
        #expect(wire.shakeHands())
        #expect(wire.far.serverName == name)
        #expect(wire.near.peer?.id == papers.server.id)
    }

    @Test func aServerOfAnyNameTakesAll() throws {
        for name in ["", "localhost", "80.api"] {
            let wire = try Wire(
                server: papers.serverContext(names: .any), client: papers.clientContext(), serverName: name)
            #expect(wire.shakeHands())
            #expect(wire.far.serverName == name)
        }
    }

    @Test func theServersOrderOfProtocolsWins() throws {
        func agreed(_ server: [ALPN], _ client: [ALPN]) throws -> (Bool, ALPN?) {
            let wire = try Wire(
                server: papers.serverContext(protocols: server), client: papers.clientContext(protocols: client))
            let isDone = wire.shakeHands()
            #expect(wire.near.negotiated == wire.far.negotiated)
            return (isDone, wire.far.negotiated)
        }
        for one in ALPN.allCases { #expect(try agreed([one], [one]) == (true, one)) }
        #expect(try agreed([.http2, .http1], [.http1, .http2]) == (true, .http2))
        #expect(try agreed([.http1, .http2], [.http2, .http1]) == (true, .http1))
        #expect(try agreed([.http2, .tcp, .http1], [.tcp]) == (true, .tcp))
        // A peer that names none gets none.
        #expect(try agreed([.http2], []) == (true, nil))
    }

    @Test func noCommonProtocolIsAlert120() throws {
        for (server, client) in [([ALPN.http2], [ALPN.tcp]), ([.tcp], [.http2, .http1]), ([], [.http2])] {
            let wire = try Wire(
                server: papers.serverContext(protocols: server), client: papers.clientContext(protocols: client))
            #expect(wire.fails())
            #expect(wire.near.alert == 120)
            #expect(!wire.far.isEstablished)
        }
    }

    @Test func aPinnedRootIsBelievedAndLearned() throws {
        let root = papers.west.certificate
        let server = try papers.serverContext(certificate: .none, names: .any, sendsRoot: root.der)
        let pin = RootPin(trustDomain: papers.west.trustDomain, fingerprint: root.publicKey.fingerprint)
        let good = try Wire(server: server, client: .client(pin: pin, protocols: [.http2]), serverName: "")
        #expect(good.shakeHands())
        #expect(good.near.peer?.id == papers.server.id)
        #expect(good.near.transport?.learnedRoot == root.der)
        #expect(good.far.transport?.learnedRoot == nil)

        func refusal(_ pin: RootPin, _ server: TLSContext) throws -> PeerRefusal? {
            let wire = try Wire(server: server, client: .client(pin: pin, protocols: [.http2]), serverName: "")
            #expect(wire.fails())
            #expect(wire.near.transport?.learnedRoot == nil)
            #expect(wire.far.alert == 48)
            return wire.near.refusal
        }
        let other = RootPin(
            trustDomain: papers.west.trustDomain, fingerprint: papers.east.certificate.publicKey.fingerprint)
        #expect(try refusal(other, server) == .unknownCA)
        #expect(
            try refusal(
                RootPin(trustDomain: papers.east.trustDomain, fingerprint: root.publicKey.fingerprint), server)
                == .unknownTrustDomain)
        // The root is not sent along: nothing to compare the pin with.
        #expect(try refusal(pin, papers.serverContext(certificate: .none, names: .any)) == .unknownCA)
        // The right root is sent along, but the leaf is another's.
        let impostor = try CertificateMint("west.mesh").svid("spiffe://west.mesh/meshfed/broker/b1")
        #expect(
            try refusal(
                pin, papers.serverContext(svid: impostor, certificate: .none, names: .any, sendsRoot: root.der))
                == .unknownCA)
    }

    @Test func aSimpleServerIsCheckedAgainstTheFile() throws {
        // OpenSSL's own verification uses the system's clock, so these certificates are of today.
        let today = WallTime(seconds: Machine.walltime)
        let mint = try CertificateMint("west.mesh", now: today)
        let svid = try mint.svid("spiffe://west.mesh/ns/a/sa/db") {
            $0.notBefore = today.advanced(bySeconds: -60)
            $0.notAfter = today.advanced(bySeconds: 86_400)
        }
        let server = try papers.serverContext(svid: svid, certificate: .none, names: .any)
        func wire(_ roots: [Certificate]) throws -> Wire {
            try Wire(
                server: server, client: .client(roots: PEM.encode(certificates: roots.map(\.der)), protocols: []),
                serverName: "db.example")
        }
        let good = try wire([papers.east.certificate, mint.certificate])
        #expect(good.shakeHands())
        #expect(good.near.peer == nil, "a certificate of a file's root is no mesh identity")
        let refused = try wire([papers.east.certificate])
        #expect(refused.fails())
        #expect(!refused.near.isEstablished)
        #expect(refused.far.alert == 48)
        #expect(throws: TLSError.self) { try TLSContext.client(roots: Array("nothing".utf8), protocols: []) }
        #expect(throws: TLSError.self) { try TLSContext.client(roots: [], protocols: []) }
    }

    @Test func aRefusedPeerIsNotHeard() throws {
        // The client is through after its last flight; what it sends then must not reach a server that refuses it.
        let stranger = try CertificateMint("north.mesh").svid("spiffe://north.mesh/ns/a/sa/b")
        let wire = try Wire(server: papers.serverContext(), client: papers.clientContext(svid: stranger))
        #expect(wire.run { $0.near.isEstablished || $0.near.failure != nil })
        wire.sends(Array("early".utf8), from: wire.near)
        #expect(wire.fails())
        #expect(wire.far.refusal == .unknownTrustDomain)
        #expect(wire.far.received.isEmpty)
    }
}
