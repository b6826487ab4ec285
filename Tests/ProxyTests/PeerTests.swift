import Identity
import MeshModel
import MeshTestKit
import Proxy
import Routing
import TLS
import Testing

/// What a sidecar answers to peers of the mesh, by who they are and what they say.
@Suite(.serialized) struct PeerTests {
    private let name = "80.api.shop.svc.cluster.local"
    private let authority = "api.shop.svc.cluster.local:80"

    private func ask(
        _ direct: Direct, as svid: SVID, _ serverName: String? = nil, _ authority: String? = nil,
        method: String = "GET", path: String = "/", _ more: [(String, String)] = []
    ) throws -> Message {
        direct.stage.ask(
            try direct.dial(as: svid, serverName ?? name), get(authority ?? self.authority, path, method: method, more))
    }

    @Test func namesAreAnsweredAfterTheHandshake() throws {
        let direct = try Direct()
        let web = try direct.world.workload("web")
        #expect(try ask(direct, as: web).status == "200")
        for unknown in [
            "81.api.shop.svc.cluster.local", "80.nobody.shop.svc.cluster.local", "80.api.shop.svc.clusterset.local",
        ] {
            let answer = try ask(direct, as: web, unknown)
            #expect(answer.status == "404")
            #expect(answer.error == "no_route; dispatched=0")
        }
        for other in ["other.shop.svc.cluster.local:80", "80.api.shop.svc.clusterset.local"] {
            let answer = try ask(direct, as: web, nil, other)
            #expect(answer.status == "421", "\(other)")
            #expect(answer.error == "wrong_authority; dispatched=0")
        }
        for odd in ["example.com", "api", "127.0.0.1:80", "[::1]:80"] {
            #expect(try ask(direct, as: web, nil, odd).error == "no_route; dispatched=0", "\(odd)")
        }
        #expect(direct.app.requests.count == 1)
    }

    @Test func strangersAreNotAllowed() throws {
        let direct = try Direct()
        let west = try direct.world.workload("web", of: "west")
        for svid in [
            west, try direct.world.gateway(of: "west"), try direct.world.svid("spiffe://west.mesh/meshfed/broker/b"),
            try direct.world.svid("spiffe://east.mesh/meshfed/broker/b"),
        ] {
            let answer = try ask(direct, as: svid)
            #expect(answer.status == "403", "\(svid.id)")
            #expect(answer.error == "not_allowed; dispatched=0", "\(svid.id)")
        }
        #expect(direct.app.requests.isEmpty)
    }

    @Test func onADirectLegThereIsNoAssertion() throws {
        let direct = try Direct()
        let web = try direct.world.workload("web")
        for token in [try direct.world.assertion(web, audience: name), "x", ""] {
            let answer = try ask(direct, as: web, nil, nil, [("meshfed-origin", token)])
            #expect(answer.status == "403")
            #expect(answer.error == "origin_unexpected; dispatched=0")
        }
        #expect(direct.app.requests.isEmpty)
    }

