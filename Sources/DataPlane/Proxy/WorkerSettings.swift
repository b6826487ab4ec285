package import MeshModel
package import Reactor
package import Telemetry
package import Wire

/// What a connection that a listener took is for.
package enum Entry: Hashable, Sendable {
    /// mTLS of the mesh: a gateway's 15443, a sidecar's 15006.
    case mesh
    /// The app's explicit proxy: forward proxy, CONNECT, and requests by Host (15080).
    case explicit
    /// The app's plain port for one TCP service: `name:port` as the app would write it.
    case outboundTCP(host: [UInt8])
    /// Plaintext for the app behind `appPort`, where the policy is permissive.
    case inboundPlain(appPort: UInt16)
    /// The app's connections that the kernel redirected, each to where it was dialled (15001).
    case captured

    var isMesh: Bool {
        if case .mesh = self { true } else { false }
    }
}

/// A path of the app that the kubelet may ask without an identity.
package struct ProbePath: Hashable, Sendable {
    package let port: UInt16
    /// Without a query.
    package let path: [UInt8]

    package init(port: UInt16, path: [UInt8]) {
        self.port = port
        self.path = path
    }
}

/// What does not change while a worker lives. Counts are per worker.
package struct WorkerSettings: Sendable {
    package var isGateway: Bool
    /// The sidecar's own namespace, for one-label names.
    package var namespace: Label?
    /// Where the sidecar's app listens.
    package var appAddress: SocketAddress?
    package var sampleSeed: UInt64
    package var logFormat: AccessLog.Format
    package var logSink: LogSink?
    /// Entries by listener role number.
    package var entries: [Entry]
    package var maximumConnections = 16_384
    package var maximumExchanges = 65_536
    /// HTTP/1.1 connections to one endpoint: each carries one exchange. A caller alone gets half of them.
    package var maximumUpstreams = 2_048
    /// HTTP/2 between our own proxies, and to apps. Its seed is the worker's.
    package var shared = HTTP2Settings.mesh
    /// TLS handshake, PROXY header, request head: the whole of each.
    package var headTimeout = Duration.seconds(10)
    /// A connection without an exchange. Envoy's default is an hour; a gateway's peers reconnect cheaply.
    package var idleTimeout = Duration.seconds(300)
    package var grace = Duration.seconds(10)
    /// Inbound connections may have been redirected from the app's ports: their first byte decides.
    package var capturesInbound = false
    package var probes: [ProbePath] = []
    /// Leaves of verified peers that are kept decoded (decision 0043).
    package var knownCertificates = 1_024
    /// Bytes of resident memory that the process may use; 0: no bound.
    package var memoryLimit = 0
    /// The workers of a gateway, this one among them: each new connection goes to the one with the fewest. Empty: it stays.
    package var crew: [WorkerMailbox] = []

    package init(isGateway: Bool, entries: [Entry], logFormat: AccessLog.Format, sampleSeed: UInt64) {
        self.isGateway = isGateway
        self.entries = entries
        self.logFormat = logFormat
        self.sampleSeed = sampleSeed
    }
}
