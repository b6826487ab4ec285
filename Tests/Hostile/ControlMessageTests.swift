import ControlCoding
import Identity
import MeshModel
import MeshTestKit
import Testing

/// HOSTILE 99, 101, 105 and 107: what a member, a broker or a stranger on the join port may send, and where it ends.
@Suite struct ControlMessageTests {
    private func varint(_ value: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(rest & 0x7F) | 0x80)
            rest >>= 7
        }
        return bytes + [UInt8(rest)]
    }

    private func field(_ number: Int, _ content: [UInt8]) -> [UInt8] {
        varint(number << 3 | 2) + varint(content.count) + content
    }

    private func problem(_ bytes: [UInt8]) throws -> CodingError.Problem? {
        let west = try #require(ClusterID("west"))
        do throws(CodingError) {
            _ = try SyncFrame.decode(bytes, from: west)
            return nil
        } catch {
            return error.problem
        }
    }

    /// 99: more services than a member may offer, in the smallest bytes that say so.
    @Test func aMemberOffersNoMoreThanItsQuota() throws {
        let record = field(5, [])
        let chunk = Array([[UInt8]](repeating: record, count: CodingLimits.catalogRecords + 1).joined())
        #expect(try problem(field(4, chunk)) == .tooMany(limit: CodingLimits.catalogRecords))
        // One record with too much of everything.
        let ports = Array([[UInt8]](repeating: field(2, [8, 1]), count: CodingLimits.ports + 1).joined())
        #expect(
            try problem(field(4, field(5, field(1, Array("shop/web".utf8)) + ports)))
                == .tooMany(limit: CodingLimits.ports))
        let records = Array([[UInt8]](repeating: field(1, []), count: CodingLimits.recordsPerFrame + 1).joined())
        #expect(try problem(field(2, records)) == .tooMany(limit: CodingLimits.recordsPerFrame))
        let long = [UInt8](repeating: 0x61, count: 100_000)
        #expect(
            try problem(field(1, field(1, Array("west".utf8)) + field(2, long)))
                == .tooLong(limit: CodingLimits.nameBytes))
    }

    /// 99: what a message claims to hold is not believed: nothing is reserved for it.
    @Test func lengthsAreNotBelieved() throws {
        for claimed in [0x7F, 1 << 20, 1 << 30, Int(Int32.max), Int.max >> 1] {
            for number in 1...6 { #expect(try problem(varint(number << 3 | 2) + varint(claimed) + [1]) != nil) }
        }
        let unfinished = [UInt8](repeating: 0xFF, count: 64)
        #expect(try problem(unfinished) != nil)
    }

    /// 99: nesting is bounded long before the stack is.
    @Test func nestingIsBounded() throws {
        // Groups in groups.
        #expect(try problem([UInt8](repeating: 0x0B, count: 500_000)) == .malformed)
    }

    /// Names of others, of nobody, or no names at all.
    @Test func catalogsNameServicesAndNothingElse() throws {
        for name in [
            "", "shop", "shop/web/x", "Shop/web", "shop/web\u{0}", "../web", "shop/\u{212A}", "kube-system/",
            "shop/we b",
        ] {
            let record = field(5, field(1, Array(name.utf8)))
            #expect(try problem(field(4, record)) != nil, "\(name.debugDescription)")
        }
    }

    /// 101: a signed record is bound to its type, sequence, role and key; one changed byte is another statement.
    @Test func aSignatureCoversTheWholeStatement() throws {
        let key = try PrivateKey.generate()
        let name = try #require(KeyName(key.publicKey.fingerprint))
        let payload = Array("payload".utf8)
        func statement(_ type: RecordType, _ sequence: UInt64, _ role: SignatureRole, _ payload: [UInt8]) -> [UInt8] {
            SignedRecord.signedBytes(type: type, sequence: sequence, role: role, keyName: name, payload: payload)
        }
        let all: [[UInt8]] = [
            statement(.bundle, 7, .owner, payload), statement(.bundle, 8, .owner, payload),
            statement(.bundle, 7, .sponsor, payload), statement(.membership, 7, .owner, payload),
            statement(.bundle, 7, .owner, payload + [0]),
            statement(.bundle, 7 << 8, .owner, Array(payload.dropFirst())),
        ]
        #expect(Set(all).count == all.count)
    }

    /// 105: a token that is cut or changed in one bit is no token, and never another one.
    @Test func aDamagedTokenIsNone() throws {
        let token = try JoinToken(
            purpose: .federation, cluster: try #require(ClusterID("east")),
            trustDomain: try #require(TrustDomain("east.mesh")),
            addresses: ["192.0.2.1:8443"], rootPin: SHA256.hash([1]),
            secret: try seededRandom(5)(JoinToken.secretLength),
            expires: CertificateMint.now, subject: "west")
        let text = Array(token.text.utf8)
        for end in 0..<text.count {
            #expect(throws: IdentityError.self) { try JoinToken(text: String(decoding: text[..<end], as: UTF8.self)) }
        }
        for place in text.indices {
            for bit in 0..<7 {
                var other = text
                other[place] ^= 1 << UInt8(bit)
                guard let read = try? JoinToken(text: String(decoding: other, as: UTF8.self)) else { continue }
                // White space at the ends is all that may differ.
                #expect(read == token)
            }
        }
    }

    /// 107: anything at all, to every parser that a stranger reaches.
    @Test func anyBytesAreAnAnswerOrARefusal() throws {
        var random = SplitMix64.announced()
        let west = try #require(ClusterID("west"))
        for round in 0..<30_000 {
            var bytes = random.bytes(Int.random(in: 0...120, using: &random))
            // Half of them begin as a message does.
            if round & 1 == 0 { bytes = field(Int.random(in: 1...6, using: &random), bytes) }
            _ = try? JoinRequest.decode(bytes)
            _ = try? SyncFrame.decode(bytes, from: west)
            _ = try? SubscriberFrame.decode(bytes)
            _ = try? BrokerFrame.decode(bytes)
            _ = try? SignedRecord.decode(bytes)
            _ = try? SnapshotCoding.decode(bytes)
            _ = try? CertificateRequest(der: bytes)
            _ = try? Certificate(der: bytes)
        }
    }
}
