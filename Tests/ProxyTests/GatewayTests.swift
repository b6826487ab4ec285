import Identity
import MeshModel
import MeshTestKit
import Proxy
import Reactor
import TLS
import Testing

/// Two clusters: the sidecar of `web` and a gateway in east, a gateway and the sidecar of `api` in west.
private final class Federation {
    let world: World
    let app: App
    let eastGateway: Node
    let westGateway: Node
    let api: Node
    let web: Node
    private(set) var east = Snapshot("east")
    private(set) var west = Snapshot("west")
    let name: String
    var stage: Stage { world.stage }

    /// - Parameters:
    ///   - local: endpoints of `api` in east, at which nobody listens.
    ///   - owner: what the test wants different in the owner's service.
    init(
        _ appProtocol: AppProtocol = .http, app version: Line.Version = .http1, local: Int = 0,
        export: ExportScope = .all, acceptsAttested: Bool = false, entries: [Entry] = [.explicit],
        owner: (inout Service) -> Void = { _ in }
    ) throws {
        world = try World()
        app = try App(world.stage, version)
        name = "80.api.shop.svc.clusterset.local"
        let eastAddress = try Loopback.next(port: 15_443)
        let westAddress = try Loopback.next(port: 15_443)
        let apiAddress = try Loopback.next(port: 0)
        let allow = Authorization(rules: [
            AuthorizationRule(name: "shop/api#0", action: .allow, callers: [.trustDomain(domain("east.mesh"))])
        ])
        let target = app.address.port
        east.addGateway(eastAddress)
        east.addMember("west", gateway: westAddress)
        east.add(
            "api", appProtocol, at: try (0..<local).map { _ in try Loopback.next(port: 0) }, target: target,
            remotes: ["west"]
        ) {
            $0.remotes[0].authorization = allow
        }
        west.addGateway(westAddress)
        west.addMember("east", gateway: eastAddress)
        west.add("api", appProtocol, at: [apiAddress], target: target) {
            $0.export = export
            $0.authorization = allow
            owner(&$0)
        }
        if acceptsAttested { west.settings.acceptAttested = [domain("east.mesh")] }
        eastGateway = try world.gateway(of: "east", east, at: eastAddress)
        westGateway = try world.gateway(of: "west", west, at: westAddress)
        api = try world.sidecar("api-0", of: "west", at: apiAddress, west, app: app.address)
        web = try world.sidecar("web-0", at: Loopback.next(port: 0), east, entries: entries)
    }

    func client(_ version: Line.Version = .http1) throws -> Line { try stage.connect(web.addresses[1], version) }

    func dial(
        _ gateway: Node, as svid: SVID, _ serverName: String? = nil, _ version: Line.Version = .http2
    ) throws -> Line { try world.dial(gateway.addresses[0], as: svid, serverName ?? name, version) }
}

@Suite(.serialized) struct GatewayTests {
    private let host = "api.shop.svc.clusterset.local"
    private let authority = "api.shop.svc.clusterset.local:80"

