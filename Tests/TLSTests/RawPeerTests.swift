import Identity
import MeshModel
import MeshTestKit
import TLS
import Testing

@Suite struct RawPeerTests {
    let papers: Papers

    init() throws { papers = try Papers() }

    private func peer(
        _ change: (inout CertificateMint.Leaf) -> Void = { _ in }, protocols: [String] = ["h2"],
        maximumVersion: Int32? = nil, serverName: String? = Names.api
    ) throws -> RawPeer {
        var leaf = CertificateMint.Leaf("spiffe://east.mesh/ns/shop/sa/web")
        change(&leaf)
        let key = try PrivateKey.generate()
        return try RawPeer(
            chain: [papers.east.leaf(leaf, publicKey: key.publicKey)], key: key, serverName: serverName,
            protocols: protocols, maximumVersion: maximumVersion)
    }

    private func established(_ protocols: [ALPN] = [.http2]) throws -> RawWire {
        let wire = try RawWire(peer(), server: papers.serverContext(protocols: protocols))
        #expect(try wire.shakeHands())
        return wire
    }

    @Test func aGoodOneIsBelieved() throws {
        let wire = try established()
        #expect(wire.far.peer?.id.description == "spiffe://east.mesh/ns/shop/sa/web")
    }

    /// The refusal, and the alert that the peer saw.
    private func refuses(
        _ expected: PeerRefusal, line: Int = #line, _ change: (inout CertificateMint.Leaf) -> Void
    ) throws {
        let wire = try RawWire(peer(change), server: papers.serverContext())
        try wire.run { $0.raw.failure != nil && $0.far.failure != nil }
        #expect(wire.far.refusal == expected, "line \(line)")
        #expect(!wire.far.isEstablished && wire.far.peer == nil, "line \(line)")
        #expect(wire.raw.alert == expected.tlsAlert, "line \(line)")
    }

    private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

    @Test func certificatesAgainstTheProfileAreRefused() throws {
        try refuses(.notSingleURI) { $0.uris.append(bytes("spiffe://east.mesh/ns/shop/sa/admin")) }
        try refuses(.notSingleURI) { $0.uris.append($0.uris[0]) }
        try refuses(.notSingleURI) { $0.uris = [] }
        try refuses(.notSingleURI) {
            $0.uris = []
            $0.dnsNames = [bytes("east.mesh")]
        }
        try refuses(.badSPIFFEID) { $0.uris = [bytes("spiffe://east.mesh")] }
        try refuses(.badSPIFFEID) { $0.uris = [bytes("spiffe://east.mesh/")] }
        try refuses(.badSPIFFEID) { $0.uris = [bytes("spiffe://east.mesh/a/../b")] }
        try refuses(.badSPIFFEID) { $0.uris = [bytes("spiffe://EAST.mesh/a")] }
        try refuses(.badSPIFFEID) { $0.uris = [bytes("https://east.mesh/a")] }
        try refuses(.badSPIFFEID) { $0.uris = [bytes("spiffe://east.mesh/a\u{0}.west.mesh")] }
        try refuses(.leafIsCA) { $0.isCA = true }
        try refuses(.keyUsage) { $0.keyUsage = [0, 5] }
        try refuses(.keyUsage) { $0.keyUsageIsCritical = false }
        try refuses(.extendedKeyUsage) { $0.extendedKeyUsage = [CertificateMint.serverAuth] }
        try refuses(.unknownCA) { $0.uris = [bytes("spiffe://west.mesh/ns/shop/sa/web")] }
        try refuses(.unknownTrustDomain) { $0.uris = [bytes("spiffe://north.mesh/ns/shop/sa/web")] }
        try refuses(.expired) { $0.notAfter = CertificateMint.now.advanced(bySeconds: -31) }
        try refuses(.notYetValid) { $0.notBefore = CertificateMint.now.advanced(bySeconds: 31) }
    }

