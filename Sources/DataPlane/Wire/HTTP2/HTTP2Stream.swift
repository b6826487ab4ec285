internal import Containers

/// Our state of one stream. Lives from its first HEADERS until its `closed` event was read and its body consumed.
struct HTTP2Stream: ~Copyable {
    struct Flags: OptionSet {
        let rawValue: UInt32
        /// Its head was given to the owner, who therefore gets a `closed`.
        static let announced = Flags(rawValue: 1 << 0)
        /// Client: the final response arrived; what follows are trailers.
        static let finalHead = Flags(rawValue: 1 << 1)
        /// END_STREAM was received.
        static let remoteEnded = Flags(rawValue: 1 << 2)
        /// END_STREAM was sent.
        static let localEnded = Flags(rawValue: 1 << 3)
        /// Nothing more will be queued.
        static let sendEnded = Flags(rawValue: 1 << 4)
        static let hasTrailers = Flags(rawValue: 1 << 5)
        /// It stands in the line of those that have something to send and a window for it.
        static let inLine = Flags(rawValue: 1 << 6)
        /// The owner has no more interest: no events, its body is consumed on arrival.
        static let abandoned = Flags(rawValue: 1 << 7)
        /// The peer broke the rules in it.
        static let violated = Flags(rawValue: 1 << 8)
        /// The body is discarded, the answer is the owner's.
        static let discardsBody = Flags(rawValue: 1 << 9)
        /// Both sides are done with it.
        static let closed = Flags(rawValue: 1 << 10)
        /// The queue was above the low-water mark.
        static let aboveLow = Flags(rawValue: 1 << 11)
        /// Client: the request was HEAD, whose response has no body whatever its length says.
        static let asksNoBody = Flags(rawValue: 1 << 12)
        /// The final head was given to us.
        static let headSubmitted = Flags(rawValue: 1 << 13)
        /// RST_STREAM came from the peer.
        static let peerReset = Flags(rawValue: 1 << 14)
        /// A closed event waits to be read.
        static let closing = Flags(rawValue: 1 << 15)
        /// It asks for another protocol (extended CONNECT, RFC 8441).
        static let upgrade = Flags(rawValue: 1 << 16)
        /// Body bytes were consumed slowly since the window was last judged.
        static let hasLagged = Flags(rawValue: 1 << 17)
        /// The queue was once so long that its memory is not kept.
        static let wasLarge = Flags(rawValue: 1 << 18)
    }

    var id: StreamID = 0
    var flags: Flags = []
    var interim: Int32 = 0
    /// Body bytes that the peer's `content-length` leaves; below zero when it said none.
    var expected = -1
    /// Body bytes handed out and not yet consumed.
    var unconsumed = 0
    /// Our window for it, as announced, and what the peer may still send of it.
    var window = 0
    var receivable = 0
    /// Consumed bytes that the peer was not told of.
    var credit = 0
    /// Body bytes consumed since the window was last judged.
    var sinceWidened = 0
    /// What the peer's window leaves us; may be negative (RFC 9113 6.9.2).
    var sendable = 0
    /// Body bytes to send.
    var queue = ByteBuffer()
    /// Trailers that wait for the queue to be sent.
    var trailers = HeaderBlock()

    mutating func begin(_ id: StreamID, receivable: Int, sendable: Int) {
        self.id = id
        window = receivable
        self.receivable = receivable
        self.sendable = sendable
    }

    /// Holds nothing of the stream that it was for.
    mutating func reset() {
        let wasLarge = flags.contains(.wasLarge)
        flags = []
        interim = 0
        expected = -1
        unconsumed = 0
        credit = 0
        sinceWidened = 0
        queue.removeAll()
        if wasLarge { queue.shrink() }
        trailers.removeAll()
    }
}

/// Live streams by id: open addressing over places that do not move, with a few spare states.
@safe
struct HTTP2StreamTable: ~Copyable {
    /// As many as may end in one burst on a busy connection; an idle one gives them back (`shrink`).
    private static let spareLimit = 256
    private static let nowhere: Int32 = -1

    private var keys: [StreamID] = []
    private var places: [Int32] = []
    private var states: [UnsafeMutablePointer<HTTP2Stream>?] = unsafe []
    /// Places whose state is kept for the next stream, and places without one.
    private var spare: [Int32] = []
    private var hollow: [Int32] = []
    private(set) var count = 0

    /// Odd, and not known to the peer, who picks the ids: streams of its choice do not meet in one slot.
    private let factor: UInt32
    /// Of 32 bits, those that a slot has not.
    private var shift: UInt32 = 32

    init(seed: UInt32) { factor = seed | 1 }

