package import Containers
package import Link
package import MeshModel
package import Reactor
package import TLS

/// An accepted connection: what it speaks, and how long it may take for the next step.
package struct DownstreamConnection: ~Copyable {
    package enum Phase: Hashable, Sendable {
        /// TLS is being set up.
        case handshake
        /// Plain bytes: HTTP/1.1 or the preface of HTTP/2, to be told apart.
        case detect
        case http
        /// A PROXY v2 header is awaited.
        case header
        /// Opaque bytes: a relay owns it.
        case relay
        /// Only what waits is written, then it is closed.
        case closing
    }

    package var link: HTTPLink
    package var phase: Phase
    package let peerAddress: SocketAddress?
    package let acceptedAt: Instant
    /// A head, a header or a handshake has been under way since then; nil between exchanges.
    package var waitingSince: Instant?
    package var lastActive: Instant
    /// HTTP/2: the peer's first SETTINGS came.
    package var sawSettings = false
    package var streams = StreamTable()
    /// Bytes that came before it was known what they are.
    package var early = ByteBuffer()

    package init(_ transport: consuming Transport, phase: Phase, peer: SocketAddress?, now: Instant) {
        link = HTTPLink(transport)
        self.phase = phase
        peerAddress = peer
        acceptedAt = now
        waitingSince = now
        lastActive = now
    }
}
