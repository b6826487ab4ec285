internal import Containers
internal import Downstream
internal import Link
internal import MeshModel
internal import Reactor
internal import Telemetry
internal import TLS
internal import Upstream
internal import Wire

/// A limit of the worker that was met, as `meshfed_limits_reached_total` names it.
enum WorkerLimit: String {
    case connections
    case callerConnections = "caller_connections"
    case handshakes
    case turnHandshakes = "turn_handshakes"
    case requests
    case callerRequests = "caller_requests"
    case callerBytes = "caller_bytes"
    case callerUpstreams = "caller_upstreams"
    case memory
    case descriptors
}

/// What keeps a worker alive and fair when more comes than it can carry.
///
/// Every limit has one answer: connections and handshakes above theirs wait in the kernel's backlog, requests and streams get
/// `overload` (503 with Retry-After), what a caller sends beyond its part of a turn waits for the next turn.
extension Worker {
    /// TLS handshakes in progress; OpenSSL holds some 40 KiB for each.
    static let handshakeLimit = 1_024
    /// Steps of handshakes in one turn: each costs half a millisecond of asymmetric cryptography, for which those who have
    /// one already do not wait longer.
    static let handshakesPerTurn = 8
    /// How often the worker looks at the memory of the process.
    private static let memoryInterval = Duration.milliseconds(10)
    /// Bytes read after which it looks again, however little time went by: a turn may read hundreds of megabytes.
    private static let memoryStep: UInt64 = 1 << 20
    /// How long a connection may be idle when memory is short.
    static let leanIdle = Duration.seconds(5)

    mutating func countLimit(_ limit: WorkerLimit) {
        let label = metrics.intern(Array(limit.rawValue.utf8))
        metrics.count(.limitsReached, label)
    }

    // MARK: Memory

    /// Called at each turn and after each event of it.
    mutating func watchMemory() {
        guard settings.memoryLimit > 0 else { return }
        guard reactor.now >= nextMemoryLook || buffers.received &- receivedAtLook >= Self.memoryStep else { return }
        nextMemoryLook = reactor.now + Self.memoryInterval
        receivedAtLook = buffers.received
        let used = Machine.residentMemory + memoryBeside
        let before = pressure
        pressure = before.next(used: used, limit: settings.memoryLimit)
        guard pressure != before else {
            if pressure == .closed { cutHeaviest() }
            return
        }
        if pressure > before { countLimit(.memory) }
        if pressure >= .lean { nextCalm = reactor.now }
        if pressure == .closed { cutHeaviest() }
        admitMore()
    }

    /// Bytes that one exchange or relay may hold in the last stage: its part of the room that this stage has, so that all of
    /// them together stay below the limit.
    private var leanBuffers: Int {
        let room = settings.memoryLimit / 100 * (100 - MemoryPressure.closed.threshold) / max(1, settings.crew.count)
        return min(max(room / max(1, exchanges.count + relays.count), 4_096), 65_536)
    }

    /// In the last stage nothing is kept for a reader that is slower than its app: true when the exchange was cut, what came
    /// for it included.
    mutating func cutsForMemory(exchange handle: Handle) -> Bool {
        guard pressure == .closed, heldBytes(exchange: handle) > leanBuffers else { return false }
        countLimit(.memory)
        answer(handle, .overload, dispatched: true)
        return true
    }

    /// The same for a relay.
    mutating func cutsForMemory(relay handle: Handle) -> Bool {
        guard pressure == .closed, relays.contains(handle), heldBytes(relay: handle) > leanBuffers else { return false }
        countLimit(.memory)
        relays[handle].reason = .overload
        endRelay(handle, abort: true)
        return true
    }

    /// Ends the exchanges and relays that hold the most, a quarter of them at a time: readers that are slower than their app.
    private mutating func cutHeaviest() {
        let leanBuffers = leanBuffers
        var heavy: [(bytes: Int, exchange: Handle, relay: Handle)] = []
        for handle in exchanges.handles {
            let bytes = heldBytes(exchange: handle)
            if bytes > leanBuffers { heavy.append((bytes, handle, .none)) }
        }
        for handle in relays.handles {
            let bytes = heldBytes(relay: handle)
            if bytes > leanBuffers { heavy.append((bytes, .none, handle)) }
        }
        heavy.sort { $0.bytes > $1.bytes }
        for entry in heavy.prefix(max(1, heavy.count / 4)) {
            countLimit(.memory)
            if exchanges.contains(entry.exchange) { answer(entry.exchange, .overload, dispatched: true) }
            if relays.contains(entry.relay) {
                relays[entry.relay].reason = .overload
                endRelay(entry.relay, abort: true)
            }
        }
    }

    private func heldBytes(exchange handle: Handle) -> Int {
        var bytes = exchanges[handle].kept.count
        let downstream = exchanges[handle].downstream
        if inbound.contains(downstream) {
            bytes += inbound[downstream].connection.link.session?.queued(exchanges[handle].stream) ?? 0
        }
        let upstream = exchanges[handle].upstream
        if outbound.contains(upstream) {
            bytes += outbound[upstream].connection.link.session?.queued(exchanges[handle].upstreamStream) ?? 0
        }
        return bytes
    }

