import Identity
import MeshModel
import MeshTestKit
import TLS
import Testing

/// A leaf that was verified is not decoded again, and only that leaf.
@Suite struct KnownCertificateTests {
    let papers: Papers

    init() throws { papers = try Papers() }

    /// Certificates that this thread was spared to decode while `body` ran.
    private func saved(_ body: () throws -> Void) rethrows -> UInt64 {
        let before = ChainCache.decodingsSaved
        try body()
        return ChainCache.decodingsSaved - before
    }

    private func keeping(_ certificates: Int) throws -> Shared {
        let shared = Shared()
        shared.buffers.chains.certificates = certificates
        #expect(try papers.wire(shared: shared).shakeHands())
        return shared
    }

    @Test func aVerifiedLeafIsHandedOutAgain() throws {
        let shared = try keeping(64)
        let count = try saved {
            let read = try Certificate(der: papers.client.leaf.der)
            #expect(read.spiffeID?.description == "spiffe://east.mesh/ns/shop/sa/web")
            #expect(read.serial == papers.client.leaf.serial && read.der == papers.client.leaf.der)
            #expect(read.notAfter == papers.client.leaf.notAfter)
        }
        #expect(count == 1)
        // Sessions of the same peers share it and go their ways.
        let wires = try (0..<3).map { _ in try papers.wire(shared: shared) }
        for wire in wires {
            #expect(wire.shakeHands())
            #expect(wire.far.peer?.id.description == "spiffe://east.mesh/ns/shop/sa/web")
        }
    }

    @Test func oneOtherByteIsAnotherCertificate() throws {
        _ = try keeping(64)
        let der = papers.client.leaf.der
        for index in [4, 20, der.count / 2, der.count - 1] {
            var changed = der
            changed[index] ^= 1
            let count = saved { _ = try? Certificate(der: changed) }
            #expect(count == 0, "byte \(index)")
        }
        let counts = [Array(der.dropLast()), [], [0x30], [0x30, 0x82], [0x30, 0x82, 0xff, 0xff]].map { bytes in
            saved { #expect(throws: IdentityError.self) { try Certificate(der: bytes) } }
        }
        #expect(counts.allSatisfy { $0 == 0 })
        // What follows a known certificate is still too much.
        #expect(throws: IdentityError.self) { try Certificate(der: der + [0]) }
    }

    @Test func strangersAreNotKept() throws {
        let shared = try keeping(64)
        let stranger = try CertificateMint("north.mesh").svid("spiffe://north.mesh/ns/a/sa/b")
        let wire = try Wire(
            server: papers.serverContext(), client: papers.clientContext(svid: stranger), shared: shared)
        #expect(wire.fails())
        #expect(try saved { _ = try Certificate(der: stranger.leaf.der) } == 0)
    }

    @Test func zeroKeepsNone() throws {
        let shared = Shared()
        let web = try papers.east.svid("spiffe://east.mesh/ns/shop/sa/web")
        let wire = try Wire(server: papers.serverContext(), client: papers.clientContext(svid: web), shared: shared)
        #expect(wire.shakeHands())
        #expect(try saved { _ = try Certificate(der: web.leaf.der) } == 0)
    }

    @Test func aTableThatIsFullForgets() throws {
        let shared = try keeping(16)
        let svids = try (0..<80).map { try papers.east.svid("spiffe://east.mesh/ns/shop/sa/w-\($0)") }
        for svid in svids {
            let wire = try Wire(
                server: papers.serverContext(), client: papers.clientContext(svid: svid), shared: shared)
            #expect(wire.shakeHands())
        }
        let count = try saved { for svid in svids { _ = try Certificate(der: svid.leaf.der) } }
        #expect(count > 0 && count < 80)
    }
}