    @Test func theOwnGatewayMustBringAnAssertion() throws {
        let direct = try Direct { service in
            service.authorization.rules = [
                AuthorizationRule(
                    name: "x", action: .allow,
                    callers: [.trustDomain(domain("west.mesh")), .trustDomain(domain("east.mesh"))])
            ]
        }
        let gateway = try direct.world.gateway(of: "east")
        let caller = try direct.world.workload("web", of: "west")
        let hops = [("meshfed-hops", "west/g1,east/g1")]
        func refused(_ more: [(String, String)]) throws -> String? {
            let answer = try ask(direct, as: gateway, nil, nil, hops + more)
            #expect(answer.status == "403")
            return answer.error
        }
        #expect(try refused([]) == "origin_missing; dispatched=0")
        #expect(try refused([("meshfed-origin", "nonsense")]) == "origin_invalid; dispatched=0")
        let other = try direct.world.assertion(caller, audience: "81.api.shop.svc.cluster.local")
        #expect(try refused([("meshfed-origin", other)]) == "origin_invalid; dispatched=0")
        // A caller of the own domain comes by itself, never through the own gateway.
        let own = try direct.world.assertion(direct.world.workload("web"), audience: name)
        #expect(try refused([("meshfed-origin", own)]) == "origin_invalid; dispatched=0")
        let good = try direct.world.assertion(caller, audience: name)
        #expect(
            try refused([("meshfed-origin", good), ("meshfed-origin", good)]) == "origin_invalid; dispatched=0")
        var spoiled = Array(good.utf8)
        spoiled[spoiled.count / 2] = spoiled[spoiled.count / 2] == 0x41 ? 0x42 : 0x41
        #expect(
            try refused([("meshfed-origin", String(decoding: spoiled, as: UTF8.self))])
                == "origin_invalid; dispatched=0")
        #expect(direct.app.requests.isEmpty)

        let answer = try ask(
            direct, as: gateway, nil, nil,
            hops + [("meshfed-origin", good), ("meshfed-authority", "shop.example:8080")])
        #expect(answer.status == "200", "\(answer.fields)")
        let seen = try #require(direct.app.requests.last)
        #expect(
            seen["x-forwarded-client-cert"]
                == "By=spiffe://east.mesh/ns/shop/sa/api;URI=spiffe://west.mesh/ns/shop/sa/web")
        #expect(seen[":authority"] == "shop.example:8080")
        #expect(!seen.fields.contains { $0.name.hasPrefix("meshfed") })
        // What is no host is not restored.
        _ = try ask(
            direct, as: gateway, nil, nil, hops + [("meshfed-origin", good), ("meshfed-authority", "a b/../c")])
        #expect(direct.app.requests.last?[":authority"] == "api.shop.svc.cluster.local")
    }

    @Test func aGatewayMayVouchForItsCaller() throws {
        let direct = try Direct { service in
            service.authorization.rules = [
                AuthorizationRule(
                    name: "x", action: .allow, callers: [.identity(spiffe("spiffe://west.mesh/ns/a/sa/b"))])
            ]
        }
        let gateway = try direct.world.gateway(of: "east")
        let token = try direct.world.attested(gateway, caller: spiffe("spiffe://west.mesh/ns/a/sa/b"), audience: name)
        let answer = try ask(direct, as: gateway, nil, nil, [("meshfed-hops", "east/g1"), ("meshfed-origin", token)])
        #expect(answer.status == "200", "\(answer.fields)")
        // Nobody else may: a workload's SVID signs for itself only.
        let forged = try direct.world.attested(
            direct.world.workload("web", of: "west"), caller: spiffe("spiffe://west.mesh/ns/a/sa/b"), audience: name)
        #expect(
            try ask(direct, as: gateway, nil, nil, [("meshfed-hops", "east/g1"), ("meshfed-origin", forged)]).error
                == "origin_invalid; dispatched=0")
    }

    @Test func wordsOutsideTheirGrammarAreRefused() throws {
        let direct = try Direct()
        let web = try direct.world.workload("web")
        for (name, value) in [
            ("meshfed-deadline", ""), ("meshfed-deadline", "-1"), ("meshfed-deadline", "1s"),
            ("meshfed-deadline", "12345678901"), ("meshfed-attempts", "0"), ("meshfed-attempts", "+1"),
            ("meshfed-attempts", "1000"),
        ] {
            let answer = try ask(direct, as: web, nil, nil, [(name, value)])
            #expect(answer.status == "400", "\(name): \(value)")
            #expect(answer.error == "request_invalid; dispatched=0")
        }
        let twice = try ask(direct, as: web, nil, nil, [("meshfed-deadline", "5000"), ("meshfed-deadline", "9000")])
        #expect(twice.status == "400")
        let gateway = try ask(direct, as: direct.world.gateway(of: "east"), nil, nil, [("meshfed-hops", "a/1,b/1,c/1")])
        #expect(gateway.status == "400")
        #expect(direct.app.requests.isEmpty)
    }

    @Test func aPeersDeadlineTightens() throws {
        let direct = try Direct()
        direct.app.answer = { _, _ in }
        let answer = try ask(direct, as: direct.world.workload("web"), nil, nil, [("meshfed-deadline", "200")])
        #expect(answer.status == "504")
        #expect(answer.error == "deadline; dispatched=1")
        let gone = try ask(direct, as: direct.world.workload("web"), nil, nil, [("meshfed-deadline", "0")])
        #expect(gone.status == "504")
        #expect(gone.error == "deadline; dispatched=0")
        #expect(direct.app.requests.count == 1)
    }

    @Test func aHealthProbeTriesTheAppsPort() throws {
        let direct = try Direct()
        let web = try direct.world.workload("web")
        let good = try ask(
            direct, as: web, nil, nil, method: "OPTIONS", path: "*", [("meshfed-probe", "health")])
        #expect(good.status == "200")
        #expect(good["meshfed-probe"] == "ok")
        #expect(direct.app.requests.isEmpty)
        let dead = try Direct { $0.endpoints[0].targetPorts = [80: 1] }
        let bad = try ask(
            dead, as: dead.world.workload("web"), nil, nil, method: "OPTIONS", path: "*", [("meshfed-probe", "health")])
        #expect(bad.status == "503")
        #expect(bad.error == "connect_failed; dispatched=0")
        let stranger = try ask(
            direct, as: direct.world.workload("web", of: "west"), nil, nil, method: "OPTIONS", path: "*",
            [("meshfed-probe", "health")])
        #expect(stranger.status == "403")
    }

    @Test func aPeerThatIsNoLongerTrustedIsCutOff() throws {
        let direct = try Direct()
        let web = try direct.world.workload("web")
        let line = try direct.dial(as: web)
        #expect(direct.stage.ask(line, get(authority)).status == "200")
        let trust = try TrustStore([direct.world.east.bundle(revoked: [web.leaf.serial])], generation: 2)
        try direct.api.configure(
            ProxyConfiguration(
                snapshot: direct.snapshot,
                ownRole: .sidecar(workload: object("api-0"), locality: .unknown), trust: trust,
                svid: direct.world.workload("api"), generation: 2, limits: nil))
        #expect(direct.stage.run { line.failure != nil || line.ended })
        // Contexts are made for each configuration: the new one refuses it in the handshake.
        let again = try direct.dial(as: web)
        #expect(direct.stage.run { again.failure != nil || again.ended })
        #expect(direct.stage.ask(again, get(authority)).status == "")
    }
}
