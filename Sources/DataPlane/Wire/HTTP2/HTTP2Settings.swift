/// What our side of an HTTP/2 connection announces (RFC 9113 6.5.2) and how far its encoder goes. Sizes are bytes.
package struct HTTP2Settings: Sendable {
    /// SETTINGS_HEADER_TABLE_SIZE: the peer's encoder may use this much of our memory.
    package var decoderTable = 4_096
    /// The most our encoder uses, whatever the peer offers.
    package var encoderTable = 4_096
    /// SETTINGS_INITIAL_WINDOW_SIZE: body bytes of one stream that we hold unconsumed.
    package var streamWindow = 262_144
    /// To what the window of a stream grows whose reader keeps up. Credit comes in halves of it, so that as little as half a window
    /// may be in flight: 10 MiB/s over 80 ms need 840 KB.
    package var largestStreamWindow = 262_144
    /// By how much the windows of all streams of a connection may have grown: whoever stops reading after that holds it.
    package var windowGrowth = 0
    /// Body bytes of all streams that may be in flight to us. They are given back as they come, not as they are consumed: a slow
    /// reader's bytes must not stop the others (as grpc-go does it, transport/flowcontrol.go). Measured: larger buys rate over a
    /// WAN, not CPU.
    package var connectionWindow = 1_048_576
    /// Body bytes of all streams unconsumed, above which nothing is given back: with `connectionWindow` the most that one
    /// connection makes us hold.
    package var heldBytes = 8_388_608
    package var maxConcurrentStreams = 1_024
    /// RST_STREAM that the peer may send at once beyond the streams that end cleanly; above it ENHANCE_YOUR_CALM. nghttp2's
    /// figures (1,000 and 33).
    package var cancelBurst = 1_000
    /// How many more each second.
    package var cancelRate = 33

    /// A number that peers cannot know: where streams lie in a table depends on it.
    package var seed: UInt32 = 0x9e37_79b1

    package init() {}

    /// Between meshfed's own proxies: the peer is ours, and the same few origins and paths repeat (PROTOCOLS 4).
    package static var mesh: HTTP2Settings {
        var settings = HTTP2Settings()
        settings.decoderTable = 65_536
        settings.encoderTable = 65_536
        settings.streamWindow = 131_072
        settings.largestStreamWindow = 4_194_304
        settings.windowGrowth = 8_388_608
        settings.connectionWindow = 16_777_216
        // 448 readers that have stopped hold no other one up.
        settings.heldBytes = 67_108_864
        // It carries many callers, who may all cancel at once: ten times the streams of a connection.
        settings.cancelBurst = 10_240
        settings.cancelRate = 1_024
        return settings
    }

    /// Towards a peer that is not ours: Envoy's edge advice of 100 streams and 64 KiB windows (HOSTILE 1).
    package static var foreign: HTTP2Settings {
        var settings = HTTP2Settings()
        settings.streamWindow = 65_536
        settings.largestStreamWindow = 65_536
        settings.maxConcurrentStreams = 100
        return settings
    }
}
