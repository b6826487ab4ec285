internal import Containers
internal import Downstream
internal import Link
internal import MeshModel
internal import Reactor
internal import Routing
internal import Telemetry
internal import TLS
internal import Upstream
internal import Wire

/// Step 6: the answer comes back, or the try is repeated elsewhere.
extension Worker {
    mutating func responseHead(
        _ exchange: Handle, _ connection: Handle, _ stream: StreamID, _ kind: HeadKind, endStream: Bool
    ) {
        guard let block = outbound[connection].connection.link.session?.takeHead(stream) else { return }
        exchanges[exchange].lastActive = reactor.now
        if case .interim = kind {
            passHead(exchange, block, .interim, endStream: false)
            outbound[connection].connection.link.session?.recycle(block)
            return
        }
        let status = block.number(.status) ?? 0
        exchanges[exchange].status = UInt16(clamping: status)
        if case .probe(let target) = exchanges[exchange].route {
            outbound[connection].connection.link.session?.recycle(block)
            finishProbe(exchange, target, isHealthy: status == 200)
            return
        }
        if exchanges[exchange].upstreamIsProxy, block.contains(.meshfedError),
            let said = MeshfedError(block)
        {
            exchanges[exchange].reason = said.reason
            if let attempts = block.number(.meshfedAttempts), attempts < 1_000 {
                exchanges[exchange].attempts = max(exchanges[exchange].attempts, attempts)
            }
            if mayRepeat(exchange, after: said) {
                outbound[connection].connection.link.session?.recycle(block)
                detachUpstream(exchange, code: HTTP2Code.cancel)
                dispatch(exchange)
                return
            }
        } else {
            exchanges[exchange].reason = nil
            if let candidate = exchanges[exchange].candidate {
                judgeStatus(candidate, status, exchange)
            }
        }
        exchanges[exchange].phase = .responding
        dropKept(exchange)
        exchanges[exchange].isLost = true
        armTimer(exchange)
        passHead(exchange, block, .response, endStream: endStream)
        outbound[connection].connection.link.session?.recycle(block)
        if endStream { responseDone(exchange) }
    }

    /// What a status says of the target's health. Errors behind a gateway are its backends', never its own.
    private mutating func judgeStatus(_ candidate: Candidate, _ status: Int, _ exchange: Handle) {
        let now = reactor.now
        if status >= 500 {
            if health.failed(candidate.handle, .status5xx, now: now) { countEjection(exchange, "consecutive_failures") }
            health.failed(candidate.pathHandle, .status5xx, now: now)
        } else {
            health.succeeded(candidate.handle, now: now)
            health.succeeded(candidate.pathHandle, now: now)
        }
    }

    /// The next hop said itself that it could not: whether another candidate may be asked. Charges what it costs.
    private mutating func mayRepeat(_ exchange: Handle, after said: MeshfedError) -> Bool {
        let now = reactor.now
        if let candidate = exchanges[exchange].candidate {
            switch candidate.kind {
            case .endpoint:
                // Its sidecar is well, its app is not.
                if said.reason == .connectFailed {
                    if health.failed(candidate.handle, .connectRefused, now: now) { countEjection(exchange, "connect") }
                } else if said.reason == .connectTimeout || said.reason == .upstreamReset {
                    health.failed(candidate.handle, .status5xx, now: now)
                }
            case .localGateway, .remoteGateway: health.remoteAnswered(candidate, said.reason, now: now)
            }
        }
        return judgeFailure(
            exchange,
            FailureCause(
                reason: said.reason, cause: .answered(said.reason), health: nil, isDispatched: said.isDispatched))
    }

