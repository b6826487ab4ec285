import Containers
import MeshTestKit
import Testing
import Wire

/// Sessions that come and go over one worker's memory.
@Suite struct HTTP2MemoryTests {
    private final class Pair {
        private var client: HTTPSession
        private var server: HTTPSession

        init(_ memory: HTTP2Memory) {
            client = HTTPSession.http2(role: .client, memory: memory)
            server = HTTPSession.http2(role: .server, memory: memory)
        }

        /// The path that arrives, after one exchange of bytes each way.
        func ask(_ path: [UInt8]) throws -> [UInt8]? {
            var head = HeaderBlock()
            head.append(.method, "GET")
            head.append(.scheme, "https")
            head.append(.authority, "a.b")
            head.append(.path, path)
            _ = try client.openStream(head, endStream: true)
            var wire = OutputBuffer()
            try client.produce(into: &wire, upTo: 1_048_576)
            try server.receive(wire.bytes)
            wire.removeAll()
            try server.produce(into: &wire, upTo: 1_048_576)
            try client.receive(wire.bytes)
            while let event = server.nextEvent() {
                if case .head(let stream, _, _) = event { return server.takeHead(stream).bytes(of: .path) }
            }
            return nil
        }
    }

    @Test(arguments: 0..<4) func sessionsThatComeAndGoKeepTheirBytesApart(seed: UInt64) throws {
        let memory = HTTP2Memory()
        var random = SplitMix64(seed: seed)
        var pairs: [Pair] = []
        for step in 0..<400 {
            if pairs.count > 150 || (!pairs.isEmpty && random.next() % 3 == 0) {
                pairs.remove(at: Int(random.next() % UInt64(pairs.count)))
            } else {
                pairs.append(Pair(memory))
            }
            if step % 90 == 0 { memory.drain() }
            guard !pairs.isEmpty else { continue }
            // Some heads are longer than a frame.
            let length = random.next() % 16 == 0 ? 20_000 : Int(random.next() % 200)
            let path = [0x2F] + [UInt8](repeating: 0x61 + UInt8(step % 26), count: length)
            #expect(try pairs[Int(random.next() % UInt64(pairs.count))].ask(path) == path)
        }
        pairs.removeAll()
        memory.drain()
    }
}
