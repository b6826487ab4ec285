import Glibc
import MeshModel
import MeshTestKit
import RPC
import Reactor
import Testing
import Wire

@Suite struct UnaryTests {
    @Test func answersOverTCP() throws {
        let bench = try Bench()
        bench.service.unary("/t.T/Echo") { call in call.reply(call.message + [33]) }
        let channel = bench.dial(try bench.serve())
        #expect(try bench.call(channel, "/t.T/Echo", Array("hello".utf8)).get() == Array("hello!".utf8))
    }

    @Test func answersOverUNIXSocketsAndKnowsTheUser() throws {
        let bench = try Bench()
        bench.service.unary("/t.T/Who") { call in call.reply(Array("\(call.peer.uid ?? 9_999)".utf8)) }
        let path = "/tmp/meshfed-rpc-\(getpid())-\(UInt32.random(in: 0 ... .max)).sock"
        defer { unsafe _ = unlink(path) }
        #expect(try bench.loop.listen(.unix(path), security: .plain, service: bench.service) == nil)
        let channel = bench.loop.channel(.unix(path: path), security: .plain)
        #expect(try bench.call(channel, "/t.T/Who").get() == Array("\(getuid())".utf8))
    }

    @Test func answersLater() throws {
        let bench = try Bench()
        bench.service.unary("/t.T/Slow") { [loop = bench.loop] call in
            loop.after(.milliseconds(20)) {
                call.reply([1])
                call.reply([2])
                call.fail(.aborted, "a second answer is ignored")
            }
        }
        let channel = bench.dial(try bench.serve())
        #expect(try bench.call(channel, "/t.T/Slow").get() == [1])
    }

    @Test func carriesStatusAndText() throws {
        let bench = try Bench()
        bench.service.unary("/t.T/No") { $0.fail(.permissionDenied, "100 % nein, für alle\nZeile 2") }
        let channel = bench.dial(try bench.serve())
        let expected = RPCEnd(status: .permissionDenied, message: "100 % nein, für alle\nZeile 2")
        #expect(bench.call(channel, "/t.T/No") == .failure(expected))
    }

    @Test func unknownMethodsAreUnimplemented() throws {
        let bench = try Bench()
        let channel = bench.dial(try bench.serve())
        guard case .failure(let end) = bench.call(channel, "/t.T/Nothing") else {
            Issue.record("answered")
            return
        }
        #expect(end.status == .unimplemented)
    }

    @Test func largeMessagesPassAndTooLargeOnesAreRefused() throws {
        let bench = try Bench()
        bench.service.unary("/t.T/Echo", limit: 3 << 20) { $0.reply($0.message) }
        let channel = bench.dial(try bench.serve())
        var random = SplitMix64(seed: 7)
        let large = random.bytes(1_000) + [UInt8](repeating: 5, count: (3 << 20) - 1_000)
        #expect(try bench.call(channel, "/t.T/Echo", large).get() == large)
        guard case .failure(let end) = bench.call(channel, "/t.T/Echo", large + [1]) else {
            Issue.record("answered")
            return
        }
        #expect(end.status == .resourceExhausted)
    }

    @Test func theCallersDeadlineEndsBothSides() throws {
        let bench = try Bench()
        var kept: RPCCall?
        bench.service.unary("/t.T/Never") { kept = $0 }
        let channel = bench.dial(try bench.serve())
        guard case .failure(let end) = bench.call(channel, "/t.T/Never", deadline: .milliseconds(60)) else {
            Issue.record("answered")
            return
        }
        #expect(end.status == .deadlineExceeded)
        bench.loop.after(.milliseconds(60)) { bench.stop() }
        bench.run()
        #expect(kept?.isCancelled == true)
    }

    @Test func theServersOwnLimitEndsCallsWithoutADeadline() throws {
        let bench = try Bench()
        var kept: [RPCCall] = []
        bench.service.unary("/t.T/Never") { kept.append($0) }
        var limits = RPCLimits()
        limits.call = .milliseconds(50)
        let stream = bench.dial(try bench.serve(limits)).stream("/t.T/Never")
        var end: RPCEnd?
        stream.onEnd = {
            end = $0
            bench.stop()
        }
        stream.send([1])
        stream.finish()
        bench.run()
        #expect(end?.status == .deadlineExceeded)
    }

    @Test func aThousandCallsShareOneConnection() throws {
        let bench = try Bench()
        bench.service.unary("/t.T/Echo") { $0.reply($0.message) }
        var limits = RPCLimits()
        limits.streamsPerConnection = 32
        let channel = bench.dial(try bench.serve(limits))
        var good = 0
        var done = 0
        for number in 0..<1_000 {
            let message = Array("\(number)".utf8)
            channel.unary("/t.T/Echo", message, deadline: .seconds(20)) { result in
                if case .success(message) = result { good += 1 }
                done += 1
                if done == 1_000 { bench.stop() }
            }
        }
        bench.run()
        #expect(good == 1_000)
    }

    @Test func theSecondAddressIsTriedAndReconnectsHappen() throws {
        let bench = try Bench()
        bench.service.unary("/t.T/Echo") { $0.reply($0.message) }
        let live = try bench.serve()
        // A port that was just given back.
        let dead = try Bench.muteListener().address
        let channel = bench.loop.channel(.addresses([dead, live]), security: .plain)
        #expect(try bench.call(channel, "/t.T/Echo", [1]).get() == [1])
        let refused = bench.loop.channel(.addresses([dead]), security: .plain)
        guard case .failure(let end) = bench.call(refused, "/t.T/Echo") else {
            Issue.record("answered")
            return
        }
        #expect(end.status == .unavailable)
        #expect(end.message.contains(dead.description) && end.message.contains("refused"))
    }

    @Test func hostNamesAreResolvedBesideTheLoop() throws {
        let bench = try Bench()
        bench.service.unary("/t.T/Echo") { $0.reply($0.message) }
        let address = try bench.serve()
        let channel = bench.loop.channel(.tcp(host: "localhost", port: address.port), security: .plain)
        #expect(try bench.call(channel, "/t.T/Echo", [1]).get() == [1])
    }

    @Test func onceNeedsNoLoop() throws {
        let bench = try Bench()
        bench.service.unary("/t.T/Echo") { $0.reply($0.message) }
        let address = try bench.serve()
        let inbox = bench.loop.inbox
        let stopper = RPCBound(bench.loop)
        try WorkerThread.start(name: "once") {
            let result = RPCOnce.call(
                .addresses([address]), security: .plain, path: "/t.T/Echo", message: [4, 2], deadline: .seconds(10))
            #expect(result == .success([4, 2]))
            inbox.post { stopper.value.stop(grace: .zero) }
        }
        bench.run()
    }

    @Test func callsUnderWayEndBeforeAGracefulStop() throws {
        let bench = try Bench()
        bench.service.unary("/t.T/Slow") { [loop = bench.loop] call in
            loop.stop(grace: .seconds(20))
            loop.after(.milliseconds(50)) { call.reply([7]) }
        }
        let channel = bench.dial(try bench.serve())
        var answer: Result<[UInt8], RPCEnd>?
        channel.unary("/t.T/Slow", [], deadline: .seconds(10)) { answer = $0 }
        bench.run()
        #expect(answer == .success([7]))
        #expect(bench.loop.connectionCount == 0)
    }
}
