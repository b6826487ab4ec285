import MeshTestKit
import Testing
import Wire

/// HOSTILE 57 to 75 at the level of frames: each mistake costs what RFC 9113 says, and arbitrary frames never trap or grow without
/// bound.
@Suite struct HTTP2FrameTests {
    /// A mistake and the code of the GOAWAY that must answer it (RFC 9113 7).
    static let mistakes: [(name: String, code: UInt8, make: @Sendable (inout Frames) -> Void)] = [
        ("PUSH_PROMISE from a client (8.4)", 1, { $0.add(5, 4, 1, [0, 0, 0, 2]) }),
        ("even stream (5.1.1)", 1, { $0.request(2) }),
        ("HEADERS on stream 0 (6.2)", 1, { $0.request(0) }),
        ("DATA on stream 0 (6.1)", 1, { $0.add(0, 0, 0, [1]) }),
        ("DATA on an idle stream (5.1)", 1, { $0.add(0, 0, 7, [1]) }),
        ("SETTINGS of 5 bytes (6.5)", 6, { $0.add(4, 0, 0, [0, 0, 0, 0, 0]) }),
        ("SETTINGS on a stream (6.5)", 1, { $0.add(4, 0, 1, []) }),
        ("SETTINGS ACK with a payload (6.5)", 6, { $0.add(4, 1, 0, [0, 1, 0, 0, 0, 0]) }),
        ("ENABLE_PUSH 2 (6.5.2)", 1, { $0.add(4, 0, 0, [0, 2, 0, 0, 0, 2]) }),
        ("MAX_FRAME_SIZE 16383 (6.5.2)", 1, { $0.add(4, 0, 0, [0, 5, 0, 0, 0x3F, 0xFF]) }),
        ("INITIAL_WINDOW_SIZE 2^31 (6.5.2)", 3, { $0.add(4, 0, 0, [0, 4, 0x80, 0, 0, 0]) }),
        ("PING of 7 bytes (6.7)", 6, { $0.add(6, 0, 0, [0, 0, 0, 0, 0, 0, 0]) }),
        ("PING on a stream (6.7)", 1, { $0.add(6, 0, 3, [0, 0, 0, 0, 0, 0, 0, 0]) }),
        ("GOAWAY on a stream (6.8)", 1, { $0.add(7, 0, 1, [0, 0, 0, 0, 0, 0, 0, 0]) }),
        ("WINDOW_UPDATE 0 (6.9)", 1, { $0.add(8, 0, 0, [0, 0, 0, 0]) }),
        ("WINDOW_UPDATE of 3 bytes (6.9)", 6, { $0.add(8, 0, 0, [0, 0, 1]) }),
        ("window above 2^31-1 (6.9.1)", 3, { $0.add(8, 0, 0, [0x7F, 0xFF, 0xFF, 0xFF]) }),
        ("RST_STREAM on stream 0 (6.4)", 1, { $0.add(3, 0, 0, [0, 0, 0, 8]) }),
        ("RST_STREAM on an idle stream (6.4)", 1, { $0.add(3, 0, 9, [0, 0, 0, 8]) }),
        ("RST_STREAM of 3 bytes (6.4)", 6, { $0.add(3, 0, 1, [0, 0, 8]) }),
        ("CONTINUATION alone (6.10)", 1, { $0.add(9, 4, 1, []) }),
        ("a frame above the limit (4.2)", 6, { $0.add(0, 0, 1, [UInt8](repeating: 0, count: 16_385)) }),
        (
            "padding longer than the frame (6.1)", 1,
            {
                $0.request(1, endStream: false)
                $0.add(0, 8, 1, [9, 0])
            }
        ),
        ("a header block that is no HPACK (4.3)", 9, { $0.add(1, 5, 1, [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]) }),
        ("an index beyond the table (RFC 7541 2.3.3)", 9, { $0.add(1, 5, 1, [0xBE]) }),
        ("33 settings", 11, { $0.add(4, 0, 0, (0..<33).flatMap { _ in [0, 3, 0, 0, 0, 1] as [UInt8] }) }),
    ]

