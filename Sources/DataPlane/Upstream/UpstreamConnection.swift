package import Containers
package import Identity
package import Link
package import MeshModel
package import TLS

/// A connection that we opened: to a sidecar, a gateway or an app.
package struct UpstreamConnection: ~Copyable {
    package enum Phase: Hashable, Sendable {
        /// TCP connect or TLS handshake.
        case connecting
        case http
        /// Our PROXY v2 header was sent; the receiver's word is awaited.
        case header
        case relay
        /// Nothing new is put on it; what it carries finishes.
        case draining
    }

    package var link: HTTPLink
    package var phase = Phase.connecting
    package let key: PoolKey
    package let dialledAt: Instant
    package var lastActive: Instant
    package var streams = StreamTable()
    /// Exchanges that wait until it is established.
    package var waiting: [Handle] = []
    /// The peer's first SETTINGS came: before it an alert may still say that our certificate was refused.
    package var sawSettings = false
    /// Who answered, once established.
    package var peer: PeerIdentity?
    /// Bytes before the relay runs: the receiver's PROXY v2 header.
    package var early = ByteBuffer()

    package init(_ transport: consuming Transport, key: PoolKey, now: Instant) {
        link = HTTPLink(transport)
        self.key = key
        dialledAt = now
        lastActive = now
    }
}
