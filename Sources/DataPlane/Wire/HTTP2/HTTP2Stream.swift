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
        /// The data source waits for `resume`.
        static let deferred = Flags(rawValue: 1 << 6)
        /// The owner has no more interest: no events, its body is consumed on arrival.
        static let abandoned = Flags(rawValue: 1 << 7)
        /// The peer broke the rules in it.
        static let violated = Flags(rawValue: 1 << 8)
        /// The body is discarded, the answer is the owner's.
        static let discardsBody = Flags(rawValue: 1 << 9)
        /// nghttp2 has closed it.
        static let closed = Flags(rawValue: 1 << 10)
        /// The queue was above the low-water mark.
        static let aboveLow = Flags(rawValue: 1 << 11)
        /// Client: the request HEADERS went out.
        static let headSent = Flags(rawValue: 1 << 12)
        /// The final head was submitted.
        static let headSubmitted = Flags(rawValue: 1 << 13)
        /// RST_STREAM came from the peer.
        static let peerReset = Flags(rawValue: 1 << 14)
        /// A closed event waits to be read.
        static let closing = Flags(rawValue: 1 << 15)
        /// It asks for another protocol (extended CONNECT, RFC 8441).
        static let upgrade = Flags(rawValue: 1 << 16)
    }

    var id: StreamID = 0
    var flags: Flags = []
    var interim = 0
    /// Body bytes handed out and not yet consumed.
    var unconsumed = 0
    /// Our window for it, as announced.
    var window = 0
    /// Body bytes consumed since the window was last judged, and whether its reader lagged meanwhile.
    var sinceWidened = 0
    var hasLagged = false
    /// Body bytes to send.
    var queue = ByteBuffer()
    /// The head and trailers that nghttp2 refers to until their frames are written.
    var head = HeaderBlock()
    var trailers = HeaderBlock()
    /// The queue was once so long that its memory is not kept.
    var wasLarge = false

    mutating func begin(_ id: StreamID, _ window: Int) {
        self.id = id
        self.window = window
    }

    /// Holds nothing of the stream that it was for.
    mutating func reset() {
        flags = []
        interim = 0
        unconsumed = 0
        sinceWidened = 0
        hasLagged = false
        queue.removeAll()
        if wasLarge { queue.shrink() }
        wasLarge = false
        head.removeAll()
        trailers.removeAll()
    }
}

/// Live streams by id: open addressing over pointers, with a few spare states.
@safe
struct HTTP2StreamTable: ~Copyable {
    /// As many as may end in one burst on a busy connection; an idle one gives them back (`shrink`).
    private static let spareLimit = 256

    private var keys: [StreamID] = []
    private var values: [UnsafeMutablePointer<HTTP2Stream>?] = unsafe []
    private var spare: [UnsafeMutablePointer<HTTP2Stream>] = unsafe []
    private(set) var count = 0
    let window: Int

    /// - Parameter window: with which each stream begins.
    init(window: Int) { self.window = window }

    deinit {
        // SAFETY: each state is initialised, owned here, and stands in one place only.
        for slot in keys.indices {
            guard let value = unsafe values[slot] else { continue }
            unsafe value.deinitialize(count: 1)
            unsafe value.deallocate()
        }
        for index in unsafe spare.indices {
            let value = unsafe spare[index]
            unsafe value.deinitialize(count: 1)
            unsafe value.deallocate()
        }
    }

    func find(_ id: StreamID) -> UnsafeMutablePointer<HTTP2Stream>? {
        guard count > 0 else { return nil }
        var slot = Self.slot(id, keys.count)
        while unsafe values[slot] != nil {
            if keys[slot] == id { return unsafe values[slot] }
            slot = (slot + 1) & (keys.count - 1)
        }
        return nil
    }

    /// A fresh state that stands under `id` (which is not in the table yet).
    mutating func insert(_ id: StreamID) -> UnsafeMutablePointer<HTTP2Stream> {
        let stream = unsafe spare.isEmpty ? make() : spare.removeLast()
        // SAFETY: initialised and owned here; spare ones were reset.
        unsafe stream.pointee.begin(id, window)
        unsafe place(stream, id)
        return unsafe stream
    }

    mutating func remove(_ id: StreamID) {
        guard count > 0 else { return }
        let mask = keys.count - 1
        var slot = Self.slot(id, keys.count)
        while true {
            guard let stream = unsafe values[slot] else { return }
            if keys[slot] == id {
                unsafe keep(stream)
                break
            }
            slot = (slot + 1) & mask
        }
        unsafe values[slot] = nil
        count -= 1
        // Entries behind move forward, so that no search stops at the hole.
        var next = (slot + 1) & mask
        while let moving = unsafe values[next] {
            let home = Self.slot(keys[next], keys.count)
            if (next - home) & mask >= (next - slot) & mask {
                keys[slot] = keys[next]
                unsafe values[slot] = moving
                unsafe values[next] = nil
                slot = next
            }
            next = (next + 1) & mask
        }
    }

    /// Ids of all states, in no order.
    var ids: [StreamID] {
        var result: [StreamID] = []
        for slot in keys.indices where unsafe values[slot] != nil { result.append(keys[slot]) }
        return result
    }

    /// Gives the memory of spare states back.
    mutating func shrink() {
        while let stream = unsafe spare.popLast() {
            // SAFETY: initialised and owned here.
            unsafe stream.deinitialize(count: 1)
            unsafe stream.deallocate()
        }
        if count == 0 {
            keys = []
            unsafe values = []
        }
    }

    private mutating func place(_ stream: UnsafeMutablePointer<HTTP2Stream>, _ id: StreamID) {
        if (count + 1) * 2 > keys.count { grow() }
        var slot = Self.slot(id, keys.count)
        while unsafe values[slot] != nil { slot = (slot + 1) & (keys.count - 1) }
        keys[slot] = id
        unsafe values[slot] = stream
        count += 1
    }

    private mutating func grow() {
        let oldKeys = keys
        let oldValues = unsafe values
        let size = max(16, oldKeys.count * 2)
        keys = Array(repeating: 0, count: size)
        unsafe values = Array(repeating: nil, count: size)
        count = 0
        for slot in oldKeys.indices {
            if let stream = unsafe oldValues[slot] { unsafe place(stream, oldKeys[slot]) }
        }
    }

    private func make() -> UnsafeMutablePointer<HTTP2Stream> {
        let stream = UnsafeMutablePointer<HTTP2Stream>.allocate(capacity: 1)
        // SAFETY: fresh memory.
        unsafe stream.initialize(to: HTTP2Stream())
        return unsafe stream
    }

    private mutating func keep(_ stream: UnsafeMutablePointer<HTTP2Stream>) {
        // SAFETY: initialised and owned here; a spare state holds no peer's bytes.
        unsafe stream.pointee.reset()
        guard unsafe spare.count < Self.spareLimit else {
            unsafe stream.deinitialize(count: 1)
            unsafe stream.deallocate()
            return
        }
        unsafe spare.append(stream)
    }

    /// Fibonacci hashing: the peer picks the ids, but at most as many as the stream limit allows.
    private static func slot(_ id: StreamID, _ size: Int) -> Int {
        let mixed = UInt32(bitPattern: id) &* 0x9e37_79b1
        return Int(mixed >> 12) & (size - 1)
    }
}
