import Glibc
import MeshModel
import Proxy
import Testing

@Suite(.serialized) struct DirectRoutingTests {
    @Test(arguments: [Line.Version.http1, .http2])
    func aRequestReachesTheAppByHost(version: Line.Version) throws {
        let direct = try Direct()
        let client = try direct.client(version)
        for host in ["api", "api.shop", "api.shop.svc", "api.shop.svc.cluster.local", "api.shop:80", "API.Shop"] {
            let answer = direct.stage.ask(
                client, get(host, "/a/b?c=%20d", [("x-custom", "kept"), ("content-length", "2")]), body: [0x68, 0x69])
            #expect(answer.status == "200", "\(host): \(answer.fields)")
            #expect(answer.text == "hi")
            let seen = try #require(direct.app.requests.last)
            #expect(seen[":authority"] == host, "what the app wrote is restored")
            #expect(seen[":path"] == "/a/b?c=%20d")
            #expect(seen["x-custom"] == "kept")
            #expect(
                seen["x-forwarded-client-cert"]
                    == "By=spiffe://east.mesh/ns/shop/sa/api;URI=spiffe://east.mesh/ns/shop/sa/web")
            #expect(seen["traceparent"] != nil)
            #expect(!seen.fields.contains { $0.name.hasPrefix("meshfed") }, "\(seen.fields)")
        }
        #expect(direct.app.requests.count == 6)
    }

    @Test func whatIsNotRoutableIsNoRoute() throws {
        let direct = try Direct()
        let client = try direct.client()
        for host in [
            "nobody.shop", "api.other", "api.shop:81", "example.com", "127.0.0.1", "api.shop.svc.clusterset.local",
        ] {
            let answer = direct.stage.ask(client, get(host))
            #expect(answer.status == "404", "\(host)")
            #expect(answer.error == "no_route; dispatched=0")
            #expect(answer.text == "meshfed: no_route\n")
        }
        #expect(direct.app.requests.isEmpty)
    }

    @Test func anAmbiguousPortIsTheCallersFault() throws {
        let direct = try Direct { service in
            service.ports = [
                ServicePort(name: "a", port: 81, appProtocol: .http),
                ServicePort(name: "b", port: 82, appProtocol: .http),
            ]
        }
        let answer = direct.stage.ask(try direct.client(), get())
        #expect(answer.status == "400")
        #expect(answer.error == "request_invalid; dispatched=0")
    }

    @Test func authorisationIsTheDestinationsWord() throws {
        let direct = try Direct { service in
            service.authorization.rules = [
                AuthorizationRule(
                    name: "shop/only#0", action: .allow,
                    callers: [.identity(spiffe("spiffe://east.mesh/ns/shop/sa/other"))])
            ]
        }
        let answer = direct.stage.ask(try direct.client(), get())
        #expect(answer.status == "403")
        #expect(answer.error == "not_allowed; dispatched=0")
        #expect(direct.app.requests.isEmpty)
        let other = try direct.dial(as: direct.world.workload("other"))
        let good = direct.stage.ask(other, get("api.shop.svc.cluster.local:80"))
        #expect(good.status == "200", "\(good.fields)")
    }

    @Test func aRefusedConnectIsRepeatedElsewhere() throws {
        let direct = try Direct(dead: 3)
        let client = try direct.client()
        for number in 0..<20 {
            let answer = direct.stage.ask(client, get("api.shop", "/\(number)", method: "POST"), body: Array("x".utf8))
            #expect(answer.status == "200", "\(answer.fields)")
        }
        #expect(direct.app.requests.count == 20)
        #expect(try direct.web.report().unhealthy.count <= 3)
    }

    @Test func withNobodyAliveItSaysWhy() throws {
        let world = try World()
        var snapshot = Snapshot("east")
        snapshot.add("api", at: try [Loopback.next(port: 0), Loopback.next(port: 0)])
        let web = try world.sidecar("web-0", at: Loopback.next(port: 0), snapshot, entries: [.explicit])
        let client = try world.stage.connect(web.addresses[1], .http1)
        let answer = world.stage.ask(client, get())
        #expect(answer.status == "503")
        #expect(answer.error == "connect_failed; dispatched=0")
        let again = world.stage.ask(client, get())
        #expect(again.status == "503")
        #expect(again.error == "no_endpoint; dispatched=0")
        #expect(again["retry-after"] != nil)
        #expect(try web.report().unhealthy.count == 2)
    }

    @Test func anotherIdentityThanTheSnapshotsGetsNothing() throws {
        let direct = try Direct { service in
            service.endpoints[0].identity = spiffe("spiffe://east.mesh/ns/shop/sa/somebody")
        }
        let answer = direct.stage.ask(try direct.client(), get())
        #expect(answer.status == "503")
        #expect(answer.error == "upstream_tls; dispatched=0")
        #expect(direct.app.requests.isEmpty)
    }

    @Test func aDeadAppIsTheSidecarsToReport() throws {
        let direct = try Direct { $0.endpoints[0].targetPorts = [80: 1] }
        let answer = direct.stage.ask(try direct.client(), get())
        #expect(answer.status == "503")
        #expect(answer.error == "connect_failed; dispatched=0")
    }

    @Test func aNewSnapshotCountsForTheNextRequest() throws {
        let direct = try Direct()
        let client = try direct.client()
        #expect(direct.stage.ask(client, get()).status == "200")
        var snapshot = direct.snapshot
        snapshot.services[0].authorization.rules = [
            AuthorizationRule(name: "shop/none#0", action: .deny, callers: [.any])
        ]
        try direct.api.configure(direct.world.configuration("api-0", snapshot, generation: 2))
        #expect(direct.stage.ask(client, get()).error == "not_allowed; dispatched=0")
        snapshot.services = []
        try direct.web.configure(direct.world.configuration("web-0", snapshot, generation: 2))
        #expect(direct.stage.ask(client, get()).error == "no_route; dispatched=0")
    }
}
