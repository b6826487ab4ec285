internal import CLinux
package import Containers
internal import Glibc
package import MeshModel

/// Names what a readiness or a timer belongs to: the kind is the owner's, the handle points into the owner's slab.
package struct Token: Hashable, Sendable {
    let raw: UInt64

    /// - Parameters:
    ///   - kind: chosen by the owner of the loop.
    ///   - handle: slots below 2²⁴; the generation is kept in full.
    package init(kind: UInt8, handle: Handle) {
        raw = UInt64(kind) << 56 | UInt64(handle.slot & 0xFF_FFFF) << 32 | UInt64(handle.generation)
    }

    init(raw: UInt64) { self.raw = raw }

    package var kind: UInt8 { UInt8(truncatingIfNeeded: raw >> 56) }
    package var handle: Handle {
        Handle(slot: UInt32(truncatingIfNeeded: raw >> 32) & 0xFF_FFFF, generation: UInt32(truncatingIfNeeded: raw))
    }
}

/// What is waited for on a descriptor.
package struct Interest: OptionSet, Hashable, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }
    package static let readable = Interest(rawValue: 1)
    package static let writable = Interest(rawValue: 2)

    /// Made without the set algebra, which across modules is generic code: two thousand instructions for one empty set.
    package init(reading: Bool, writing: Bool) { rawValue = (reading ? 1 : 0) | (writing ? 2 : 0) }

    package var isReading: Bool { rawValue & 1 != 0 }
}

/// What a descriptor is ready for. A hang-up is reported whatever was asked.
package struct Readiness: OptionSet, Hashable, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }
    package static let readable = Readiness(rawValue: 1)
    package static let writable = Readiness(rawValue: 2)
    package static let hangup = Readiness(rawValue: 4)
}

/// One thread's view of the kernel: descriptors that are ready, timers that expired, the time of the turn.
///
/// It never calls upward. `turn` waits and fills a batch; the owner drains it by `nextReady` and `nextTimer` and acts.
/// Level-triggered: what is not read now is reported again.
package struct Reactor: ~Copyable {
    /// Descriptors reported by one turn; the rest come with the next one.
    private static let batch = 256
    /// The longest sleep: nothing depends on it, it bounds what a lost wake-up could cost.
    private static let longestWait: UInt64 = 1_000_000_000

    private let epoll: Socket
    private var events: [clinux_event]
    private var ready = 0
    private var next = 0
    private var timers: TimerWheel
    /// The time, where it is not the kernel's.
    private var heldTime: Instant?
    /// CLOCK_BOOTTIME, read once per turn.
    package private(set) var now: Instant
    /// The wall clock, read once per turn.
    package private(set) var wall: WallTime
    /// Milliseconds within the wall clock's second, for log lines.
    package private(set) var wallMilliseconds = 0

    package init() throws(SocketError) {
        let descriptor = try checked(clinux_epoll_create(), "epoll_create")
        let start = clinux_boottime()
        epoll = Socket(adopting: descriptor)
        events = Array(repeating: clinux_event(), count: Self.batch)
        now = Instant(nanoseconds: start)
        timers = TimerWheel(now: start)
        wall = WallTime(seconds: clinux_walltime())
    }

    /// Watches a descriptor; it must be forgotten, or closed, before its token's owner goes.
    package func watch(_ descriptor: Int32, _ interest: Interest, _ token: Token) throws(SocketError) {
        _ = try checked(
            clinux_epoll_set(epoll.descriptor, descriptor, UInt32(interest.rawValue), token.raw, 1), "epoll_ctl")
    }

    package func change(_ descriptor: Int32, _ interest: Interest, _ token: Token) throws(SocketError) {
        _ = try checked(
            clinux_epoll_set(epoll.descriptor, descriptor, UInt32(interest.rawValue), token.raw, 0), "epoll_ctl")
    }

    package func forget(_ descriptor: Int32) { clinux_epoll_remove(epoll.descriptor, descriptor) }

    package mutating func schedule(at deadline: Instant, token: Token) -> TimerWheel.Timer {
        timers.schedule(at: deadline.nanoseconds, token: token.raw)
    }

    /// Nothing happens for a timer that fired or was cancelled.
    package mutating func cancel(_ timer: TimerWheel.Timer) { timers.cancel(timer) }

    /// From now on it is `instant`, until told otherwise: timeouts are tested without waiting for them.
    package mutating func hold(at instant: Instant) {
        heldTime = instant
        now = instant
    }

    /// Sleeps until something is ready, a timer is due, or `limit` is reached (nil: a second at the most), then reads the clocks.
    package mutating func turn(until limit: Instant? = nil) {
        var wake = now.nanoseconds.addingReportingOverflow(Self.longestWait).partialValue
        if let limit { wake = min(wake, limit.nanoseconds) }
        if let timer = timers.nextWake() { wake = min(wake, timer) }
        let start = heldTime?.nanoseconds ?? clinux_boottime()
        // Rounded up: waking a moment early would spin.
        let wait = wake <= start ? 0 : (wake - start + 999_999) / 1_000_000
        let room = Int32(events.count)
        let epoll = epoll.descriptor
        // SAFETY: the shim writes at most `room` events.
        let count = unsafe events.withUnsafeMutableBufferPointer { buffer in
            unsafe clinux_epoll_wait(epoll, buffer.baseAddress, room, Int32(clamping: wait))
        }
        ready = max(0, Int(count))
        next = 0
        now = heldTime ?? Instant(nanoseconds: clinux_boottime())
        let nanoseconds = clinux_walltime_nanoseconds()
        wall = WallTime(seconds: nanoseconds / 1_000_000_000)
        wallMilliseconds = Int(nanoseconds % 1_000_000_000 / 1_000_000)
    }

    /// The next descriptor of this turn that is ready.
    package mutating func nextReady() -> (token: Token, readiness: Readiness)? {
        guard next < ready else { return nil }
        let event = events[next]
        next += 1
        return (Token(raw: event.token), Readiness(rawValue: UInt8(truncatingIfNeeded: event.flags)))
    }

    /// The next timer that is due.
    package mutating func nextTimer() -> Token? { timers.popExpired(now: now.nanoseconds).map(Token.init(raw:)) }
}
