import Glibc
import MeshModel
import Telemetry
import Testing

@Suite struct AccessLogTests {
    @Test func writesALineWithTheContractsWords() {
        var log = AccessLog(format: .json)
        log.begin(at: WallTime(seconds: 1_700_000_000), milliseconds: 42)
        log.field(.method, Array("GET".utf8))
        log.field(.path, Array("/cart?id=1".utf8))
        log.field(.responseCode, 503)
        log.field(.reason, word: Reason.noEndpoint.word)
        log.field(.responseFlags, word: ResponseFlag(.noEndpoint).word)
        log.field(.durationMilliseconds, Duration.microseconds(12_034))
        log.field(.traceID, hexadecimal: 0xAB, 0x1)
        log.field(.sourcePrincipal, [])
        log.end()
        #expect(
            String(decoding: log.take(), as: UTF8.self)
                == "{\"time\":\"2023-11-14T22:13:20.042Z\",\"method\":\"GET\",\"path\":\"/cart?id=1\","
                + "\"response_code\":503,\"reason\":\"no_endpoint\",\"response_flags\":\"UH\",\"duration_ms\":12.034,"
                + "\"trace_id\":\"00000000000000ab0000000000000001\"}\n")
        let isEmpty = log.isEmpty
        #expect(isEmpty)
    }

    @Test func writesTextInTheSameWords() {
        var log = AccessLog(format: .text)
        log.begin(at: WallTime(seconds: 1_700_000_000), milliseconds: 0)
        log.field(.method, Array("GET".utf8))
        log.field(.message, Array("two words".utf8))
        log.field(.attempts, 2)
        log.end()
        #expect(
            String(decoding: log.take(), as: UTF8.self)
                == "time=2023-11-14T22:13:20.000Z method=GET message=\"two words\" attempts=2\n")
    }

    @Test func aTurnsBatchIsBounded() {
        var log = AccessLog(format: .text)
        for _ in 0..<10_000 {
            log.begin(at: WallTime(seconds: 0), milliseconds: 0)
            log.field(.path, [UInt8](repeating: 0x61, count: 200))
            log.end()
        }
        let lines = UInt64(log.take().filter { $0 == 0x0A }.count)
        let dropped = log.dropped
        #expect(dropped > 0)
        #expect(lines + dropped == 10_000)
    }

    @Test func aBlockedReaderStopsNobody() throws {
        var ends: [Int32] = [-1, -1]
        #expect(unsafe pipe(&ends) == 0)
        let sink = try LogSink(descriptor: ends[1], limit: 100_000)
        let line = [UInt8](repeating: 0x61, count: 999) + [0x0A]
        var offered = 0
        // Nobody reads: the pipe takes 64 KiB, the sink 100,000 bytes, the rest is dropped and nothing waits.
        for _ in 0..<1_000 {
            while !sink.offer(line.span, lines: 1) {}
            offered += 1
        }
        #expect(offered == 1_000)
        #expect(sink.dropped >= 700 && sink.dropped < 1_000)
        #expect(!sink.finish(within: .milliseconds(5)))
        // The reader comes back: everything that was kept arrives whole.
        let kept = 1_000 * (1_000 - Int(sink.dropped))
        var received = 0
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while received < kept {
            let count = unsafe read(ends[0], &buffer, buffer.count)
            guard count > 0 else { break }
            received += count
        }
        #expect(received == kept)
        #expect(sink.finish(within: .seconds(10)))
        _ = close(ends[0])
        _ = close(ends[1])
    }

    @Test func linesArriveInOrder() throws {
        var ends: [Int32] = [-1, -1]
        #expect(unsafe pipe(&ends) == 0)
        let sink = try LogSink(descriptor: ends[1])
        var log = AccessLog(format: .text)
        for number in 0..<100 {
            log.begin(at: WallTime(seconds: 0), milliseconds: 0)
            log.field(.hops, UInt64(number))
            log.end()
            log.flush(to: sink)
        }
        while !log.isEmpty { log.flush(to: sink) }
        #expect(sink.finish(within: .seconds(10)))
        _ = close(ends[1])
        var text: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = unsafe read(ends[0], &buffer, buffer.count)
            guard count > 0 else { break }
            text += buffer[..<count]
        }
        _ = close(ends[0])
        let expected = (0..<100).map { "time=1970-01-01T00:00:00.000Z hops=\($0)\n" }.joined()
        #expect(String(decoding: text, as: UTF8.self) == expected)
    }
}
