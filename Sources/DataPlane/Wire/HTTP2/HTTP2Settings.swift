/// What our side of an HTTP/2 connection announces (RFC 9113 6.5.2) and how far its encoder goes. Sizes are bytes.
package struct HTTP2Settings: Sendable {
    /// SETTINGS_HEADER_TABLE_SIZE: the peer's encoder may use this much of our memory.
    package var decoderTable = 4_096
    /// The most our encoder uses, whatever the peer offers.
    package var encoderTable = 4_096
    /// SETTINGS_INITIAL_WINDOW_SIZE: body bytes of one stream that we hold unconsumed.
    package var streamWindow = 262_144
    /// Body bytes of all streams that we hold unconsumed. Measured: larger buys rate over a WAN, not CPU.
    package var connectionWindow = 1_048_576
    package var maxConcurrentStreams = 1_024
    /// RST_STREAM that the peer may send at once beyond the streams that end cleanly; above it ENHANCE_YOUR_CALM. nghttp2's own
    /// figures (1,000 and 33).
    package var cancelBurst = 1_000
    /// How many more each second.
    package var cancelRate = 33

    package init() {}

    /// Between meshfed's own proxies: the peer is ours, and the same few origins and paths repeat (PROTOCOLS 4).
    package static var mesh: HTTP2Settings {
        var settings = HTTP2Settings()
        settings.decoderTable = 65_536
        settings.encoderTable = 65_536
        settings.connectionWindow = 4_194_304
        // It carries many callers, who may all cancel at once: ten times the streams of a connection.
        settings.cancelBurst = 10_240
        settings.cancelRate = 1_024
        return settings
    }

    /// Towards a peer that is not ours: Envoy's edge advice of 100 streams and 64 KiB windows (HOSTILE 1).
    package static var foreign: HTTP2Settings {
        var settings = HTTP2Settings()
        settings.streamWindow = 65_536
        settings.maxConcurrentStreams = 100
        return settings
    }
}
