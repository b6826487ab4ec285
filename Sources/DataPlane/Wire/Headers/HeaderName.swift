/// A field name that meshfed or its peers use often enough to be worth a number; everything else is `other`.
///
/// Pseudo fields of RFC 9113 8.3 stand first, so that `isPseudo` is one comparison; then what concerns framing and the
/// connection.
package enum HeaderName: UInt8, Sendable {
    case other
    case method
    case path
    case scheme
    case authority
    case status
    case `protocol`
    case host
    case contentLength
    case transferEncoding
    case connection
    case keepAlive
    case proxyConnection
    case te
    case trailer
    case upgrade
    case expect
    case http2Settings
    case contentType
    case contentEncoding
    case userAgent
    case server
    case date
    case cookie
    case setCookie
    case via
    case forwarded
    case xForwardedFor
    case xForwardedProto
    case xForwardedHost
    case xForwardedClientCert
    case xRequestID
    case traceparent
    case tracestate
    case baggage
    case grpcStatus
    case grpcMessage
    case grpcTimeout
    case grpcEncoding
    case grpcAcceptEncoding
    case grpcStatusDetails
    case grpcPreviousAttempts
    case grpcRetryPushback
    case retryAfter
    case rateLimit
    case rateLimitPolicy
    case accept
    case acceptEncoding
    case acceptLanguage
    case authorization
    case proxyAuthorization
    case cacheControl
    case etag
    case location
    case origin
    case referer
    case range
    case vary
    case allow
    case lastModified
    case ifNoneMatch
    case priority
    case meshfedOrigin
    case meshfedHops
    case meshfedDeadline
    case meshfedAttempts
    case meshfedAuthority
    case meshfedError
    case meshfedHTTP
    case meshfedProbe

    /// Its value differs from message to message: kept in HPACK's table it would push out what comes again, and each search
    /// for it would look at all the values before it (measured: 87 comparisons per request).
    var isNewEachTime: Bool {
        switch self {
        case .traceparent, .xRequestID, .meshfedDeadline, .grpcTimeout: true
        default: false
        }
    }

    /// `:method` and its kind: only in front of the others, never in trailers.
    package var isPseudo: Bool { rawValue >= HeaderName.method.rawValue && rawValue <= HeaderName.protocol.rawValue }

    /// Fields of meshfed's own proxies; nobody else may set them (`HeaderBlock.isMeshfed(at:)` covers unknown ones).
    package var isMeshfed: Bool {
        rawValue >= HeaderName.meshfedOrigin.rawValue && rawValue <= HeaderName.meshfedProbe.rawValue
    }

    /// Known, no pseudo field, and nothing that a version of HTTP forbids or rewrites.
    var isOfNoFraming: Bool { rawValue > HeaderName.http2Settings.rawValue }

    /// Fields that concern one connection only (RFC 9110 7.6.1); `te` is judged by its value.
    package var isHopByHop: Bool {
        switch self {
        case .connection, .keepAlive, .proxyConnection, .transferEncoding, .upgrade, .http2Settings: true
        default: false
        }
    }

    /// The name as HTTP/2 writes it, lower-case; empty for `other`.
    package var wireName: StaticString {
        switch self {
        case .other: ""
        case .method: ":method"
        case .path: ":path"
        case .scheme: ":scheme"
        case .authority: ":authority"
        case .status: ":status"
        case .protocol: ":protocol"
        case .host: "host"
        case .contentLength: "content-length"
        case .transferEncoding: "transfer-encoding"
        case .connection: "connection"
        case .keepAlive: "keep-alive"
        case .proxyConnection: "proxy-connection"
        case .te: "te"
        case .trailer: "trailer"
        case .upgrade: "upgrade"
        case .expect: "expect"
        case .http2Settings: "http2-settings"
        case .contentType: "content-type"
        case .contentEncoding: "content-encoding"
        case .userAgent: "user-agent"
        case .server: "server"
        case .date: "date"
        case .cookie: "cookie"
        case .setCookie: "set-cookie"
        case .via: "via"
        case .forwarded: "forwarded"
        case .xForwardedFor: "x-forwarded-for"
        case .xForwardedProto: "x-forwarded-proto"
        case .xForwardedHost: "x-forwarded-host"
        case .xForwardedClientCert: "x-forwarded-client-cert"
        case .xRequestID: "x-request-id"
        case .traceparent: "traceparent"
        case .tracestate: "tracestate"
        case .baggage: "baggage"
        case .grpcStatus: "grpc-status"
        case .grpcMessage: "grpc-message"
        case .grpcTimeout: "grpc-timeout"
        case .grpcEncoding: "grpc-encoding"
        case .grpcAcceptEncoding: "grpc-accept-encoding"
        case .grpcStatusDetails: "grpc-status-details-bin"
        case .grpcPreviousAttempts: "grpc-previous-rpc-attempts"
        case .grpcRetryPushback: "grpc-retry-pushback-ms"
        case .retryAfter: "retry-after"
        case .rateLimit: "ratelimit"
        case .rateLimitPolicy: "ratelimit-policy"
        case .accept: "accept"
        case .acceptEncoding: "accept-encoding"
        case .acceptLanguage: "accept-language"
        case .authorization: "authorization"
        case .proxyAuthorization: "proxy-authorization"
        case .cacheControl: "cache-control"
        case .etag: "etag"
        case .location: "location"
        case .origin: "origin"
        case .referer: "referer"
        case .range: "range"
        case .vary: "vary"
        case .allow: "allow"
        case .lastModified: "last-modified"
        case .ifNoneMatch: "if-none-match"
        case .priority: "priority"
        case .meshfedOrigin: "meshfed-origin"
        case .meshfedHops: "meshfed-hops"
        case .meshfedDeadline: "meshfed-deadline"
        case .meshfedAttempts: "meshfed-attempts"
        case .meshfedAuthority: "meshfed-authority"
        case .meshfedError: "meshfed-error"
        case .meshfedHTTP: "meshfed-http"
        case .meshfedProbe: "meshfed-probe"
        }
    }

    /// The bytes of `wireName`; they live for ever.
    package var wireBytes: Span<UInt8> {
        @_lifetime(immortal)
        get { wireName.span }
    }
}
