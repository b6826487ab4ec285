package import ControlCoding
package import MeshModel

/// Both clocks of one event: the monotonic one decides, the other one only stands in records and texts.
package struct Moment: Hashable, Sendable {
    package var instant: Instant
    package var wall: WallTime

    package init(_ instant: Instant, _ wall: WallTime) {
        self.instant = instant
        self.wall = wall
    }
}

/// One Sync stream; the host numbers them and never uses a number twice.
package struct StreamID: Hashable, Comparable, Sendable {
    package let number: UInt64

    package init(_ number: UInt64) { self.number = number }
    package static func < (left: StreamID, right: StreamID) -> Bool { left.number < right.number }
}

/// The tables that hold a broker's part in the federation.
package enum FederationTable: String, Hashable, Sendable, CaseIterable {
    /// One row: own epoch and whether the own key is dead.
    case own = "federation-own"
    /// Signed records, verbatim.
    case records = "federation-records"
    /// What was decided on each federation key.
    case members = "federation-members"
    /// Clusters whose token this one used.
    case sponsors = "federation-sponsors"
    /// What members offer here, one row for each (member, service).
    case catalog = "federation-catalog"
    /// How far each member's catalog is held, and when it was last heard of.
    case cursors = "federation-cursors"
}

/// A row to write, or with a nil value to delete.
package struct FederationRow: Hashable, Sendable {
    package var table: FederationTable
    package var key: String
    package var value: [UInt8]?

    package init(_ table: FederationTable, _ key: String, _ value: [UInt8]?) {
        self.table = table
        self.key = key
        self.value = value
    }
}

/// Why this side ended a stream. The words are what the peer sees as the gRPC status message.
package enum StreamEnd: Hashable, Sendable {
    /// Another stream to the same peer stays (PROTOCOLS section 7).
    case duplicate
    /// Nothing was heard for the length of a lease.
    case silent
    /// The peer is no member, or no longer one.
    case notAMember
    /// This cluster leaves the federation.
    case leaving
    /// The peer broke the protocol; the text says how.
    case violation(String)
    /// The peer sent more than it may.
    case quota(String)
    /// No version of the protocol is common.
    case incompatible

    package var word: String {
        switch self {
        case .duplicate: "duplicate"
        case .silent: "silent"
        case .notAMember: "not_a_member"
        case .leaving: "leaving"
        case .violation(let text): "violation: \(text)"
        case .quota(let text): "quota: \(text)"
        case .incompatible: "incompatible"
        }
    }
}

/// Something that a person should look at.
package struct FederationAlarm: Hashable, Sendable {
    package enum Kind: String, Hashable, Sendable {
        /// A name, trust domain, federation key or root that is known under another member.
        case conflict
        /// One sequence number, two contents.
        case equivocation
        /// A sequence below one that was seen.
        case replay
        /// A record that is not signed by whom it must be.
        case badSignature = "bad_signature"
        /// A peer sent what it may not, or too much.
        case misbehaviour
        /// Too many clusters wait for `member accept`.
        case pendingFull = "pending_full"
        /// Another cluster's word that this one, or a member, is out, which has no effect here.
        case eviction
        /// Our own records are ahead of our store: it was restored from an older copy.
        case restored
    }

    package var kind: Kind
    package var cluster: ClusterID?
    package var text: String

    package init(_ kind: Kind, _ cluster: ClusterID?, _ text: String) {
        self.kind = kind
        self.cluster = cluster
        self.text = text
    }
}

/// What the host has to do, in this order. What follows a `persist` is released when its rows are durable, not earlier:
/// `ActionQueue` keeps that order.
package enum FederationAction: Hashable, Sendable {
    /// One transaction.
    case persist([FederationRow])
    case send(StreamID, [UInt8])
    /// End the stream and tell the peer why. `streamClosed` need not be reported for it.
    case close(StreamID, StreamEnd)
    /// Dial the member's broker; answered by `streamOpened` or `dialFailed`.
    case dial(ClusterID, addresses: [String])
    /// The answer to a `Join` call.
    case answerJoin(UInt64, Result<[UInt8], JoinRefusal>)
    /// The view for the Compiler is another one.
    case viewChanged
    /// Members, bundles and catalogs are as before, but the age of a link changed.
    case linksChanged([LinkState])
    /// Close every connection of this trust domain, forget its sessions, and revoke the tokens made for the cluster.
    case expel(ClusterID, TrustDomain)
    case alarm(FederationAlarm)
}

