import Containers
import MeshModel
import Routing
import Testing

@Suite struct CallHeadersTests {
    private func judge(_ text: String) -> Hops.Judgement {
        let value = bytes(text)
        return Hops.judge(value.span, at: cluster("west"))
    }

    private func text(_ write: (inout ByteBuffer) -> Void) -> String {
        var buffer = ByteBuffer()
        write(&buffer)
        var result: [UInt8] = []
        for index in 0..<buffer.count { result.append(buffer.bytes[index]) }
        return String(decoding: result, as: UTF8.self)
    }

    @Test func countsHopsAndFindsLoops() {
        #expect(judge("") == .passable(0))
        #expect(judge("east/gw-1") == .passable(1))
        #expect(judge("west/gw-1") == .loop)
        #expect(judge("east/a,north/b") == .loop)
        #expect(judge("west/a,north/b") == .loop)
        #expect(judge("western/a") == .passable(1))
        #expect(judge("a/b,c/d,e/f") == .loop)
        for wrong in [
            ",", "east", "east/", "/gw", "east/gw,", ",east/gw", "east/gw ", "East/gw", "east/g_w", "east/a/b", "-e/a",
            "east/" + String(repeating: "a", count: 64), "\u{0}/a",
        ] {
            #expect(judge(wrong) == .invalid, "\(wrong)")
        }
    }

    @Test func appendsItself() {
        let own = bytes("west/gw-2")
        let before = bytes("east/gw-1")
        #expect(text { Hops.append(before.span, own: own, into: &$0) } == "east/gw-1,west/gw-2")
        #expect(text { Hops.append(Span(), own: own, into: &$0) } == "west/gw-2")
        #expect(Mesh().gatewayTable().hopName == bytes("east/east-1"))
        let two = bytes("east/gw-1,west/gw-2")
        #expect(Hops.count(two.span) == 2 && Hops.count(Span()) == 0)
        let three = bytes("a/b,c/d,e/f")
        #expect(Hops.count(three.span) == nil)
    }

    @Test func aDeadlineOnlyComesNearer() {
        func tightened(_ value: String) -> Instant? {
            let value = bytes(value)
            return CallDeadline.tightened(instant(10), by: value.span, now: instant(5))
        }
        #expect(tightened("1000") == instant(6))
        #expect(tightened("5000") == instant(10))
        #expect(tightened("9999999999") == instant(10))
        #expect(tightened("0") == instant(5))
        for wrong in ["", "+1", "-1", "1.0", " 1", "1 ", "0x1", "10000000000", "１"] {
            #expect(tightened(wrong) == nil, "\(wrong)")
        }
        var buffer = ByteBuffer()
        let isLeft = CallDeadline.append(instant(6.5), now: instant(5), into: &buffer)
        #expect(isLeft && buffer.count == 4)
        let isNone = CallDeadline.append(instant(5), now: instant(5), into: &buffer)
        #expect(!isNone && buffer.count == 4)
        #expect(text { _ = CallDeadline.append(.distantFuture, now: .zero, into: &$0) } == "9999999999")
    }

    @Test func attemptsAreSmallPositiveNumbers() {
        func parse(_ value: String) -> Int? {
            let value = bytes(value)
            return CallAttempts.parse(value.span)
        }
        #expect(parse("1") == 1 && parse("999") == 999)
        for wrong in ["", "0", "000", "1000", "-1", "1a"] { #expect(parse(wrong) == nil, "\(wrong)") }
    }

    private let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    private func trace(_ value: String) -> TraceContext? {
        let value = bytes(value)
        return TraceContext(value.span)
    }

    @Test func readsTraceparentStrictly() {
        let context = trace(parent)
        #expect(context?.traceHigh == 0x4bf9_2f35_77b3_4da6 && context?.traceLow == 0xa3ce_929d_0e0e_4736)
        #expect(context?.span == 0x00f0_67aa_0ba9_02b7 && context?.isSampled == true)
        #expect(text { context?.append(into: &$0) } == parent)
        #expect(trace("cc-" + parent.dropFirst(3)) != nil)
        #expect(trace("cc-" + parent.dropFirst(3) + "-what-comes-later") != nil)
        for wrong in [
            "", "00", parent + "-", parent + "-01", parent.uppercased(), "ff-" + parent.dropFirst(3),
            "cc-" + parent.dropFirst(3) + ".x", "00_" + parent.dropFirst(3), parent.dropLast() + "g",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", " " + parent.dropLast(),
        ] {
            #expect(trace(String(wrong)) == nil, "\(wrong)")
        }
    }

    @Test func aChildKeepsTheTraceAndChangesTheSpan() {
        var random = RandomBits(seed: 3)
        guard let context = trace(parent) else { return }
        let child = context.child(random: &random)
        #expect(child.traceHigh == context.traceHigh && child.traceLow == context.traceLow)
        #expect(child.span != context.span && child.span != 0 && child.isSampled)
        var sampled = 0
        for _ in 0..<10_000 {
            let fresh = TraceContext.fresh(samplePercent: 10, random: &random)
            if fresh.isSampled { sampled += 1 }
            #expect(trace(text { fresh.append(into: &$0) }) == fresh)
        }
        #expect(sampled > 850 && sampled < 1_150)
        #expect(!TraceContext.fresh(samplePercent: -1, random: &random).isSampled)
        #expect(TraceContext.fresh(samplePercent: 1_000, random: &random).isSampled)
    }

    @Test func arbitraryBytesNeverTrap() {
        var random = RandomBits(seed: 99)
        for _ in 0..<20_000 {
            var value: [UInt8] = []
            let alphabet = bytes("0123456789abcdef-/,. wW")
            for _ in 0..<Int(random.below(70)) {
                let pick = random.below(100)
                value.append(
                    pick < 95
                        ? alphabet[Int(random.below(UInt64(alphabet.count)))]
                        : UInt8(truncatingIfNeeded: random.next()))
            }
            _ = Hops.judge(value.span, at: cluster("west"))
            _ = Hops.count(value.span)
            _ = CallDeadline.tightened(.distantFuture, by: value.span, now: .zero)
            _ = CallAttempts.parse(value.span)
            _ = TraceContext(value.span)
        }
    }
}
