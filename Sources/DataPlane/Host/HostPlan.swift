package import Feed
package import MeshModel
package import Proxy
package import Routing
package import Settings

/// What a role makes of its settings: everything else is the same for sidecar and gateway.
package struct HostPlan {
    package struct Listening: Hashable, Sendable {
        package let address: ListenAddress
        package let entry: Entry

        package init(_ address: ListenAddress, _ entry: Entry) {
            self.address = address
            self.entry = entry
        }

        /// What two processes of one proxy call the listener by: as it was asked for, not as it was bound.
        var name: String {
            switch entry {
            case .mesh: "mesh \(address)"
            case .explicit: "explicit \(address)"
            case .outboundTCP(let host): "tcp \(address)=\(String(decoding: host, as: UTF8.self))"
            case .inboundPlain(let port): "plain \(address)=\(port)"
            case .captured: "captured \(address)"
            }
        }
    }

    /// `gateway` or `sidecar`: the first word of what is printed.
    package let word: String
    package let proxy: ProxySettings
    package let listening: [Listening]
    package let isGateway: Bool
    /// Workers where the settings name none.
    package let defaultWorkers: Int
    package let keeperRole: IdentityKeeper.Role
    /// The sidecar's namespace, for one-label names.
    package let namespace: Label?
    /// Where the sidecar's app listens.
    package let appAddress: String?
    /// The place of this proxy in a snapshot.
    package let ownRole: (Snapshot) -> OwnRole
    /// Why a snapshot cannot be used here with this SVID; nil: it can.
    package let judge: (Snapshot, SPIFFEID?) -> String?
    /// What the feed says of this process; the port is that of the first listener.
    package let feedRole: (_ port: UInt16) -> FeedSettings.Role
    package var capture = Capture()
    /// Hears of every snapshot that is used, on the main thread, before the workers do.
    package var onSnapshot: ((Snapshot) -> Void)?
    /// Binds what the role listens on beside its workers, or takes it over; gives its sockets by name.
    package var openOwn: ((Inheritance) throws(HostFailure) -> [HandedSocket])?
    /// Another process serves on those sockets now.
    package var onHandedOver: (() -> Void)?

    /// A bound socket as two processes of one proxy call it.
    package typealias HandedSocket = (name: String, descriptor: Int32)

    /// What a sidecar adds that takes redirected traffic.
    package struct Capture {
        package var isOn = false
        package var probes: [ProbePath] = []
        /// How long outbound outlives SIGTERM at most.
        package var drain = Duration.zero

        package init() {}
    }

    package init(
        word: String, proxy: ProxySettings, listening: [Listening], isGateway: Bool, defaultWorkers: Int,
        keeperRole: IdentityKeeper.Role, namespace: Label? = nil, appAddress: String? = nil,
        ownRole: @escaping (Snapshot) -> OwnRole, judge: @escaping (Snapshot, SPIFFEID?) -> String?,
        feedRole: @escaping (_ port: UInt16) -> FeedSettings.Role
    ) {
        self.word = word
        self.proxy = proxy
        self.listening = listening
        self.isGateway = isGateway
        self.defaultWorkers = defaultWorkers
        self.keeperRole = keeperRole
        self.namespace = namespace
        self.appAddress = appAddress
        self.ownRole = ownRole
        self.judge = judge
        self.feedRole = feedRole
    }
}
