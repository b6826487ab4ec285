import ControlCoding
import Feed
import Glibc
import Identity
import MeshModel
import RPC
import Testing

@Suite struct FeedClientTests {
    private struct Proxy {
        let keeper: IdentityKeeper
        let feed: FeedClient
        let directory: ProxyStateDirectory
    }

    private func start(_ office: Office, token: Bool = true) throws -> Proxy {
        let directory = try office.directory()
        let keeper = try office.keeper(directory, token ? try office.token() : nil)
        let feed = try office.client(directory, keeper)
        try keeper.start()
        return Proxy(keeper: keeper, feed: feed, directory: directory)
    }

    @Test func aSnapshotIsUsedStoredAndAcked() throws {
        let office = try Office()
        office.snapshot = try office.makeSnapshot(5)
        let proxy = try start(office)
        var seen: [UInt64] = []
        proxy.feed.onSnapshot = { seen.append($0.revision) }
        proxy.feed.start()
        office.run { !office.acks.isEmpty }
        #expect(seen == [5])
        #expect(office.acks == [.ack(epoch: 1, revision: 5, refused: nil)])
        #expect(office.mode("snapshot.bin") == 0o600)
        #expect(proxy.feed.isConnected && proxy.feed.age < .seconds(5))
        let hello = try #require(office.hellos.first)
        #expect(hello.version == "test" && hello.instance.count == 16 && hello.locality.region == "eu")
        guard case .gateway(_, let advertised) = hello.role else {
            Issue.record("not a gateway")
            return
        }
        #expect(advertised?.address == "10.0.0.9" && advertised?.port == 15_443)
    }

    @Test func theLastGoodSnapshotServesWithoutABroker() throws {
        let office = try Office()
        office.snapshot = try office.makeSnapshot(5)
        do {
            let proxy = try start(office)
            proxy.feed.start()
            office.run { !office.acks.isEmpty }
            proxy.feed.stop()
            proxy.keeper.stop()
        }
        office.snapshot = nil
        let proxy = try start(office, token: false)
        var seen: [UInt64] = []
        proxy.feed.onSnapshot = { seen.append($0.revision) }
        proxy.feed.start()
        #expect(seen == [5])
        office.run { office.hellos.count == 2 }
        #expect(office.hellos[1].epoch == 1 && office.hellos[1].revision == 5)
        #expect(office.hellos[1].instance != office.hellos[0].instance)
    }

    @Test func aDamagedFileIsToldAndNotUsed() throws {
        let office = try Office()
        let directory = try office.directory()
        try directory.write("snapshot.bin", [1, 2, 3])
        let keeper = try office.keeper(directory, try office.token())
        let feed = try office.client(directory, keeper)
        var problems: [String] = []
        feed.onProblem = { problems.append($0) }
        feed.start()
        #expect(feed.snapshot == nil)
        #expect(problems.first?.contains("snapshot.bin") == true)
    }

    @Test func wrongSnapshotsAreRefusedWithTheReason() throws {
        let office = try Office()
        office.snapshot = try office.makeSnapshot(5)
        let proxy = try start(office)
        proxy.feed.judge = { $0.revision == 7 ? "seven is not possible here" : nil }
        proxy.feed.start()
        office.run { office.acks.count == 1 }
        for wrong in [
            try office.makeSnapshot(6, cluster: "west"), try office.makeSnapshot(4), try office.makeSnapshot(7),
        ] { try office.publish(wrong) }
        try office.publish(try office.makeSnapshot(1, epoch: 2))
        office.run { office.acks.count == 5 }
        let reasons = office.acks.map { frame -> String in
            if case .ack(_, _, let refused) = frame { refused ?? "" } else { "?" }
        }
        #expect(reasons[1].contains("cluster west") && reasons[2].contains("older"))
        #expect(reasons[3].contains("seven") && reasons[4].isEmpty)
        #expect(proxy.feed.snapshot?.epoch == 2)
    }

    @Test func aLostStreamIsSubscribedAgain() throws {
        let office = try Office()
        office.snapshot = try office.makeSnapshot(5)
        let proxy = try start(office)
        proxy.feed.start()
        office.run { office.acks.count == 1 }
        office.loop.closeConnections { _ in true }
        office.run { !proxy.feed.isConnected }
        #expect(proxy.feed.lastFailure.contains("unavailable"))
        office.run { office.hellos.count == 2 && proxy.feed.isConnected }
        #expect(office.hellos[1].revision == 5)
    }

    @Test func healthIsSentWholeAndThenAsChanges() throws {
        let office = try Office()
        office.snapshot = try office.makeSnapshot(5)
        let proxy = try start(office)
        proxy.feed.start()
        proxy.feed.report(health: [1: true, 2: false])
        office.run { office.health.count == 1 }
        proxy.feed.report(health: [1: true, 2: true])
        office.run { office.health.count == 2 }
        #expect(office.health[0].map(\.endpoint) == [1, 2] && office.health[0].map(\.healthy) == [true, false])
        #expect(office.health[1].map(\.endpoint) == [2] && office.health[1].map(\.healthy) == [true])
        office.loop.closeConnections { _ in true }
        office.run { office.health.count == 3 }
        #expect(office.health[2].map(\.endpoint) == [1, 2])
    }

    @Test func linkAgesChangeTheSnapshotInUse() throws {
        let office = try Office()
        var snapshot = try office.makeSnapshot(5)
        let west = try #require(ClusterID("west"))
        snapshot.members = [
            Member(
                cluster: west, trustDomain: try #require(TrustDomain("west.mesh")), gateways: [], freshness: .fresh)
        ]
        office.snapshot = snapshot
        let proxy = try start(office)
        proxy.feed.start()
        office.run { office.acks.count == 1 }
        var seen: [Freshness] = []
        proxy.feed.onLinks = { seen = $0.map(\.freshness) }
        let stale = Freshness.stale(since: WallTime(seconds: 99))
        office.feeds[0].send(BrokerFrame.links(epoch: 9, [LinkState(cluster: west, freshness: .gone)]).encode())
        office.feeds[0].send(BrokerFrame.links(epoch: 1, [LinkState(cluster: west, freshness: stale)]).encode())
        office.run { !seen.isEmpty }
        #expect(seen == [stale])
        #expect(proxy.feed.snapshot?.members.map(\.freshness) == [stale])
    }

    @Test func stateDirectoriesAreKeptClosedAndToOneProcess() throws {
        let office = try Office()
        let first = try office.directory()
        // flock is per open file: a second opening stands for a second process.
        #expect(throws: FeedError.self) { try office.directory() }
        try first.write("key.pem", [1])
        // SAFETY (all calls): the paths live for the calls.
        unsafe _ = chmod("\(office.folder)/key.pem", 0o644)
        let error = #expect(throws: FeedError.self) { try first.read("key.pem", limit: 10) }
        #expect(error?.advice.contains("chmod 600") == true)
        let other = office.folder + "-wide"
        unsafe _ = mkdir(other, 0o755)
        unsafe _ = chmod(other, 0o755)
        let wide = #expect(throws: FeedError.self) { try ProxyStateDirectory(path: other) }
        #expect(wide?.description.contains("chmod 700") == true)
        unsafe _ = rmdir(other)
        withExtendedLifetime(first) {}
    }
}
