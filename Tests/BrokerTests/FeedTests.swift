import ControlCoding
import ControlProtocol
import Identity
import MeshModel
import RPC
import Testing
import Wire

/// Enrolment, the feed, and who may call what.
@Suite(.serialized) struct FeedTests {
    private func sidecarToken(_ broker: RunningBroker, account: String = "web") throws -> JoinToken {
        try broker.token {
            $0.purpose = .sidecar
            $0.namespace = "shop"
            $0.serviceAccount = account
        }
    }

    @Test func aSidecarEnrolsAndTakesSnapshots() throws {
        let broker = try RunningBroker("east", folder: try TemporaryFolder())
        _ = try broker.apply(Manifests.service("api"), Manifests.workload("w1", app: "api"))
        let identity = try broker.enrol(try sidecarToken(broker))
        #expect("\(identity.svid.id)" == "spiffe://east.mesh/ns/shop/sa/web")
        let context = try broker.context(identity)
        let workload = try #require(ObjectName("shop/w1"))
        var seen: [[String]] = []
        try FeedReader(broker, context).read(.sidecar(workload: workload)) { snapshot in
            seen.append(snapshot.services.map { "\($0.name)" })
            if seen.count == 1 {
                _ = try broker.apply(Manifests.service("web"))
                return .ack
            }
            #expect(try broker.status().proxies.map(\.name) == ["shop/w1"])
            return .last
        }
        #expect(seen == [["shop/api"], ["shop/api", "shop/web"]])
        try broker.stop()
    }

    @Test func aRefusedSnapshotIsShown() throws {
        let broker = try RunningBroker("east", folder: try TemporaryFolder())
        _ = try broker.apply(Manifests.workload("w1", app: "api"))
        let context = try broker.context(try broker.enrol(try sidecarToken(broker)))
        let workload = try #require(ObjectName("shop/w1"))
        var count = 0
        try FeedReader(broker, context).read(.sidecar(workload: workload)) { _ in
            count += 1
            if count == 1 {
                _ = try broker.apply(Manifests.service("web"))
                return .refuse("too new")
            }
            #expect(try broker.status().proxies.map(\.refused) == ["too new"])
            return .last
        }
        try broker.stop()
    }

    @Test func aTokenIsForOneKey() throws {
        let broker = try RunningBroker("east", folder: try TemporaryFolder())
        let token = try sidecarToken(broker)
        _ = try broker.enrol(token)
        #expect { try broker.enrol(token) } throws: { "\($0)".contains("token_used") }
        try broker.stop()
    }

    @Test func aSidecarIsWhatItsSVIDSays() throws {
        let broker = try RunningBroker("east", folder: try TemporaryFolder())
        _ = try broker.apply(
            Manifests.workload("w1", app: "api"), Manifests.workload("w2", app: "api", account: "other"))
        let context = try broker.context(try broker.enrol(try sidecarToken(broker)))
        let reader = try FeedReader(broker, context)
        try reader.read(.sidecar(workload: try #require(ObjectName("shop/w2")))) { _ in .last }
        #expect(reader.end?.status == .permissionDenied)
        let another = try FeedReader(broker, context)
        try another.read(.gateway(name: try #require(Label("gw")), advertised: nil)) { _ in .last }
        #expect(another.end?.status == .permissionDenied)
        // Neither admin verbs nor federation are for proxies.
        let admin = try broker.mutual(context, "/meshfed.admin.v1.Admin/Status", [])
        guard case .failure(let refusal) = admin else { throw TestFailure("a sidecar administers") }
        #expect(refusal.status == .permissionDenied)
        try broker.stop()
    }

    @Test func anAdminCallsOver15012() throws {
        let broker = try RunningBroker("east", folder: try TemporaryFolder())
        let token = try broker.token {
            $0.purpose = .admin
            $0.name = "ann"
        }
        let context = try broker.context(try broker.enrol(token))
        let bytes = try broker.mutual(context, "/meshfed.admin.v1.Admin/Status", []).get()
        #expect(try MessageCoding.decode(AdminStatusResponse.self, bytes).cluster == "east")
        try broker.stop()
    }

    @Test func anSVIDIsRenewedInItsSession() throws {
        let broker = try RunningBroker("east", folder: try TemporaryFolder())
        let identity = try broker.enrol(try sidecarToken(broker))
        let key = try PrivateKey.generate()
        let request = IdentityCoding.encodeIssueRequest(certificateRequest: try CertificateRequest.make(key: key))
        let bytes = try broker.mutual(
            try broker.context(identity), "/meshfed.identity.v1.Identity/Issue", request
        ).get()
        let answer = try IssueAnswer.decode(bytes)
        #expect(try SVID(chainDER: answer.chain, key: key).id == identity.svid.id)
        try broker.stop()
    }

    @Test func gatewaysRegisterReportHealthAndDrain() throws {
        let broker = try RunningBroker("east", folder: try TemporaryFolder())
        _ = try broker.apply(Manifests.service("api"), Manifests.workload("w1", app: "api"))
        let token = try broker.token {
            $0.purpose = .gateway
            $0.name = "gw"
        }
        let context = try broker.context(try broker.enrol(token))
        let name = try #require(Label("gw"))
        let address = GatewayAddress(name: name, address: "10.9.9.9", port: 15_443, locality: .unknown)
        var step = 0
        let reader = try FeedReader(broker, context)
        let report = SubscriberFrame.health([
            EndpointHealth(endpoint: 1, healthy: false, since: WallTime(seconds: 0))
        ])
        try reader.read(.gateway(name: name, advertised: address), before: [report]) { snapshot in
            let isThere = snapshot.gateways == [address]
            let isDown = snapshot.services.first?.endpoints.first?.healthy == false
            step += 1
            return isThere && isDown ? .last : .ack
        }
        // A gateway that comes again and drains is out at once.
        try FeedReader(broker, context).read(
            .gateway(name: name, advertised: address), before: [.draining]
        ) { snapshot in
            snapshot.gateways.isEmpty ? .last : .ack
        }
        #expect(try broker.status().revision > 2)
        try broker.stop()
    }

    @Test func aSidecarThatDrainsIsOutUntilOneSubscribesAgain() throws {
        let broker = try RunningBroker("east", folder: try TemporaryFolder())
        _ = try broker.apply(Manifests.service("api"), Manifests.workload("w1", app: "api"))
        let context = try broker.context(try broker.enrol(try sidecarToken(broker)))
        let role = SubscriberHello.Role.sidecar(workload: try #require(ObjectName("shop/w1")))
        func wait(_ healthy: Bool, before: [SubscriberFrame] = []) throws {
            try FeedReader(broker, context).read(role, before: before) { snapshot in
                snapshot.services.first?.endpoints.first?.healthy == healthy ? .last : .ack
            }
        }
        try wait(false, before: [.draining])
        try wait(true)
        try broker.stop()
    }
}
