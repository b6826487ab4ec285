import MeshModel
import MeshTestKit
import RPC
import Reactor
import Testing
import Wire

@Suite struct StreamTests {
    /// Sends back what comes, and ends when the other side does.
    private func serveEcho(_ bench: Bench, limit: Int = 4 << 20) {
        bench.service.stream("/t.T/Chat", limit: limit) { stream in
            stream.onMessage = { [unowned stream] in stream.send($0) }
            stream.onHalfClose = { [unowned stream] in stream.finish(.ok, "bye") }
        }
    }

    @Test func messagesGoBothWaysInOrder() throws {
        let bench = try Bench()
        serveEcho(bench)
        let stream = bench.dial(try bench.serve()).stream("/t.T/Chat")
        var seen: [[UInt8]] = []
        var end: RPCEnd?
        stream.onMessage = { [unowned stream] message in
            seen.append(message)
            if seen.count == 3 { stream.finish() }
        }
        stream.onEnd = {
            end = $0
            bench.stop()
        }
        for text in ["", "a", "bc"] { #expect(stream.send(Array(text.utf8))) }
        bench.run()
        #expect(seen == [[], [97], [98, 99]])
        #expect(end == RPCEnd(status: .ok, message: "bye"))
        #expect(!stream.isOpen && !stream.send([1]))
    }

    @Test func messagesOfThreeMebibytesPass() throws {
        let bench = try Bench()
        serveEcho(bench)
        let stream = bench.dial(try bench.serve()).stream("/t.T/Chat")
        var random = SplitMix64(seed: 3)
        let pattern = random.bytes(4_096)
        var message: [UInt8] = []
        for _ in 0..<768 { message += pattern }
        var matches = 0
        stream.onMessage = { [unowned stream] in
            if $0 == message { matches += 1 }
            if matches == 2 { stream.finish() }
        }
        stream.onEnd = { _ in bench.stop() }
        stream.send(message)
        stream.send(message)
        bench.run()
        #expect(matches == 2)
    }

    @Test func aSlowReaderGetsEverythingAndTheSenderIsHeldBack() throws {
        let bench = try Bench()
        let total = 1_000
        let padding = [UInt8](repeating: 1, count: 30_000)
        var refusals = 0
        bench.service.stream("/t.T/Flood") { stream in
            var next = 0
            let fill = { [unowned stream] in
                while next < total {
                    guard stream.send(Array("\(next) ".utf8) + padding) else {
                        refusals += 1
                        return
                    }
                    next += 1
                }
                stream.finish()
            }
            stream.onWritable = fill
            stream.onMessage = { _ in fill() }
        }
        let stream = bench.dial(try bench.serve()).stream("/t.T/Flood")
        var seen = 0
        var inOrder = true
        stream.onMessage = { [unowned stream, loop = bench.loop] message in
            let number = String(decoding: message.prefix { $0 != 32 }, as: UTF8.self)
            inOrder = inOrder && number == "\(seen)"
            seen += 1
            guard seen % 50 == 0 else { return }
            stream.isPaused = true
            loop.after(.milliseconds(5)) { stream.isPaused = false }
        }
        var end: RPCEnd?
        stream.onEnd = {
            end = $0
            bench.stop()
        }
        stream.send([])
        bench.run()
        #expect(seen == total && inOrder)
        #expect(end?.status == .ok)
        #expect(refusals > 0, "30 MB do not fit into a queue of 16 MiB")
    }

    @Test func manySmallMessagesAreLimitedInNumber() throws {
        let bench = try Bench()
        var seen = 0
        bench.service.stream("/t.T/Count") { stream in
            stream.onMessage = { _ in seen += 1 }
            stream.onHalfClose = { [unowned stream] in stream.finish() }
        }
        let stream = bench.dial(try bench.serve()).stream("/t.T/Count")
        var sent = 0
        while stream.send([1]) { sent += 1 }
        #expect(sent == RPCStream.queueMessages)
        stream.onWritable = { [unowned stream] in
            for _ in 0..<500 where stream.send([2]) { sent += 1 }
            stream.finish()
        }
        stream.onEnd = { _ in bench.stop() }
        bench.run()
        #expect(sent == RPCStream.queueMessages + 500)
        #expect(seen == sent)
    }

    @Test func messagesAboveTheLimitEndTheCall() throws {
        let bench = try Bench()
        serveEcho(bench, limit: 10)
        let stream = bench.dial(try bench.serve()).stream("/t.T/Chat")
        var end: RPCEnd?
        stream.onEnd = {
            end = $0
            bench.stop()
        }
        stream.send([UInt8](repeating: 0, count: 11))
        bench.run()
        #expect(end?.status == .resourceExhausted)
    }

    @Test func halfMessagesOfAllCallsShareOneLimit() throws {
        let bench = try Bench()
        serveEcho(bench)
        var limits = RPCLimits()
        limits.heldPerListener = 3_000_000
        let address = try bench.serve(limits)
        // Each of these messages is within the limit of one, all together are not.
        var ends: [GRPCStatus] = []
        let message = [UInt8](repeating: 1, count: 2_000_000)
        for _ in 0..<4 {
            let stream = bench.dial(address).stream("/t.T/Chat")
            stream.onMessage = { [unowned stream] _ in stream.finish() }
            stream.onEnd = { ends.append($0.status) }
            stream.send(message)
        }
        bench.run { ends.count == 4 }
        #expect(ends.contains(.resourceExhausted))
        // What was held is given back.
        let stream = bench.dial(address).stream("/t.T/Chat")
        stream.onMessage = { [unowned stream] _ in stream.finish() }
        var last: GRPCStatus?
        stream.onEnd = { last = $0.status }
        stream.send(message)
        bench.run { last != nil }
        #expect(last == .ok)
    }

    @Test func cancellingIsSeenByTheServer() throws {
        let bench = try Bench()
        var ends: [RPCEnd] = []
        bench.service.stream("/t.T/Chat") { stream in
            stream.onMessage = { [unowned stream] in stream.send($0) }
            stream.onEnd = {
                ends.append($0)
                bench.stop()
            }
        }
        let stream = bench.dial(try bench.serve()).stream("/t.T/Chat")
        var own: [RPCEnd] = []
        stream.onEnd = { own.append($0) }
        stream.onMessage = { [unowned stream] _ in
            stream.cancel()
            stream.cancel()
        }
        stream.send([1])
        bench.run()
        #expect(ends.map(\.status) == [.cancelled])
        #expect(own.map(\.status) == [.cancelled])
    }

    @Test func aLostConnectionEndsBothSidesAsUnavailable() throws {
        let bench = try Bench()
        var serverEnd: RPCEnd?
        bench.service.stream("/t.T/Chat") { stream in
            stream.onMessage = { [unowned stream] in stream.send($0) }
            stream.onEnd = { serverEnd = $0 }
        }
        let channel = bench.dial(try bench.serve())
        let stream = channel.stream("/t.T/Chat")
        var clientEnd: RPCEnd?
        stream.onMessage = { _ in channel.close() }
        stream.onEnd = { clientEnd = $0 }
        stream.send([1])
        bench.loop.after(.milliseconds(200)) { bench.stop() }
        bench.run()
        #expect(serverEnd?.status == .unavailable)
        #expect(clientEnd?.status == .unavailable)
    }

    @Test func stoppingTheServerEndsItsStreams() throws {
        let bench = try Bench()
        serveEcho(bench)
        let stream = bench.dial(try bench.serve()).stream("/t.T/Chat")
        var end: RPCEnd?
        stream.onMessage = { _ in bench.loop.stop(grace: .milliseconds(50)) }
        stream.onEnd = { end = $0 }
        stream.send([1])
        bench.run()
        #expect(end?.status == .unavailable)
    }

    @Test func streamsHaveDeadlinesToo() throws {
        let bench = try Bench()
        serveEcho(bench)
        let stream = bench.dial(try bench.serve()).stream("/t.T/Chat", deadline: .milliseconds(50))
        var end: RPCEnd?
        stream.onEnd = {
            end = $0
            bench.stop()
        }
        stream.send([1])
        bench.run()
        #expect(end?.status == .deadlineExceeded)
    }

    @Test func aServerThatStopsAnsweringIsNoticed() throws {
        let bench = try Bench()
        // The kernel accepts for it, and nobody answers.
        let mute = try Bench.muteListener()
        var limits = RPCLimits()
        limits.keepAlive = .milliseconds(100)
        limits.keepAliveAnswer = .milliseconds(100)
        let stream = bench.dial(mute.address, limits: limits).stream("/t.T/Chat")
        var end: RPCEnd?
        stream.onEnd = {
            end = $0
            bench.stop()
        }
        stream.send([1])
        bench.run()
        #expect(end?.status == .unavailable)
        #expect(end?.message.contains("PING") == true)
    }
}
