import Identity
import MeshModel
import MeshTestKit
import Proxy
import Reactor
import TLS
import Testing
import Wire

/// Workloads that are not behind a sidecar: the gateway is the last hop (PROTOCOLS section 5, `Workload.spec.tls`).
@Suite(.serialized) struct LastHopTests {
    private let authority = "api.shop.svc.clusterset.local:80"
    private let name = "80.api.shop.svc.clusterset.local"

    /// A gateway of west before an app of its own, and a request of east's gateway on behalf of `web`.
    private func ask(
        _ world: World, _ app: App, _ security: EndpointSecurity, _ appProtocol: AppProtocol = .http,
        change: (inout Endpoint) -> Void = { _ in }
    ) throws -> Message {
        let address = try Loopback.next(port: 15_443)
        var west = Snapshot("west")
        west.addGateway(address)
        west.addMember("east", gateway: try Loopback.next(port: 15_443))
        west.add("api", appProtocol, at: [app.address], target: app.address.port) {
            $0.export = .all
            $0.authorization.rules = [
                AuthorizationRule(name: "x", action: .allow, callers: [.trustDomain(domain("east.mesh"))])
            ]
            $0.endpoints[0].security = security
            change(&$0.endpoints[0])
        }
        let gateway = try world.gateway(of: "west", west, at: address)
        let token = try world.assertion(world.workload("web"), audience: name)
        let line = try world.dial(address, as: world.gateway(of: "east"), name)
        let answer = world.stage.ask(
            line,
            get(
                authority, "/x", method: "POST",
                [("meshfed-origin", token), ("meshfed-authority", "api.shop"), ("meshfed-hops", "east/g1")]),
            body: Array("hi".utf8))
        _ = gateway
        return answer
    }

    private func check(_ answer: Message, _ app: App) throws {
        #expect(answer.status == "200", "\(answer.fields)")
        #expect(answer.text == "hi")
        let seen = try #require(app.requests.last)
        #expect(seen[":authority"] == "api.shop")
        #expect(
            seen["x-forwarded-client-cert"]
                == "By=spiffe://west.mesh/meshfed/gateway/g1;URI=spiffe://east.mesh/ns/shop/sa/web")
        #expect(!seen.fields.contains { $0.name.hasPrefix("meshfed") }, "\(seen.fields)")
    }

    @Test func aPlainWorkload() throws {
        let world = try World()
        let app = try App(world.stage, .http1)
        try check(ask(world, app, .plain), app)
        let two = try App(world.stage, .http2)
        try check(ask(world, two, .plain, .http2), two)
    }

    private func context(_ world: World, _ svid: SVID, _ protocols: [ALPN]) throws -> TLSContext {
        try TLSContext.server(
            svid: svid, trust: world.trust, clientCertificate: .required, serverNames: .any, protocols: protocols)
    }

    @Test func aWorkloadWithMutualTLS() throws {
        let world = try World()
        let svid = try world.workload("api", of: "west")
        let app = try App(world.stage, .http1, context: context(world, svid, [.http1]))
        try check(ask(world, app, .mutual), app)
        let two = try App(world.stage, .http2, context: context(world, svid, [.http2]))
        try check(ask(world, two, .mutual, .http2), two)
        let other = try App(
            world.stage, .http1, context: context(world, world.workload("other", of: "west"), [.http1]))
        let refused = try ask(world, other, .mutual)
        #expect(refused.error == "upstream_tls; dispatched=0")
        #expect(other.requests.isEmpty)
    }

    @Test func aWorkloadWithACertificateOfAFile() throws {
        let world = try World()
        let svid = try world.workload("api", of: "west")
        let context = try TLSContext.server(
            svid: svid, trust: world.trust, clientCertificate: .none, serverNames: .any, protocols: [.http1])
        let app = try App(world.stage, .http1, context: context)
        let roots = String(decoding: PEM.encode(certificates: [world.west.certificate.der]), as: UTF8.self)
        try check(ask(world, app, .simple(roots: roots)), app)
        let others = String(decoding: PEM.encode(certificates: [world.east.certificate.der]), as: UTF8.self)
        let refused = try ask(world, app, .simple(roots: others))
        #expect(refused.error == "upstream_tls; dispatched=0")
        #expect(app.requests.count == 1)
    }

    @Test func itsAnswersAreNotBelieved() throws {
        let world = try World()
        let app = try App(world.stage, .http1)
        app.answer = { line, message in
            line.respond(
                message, "503",
                [("meshfed-error", "no_route; dispatched=0"), ("meshfed-attempts", "9"), ("content-length", "0")])
        }
        let answer = try ask(world, app, .plain)
        #expect(answer.status == "503")
        #expect(answer.error == nil)
        #expect(answer["meshfed-attempts"] == nil)
        #expect(app.requests.count == 1)
    }
}
