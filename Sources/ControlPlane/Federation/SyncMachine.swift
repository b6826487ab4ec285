package import ControlCoding
package import MeshModel

/// The conversation on one Sync stream: Hello first, a lease every 5 s, silence ends it, quotas on what the peer sends.
///
/// It orders and limits; what records and catalogs mean is decided by its owner, `FederationMachine`.
package struct SyncMachine: Sendable {
    package enum Output: Hashable, Sendable {
        case send(SyncFrame)
        /// The peer's Hello is good: tell it everything.
        case opened(SyncHello)
        case records([[UInt8]])
        case delta(CatalogDelta)
        case chunk(CatalogChunk, byteCount: Int)
        /// A lease whose counter rose.
        case lease(SyncLease)
        case acked(CatalogCursor, refused: String?)
        case end(StreamEnd)
    }

    private enum Phase: Sendable {
        case awaitingHello(until: Instant)
        case open
        case ended
    }

    package let peer: ClusterID
    package let isDialledByUs: Bool
    private var phase: Phase
    private var lastHeard: Instant
    private var nextLease: Instant
    private var leaseCounter: UInt64 = 0
    private var peerLeaseCounter: UInt64 = 0
    private var frames: PermitBucket
    private var records: PermitBucket
    /// Release of the peer, once it said so.
    package private(set) var peerVersion = ""

    package init(peer: ClusterID, isDialledByUs: Bool, now: Instant) {
        self.peer = peer
        self.isDialledByUs = isDialledByUs
        phase = .awaitingHello(until: now + FederationLimits.helloTimeout)
        lastHeard = now
        nextLease = now + FederationLimits.leaseInterval
        frames = PermitBucket(
            perSecond: FederationLimits.framesPerSecond, burst: FederationLimits.frameBurst, now: now)
        records = PermitBucket(
            perSecond: FederationLimits.recordsPerSecond, burst: FederationLimits.recordBurst, now: now)
    }

    package var isOpen: Bool {
        if case .open = phase { return true }
        return false
    }

    /// Bytes of one gRPC message.
    package mutating func receive(_ bytes: [UInt8], now: Instant) -> [Output] {
        if case .ended = phase { return [] }
        guard frames.take(now: now) else { return end(.quota("too many frames")) }
        let frame: SyncFrame
        do { frame = try SyncFrame.decode(bytes, from: peer) } catch { return end(.violation("\(error)")) }
        lastHeard = now
        switch (phase, frame) {
        case (.ended, _): return []
        case (.awaitingHello, .hello(let hello)): return greet(hello)
        case (.awaitingHello, _): return end(.violation("the first frame is not Hello"))
        case (.open, .hello): return end(.violation("a second Hello"))
        case (.open, .records(let records)): return [.records(records)]
        case (.open, .delta(let delta)): return [.delta(delta)]
        case (.open, .snapshot(let chunk)): return [.chunk(chunk, byteCount: bytes.count)]
        case (.open, .ack(let cursor, let refused)): return [.acked(cursor, refused: refused)]
        case (.open, .lease(let lease)):
            // A repeated or overtaken lease is no sign of life.
            guard lease.counter > peerLeaseCounter else { return [] }
            peerLeaseCounter = lease.counter
            return [.lease(lease)]
        }
    }

    private mutating func greet(_ hello: SyncHello) -> [Output] {
        guard hello.cluster == peer else { return end(.violation("Hello of \(hello.cluster) on a stream of \(peer)")) }
        guard hello.versions.contains(1) else { return end(.incompatible) }
        peerVersion = hello.version
        phase = .open
        return [.opened(hello)]
    }

    /// True while the peer may make us verify one more new record.
    package mutating func mayVerify(now: Instant) -> Bool { records.take(now: now) }

    /// A lease is due: the owner adds what it says.
    package mutating func tick(now: Instant) -> (isLeaseDue: Bool, outputs: [Output]) {
        switch phase {
        case .ended: return (false, [])
        case .awaitingHello(let until): return (false, now >= until ? end(.silent) : [])
        case .open:
            if now - lastHeard > FederationLimits.leaseTerm { return (false, end(.silent)) }
            guard now >= nextLease else { return (false, []) }
            nextLease = now + FederationLimits.leaseInterval
            return (true, [])
        }
    }

    /// Counts the lease that is about to be sent.
    package mutating func lease(cursor: CatalogCursor, digest: [UInt8], wall: WallTime) -> SyncFrame {
        leaseCounter += 1
        return .lease(SyncLease(counter: leaseCounter, cursor: cursor, wallTime: wall, recordsDigest: digest))
    }

    /// When `tick` has something to do next.
    package var deadline: Instant {
        switch phase {
        case .ended: .distantFuture
        case .awaitingHello(let until): until
        case .open: min(nextLease, lastHeard + FederationLimits.leaseTerm + .milliseconds(1))
        }
    }

    package mutating func end(_ reason: StreamEnd) -> [Output] {
        if case .ended = phase { return [] }
        phase = .ended
        return [.end(reason)]
    }
}
