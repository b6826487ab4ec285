internal import Containers
internal import Downstream
internal import Identity
internal import Link
internal import MeshModel
internal import Reactor
internal import Routing
internal import Telemetry
internal import TLS
internal import Upstream
internal import Wire

/// How streams fail and end: the next candidate, a word to the caller, FIN or RST.
extension Worker {
    /// The upstream connection of a relay is gone.
    mutating func relayLost(_ relay: Handle, _ connection: Handle, _ cause: FailureCause, _ error: TransportError) {
        guard relays[relay].upstream == connection else { return }
        relays[relay].upstream = .none
        if relays[relay].phase == .open {
            relays[relay].reason = .upstreamReset
            endRelay(relay, abort: true)
            return
        }
        // Until it said ok, nothing of the caller's was sent: another candidate may have it.
        let undispatched = FailureCause(
            reason: cause.reason, cause: cause.cause == .brokenOff ? .unreached : cause.cause, health: cause.health,
            isDispatched: false)
        relayTryFailed(relay, undispatched)
    }

    mutating func relayTryFailed(_ relay: Handle, _ cause: FailureCause) {
        endRelayUpstream(relay)
        if mayRetryRelay(relay, cause) { dispatchRelay(relay) }
    }

    /// False: it was refused.
    mutating func mayRetryRelay(_ relay: Handle, _ cause: FailureCause) -> Bool {
        let now = reactor.now
        if let candidate = relays[relay].candidate, let failure = cause.health {
            health.failed(candidate.handle, failure, now: now)
        }
        relays[relay].reason = cause.reason
        let failed = FailedTry(
            method: .other, body: .kept, grpc: .no, cause: cause.cause, isDispatched: false, isResponseStarted: false,
            attempts: relays[relay].attempts, freeRepeats: relays[relay].freeRepeats)
        var answer = RetryRules.judge(failed, allowed: relays[relay].destination.traffic.settings.maximumAttempts)
        if case .app = relays[relay].route { answer = .no }
        if relays[relay].outside != nil { answer = .no }
        if answer == .charged, !budgets.withdraw(relays[relay].destination, now: now) { answer = .no }
        switch answer {
        case .free:
            relays[relay].freeRepeats += 1
            return true
        case .charged:
            relays[relay].attempts += 1
            return true
        case .no:
            refuseRelay(relay, cause.reason)
            return false
        }
    }

    mutating func endRelayUpstream(_ relay: Handle) {
        guard relays.contains(relay) else { return }
        if let candidate = relays[relay].candidate, relays[relay].started {
            health.ended(candidate.handle)
            relays[relay].started = false
        }
        let connection = relays[relay].upstream
        relays[relay].upstream = .none
        if outbound.contains(connection) { outbound.remove(connection) }
    }

    /// The stream cannot be had: the caller hears why in the way it understands.
    mutating func refuseRelay(_ relay: Handle, _ reason: Reason) {
        guard relays.contains(relay) else { return }
        relays[relay].reason = reason
        endRelayUpstream(relay)
        reportRelay(relay)
        let handle = relays[relay].downstream
        let framing = relays[relay].framing
        relays.remove(relay)
        guard inbound.contains(handle) else { return }
        inbound[handle].relay = .none
        refuseStream(handle, framing, reason)
    }

    mutating func refuseStream(_ handle: Handle, _ framing: Relay.Framing, _ reason: Reason) {
        guard inbound.contains(handle) else { return }
        switch framing {
        case .mesh: answerStream(handle, reason)
        case .raw: closeInbound(handle, abort: true)
        case .tunnel(let exchange): answer(exchange, reason)
        }
    }

    mutating func answerStream(_ handle: Handle, _ reason: Reason) {
        refuseStreamWithWord(handle, reason.rawValue)
    }

    mutating func answerStream(_ handle: Handle, _ word: StaticString) {
        refuseStreamWithWord(handle, "\(word)")
    }

    /// One last word, then the end of our direction; the peer closes, or is closed a moment later.
    mutating func refuseStreamWithWord(_ handle: Handle, _ word: String) {
        let relay = inbound[handle].relay
        inbound[handle].relay = .none
        if relays.contains(relay) {
            endRelayUpstream(relay)
            relays.remove(relay)
        }
        sendWord(handle, word)
        guard inbound.contains(handle) else { return }
        try? inbound[handle].connection.link.transport.endOutput(&buffers)
        inbound[handle].connection.phase = .closing
        inbound[handle].connection.lastActive = reactor.now
        watchInbound(handle)
    }

    mutating func sendWord(_ handle: Handle, _ word: String) {
        scratch.removeAll()
        var writer = ProxyHeaderWriter(.local)
        writer.append(.answer, Array(word.utf8))
        do throws(ProxyFault) {
            try writer.finish(into: &scratch)
        } catch {
            return
        }
        try? inbound[handle].connection.link.transport.send(scratch, &buffers)
    }

    /// A knock for a LOCAL header came back.
    mutating func streamKnocked(_ handle: Handle, isOpen: Bool) {
        guard inbound.contains(handle) else { return }
        if isOpen { answerStream(handle, "ok") } else { answerStream(handle, Reason.connectFailed) }
    }

    mutating func endRelay(_ relay: Handle, abort: Bool) {
        guard relays.contains(relay) else { return }
        let connection = relays[relay].upstream
        if abort, outbound.contains(connection) { outbound[connection].connection.link.transport.abort() }
        endRelayUpstream(relay)
        reportRelay(relay)
        let handle = relays[relay].downstream
        relays.remove(relay)
        guard inbound.contains(handle) else { return }
        inbound[handle].relay = .none
        closeInbound(handle, abort: abort)
    }
}
