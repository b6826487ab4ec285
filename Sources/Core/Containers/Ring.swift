/// A first-in first-out queue with a limit; no allocation once it has grown to its working size.
public struct Ring<Element> {
    @usableFromInline var storage: [Element?]
    @usableFromInline var head = 0
    public private(set) var count = 0
    /// The most elements it holds.
    public let limit: Int

    public init(limit: Int) {
        self.limit = limit
        storage = []
    }

    @inlinable public var isEmpty: Bool { count == 0 }
    @inlinable public var isFull: Bool { count >= limit }

    /// False, and nothing is added, when the ring is at its limit.
    @discardableResult
    public mutating func append(_ element: Element) -> Bool {
        guard count < limit else { return false }
        if count == storage.count { grow() }
        storage[(head + count) % storage.count] = element
        count += 1
        return true
    }

    public mutating func popFirst() -> Element? {
        guard count > 0 else { return nil }
        let element = storage[head]
        storage[head] = nil
        head = (head + 1) % storage.count
        count -= 1
        return element
    }

    @inlinable public var first: Element? { count > 0 ? storage[head] : nil }

    public mutating func removeAll() {
        while popFirst() != nil {}
    }

    private mutating func grow() {
        var larger: [Element?] = []
        let capacity = Swift.min(limit, Swift.max(8, storage.count * 2))
        larger.reserveCapacity(capacity)
        for index in 0..<count { larger.append(storage[(head + index) % storage.count]) }
        while larger.count < capacity { larger.append(nil) }
        storage = larger
        head = 0
    }
}