    @Test func aCAOfAnotherDomainIsRefused() throws {
        let foreign = try papers.east.intermediate { $0.uris = [Array("spiffe://west.mesh".utf8)] }
        let key = try PrivateKey.generate()
        let leaf = try foreign.leaf(CertificateMint.Leaf("spiffe://east.mesh/w"), publicKey: key.publicKey)
        let wire = try RawWire(
            RawPeer(chain: [leaf, foreign.certificate.der], key: key), server: papers.serverContext())
        try wire.run { $0.raw.failure != nil && $0.far.failure != nil }
        #expect(wire.far.refusal == .wrongDomain)
        #expect(wire.raw.alert == 42)
    }

    @Test func aLongChainIsRefused() throws {
        let middle = try papers.east.intermediate()
        let key = try PrivateKey.generate()
        let leaf = try middle.leaf(CertificateMint.Leaf("spiffe://east.mesh/w"), publicKey: key.publicKey)
        let spare = [[UInt8]](repeating: papers.west.certificate.der, count: 3)
        let wire = try RawWire(
            RawPeer(chain: [leaf, middle.certificate.der] + spare, key: key), server: papers.serverContext())
        try wire.run { $0.raw.failure != nil && $0.far.failure != nil }
        #expect(wire.far.refusal == .chainTooLong)
        // Far more than leaf, intermediate and root: refused before it is parsed.
        let heap = [[UInt8]](repeating: papers.west.certificate.der, count: 150)
        let heavy = try RawWire(
            RawPeer(chain: [leaf, middle.certificate.der] + heap, key: key), server: papers.serverContext())
        try heavy.run { $0.far.failure != nil }
        #expect(heavy.far.failure?.isTLS == true)
        #expect(!heavy.far.isEstablished && heavy.far.peer == nil)
    }

