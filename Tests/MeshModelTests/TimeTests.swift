import MeshModel
import Testing

@Suite struct TimeTests {
    @Test func deadlinesSaturate() {
        #expect(Instant.distantFuture + .seconds(1) == .distantFuture)
        #expect(Instant(nanoseconds: .max - 5) + .nanoseconds(6) == .distantFuture)
        #expect(Instant(nanoseconds: .max - 5) + .nanoseconds(5) == .distantFuture)
        #expect(Instant.zero + .seconds(Int64.max) == .distantFuture)
        #expect(Instant(nanoseconds: 10) + .nanoseconds(-20) == Instant(nanoseconds: 10))
        #expect(Instant(nanoseconds: 10) + .milliseconds(2) == Instant(nanoseconds: 2_000_010))
    }

    @Test func differencesAreNeverNegative() {
        #expect(Instant(nanoseconds: 5) - Instant(nanoseconds: 9) == .zero)
        #expect(Instant(nanoseconds: 9) - Instant(nanoseconds: 5) == .nanoseconds(4))
        #expect(Instant.distantFuture - .zero == .nanoseconds(Int64.max))
    }

    @Test func wallTimeSaturates() {
        #expect(WallTime(seconds: .max).advanced(bySeconds: 1) == WallTime(seconds: .max))
        #expect(WallTime(seconds: .min).advanced(bySeconds: -1) == WallTime(seconds: .min))
        #expect(WallTime(seconds: 10).advanced(bySeconds: -30) == WallTime(seconds: -20))
    }

    @Test func durationsAreCounted() {
        #expect(Duration.seconds(-1).wholeNanoseconds == 0)
        #expect(Duration.nanoseconds(-1).wholeNanoseconds == 0)
        #expect(Duration.milliseconds(1_500).wholeNanoseconds == 1_500_000_000)
        #expect(Duration.seconds(Int64.max).wholeNanoseconds == .max)
        #expect(Duration.microseconds(1_999).wholeMilliseconds == 1)
    }

    @Test(
        arguments: [
            ("0s", 0), ("1ms", 1), ("1s", 1_000), ("1m", 60_000), ("1h", 3_600_000), ("1h30m", 5_400_000),
            ("1h2m3s4ms", 3_723_004), ("99999h", 359_996_400_000), ("1s1s", 2_000), ("00010s", 10_000),
        ])
    func gatewayDurationsAreRead(text: String, milliseconds: Int) {
        #expect(Duration(gep2257: text) == .milliseconds(milliseconds))
    }

    @Test(arguments: [
        "", "1", "s", "1.5s", "-1s", "+1s", "1 s", "1d", "1us", "100000s", "1h1m1s1ms1ms", "1S", "1mm", "1sm", "1s ",
        "m1",
    ])
    func otherDurationsAreRefused(text: String) { #expect(Duration(gep2257: text) == nil) }

    @Test func durationsAreWrittenShortest() {
        #expect(Duration.zero.gep2257 == "0s")
        #expect(Duration.milliseconds(5_400_250).gep2257 == "1h30m250ms")
        #expect(Duration.microseconds(1_500).gep2257 == "1ms")
    }
}
