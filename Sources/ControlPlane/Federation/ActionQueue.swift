/// "Durable before visible": holds back every action that follows rows which are not durable yet.
///
/// The host puts in what the machine returned, writes the batches it is given in order, and reports each one done. What
/// comes out of `released` may be done at once. Batches of several events may be under way together, in order; nothing overtakes one.
package struct ActionQueue: Sendable {
    /// Rows of one transaction.
    package struct Batch: Hashable, Sendable {
        package let number: UInt64
        package let rows: [FederationRow]
    }

    private enum Item: Sendable {
        case barrier(UInt64)
        case action(FederationAction)
    }

    private var items: [Item] = []
    private var unwritten: [Batch] = []
    private var nextNumber: UInt64 = 1
    private var durable: UInt64 = 0

    package init() {}

    package mutating func append(_ actions: [FederationAction]) {
        for action in actions {
            if case .persist(let rows) = action {
                unwritten.append(Batch(number: nextNumber, rows: rows))
                items.append(.barrier(nextNumber))
                nextNumber += 1
            } else {
                items.append(.action(action))
            }
        }
    }

    /// Batches to write now, oldest first; each is given once.
    package mutating func batches() -> [Batch] {
        defer { unwritten = [] }
        return unwritten
    }

    /// Batch `number` and all before it are durable.
    package mutating func written(upTo number: UInt64) { durable = max(durable, number) }

    /// What may be done now, in order.
    package mutating func released() -> [FederationAction] {
        var actions: [FederationAction] = []
        var taken = 0
        loop: for item in items {
            switch item {
            case .barrier(let number):
                if number > durable { break loop }
            case .action(let action): actions.append(action)
            }
            taken += 1
        }
        items.removeFirst(taken)
        return actions
    }

    /// Number of the newest batch. A view of the machine that is taken now may be shown as soon as `isDurable` says so of
    /// it: the machine's state runs ahead of the disk.
    package var newest: UInt64 { nextNumber - 1 }

    package func isDurable(_ number: UInt64) -> Bool { number <= durable }

    package var isEmpty: Bool { items.isEmpty && unwritten.isEmpty }
}
