import MeshModel
import MeshTestKit
import RPC
import Reactor
import Testing
import Wire

@Suite struct HTTPTests {
    private func bench() throws -> Bench {
        let bench = try Bench()
        bench.service.http("GET", "/hello") { call in
            let text = "\(call.method) \(call.query) \(call.header("host") ?? "?")"
            call.respond(status: 200, contentType: "text/plain", body: Array(text.utf8), headers: [("x-test", "1")])
        }
        bench.service.http("POST", "/size") { call in
            call.respond(status: 200, contentType: "text/plain", body: Array("\(call.body.count)".utf8))
        }
        return bench
    }

    /// Sends `request` and runs until the answer holds `mark` or the connection ends.
    private func ask(
        _ bench: Bench, _ address: SocketAddress, _ request: [UInt8], until mark: String
    ) throws -> RawClient {
        let raw = try RawClient(bench.loop, address)
        bench.loop.after(.zero) { raw.write(request) }
        bench.run { raw.isClosed || raw.text.contains(mark) }
        return raw
    }

    private func ask(_ request: String, until mark: String) throws -> RawClient {
        let bench = try bench()
        return try ask(bench, try bench.serve(), Array(request.utf8), until: mark)
    }

    @Test func pagesAreServedOverHTTP1() throws {
        let answer = try ask("GET /hello?a=b HTTP/1.1\r\nHost: here\r\n\r\n", until: "GET a=b here").text
        #expect(answer.hasPrefix("HTTP/1.1 200"))
        #expect(answer.contains("x-test: 1"))
    }

    @Test func headHasNoBody() throws {
        let answer = try ask("HEAD /hello HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n", until: "never").text
        #expect(answer.contains("content-length: 10"))
        #expect(answer.hasSuffix("\r\n\r\n"))
    }

    @Test func unknownPagesAndMethodsAreTold() throws {
        #expect(try ask("GET /no HTTP/1.1\r\nHost: h\r\n\r\n", until: "here").text.hasPrefix("HTTP/1.1 404"))
        let other = try ask("POST /hello HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", until: "takes").text
        #expect(other.hasPrefix("HTTP/1.1 405") && other.contains("allow: GET"))
    }

    @Test func bodiesAreTakenUpToTheLimit() throws {
        let answer = try ask(
            "POST /size HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nabcde",
            until: "\r\n\r\n5")
        #expect(answer.text.hasPrefix("HTTP/1.1 100"))
        let bench = try bench()
        var limits = RPCLimits()
        limits.httpBody = 100
        let head = "POST /size HTTP/1.1\r\nHost: h\r\nContent-Length: 101\r\n\r\n"
        let body = [UInt8](repeating: 97, count: 101)
        let large = try ask(bench, try bench.serve(limits), Array(head.utf8) + body, until: "too large")
        #expect(large.text.hasPrefix("HTTP/1.1 413"))
    }

    @Test func brokenRequestsGet400() throws {
        #expect(try ask("GET /hello HTTP/1.1\r\nbad header\r\n\r\n", until: "never").text.hasPrefix("HTTP/1.1 400"))
    }

    @Test func halfAHeadIsEndedInTime() throws {
        let bench = try bench()
        var limits = RPCLimits()
        limits.head = .milliseconds(60)
        let address = try bench.serve(limits)
        let raw = try ask(bench, address, Array("GET /hello HT".utf8), until: "never")
        #expect(raw.isClosed)
        #expect(raw.text.hasPrefix("HTTP/1.1 408"))
        let silent = try ask(bench, address, [], until: "never")
        #expect(silent.isClosed)
    }

    @Test func halfAnHTTP2PrefaceIsEndedInTime() throws {
        let bench = try bench()
        var limits = RPCLimits()
        limits.head = .milliseconds(60)
        let raw = try ask(
            bench, try bench.serve(limits), Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8), until: "never")
        #expect(raw.isClosed)
    }

    @Test func aHandlerThatNeverAnswersIsA504() throws {
        let bench = try bench()
        var kept: [HTTPCall] = []
        bench.service.http("GET", "/never") { kept.append($0) }
        var limits = RPCLimits()
        limits.call = .milliseconds(50)
        let raw = try ask(
            bench, try bench.serve(limits), Array("GET /never HTTP/1.1\r\nHost: h\r\n\r\n".utf8), until: "out of time")
        #expect(raw.text.hasPrefix("HTTP/1.1 504"))
    }

    @Test func connectionsAboveTheLimitWait() throws {
        let bench = try bench()
        var limits = RPCLimits()
        limits.connections = 2
        let address = try bench.serve(limits)
        let idle = [try RawClient(bench.loop, address), try RawClient(bench.loop, address)]
        let third = try RawClient(bench.loop, address)
        third.onChange = { bench.stop() }
        bench.loop.after(.milliseconds(30)) { third.write("GET /hello HTTP/1.1\r\nHost: h\r\n\r\n") }
        bench.loop.after(.milliseconds(100)) {
            #expect(third.received.isEmpty)
            idle[0].close()
        }
        bench.run()
        #expect(third.text.hasPrefix("HTTP/1.1 200"))
    }

    @Test func noBytesStopTheServer() throws {
        let bench = try bench()
        bench.service.unary("/t.T/Echo") { $0.reply($0.message) }
        let address = try bench.serve()
        var random = SplitMix64.announced()
        let seeds: [[UInt8]] = [
            Array("GET /hello HTTP/1.1\r\nHost: h\r\n\r\n".utf8),
            Array("POST /size HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".utf8),
            Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + [0, 0, 0, 4, 0, 0, 0, 0, 0]
                + [0, 0, 3, 1, 4, 0, 0, 0, 1, 0x82, 0x86, 0x84],
        ]
        var left = 60
        var open: [RawClient] = []
        func next() {
            guard left > 0 else { return }
            left -= 1
            guard let seed = seeds.randomElement(using: &random), let raw = try? RawClient(bench.loop, address) else {
                left = 0
                return
            }
            open.append(raw)
            let bytes = random.damaged(seed)
            bench.loop.after(.milliseconds(1)) {
                raw.write(bytes)
                bench.loop.after(.milliseconds(2)) {
                    raw.close()
                    next()
                }
            }
        }
        next()
        bench.run { left == 0 }
        let again = bench.dial(address)
        #expect(try bench.call(again, "/t.T/Echo", [1]).get() == [1])
    }

    @Test func lettersFromOtherThreadsArriveInOrder() throws {
        let bench = try Bench()
        var seen: [Int] = []
        let keep = RPCBound { (number: Int) in
            seen.append(number)
            if number == 99 { bench.stop() }
        }
        let inbox = bench.loop.inbox
        try WorkerThread.start(name: "poster") {
            for number in 0..<100 { inbox.post { keep.value(number) } }
        }
        bench.run()
        #expect(seen == Array(0..<100))
    }
}
