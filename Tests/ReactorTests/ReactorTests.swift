import Containers
import Glibc
import MeshModel
import Reactor
import Testing

@Suite struct ReactorLoopTests {
    @Test func timersFireInOrderAndNeverEarly() throws {
        let watch = try Watch()
        let start = watch.reactor.now
        let deadlines: [UInt32: Duration] = [1: .milliseconds(3), 2: .milliseconds(9), 3: .milliseconds(30)]
        for (slot, after) in deadlines { _ = watch.reactor.schedule(at: start + after, token: token(1, slot)) }
        var seen: [UInt32] = []
        while seen.count < 3, watch.reactor.now - start < .seconds(10) {
            watch.reactor.turn()
            while let fired = watch.reactor.nextTimer() {
                seen.append(fired.handle.slot)
                let due = start + (deadlines[fired.handle.slot] ?? .seconds(100))
                #expect(watch.reactor.now >= due)
            }
        }
        #expect(seen.sorted() == [1, 2, 3])
        #expect(seen.first == 1 || watch.reactor.now - start > .milliseconds(9))
    }

    @Test func aCancelledTimerStaysSilent() throws {
        let watch = try Watch()
        let first = watch.reactor.schedule(at: watch.reactor.now + .milliseconds(1), token: token(1))
        _ = watch.reactor.schedule(at: watch.reactor.now + .milliseconds(20), token: token(2))
        watch.reactor.cancel(first)
        watch.reactor.cancel(first)
        #expect(watch.turn { $0.fired.contains(token(2)) })
        #expect(watch.fired == [token(2)])
        // The first timer is stale: cancelling it again must not touch the slot's next tenant.
        _ = watch.reactor.schedule(at: watch.reactor.now, token: token(3))
        watch.reactor.cancel(first)
        #expect(watch.turn { $0.fired.contains(token(3)) })
    }

    @Test func aTimerOfThePastFiresAtOnce() throws {
        let watch = try Watch()
        _ = watch.reactor.schedule(at: .zero, token: token(1))
        watch.reactor.turn(until: watch.reactor.now + .seconds(5))
        #expect(watch.reactor.nextTimer() == token(1))
        #expect(watch.reactor.nextTimer() == nil)
    }

    @Test func sleepsNoLongerThanAsked() throws {
        let watch = try Watch()
        let limit = watch.reactor.now + .milliseconds(5)
        watch.reactor.turn(until: limit)
        #expect(watch.reactor.now >= limit)
        watch.reactor.turn(until: .zero)
        let next = watch.reactor.nextReady() == nil
        #expect(next)
    }

    @Test func readsBothClocksOncePerTurn() throws {
        let watch = try Watch()
        let now = watch.reactor.now
        #expect(watch.reactor.now == now)
        let wall = Machine.walltime
        watch.reactor.turn(until: .zero)
        #expect(watch.reactor.now >= now)
        #expect(watch.reactor.wall.seconds >= wall)
        #expect(watch.reactor.wall.seconds <= Machine.walltime)
        #expect((0..<1_000).contains(watch.reactor.wallMilliseconds))
        #expect(Machine.boottime >= watch.reactor.now.nanoseconds)
    }

    @Test func reportsReadinessUntilItIsUsed() throws {
        let watch = try Watch()
        let pair = try Pair(watch)
        try watch.reactor.watch(pair.near.descriptor, .readable, token(7, 9))
        watch.reactor.turn(until: .zero)
        let quiet = watch.reactor.nextReady() == nil
        #expect(quiet)
        #expect(try pair.far.write([1, 2, 3]) == .done(3))
        #expect(watch.waits(for: token(7, 9), .readable))
        #expect(watch.waits(for: token(7, 9), .readable), "level-triggered")
        #expect(try pair.near.read(2).bytes == [1, 2])
        #expect(watch.waits(for: token(7, 9), .readable))
        #expect(try pair.near.read().bytes == [3])
        #expect(try pair.near.read().transfer == .wouldBlock)
        watch.reactor.turn(until: .zero)
        let isQuiet = watch.reactor.nextReady() == nil
        #expect(isQuiet)
    }

    @Test func aChangedInterestHoldsForTheNewToken() throws {
        let watch = try Watch()
        let pair = try Pair(watch)
        try watch.reactor.watch(pair.near.descriptor, [.readable, .writable], token(1))
        #expect(watch.waits(for: token(1), .writable))
        try watch.reactor.change(pair.near.descriptor, .readable, token(2))
        watch.reactor.turn(until: .zero)
        let quiet = watch.reactor.nextReady() == nil
        #expect(quiet)
        #expect(try pair.far.write([1]) == .done(1))
        #expect(watch.waits(for: token(2), .readable))
        watch.reactor.forget(pair.near.descriptor)
        watch.reactor.turn(until: .zero)
        let forgotten = watch.reactor.nextReady() == nil
        #expect(forgotten)
        #expect(
            code { () throws(SocketError) in try watch.reactor.change(pair.near.descriptor, .readable, token(2)) }
                == ENOENT)
        #expect(code { () throws(SocketError) in try watch.reactor.watch(-1, .readable, token(2)) } == EBADF)
    }

    @Test func aFINIsReadableAndAResetIsAHangup() throws {
        let watch = try Watch()
        let pair = try Pair(watch)
        pair.far.shutdownWrite()
        try watch.reactor.watch(pair.near.descriptor, .readable, token(1))
        #expect(watch.waits(for: token(1), .readable))
        #expect(try pair.near.read().transfer == .end)
        // Our direction is still open.
        #expect(try pair.near.write([5]) == .done(1))
        try watch.reactor.watch(pair.far.descriptor, .readable, token(2))
        #expect(watch.waits(for: token(2), .readable))
        #expect(try pair.far.read().bytes == [5])
        watch.reactor.forget(pair.far.descriptor)
        try watch.reactor.change(pair.near.descriptor, [], token(3))
        pair.far.resetOnClose()
        let near = pair.closeFar()
        #expect(watch.waits(for: token(3), .hangup), "a hang-up is reported whatever was asked")
        let failure = near.finishConnect()
        #expect(failure?.isRefused == true)
    }

    @Test func moreDescriptorsThanABatchAllGetTheirTurn() throws {
        let watch = try Watch()
        // 300 descriptors that are always ready, more than one turn reports.
        let wakers = try (0..<300).map { _ in try Waker() }
        for (slot, waker) in wakers.enumerated() {
            waker.wake()
            try watch.reactor.watch(waker.descriptor, .readable, token(1, UInt32(slot)))
        }
        var seen: Set<UInt32> = []
        #expect(
            watch.turn { watch in
                for event in watch.ready.suffix(256) { seen.insert(event.token.handle.slot) }
                return seen.count == 300
            })
    }
}
