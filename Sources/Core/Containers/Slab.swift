/// Names one element of one slab for as long as it lives there. A handle of a removed element is recognised as stale.
public struct Handle: Hashable, Sendable {
    public let slot: UInt32
    public let generation: UInt32

    @inlinable public init(slot: UInt32, generation: UInt32) {
        self.slot = slot
        self.generation = generation
    }

    /// Names nothing in any slab: generations start at 1.
    @inlinable public static var none: Handle { Handle(slot: .max, generation: 0) }
    @inlinable public var isNone: Bool { generation == 0 }
}

/// Elements at stable addresses, found by `Handle`: the owner of connections, exchanges and relays.
///
/// Insert and remove are O(1); removed slots are used again under a new generation. Not thread-safe: it belongs to one
/// worker. `capacity` is the limit that every table of the product has.
@safe
public struct Slab<Element: ~Copyable>: ~Copyable {
    @inlinable static var chunkSize: Int { 64 }

    /// What is known of a slot: sixteen bytes, so that finding an element takes one line of the cache.
    @safe
    @usableFromInline struct Place {
        /// The generation of a taken slot. A free one has the highest bit too, which no handle has, and the next free slot above its
        /// generation.
        @usableFromInline var key: UInt64
        /// Where its element lies: uninitialised memory while it is free.
        @usableFromInline let element: UnsafeMutablePointer<Element>

        @inlinable init(key: UInt64, element: UnsafeMutablePointer<Element>) {
            self.key = key
            // SAFETY: whoever makes a place says where its element lies.
            unsafe self.element = element
        }

        @inlinable var isFree: Bool { key >> 63 == 1 }
        @inlinable var generation: UInt32 { UInt32(truncatingIfNeeded: key) }
    }

    /// Ends the list of free slots: no slot, for a slab has fewer.
    @inlinable static var noSlot: UInt32 { 0x7FFF_FFFF }

    @usableFromInline let capacity: Int
    @usableFromInline var places: [Place] = []
    @usableFromInline var firstFree: UInt32
    /// Elements that live in it.
    @usableFromInline var used = 0

    /// An empty slab that holds at most `capacity` elements.
    @inlinable public init(capacity: Int) {
        self.capacity = Swift.min(capacity, Int(Self.noSlot))
        firstFree = Self.noSlot
    }

    @inlinable public var count: Int { used }

    @inlinable deinit {
        // SAFETY: a taken slot has an initialised element.
        for slot in places.indices where !places[slot].isFree { unsafe places[slot].element.deinitialize(count: 1) }
        // SAFETY: the first of a chunk begins its allocation, which was made here.
        for first in stride(from: 0, to: places.count, by: Self.chunkSize) { unsafe places[first].element.deallocate() }
    }

    @inlinable public var isFull: Bool { used >= capacity }

    /// Moves `element` in. Nil (and the element is dropped) when the slab is full.
    @inlinable public mutating func insert(_ element: consuming Element) -> Handle? {
        guard used < capacity else { return nil }
        if firstFree == Self.noSlot { grow() }
        let slot = firstFree
        let key = places[Int(slot)].key
        firstFree = UInt32(truncatingIfNeeded: key >> 32) & Self.noSlot
        let generation = UInt32(truncatingIfNeeded: key) &+ 1
        places[Int(slot)].key = UInt64(generation)
        // SAFETY: the slot was free, so its memory is uninitialised.
        unsafe places[Int(slot)].element.initialize(to: element)
        used += 1
        return Handle(slot: slot, generation: generation)
    }

    /// Room for another chunk of elements, of which none moves.
    @inlinable mutating func grow() {
        let first = places.count
        let chunk = UnsafeMutablePointer<Element>.allocate(capacity: Self.chunkSize)
        for index in 0..<Self.chunkSize {
            let next = index + 1 < Self.chunkSize ? UInt64(first + index + 1) : UInt64(Self.noSlot)
            // SAFETY: `index` is below the capacity of the chunk.
            places.append(unsafe Place(key: 1 << 63 | next << 32, element: chunk + index))
        }
        firstFree = UInt32(first)
    }

    /// Drops the element. False when the handle is stale.
    @discardableResult
    @inlinable public mutating func remove(_ handle: Handle) -> Bool {
        guard contains(handle) else { return false }
        release(handle.slot)
        // SAFETY: `contains` proved that the element is initialised.
        unsafe places[Int(handle.slot)].element.deinitialize(count: 1)
        return true
    }

    /// Moves the element out. Nil when the handle is stale.
    @inlinable public mutating func take(_ handle: Handle) -> Element? {
        guard contains(handle) else { return nil }
        release(handle.slot)
        // SAFETY: `contains` proved that the element is initialised.
        return unsafe places[Int(handle.slot)].element.move()
    }

    @inlinable public func contains(_ handle: Handle) -> Bool {
        Int(handle.slot) < places.count && places[Int(handle.slot)].key == UInt64(handle.generation)
    }

    /// The element of a live handle; a stale one is a mistake of the caller, who asks `contains` first.
    @inlinable public subscript(handle: Handle) -> Element {
        _read {
            precondition(contains(handle), "stale handle")
            // SAFETY: `contains` proved that the element is initialised; elements never move.
            yield unsafe places[Int(handle.slot)].element.pointee
        }
        _modify {
            precondition(contains(handle), "stale handle")
            // SAFETY: as in `_read`.
            yield unsafe &places[Int(handle.slot)].element.pointee
        }
    }

    /// Handles of all elements, in slot order. A copy: the slab may change while it is walked.
    @inlinable public var handles: [Handle] {
        var result: [Handle] = []
        result.reserveCapacity(used)
        for slot in places.indices where !places[slot].isFree {
            result.append(Handle(slot: UInt32(slot), generation: places[slot].generation))
        }
        return result
    }

    /// The handle of the live element in `slot`, or `none`.
    @inlinable public func handle(at slot: Int) -> Handle {
        guard slot < places.count, !places[slot].isFree else { return .none }
        return Handle(slot: UInt32(slot), generation: places[slot].generation)
    }

    /// One more than the highest slot ever used.
    @inlinable public var slotCount: Int { places.count }

    @inlinable mutating func release(_ slot: UInt32) {
        let generation = UInt64(places[Int(slot)].generation &+ 1)
        places[Int(slot)].key = 1 << 63 | UInt64(firstFree) << 32 | generation
        firstFree = slot
        used -= 1
    }
}
