import Identity
import MeshModel
import MeshTestKit
import Proxy
import Reactor
import TLS
import Testing

/// What callers share on their way, and what must stay apart.
@Suite(.serialized) struct SharedPathTests {
    private let host = "api.shop.svc.clusterset.local"

    /// One service, one port, one gateway, but two SNIs: on the wrong connection the gateway would answer 421.
    @Test func namesPinnedToTwoClustersDoNotShareAConnection() throws {
        let world = try World()
        let address = try Loopback.next(port: 15_443)
        var east = Snapshot("east")
        east.addGateway(address)
        east.addMember("north", gateway: try Loopback.next(port: 15_443))
        east.addMember("west", gateway: try Loopback.next(port: 15_443))
        let allow = Authorization(rules: [
            AuthorizationRule(name: "shop/api#0", action: .allow, callers: [.trustDomain(domain("east.mesh"))])
        ])
        east.add("api", remotes: ["north", "west"]) { service in
            for index in service.remotes.indices { service.remotes[index].authorization = allow }
        }
        let gateway = try world.gateway(of: "east", east, at: address)
        let web = try world.sidecar("web-0", at: Loopback.next(port: 0), east, entries: [.explicit])
        for cluster in ["west", "north", "west", "north"] {
            let client = try world.stage.connect(web.addresses[1], .http1)
            let answer = world.stage.ask(client, get("api.shop.svc.\(cluster).clusterset.local"))
            // Nobody listens there: the gateway of east took the call for what it was.
            #expect(answer.status == "503", "\(cluster): \(answer.fields)")
        }
        _ = gateway
    }

    @Test func aPlainPortLeadsToAServiceThatSpeaksHTTP() throws {
        let mesh = try Direct(entries: [.outboundTCP(host: Array("api.shop:80".utf8))])
        let client = try mesh.client()
        for _ in 0..<2 { #expect(mesh.stage.ask(client, get("whatever.example")).status == "200") }
        #expect(mesh.app.requests.count == 2)
    }

    /// A workload without a sidecar is foreign to its gateway: nothing of `meshfed-*` is its to say.
    @Test func aForeignCallerDoesNotChooseTheAuthority() throws {
        let world = try World()
        let app = try App(world.stage, .http1)
        let address = try Loopback.next(port: 15_443)
        let apiAddress = try Loopback.next(port: 0)
        var east = Snapshot("east")
        east.addGateway(address)
        east.add("api", at: [apiAddress], target: app.address.port) { $0.export = .all }
        let gateway = try world.gateway(of: "east", east, at: address)
        let api = try world.sidecar("api-0", at: apiAddress, east, app: app.address)
        let line = try world.dial(address, as: world.workload("job"), "80.\(host)")
        let answer = world.stage.ask(line, get("\(host):80", "/", [("meshfed-authority", "evil.example")]))
        #expect(answer.status == "200", "\(answer.fields)")
        #expect(app.requests.last?[":authority"] == host)
        _ = (gateway, api)
    }
}
