/// A first-in first-out queue with a limit; no allocation once it has grown to its working size.
public struct Ring<Element> {
    @usableFromInline var storage: [Element?]
    @usableFromInline var head = 0
    @usableFromInline var used = 0
    /// The most elements it holds.
    public let limit: Int

    @inlinable public init(limit: Int) {
        self.limit = limit
        storage = []
    }

    @inlinable public var count: Int { used }
    @inlinable public var isEmpty: Bool { used == 0 }
    @inlinable public var isFull: Bool { used >= limit }

    /// False, and nothing is added, when the ring is at its limit.
    @discardableResult
    @inlinable public mutating func append(_ element: Element) -> Bool {
        guard used < limit else { return false }
        if used == storage.count { grow() }
        storage[wrapped(head + used)] = element
        used += 1
        return true
    }

    @inlinable public mutating func popFirst() -> Element? {
        guard used > 0 else { return nil }
        let element = storage[head]
        storage[head] = nil
        head = wrapped(head + 1)
        used -= 1
        return element
    }

    @inlinable public var first: Element? { used > 0 ? storage[head] : nil }

    @inlinable public mutating func removeAll() {
        while popFirst() != nil {}
    }

    /// Gives memory back when nothing waits; keeps it otherwise.
    public mutating func shrink() {
        guard isEmpty else { return }
        storage = []
        head = 0
    }

    @inlinable func wrapped(_ place: Int) -> Int { place < storage.count ? place : place - storage.count }

    @usableFromInline mutating func grow() {
        var larger: [Element?] = []
        let capacity = Swift.min(limit, Swift.max(8, storage.count * 2))
        larger.reserveCapacity(capacity)
        for index in 0..<used { larger.append(storage[wrapped(head + index)]) }
        while larger.count < capacity { larger.append(nil) }
        storage = larger
        head = 0
    }
}
