/// What a session accepts from its peer. Sizes are bytes.
package struct HTTPLimits: Sendable {
    /// Method, target and version; above it 414. nginx and Envoy take 8 KiB.
    package var requestLine = 8_192
    /// Fields of one head, decoded; above it 431. Envoy's 60 KiB, rounded up.
    package var headBytes = 65_536
    /// Fields of one head; above it 431. Envoy's default is 100.
    package var headCount = 128
    /// Fields of one trailer section: metadata, never bulk.
    package var trailerBytes = 16_384
    /// A chunk-size line with its extensions; nobody sends any in earnest.
    package var chunkLine = 256
    /// Extensions of all chunks of one message (HOSTILE 53).
    package var chunkExtensions = 4_096
    /// Body bytes of HTTP/1.1 handed out and not yet consumed, above which the socket is not read.
    package var bodyWindow = 262_144
    /// A stream's queue that falls to this size makes it `writable`.
    package var sendLowWater = 65_536
    /// Responses of 1xx to one request (HOSTILE 49).
    package var interimResponses = 16
    /// Methods longer than this are not ours to know: 501.
    package var method = 32
    /// The connection is TLS: `:scheme` of HTTP/1.1 requests is https.
    package var isSecure = true
    /// HTTP/1.1 CONNECT becomes a head event; the session turns raw with `enterTunnel`.
    package var allowsConnect = false
    /// A request to change to another protocol (Upgrade, extended CONNECT) becomes a head event with `:protocol`: once it
    /// is answered with 101, both bodies are opaque bytes. Else HTTP/1.1 ignores the wish and HTTP/2 answers 405.
    package var allowsUpgrade = false

    package init() {}
}

/// Body bytes that the streams of a connection hold unconsumed, and how many may be.
package struct HeldBytes: Hashable, Sendable {
    package let count: Int
    package let capacity: Int
}
