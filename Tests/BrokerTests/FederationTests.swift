import ControlProtocol
import Identity
import MeshModel
import RPC
import Testing

/// Two and three brokers on loopback: joining, catalogs, eviction, restart.
@Suite(.serialized) struct FederationTests {
    func federationToken(_ sponsor: RunningBroker, for joiner: RunningBroker) throws -> JoinToken {
        try sponsor.token {
            $0.purpose = .federation
            $0.cluster = "\(joiner.cluster)"
        }
    }

    func waitForService(_ broker: RunningBroker, _ name: String, _ state: String) throws {
        _ = try RunningBroker.waitFor("\(name) to be \(state) in \(broker.cluster)") {
            try broker.services().contains { $0.name == name && $0.state == state && $0.freshness == .fresh }
                ? true : nil
        }
    }

    @Test func joinedBrokersExchangeCatalogs() throws {
        let east = try RunningBroker("east", folder: try TemporaryFolder())
        let west = try RunningBroker("west", folder: try TemporaryFolder())
        _ = try east.apply(
            Manifests.service("api"), Manifests.export("api"), Manifests.workload("w1", app: "api"),
            Manifests.service("web"), Manifests.export("web"))
        let token = try federationToken(east, for: west)
        let plan = try west.join(token, imports: ["shop/api"], plan: true)
        #expect(plan.plan && plan.sponsor.cluster == "east" && !plan.sponsor.federationKey.isEmpty)
        #expect(plan.importedServices == ["shop/api"])
        #expect(plan.availableServices == ["shop/web"])
        let before: AdminListMembersResponse = try west.admin("ListMembers", AdminListMembersRequest())
        #expect(before.members.isEmpty)
        let done = try west.join(token, imports: ["shop/api"])
        #expect(done.sponsor.cluster == "east" && done.imports == ["*:shop/api"] && !done.alreadyJoined)
        #expect(done.importObject.contains("kind: Import"))
        try waitForService(west, "shop/api", "imported")
        try waitForService(west, "shop/web", "available")
        #expect(try west.join(token).alreadyJoined)
        _ = try west.apply(Manifests.service("pay"), Manifests.export("pay"))
        try waitForService(east, "shop/pay", "available")
        try east.stop()
        try west.stop()
    }

    @Test func anEvictedMemberIsGoneOnBothSides() throws {
        let east = try RunningBroker("east", folder: try TemporaryFolder())
        let west = try RunningBroker("west", folder: try TemporaryFolder())
        _ = try east.apply(Manifests.service("api"), Manifests.export("api"))
        _ = try west.join(try federationToken(east, for: west), imports: ["shop"])
        try waitForService(west, "shop/api", "imported")
        var request = AdminEvictRequest()
        request.cluster = "west"
        request.reason = "a test"
        let answer: AdminEvictResponse = try east.admin("Evict", request)
        #expect(answer.member.state == .gone)
        let bundles: AdminShowBundleResponse = try east.admin("ShowBundle", AdminShowBundleRequest())
        #expect(bundles.bundles.map(\.trustDomain) == ["east.mesh"])
        _ = try RunningBroker.waitFor("west to lose east's services") { try west.services().isEmpty ? true : nil }
        let status = try west.status()
        #expect(status.members.allSatisfy { $0.state != .admitted })
        #expect(status.alarms.contains { $0.kind == "eviction" })
        try east.stop()
        try west.stop()
    }

    @Test func aRestartedBrokerIsStillAMember() throws {
        let folder = try TemporaryFolder()
        let east = try RunningBroker("east", folder: try TemporaryFolder())
        let first = try RunningBroker("west", folder: folder)
        _ = try east.apply(Manifests.service("api"), Manifests.export("api"))
        _ = try first.join(try federationToken(east, for: first), imports: ["shop"])
        try waitForService(first, "shop/api", "imported")
        try first.stop()
        let second = try RunningBroker("west", folder: folder)
        // What the last run held is there at once; it becomes fresh when the stream is back.
        #expect(try second.services().contains { $0.name == "shop/api" && $0.state == "imported" })
        try waitForService(second, "shop/api", "imported")
        try east.stop()
        try second.stop()
    }

    @Test func aSponsorBringsTheOthers() throws {
        let east = try RunningBroker("east", folder: try TemporaryFolder())
        let west = try RunningBroker("west", folder: try TemporaryFolder())
        let north = try RunningBroker("north", folder: try TemporaryFolder())
        _ = try west.apply(Manifests.service("api"), Manifests.export("api"))
        _ = try west.join(try federationToken(east, for: west))
        let joined = try north.join(try federationToken(east, for: north), imports: ["shop"])
        #expect(joined.admitted.map(\.cluster) == ["west"])
        try waitForService(north, "shop/api", "imported")
        try east.stop()
        try west.stop()
        try north.stop()
    }

    @Test func aMemberThatLeavesTellsTheOthers() throws {
        let east = try RunningBroker("east", folder: try TemporaryFolder())
        let west = try RunningBroker("west", folder: try TemporaryFolder())
        _ = try east.apply(Manifests.service("api"), Manifests.export("api"))
        _ = try west.join(try federationToken(east, for: west), imports: ["shop"])
        try waitForService(west, "shop/api", "imported")
        let left: AdminLeaveResponse = try west.admin("Leave", AdminLeaveRequest())
        #expect(left.told == ["east"] && left.unreached.isEmpty)
        _ = try RunningBroker.waitFor("east to let it go") {
            try east.status().members.allSatisfy { $0.state == .gone } ? true : nil
        }
        try east.stop()
        try west.stop()
    }

    @Test func aTokenForAnotherClusterIsRefused() throws {
        let east = try RunningBroker("east", folder: try TemporaryFolder())
        let west = try RunningBroker("west", folder: try TemporaryFolder())
        let token = try east.token {
            $0.purpose = .federation
            $0.cluster = "north"
        }
        #expect(throws: RPCEnd.self) { try west.join(token) }
        try east.stop()
        try west.stop()
    }
}

extension FederationTests {
    @Test func aMemberReturnsWithANewKey() throws {
        let folder = try TemporaryFolder()
        let east = try RunningBroker("east", folder: try TemporaryFolder())
        let first = try RunningBroker("west", folder: folder)
        _ = try east.apply(Manifests.service("api"), Manifests.export("api"))
        _ = try first.join(try federationToken(east, for: first), imports: ["shop"])
        try waitForService(first, "shop/api", "imported")
        let key = try first.status().federationKey
        let _: AdminLeaveResponse = try first.admin("Leave", AdminLeaveRequest())
        _ = try RunningBroker.waitFor("east to let it go") {
            try east.status().members.allSatisfy { $0.state == .gone } ? true : nil
        }
        _ = try first.join(try federationToken(east, for: first))
        try waitForService(first, "shop/api", "imported")
        let renewed = try first.status().federationKey
        #expect(renewed != key)
        try first.stop()
        let second = try RunningBroker("west", folder: folder)
        #expect(try second.status().federationKey == renewed)
        try waitForService(second, "shop/api", "imported")
        try east.stop()
        try second.stop()
    }
}