    deinit {
        // SAFETY: each state is initialised, owned here, and stands in one place only.
        for index in unsafe states.indices {
            guard let state = unsafe states[index] else { continue }
            unsafe state.deinitialize(count: 1)
            unsafe state.deallocate()
        }
    }

    /// The state in a place that `find` or `insert` gave; good until the stream is removed.
    subscript(place: Int) -> HTTP2Stream {
        // SAFETY (both): a place in use has a state, which does not move; the array checks the place.
        unsafeAddress { unsafe UnsafePointer(states[place].unsafelyUnwrapped) }
        unsafeMutableAddress { unsafe states[place].unsafelyUnwrapped }
    }

    /// The place of a live stream.
    func find(_ id: StreamID) -> Int? {
        guard count > 0 else { return nil }
        var slot = slot(id)
        while places[slot] != Self.nowhere {
            if keys[slot] == id { return Int(places[slot]) }
            slot = (slot + 1) & (keys.count - 1)
        }
        return nil
    }

    /// A fresh state for `id`, which is not in the table yet.
    mutating func insert(_ id: StreamID, receivable: Int, sendable: Int) -> Int {
        let place = spare.popLast() ?? make()
        if (count + 1) * 2 > keys.count { grow() }
        put(id, place)
        count += 1
        self[Int(place)].begin(id, receivable: receivable, sendable: sendable)
        return Int(place)
    }

    mutating func remove(_ id: StreamID) {
        guard count > 0 else { return }
        let mask = keys.count - 1
        var slot = slot(id)
        while true {
            if places[slot] == Self.nowhere { return }
            if keys[slot] == id { break }
            slot = (slot + 1) & mask
        }
        keep(places[slot])
        places[slot] = Self.nowhere
        count -= 1
        // Entries behind move forward, so that no search stops at the hole.
        var next = (slot + 1) & mask
        while places[next] != Self.nowhere {
            let home = self.slot(keys[next])
            if (next - home) & mask >= (next - slot) & mask {
                keys[slot] = keys[next]
                places[slot] = places[next]
                places[next] = Self.nowhere
                slot = next
            }
            next = (next + 1) & mask
        }
    }

    /// Slots of the table, of which at most half are taken: a walk that needs no order.
    var slots: Int { keys.count }

    /// The place of the stream in a slot.
    func place(in slot: Int) -> Int? { places[slot] == Self.nowhere ? nil : Int(places[slot]) }

    /// Ids of all streams, in rising order.
    var ids: [StreamID] {
        var result: [StreamID] = []
        for slot in keys.indices where places[slot] != Self.nowhere { result.append(keys[slot]) }
        return result.sorted()
    }

    /// Gives the memory of spare states back.
    mutating func shrink() {
        while let place = spare.popLast() { free(place) }
        guard count == 0 else { return }
        keys = []
        places = []
        hollow = []
        // SAFETY: no stream is left, and every spare state was freed: all places are empty.
        unsafe states = []
    }

    private mutating func put(_ id: StreamID, _ place: Int32) {
        var slot = slot(id)
        while places[slot] != Self.nowhere { slot = (slot + 1) & (keys.count - 1) }
        keys[slot] = id
        places[slot] = place
    }

    private mutating func grow() {
        let oldKeys = keys
        let oldPlaces = places
        let size = max(16, oldKeys.count * 2)
        shift = UInt32(truncatingIfNeeded: size.leadingZeroBitCount) &- 31
        keys = Array(repeating: 0, count: size)
        places = Array(repeating: Self.nowhere, count: size)
        for slot in oldKeys.indices where oldPlaces[slot] != Self.nowhere { put(oldKeys[slot], oldPlaces[slot]) }
    }

    private mutating func make() -> Int32 {
        let state = UnsafeMutablePointer<HTTP2Stream>.allocate(capacity: 1)
        // SAFETY: fresh memory.
        unsafe state.initialize(to: HTTP2Stream())
        if let place = hollow.popLast() {
            unsafe states[Int(place)] = state
            return place
        }
        unsafe states.append(state)
        return Int32(truncatingIfNeeded: unsafe states.count &- 1)
    }

    private mutating func keep(_ place: Int32) {
        // A spare state holds no peer's bytes.
        self[Int(place)].reset()
        if spare.count < Self.spareLimit { spare.append(place) } else { free(place) }
    }

    private mutating func free(_ place: Int32) {
        // SAFETY: initialised and owned here; the place is hollow from now on.
        guard let state = unsafe states[Int(place)] else { return }
        unsafe state.deinitialize(count: 1)
        unsafe state.deallocate()
        unsafe states[Int(place)] = nil
        hollow.append(place)
    }

    /// Multiplicative hashing: the highest bits of the product.
    @inline(__always)
    private func slot(_ id: StreamID) -> Int {
        Int((UInt32(bitPattern: id) &* factor) &>> shift)
    }
}
