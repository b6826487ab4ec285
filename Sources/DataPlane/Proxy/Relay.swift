internal import Containers
internal import MeshModel
internal import Reactor
internal import Routing
internal import Telemetry

/// One opaque TCP stream through this proxy.
struct Relay: ~Copyable {
    enum Phase: Hashable, Sendable {
        /// Not connected yet, or the next hop has not said ok: the caller's bytes are kept, at most 64 KiB.
        case waiting
        case open
    }

    /// How the caller is told that the stream stands.
    enum Framing: Hashable, Sendable {
        /// By a PROXY v2 LOCAL header (`meshfed-tcp/1`).
        case mesh
        /// Not at all: plain bytes.
        case raw
        /// By the 200 to its CONNECT, which is this exchange.
        case tunnel(Handle)
    }

    let downstream: Handle
    var upstream = Handle.none
    var phase = Phase.waiting
    let framing: Framing
    var route = Exchange.Route.mesh
    var isProbe = false
    /// Where a stream that is not the mesh's was going: it goes on there.
    var outside: SocketAddress?
    var reporter = Reporter.source
    var destination: Destination
    var caller: SPIFFEID?
    /// The assertion that came, to be sent on.
    var origin: [UInt8] = []
    var hops: [UInt8] = []
    var walk: CandidateWalk
    var candidate: Candidate?
    var started = false
    let began: Instant
    var deadline: Instant
    var lastActive: Instant
    var attempts = 1
    var freeRepeats = 0
    var trace: TraceContext
    var reason: Reason?
    var received: UInt64 = 0
    var sent: UInt64 = 0
    var destinationMember = -1
    var series: WorkerMetrics.SeriesHandle?

    init(
        downstream: Handle, framing: Framing, destination: Destination, walk: CandidateWalk, trace: TraceContext,
        deadline: Instant, now: Instant
    ) {
        self.downstream = downstream
        self.framing = framing
        self.destination = destination
        self.walk = walk
        self.trace = trace
        self.deadline = deadline
        began = now
        lastActive = now
    }
}