    private func heldBytes(relay handle: Handle) -> Int {
        var bytes = 0
        let downstream = relays[handle].downstream
        if inbound.contains(downstream) {
            bytes += inbound[downstream].connection.link.transport.pendingOutput
            bytes += inbound[downstream].connection.early.count
        }
        let upstream = relays[handle].upstream
        if outbound.contains(upstream) { bytes += outbound[upstream].connection.link.transport.pendingOutput }
        return bytes
    }

    // MARK: Connections

    /// The limit that forbids taking another connection now.
    private var closedBy: WorkerLimit? {
        if pressure == .closed { return .memory }
        if inbound.isFull { return .connections }
        if handshaking >= Self.handshakeLimit { return .handshakes }
        return nil
    }

    /// False: nothing is taken now, and nothing is reported of the listeners until `admitMore` finds room again.
    mutating func mayAccept() -> Bool {
        guard let limit = closedBy else { return true }
        guard !isHoldingBack else { return false }
        isHoldingBack = true
        countLimit(limit)
        for handle in listeners.handles where !listeners[handle].isPaused {
            reactor.forget(listeners[handle].descriptor)
        }
        return false
    }

    /// Something was let go: listens again when there is room.
    mutating func admitMore() {
        guard isHoldingBack, closedBy == nil else { return }
        isHoldingBack = false
        for handle in listeners.handles where !listeners[handle].isPaused {
            do throws(SocketError) { try watchListener(handle) } catch { listeners[handle].pause(now: reactor.now) }
        }
    }

    /// A verified peer takes its place among the connections. One that holds too many is served on this one by refusals only.
    mutating func openAccount(_ handle: Handle, _ id: SPIFFEID) {
        let account = shares.retain(id)
        inbound[handle].account = account
        guard !shares.connect(account, total: inbound.count, capacity: settings.maximumConnections) else { return }
        inbound[handle].isExcess = true
        countLimit(.callerConnections)
    }

    mutating func closeAccount(_ handle: Handle) {
        endHandshake(handle)
        shares.disconnect(inbound[handle].account)
        shares.release(inbound[handle].account)
        shares.release(inbound[handle].callerAccount)
        inbound[handle].account = .none
        inbound[handle].callerAccount = .none
    }

    mutating func endHandshake(_ handle: Handle) {
        guard inbound[handle].isHandshaking else { return }
        inbound[handle].isHandshaking = false
        handshaking -= 1
        admitMore()
    }

    /// False: this turn's part of the handshakes is done; the kernel reports the connection again.
    mutating func mayShakeHands() -> Bool {
        if handshakeTurn != turnNumber {
            handshakeTurn = turnNumber
            handshakeSteps = 0
        }
        handshakeSteps += 1
        if handshakeSteps == Self.handshakesPerTurn + 1 { countLimit(.turnHandshakes) }
        return handshakeSteps <= Self.handshakesPerTurn
    }

    // MARK: Requests

    /// True when a request of an admitted caller may go on. Its place is counted until `finish`.
    mutating func takePlace(_ exchange: Handle, _ handle: Handle) -> Bool {
        guard !exchanges[exchange].isQuiet, inbound.contains(handle) else { return true }
        guard exchanges[exchange].hasCaller else { return takesStreams() }
        knowCaller(of: exchange, handle)
        let account = inbound[handle].callerAccount
        // The exchange itself is one of them already.
        let total = exchanges.count - 1
        if pressure >= .shedding, shares.isAboveAverage(account, total: total) || pressure == .closed {
            countLimit(.memory)
            return false
        }
        guard shares.mayBegin(account, total: total, capacity: settings.maximumExchanges) else {
            countLimit(.callerRequests)
            return false
        }
        shares.begin(account)
        exchanges[exchange].account = account
        return true
    }

    /// True when a stream may be opened.
    mutating func takesStreams() -> Bool {
        guard pressure >= .shedding else { return true }
        countLimit(.memory)
        return false
    }

    /// True when the next event of a connection may be looked at in this turn; else it waits in `deferred`.
    mutating func mayTakeEvents(_ handle: Handle) -> Bool {
        if inbound[handle].isDeferred { return false }
        let part = inbound[handle].carriesOthers ? CallerShares.perSharedTurn : CallerShares.perTurn
        if shares.hasTurn(inbound[handle].account, turn: turnNumber, of: part) { return true }
        inbound[handle].isDeferred = true
        deferred.append(handle)
        return false
    }

    /// A new turn: who had to wait goes first, in the order in which they came.
    mutating func beginTurn() {
        turnNumber &+= 1
        if !postponed.isEmpty { dispatchPostponed() }
        guard !deferred.isEmpty else { return }
        var waiting: [Handle] = []
        swap(&waiting, &deferred)
        for handle in waiting where inbound.contains(handle) {
            inbound[handle].isDeferred = false
            drainInbound(handle)
            markInbound(handle)
        }
    }

    /// Answers a request for which there is no place in the table. HTTP/2 has a word for it that every method may be repeated on.
    mutating func refuseForRoom(_ handle: Handle, _ stream: StreamID) {
        countLimit(.requests)
        if inbound[handle].connection.link.isHTTP2 {
            inbound[handle].connection.link.session?.reset(stream, code: HTTP2Code.refusedStream)
        } else {
            answerViolation(handle, stream, 503)
        }
        markInbound(handle)
    }
}
