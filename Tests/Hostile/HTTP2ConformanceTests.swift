import Testing
import Wire

/// HOSTILE 57: what RFC 9113 and RFC 7541 say of single frames, section by section, in the order of the known conformance suites. Each
/// case is frames of a client that opens correctly, and what must come of them; a request behind them shows whether the
/// connection lives.
@Suite struct HTTP2ConformanceTests {
    enum Outcome: Sendable, Equatable {
        /// The request on stream 1 arrives whole.
        case works
        /// Nothing comes of it, and nothing is lost by it.
        case nothing
        /// RST_STREAM with this code on stream 1.
        case reset(UInt8)
        /// GOAWAY with this code, and the end.
        case goAway(UInt8)
    }

    typealias Make = @Sendable (inout Frames) -> Void

    private static let head: [(String, String)] = [
        (":method", "POST"), (":scheme", "https"), (":path", "/"), (":authority", "shop.test"),
    ]

    private static func literals(_ fields: [(String, String)]) -> [UInt8] {
        var bytes: [UInt8] = []
        for (name, value) in fields {
            bytes.append(0x10)
            for text in [name, value] {
                bytes.append(UInt8(text.utf8.count))
                bytes += Array(text.utf8)
            }
        }
        return bytes
    }

    private static let block = literals(head)

    struct Case: Sendable {
        let section: String
        let outcome: Outcome
        let make: Make
    }

    private static func on(_ section: String, _ outcome: Outcome, _ make: @escaping Make) -> Case {
        Case(section: section, outcome: outcome, make: make)
    }

    /// The fields of a request, and bytes around them.
    private static func around(_ before: [UInt8], _ after: [UInt8]) -> [UInt8] { before + block + after }
    private static func behind(_ after: [UInt8]) -> [UInt8] { block + after }

