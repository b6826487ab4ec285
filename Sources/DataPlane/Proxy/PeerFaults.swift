internal import Containers
internal import Downstream
internal import Identity
internal import Link
internal import MeshModel
internal import Reactor
internal import Telemetry
internal import TLS
internal import Upstream
internal import Wire

/// Lets a log line pass at most once a second for a peer and reason. Bounded: a flood of peers costs lines, never memory.
struct FaultGate {
    private struct Key: Hashable {
        let peer: SocketAddress?
        let reason: LabelHandle
    }

    /// Pairs that are remembered; lines of further ones are left out until a second has passed.
    private static let limit = 1_024
    private static let pause = Duration.seconds(1)

    private var last: [Key: Instant] = [:]
    private var emptied = Instant.zero

    /// - Parameter peer: its port does not count.
    mutating func admits(_ peer: SocketAddress?, _ reason: LabelHandle, now: Instant) -> Bool {
        if emptied + Self.pause <= now {
            emptied = now
            last = last.filter { $0.value + Self.pause > now }
        }
        let key = Key(peer: peer?.withPort(0), reason: reason)
        if let before = last[key], before + Self.pause > now { return false }
        guard last[key] != nil || last.count < Self.limit else { return false }
        last[key] = now
        return true
    }
}

/// A peer's wrong bytes, beside the answer that they get: a counter each time, a log line now and then.
extension Worker {
    enum FaultSide { case downstream, upstream }

    /// The session of a caller's connection failed: counted once.
    mutating func noteInboundFault(_ handle: Handle) {
        guard inbound.contains(handle), !inbound[handle].isFaultNoted,
            let failure = inbound[handle].connection.link.session?.failure
        else { return }
        inbound[handle].isFaultNoted = true
        let word = Self.word(failure, flood: inbound[handle].connection.link.session?.flood)
        noteFault(.downstream, word, of: handle)
        // A request that became an exchange is counted with it.
        if failure.status != 0, !inbound[handle].hasFailedExchange {
            countRefusedRequest(handle, failure.status, failure.status.isTooLarge ? .tooLarge : .requestInvalid)
        }
        takeGlitches(.downstream, inbound[handle].connection.link.session?.takeGlitches() ?? [])
    }

    mutating func noteFault(_ side: FaultSide, _ word: [UInt8], of handle: Handle, because message: String? = nil) {
        let address = inbound[handle].connection.peerAddress
        let principal = inbound[handle].peer?.id
        count(side, word)
        writeFault("peer_fault", side, word, address, principal, inbound[handle].serverName, message)
    }

    /// The same of a next hop.
    mutating func noteOutboundFault(_ handle: Handle) {
        guard outbound.contains(handle), !outbound[handle].isFaultNoted,
            let failure = outbound[handle].connection.link.session?.failure
        else { return }
        outbound[handle].isFaultNoted = true
        let word = Self.word(failure, flood: outbound[handle].connection.link.session?.flood)
        noteUpstreamFault(word, of: handle)
        takeGlitches(.upstream, outbound[handle].connection.link.session?.takeGlitches() ?? [])
    }

    mutating func noteUpstreamFault(_ word: [UInt8], of handle: Handle) {
        count(.upstream, word)
        writeFault(
            "peer_fault", .upstream, word, outbound[handle].connection.key.address,
            outbound[handle].connection.peer?.id, outbound[handle].serverName, nil)
    }

    private mutating func count(_ side: FaultSide, _ word: [UInt8]) {
        metrics.count(.peerFaults, label(side), metrics.intern(word))
    }

    private mutating func label(_ side: FaultSide) -> LabelHandle {
        switch side {
        case .downstream: metrics.intern(Array("downstream".utf8))
        case .upstream: metrics.intern(Array("upstream".utf8))
        }
    }

    mutating func takeGlitches(_ side: FaultSide, _ glitches: [(kind: HTTP2Glitch, count: Int)]) {
        for (kind, count) in glitches {
            let label = label(side)
            metrics.count(
                .glitches, label, metrics.intern(Array("\(kind.word)".utf8)), amount: UInt64(clamping: count))
        }
    }

    /// One line; every other fault of this peer within the second is in the counter only.
    mutating func writeFault(
        _ event: StaticString, _ side: FaultSide, _ word: [UInt8], _ address: SocketAddress?, _ principal: SPIFFEID?,
        _ serverName: [UInt8], _ message: String?
    ) {
        guard settings.logSink != nil, faults.admits(address, metrics.intern(word), now: reactor.now) else { return }
        log.begin(at: reactor.wall, milliseconds: reactor.wallMilliseconds)
        log.field(.level, word: "warning")
        log.field(.event, word: event)
        switch side {
        case .downstream: log.field(.side, word: "downstream")
        case .upstream: log.field(.side, word: "upstream")
        }
        log.field(.reason, word)
        if let principal { log.field(.sourcePrincipal, principal.bytes) }
        if let address {
            switch side {
            case .downstream: log.field(.sourceAddress, Array("\(address)".utf8))
            case .upstream: log.field(.upstream, Array("\(address)".utf8))
            }
        }
        log.field(.serverName, serverName)
        if let message { log.field(.message, Array(message.utf8)) }
        log.end()
    }

    /// The label `reason` of `meshfed_peer_faults_total`.
    private static func word(_ failure: HTTPFailure, flood: HTTP2Glitch?) -> [UInt8] {
        if failure.reason == .flood, let flood { return Array("flood_\(flood.word)".utf8) }
        // ambiguousLength: ambiguous_length.
        var word: [UInt8] = []
        for byte in failure.reason.rawValue.utf8 {
            if byte & 0x20 == 0 { word.append(UInt8(ascii: "_")) }
            word.append(byte | 0x20)
        }
        return word
    }
}

extension Int {
    /// A status that says `too_large` (PROTOCOLS section 11).
    var isTooLarge: Bool { self == 413 || self == 414 || self == 431 }
}

extension ProxyFault {
    var word: StaticString {
        switch self {
        case .malformed: "proxy_header"
        case .tooLarge: "proxy_header_too_large"
        }
    }
}
