/// Deadlines of one worker: four wheels of 64 slots with a tick of one millisecond; schedule and cancel are O(1).
///
/// Times are nanoseconds of the monotonic clock. A timer never fires early; it fires at most one tick late. Deadlines
/// beyond the last wheel (about 4.6 hours) are parked there and placed again when it turns.
public struct TimerWheel: ~Copyable {
    /// Names one scheduled timer; stale once it fired or was cancelled.
    public struct Timer: Hashable, Sendable {
        let index: Int32
        let generation: UInt32
        public static let none = Timer(index: -1, generation: 0)
    }

    private struct Node {
        var deadline: UInt64 = 0
        var token: UInt64 = 0
        var next: Int32 = -1
        var previous: Int32 = -1
        var slot: Int32 = -1
        var generation: UInt32 = 0
    }

    private static let tick: UInt64 = 1_000_000
    private static let slotsPerWheel = 64
    private static let wheels = 4
    private static let expiredSlot = Int32(slotsPerWheel * wheels)

    private var nodes: [Node] = []
    private var free: [Int32] = []
    private var heads: [Int32]
    /// One bit for each slot of each wheel that holds a node.
    private var occupied = InlineArray<4, UInt64>(repeating: 0)
    private var current: UInt64
    public private(set) var count = 0

    /// Starts at `now` (nanoseconds).
    public init(now: UInt64) {
        current = now / Self.tick
        heads = Array(repeating: -1, count: Self.slotsPerWheel * Self.wheels + 1)
    }

    /// Fires `token` at the first `popExpired` whose time is not before `deadline`.
    public mutating func schedule(at deadline: UInt64, token: UInt64) -> Timer {
        let index: Int32
        if let reused = free.popLast() {
            index = reused
        } else {
            index = Int32(nodes.count)
            nodes.append(Node())
        }
        nodes[Int(index)].deadline = deadline
        nodes[Int(index)].token = token
        nodes[Int(index)].generation &+= 1
        place(index)
        count += 1
        return Timer(index: index, generation: nodes[Int(index)].generation)
    }

    /// Nothing happens when the timer is stale.
    public mutating func cancel(_ timer: Timer) {
        guard timer.index >= 0, Int(timer.index) < nodes.count, nodes[Int(timer.index)].slot >= 0,
            nodes[Int(timer.index)].generation == timer.generation
        else { return }
        unlink(timer.index)
        release(timer.index)
    }

    /// The token of one timer whose deadline is not after `now`; nil when none is left.
    public mutating func popExpired(now: UInt64) -> UInt64? {
        advance(to: now / Self.tick)
        let index = heads[Int(Self.expiredSlot)]
        guard index >= 0 else { return nil }
        let token = nodes[Int(index)].token
        unlink(index)
        release(index)
        return token
    }

    /// When to wake next: not later than the earliest deadline (rounded up to a tick), or nil when nothing is scheduled.
    public func nextWake() -> UInt64? {
        guard count > 0 else { return nil }
        if heads[Int(Self.expiredSlot)] >= 0 { return current * Self.tick }
        var earliest: UInt64?
        for wheel in 0..<Self.wheels {
            let shift = UInt64(6 * wheel)
            let position = current >> shift
            guard occupied[wheel] != 0 else { continue }
            // The bit of the slot behind the current one comes first.
            let turn = (position + 1) & 63
            let ahead = occupied[wheel] >> turn | (turn == 0 ? 0 : occupied[wheel] << (64 - turn))
            let wake = ((position + 1 + UInt64(ahead.trailingZeroBitCount)) << shift) * Self.tick
            earliest = min(earliest ?? wake, wake)
        }
        return earliest
    }

    private mutating func advance(to target: UInt64) {
        while current < target {
            if count == 0 {
                current = target
                return
            }
            current += 1
            var wheel = 1
            while wheel < Self.wheels, current & ((1 << UInt64(6 * wheel)) - 1) == 0 {
                drain(Int((current >> UInt64(6 * wheel)) & 63) + wheel * Self.slotsPerWheel)
                wheel += 1
            }
            if occupied[0] >> (current & 63) & 1 == 1 { drain(Int(current & 63)) }
        }
    }

    /// Places every node of a slot again: into a finer wheel or among the expired.
    private mutating func drain(_ slot: Int) {
        var index = heads[slot]
        heads[slot] = -1
        occupied[slot >> 6] &= ~(1 << UInt64(slot & 63))
        while index >= 0 {
            let next = nodes[Int(index)].next
            place(index)
            index = next
        }
    }

    private mutating func place(_ index: Int32) {
        let deadline = nodes[Int(index)].deadline
        let due = deadline / Self.tick + (deadline % Self.tick == 0 ? 0 : 1)
        var slot = Self.expiredSlot
        if due > current {
            let distance = due - current
            var wheel = 0
            while wheel < Self.wheels - 1, distance >= 1 << UInt64(6 * (wheel + 1)) { wheel += 1 }
            let reach = (UInt64(1) << UInt64(6 * Self.wheels)) - (UInt64(1) << UInt64(6 * (Self.wheels - 1)))
            let at = distance > reach ? current + reach : due
            slot = Int32(Int((at >> UInt64(6 * wheel)) & 63) + wheel * Self.slotsPerWheel)
        }
        link(index, Int(slot))
    }

    private mutating func link(_ index: Int32, _ slot: Int) {
        let head = heads[slot]
        nodes[Int(index)].next = head
        nodes[Int(index)].previous = -1
        nodes[Int(index)].slot = Int32(slot)
        if head >= 0 { nodes[Int(head)].previous = index }
        heads[slot] = index
        if slot < Self.slotsPerWheel * Self.wheels { occupied[slot >> 6] |= 1 << UInt64(slot & 63) }
    }

    private mutating func unlink(_ index: Int32) {
        let node = nodes[Int(index)]
        if node.previous >= 0 {
            nodes[Int(node.previous)].next = node.next
        } else {
            let slot = Int(node.slot)
            heads[slot] = node.next
            if node.next < 0, slot < Self.slotsPerWheel * Self.wheels {
                occupied[slot >> 6] &= ~(1 << UInt64(slot & 63))
            }
        }
        if node.next >= 0 { nodes[Int(node.next)].previous = node.previous }
    }

    private mutating func release(_ index: Int32) {
        nodes[Int(index)].slot = -1
        free.append(index)
        count -= 1
    }
}