    private mutating func passHead(
        _ exchange: Handle, _ block: borrowing HeaderBlock, _ kind: HeadKind, endStream: Bool
    ) {
        let handle = exchanges[exchange].downstream
        guard inbound.contains(handle) else { return }
        var isFinal = false
        if case .response = kind { isFinal = true }
        let saysError = isFinal && exchanges[exchange].wasDispatched && exchanges[exchange].reason != nil
        let saysAttempts = isFinal && inbound[handle].isProxy && exchanges[exchange].attempts > 1
        if !saysError, !saysAttempts, block.isFreeOfMeshFields {
            inbound[handle].connection.link.session?.sendHead(
                exchanges[exchange].stream, block, kind, endStream: endStream)
            markInbound(handle)
            return
        }
        outgoing.removeAll()
        let believes = exchanges[exchange].upstreamIsProxy
        for index in 0..<block.count {
            switch block.name(at: index) {
            case .meshfedError: if !believes || exchanges[exchange].wasDispatched { continue }
            case .meshfedAttempts, .meshfedOrigin, .meshfedHops, .meshfedDeadline, .meshfedAuthority, .meshfedHTTP,
                .meshfedProbe, .xForwardedClientCert:
                continue
            case .other:
                if block.isMeshfed(at: index) || block.mappedName(at: index) == .xForwardedClientCert { continue }
            default: break
            }
            outgoing.append(copying: index, of: block)
        }
        if saysError, let reason = exchanges[exchange].reason { writeError(exchange, reason, true) }
        if saysAttempts {
            outgoing.append(.meshfedAttempts, number: exchanges[exchange].attempts)
        }
        inbound[handle].connection.link.session?.sendHead(
            exchanges[exchange].stream, outgoing, kind, endStream: endStream)
        markInbound(handle)
    }

    mutating func responseData(_ exchange: Handle, _ connection: Handle, _ offset: Int, _ count: Int) {
        let handle = exchanges[exchange].downstream
        let stream = exchanges[exchange].stream
        exchanges[exchange].lastActive = reactor.now
        exchanges[exchange].sent &+= UInt64(count)
        guard exchanges[exchange].phase == .responding, inbound.contains(handle) else {
            outbound[connection].connection.link.session?.consume(exchanges[exchange].upstreamStream, count)
            return
        }
        inbound[handle].connection.link.sendData(stream, from: outbound[connection].connection.link, offset, count)
        exchanges[exchange].owedUpstream += count
        markInbound(handle)
        if cutsForMemory(exchange: exchange) { return }
        releaseUpstream(exchange)
    }

    /// Lets the next hop send on, once the caller has taken enough.
    private mutating func releaseUpstream(_ exchange: Handle) {
        let owed = exchanges[exchange].owedUpstream
        guard owed > 0 else { return }
        let handle = exchanges[exchange].downstream
        if inbound.contains(handle) {
            let queued = inbound[handle].connection.link.session?.queued(exchanges[exchange].stream) ?? 0
            if queued > Self.streamQueue {
                exchanges[exchange].heldUpstream = min(exchanges[exchange].heldUpstream, reactor.now)
                return
            }
        }
        let hasLagged = reactor.now > exchanges[exchange].heldUpstream.advanced(by: Self.lag)
        exchanges[exchange].heldUpstream = .distantFuture
        exchanges[exchange].owedUpstream = 0
        let connection = exchanges[exchange].upstream
        guard outbound.contains(connection) else { return }
        outbound[connection].connection.link.session?.consume(
            exchanges[exchange].upstreamStream, owed, lagged: hasLagged || pressure > .calm)
        markOutbound(connection)
    }

    mutating func downstreamWritable(_ exchange: Handle) { releaseUpstream(exchange) }

    mutating func responseTrailers(_ exchange: Handle, _ connection: Handle, _ stream: StreamID) {
        guard let block = outbound[connection].connection.link.session?.takeHead(stream) else { return }
        let handle = exchanges[exchange].downstream
        if exchanges[exchange].phase == .responding, inbound.contains(handle) {
            outgoing.removeAll()
            for index in 0..<block.count where !block.isMeshfed(at: index) {
                if block.mappedName(at: index) == .xForwardedClientCert { continue }
                outgoing.append(copying: index, of: block)
            }
            inbound[handle].connection.link.session?.sendTrailers(exchanges[exchange].stream, outgoing)
            markInbound(handle)
        }
        outbound[connection].connection.link.session?.recycle(block)
        responseDone(exchange)
    }

