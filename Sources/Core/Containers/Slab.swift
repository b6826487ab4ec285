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

    @usableFromInline let capacity: Int
    @usableFromInline var chunks: [UnsafeMutablePointer<Element>] = unsafe []
    /// Odd while the slot is taken; even while it is free.
    @usableFromInline var generations: [UInt32] = []
    @usableFromInline var free: [UInt32] = []
    /// Elements that live in it.
    @usableFromInline var used = 0

    /// An empty slab that holds at most `capacity` elements.
    @inlinable public init(capacity: Int) { self.capacity = capacity }

    @inlinable public var count: Int { used }

    @inlinable deinit {
        for slot in generations.indices where generations[slot] & 1 == 1 {
            // SAFETY: an odd generation marks an initialised element.
            unsafe (chunks[slot / Self.chunkSize] + slot % Self.chunkSize).deinitialize(count: 1)
        }
        // SAFETY: each chunk was allocated here, and its live elements went above.
        for index in unsafe chunks.indices { unsafe chunks[index].deallocate() }
    }

    @inlinable public var isFull: Bool { used >= capacity }

    /// Moves `element` in. Nil (and the element is dropped) when the slab is full.
    @inlinable public mutating func insert(_ element: consuming Element) -> Handle? {
        guard used < capacity else { return nil }
        if free.isEmpty {
            let first = UInt32(generations.count)
            unsafe chunks.append(UnsafeMutablePointer<Element>.allocate(capacity: Self.chunkSize))
            generations.append(contentsOf: repeatElement(0, count: Self.chunkSize))
            for slot in (first..<first + UInt32(Self.chunkSize)).reversed() { free.append(slot) }
        }
        let slot = free.removeLast()
        let generation = generations[Int(slot)] &+ 1
        generations[Int(slot)] = generation
        // SAFETY: the slot was free, so its memory is uninitialised.
        unsafe address(slot).initialize(to: element)
        used += 1
        return Handle(slot: slot, generation: generation)
    }

    /// Drops the element. False when the handle is stale.
    @discardableResult
    @inlinable public mutating func remove(_ handle: Handle) -> Bool {
        guard contains(handle) else { return false }
        release(handle.slot)
        // SAFETY: `contains` proved that the element is initialised.
        unsafe address(handle.slot).deinitialize(count: 1)
        return true
    }

    /// Moves the element out. Nil when the handle is stale.
    @inlinable public mutating func take(_ handle: Handle) -> Element? {
        guard contains(handle) else { return nil }
        release(handle.slot)
        // SAFETY: `contains` proved that the element is initialised.
        return unsafe address(handle.slot).move()
    }

    @inlinable public func contains(_ handle: Handle) -> Bool {
        let slot = Int(handle.slot)
        return slot < generations.count && generations[slot] == handle.generation && handle.generation & 1 == 1
    }

    /// The element of a live handle; a stale one is a mistake of the caller, who asks `contains` first.
    @inlinable public subscript(handle: Handle) -> Element {
        _read {
            precondition(contains(handle), "stale handle")
            // SAFETY: `contains` proved that the element is initialised; chunks never move.
            yield unsafe address(handle.slot).pointee
        }
        _modify {
            precondition(contains(handle), "stale handle")
            // SAFETY: as in `_read`.
            yield unsafe &address(handle.slot).pointee
        }
    }

    /// Handles of all elements, in slot order. A copy: the slab may change while it is walked.
    @inlinable public var handles: [Handle] {
        var result: [Handle] = []
        result.reserveCapacity(used)
        for slot in generations.indices where generations[slot] & 1 == 1 {
            result.append(Handle(slot: UInt32(slot), generation: generations[slot]))
        }
        return result
    }

    /// The handle of the live element in `slot`, or `none`.
    @inlinable public func handle(at slot: Int) -> Handle {
        guard slot < generations.count, generations[slot] & 1 == 1 else { return .none }
        return Handle(slot: UInt32(slot), generation: generations[slot])
    }

    /// One more than the highest slot ever used.
    @inlinable public var slotCount: Int { generations.count }

    @inlinable func address(_ slot: UInt32) -> UnsafeMutablePointer<Element> {
        // Unsigned: a division of signed numbers by 64 is no plain shift.
        unsafe chunks[Int(slot / 64)] + Int(slot % 64)
    }

    @inlinable mutating func release(_ slot: UInt32) {
        generations[Int(slot)] &+= 1
        free.append(slot)
        used -= 1
    }
}
