internal import ControlCoding
internal import Identity
internal import MeshModel
internal import RPC

/// One proxy process that takes the feed.
final class Subscriber {
    /// What was sent and is not yet judged.
    struct InFlight {
        let epoch: UInt64
        let revision: UInt64
        let since: Instant
        let bytes: Int
    }

    let number: UInt64
    let stream: RPCStream
    let identity: PeerIdentity
    /// Nil until its first frame.
    var hello: SubscriberHello?
    let connectedSince: WallTime
    /// When it was heard last, and spoken to last.
    var heard: Instant
    var spoken: Instant
    var inFlight: InFlight?
    /// The newest revision that it has judged; what it refused counts as judged.
    var judged: UInt64 = 0
    var acked: UInt64 = 0
    /// Why it refused the last snapshot; empty when it did not.
    var refused = ""
    var isDraining = false
    /// What came to its app without an identity; nil before it said so.
    var plaintext: (since: WallTime, counts: [PlaintextCount])?
    /// Its turn to get the newest snapshot comes when others have judged theirs.
    var isWaiting = false
    private var counter: UInt64 = 0

    init(number: UInt64, stream: RPCStream, identity: PeerIdentity, now: Instant, wall: WallTime) {
        self.number = number
        self.stream = stream
        self.identity = identity
        connectedSince = wall
        heard = now
        spoken = now
    }

    /// The gateway's name; nil for a sidecar.
    var gateway: Label? {
        if case .gateway(let name, _)? = hello?.role { return name }
        return nil
    }

    /// `namespace/name` of the workload, or the gateway's name; the SPIFFE ID before its Hello.
    var name: String {
        switch hello?.role {
        case .sidecar(let workload)?: workload.description
        case .gateway(let name, _)?: name.description
        case nil: identity.id.description
        }
    }

    /// True when the stream took it.
    func send(_ frame: [UInt8], now: Instant) -> Bool {
        spoken = now
        return stream.send(frame)
    }

    func keepAlive(now: Instant) -> Bool {
        counter += 1
        return send(BrokerFrame.keepalive(counter: counter).encode(), now: now)
    }
}
