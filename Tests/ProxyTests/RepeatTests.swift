import Glibc
import MeshModel
import MeshTestKit
import Proxy
import TLS
import Testing
import Wire

/// What is tried again at the same place, and what such a try counts for (PROTOCOLS section 4).
@Suite(.serialized) struct RepeatTests {
    /// The sidecar of `web`, and a next hop of the test that stands for the sidecar of its only endpoint.
    private final class OnlyOne {
        let world: World
        let hop: App
        let web: Node
        var stage: Stage { world.stage }

        init() throws {
            world = try World()
            let address = try Loopback.next(port: 15_006)
            let context = try TLSContext.server(
                svid: world.workload("api"), trust: world.trust, clientCertificate: .required, serverNames: .any,
                protocols: [.http2])
            hop = try App(world.stage, .http2, at: address, context: context)
            var snapshot = Snapshot("east")
            snapshot.add("api", at: [address], target: 80)
            web = try world.sidecar("web-0", at: Loopback.next(port: 0), snapshot, entries: [.explicit])
        }

        /// Every request from the `first` on costs its connection, `count` of them.
        func breakConnections(from first: Int, count: Int) {
            hop.answer = { [unowned hop] line, message in
                if hop.requests.count > first, hop.requests.count <= first + count { return line.abort() }
                line.respond(message, "200", [("content-length", "0")])
            }
        }
    }

    @Test func theOnlyEndpointIsAskedAgainWhenItsConnectionEnds() throws {
        let one = try OnlyOne()
        one.breakConnections(from: 1, count: 1)
        let app = try one.stage.connect(one.web.addresses[1], .http1)
        #expect(one.stage.ask(app, get()).status == "200")
        let repeated = one.stage.ask(app, get())
        #expect(repeated.status == "200", "\(repeated.fields)")
        #expect(one.hop.requests.count == 3 && one.hop.lines.count == 2)
    }

    @Test func itIsNotAskedForEver() throws {
        let one = try OnlyOne()
        one.breakConnections(from: 0, count: .max / 2)
        let app = try one.stage.connect(one.web.addresses[1], .http1)
        let answer = one.stage.ask(app, get())
        #expect(answer.status == "503" && answer.error == "upstream_reset; dispatched=1", "\(answer.fields)")
        #expect(one.hop.requests.count == TrafficSettings().maximumAttempts)
    }

    @Test func whatMustNotBeRepeatedIsNot() throws {
        let one = try OnlyOne()
        one.breakConnections(from: 1, count: 1)
        let app = try one.stage.connect(one.web.addresses[1], .http1)
        #expect(one.stage.ask(app, get()).status == "200")
        let answer = one.stage.ask(app, get(method: "POST"), body: [1])
        #expect(answer.status == "503" && answer.error == "upstream_reset; dispatched=1", "\(answer.fields)")
        #expect(one.hop.requests.count == 2)
    }

    @Test func aTryThatNoAppCouldHearIsNotCounted() throws {
        let direct = try Direct()
        let web = try direct.dial(as: direct.world.workload("web"))
        let authority = "api.shop.svc.cluster.local:80"
        #expect(direct.stage.ask(web, get(authority)).status == "200")
        // The app dies as the next request comes: its connections end, and nobody listens any more.
        let app = direct.app
        direct.stage.remove(app)
        shutdown(app.descriptor, Int32(SHUT_RDWR))
        app.answer = { line, _ in line.abort() }
        let answer = direct.stage.ask(web, get(authority))
        #expect(answer.status == "503" && answer.error == "connect_failed; dispatched=1", "\(answer.fields)")
        #expect(app.requests.count == 2, "the request was heard once")
        #expect(answer["meshfed-attempts"] == nil, "one attempt, which is not said")
    }
}
