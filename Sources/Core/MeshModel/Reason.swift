/// Why meshfed itself answered a call; one word, the same in `meshfed-error`, access log and metrics (PROTOCOLS 11).
package enum Reason: String, CaseIterable, Sendable {
    case noRoute = "no_route"
    case wrongAuthority = "wrong_authority"
    case notAllowed = "not_allowed"
    case originMissing = "origin_missing"
    case originInvalid = "origin_invalid"
    case originUnexpected = "origin_unexpected"
    case rateLimited = "rate_limited"
    case noEndpoint = "no_endpoint"
    case overload
    case draining
    case stale
    case connectFailed = "connect_failed"
    case connectTimeout = "connect_timeout"
    case upstreamTLS = "upstream_tls"
    case upstreamReset = "upstream_reset"
    case upstreamProtocol = "upstream_protocol"
    case deadline
    case loop
    case requestInvalid = "request_invalid"
    case tooLarge = "too_large"

    /// The HTTP status of the reason; `request_invalid` and `too_large` have finer ones that the parser gives.
    package var httpStatus: Int {
        switch self {
        case .noRoute: 404
        case .wrongAuthority: 421
        case .notAllowed, .originMissing, .originInvalid, .originUnexpected: 403
        case .rateLimited: 429
        case .noEndpoint, .overload, .draining, .stale, .connectFailed, .connectTimeout, .upstreamTLS, .upstreamReset:
            503
        case .upstreamProtocol: 502
        case .deadline: 504
        case .loop: 508
        case .requestInvalid: 400
        case .tooLarge: 413
        }
    }

    /// The gRPC status code of the reason.
    package var grpcStatus: Int {
        switch self {
        case .noRoute: 12
        case .notAllowed, .originMissing, .originInvalid, .originUnexpected: 7
        case .rateLimited, .tooLarge: 8
        case .wrongAuthority, .noEndpoint, .overload, .draining, .stale, .connectFailed, .connectTimeout, .upstreamTLS,
            .upstreamReset, .upstreamProtocol:
            14
        case .deadline: 4
        case .loop, .requestInvalid: 13
        }
    }
}