    @Test(arguments: [Line.Version.http1, .http2])
    func aCallCrossesTwoGatewaysAndKeepsItsCaller(version: Line.Version) throws {
        let mesh = try Federation()
        let client = try mesh.client(version)
        let body = [UInt8](repeating: 5, count: 1 << 20)
        for size in [0, 10, body.count] {
            let answer = mesh.stage.ask(
                client, get(host, "/x", method: "POST", [("content-length", "\(size)")]), body: Array(body.prefix(size))
            )
            #expect(answer.status == "200", "\(answer.fields)")
            #expect(answer.body.count == size)
        }
        let seen = try #require(mesh.app.requests.last)
        #expect(seen[":authority"] == host)
        #expect(
            seen["x-forwarded-client-cert"]
                == "By=spiffe://west.mesh/ns/shop/sa/api;URI=spiffe://east.mesh/ns/shop/sa/web")
        #expect(!seen.fields.contains { $0.name.hasPrefix("meshfed") }, "\(seen.fields)")
    }

    @Test func theOwnersWordIsFinal() throws {
        let mesh = try Federation { service in
            service.authorization.rules.append(
                AuthorizationRule(
                    name: "x", action: .deny, callers: [.identity(spiffe("spiffe://east.mesh/ns/shop/sa/web"))]))
        }
        let answer = mesh.stage.ask(try mesh.client(), get(host))
        #expect(answer.status == "403")
        #expect(answer.error == "not_allowed; dispatched=0")
        #expect(mesh.app.requests.isEmpty)
        // Without any rule nobody of another trust domain may.
        let silent = try Federation { $0.authorization.rules = [] }
        #expect(silent.stage.ask(try silent.client(), get(host)).error == "not_allowed; dispatched=0")
    }

    @Test func whatIsNotExportedIsAsUnknown() throws {
        for export in [ExportScope.clusters([clusterID("north")]), .none] {
            let mesh = try Federation(export: export)
            let answer = mesh.stage.ask(try mesh.client(), get(host))
            #expect(answer.status == "404")
            #expect(answer.error == "no_route; dispatched=0")
        }
        let mesh = try Federation()
        let line = try mesh.dial(
            mesh.westGateway, as: mesh.world.gateway(of: "east"), "80.nobody.shop.svc.clusterset.local")
        #expect(
            mesh.stage.ask(line, get("nobody.shop.svc.clusterset.local:80")).error == "no_route; dispatched=0")
        let local = try mesh.dial(
            mesh.westGateway, as: mesh.world.gateway(of: "east"), "80.api.shop.svc.cluster.local")
        #expect(
            mesh.stage.ask(local, get("api.shop.svc.cluster.local:80")).error == "no_route; dispatched=0")
    }

    @Test func overTheLimitIs429() throws {
        let mesh = try Federation { service in
            service.limits = [
                LimitRule(
                    name: "shop/slow#0", requests: 2, per: .seconds(3_600), burst: 2, subject: .service, mode: .enforce)
            ]
        }
        let client = try mesh.client(.http2)
        #expect(mesh.stage.ask(client, get(host)).status == "200")
        #expect(mesh.stage.ask(client, get(host)).status == "200")
        let answer = mesh.stage.ask(client, get(host))
        #expect(answer.status == "429", "\(answer.fields)")
        #expect(answer.error == "rate_limited; dispatched=0")
        for field in ["ratelimit", "ratelimit-policy", "retry-after"] {
            #expect(answer[field]?.isEmpty == false, "\(field): \(answer.fields)")
        }
        #expect((Int(answer["retry-after"] ?? "") ?? 0) > 0)
        let grpc = mesh.stage.ask(
            client, get(host, "/a.B/C", method: "POST", [("content-type", "application/grpc")]), body: [0])
        #expect(grpc.status == "200" && grpc["grpc-status"] == "8" && grpc.isHeadOnly)
        #expect(mesh.app.requests.count == 2)
    }

    @Test func shadowLimitsOnlyCount() throws {
        let mesh = try Federation { service in
            service.limits = [
                LimitRule(
                    name: "shop/slow#0", requests: 1, per: .seconds(3_600), burst: 1, subject: .caller, mode: .shadow)
            ]
        }
        let client = try mesh.client()
        for _ in 0..<3 { #expect(mesh.stage.ask(client, get(host)).status == "200") }
    }

    @Test func aLoopIs508() throws {
        let mesh = try Federation()
        let east = try mesh.world.gateway(of: "east")
        let token = try mesh.world.assertion(mesh.world.workload("web"), audience: mesh.name)
        let line = try mesh.dial(mesh.westGateway, as: east)
        for hops in ["west/g1", "west/g2,east/g1", "east/g1,north/g1", "east/g1,north/g1,south/g1"] {
            let answer = mesh.stage.ask(
                line, get(authority, "/", method: "GET", [("meshfed-hops", hops), ("meshfed-origin", token)]))
            #expect(answer.status == "508", "\(hops): \(answer.fields)")
            #expect(answer.error == "loop; dispatched=0")
        }
        for hops in ["east", "/", "east/g1,", ",east/g1", "EAST/g1", "east/g1 ,x/y"] {
            let answer = mesh.stage.ask(
                line, get(authority, "/", method: "GET", [("meshfed-hops", hops), ("meshfed-origin", token)]))
            #expect(answer.status == "400", "\(hops): \(answer.fields)")
        }
        #expect(mesh.app.requests.isEmpty)
        let good = mesh.stage.ask(
            line, get(authority, "/", method: "GET", [("meshfed-hops", "east/g1"), ("meshfed-origin", token)]))
        #expect(good.status == "200", "\(good.fields)")
    }

    @Test func whoMayBringAnAssertionToAnIngress() throws {
        let mesh = try Federation(acceptsAttested: true)
        let east = try mesh.world.gateway(of: "east")
        let web = try mesh.world.workload("web")
        let good = try mesh.world.assertion(web, audience: mesh.name)
        func ask(_ svid: SVID, _ token: String?) throws -> Message {
            mesh.stage.ask(
                try mesh.dial(mesh.westGateway, as: svid),
                get(authority, "/", method: "GET", token.map { [("meshfed-origin", $0)] } ?? []))
        }
        #expect(try ask(east, good).status == "200")
        #expect(try ask(east, nil).error == "origin_missing; dispatched=0")
        #expect(try ask(east, "nonsense").error == "origin_invalid; dispatched=0")
        // The callers of a third domain, and the ingress's own, cannot come through this gateway.
        let own = try mesh.world.assertion(mesh.world.workload("api", of: "west"), audience: mesh.name)
        #expect(try ask(east, own).error == "origin_invalid; dispatched=0")
        let elsewhere = try mesh.world.assertion(web, audience: "80.other.shop.svc.clusterset.local")
        #expect(try ask(east, elsewhere).error == "origin_invalid; dispatched=0")
        // A workload of another domain calls for itself.
        #expect(try ask(web, good).error == "origin_unexpected; dispatched=0")
        // The own gateway has no business there.
        #expect(try ask(mesh.world.gateway(of: "west"), good).error == "no_route; dispatched=0")
        let attested = try mesh.world.attested(east, caller: web.id, audience: mesh.name)
        #expect(try ask(east, attested).status == "200")
        let lie = try mesh.world.attested(
            east, caller: spiffe("spiffe://west.mesh/ns/shop/sa/api"), audience: mesh.name)
        #expect(try ask(east, lie).error == "origin_invalid; dispatched=0")
    }

    @Test func anAttestedCallerNeedsTheOwnersLeave() throws {
        // A workload without a sidecar: its gateway vouches.
        let web: (Federation) throws -> Message = { mesh in
            mesh.stage.ask(
                try mesh.dial(mesh.eastGateway, as: mesh.world.workload("web"), nil, .http1), get(self.host))
        }
        let closed = try Federation()
        let refused = try web(closed)
        #expect(refused.status == "403")
        #expect(refused.error == "origin_invalid; dispatched=0")
        #expect(closed.app.requests.isEmpty)
        let open = try Federation(acceptsAttested: true)
        let answer = try web(open)
        #expect(answer.status == "200", "\(answer.fields)")
        #expect(
            open.app.requests.last?["x-forwarded-client-cert"]?.hasSuffix(";URI=spiffe://east.mesh/ns/shop/sa/web")
                == true)
        #expect(open.app.requests.last?[":authority"] == host)
    }

    @Test func aForeignPeersWordsAreNotBelieved() throws {
        let mesh = try Federation(acceptsAttested: true)
        let line = try mesh.dial(mesh.eastGateway, as: mesh.world.workload("web"), nil, .http1)
        let answer = mesh.stage.ask(
            line,
            get(
                "80.api.shop.svc.clusterset.local", "/", method: "GET",
                [
                    ("meshfed-hops", "east/g1,west/g1"), ("meshfed-deadline", "0"), ("meshfed-attempts", "99"),
                    ("meshfed-authority", "evil.example"), ("x-forwarded-client-cert", "URI=spiffe://evil/x"),
                ]))
        #expect(answer.status == "200", "\(answer.fields)")
        let seen = try #require(mesh.app.requests.last)
        #expect(seen[":authority"] == host, "the port's label is dropped")
        #expect(seen.all("x-forwarded-client-cert").count == 1)
        #expect(seen["x-forwarded-client-cert"]?.contains("evil") == false)
    }

    @Test func anAssertionOfAnotherCallerIsRefusedAtTheEgress() throws {
        let mesh = try Federation()
        let token = try mesh.world.assertion(mesh.world.workload("web"), audience: mesh.name)
        let line = try mesh.dial(mesh.eastGateway, as: mesh.world.workload("other"))
        let answer = mesh.stage.ask(line, get(authority, "/", method: "GET", [("meshfed-origin", token)]))
        #expect(answer.error == "origin_invalid; dispatched=0")
        let own = try mesh.dial(mesh.eastGateway, as: mesh.world.workload("web"))
        #expect(
            mesh.stage.ask(own, get(authority, "/", method: "GET", [("meshfed-origin", token)])).status == "200")
        let twisted = mesh.stage.ask(
            own, get("other.shop.svc.clusterset.local:80", "/", method: "GET", [("meshfed-origin", token)]))
        #expect(twisted.status == "421")
        #expect(twisted.error == "wrong_authority; dispatched=0")
    }

    @Test func membersGetTheProbeAnswered() throws {
        let mesh = try Federation()
        let name = "probe.meshfed-system.svc.west.clusterset.local"
        for svid in [
            try mesh.world.gateway(of: "east"), try mesh.world.svid("spiffe://east.mesh/meshfed/broker/b1"),
            try mesh.world.workload("web"),
        ] {
            let line = try mesh.dial(mesh.westGateway, as: svid, "80." + name)
            let answer = mesh.stage.ask(line, get(name + ":80", "*", method: "OPTIONS", []))
            #expect(answer.status == "200", "\(svid.id): \(answer.fields)")
            #expect(answer["meshfed-probe"] == "ok")
        }
        let health = mesh.stage.ask(
            try mesh.dial(mesh.westGateway, as: mesh.world.gateway(of: "east"), "80." + name),
            get("80." + name, "*", method: "OPTIONS", [("meshfed-probe", "health")]))
        #expect(health.status == "200")
        #expect(mesh.app.requests.isEmpty)
    }

    @Test func aBrokersQuestionTriesEveryDecision() throws {
        let mesh = try Federation(acceptsAttested: true)
        let broker = try mesh.world.svid("spiffe://east.mesh/meshfed/broker/b1")
        func ask(_ caller: String) throws -> Message {
            mesh.stage.ask(
                try mesh.dial(mesh.eastGateway, as: broker),
                get(authority, "*", method: "OPTIONS", [("meshfed-probe", caller)]))
        }
        let good = try ask("spiffe://east.mesh/ns/shop/sa/web")
        #expect(good.status == "200", "\(good.fields)")
        #expect(good["meshfed-probe"] == nil || good["meshfed-probe"] == "ok")
        #expect(try ask("spiffe://west.mesh/ns/shop/sa/web").status == "400", "not of the broker's domain")
        #expect(mesh.app.requests.isEmpty, "it never reaches the app")
        // Nobody else may ask on another's behalf.
        let workload = mesh.stage.ask(
            try mesh.dial(mesh.eastGateway, as: mesh.world.workload("web")),
            get(authority, "/", method: "OPTIONS", [("meshfed-probe", "spiffe://east.mesh/ns/shop/sa/admin")]))
        #expect(workload.status == "200" && mesh.app.requests.count == 1, "a call of its own like any other")
        #expect(mesh.app.requests.first?["x-forwarded-client-cert"]?.hasSuffix("/sa/web") == true)
    }

    @Test func aDeadLocalServiceFailsOverToTheOtherCluster() throws {
        let mesh = try Federation(local: 2)
        let client = try mesh.client()
        for number in 0..<10 {
            let answer = mesh.stage.ask(client, get(host, "/\(number)", method: "POST"), body: [1])
            #expect(answer.status == "200", "\(answer.fields)")
        }
        #expect(mesh.app.requests.count == 10)
        // The local name is the local one only.
        let local = mesh.stage.ask(client, get("api.shop"))
        #expect(local.status == "503", "\(local.fields)")
    }

    @Test func aDeadGatewayIsSaid() throws {
        let mesh = try Federation()
        mesh.westGateway.mailbox.post(.drain)
        #expect(mesh.stage.run { mesh.westGateway.hasEnded })
        let answer = mesh.stage.ask(try mesh.client(), get(host))
        #expect(answer.status == "503", "\(answer.fields)")
        #expect(answer.error?.hasSuffix("dispatched=0") == true)
    }

    @Test func aStreamCrossesTwoGateways() throws {
        let mesh = try Federation(.tcp, app: .raw, entries: [.outboundTCP(host: Array((host + ":80").utf8))])
        mesh.app.onAccept = { $0.send(Array("220 hello\r\n".utf8), mesh.stage) }
        let line = try mesh.client(.raw)
        #expect(mesh.stage.run { line.text == "220 hello\r\n" || !line.isOpen })
        let bytes = [UInt8](repeating: 4, count: 2 << 20)
        line.send(bytes, mesh.stage)
        line.endOutput(mesh.stage)
        #expect(mesh.stage.run { mesh.app.lines.first?.ended == true })
        let far = try #require(mesh.app.lines.first)
        #expect(far.received == bytes)
        far.send(Array("bye".utf8), mesh.stage)
        far.endOutput(mesh.stage)
        #expect(mesh.stage.run { line.ended })
        #expect(line.text == "220 hello\r\nbye")
        #expect(line.failure == nil && far.failure == nil)
    }

    @Test func aStreamOfAForeignPeerNeedsNoHeader() throws {
        let mesh = try Federation(.tcp, app: .raw, acceptsAttested: true)
        let line = try mesh.world.dial(
            mesh.eastGateway.addresses[0], as: mesh.world.workload("web"), mesh.name, .raw, namesProtocol: false)
        #expect(mesh.stage.run { line.isEstablished || !line.isOpen })
        line.send(Array("hi".utf8), mesh.stage)
        #expect(mesh.stage.run { mesh.app.lines.first?.text == "hi" || !line.isOpen || line.ended })
        mesh.app.lines.first?.send(Array("there".utf8), mesh.stage)
        #expect(mesh.stage.run { line.text == "there" || !line.isOpen })
        line.endOutput(mesh.stage)
        #expect(mesh.stage.run { mesh.app.lines.first?.ended == true })
    }

    @Test func aResetCrossesTwoGateways() throws {
        let mesh = try Federation(.tcp, app: .raw, entries: [.outboundTCP(host: Array((host + ":80").utf8))])
        let line = try mesh.client(.raw)
        #expect(mesh.stage.run { line.isEstablished })
        line.send([1], mesh.stage)
        #expect(mesh.stage.run { mesh.app.lines.first?.received == [1] })
        mesh.app.lines.first?.abort()
        #expect(mesh.stage.run { line.failure != nil || line.ended })
        guard case .socket(let error) = line.failure else {
            Issue.record("\(String(describing: line.failure)) ended \(line.ended)")
            return
        }
        #expect(error.isRefused)
    }

    @Test func evictionCutsOpenConnections() throws {
        let mesh = try Federation()
        let east = try mesh.world.gateway(of: "east")
        let line = try mesh.dial(mesh.westGateway, as: east)
        let token = try mesh.world.assertion(mesh.world.workload("web"), audience: mesh.name)
        let head = get(authority, "/", method: "GET", [("meshfed-origin", token)])
        #expect(mesh.stage.ask(line, head).status == "200")
        var west = mesh.west
        west.members = []
        let trust = try TrustStore([mesh.world.west.bundle()], generation: 2)
        try mesh.westGateway.configure(
            mesh.world.gatewayConfiguration(of: "west", west, trust: trust, generation: 2))
        #expect(mesh.stage.run { line.failure != nil || line.ended })
        let again = try mesh.dial(mesh.westGateway, as: east)
        #expect(mesh.stage.run { again.failure != nil || again.ended })
    }
}
