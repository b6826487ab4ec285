import Glibc
import Identity
import Link
import MeshModel
import MeshTestKit
import Proxy
import Reactor
import TLS
import Telemetry
import Testing
import Wire

/// Workers that are short of something, that follow one another, and whose configuration changes all the time.
@Suite(.serialized) struct LifeTests {
    private let authority = "api.shop.svc.cluster.local:80"

    // MARK: Shares

    @Test func oneCallersRequestsLeaveRoomForAnothers() throws {
        let direct = try Direct(.http2, app: .http2) { _ in
        } settings: {
            $0.maximumExchanges = 16
        }
        var held: [(Line, Message)] = []
        direct.app.answer = { held.append(($0, $1)) }
        let greedy = try direct.dial(as: direct.world.workload("web"))
        #expect(direct.stage.run { greedy.link?.session?.canOpenStream == true })
        let many = (0..<12).map { greedy.open(get(authority, "/\($0)")) }
        #expect(direct.stage.run { many.count { $0.isOver } == 4 && held.count == 8 })
        for refused in many where refused.isOver {
            #expect(refused.status == "503" && refused.error == "overload; dispatched=0")
            #expect(refused["retry-after"] == "1")
        }
        let late = try direct.dial(as: direct.world.workload("other"))
        #expect(direct.stage.run { late.link?.session?.canOpenStream == true })
        let one = late.open(get(authority, "/late"))
        #expect(direct.stage.run { held.count == 9 })
        direct.app.answer = { line, message in line.respond(message, "200", [("content-length", "0")]) }
        for (line, message) in held { line.respond(message, "200", [("content-length", "0")]) }
        #expect(direct.stage.run { one.isOver && many.allSatisfy(\.isOver) })
        #expect(one.status == "200" && many.count { $0.status == "200" } == 8)
        #expect(direct.stage.ask(greedy, get(authority)).status == "200")
    }

    @Test func oneCallersConnectionsLeaveRoomForAnothers() throws {
        let direct = try Direct { _ in
        } settings: {
            $0.maximumConnections = 16
        }
        let web = try direct.world.workload("web")
        var statuses: [String] = []
        var lines: [Line] = []
        for _ in 0..<9 {
            let line = try direct.dial(as: web)
            lines.append(line)
            statuses.append(direct.stage.ask(line, get(authority)).error ?? "served")
        }
        #expect(statuses == Array(repeating: "served", count: 8) + ["overload; dispatched=0"])
        let other = try direct.dial(as: direct.world.workload("other"))
        #expect(direct.stage.ask(other, get(authority)).status == "200")
        for line in lines { line.close() }
        #expect(direct.stage.run { (try? direct.api.report().connections) == 1 })
        #expect(direct.stage.ask(try direct.dial(as: web), get(authority)).status == "200")
    }

