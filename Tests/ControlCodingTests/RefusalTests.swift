import ControlCoding
import MeshModel
import Testing

/// What is wrong is refused, and the error names the field.
@Suite struct RefusalTests {
    private func refusal(_ change: (inout Snapshot) -> Void) -> String {
        var samples = Samples(seed: 12)
        var snapshot = Snapshot(
            cluster: samples.cluster(0), trustDomain: samples.domain(0), epoch: 1, revision: 1)
        snapshot.members = [
            Member(cluster: samples.cluster(1), trustDomain: samples.domain(1), gateways: [], freshness: .fresh)
        ]
        var service = Service(
            id: 1, name: samples.object(1), ports: [ServicePort(name: "", port: 80, appProtocol: .http)])
        service.endpoints = [
            Endpoint(
                id: 7, workload: samples.object(2), address: "10.0.0.1", targetPorts: [80: 8_080], security: .mesh,
                identity: samples.workloadID(samples.domain(0)), locality: .unknown)
        ]
        snapshot.services = [service]
        change(&snapshot)
        do {
            _ = try SnapshotCoding.decode(SnapshotCoding.encode(snapshot))
            return "accepted"
        } catch {
            return "\(error)"
        }
    }

    @Test func aSnapshotWithOneWrongFieldIsRefusedWhole() throws {
        let other = try #require(TrustDomain("c1.mesh"))
        #expect(refusal { _ in } == "accepted")
        #expect(
            refusal { $0.services[0].endpoints[0].address = "10.0.0.256" }
                == "services[0].endpoints[0].address: not an IP literal")
        #expect(
            refusal { $0.services[0].endpoints[0].address = "fe80::1%eth0" }
                == "services[0].endpoints[0].address: not an IP literal")
        #expect(refusal { $0.services[0].ports[0].port = 0 } == "services[0].ports[0].port: out of range")
        #expect(
            refusal { $0.services[0].endpoints[0].targetPorts = [80: 0] }
                == "services[0].endpoints[0].targetPorts[0].target: out of range")
        #expect(refusal { $0.services.append($0.services[0]) } == "services[1]: named twice")
        #expect(
            refusal { $0.services[0].endpoints.append($0.services[0].endpoints[0]) }
                == "services[0].endpoints[1].id: named twice")
        #expect(
            refusal {
                $0.services[0].endpoints[0].identity =
                    SPIFFEID("spiffe://c1.mesh/ns/a/sa/b") ?? $0.services[0].endpoints[0].identity
            } == "services[0].endpoints[0].identity: not an ID of the own trust domain")
        #expect(
            refusal {
                $0.bundles = [TrustBundle(trustDomain: other, roots: []), TrustBundle(trustDomain: other, roots: [])]
            } == "bundles[1]: named twice")
        #expect(
            refusal { $0.bundles = [TrustBundle(trustDomain: other, roots: [[]])] }
                == "bundles[0].roots[0]: missing")
        #expect(
            refusal {
                $0.bundles = [
                    TrustBundle(trustDomain: other, roots: [], revokedSerials: [[UInt8](repeating: 1, count: 21)])
                ]
            }
                == "bundles[0].revokedSerials[0]: longer than 20 bytes")
        #expect(
            refusal {
                $0.services[0].remotes = [
                    RemoteService(
                        cluster: ClusterID(Label("nobody") ?? $0.cluster.label), ports: [], capacities: [],
                        authorization: Authorization())
                ]
            } == "services[0].remotes[0].cluster: refers to nothing")
        #expect(
            refusal { $0.members[0].trustDomain = $0.trustDomain }
                == "members[0]: not another cluster with a trust domain of its own")
        #expect(refusal { $0.settings.tracingSamplePercent = .nan } == "settings.tracingSamplePercent: out of range")
        #expect(
            refusal { $0.services[0].traffic.requestTimeout = .seconds(400 * 86_400) }
                == "services[0].traffic.requestTimeout: out of range")
        #expect(
            refusal {
                $0.services[0].authorization = Authorization(rules: [
                    AuthorizationRule(
                        name: "a", action: .allow,
                        callers: [.prefix(ASCIIText("spiffe://c1.mesh/ns/shop") ?? $0.cluster.label.text)])
                ])
            } == "services[0].authorization.rules[0].callers[0].prefix: not a SPIFFE ID prefix that ends with a slash")
        #expect(
            refusal {
                $0.services[0].limits = Array(
                    repeating: LimitRule(
                        name: "a", requests: 1, per: .seconds(1), burst: 1, subject: .service, mode: .enforce),
                    count: CodingLimits.limitRules + 1)
            } == "services[0].limits: more than 64 entries")
    }

    /// A checksum that is enough to see a change; the real one is the caller's.
    private func digest(_ bytes: [UInt8]) -> [UInt8] {
        var sum: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in bytes { sum = (sum ^ UInt64(byte)) &* 0x100_0000_01B3 }
        return (0..<32).map { UInt8(truncatingIfNeeded: sum >> UInt64($0 % 8 * 8)) }
    }

    @Test func aSnapshotFileComesBackAndDamageIsSeen() throws {
        var samples = Samples(seed: 3)
        let snapshot = samples.snapshot()
        let file = try SnapshotFile.encode(snapshot, sha256: digest)
        #expect(try SnapshotFile.decode(file, sha256: digest) == snapshot)
        for length in stride(from: 0, to: file.count, by: 7) {
            #expect(throws: CodingError.self) { try SnapshotFile.decode(Array(file[..<length]), sha256: digest) }
        }
        for index in stride(from: 0, to: file.count, by: 5) {
            var changed = file
            changed[index] ^= 0x10
            // A flipped bit may fall into a field number and so into an ignored field; the content must still be the same.
            if let read = try? SnapshotFile.decode(changed, sha256: digest) { #expect(read == snapshot) }
        }
    }

    @Test func aNewerSchemaIsRefusedWithTheReason() throws {
        var samples = Samples(seed: 3)
        var file = try SnapshotFile.encode(samples.snapshot(), sha256: digest)
        // magic is field 1 (2 + 17 bytes), schema field 2: tag 0x10, value.
        #expect(file[19] == 0x10 && file[20] == 1)
        file[20] = 9
        let error = #expect(throws: CodingError.self) { try SnapshotFile.decode(file, sha256: digest) }
        #expect(error?.description == "schema: written by a newer release (schema 9, this one reads 1)")
    }

    @Test func anotherFileIsNotASnapshot() {
        let error = #expect(throws: CodingError.self) {
            try SnapshotFile.decode(Array("kind: Service\n".utf8), sha256: digest)
        }
        #expect(error?.description.contains("not a snapshot file") == true)
    }

    @Test(arguments: [
        "10.0.0.1", "0.0.0.0", "255.255.255.255", "::", "::1", "fd00::1", "1:2:3:4:5:6:7:8", "1::8", "::ffff:10.0.0.1",
        "1:2:3:4:5:6:10.0.0.1", "2001:DB8::A",
    ])
    func addressLiteralsAreTaken(text: String) { #expect(IPLiteral.isValid(text)) }

    @Test(arguments: [
        "", "10.0.0", "10.0.0.1.", "010.0.0.1", "10.0.0.01", "10.0.0.+1", "256.1.1.1", ":", ":::", "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9", "1::2::3", "[::1]", "::1%lo", "12345::", "1:2:3:4:5:6:7::8", "::10.0.0.1:1", "localhost",
        "1:2:3:4:5:6:7:", ":1:2:3:4:5:6:7", "10.0.0.1 ", "١.0.0.1",
    ])
    func otherTextIsNoAddress(text: String) { #expect(!IPLiteral.isValid(text)) }

    @Test func hostAndPort() {
        for good in ["10.0.0.1:1", "[::1]:65535", "broker.east.example:15012", "a:80"] {
            #expect(IPLiteral.isHostAndPort(good))
        }
        for bad in [
            "", ":1", "a", "a:", "a:0", "a:070", "a:65536", "a:+1", "::1:80", "[::1]", "[]:1", "A:1", "a..b:1", "-a:1",
            "a b:1", "a/b:1",
        ] { #expect(!IPLiteral.isHostAndPort(bad), "\(bad)") }
    }

    @Test func aRecordMayNotCarryOnePartTwice() {
        var samples = Samples(seed: 1)
        let record = samples.record(.bundle, [1])
        let twice = SignedRecord(
            type: .bundle, sequence: 1, payload: [1], signatures: [record.signatures[0], record.signatures[0]])
        #expect(throws: CodingError("signatures[1]", .duplicate)) { try SignedRecord.decode(twice.encoded) }
    }

    @Test func anEmptyReasonStaysARefusal() throws {
        let frame = SubscriberFrame.ack(epoch: 1, revision: 1, refused: "")
        #expect(
            try SubscriberFrame.decode(frame.encode()) == .ack(epoch: 1, revision: 1, refused: "refused"))
    }
}
