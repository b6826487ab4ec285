internal import Containers
internal import Downstream
internal import Identity
internal import MeshModel
internal import Routing
internal import Telemetry

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
    /// Inside a CONNECT tunnel: every request goes to `destination`.
    var isTunnel = false
    /// The endpoint that the app dialled by its own address.
    var endpoint: EndpointID?
    var relay = Handle.none
    /// The caller of the last request, with what metrics and limits know it by.
    var caller: SPIFFEID?
    var callerLabel = LabelHandle.unknown
    var callerKey: CallerKey?
    var sourceCluster = LabelHandle.unknown

    init(_ connection: consuming DownstreamConnection, entry: Entry) {
        self.connection = connection
        self.entry = entry
    }
}
