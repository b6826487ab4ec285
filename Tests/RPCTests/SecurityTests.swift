import Identity
import MeshModel
import MeshTestKit
import RPC
import Reactor
import TLS
import Testing
import Wire

@Suite struct SecurityTests {
    private let gateway = "meshfed/gateway/g1"
    private let broker = "meshfed/broker/b1"

    private func bench() throws -> Bench {
        let bench = try Bench()
        bench.service.unary("/t.T/Who") { call in
            call.reply(Array((call.peer.identity?.id.description ?? "nobody").utf8))
        }
        return bench
    }

    private func failure(_ result: Result<[UInt8], RPCEnd>) -> RPCEnd? {
        if case .failure(let end) = result { end } else { nil }
    }

    @Test func bothSidesKnowEachOther() throws {
        let bench = try bench()
        let papers = try Papers("east.mesh", wall: bench.loop.wall)
        let address = try bench.serve(security: try papers.server(broker))
        var seen: SPIFFEID?
        let channel = bench.dial(
            address,
            try papers.client(gateway) {
                seen = $0.id
                return true
            })
        #expect(try bench.call(channel, "/t.T/Who").get() == Array("spiffe://east.mesh/\(gateway)".utf8))
        #expect(seen?.description == "spiffe://east.mesh/\(broker)")
    }

    @Test func aWrongServerGetsNothing() throws {
        let bench = try bench()
        var wasCalled = false
        bench.service.unary("/t.T/Secret") { _ in wasCalled = true }
        let papers = try Papers("east.mesh", wall: bench.loop.wall)
        let address = try bench.serve(security: try papers.server(gateway))
        let end = failure(
            bench.call(bench.dial(address, try papers.client(gateway) { _ in false }), "/t.T/Secret", [1]))
        #expect(end?.status == .unavailable)
        #expect(end?.message.contains("spiffe://east.mesh/\(gateway)") == true)
        #expect(!wasCalled)
    }

    @Test func aWrongRootIsRefused() throws {
        let bench = try bench()
        let papers = try Papers("east.mesh", wall: bench.loop.wall)
        let others = try Papers("east.mesh", wall: bench.loop.wall)
        let address = try bench.serve(security: try papers.server(broker))
        let end = failure(
            bench.call(bench.dial(address, try papers.client(gateway, trust: others.trust)), "/t.T/Who"))
        #expect(end?.status == .unavailable)
        #expect(end?.message.contains("root") == true)
    }

    @Test func aClientWithoutACertificateIsRefused() throws {
        let bench = try bench()
        let papers = try Papers("east.mesh", wall: bench.loop.wall)
        let address = try bench.serve(security: try papers.server(broker))
        let end = failure(bench.call(bench.dial(address, try papers.client(nil)), "/t.T/Who"))
        #expect(end?.status == .unavailable)
    }

    @Test func aClientOfAnotherRootIsRefused() throws {
        let bench = try bench()
        let papers = try Papers("east.mesh", wall: bench.loop.wall)
        let others = try Papers("east.mesh", wall: bench.loop.wall)
        let address = try bench.serve(security: try papers.server(broker))
        let end = failure(
            bench.call(bench.dial(address, try others.client(gateway, trust: papers.trust)), "/t.T/Who"))
        #expect(end?.status == .unavailable)
    }

    @Test func aPinIsEnoughAndTheRootIsLearned() throws {
        let bench = try bench()
        let papers = try Papers("east.mesh", wall: bench.loop.wall)
        let address = try bench.serve(security: try papers.server(broker, clients: .none))
        let pin = RootPin(
            trustDomain: papers.mint.trustDomain, fingerprint: papers.mint.certificate.publicKey.fingerprint)
        let context = try TLSContext.client(pin: pin, protocols: [.http2])
        let channel = bench.dial(address, .tls(context: { context }, serverName: "", accepts: { _ in true }))
        #expect(try bench.call(channel, "/t.T/Who").get() == Array("nobody".utf8))
        #expect(channel.learnedRoot == papers.mint.certificate.der)

        let wrong = try TLSContext.client(
            pin: RootPin(trustDomain: papers.mint.trustDomain, fingerprint: SHA256.hash([1])), protocols: [.http2])
        let other = bench.dial(address, .tls(context: { wrong }, serverName: "", accepts: { _ in true }))
        #expect(failure(bench.call(other, "/t.T/Who"))?.status == .unavailable)
    }

    @Test func evictionClosesOpenConnections() throws {
        let bench = try bench()
        bench.service.stream("/t.T/Chat") { stream in stream.onMessage = { [unowned stream] in stream.send($0) } }
        let papers = try Papers("east.mesh", wall: bench.loop.wall)
        let address = try bench.serve(security: try papers.server(broker))
        let stream = bench.dial(address, try papers.client(gateway)).stream("/t.T/Chat")
        var end: RPCEnd?
        stream.onMessage = { _ in
            bench.loop.closeConnections { $0.trustDomain == papers.mint.trustDomain }
        }
        stream.onEnd = {
            end = $0
            bench.stop()
        }
        stream.send([1])
        bench.run()
        #expect(end?.status == .unavailable)
    }

    @Test func largeMessagesPassThroughTLS() throws {
        let bench = try bench()
        bench.service.unary("/t.T/Echo") { $0.reply($0.message) }
        let papers = try Papers("east.mesh", wall: bench.loop.wall)
        let channel = bench.dial(
            try bench.serve(security: try papers.server(broker)), try papers.client(gateway))
        let large = [UInt8](repeating: 9, count: 3 << 20)
        #expect(try bench.call(channel, "/t.T/Echo", large).get() == large)
    }

    @Test func aSilentHandshakeIsEndedInTime() throws {
        let bench = try bench()
        let papers = try Papers("east.mesh", wall: bench.loop.wall)
        var limits = RPCLimits()
        limits.handshake = .milliseconds(80)
        let address = try bench.serve(limits, security: try papers.server(broker))
        let raw = try RawClient(bench.loop, address)
        raw.onChange = { if raw.isClosed { bench.stop() } }
        bench.run()
        #expect(raw.isClosed)
    }

    @Test func aMuteTLSServerIsGivenUpInTime() throws {
        let bench = try bench()
        let papers = try Papers("east.mesh", wall: bench.loop.wall)
        let mute = try Bench.muteListener()
        var limits = RPCLimits()
        limits.connect = .milliseconds(80)
        let channel = bench.dial(mute.address, try papers.client(gateway), limits: limits)
        let end = failure(bench.call(channel, "/t.T/Who"))
        #expect(end?.status == .unavailable)
        #expect(end?.message.contains("too long") == true)
    }
}