    static let cases: [Case] = [
        on("4.1 a frame of unknown kind", .works) {
            $0.add(0x16, 0, 0, [1])
            $0.request(1)
        },
        on("4.1 flags that are not defined", .works) {
            $0.add(6, 0xF6, 0, .init(repeating: 0, count: 8))
            $0.request(1)
        },
        on("4.1 the reserved bit of the stream", .works) {
            $0.add(6, 0, 0x8000_0000, .init(repeating: 0, count: 8))
            $0.request(1)
        },
        on("4.2 DATA of 16,384 bytes", .works) {
            $0.add(1, 4, 1, block)
            $0.add(0, 1, 1, .init(repeating: 1, count: 16_384))
        },
        on("4.2 DATA of 16,385 bytes", .goAway(6)) {
            $0.add(1, 4, 1, block)
            $0.add(0, 1, 1, .init(repeating: 1, count: 16_385))
        },
        on("4.2 HEADERS of 16,385 bytes", .goAway(6)) {
            $0.add(1, 5, 1, .init(repeating: 0x82, count: 16_385))
        },
        on("4.3 PRIORITY within a head", .goAway(1)) {
            $0.add(1, 1, 1, block)
            $0.add(2, 0, 1, [0, 0, 0, 0, 255])
            $0.add(9, 4, 1, [])
        },
        on("4.3 HEADERS of another stream within a head", .goAway(1)) {
            $0.add(1, 1, 1, block)
            $0.add(1, 5, 3, block)
        },
        on("5.1 WINDOW_UPDATE on an idle stream", .goAway(1)) {
            $0.add(8, 0, 1, [0, 0, 0, 100])
        },
        on("5.1 CONTINUATION on an idle stream", .goAway(1)) {
            $0.add(9, 4, 1, block)
        },
        on("5.1 PRIORITY on an idle stream", .works) {
            $0.add(2, 0, 1, [0, 0, 0, 0, 16])
            $0.request(1)
        },
        on("5.1 DATA behind END_STREAM", .reset(5)) {
            $0.add(1, 5, 1, block)
            $0.add(0, 1, 1, [1])
        },
        on("5.1 HEADERS behind END_STREAM", .reset(5)) {
            $0.add(1, 5, 1, block)
            $0.add(1, 5, 1, block)
        },
        on("5.1 CONTINUATION behind END_STREAM", .goAway(1)) {
            $0.add(1, 5, 1, block)
            $0.add(9, 4, 1, block)
        },
        on("5.1 WINDOW_UPDATE behind END_STREAM", .works) {
            $0.add(1, 5, 1, block)
            $0.add(8, 0, 1, [0, 0, 0, 100])
        },
        on("5.1 DATA behind RST_STREAM", .nothing) {
            $0.add(1, 4, 1, block)
            $0.add(3, 0, 1, [0, 0, 0, 8])
            $0.add(0, 1, 1, [1])
        },
        on("5.1 HEADERS behind RST_STREAM", .nothing) {
            $0.add(1, 4, 1, block)
            $0.add(3, 0, 1, [0, 0, 0, 8])
            $0.add(1, 5, 1, block)
        },
        on("5.1 WINDOW_UPDATE and RST_STREAM behind RST_STREAM", .nothing) {
            $0.add(1, 4, 1, block)
            $0.add(3, 0, 1, [0, 0, 0, 8])
            $0.add(8, 0, 1, [0, 0, 0, 100])
            $0.add(3, 0, 1, [0, 0, 0, 8])
        },
        on("5.1.1 a lower stream", .nothing) {
            $0.request(5)
            $0.add(1, 5, 1, block)
        },
        on("5.3.1 HEADERS that depend on themselves", .reset(1)) {
            $0.add(1, 0x25, 1, around([0, 0, 0, 1, 15], []))
        },
        on("5.3.1 PRIORITY that depends on itself", .goAway(1)) {
            $0.add(2, 0, 1, [0, 0, 0, 1, 15])
        },
        on("5.5 a setting that is not known", .works) {
            $0.add(4, 0, 0, [0, 255, 0, 0, 0, 1])
            $0.request(1)
        },
        on("6.1 padding as long as the frame", .goAway(1)) {
            $0.add(1, 4, 1, block)
            $0.add(0, 9, 1, [2, 0])
        },
        on("6.1 padded DATA of no bytes", .goAway(6)) {
            $0.add(1, 4, 1, block)
            $0.add(0, 9, 1, [])
        },
        on("6.1 all of it padding", .works) {
            $0.add(1, 4, 1, block)
            $0.add(0, 9, 1, [3, 0, 0, 0])
        },
        on("6.2 padded HEADERS", .works) {
            $0.add(1, 0x0D, 1, [2] + behind([0, 0]))
        },
        on("6.2 padding longer than HEADERS", .goAway(1)) {
            $0.add(1, 0x0D, 1, [9, 0x82])
        },
        on("6.2 HEADERS too short for their priority", .goAway(6)) {
            $0.add(1, 0x25, 1, [0, 0, 0, 0])
        },
        on("6.2 HEADERS with priority", .works) {
            $0.add(1, 0x25, 1, around([0x80, 0, 0, 0, 255], []))
        },
        on("6.3 PRIORITY on stream 0", .goAway(1)) {
            $0.add(2, 0, 0, [0, 0, 0, 0, 255])
        },
        on("6.3 PRIORITY of 4 bytes", .goAway(6)) {
            $0.add(2, 0, 1, [0, 0, 0, 0])
        },
        on("6.5 SETTINGS ACK", .works) {
            $0.add(4, 1, 0, [])
            $0.request(1)
        },
        on("6.5.2 ENABLE_CONNECT_PROTOCOL 2", .goAway(1)) {
            $0.add(4, 0, 0, [0, 8, 0, 0, 0, 2])
        },
        on("6.5.2 MAX_FRAME_SIZE 2^24", .goAway(1)) {
            $0.add(4, 0, 0, [0, 5, 1, 0, 0, 0])
        },
        on("6.5.3 a window said twice", .works) {
            $0.add(4, 0, 0, [0, 4, 0, 0, 0, 100, 0, 4, 0, 0, 0, 1])
            $0.request(1)
        },
        on("6.7 an answer to no PING", .works) {
            $0.add(6, 1, 0, [1, 2, 3, 4, 5, 6, 7, 8])
            $0.request(1)
        },
        on("6.8 GOAWAY of 7 bytes", .goAway(6)) {
            $0.add(7, 0, 0, [0, 0, 0, 0, 0, 0, 0])
        },
        on("6.9 WINDOW_UPDATE of 5 bytes", .goAway(6)) {
            $0.add(8, 0, 0, [0, 0, 0, 1, 0])
        },
        on("6.9 WINDOW_UPDATE of 0 on a stream", .reset(1)) {
            $0.add(1, 4, 1, block)
            $0.add(8, 0, 1, [0, 0, 0, 0])
        },
        on("6.10 several CONTINUATIONs", .works) {
            $0.add(1, 1, 1, Array(block.prefix(3)))
            $0.add(9, 0, 1, Array(block.dropFirst(3).prefix(20)))
            $0.add(9, 4, 1, Array(block.dropFirst(23)))
        },
        on("6.10 CONTINUATION on another stream", .goAway(1)) {
            $0.add(1, 1, 1, block)
            $0.add(9, 4, 3, block)
        },
        on("6.10 DATA within a head", .goAway(1)) {
            $0.add(1, 0, 1, block)
            $0.add(0, 0, 1, [1])
        },
        on("7 RST_STREAM with a code that is not known", .nothing) {
            $0.add(1, 4, 1, block)
            $0.add(3, 0, 1, [0, 0, 1, 255])
        },
        on("8.1 a second head without END_STREAM", .reset(1)) {
            $0.add(1, 4, 1, block)
            $0.add(1, 4, 1, block)
        },
        on("RFC 7541 2.3.3 an index beyond the tables", .goAway(9)) {
            $0.add(1, 5, 1, around([0xBE], []))
        },
        on("RFC 7541 4.2 a size update behind a field", .goAway(9)) {
            $0.add(1, 5, 1, behind([0x20]))
        },
        on("RFC 7541 4.2 a size update in front", .works) {
            $0.add(1, 5, 1, around([0x20], []))
        },
        on("RFC 7541 5.2 padding of more than 7 bits", .goAway(9)) {
            $0.add(1, 5, 1, behind([0, 0x85, 0xF2, 0xB2, 0x4A, 0x84, 0xFF]))
        },
        on("RFC 7541 5.2 padding of zeros", .goAway(9)) {
            $0.add(1, 5, 1, behind([0, 0x81, 0x18, 0]))
        },
        on("RFC 7541 5.2 EOS in a string", .goAway(9)) {
            $0.add(1, 5, 1, behind([0, 0x84, 0xFF, 0xFF, 0xFF, 0xFF]))
        },
        on("RFC 7541 6.1 index 0", .goAway(9)) {
            $0.add(1, 5, 1, behind([0x80]))
        },
        on("RFC 7541 6.3 a table larger than announced", .goAway(9)) {
            $0.add(1, 5, 1, around([0x3F, 0xE2, 0x1F], []))
        },
    ]

