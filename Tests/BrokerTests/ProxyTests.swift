import Broker
import ControlProtocol
import Feed
import Identity
import MeshModel
import RPC
import Testing

/// The broker and the proxies' own feed and identity, together.
@Suite(.serialized) struct ProxyTests {
    @Test func aGatewayEnrolsSubscribesAndDrains() throws {
        let folder = try TemporaryFolder()
        let broker = try RunningBroker("east", folder: folder)
        _ = try broker.apply(Manifests.service("api"), Manifests.workload("w1", app: "api"))
        let token = try broker.token {
            $0.purpose = .gateway
            $0.name = "gw"
        }
        let name = try #require(Label("gw"))
        let loop = try RPCLoop()
        let directory = try ProxyStateDirectory(path: folder.path + "/gw")
        let identity = IdentityKeeper(loop: loop, directory: directory, role: .gateway(name: name), token: token)
        let address = GatewayAddress(name: name, address: "10.1.1.1", port: 15_443, locality: .unknown)
        let feed = FeedClient(
            loop: loop,
            settings: FeedSettings(
                role: .gateway(name: name, advertised: address), locality: .unknown, version: "test"),
            directory: directory, identity: identity)
        var problems: [String] = []
        var wasUnhealthy = false
        identity.onProblem = { problems.append($0.description) }
        var isOver = false
        feed.onProblem = { if !isOver { problems.append($0) } }
        identity.onSVID = { _ in feed.start() }
        feed.onSnapshot = { snapshot in
            guard let endpoint = snapshot.services.first?.endpoints.first, snapshot.gateways == [address] else {
                return
            }
            if endpoint.healthy, !wasUnhealthy {
                feed.report(health: [endpoint.id: false])
            } else if !endpoint.healthy {
                wasUnhealthy = true
                feed.report(health: [endpoint.id: true])
            } else {
                // Healthy again: the whole way there and back works.
                feed.drain()
                isOver = true
                loop.after(.milliseconds(50)) { loop.stop(grace: .zero) }
            }
        }
        try identity.start()
        loop.after(.seconds(30)) { loop.stop(grace: .zero) }
        loop.run()
        #expect(wasUnhealthy)
        #expect(problems == [])
        _ = try RunningBroker.waitFor("the gateway to be out") {
            let answer: AdminShowSnapshotResponse = try broker.admin("ShowSnapshot", AdminShowSnapshotRequest())
            return answer.snapshot.gateways.isEmpty ? true : nil
        }
        #expect(try broker.status().alarms.isEmpty)
        try broker.stop()
    }
}