/// Why a federation verb or a stored row is refused.
package enum FederationError: Error, Hashable, Sendable, CustomStringConvertible {
    /// A stored row that this release cannot read: the store is damaged or of a newer release.
    case corruptRow(FederationTable, key: String)
    /// The federation key did not sign.
    case signing
    case unknownMember(ClusterID)
    /// Two pending clusters claim the name: say which key.
    case ambiguous(ClusterID)
    case notPending(ClusterID)
    /// The text says with whom it conflicts.
    case conflict(String)
    /// The own federation key was evicted or left: a new one is needed before a join.
    case ownKeyDead
    /// The sponsor's answer is not what it must be.
    case badAnswer(String)

    package var description: String {
        switch self {
        case .corruptRow(let table, let key): "stored row \(table.rawValue)/\(key) cannot be read"
        case .signing: "the federation key did not sign"
        case .unknownMember(let cluster): "\(cluster) is not a member; see `meshfed member list`"
        case .ambiguous(let cluster): "several clusters claim the name \(cluster); give the federation key too"
        case .notPending(let cluster): "\(cluster) does not wait to be accepted; see `meshfed member list`"
        case .conflict(let text): text
        case .ownKeyDead: "this cluster left or was evicted; a new federation key is needed first"
        case .badAnswer(let text): "the sponsor's answer is refused: \(text)"
        }
    }
}

/// Numbers of PROTOCOLS section 7, and what a peer may use up.
package enum FederationLimits {
    /// A lease is sent this often.
    package static let leaseInterval = Duration.seconds(5)
    /// A lease is good this long from receipt; a stream that is silent this long is dead.
    package static let leaseTerm = Duration.seconds(15)
    /// The first frame must have come by then.
    package static let helloTimeout = Duration.seconds(10)
    /// Clusters that wait for `member accept` (PROTOCOLS section 7).
    package static let pending = 256
    /// How many of them one member may have brought: it cannot fill the list alone.
    package static let pendingPerSource = 64
    /// Tombstones kept; each is a membership that ended.
    package static let tombstones = 4_096
    /// Tombstones of keys never seen here that one peer may bring within a stream.
    package static let strangeTombstonesPerSource = 64
    /// Records whose owner is not known yet, or that conflict with a member that may soon be gone.
    package static let parked = 64
    /// Rotations of one member's key that are kept, so that a new member can follow them.
    package static let rotations = 8
    /// Bytes of one member's whole catalog, as received.
    package static let catalogBytes = 32 << 20
    /// Frame bytes that this side sends at most: a quarter of what it takes.
    package static let sentFrameBytes = 256 << 10
    /// Frames per second from one peer, and how many may come at once.
    package static let framesPerSecond = 200
    package static let frameBurst = 1_000
    /// New signed records per second from one peer (a verification is about 0.1 ms), and how many may come at once: a first
    /// exchange of 1,024 members is four records each.
    package static let recordsPerSecond = 100
    package static let recordBurst = 4_096
    /// All records are sent again at most this often when the digests differ.
    package static let exchangeInterval = Duration.seconds(10)
    /// A whole catalog is sent again at most this often to one peer.
    package static let snapshotInterval = Duration.seconds(1)
    /// First and longest wait between two dials of one member.
    package static let dialBackoff = Duration.seconds(1)
    package static let longestDialBackoff = Duration.seconds(8)
    /// A dial that nobody answered for is given up.
    package static let dialTimeout = Duration.seconds(10)
    /// The same alarm about the same cluster is raised at most this often.
    package static let alarmInterval = Duration.seconds(60)
    /// How often "last heard" is written while nothing else changes.
    package static let heardInterval = Duration.seconds(60)
}

/// A bucket of permits that refills evenly.
struct PermitBucket: Sendable {
    private let perSecond: UInt64
    private let burst: UInt64
    private var permits: UInt64
    private var last: Instant

    init(perSecond: Int, burst: Int, now: Instant) {
        self.perSecond = UInt64(perSecond)
        self.burst = UInt64(burst)
        permits = UInt64(burst)
        last = now
    }

    mutating func take(now: Instant) -> Bool {
        let elapsed = min((now - last).wholeNanoseconds, 3_600_000_000_000)
        let refill = elapsed * perSecond / 1_000_000_000
        if refill > 0 {
            permits = min(burst, permits + refill)
            last = now
        }
        guard permits > 0 else { return false }
        permits -= 1
        return true
    }
}
