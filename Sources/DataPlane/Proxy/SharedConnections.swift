internal import Containers
internal import Downstream
internal import Link
internal import MeshModel
internal import Upstream
internal import Wire

/// What keeps callers apart that share a connection: between our own proxies one HTTP/2 connection carries many of them.
///
/// Streams need no rule of their own: a connection whose streams are used up is followed by another one, and how many requests a
/// caller has in progress is `CallerShares`' word.
extension Worker {
    /// True when the request may go on in this turn. A connection of many callers goes on when one of them has had its part of the
    /// turn: what that one sent waits in `postponed`, by itself.
    mutating func takesTurn(_ exchange: Handle, _ handle: Handle) -> Bool {
        guard inbound.contains(handle), inbound[handle].carriesOthers else { return true }
        let account = exchanges[exchange].account
        guard shares.hasTurn(account, turn: turnNumber) else {
            postponed.append(exchange)
            return false
        }
        shares.take(account, turn: turnNumber)
        return true
    }

    /// A new turn: requests that had to wait go before those that come, each caller's in their order.
    mutating func dispatchPostponed() {
        let count = postponed.count
        var kept = 0
        for index in 0..<count {
            let exchange = postponed[index]
            // Cancelled, or answered because its time was up or its caller is not allowed any more.
            guard exchanges.contains(exchange), exchanges[exchange].phase == .waiting else { continue }
            let account = exchanges[exchange].account
            if shares.hasTurn(account, turn: turnNumber) {
                shares.take(account, turn: turnNumber)
                dispatch(exchange)
            } else {
                postponed[kept] = exchange
                kept += 1
            }
        }
        postponed.removeSubrange(kept..<count)
    }

    // MARK: Bytes

    /// Readers that have stopped fill a connection until nothing comes for anybody on it: when that is near, the caller who holds
    /// the most gives up what is above its share. Who is alone on a connection holds up only itself.
    mutating func relieve(inbound handle: Handle) {
        guard let held = inbound[handle].connection.link.session?.crowded else { return }
        relieve(inbound[handle].connection.streams.all, held, isDownstream: true)
    }

    mutating func relieve(outbound handle: Handle) {
        guard let held = outbound[handle].connection.link.session?.crowded else { return }
        relieve(outbound[handle].connection.streams.all, held, isDownstream: false)
    }

    private mutating func relieve(_ streams: [Handle], _ held: HeldBytes, isDownstream: Bool) {
        var holders: [(exchange: Handle, account: CallerShares.Account, bytes: Int)] = []
        var sums: [CallerShares.Account: Int] = [:]
        for exchange in streams where exchanges.contains(exchange) {
            let bytes = unconsumed(exchange, isDownstream)
            holders.append((exchange, exchanges[exchange].account, bytes))
            sums[exchanges[exchange].account, default: 0] += bytes
        }
        guard sums.count > 1, let greedy = sums.max(by: { $0.value < $1.value }) else { return }
        // Afterwards it holds as many as are left for the others.
        var excess = (greedy.value + held.count - held.capacity + 1) / 2
        holders.removeAll { $0.account != greedy.key }
        holders.sort { $0.bytes > $1.bytes }
        for holder in holders where excess > 0 {
            excess -= holder.bytes
            countLimit(.callerBytes)
            answer(holder.exchange, .overload, dispatched: true)
        }
    }

    private func unconsumed(_ exchange: Handle, _ isDownstream: Bool) -> Int {
        if isDownstream {
            let handle = exchanges[exchange].downstream
            return inbound[handle].connection.link.session?.unconsumed(exchanges[exchange].stream) ?? 0
        }
        let handle = exchanges[exchange].upstream
        guard outbound.contains(handle) else { return 0 }
        return outbound[handle].connection.link.session?.unconsumed(exchanges[exchange].upstreamStream) ?? 0
    }

    // MARK: Connections to the next hop

    /// True when the caller of `exchange` has at least as many of the connections at a place of the pool as are left of `limit`.
    /// Asked only when half of them are there, none of which is free.
    func isAtItsShare(_ exchange: Handle, place: Int, limit: Int) -> Bool {
        let account = exchanges[exchange].account
        let count = pool.count(at: place)
        guard !account.isNone, count >= limit / 2 else { return false }
        var own = 0
        for index in 0..<count {
            let handle = pool.connection(index, at: place)
            guard outbound.contains(handle) else { continue }
            let user = outbound[handle].connection.waiting.first ?? outbound[handle].connection.streams.first
            if exchanges.contains(user), exchanges[user].account == account { own += 1 }
        }
        return own >= limit - count
    }
}