    @Test func aBurstIsNotInFrontOfAnotherCallersRequest() throws {
        let direct = try Direct(.http2, app: .http2)
        let greedy = try direct.dial(as: direct.world.workload("web"))
        let late = try direct.dial(as: direct.world.workload("other"))
        for line in [greedy, late] { #expect(direct.stage.ask(line, get(authority)).status == "200") }
        let many = (0..<1_000).map { greedy.open(get(authority, "/many/\($0)")) }
        let one = late.open(get(authority, "/one"))
        #expect(direct.stage.run { one.isOver && many.allSatisfy(\.isOver) })
        let bad = many.filter { $0.status != "200" }.map { "\($0.stream) \($0.status) \($0.error ?? "-")" }
        #expect(one.status == "200" && bad.isEmpty, "what waits for a turn is served: \(bad.prefix(3))")
        let place = try #require(direct.app.requests.firstIndex { $0[":path"] == "/one" })
        #expect(place < 1_000, "it came before the last of the burst")
    }

    // MARK: Memory

    /// Tells the sidecar of `api` how much of its limit is used, and waits until it is in that stage.
    private func press(_ direct: Direct, percent: Int, _ stage: MemoryPressure) throws {
        direct.api.mailbox.post(.memory(beside: (1 << 40) / 100 * percent))
        #expect(direct.stage.run { (try? direct.api.report().pressure) == stage })
    }

    private func pressed() throws -> Direct {
        try Direct { _ in
        } settings: {
            $0.memoryLimit = 1 << 40
        }
    }

    @Test func shortOfMemoryItStopsKeepingAlive() throws {
        let direct = try pressed()
        let web = try direct.world.workload("web")
        let name = "api.shop.svc.cluster.local"
        try press(direct, percent: 78, .lean)
        let line = try direct.dial(as: web, "80.\(name)", .http1)
        let answer = direct.stage.ask(line, get(name))
        #expect(answer.status == "200", "\(answer.fields)")
        #expect(line.link?.session?.canOpenStream != true, "the answer was the connection's last one")
        try press(direct, percent: 0, .calm)
        let kept = try direct.dial(as: web, "80.\(name)", .http1)
        for _ in 0..<3 { #expect(direct.stage.ask(kept, get(name)).status == "200") }
        #expect(kept.isOpen && !kept.ended)
    }

    @Test func shorterItRefusesAndRecovers() throws {
        let direct = try pressed()
        let line = try direct.dial(as: direct.world.workload("web"))
        #expect(direct.stage.ask(line, get(authority)).status == "200")
        try press(direct, percent: 86, .shedding)
        let refused = direct.stage.ask(line, get(authority))
        #expect(refused.status == "503" && refused.error == "overload; dispatched=0" && refused["retry-after"] == "1")
        try press(direct, percent: 0, .calm)
        #expect(direct.stage.ask(line, get(authority)).status == "200")
    }

    @Test func shortestItTakesNobodyUntilThereIsRoom() throws {
        let direct = try pressed()
        let web = try direct.world.workload("web")
        try press(direct, percent: 96, .closed)
        let waiting = try direct.dial(as: web)
        direct.stage.idle(milliseconds: 300)
        #expect(waiting.isOpen && !waiting.isEstablished, "it waits in the backlog")
        try press(direct, percent: 0, .calm)
        #expect(direct.stage.ask(waiting, get(authority)).status == "200")
    }

    @Test func shortestItKeepsNothingForASlowReader() throws {
        let direct = try pressed()
        var held: [(Line, Message)] = []
        direct.app.answer = { held.append(($0, $1)) }
        let slow = try direct.dial(as: direct.world.workload("web"))
        slow.isConsuming = false
        #expect(direct.stage.run { slow.link?.session?.canOpenStream == true })
        let message = slow.open(get(authority))
        #expect(direct.stage.run { held.count == 1 })
        try press(direct, percent: 96, .closed)
        let body = [UInt8](repeating: 7, count: 4 << 20)
        for (line, request) in held {
            line.respond(request, "200", [("content-length", "\(body.count)")], body: body)
        }
        #expect(direct.stage.run { message.closed != nil })
        #expect(message.body.count < 1 << 20 && !message.isEnded, "\(message.body.count) of \(body.count) bytes came")
        try press(direct, percent: 0, .calm)
        slow.release()
        direct.app.answer = { line, message in line.respond(message, "200", [("content-length", "0")]) }
        #expect(direct.stage.ask(slow, get(authority)).status == "200", "the connection goes on")
    }

    // MARK: Succession

    @Test func oneWorkerFollowsAnotherOnTheSameSocket() throws {
        let world = try World()
        let app = try App(world.stage, .http1)
        let address = try Loopback.next(port: 15_006)
        var snapshot = Snapshot("east")
        snapshot.add("api", at: [address], target: app.address.port)
        let listener = try ListenerSocket.bind(address)
        let descriptor = listener.release()
        defer { close(descriptor) }
        func node() throws -> Node {
            var settings = WorkerSettings(isGateway: false, entries: [.mesh], logFormat: .text, sampleSeed: 1)
            settings.namespace = label("shop")
            settings.appAddress = app.address
            settings.grace = .seconds(10)
            return try Node(
                settings, [address], [(dup(descriptor), 0)], world.configuration("api-0", snapshot))
        }
        let web = try world.workload("web")
        var current = try node()
        var served = 0
        for round in 0..<6 {
            let kept = try world.dial(address, as: web, "80.api.shop.svc.cluster.local")
            #expect(world.stage.ask(kept, get(authority)).status == "200")
            let next = try node()
            current.mailbox.post(.handOver)
            var lines: [Line] = []
            for _ in 0..<20 {
                lines.append(try world.dial(address, as: web, "80.api.shop.svc.cluster.local"))
                world.stage.turn(milliseconds: 1)
            }
            for line in lines where world.stage.ask(line, get(authority, "/\(round)")).status == "200" { served += 1 }
            for line in lines { line.close() }
            kept.close()
            #expect(world.stage.run { current.hasEnded })
            current = next
        }
        #expect(served == 120, "nobody was refused")
    }

    // MARK: Swaps

    /// Sockets at the addresses of this test alone, both ends of each connection; those of other tests open and close beside it.
    private func openSockets(_ direct: Direct) throws -> Int {
        // SAFETY: the stream is used before it is closed, the line within its own length.
        let file = unsafe try #require(unsafe fopen("/proc/self/net/tcp", "r"))
        defer { _ = unsafe fclose(file) }
        let places = ([direct.app.address] + direct.addresses + direct.web.addresses).map { address in
            address.ipText.split(separator: ".").reversed().map { String(UInt8($0) ?? 0, radix: 16, uppercase: true) }
                .map { $0.count == 1 ? "0" + $0 : $0 }.joined()
        }
        var line = [CChar](repeating: 0, count: 512)
        var count = 0
        while unsafe fgets(&line, Int32(line.count), file) != nil {
            let fields = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
                .split(separator: " ")
            // "06" is TIME_WAIT, which nobody holds.
            guard fields.count > 3, fields[3] != "06" else { continue }
            if places.contains(where: { fields[1].hasPrefix($0) || fields[2].hasPrefix($0) }) { count += 1 }
        }
        return count
    }

    /// Snapshots change each time, SVIDs too, and bundles in the order of a rotation: a second root is trusted beside the first,
    /// signs, does not any more, and goes. A neighbour's bundle changes besides.
    @Test func aThousandConfigurationsUnderLoadCostNoRequestAndLeaveNothing() throws {
        let direct = try Direct(.http2, app: .http2)
        let client = try direct.client(.http2)
        #expect(direct.stage.ask(client, get()).status == "200")
        var generation: UInt32 = 1
        var sockets = 0
        var given: [Remembered] = []
        let world = direct.world
        let second = try CertificateMint("east.mesh", now: world.stage.wall)
        let both = TrustBundle(
            trustDomain: second.trustDomain, roots: [world.east.certificate.der, second.certificate.der],
            revokedSerials: [])
        let others = try [world.west, CertificateMint("west.mesh", now: world.stage.wall)].map { $0.bundle() }
        var trust = world.trust
        var signer = world.east
        var changes: UInt64 = 1
        for round in 0..<1_000 {
            if round % 10 == 0 { generation += 1 }
            if round % 5 == 0 {
                changes += 1
                let step = Int(changes % 4)
                signer = step == 2 ? second : world.east
                let east = step == 0 ? world.east.bundle() : both
                trust = try TrustStore([east, others[Int(changes / 4) % 2]], generation: changes)
                generation += 1
            }
            let pending = (0..<3).map { client.open(get("api.shop", "/\(round)/\($0)")) }
            direct.stage.turn(milliseconds: 0)
            for (node, name) in [(direct.api, "api-0"), (direct.web, "web-0")] {
                let fresh = try world.configuration(
                    name, direct.snapshot, generation: generation, trust: trust, mint: signer)
                given.append(Remembered(fresh))
                node.mailbox.post(.configure(fresh))
            }
            #expect(direct.stage.run { pending.allSatisfy(\.isOver) })
            for message in pending { #expect(message.status == "200", "round \(round): \(message.fields)") }
            if round == 300 { sockets = try openSockets(direct) }
        }
        // Each worker holds the last one; what holds on to more holds on to all that hangs on it.
        #expect(direct.stage.run { given.count { $0.configuration != nil } <= 4 })
        // Connections of the identities before end with the next sweep.
        #expect(sockets > 0 && direct.stage.run { (try? openSockets(direct)) ?? .max <= sockets })
        #expect(direct.stage.ask(client, get()).status == "200")
    }
}

/// Knows whether a configuration still lives.
private struct Remembered {
    weak var configuration: ProxyConfiguration?

    init(_ configuration: ProxyConfiguration) { self.configuration = configuration }
}
