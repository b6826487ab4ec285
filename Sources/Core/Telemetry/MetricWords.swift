package import MeshModel

/// Which proxy on the way counted a call; Istio's label `reporter`, with a word of its own for gateways.
package enum Reporter: UInt8, Sendable, CaseIterable {
    case source
    case destination
    case egress
    case ingress

    var word: StaticString {
        switch self {
        case .source: "source"
        case .destination: "destination"
        case .egress: "egress"
        case .ingress: "ingress"
        }
    }
}

/// What the bytes of a call were; Istio's label `request_protocol`.
package enum RequestProtocol: UInt8, Sendable, CaseIterable {
    case http
    case grpc
    case tcp

    var word: StaticString {
        switch self {
        case .http: "http"
        case .grpc: "grpc"
        case .tcp: "tcp"
        }
    }
}

/// How the call reached the reporter; Istio's label `connection_security_policy`.
package enum ConnectionSecurity: UInt8, Sendable, CaseIterable {
    case unknown
    case none
    case mutualTLS

    var word: StaticString {
        switch self {
        case .unknown: "unknown"
        case .none: "none"
        case .mutualTLS: "mutual_tls"
        }
    }
}

/// Envoy's short code for how a call ended, which dashboards and people know.
package enum ResponseFlag: UInt8, Sendable, CaseIterable {
    case none
    case noHealthyUpstream
    case upstreamConnectFailure
    case upstreamOverflow
    case noRoute
    case retryLimitExceeded
    case upstreamRequestTimeout
    case upstreamConnectionTermination
    case upstreamProtocolError
    case downstreamConnectionTermination
    case downstreamProtocolError
    case rateLimited
    case unauthorised
    case localReset

    /// The flag that says the same as `reason`.
    package init(_ reason: Reason) {
        self =
            switch reason {
            case .noRoute, .wrongAuthority, .loop: .noRoute
            case .notAllowed, .originMissing, .originInvalid, .originUnexpected: .unauthorised
            case .rateLimited: .rateLimited
            case .noEndpoint, .stale: .noHealthyUpstream
            case .overload: .upstreamOverflow
            case .draining: .localReset
            case .connectFailed, .connectTimeout, .upstreamTLS: .upstreamConnectFailure
            case .upstreamReset: .upstreamConnectionTermination
            case .upstreamProtocol: .upstreamProtocolError
            case .deadline: .upstreamRequestTimeout
            case .requestInvalid, .tooLarge: .downstreamProtocolError
            }
    }

    /// The code as Envoy spells it.
    package var word: StaticString {
        switch self {
        case .none: "-"
        case .noHealthyUpstream: "UH"
        case .upstreamConnectFailure: "UF"
        case .upstreamOverflow: "UO"
        case .noRoute: "NR"
        case .retryLimitExceeded: "URX"
        case .upstreamRequestTimeout: "UT"
        case .upstreamConnectionTermination: "UC"
        case .upstreamProtocolError: "UPE"
        case .downstreamConnectionTermination: "DC"
        case .downstreamProtocolError: "DPE"
        case .rateLimited: "RL"
        case .unauthorised: "UAEX"
        case .localReset: "LR"
        }
    }
}

extension Reason {
    /// A number for packed keys: 1 and up; 0 stands for no reason. Never leaves the process.
    var code: UInt8 {
        switch self {
        case .noRoute: 1
        case .wrongAuthority: 2
        case .notAllowed: 3
        case .originMissing: 4
        case .originInvalid: 5
        case .originUnexpected: 6
        case .rateLimited: 7
        case .noEndpoint: 8
        case .overload: 9
        case .draining: 10
        case .stale: 11
        case .connectFailed: 12
        case .connectTimeout: 13
        case .upstreamTLS: 14
        case .upstreamReset: 15
        case .upstreamProtocol: 16
        case .deadline: 17
        case .loop: 18
        case .requestInvalid: 19
        case .tooLarge: 20
        }
    }

    init?(code: UInt8) {
        for reason in Reason.allCases where reason.code == code {
            self = reason
            return
        }
        return nil
    }

    /// The word as it stands in `meshfed-error`, log and metrics, without a String.
    package var word: StaticString {
        switch self {
        case .noRoute: "no_route"
        case .wrongAuthority: "wrong_authority"
        case .notAllowed: "not_allowed"
        case .originMissing: "origin_missing"
        case .originInvalid: "origin_invalid"
        case .originUnexpected: "origin_unexpected"
        case .rateLimited: "rate_limited"
        case .noEndpoint: "no_endpoint"
        case .overload: "overload"
        case .draining: "draining"
        case .stale: "stale"
        case .connectFailed: "connect_failed"
        case .connectTimeout: "connect_timeout"
        case .upstreamTLS: "upstream_tls"
        case .upstreamReset: "upstream_reset"
        case .upstreamProtocol: "upstream_protocol"
        case .deadline: "deadline"
        case .loop: "loop"
        case .requestInvalid: "request_invalid"
        case .tooLarge: "too_large"
        }
    }
}
