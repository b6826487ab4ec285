package import MeshModel

/// What each caller holds of a worker: connections, requests in progress, and how much of this turn it has had.
///
/// One rule for all that can run out (Choudhury and Hahne, dynamic thresholds): a caller may hold at most as many as are left
/// for others. One caller alone gets half, the next one half of the rest, and there is always room for who comes new.
package struct CallerShares {
    /// Names a caller's account; `none` is nobody's, which has no bounds.
    package struct Account: Hashable, Sendable {
        package static let none = Account(number: -1)
        fileprivate let number: Int
        package var isNone: Bool { number < 0 }
    }

    private struct Entry {
        var id: SPIFFEID
        /// Connections, requests and whoever else remembers the account.
        var references = 1
        var connections = 0
        var requests = 0
        var turn: UInt64 = 0
        var taken = 0
    }

    /// Requests of one caller taken in one turn while others are connected: about a millisecond of a worker's work, so that
    /// nobody waits longer for another one's burst.
    package static let perTurn = 64

    /// Requests read of one peer in one turn whose connections carry many callers: those have `perTurn` each.
    package static let perSharedTurn = 512

    private var numbers: [SPIFFEID: Int] = [:]
    private var entries: [Entry] = []
    private var free: [Int] = []
    /// Callers that hold a request now.
    package private(set) var busy = 0

    package init() {}

    /// Accounts that somebody remembers.
    package var count: Int { numbers.count }

    /// The account of `id`, to be let go by `release`.
    package mutating func retain(_ id: SPIFFEID) -> Account {
        if let number = numbers[id] {
            entries[number].references += 1
            return Account(number: number)
        }
        let number: Int
        if let spare = free.popLast() {
            number = spare
            entries[number] = Entry(id: id)
        } else {
            number = entries.count
            entries.append(Entry(id: id))
        }
        numbers[id] = number
        return Account(number: number)
    }

    package mutating func release(_ account: Account) {
        guard !account.isNone else { return }
        entries[account.number].references -= 1
        guard entries[account.number].references == 0 else { return }
        numbers[entries[account.number].id] = nil
        free.append(account.number)
    }

    // MARK: Connections

    /// Counts a connection; false: the caller holds more than is left of `capacity`, of which `total` are in use.
    package mutating func connect(_ account: Account, total: Int, capacity: Int) -> Bool {
        guard !account.isNone else { return true }
        entries[account.number].connections += 1
        return entries[account.number].connections <= max(1, capacity - total)
    }

    package mutating func disconnect(_ account: Account) {
        if !account.isNone { entries[account.number].connections -= 1 }
    }

    // MARK: Requests

    /// True when the caller may have one more of `capacity` requests, of which `total` are in progress.
    package func mayBegin(_ account: Account, total: Int, capacity: Int) -> Bool {
        account.isNone || entries[account.number].requests < max(1, capacity - total)
    }

    /// True when the caller holds at least its equal part of the `total` requests in progress: the first to be shed.
    package func isAboveAverage(_ account: Account, total: Int) -> Bool {
        account.isNone || entries[account.number].requests * max(1, busy) >= total
    }

    /// Counts a request in progress and remembers the account for it.
    package mutating func begin(_ account: Account) {
        guard !account.isNone else { return }
        if entries[account.number].requests == 0 { busy += 1 }
        entries[account.number].requests += 1
        entries[account.number].references += 1
    }

    package mutating func end(_ account: Account) {
        guard !account.isNone else { return }
        entries[account.number].requests -= 1
        if entries[account.number].requests == 0 { busy -= 1 }
        release(account)
    }

    // MARK: Turns

    /// False: the caller had its part of this turn, and there are others.
    package func hasTurn(_ account: Account, turn: UInt64, of part: Int = CallerShares.perTurn) -> Bool {
        guard !account.isNone, numbers.count > 1, entries[account.number].turn == turn else { return true }
        return entries[account.number].taken < part
    }

    /// Counts one request of `turn`.
    package mutating func take(_ account: Account, turn: UInt64) {
        guard !account.isNone else { return }
        if entries[account.number].turn != turn {
            entries[account.number].turn = turn
            entries[account.number].taken = 0
        }
        entries[account.number].taken += 1
    }
}
