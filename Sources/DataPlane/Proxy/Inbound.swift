internal import Containers
internal import Downstream
internal import Identity
internal import MeshModel
internal import Routing
internal import Telemetry

/// The part of a connection's log lines that stays the same as long as caller, destination and answering cluster do.
struct CallerText: ~Copyable {
    var fields = LogFields()
    private var reporter: Reporter?
    /// `Inbound.callerNumber`, or 0 for nobody.
    private var caller: UInt32 = 0
    private var destination: Destination?
    private var member = 0

    func hold(_ exchange: borrowing Exchange) -> Bool {
        destination === exchange.destination && member == exchange.destinationMember && caller == exchange.callerNumber
            && reporter?.rawValue == exchange.reporter.rawValue
    }

    mutating func become(_ exchange: borrowing Exchange) {
        reporter = exchange.reporter
        caller = exchange.callerNumber
        destination = exchange.destination
        member = exchange.destinationMember
    }
}

/// Whom the owner's policy lets call what, as it was decided last on a connection. A destination belongs to one table, so that
/// no later policy is passed over.
struct Permit {
    /// `Inbound.callerNumber`; 0 is nobody.
    private var caller: UInt32 = 0
    private var destination: Destination?

    func covers(_ exchange: borrowing Exchange) -> Bool {
        caller != 0 && caller == exchange.callerNumber && destination === exchange.destination
    }

    mutating func become(_ exchange: borrowing Exchange) {
        caller = exchange.callerNumber
        destination = exchange.destination
    }
}

/// A downstream connection with what its peer is to us.
struct Inbound: ~Copyable {
    var connection: DownstreamConnection
    let entry: Entry
    /// The verified TLS peer.
    var peer: PeerIdentity?
    var part = PeerPart.unknown
    /// The SNI of a mesh leg.
    var serverName: [UInt8] = []
    /// What the SNI, or the target of a CONNECT, names; nil on a mesh leg is `no_route`.
    var destination: Destination?
    /// One of our own proxies, whose `meshfed-*` fields count.
    var isProxy = false
    /// A gateway's: its requests are of many callers.
    var carriesOthers = false
    /// Inside a CONNECT tunnel: every request goes to `destination`.
    var isTunnel = false
    /// The endpoint that the app dialled by its own address.
    var endpoint: EndpointID?
    var relay = Handle.none
    /// What its peer did wrong was counted.
    var isFaultNoted = false
    /// The wrong bytes stood in a request that was under way, which is reported by itself.
    var hasFailedExchange = false
    /// The caller of the last request, with what metrics and limits know it by.
    var caller: SPIFFEID?
    /// Another one for each caller that the connection comes to know; 0 before the first.
    var callerNumber: UInt32 = 0
    var callerLabel = LabelHandle.unknown
    var callerKey: CallerKey?
    var sourceCluster = LabelHandle.unknown
    /// What the peer, and the caller of the last request, hold of this worker.
    var account = CallerShares.Account.none
    var callerAccount = CallerShares.Account.none
    /// The peer has more connections than its share: this one is refused what it asks for.
    var isExcess = false
    /// Its TLS handshake is one of those in progress.
    var isHandshaking = false
    /// Its next events wait for the next turn.
    var isDeferred = false
    /// Its `directCaller` holds in this configuration: requests need not be judged again.
    var isDirectKnown = false
    var permit = Permit()
    /// The peer itself, once a request without an assertion was found to be the peer's own (PROTOCOLS section 5).
    var directCaller: SPIFFEID?
    /// What it was known by when it was the caller last; 0 while it was not.
    var directNumber: UInt32 = 0
    /// What the last log line of this connection said of caller and destination.
    var common = CallerText()

    init(_ connection: consuming DownstreamConnection, entry: Entry) {
        self.connection = connection
        self.entry = entry
    }
}
