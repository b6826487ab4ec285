internal import MeshModel

/// How Kubernetes and Istio spell the protocol of a port.
extension AppProtocol {
    /// Values of `appProtocol` that are understood, as they are listed in an error.
    static let spellings = [
        "http", "http2", "kubernetes.io/h2c", "kubernetes.io/ws", "grpc", "grpc-web", "tcp", "tls", "https", "mongo",
        "mysql", "redis",
    ]

    /// `appProtocol` of a Service port (Kubernetes' prefixed values and Istio's plain ones); nil when it is unknown.
    ///
    /// What is encrypted by the app itself (`https`, `tls`) and databases are opaque bytes: TCP.
    static func declared(as text: String) -> AppProtocol? {
        switch text.lowercased() {
        case "http", "kubernetes.io/ws", "grpc-web": .http
        case "http2", "kubernetes.io/h2c": .http2
        case "grpc": .grpc
        case "tcp", "tls", "https", "kubernetes.io/wss", "mongo", "mysql", "redis": .tcp
        default: nil
        }
    }

    /// By the name of the port, `<protocol>[-<suffix>]` as in Istio; any other name is `auto`, which counts as TCP
    /// for authorisation and between proxies (PROTOCOLS section 3).
    static func named(by name: String) -> AppProtocol {
        if name == "grpc-web" || name.hasPrefix("grpc-web-") { return .http }
        let head = name.split(separator: "-", maxSplits: 1).first.map(String.init) ?? ""
        return declared(as: head) ?? .auto
    }

    /// What the writer puts into `appProtocol`; nil for `auto`.
    var spelling: String? {
        switch self {
        case .http: "http"
        case .http2: "http2"
        case .grpc: "grpc"
        case .tcp: "tcp"
        case .auto: nil
        }
    }
}

extension ExportScope {
    /// The annotation `meshfed.io/export-to`: `*`, or cluster names with commas; nil for anything else.
    init?(annotation text: String) {
        let parts = text.split(separator: ",", omittingEmptySubsequences: false).map { part in
            String(part.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
        }
        if parts == ["*"] {
            self = .all
            return
        }
        var clusters: Set<ClusterID> = []
        for part in parts {
            guard let cluster = ClusterID(part), clusters.insert(cluster).inserted else { return nil }
        }
        self = .clusters(clusters.sorted())
    }
}
