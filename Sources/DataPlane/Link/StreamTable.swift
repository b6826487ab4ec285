package import Containers
package import Wire

/// Which exchange each live stream of a connection belongs to: open addressing by stream id.
///
/// Ids of one connection rise by two. They are spread over the slots: side by side they would make one long run, and closing a
/// hole in it would look at all of it.
package struct StreamTable: ~Copyable {
    private struct Slot {
        /// 0 is no stream of ours (RFC 9113 section 5.1.1).
        var stream: StreamID = 0
        var owner = Handle.none
    }

    private static let smallest = 8

    private var slots: [Slot] = []
    package private(set) var count = 0

    package init() {}

    package var isEmpty: Bool { count == 0 }

    package mutating func add(_ stream: StreamID, _ owner: Handle) {
        if (count + 1) * 2 > slots.count { resize(to: max(Self.smallest, slots.count * 2)) }
        place(stream, owner)
    }

    /// `Handle.none` when the stream belongs to nobody (any more).
    package func owner(of stream: StreamID) -> Handle {
        guard let slot = find(stream) else { return .none }
        return slots[slot].owner
    }

    package mutating func remove(_ stream: StreamID) {
        guard var hole = find(stream) else { return }
        count -= 1
        if count == 0, slots.count > 256 {
            slots = []
            return
        }
        let mask = slots.count - 1
        // Entries behind move forward, so that no search stops at the hole.
        var next = (hole + 1) & mask
        while slots[next].stream != 0 {
            let home = Self.home(slots[next].stream) & mask
            if (next - home) & mask >= (next - hole) & mask {
                slots[hole] = slots[next]
                hole = next
            }
            next = (next + 1) & mask
        }
        slots[hole] = Slot()
    }

    /// All owners; a copy, for walking while entries go.
    package var all: [Handle] {
        var owners: [Handle] = []
        for slot in slots where slot.stream != 0 { owners.append(slot.owner) }
        return owners
    }

    /// One of the owners; `none` when there are none.
    package var first: Handle {
        for slot in slots where slot.stream != 0 { return slot.owner }
        return .none
    }

    private func find(_ stream: StreamID) -> Int? {
        guard count > 0, stream != 0 else { return nil }
        let mask = slots.count - 1
        var slot = Self.home(stream) & mask
        while slots[slot].stream != 0 {
            if slots[slot].stream == stream { return slot }
            slot = (slot + 1) & mask
        }
        return nil
    }

    private mutating func place(_ stream: StreamID, _ owner: Handle) {
        let mask = slots.count - 1
        var slot = Self.home(stream) & mask
        while slots[slot].stream != 0 { slot = (slot + 1) & mask }
        slots[slot] = Slot(stream: stream, owner: owner)
        count += 1
    }

    private mutating func resize(to size: Int) {
        let old = slots
        slots = Array(repeating: Slot(), count: size)
        count = 0
        for slot in old where slot.stream != 0 { place(slot.stream, slot.owner) }
    }

    private static func home(_ stream: StreamID) -> Int {
        // Fibonacci hashing; the upper bits are the good ones.
        Int((UInt32(bitPattern: stream) &* 0x9e37_79b1) >> 12)
    }
}
