import Glibc
import Identity
import MeshModel
import MeshTestKit
import Reactor
import TLS
import Testing

@Suite(.serialized) struct FlowTests {
    let papers: Papers

    init() throws { papers = try Papers() }

    /// A connection that is ready for bytes, with TLS or without.
    private func wire(secure: Bool, shared: Shared = Shared()) throws -> Wire {
        let wire = try secure ? papers.wire(shared: shared) : Wire(server: nil, client: nil, shared: shared)
        #expect(wire.shakeHands())
        return wire
    }

    /// Bytes whose every shift would show.
    private func pattern(_ count: Int) -> [UInt8] {
        let block = (0..<65_537).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 11) }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count + block.count)
        while bytes.count < count { bytes += block }
        return Array(bytes.prefix(count))
    }

    @Test(arguments: [true, false])
    func tenMebibytesPassSmallSocketBuffers(secure: Bool) throws {
        let wire = try wire(secure: secure)
        wire.near.limitSendBuffer()
        let bytes = pattern(10 << 20)
        wire.far.isReading = false
        wire.sends(Array(bytes[..<(5 << 20)]), from: wire.near)
        wire.sends(Array(bytes[(5 << 20)...]), from: wire.near)
        #expect(wire.near.pendingOutput > 1 << 20, "the socket takes little; the rest waits")
        #expect(wire.near.interest.contains(.writable))
        #expect(!wire.far.interest.contains(.readable))
        wire.far.isReading = true
        #expect(wire.run { $0.far.received.count == bytes.count })
        #expect(wire.far.received == bytes)
        #expect(wire.run { $0.near.pendingOutput == 0 })
        #expect(!wire.near.interest.contains(.writable))
    }

    @Test(arguments: [true, false])
    func bothDirectionsFlowAtOnce(secure: Bool) throws {
        let wire = try wire(secure: secure)
        let there = pattern(3 << 20)
        let back = Array(there.reversed())
        wire.sends(there, from: wire.near)
        wire.sends(back, from: wire.far)
        #expect(wire.run { $0.far.received.count == there.count && $0.near.received.count == back.count })
        #expect(wire.far.received == there)
        #expect(wire.near.received == back)
    }

    @Test(arguments: [true, false])
    func eachDirectionEndsByItself(secure: Bool) throws {
        let wire = try wire(secure: secure)
        wire.sends([1, 2, 3], from: wire.near)
        wire.ends(wire.near)
        #expect(wire.run { $0.far.ended })
        #expect(wire.far.received == [1, 2, 3])
        #expect(wire.far.inputClosed && !wire.far.outputClosed)
        #expect(wire.near.outputClosed && !wire.near.inputClosed)
        let answer = pattern(1 << 20)
        wire.sends(answer, from: wire.far)
        #expect(wire.run { $0.near.received.count == answer.count })
        #expect(wire.near.received == answer)
        // What is sent after the end goes nowhere, and the end is said once.
        wire.sends([9], from: wire.near)
        wire.ends(wire.near)
        wire.ends(wire.far)
        #expect(wire.run { $0.near.ended })
        #expect(wire.near.failure == nil && wire.far.failure == nil)
        #expect(wire.far.received == [1, 2, 3])
        #expect(wire.near.inputClosed && wire.far.outputClosed)
    }

    @Test(arguments: [true, false])
    func theOtherSideMayEndFirst(secure: Bool) throws {
        let wire = try wire(secure: secure)
        wire.ends(wire.far)
        #expect(wire.run { $0.near.ended })
        wire.sends([1], from: wire.near)
        #expect(wire.run { $0.far.received == [1] })
        wire.ends(wire.near)
        #expect(wire.run { $0.far.ended })
        #expect(wire.near.failure == nil && wire.far.failure == nil)
    }

    @Test(arguments: [true, false])
    func theEndWaitsForWhatIsPending(secure: Bool) throws {
        let wire = try wire(secure: secure)
        wire.near.limitSendBuffer()
        wire.far.isReading = false
        let bytes = pattern(4 << 20)
        wire.sends(bytes, from: wire.near)
        wire.ends(wire.near)
        #expect(wire.near.pendingOutput > 0)
        #expect(!wire.near.outputClosed)
        #expect(wire.near.interest.contains(.writable))
        wire.far.isReading = true
        #expect(wire.run { $0.far.ended })
        #expect(wire.far.received == bytes)
        #expect(wire.near.outputClosed)
    }

    @Test func aFINWithoutCloseNotifyIsTruncation() throws {
        let wire = try wire(secure: true)
        wire.sends([1, 2], from: wire.near)
        #expect(wire.run { $0.far.received.count == 2 })
        wire.near.drop()
        #expect(wire.run { $0.far.failure != nil })
        #expect(wire.far.failure == .truncated)
        #expect(wire.far.failure?.isTLS == false)
        // Without TLS a FIN is all there is.
        let plain = try self.wire(secure: false)
        plain.sends([1, 2], from: plain.near)
        plain.near.drop()
        #expect(plain.run { $0.far.ended })
        #expect(plain.far.received == [1, 2] && plain.far.failure == nil)
    }

    @Test func aFINWithinTheHandshakeIsTruncation() throws {
        let wire = try papers.wire()
        wire.near.drop()
        #expect(wire.run { $0.far.failure != nil })
        #expect(wire.far.failure == .truncated)
        let other = try papers.wire()
        other.far.drop()
        #expect(other.run { $0.near.failure != nil })
        #expect(!other.near.isEstablished)
    }

    @Test(arguments: [true, false])
    func anAbortIsAReset(secure: Bool) throws {
        let wire = try wire(secure: secure)
        wire.near.abort()
        #expect(wire.run { $0.far.failure != nil })
        guard case .socket(let error) = wire.far.failure else {
            Issue.record("\(String(describing: wire.far.failure))")
            return
        }
        #expect(error.code == ECONNRESET)
        #expect(!wire.far.ended)
    }

    @Test func aRefusedConnectIsASocketError() throws {
        let any = try #require(SocketAddress(ip: "127.0.0.1", port: 0))
        let listener = try ListenerSocket.bind(any)
        guard let address = listener.address else { return }
        _ = consume listener
        let shared = Shared()
        guard let socket = try? Socket.connect(to: address) else { return }
        let side = Side(
            Transport(
                client: socket, context: try papers.clientContext(), serverName: Array(Names.api.utf8)))
        #expect(side.interest == .writable)
        var polls = [pollfd(fd: side.descriptor, events: Int16(POLLOUT), revents: 0)]
        // SAFETY: the array is written during the call only.
        #expect(unsafe poll(&polls, 1, 10_000) == 1)
        side.step(&shared.buffers, readable: true, wall: CertificateMint.now)
        guard case .socket(let error) = side.failure else {
            Issue.record("\(String(describing: side.failure))")
            return
        }
        #expect(error.isRefused)
        #expect(side.failure?.isTLS == false)
    }

    @Test func connectionsOfOneThreadDoNotMix() throws {
        let shared = Shared()
        let wires = try (0..<8).map { index in try wire(secure: index % 2 == 0, shared: shared) }
        let blocks = (0..<8).map { index in [UInt8](repeating: UInt8(index + 1), count: 300_000 + index) }
        for (index, wire) in wires.enumerated() { wire.sends(blocks[index], from: wire.near) }
        for _ in 0..<10_000 where !wires.indices.allSatisfy({ wires[$0].far.received.count >= blocks[$0].count }) {
            for wire in wires { wire.turn(milliseconds: 1) }
        }
        for (index, wire) in wires.enumerated() { #expect(wire.far.received == blocks[index]) }
    }

    @Test(arguments: [(true, true), (true, false), (false, true), (false, false)])
    func bytesAreForwardedFromOneToTheOther(downstream: Bool, upstream: Bool) throws {
        let shared = Shared()
        let first = try wire(secure: downstream, shared: shared)
        let second = try wire(secure: upstream, shared: shared)
        let bytes = pattern(2 << 20)
        first.sends(bytes, from: first.near)
        var moved = 0
        var expected: [UInt8] = []
        for _ in 0..<100_000 where moved < bytes.count {
            first.near.step(&shared.buffers, readable: false, wall: first.wall)
            guard case .bytes(let count) = try first.far.transport?.receive(&shared.buffers) else {
                second.turn(milliseconds: 1)
                continue
            }
            // The first byte goes by another way; the rest is forwarded from the offset.
            let head = shared.buffers.plain[0]
            var copy: [UInt8] = []
            for index in 0..<count { copy.append(shared.buffers.plain[index]) }
            #expect(copy == Array(bytes[moved..<moved + count]))
            if count > 1 {
                try second.near.transport?.forward(&shared.buffers, from: 1)
                #expect(shared.buffers.plain[0] == head, "the plaintext stands until the next receive")
            }
            moved += count
            expected += copy.dropFirst()
        }
        #expect(moved == bytes.count)
        #expect(second.run { $0.far.received.count == expected.count })
        #expect(second.far.received == expected)
    }

    @Test func contextsOutliveTheirMakers() throws {
        // The SVID, the store and the context go before the connection does.
        let wire = try {
            let short = try Papers()
            return try short.wire()
        }()
        #expect(wire.shakeHands())
        wire.sends([1], from: wire.near)
        #expect(wire.run { $0.far.received == [1] })
    }
}
