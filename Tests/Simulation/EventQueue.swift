import MeshModel

/// Events in order of virtual time; equal times in order of their making.
struct EventQueue {
    private struct Event {
        let time: Instant
        let number: UInt64
        let run: () -> Void
    }

    private var heap: [Event] = []
    private var nextNumber: UInt64 = 0

    mutating func add(at time: Instant, _ run: @escaping () -> Void) {
        heap.append(Event(time: time, number: nextNumber, run: run))
        nextNumber += 1
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard Self.isBefore(heap[child], heap[parent]) else { break }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    mutating func next() -> (time: Instant, run: () -> Void)? {
        guard let first = heap.first, let last = heap.popLast() else { return nil }
        if !heap.isEmpty {
            heap[0] = last
            var parent = 0
            while true {
                var least = parent
                for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count {
                    if Self.isBefore(heap[child], heap[least]) { least = child }
                }
                guard least != parent else { break }
                heap.swapAt(parent, least)
                parent = least
            }
        }
        return (first.time, first.run)
    }

    private static func isBefore(_ left: Event, _ right: Event) -> Bool {
        (left.time, left.number) < (right.time, right.number)
    }
}
