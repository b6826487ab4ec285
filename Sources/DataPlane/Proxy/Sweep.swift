internal import Containers
internal import Downstream
internal import Identity
internal import Link
internal import MeshModel
internal import Reactor
internal import Routing
internal import TLS
internal import Upstream
internal import Wire

/// What is looked at a few times per second: timeouts of connections, ended certificates, due probes.
extension Worker {
    /// HTTP/2 sessions are told the time this often, in seconds.
    private static let calmSeconds = 10
    /// One of our proxies that sent nothing for so long, with calls under way, is asked by PING; and again so long without an
    /// answer, it is gone. Below the default timeout of a request, so that what can be repeated is repeated in time.
    private static let silence = Duration.seconds(5)
    /// How long before a peer's certificate ends its connection takes nothing new; 30 s after the end it is cut off.
    private static let retirement: Int64 = 10

    mutating func sweep() {
        let now = reactor.now
        let isCalm = now >= nextCalm
        if isCalm { nextCalm = now + .seconds(Self.calmSeconds) }
        sweepInbound(now, isCalm)
        sweepOutbound(now, isCalm)
        sweepRelays(now)
        if isDraining, now >= farewell { sayFarewell() }
        if !isDraining { sendProbes() }
        resumeListeners()
    }

    private mutating func sweepInbound(_ now: Instant, _ isCalm: Bool) {
        let wall = reactor.wall
        for slot in 0..<inbound.slotCount {
            let handle = inbound.handle(at: slot)
            if handle.isNone { continue }
            if isCalm {
                takeGlitches(.downstream, inbound[handle].connection.link.session?.takeGlitches() ?? [])
                inbound[handle].connection.link.calm(
                    Self.calmSeconds, isIdle: inbound[handle].connection.streams.isEmpty)
            }
            if let end = inbound[handle].peer?.notAfter, end.advanced(bySeconds: 30) < wall {
                closeInbound(handle, abort: true)
                continue
            }
            let phase = inbound[handle].connection.phase
            if phase == .relay { continue }
            relieve(inbound: handle)
            guard inbound.contains(handle) else { continue }
            if let end = inbound[handle].peer?.notAfter, end.advanced(bySeconds: -Self.retirement) < wall {
                inbound[handle].connection.link.session?.goAway()
                markInbound(handle)
            }
            if let since = inbound[handle].connection.waitingSince, since + headersTimeout(handle) <= now,
                inbound[handle].connection.streams.isEmpty || inbound[handle].connection.link.isInHead
            {
                headTimedOut(handle)
                continue
            }
            let wait = pressure >= .lean ? min(settings.idleTimeout, Self.leanIdle) : settings.idleTimeout
            let idle = phase == .closing ? Duration.seconds(2) : wait
            if inbound[handle].connection.streams.isEmpty, inbound[handle].connection.lastActive + idle <= now {
                if phase == .http {
                    inbound[handle].connection.link.session?.goAway()
                    inbound[handle].connection.link.session?.shutdown(code: 0)
                    inbound[handle].connection.phase = .closing
                    inbound[handle].connection.lastActive = now
                    markInbound(handle)
                } else {
                    closeInbound(handle, abort: phase == .closing)
                }
            }
        }
    }

    /// The service's, where the SNI names one.
    private func headersTimeout(_ handle: Handle) -> Duration {
        guard inbound[handle].entry == .mesh, let destination = inbound[handle].destination else {
            return settings.headTimeout
        }
        return destination.traffic.settings.headersTimeout
    }

    /// The peer did not say in time what it wants.
    private mutating func headTimedOut(_ handle: Handle) {
        if inbound[handle].connection.phase == .http {
            inbound[handle].connection.link.session?.timeOut()
            inbound[handle].connection.waitingSince = nil
            inbound[handle].connection.phase = .closing
            inbound[handle].connection.lastActive = reactor.now
            drainInbound(handle)
            markInbound(handle)
        } else {
            noteFault(.downstream, Array("timeout".utf8), of: handle)
            closeInbound(handle, abort: false)
        }
    }

    private mutating func sweepOutbound(_ now: Instant, _ isCalm: Bool) {
        let wall = reactor.wall
        for slot in 0..<outbound.slotCount {
            let handle = outbound.handle(at: slot)
            if handle.isNone { continue }
            if isCalm {
                takeGlitches(.upstream, outbound[handle].connection.link.session?.takeGlitches() ?? [])
                outbound[handle].connection.link.calm(
                    Self.calmSeconds, isIdle: outbound[handle].connection.streams.isEmpty)
            }
            if let end = outbound[handle].connection.peer?.notAfter, end.advanced(bySeconds: 30) < wall {
                closeOutbound(handle, .tls(reason: "the peer's certificate has ended", alert: nil))
                continue
            }
            if let end = outbound[handle].connection.peer?.notAfter,
                end.advanced(bySeconds: -Self.retirement) < wall
            {
                startDraining(handle)
            }
            if isSilent(handle, now) {
                closeOutbound(handle, .socket(SocketError(code: 110, operation: "read")))
                continue
            }
            relieve(outbound: handle)
            guard outbound.contains(handle) else { continue }
            switch outbound[handle].connection.phase {
            case .connecting, .header:
                if let deadline = outbound[handle].stepDeadline, deadline <= now {
                    closeOutbound(handle, .socket(SocketError(code: 110, operation: "connect")))
                }
            case .http:
                let generation = outbound[handle].connection.key.generation
                // Plain connections have none.
                let isOld = generation != 0 && generation != configuration?.generation
                let wait =
                    pressure >= .lean ? min(outbound[handle].times.idle, Self.leanIdle) : outbound[handle].times.idle
                if outbound[handle].connection.streams.isEmpty {
                    let isIdle = outbound[handle].connection.lastActive + wait <= now
                    if isOld || isIdle || outbound[handle].expiry <= now { retire(handle) }
                } else if outbound[handle].expiry <= now {
                    startDraining(handle)
                }
            case .draining: if outbound[handle].connection.streams.isEmpty { retire(handle) }
            case .relay: break
            }
        }
    }

    /// True: a proxy of ours does not answer any more. A host that vanished says neither FIN nor RST.
    private mutating func isSilent(_ handle: Handle, _ now: Instant) -> Bool {
        guard outbound[handle].connection.key.use == .meshHTTP, outbound[handle].connection.link.isHTTP,
            !outbound[handle].connection.streams.isEmpty
        else { return false }
        if let asked = outbound[handle].pingedAt { return asked + Self.silence <= now }
        if outbound[handle].lastHeard + Self.silence <= now {
            outbound[handle].pingedAt = now
            outbound[handle].connection.link.session?.ping(0)
            markOutbound(handle)
        }
        return false
    }

    private mutating func sweepRelays(_ now: Instant) {
        for slot in 0..<relays.slotCount {
            let handle = relays.handle(at: slot)
            if handle.isNone { continue }
            switch relays[handle].phase {
            case .waiting: if relays[handle].deadline <= now { refuseRelay(handle, .deadline) }
            case .open:
                let idle = relays[handle].destination.traffic.settings.idleTimeout
                if idle > .zero, relays[handle].lastActive + idle <= now { endRelay(handle, abort: false) }
            }
        }
    }
}
