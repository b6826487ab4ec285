import Identity
import MeshModel
import MeshTestKit
import TLS
import Testing

/// A peer that was verified is not verified again, and still gets no further than it may.
@Suite struct ChainCacheTests {
    let papers: Papers

    init() throws { papers = try Papers() }

    private func hits(_ shared: Shared) -> UInt64 { shared.buffers.chains.hits }

    @Test func aPeerThatComesAgainIsVerifiedOnce() throws {
        let shared = Shared()
        for round in 0..<4 {
            let wire = try papers.wire(shared: shared)
            #expect(wire.shakeHands())
            #expect(wire.far.peer?.id.description == "spiffe://east.mesh/ns/shop/sa/web")
            #expect(wire.near.peer?.id.description == "spiffe://west.mesh/meshfed/gateway/g1")
            #expect(wire.far.peer?.serial == papers.client.leaf.serial)
            // Both sides of the wire are this thread's.
            #expect(hits(shared) == UInt64(round * 2))
        }
    }

    @Test func anotherLeafIsVerified() throws {
        let shared = Shared()
        #expect(try papers.wire(shared: shared).shakeHands())
        let again = try papers.east.svid("spiffe://east.mesh/ns/shop/sa/web")
        let wire = try Wire(
            server: papers.serverContext(), client: papers.clientContext(svid: again), shared: shared)
        #expect(wire.shakeHands())
        #expect(hits(shared) == 1, "the server only")
    }

    @Test func aLeafServesInOnePartOnly() throws {
        let shared = Shared()
        let both = try papers.west.svid("spiffe://west.mesh/ns/shop/sa/both")
        let first = try Wire(
            server: papers.serverContext(svid: both), client: papers.clientContext(), shared: shared)
        #expect(first.shakeHands())
        // What was proven of it as a server says nothing of it as a client.
        let second = try Wire(
            server: papers.serverContext(), client: papers.clientContext(svid: both), shared: shared)
        #expect(second.shakeHands())
        #expect(hits(shared) == 0)
    }

    @Test func aChangedBundleForgetsEverything() throws {
        let shared = Shared()
        #expect(try papers.wire(shared: shared).shakeHands())
        let revoking = try TrustStore(
            [papers.east.bundle(revoked: [papers.client.leaf.serial]), papers.west.bundle()], generation: 2)
        let refused = try Wire(
            server: papers.serverContext(trust: revoking), client: papers.clientContext(trust: revoking), shared: shared
        )
        #expect(refused.fails())
        #expect(refused.far.refusal == .revoked)
        let gone = try TrustStore([papers.west.bundle()], generation: 3)
        let stranger = try Wire(
            server: papers.serverContext(trust: gone), client: papers.clientContext(trust: gone), shared: shared)
        #expect(stranger.fails())
        #expect(stranger.far.refusal == .unknownTrustDomain)
        // The same generation in another store is another store.
        let rootless = try TrustStore(
            [TrustBundle(trustDomain: papers.east.trustDomain, roots: []), papers.west.bundle()], generation: 1)
        let emptied = try Wire(
            server: papers.serverContext(trust: rootless), client: papers.clientContext(), shared: shared)
        #expect(emptied.fails())
        #expect(emptied.far.refusal == .emptyBundle)
    }

    @Test func timePassesForAKnownLeafToo() throws {
        let shared = Shared()
        #expect(try papers.wire(shared: shared).shakeHands())
        let long = try papers.west.svid("spiffe://west.mesh/meshfed/gateway/g1") {
            $0.notAfter = CertificateMint.now.advanced(bySeconds: 1_000_000)
        }
        let wire = try Wire(server: papers.serverContext(svid: long), client: papers.clientContext(), shared: shared)
        wire.wall = papers.client.notAfter.advanced(bySeconds: 31)
        #expect(wire.fails())
        #expect(wire.far.refusal == .expired)
        let early = try papers.wire(shared: shared)
        early.wall = CertificateMint.now.advanced(bySeconds: -1_000_000)
        #expect(early.fails())
    }

    @Test func manyPeersAreKnown() throws {
        let shared = Shared()
        // More than the first size of the table: growing forgets, and goes on knowing.
        let svids = try (0..<70).map { try papers.east.svid("spiffe://east.mesh/ns/shop/sa/w-\($0)") }
        for _ in 0..<3 {
            for svid in svids {
                let wire = try Wire(
                    server: papers.serverContext(), client: papers.clientContext(svid: svid), shared: shared)
                #expect(wire.shakeHands())
            }
        }
        #expect(hits(shared) > 240, "209 of the server, and most of the third round's clients")
    }
}
