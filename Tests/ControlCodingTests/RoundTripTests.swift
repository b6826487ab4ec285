import ControlCoding
import MeshModel
import Testing

/// What is encoded comes back equal.
@Suite struct RoundTripTests {
    @Test(arguments: 0..<60) func everyMessageComesBackEqual(seed: Int) throws {
        var samples = Samples(seed: UInt64(seed))
        let snapshot = samples.snapshot()
        #expect(try SnapshotCoding.decode(SnapshotCoding.encode(snapshot)) == snapshot)
        #expect(try SnapshotCoding.encode(snapshot) == SnapshotCoding.encode(snapshot))
        let subscriber = samples.subscriberFrame()
        #expect(try SubscriberFrame.decode(subscriber.encode()) == subscriber)
        let peer = try #require(ClusterID("peer"))
        let sync = samples.syncFrame()
        #expect(try SyncFrame.decode(sync.encode(), from: peer) == sync)
        let membership = samples.membership()
        #expect(try MembershipStatement.decode(membership.encode()) == membership)
        let bundle = samples.bundleStatement()
        #expect(try BundleStatement.decode(bundle.encode()) == bundle)
        let tombstone = TombstoneStatement(
            cluster: peer, federationKey: samples.bytes(91), epoch: 1, reason: "left")
        #expect(try TombstoneStatement.decode(tombstone.encode()) == tombstone)
        let rotation = KeyRotationStatement(cluster: peer, oldKey: samples.bytes(91), newKey: samples.bytes(91))
        #expect(try KeyRotationStatement.decode(rotation.encode()) == rotation)
        let request = samples.joinRequest()
        #expect(try JoinRequest.decode(request.encode()) == request)
        let answer = JoinAnswer(
            membership: samples.flag() ? request.membership : nil, sponsorMembership: request.membership,
            sponsorBundle: request.bundle, records: [request.bundle, request.membership],
            exports: [samples.object(1)], brokerAddresses: ["10.0.0.1:15012"])
        #expect(try JoinAnswer.decode(answer.encode()) == answer)
        let enrolment = samples.enrolment()
        #expect(try EnrolmentAnswer.decode(enrolment.encode()) == enrolment)
        let issue = IssueAnswer(
            chain: enrolment.chain, bundles: [enrolment.bundle], notBefore: enrolment.notBefore,
            notAfter: enrolment.notAfter)
        #expect(try IssueAnswer.decode(issue.encode()) == issue)
        let renewal = RenewalRequest(
            oldLeaf: samples.bytes(50), certificateRequest: samples.bytes(60), signature: samples.bytes(64))
        #expect(try RenewalRequest.decode(renewal.encode()) == renewal)
        let links = BrokerFrame.links(
            epoch: 3, [LinkState(cluster: peer, freshness: .stale(since: WallTime(seconds: 9)))])
        #expect(try BrokerFrame.decode(links.encode()) == links)
        let frame = BrokerFrame.snapshot(epoch: 1, revision: 2, bytes: samples.bytes(9))
        #expect(try BrokerFrame.decode(frame.encode()) == frame)
    }

    @Test func identityRequestsComeBackEqual() throws {
        let request = [UInt8](repeating: 7, count: 90)
        #expect(
            try IdentityCoding.decodeIssueRequest(IdentityCoding.encodeIssueRequest(certificateRequest: request))
                == request)
        let secret = [UInt8](repeating: 9, count: 32)
        let enrol = try IdentityCoding.decodeEnrolRequest(
            IdentityCoding.encodeEnrolRequest(tokenSecret: secret, certificateRequest: request))
        #expect(enrol.tokenSecret == secret && enrol.certificateRequest == request)
    }

    @Test func aRecordIsKeptVerbatim() throws {
        var samples = Samples(seed: 4)
        let record = samples.record(.bundle, samples.bundleStatement().encode())
        // A field that this release does not know (number 15, one byte) stays in what is forwarded.
        let extended = record.encoded + [0x78, 0x01]
        let read = try SignedRecord.decode(extended)
        #expect(read.encoded == extended)
        #expect(read.payload == record.payload)
    }

    @Test func signedBytesAreThoseOfTheContract() throws {
        let name = try #require(KeyName([UInt8](repeating: 0xAA, count: 32)))
        let bytes = SignedRecord.signedBytes(
            type: .bundle, sequence: 0x0102_0304_0506_0708, role: .sponsor, keyName: name, payload: [0xFF])
        #expect(
            bytes == Array("meshfed record v1".utf8) + [0, 2, 1, 2, 3, 4, 5, 6, 7, 8, 2] + name.bytes + [0xFF])
    }
}
