import Identity
import Link
import MeshModel
import MeshTestKit
import Proxy
import Reactor
import TLS
import Testing
import Wire

/// Callers that share a connection between our proxies: what one of them does there costs the others nothing.
@Suite(.serialized) struct FairnessTests {
    /// West's gateway before an app of its own; east's gateway brings the calls of many.
    private final class Shared {
        let world: World
        let app: App
        let gateway: Node
        private let address: SocketAddress
        private let name = "80.api.shop.svc.clusterset.local"
        private var tokens: [String: String] = [:]

        init(_ version: Line.Version, change: (inout WorkerSettings) -> Void = { _ in }) throws {
            world = try World()
            app = try App(world.stage, version)
            address = try Loopback.next(port: 15_443)
            let app = app
            var west = Snapshot("west")
            west.addGateway(address)
            west.addMember("east", gateway: try Loopback.next(port: 15_443))
            west.add("api", version == .http2 ? .http2 : .http, at: [app.address], target: app.address.port) {
                $0.export = .all
                $0.authorization.rules = [
                    AuthorizationRule(name: "x", action: .allow, callers: [.trustDomain(domain("east.mesh"))])
                ]
                $0.endpoints[0].security = .plain
            }
            gateway = try world.gateway(of: "west", west, at: address, change: change)
            for caller in ["greedy", "late"] {
                tokens[caller] = try world.assertion(world.workload(caller), audience: name)
            }
        }

        var stage: Stage { world.stage }

        /// A connection of east's gateway.
        func dial() throws -> Line {
            let line = try world.dial(address, as: world.gateway(of: "east"), name)
            #expect(stage.run { line.link?.session?.canOpenStream == true })
            return line
        }

        func head(_ caller: String, _ path: String = "/") -> [(String, String)] {
            get(
                "api.shop.svc.clusterset.local:80", path,
                [("meshfed-origin", tokens[caller] ?? ""), ("meshfed-hops", "east/g1")])
        }
    }

    @Test func aBurstOfOneIsNotInFrontOfAnothersRequestOnTheirConnection() throws {
        let shared = try Shared(.http2)
        let line = try shared.dial()
        for caller in ["greedy", "late"] {
            #expect(shared.stage.ask(line, shared.head(caller)).status == "200")
        }
        let many = (0..<1_000).map { line.open(shared.head("greedy", "/many/\($0)")) }
        let one = line.open(shared.head("late", "/one"))
        #expect(shared.stage.run { one.isOver && many.allSatisfy(\.isOver) })
        let bad = many.filter { $0.status != "200" }.map { "\($0.stream) \($0.status) \($0.error ?? "-")" }
        #expect(one.status == "200" && bad.isEmpty, "what waits for a turn is served: \(bad.prefix(3))")
        let paths = shared.app.requests.map { $0[":path"] ?? "" }
        let place = try #require(paths.firstIndex(of: "/one"))
        #expect(place < 700, "it came behind a thousand of another caller, and passed most of them")
        let own = paths.filter { $0.hasPrefix("/many/") }
        #expect(own == (0..<1_000).map { "/many/\($0)" }, "a caller's own keep their order")
    }

    @Test func whatWaitsForATurnMayBeCancelled() throws {
        let shared = try Shared(.http2)
        let line = try shared.dial()
        #expect(shared.stage.ask(line, shared.head("greedy")).status == "200")
        for round in 0..<3 {
            let many = (0..<600).map { line.open(shared.head("greedy", "/\(round)/\($0)")) }
            shared.stage.turn(milliseconds: 0)
            for message in many { line.reset(message, code: 8) }
            #expect(shared.stage.ask(line, shared.head("late")).status == "200")
        }
        #expect(shared.stage.run { (try? shared.gateway.report().exchanges) == 0 })
    }

    /// Without its share the greedy one's stopped readers keep the whole connection to the app from getting any more.
    @Test func stoppedReadersOfOneDoNotHoldUpAnotherOnTheirConnection() throws {
        let shared = try Shared(.http2) {
            $0.shared.heldBytes = 4 << 20
            $0.shared.connectionWindow = 1 << 20
            $0.shared.windowGrowth = 0
        }
        var held: [(line: Line, message: Message)] = []
        shared.app.answer = { held.append(($0, $1)) }
        let stopped = try shared.dial()
        let reading = try shared.dial()
        stopped.isConsuming = false
        let one = reading.open(shared.head("late", "/one"))
        #expect(shared.stage.run { held.count == 1 })
        let many = (0..<44).map { stopped.open(shared.head("greedy", "/\($0)")) }
        #expect(shared.stage.run { held.count == 45 })
        #expect(shared.app.lines.count == 1, "all on one connection")
        let body = [UInt8](repeating: 7, count: 1 << 20)
        for (line, message) in held where message[":path"] != "/one" {
            line.respond(message, "200", [("content-length", "\(body.count)")], body: body)
        }
        #expect(shared.stage.run { many.contains { $0.closed != nil } })
        let (line, message) = try #require(held.first { $0.message[":path"] == "/one" })
        line.respond(message, "200", [("content-length", "\(body.count)")], body: body)
        #expect(shared.stage.run { one.isEnded })
        #expect(one.status == "200" && one.body.count == body.count)
        #expect(many.contains { $0.closed == nil }, "only what is above the share is given up")
        let report = try shared.gateway.report()
        #expect(report.exchanges > 0 && report.exchanges < 44)
    }

    @Test func slowCallsOfOneLeaveConnectionsToTheAppForAnother() throws {
        let shared = try Shared(.http1) { $0.maximumUpstreams = 16 }
        var held: [(Line, Message)] = []
        shared.app.answer = { held.append(($0, $1)) }
        let line = try shared.dial()
        let many = (0..<12).map { line.open(shared.head("greedy", "/\($0)")) }
        #expect(shared.stage.run { many.count { $0.isOver } == 4 && held.count == 8 })
        for refused in many where refused.isOver {
            #expect(refused.status == "503" && refused.error == "overload; dispatched=0")
        }
        let one = line.open(shared.head("late", "/one"))
        #expect(shared.stage.run { held.count == 9 })
        shared.app.answer = { line, message in line.respond(message, "200", [("content-length", "0")]) }
        for (line, message) in held { line.respond(message, "200", [("content-length", "0")]) }
        #expect(shared.stage.run { one.isOver && many.allSatisfy(\.isOver) })
        #expect(one.status == "200" && many.count { $0.status == "200" } == 8)
    }
}