    @Test func aKeyThatIsNotTheCertificatesIsRefused() throws {
        // OpenSSL does not load such a pair, so the leaf is another's and the chain has its place.
        #expect(throws: RawPeer.Unusable.self) {
            try RawPeer(
                chain: [papers.east.leaf(CertificateMint.Leaf("spiffe://east.mesh/w"))], key: PrivateKey.generate())
        }
    }

    @Test func olderVersionsAreRefused() throws {
        for version: Int32 in [0x0301, 0x0302, 0x0303] {
            let wire = try RawWire(peer(maximumVersion: version), server: papers.serverContext())
            try wire.run { $0.raw.failure != nil && $0.far.failure != nil }
            #expect(wire.far.failure?.isTLS == true)
            #expect(!wire.far.isEstablished)
            // TLS 1.0 and 1.1 may already be refused by the client's own security level.
            if version == 0x0303 { #expect(wire.raw.alert == 70, "protocol_version") }
        }
    }

    @Test func nothingIsGivenToResumeBy() throws {
        let wire = try established()
        wire.far.send(Array("hello".utf8), &wire.shared.buffers)
        #expect(try wire.run { $0.raw.received.count == 5 })
        #expect(!wire.raw.isResumable)
    }

    @Test func foreignProtocolNamesAreNoneOfOurs() throws {
        for names in [
            ["spdy/3"], ["h2c"], ["H2"], ["h", "h22"], ["meshfed-tcp/2"], [String(repeating: "x", count: 255)],
        ] {
            let wire = try RawWire(peer(protocols: names), server: papers.serverContext(protocols: [.http2, .tcp]))
            try wire.run { $0.raw.failure != nil && $0.far.failure != nil }
            #expect(wire.raw.alert == 120, "\(names)")
        }
        let last = try RawWire(
            peer(protocols: ["spdy/3", "x", "meshfed-tcp/1"]), server: papers.serverContext(protocols: [.http2, .tcp]))
        #expect(try last.shakeHands())
        #expect(last.far.negotiated == .tcp)
        let none = try RawWire(peer(protocols: []), server: papers.serverContext())
        #expect(try none.shakeHands())
        #expect(none.far.negotiated == nil)
    }

    @Test func aNameWithOddBytesIsMalformed() throws {
        for name in [
            "80.api.shop.svc.clusterset.l\u{f6}cal", "80.api.shop.svc.clusterset.local/", "80 .a.b.svc.c", "*",
        ] {
            let wire = try RawWire(peer(serverName: name), server: papers.serverContext())
            try wire.run { $0.raw.failure != nil && $0.far.failure != nil }
            #expect(wire.raw.alert == 112, "\(name)")
        }
    }

    @Test func aHandshakeInSingleBytesWorks() throws {
        let wire = try RawWire(peer(), server: papers.serverContext())
        wire.portion = 1
        #expect(try wire.shakeHands())
        wire.raw.write(Array("slowly".utf8))
        #expect(try wire.run { $0.far.received.count == 6 })
        #expect(wire.far.received == Array("slowly".utf8))
    }

    @Test func bytesRightBehindTheHandshakeAreHeld() throws {
        let wire = try RawWire(peer(), server: papers.serverContext())
        // Drives the client to its end, keeping its last flight back.
        wire.raw.take([])
        try wire.put(wire.raw.output())
        while !wire.raw.isEstablished { try #require(wire.turn()) }
        wire.raw.write([UInt8](repeating: 7, count: 40_000))
        wire.far.isReading = false
        try wire.put(wire.raw.output())
        while !wire.far.isEstablished { try #require(wire.turn()) }
        #expect(wire.far.holdsInput, "no readiness will announce these bytes")
        wire.far.isReading = true
        #expect(try wire.run { $0.far.received.count == 40_000 })
        #expect(wire.far.received.allSatisfy { $0 == 7 })
        #expect(!wire.far.holdsInput)
    }

    @Test func theEndRightBehindTheHandshakeIsSeen() throws {
        let wire = try RawWire(peer(), server: papers.serverContext())
        wire.raw.take([])
        try wire.put(wire.raw.output())
        while !wire.raw.isEstablished { try #require(wire.turn()) }
        wire.raw.write([1, 2, 3])
        wire.raw.close()
        try wire.put(wire.raw.output())
        wire.closeInput()
        #expect(try wire.run { $0.far.ended })
        #expect(wire.far.received == [1, 2, 3])
        #expect(wire.far.failure == nil)
    }

    @Test func aKeyUpdateIsAnswered() throws {
        let wire = try established()
        for round: UInt8 in 0..<20 {
            wire.raw.requestKeyUpdate()
            wire.raw.write([round])
            #expect(try wire.run { $0.far.received.count == Int(round) + 1 })
            wire.far.send([round], &wire.shared.buffers)
            #expect(try wire.run { $0.raw.received.count == Int(round) + 1 })
        }
        #expect(wire.raw.received == Array(0..<20))
    }

    @Test func aSpoiledRecordIsFoundBehindTheGoodOnes() throws {
        let wire = try established()
        wire.raw.write([1, 2, 3])
        let good = wire.raw.output()
        wire.raw.write([4, 5, 6])
        var bad = wire.raw.output()
        bad[bad.count - 1] ^= 1
        try wire.put(good + bad)
        try wire.run { $0.far.failure != nil && $0.raw.failure != nil }
        #expect(wire.far.received == [1, 2, 3])
        #expect(wire.far.failure?.isTLS == true)
        #expect(wire.raw.alert == 20, "bad_record_mac")
    }

    @Test func whatIsNoTLSIsRefused() throws {
        var random = SplitMix64.announced()
        let inputs =
            [
                Array("GET / HTTP/1.1\r\n\r\n".utf8), Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8),
                [0x16, 0x03, 0x01, 0xFF, 0xFF],
                [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x28], [0x80, 0x2E, 0x01, 0x00, 0x02],
            ] + (0..<40).map { _ in random.bytes(Int.random(in: 1...200, using: &random)) }
        let server = try papers.serverContext()
        for input in inputs {
            let wire = try RawWire(peer(), server: server)
            try wire.put(input)
            wire.closeInput()
            // Either TLS finds the fault or the bytes end within the handshake.
            while wire.far.failure == nil { try #require(wire.turn()) }
            #expect(!wire.far.isEstablished)
        }
    }

    @Test func damagedHandshakesNeverPass() throws {
        var random = SplitMix64.announced()
        let server = try papers.serverContext()
        for _ in 0..<60 {
            let wire = try RawWire(peer(), server: server)
            wire.raw.take([])
            let hello = wire.raw.output()
            let damaged = random.damaged(hello)
            guard damaged != hello else { continue }
            try wire.put(damaged)
            wire.closeInput()
            while wire.far.failure == nil { try #require(wire.turn()) }
            #expect(!wire.far.isEstablished && wire.far.peer == nil)
        }
    }
}