    mutating func responseEnded(_ exchange: Handle) {
        let handle = exchanges[exchange].downstream
        guard exchanges[exchange].phase == .responding, !exchanges[exchange].responseEnded else { return }
        if inbound.contains(handle) {
            inbound[handle].connection.link.endStream(exchanges[exchange].stream)
            markInbound(handle)
        }
        responseDone(exchange)
    }

    /// The whole answer was passed on. An unfinished request is not wanted any more.
    private mutating func responseDone(_ exchange: Handle) {
        exchanges[exchange].responseEnded = true
        guard !exchanges[exchange].requestEnded else { return }
        detachUpstream(exchange, code: HTTP2Code.none)
        discardRest(exchange)
    }

    /// What still comes of the request is read and dropped, so that the caller gets to read its answer.
    mutating func discardRest(_ exchange: Handle) {
        guard exchanges.contains(exchange) else { return }
        exchanges[exchange].phase = .answered
        let handle = exchanges[exchange].downstream
        let owed = exchanges[exchange].owedDownstream
        exchanges[exchange].owedDownstream = 0
        if owed > 0, inbound.contains(handle) {
            inbound[handle].connection.link.session?.consume(exchanges[exchange].stream, owed)
        }
        exchanges[exchange].deadline = reactor.now + .seconds(5)
        exchanges[exchange].tryDeadline = .distantFuture
        armTimer(exchange)
        markInbound(handle)
    }

    /// The stream to the next hop is over.
    mutating func upstreamClosed(
        _ exchange: Handle, _ connection: Handle, _ error: HTTPStreamError, _ failure: TransportError?
    ) {
        let owed = exchanges[exchange].owedUpstream
        if owed > 0, outbound.contains(connection) {
            // What was held back for a slow caller counts against the window of the whole connection.
            exchanges[exchange].owedUpstream = 0
            outbound[connection].connection.link.session?.consume(exchanges[exchange].upstreamStream, owed)
            markOutbound(connection)
        }
        exchanges[exchange].upstream = .none
        if let candidate = exchanges[exchange].candidate, exchanges[exchange].started {
            health.ended(candidate.handle)
            exchanges[exchange].started = false
        }
        if exchanges[exchange].responseEnded || exchanges[exchange].phase == .answered { return }
        if exchanges[exchange].phase == .responding, case .reset(let code) = error {
            exchanges[exchange].reason = .upstreamReset
            // Its word passes: gRPC's callers get the status that they would get without us. But nobody repeats what has begun.
            return cutShort(exchange, code: code == HTTP2Code.refusedStream ? HTTP2Code.internalError : code)
        }
        let isUnanswered =
            outbound.contains(connection)
            && outbound[connection].connection.link.transport.isSecure && !outbound[connection].connection.sawSettings
        var cause: FailureCause
        switch error {
        case .refused:
            cause = FailureCause(reason: .upstreamReset, cause: .refusedStream, health: nil, isDispatched: false)
            // Behind the last stream of a GOAWAY; a peer that refuses without one has no room, and is left in peace.
            cause.isOfConnection = outbound.contains(connection) && outbound[connection].connection.phase == .draining
        case .violation:
            cause = FailureCause(reason: .upstreamProtocol, cause: .brokenOff, health: .status5xx, isDispatched: true)
        case .reset, .none:
            cause = FailureCause(reason: .upstreamReset, cause: .brokenOff, health: .status5xx, isDispatched: true)
        case .connection:
            cause =
                failure.map { FailureCause($0, wasConnecting: false, isUnanswered: isUnanswered) }
                ?? FailureCause(reason: .upstreamReset, cause: .brokenOff, health: nil, isDispatched: true)
            cause.isOfConnection = cause.cause == .brokenOff
        }
        tryFailed(exchange, cause)
    }

    /// A try failed: the next candidate, or the end.
    mutating func tryFailed(_ exchange: Handle, _ cause: FailureCause) {
        guard exchanges.contains(exchange) else { return }
        if exchanges[exchange].phase == .responding {
            // The answer is complete, only the rest of the request was not taken.
            if exchanges[exchange].responseEnded { return detachUpstream(exchange, code: HTTP2Code.cancel) }
            exchanges[exchange].reason = cause.reason
            cutShort(exchange)
            return
        }
        guard exchanges[exchange].phase != .answered else { return }
        if judgeFailure(exchange, cause) { dispatch(exchange) }
    }