    @Test(arguments: cases.indices)
    func framesMeanWhatTheStandardSays(_ index: Int) {
        let section = Self.cases[index].section
        let outcome = Self.cases[index].outcome
        for piece in [Int.max, 1, 7] {
            var limits = HTTPLimits()
            limits.allowsUpgrade = true
            var session = HTTPSession.http2(role: .server, limits: limits)
            var told = Told()
            var frames = Frames.opened()
            Self.cases[index].make(&frames)
            frames.request(99)
            feed(&session, frames.bytes, into: &told, cut: { piece })
            let answer = Frames.parse(output(of: &session))
            drain(&session, &told)
            let reset = answer.first { $0.type == 3 && $0.stream == 1 }?.payload.last
            let goAway = answer.first { $0.type == 7 }?.payload[7]
            switch outcome {
            case .works:
                #expect(told.heads[1] != nil && told.ended.contains(1) && reset == nil && goAway == nil, "\(section)")
            case .nothing: #expect(!told.ended.contains(1) && reset == nil && goAway == nil, "\(section)")
            case .reset(let code): #expect(reset == code && goAway == nil, "\(section)")
            case .goAway(let code): #expect(goAway == code && session.shouldClose == true, "\(section)")
            }
            if case .goAway = outcome { continue }
            #expect(told.heads[99] != nil && session.failure == nil, "\(section): the connection lives")
        }
    }

    /// 6.9.1: one byte of window lets one byte out, and no more; 6.9.2: a later SETTINGS lets out the rest.
    @Test func windowsLetOutWhatTheySay() {
        var session = HTTPSession.http2(role: .server)
        var told = Told()
        var frames = Frames.opened()
        frames.add(4, 0, 0, [0, 4, 0, 0, 0, 1])
        frames.request(1)
        feed(&session, frames.bytes, into: &told)
        session.sendHead(1, HeaderBlock.answer, .response, endStream: false)
        session.sendData(1, Array("hello".utf8).span, endStream: true)
        var data = Frames.parse(output(of: &session)).filter { $0.type == 0 }
        #expect(data.map(\.payload) == [[UInt8(ascii: "h")]])
        frames = Frames()
        frames.add(4, 0, 0, [0, 4, 0, 0, 0, 3])
        feed(&session, frames.bytes, into: &told)
        data = Frames.parse(output(of: &session)).filter { $0.type == 0 }
        #expect(data.map(\.payload) == [Array("el".utf8)])
        frames = Frames()
        frames.add(8, 0, 1, [0, 0, 0, 9])
        feed(&session, frames.bytes, into: &told)
        data = Frames.parse(output(of: &session)).filter { $0.type == 0 }
        #expect(data.map(\.payload) == [Array("lo".utf8)])
    }

    /// 6.5.3 and 6.7: each SETTINGS and each PING has its answer, in order.
    @Test func settingsAndPingsAreAnswered() {
        var session = HTTPSession.http2(role: .server)
        var told = Told()
        var frames = Frames.opened()
        frames.add(6, 0, 0, [1, 2, 3, 4, 5, 6, 7, 8])
        frames.add(4, 0, 0, [])
        feed(&session, frames.bytes, into: &told)
        // Our own SETTINGS are not empty.
        let answers = Frames.parse(output(of: &session)).filter { $0.type == 6 || $0.type == 4 && $0.payload.isEmpty }
        #expect(answers.map(\.type) == [4, 6, 4] && answers[1].payload == [1, 2, 3, 4, 5, 6, 7, 8])
    }
}

extension HeaderBlock {
    fileprivate static var answer: HeaderBlock { block([(Array(":status".utf8), Array("200".utf8))]) }
}
