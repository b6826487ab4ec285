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

/// Bytes of a stream both ways, under backpressure; half-closes pass as what they are.
extension Worker {
    func relayReadsDownstream(_ relay: Handle) -> Bool {
        guard relays.contains(relay) else { return true }
        let handle = relays[relay].downstream
        switch relays[relay].phase {
        case .waiting: return inbound[handle].connection.early.count < Self.earlyLimit
        case .open:
            let connection = relays[relay].upstream
            guard outbound.contains(connection) else { return false }
            return outbound[connection].connection.link.transport.pendingOutput < Self.queueLimit
        }
    }

    func relayReadsUpstream(_ relay: Handle) -> Bool {
        guard relays.contains(relay), relays[relay].phase == .open else { return true }
        let handle = relays[relay].downstream
        return inbound.contains(handle)
            && inbound[handle].connection.link.transport.pendingOutput < Self.queueLimit
    }

    mutating func relayFromDownstream(_ relay: Handle, _ handle: Handle, _ count: Int) {
        guard relays.contains(relay) else {
            // Nothing is relayed any more: the caller is only heard out.
            return
        }
        relays[relay].lastActive = reactor.now
        guard relays[relay].phase == .open else {
            inbound[handle].connection.early.append(received: buffers)
            return
        }
        relays[relay].received &+= UInt64(count)
        let connection = relays[relay].upstream
        guard outbound.contains(connection) else { return }
        do throws(TransportError) {
            try outbound[connection].connection.link.transport.forward(&buffers)
        } catch {
            endRelay(relay, abort: true)
            return
        }
        if cutsForMemory(relay: relay) { return }
        watchOutbound(connection)
    }

    mutating func relayFromUpstream(_ relay: Handle, _ connection: Handle, _ count: Int) {
        guard relays.contains(relay) else { return }
        relays[relay].lastActive = reactor.now
        if relays[relay].phase == .open {
            let handle = relays[relay].downstream
            relays[relay].sent &+= UInt64(count)
            guard inbound.contains(handle) else { return }
            do throws(TransportError) {
                try inbound[handle].connection.link.transport.forward(&buffers)
            } catch {
                endRelay(relay, abort: true)
                return
            }
            if cutsForMemory(relay: relay) { return }
            watchInbound(handle)
            return
        }
        outbound[connection].connection.early.append(received: buffers)
        readWord(relay, connection)
    }

    /// The next hop's word: ok, or why not.
    mutating func readWord(_ relay: Handle, _ connection: Handle) {
        let header: ProxyHeader
        do throws(ProxyFault) {
            guard let parsed = try ProxyHeader.parse(outbound[connection].connection.early) else { return }
            header = parsed
        } catch {
            noteUpstreamFault(Array("\(error.word)".utf8), of: connection)
            relayTryFailed(
                relay,
                FailureCause(reason: .upstreamProtocol, cause: .unreached, health: .status5xx, isDispatched: false))
            return
        }
        let word = header.copy(.answer, of: outbound[connection].connection.early) ?? []
        outbound[connection].connection.early.consume(header.count)
        if word == Array("ok".utf8) {
            if let candidate = relays[relay].candidate {
                health.succeeded(candidate.handle, now: reactor.now)
                health.succeeded(candidate.pathHandle, now: reactor.now)
            }
            openRelay(relay, connection)
            passEarly(relay, connection)
            return
        }
        let reason = Reason(rawValue: String(decoding: word, as: UTF8.self)) ?? .upstreamProtocol
        if let candidate = relays[relay].candidate {
            if case .endpoint = candidate.kind, reason == .connectFailed {
                health.failed(candidate.handle, .connectRefused, now: reactor.now)
            } else {
                health.remoteAnswered(candidate, reason, now: reactor.now)
            }
        }
        relayTryFailed(
            relay, FailureCause(reason: reason, cause: .answered(reason), health: nil, isDispatched: false))
    }

    /// Bytes of a server that speaks first may stand right behind the word.
    mutating func passEarly(_ relay: Handle, _ connection: Handle) {
        guard relays.contains(relay), outbound.contains(connection) else { return }
        let handle = relays[relay].downstream
        let count = outbound[connection].connection.early.count
        guard count > 0, inbound.contains(handle) else { return }
        relays[relay].sent &+= UInt64(count)
        do throws(TransportError) {
            try inbound[handle].connection.link.transport.send(outbound[connection].connection.early, &buffers)
        } catch {
            endRelay(relay, abort: true)
            return
        }
        outbound[connection].connection.early.removeAll()
        outbound[connection].connection.early.shrink()
        watchInbound(handle)
    }

    mutating func downstreamEnded(_ relay: Handle, _ handle: Handle) {
        guard relays.contains(relay) else { return closeInbound(handle, abort: false) }
        guard relays[relay].phase == .open else { return }
        let connection = relays[relay].upstream
        guard outbound.contains(connection) else { return endRelay(relay, abort: false) }
        try? outbound[connection].connection.link.transport.endOutput(&buffers)
        watchOutbound(connection)
        finishRelayIfDone(relay)
    }

    mutating func upstreamEnded(_ relay: Handle, _ connection: Handle) {
        guard relays.contains(relay) else {
            outbound.remove(connection)
            return
        }
        guard relays[relay].phase == .open else {
            closeOutbound(connection, .truncated)
            return
        }
        let handle = relays[relay].downstream
        guard inbound.contains(handle) else { return endRelay(relay, abort: false) }
        try? inbound[handle].connection.link.transport.endOutput(&buffers)
        watchInbound(handle)
        finishRelayIfDone(relay)
    }

    mutating func downstreamDrained(_ relay: Handle, _ handle: Handle) {
        guard relays.contains(relay) else { return }
        let connection = relays[relay].upstream
        if outbound.contains(connection) { watchOutbound(connection) }
        resumeOutbound(connection)
        finishRelayIfDone(relay)
    }

    mutating func upstreamDrained(_ relay: Handle, _ connection: Handle) {
        guard relays.contains(relay) else { return }
        let handle = relays[relay].downstream
        if inbound.contains(handle) { watchInbound(handle) }
        resumeInbound(handle)
        finishRelayIfDone(relay)
    }

    mutating func finishRelayIfDone(_ relay: Handle) {
        guard relays.contains(relay), relays[relay].phase == .open else { return }
        let handle = relays[relay].downstream
        let connection = relays[relay].upstream
        guard inbound.contains(handle), outbound.contains(connection) else { return endRelay(relay, abort: false) }
        let isDone =
            inbound[handle].connection.link.transport.inputClosed
            && outbound[connection].connection.link.transport.inputClosed
            && inbound[handle].connection.link.transport.outputClosed
            && outbound[connection].connection.link.transport.outputClosed
        if isDone { endRelay(relay, abort: false) }
    }
}
