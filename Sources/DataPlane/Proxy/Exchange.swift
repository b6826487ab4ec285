internal import Containers
internal import MeshModel
internal import Routing
internal import Telemetry
internal import Wire

/// One HTTP request and its response.
///
/// It names its connections by handles and keeps what was decided for it; a snapshot swap does not touch it.
struct Exchange: ~Copyable {
    enum Phase: Hashable, Sendable {
        /// A connection to the next hop is being set up, or the next candidate is to be chosen.
        case waiting
        /// The request is on its way; no response yet.
        case sent
        case responding
        /// The answer is ours.
        case answered
    }

    enum Route: Hashable, Sendable {
        /// By candidates: endpoints and gateways.
        case mesh
        /// The sidecar's own app.
        case app(port: UInt16)
        /// A health probe of a target; nobody is downstream.
        case probe(HealthHandle)
    }

    private let pinned = InPlace()
    let downstream: Handle
    let stream: StreamID
    var phase = Phase.waiting
    var route = Route.mesh
    /// What the caller holds of this worker, this exchange among it.
    var account = CallerShares.Account.none
    /// The request's head as it came; tries are written from it.
    var head: HeaderBlock
    var trailers = HeaderBlock()
    var hasTrailers = false
    var requestEnded = false
    var responseEnded = false
    var downstreamClosed = false
    var isGRPC = false
    /// Tries that this hop added to `attempts`.
    var chargedHere = 0
    /// The last try failed with its connection, not with who is behind it.
    var lostConnection = false
    /// It asks for another protocol; once that is granted both bodies are opaque bytes.
    var isUpgrade = false
    /// Its caller spoke HTTP/2: on a port that does not say what it speaks the app is spoken to alike.
    var spokeHTTP2 = false
    var method = FailedTry.Method.other
    /// A question of the mesh itself: it ends at the destination's sidecar.
    var isProbe = false
    /// A neighbour's health probe: neither counted nor logged.
    var isQuiet = false
    var reporter = Reporter.source
    /// How its caller wrote the authority, once that was looked at for `destination`.
    var spelling = OwnAuthority.Spelling.unknown
    var destination: Destination?
    /// Who calls, where that is not the peer itself.
    var caller: SPIFFEID?
    /// The caller is the peer, whom its connection knows: `Inbound.directCaller`. It lives no longer than its connection.
    var isPeersOwn = false
    /// What its connection knows the caller by, once it does: `Inbound.callerNumber`.
    var callerNumber: UInt32 = 0
    /// The owner's policy has let the caller call `destination`.
    var isOwnerAllowed = false
    var attestedBy: SPIFFEID?
    /// The assertion that goes on: what came, or (a source sidecar, a first gateway) our own.
    var forwardsOrigin = false
    var walk = CandidateWalk(plan: .source, wall: WallTime(seconds: 0))
    var candidate: Candidate?
    var started = false
    /// The connection that it waits for.
    var awaited = Handle.none
    var upstream = Handle.none
    var upstreamStream: StreamID = 0
    /// The next hop is a proxy of ours.
    var upstreamIsProxy = false
    /// Body bytes that came so far, as long as they may have to be sent (again).
    var kept = ByteBuffer()
    var isLost = false
    /// A try of it may have reached an app: whatever is answered, it is not `dispatched=0`.
    var wasDispatched = false
    /// Bytes that the other side has not been told it may send again.
    var owedDownstream = 0
    var owedUpstream = 0
    /// Since when they are kept from it; `distantFuture` while they are not.
    var heldDownstream = Instant.distantFuture
    var heldUpstream = Instant.distantFuture
    let began: Instant
    var deadline = Instant.distantFuture
    var tryDeadline = Instant.distantFuture
    var lastActive: Instant
    var timer = TimerWheel.Timer.none
    /// When `timer` fires.
    var timerDeadline = Instant.distantFuture
    var attempts = 1
    var freeRepeats = 0
    var trace = TraceContext(traceHigh: 0, traceLow: 1, span: 1, flags: 0)
    var limit: LimitDecision?
    var status: UInt16 = 0
    var reason: Reason?
    var received: UInt64 = 0
    var sent: UInt64 = 0
    /// Index into the snapshot's members of the cluster that answered; -1 is our own.
    var destinationMember = -1

    init(downstream: Handle, stream: StreamID, head: consuming HeaderBlock, now: Instant) {
        self.downstream = downstream
        self.stream = stream
        self.head = head
        began = now
        lastActive = now
    }

    /// Where `destination` stands in its table.
    var place: Destination.Place { destination?.place ?? .none }

    var isOfSource: Bool {
        if case .source = reporter { true } else { false }
    }

    var hasCaller: Bool { isPeersOwn || caller != nil }

    /// Between proxies all is HTTP/2: there `meshfed-http` says what the caller spoke.
    mutating func learnVersion(isBelieved: Bool, isHTTP2: Bool) {
        spokeHTTP2 = isBelieved ? head.says(.meshfedHTTP, "2") : isHTTP2
    }
}
