import Containers
import MeshTestKit
import Testing

@Suite struct TimerWheelTests {
    private let tick: UInt64 = 1_000_000

    @Test func neverEarlyAndAtMostOneTickLate() {
        var random = SplitMix64.announced()
        for _ in 0..<20 { againstTheReference(&random) }
    }

    /// One run against a plain list of deadlines: at every step the same timers are due.
    private func againstTheReference(_ random: inout SplitMix64) {
        var now = UInt64.random(in: 0...(1 << 45), using: &random)
        var wheel = TimerWheel(now: now)
        var model: [UInt64: (deadline: UInt64, timer: TimerWheel.Timer)] = [:]
        var old: [TimerWheel.Timer] = []
        var next: UInt64 = 0
        for _ in 0..<600 {
            switch Int.random(in: 0..<4, using: &random) {
            case 0, 1:
                let exponent = UInt64.random(in: 0...44, using: &random)
                let distance = UInt64.random(in: 0...(1 << exponent), using: &random)
                let deadline = Bool.random(using: &random) ? now + distance : now - min(now, distance % tick)
                model[next] = (deadline, wheel.schedule(at: deadline, token: next))
                next += 1
            case 2:
                if let token = model.keys.sorted().randomElement(using: &random), let entry = model[token] {
                    wheel.cancel(entry.timer)
                    wheel.cancel(entry.timer)
                    old.append(entry.timer)
                    model[token] = nil
                }
                if let stale = old.randomElement(using: &random) { wheel.cancel(stale) }
            default:
                let exponent = UInt64.random(in: 0...34, using: &random)
                now += UInt64.random(in: 0...(1 << exponent), using: &random)
                while let token = wheel.popExpired(now: now) {
                    let entry = model.removeValue(forKey: token)
                    holds(entry != nil && (entry?.deadline ?? .max) <= now, "early or unknown")
                    if let timer = entry?.timer { old.append(timer) }
                }
                let late = model.values.filter { $0.deadline / tick < now / tick }
                holds(late.isEmpty, "late by more than a tick")
            }
            holds(wheel.count == model.count)
            checkWake(wheel.nextWake(), model.values.map(\.deadline).min(), now)
        }
    }

    /// A wake that is not after the first deadline, rounded up to a tick, and none without a timer.
    private func checkWake(_ wake: UInt64?, _ earliest: UInt64?, _ now: UInt64) {
        guard let earliest else {
            holds(wake == nil)
            return
        }
        let rounded = (earliest + tick - 1) / tick * tick
        holds((wake ?? .max) <= max(rounded, now / tick * tick))
    }

    @Test func sleepingByNextWakeFiresEverything() {
        var random = SplitMix64.announced()
        var now: UInt64 = 0
        var wheel = TimerWheel(now: now)
        var left: Set<UInt64> = []
        for token in 0..<200 {
            let exponent = UInt64.random(in: 0...45, using: &random)
            let deadline = UInt64.random(in: 0...(1 << exponent), using: &random)
            _ = wheel.schedule(at: deadline, token: UInt64(token))
            left.insert(UInt64(token))
        }
        var turns = 0
        while let wake = wheel.nextWake(), turns < 100_000 {
            holds(turns == 0 || wake >= now / tick * tick)
            now = max(now, wake)
            while let token = wheel.popExpired(now: now) { left.remove(token) }
            turns += 1
        }
        holds(left.isEmpty && wheel.count == 0)
        holds(turns < 5_000, "wakes that find nothing: \(turns)")
    }

    @Test func farDeadlinesAreParked() {
        var wheel = TimerWheel(now: 0)
        let timer = wheel.schedule(at: .max, token: 1)
        holds(wheel.popExpired(now: 3_600_000_000_000) == nil)
        holds(wheel.nextWake() != nil)
        wheel.cancel(timer)
        holds(wheel.nextWake() == nil && wheel.count == 0)
        wheel.cancel(.none)
    }

    @Test func aDueTimerFiresAtOnce() {
        var wheel = TimerWheel(now: 10 * tick)
        _ = wheel.schedule(at: 3 * tick, token: 7)
        holds(wheel.nextWake() == 10 * tick)
        holds(wheel.popExpired(now: 10 * tick) == 7)
        holds(wheel.popExpired(now: 10 * tick) == nil)
    }
}