    @Test(arguments: mistakes.indices)
    func aMistakeEndsTheConnectionWithItsCode(_ index: Int) {
        let mistake = Self.mistakes[index]
        var frames = Frames.opened()
        mistake.make(&frames)
        var session = HTTPSession.http2(role: .server)
        var told = Told()
        feed(&session, frames.bytes, into: &told)
        // Some are noticed when the answer is written.
        var answer = output(of: &session)
        answer += output(of: &session)
        drain(&session, &told)
        let last = Frames.parse(answer).last { $0.type == 7 }
        #expect(last?.payload.count ?? 0 >= 8 && last?.payload[7] == mistake.code, "\(mistake.name)")
        #expect(session.shouldClose == true, "\(mistake.name)")
        #expect(told.closed.values.allSatisfy { $0 != .none }, "\(mistake.name)")
    }

    /// A fault of one stream does not cost the others.
    @Test func aFaultOfAStreamCostsThatStream() {
        var frames = Frames.opened()
        frames.request(1, endStream: false)
        frames.request(3, endStream: false)
        // 6.9.1: a stream's window above 2^31-1 is a fault of that stream.
        frames.add(8, 0, 1, [0x7F, 0xFF, 0xFF, 0xFF])
        frames.add(0, 1, 3, Array("body".utf8))
        var session = HTTPSession.http2(role: .server)
        var told = Told()
        feed(&session, frames.bytes, into: &told)
        let answer = Frames.parse(output(of: &session))
        drain(&session, &told)
        #expect(answer.contains { $0.type == 3 && $0.stream == 1 && $0.payload == [0, 0, 0, 3] })
        #expect(told.bodies[3] == Array("body".utf8) && told.ended.contains(3))
        #expect(session.shouldClose == false)
    }

    /// 67: windows that shrink below zero, and grow again, neither trap nor send beyond them.
    @Test func windowsMayBecomeNegative() {
        var session = HTTPSession.http2(role: .server)
        var told = Told()
        var frames = Frames.opened()
        frames.request(1)
        feed(&session, frames.bytes, into: &told)
        session.sendHead(1, block([(Array(":status".utf8), Array("200".utf8))]), .response, endStream: false)
        session.sendData(1, [UInt8](repeating: 7, count: 100_000).span, endStream: true)
        var sent = output(of: &session)
        for size: UInt32 in [0, 1, 0x7FFF_FFFF, 0, 10] {
            var change = Frames()
            change.add(4, 0, 0, [0, 4] + Frames.word(size))
            feed(&session, change.bytes, into: &told)
            sent += output(of: &session)
        }
        #expect(session.failure == nil)
        let before = Frames.parse(sent).filter { $0.type == 0 }.reduce(0) { $0 + $1.payload.count }
        #expect(before <= 65_535)
        var grant = Frames()
        grant.add(8, 0, 1, Frames.word(200_000))
        grant.add(8, 0, 0, Frames.word(200_000))
        feed(&session, grant.bytes, into: &told)
        sent += output(of: &session)
        sent += output(of: &session)
        let after = Frames.parse(sent).filter { $0.type == 0 }.reduce(0) { $0 + $1.payload.count }
        #expect(after == 100_000 && session.failure == nil)
    }

    /// 58: frames of any kind, length and content.
    @Test func arbitraryFramesNeverTrap() {
        var random = SplitMix64.announced()
        for _ in 0..<1_500 {
            var session = HTTPSession.http2(role: .server)
            var told = Told()
            var frames = Frames.opened()
            for step in 0..<Int.random(in: 1...40, using: &random) {
                let stream = UInt32(Int.random(in: 0...9, using: &random))
                switch Int.random(in: 0..<6, using: &random) {
                case 0: frames.request(UInt32(step * 2 + 1), endStream: Bool.random(using: &random))
                case 1: frames.add(4, 0, 0, [0, UInt8.random(in: 1...6, using: &random)] + random.bytes(4))
                default:
                    let length = Int.random(in: 0...40, using: &random)
                    frames.add(
                        UInt8.random(in: 0...11, using: &random), UInt8.random(in: 0...63, using: &random), stream,
                        random.bytes(length))
                }
            }
            if Bool.random(using: &random) { frames.bytes = random.damaged(frames.bytes) }
            let piece = Int.random(in: 1...64, using: &random)
            feed(&session, frames.bytes, into: &told, cut: { piece })
            let answer = output(of: &session)
            #expect(answer.count < 1 << 20)
            #expect(session.activeStreams <= 1_024)
            if session.failure != nil {
                _ = output(of: &session)
                drain(&session, &told)
                #expect(session.shouldClose == true)
            }
        }
    }
}