    /// True: try again. False: it was answered (or, for `.answered`, the answer that came stands).
    mutating func judgeFailure(_ exchange: Handle, _ cause: FailureCause) -> Bool {
        let now = reactor.now
        // An answer that came stays readable until it is known that the try is repeated.
        var isFinal = false
        if case .answered = cause.cause { isFinal = true }
        if !isFinal { detachUpstream(exchange, code: HTTP2Code.cancel) }
        let reusedApp = exchanges[exchange].route
        if let candidate = exchanges[exchange].candidate, let failure = cause.health, cause.reason != .overload {
            if health.failed(candidate.handle, failure, now: now) { countEjection(exchange, "connect") }
        }
        if case .probe(let target) = exchanges[exchange].route {
            finishProbe(exchange, target, isHealthy: false)
            return false
        }
        exchanges[exchange].reason = cause.reason
        exchanges[exchange].lostConnection = cause.isOfConnection
        if cause.isDispatched { exchanges[exchange].wasDispatched = true }
        let grpc: FailedTry.GRPC =
            !exchanges[exchange].isGRPC ? .no : exchanges[exchange].received == 0 ? .noMessageSent : .messageSent
        let failed = FailedTry(
            method: exchanges[exchange].method,
            body: exchanges[exchange].isLost ? .lost : exchanges[exchange].received == 0 ? .none : .kept,
            grpc: grpc, cause: cause.cause, isDispatched: cause.isDispatched,
            isResponseStarted: exchanges[exchange].phase == .responding, attempts: exchanges[exchange].attempts,
            freeRepeats: exchanges[exchange].freeRepeats)
        let allowed = exchanges[exchange].destination?.traffic.settings.maximumAttempts ?? 1
        var answer = RetryRules.judge(failed, allowed: allowed)
        // There is one app; who asked may know another endpoint.
        if case .app = reusedApp, cause.cause == .connect || cause.cause == .unreached { answer = .no }
        if exchanges[exchange].deadline <= now { answer = .no }
        if answer == .charged, let destination = exchanges[exchange].destination,
            !budgets.withdraw(destination, now: now)
        {
            answer = .no
        }
        switch answer {
        case .free:
            exchanges[exchange].freeRepeats += 1
            countRetry(exchange, cause.reason, "free")
            return true
        case .charged:
            exchanges[exchange].attempts += 1
            exchanges[exchange].chargedHere += 1
            countRetry(exchange, cause.reason, "charged")
            return true
        case .no:
            // A try that ended in a refused connect is not counted: the caller may need it for somebody else.
            if cause.cause == .connect, exchanges[exchange].chargedHere > 0 { exchanges[exchange].attempts -= 1 }
            if !isFinal { self.answer(exchange, cause.reason, dispatched: cause.isDispatched) }
            return false
        }
    }

    /// The answer broke off in the middle: the caller must see that.
    mutating func cutShort(_ exchange: Handle, code: UInt32 = HTTP2Code.internalError) {
        let handle = exchanges[exchange].downstream
        if inbound.contains(handle) {
            inbound[handle].connection.link.session?.reset(exchanges[exchange].stream, code: code)
            markInbound(handle)
        }
        finish(exchange)
    }
}

/// `meshfed-error: <reason>; dispatched=0|1`, read.
struct MeshfedError {
    let reason: Reason
    let isDispatched: Bool

    /// Nil for what is not in the grammar; what is not said to be undispatched counts as dispatched.
    init?(_ block: borrowing HeaderBlock) {
        let value = block.value(of: .meshfedError)
        let end = value.firstIndex(of: 0x3B) ?? value.count
        let word = value.extracting(0..<end)
        for candidate in Reason.allCases {
            let bytes = Array(candidate.rawValue.utf8)
            if word.equals(bytes.span) {
                reason = candidate
                isDispatched = !value.extracting(end..<value.count).equals("; dispatched=0")
                return
            }
        }
        return nil
    }
}
