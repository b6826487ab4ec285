extension HeaderName {
    /// The number of a name in any case; `other` when it is not known. Length and last letter leave at most two
    /// candidates, one of which is compared in full.
    package init(_ name: Span<UInt8>) {
        guard let last = name.isEmpty ? nil : name[name.count - 1].lowercased else {
            self = .other
            return
        }
        self = Self.candidate(name, last)
        if self != .other, !name.equalsWireName(wireBytes) { self = .other }
    }

    private static func candidate(_ name: Span<UInt8>, _ last: UInt8) -> HeaderName {
        switch name.count {
        case 2:
            switch last {
            case UInt8(ascii: "e"): .te
            default: .other
            }
        case 3:
            switch last {
            case UInt8(ascii: "a"): .via
            default: .other
            }
        case 4:
            switch last {
            case UInt8(ascii: "e"): .date
            case UInt8(ascii: "g"): .etag
            case UInt8(ascii: "t"): .host
            case UInt8(ascii: "y"): .vary
            default: .other
            }
        case 5:
            switch last {
            case UInt8(ascii: "e"): .range
            case UInt8(ascii: "h"): .path
            case UInt8(ascii: "w"): .allow
            default: .other
            }
        case 6:
            switch last {
            case UInt8(ascii: "e"): .cookie
            case UInt8(ascii: "n"): .origin
            case UInt8(ascii: "r"): .server
            case UInt8(ascii: "t"):
                switch name[0].lowercased {
                case UInt8(ascii: "e"): .expect
                case UInt8(ascii: "a"): .accept
                default: .other
                }
            default: .other
            }
        case 7:
            switch last {
            case UInt8(ascii: "d"): .method
            case UInt8(ascii: "e"):
                switch name[0].lowercased {
                case UInt8(ascii: ":"): .scheme
                case UInt8(ascii: "u"): .upgrade
                case UInt8(ascii: "b"): .baggage
                default: .other
                }
            case UInt8(ascii: "r"):
                switch name[0].lowercased {
                case UInt8(ascii: "t"): .trailer
                case UInt8(ascii: "r"): .referer
                default: .other
                }
            case UInt8(ascii: "s"): .status
            default: .other
            }
        case 8:
            switch last {
            case UInt8(ascii: "n"): .location
            case UInt8(ascii: "y"): .priority
            default: .other
            }
        case 9:
            switch last {
            case UInt8(ascii: "d"): .forwarded
            case UInt8(ascii: "l"): .protocol
            case UInt8(ascii: "t"): .rateLimit
            default: .other
            }
        case 10:
            switch last {
            case UInt8(ascii: "e"):
                switch name[0].lowercased {
                case UInt8(ascii: "k"): .keepAlive
                case UInt8(ascii: "s"): .setCookie
                case UInt8(ascii: "t"): .tracestate
                default: .other
                }
            case UInt8(ascii: "n"): .connection
            case UInt8(ascii: "t"): .userAgent
            case UInt8(ascii: "y"): .authority
            default: .other
            }
        case 11:
            switch last {
            case UInt8(ascii: "r"): .retryAfter
            case UInt8(ascii: "s"): .grpcStatus
            case UInt8(ascii: "t"): .traceparent
            default: .other
            }
        case 12:
            switch last {
            case UInt8(ascii: "d"): .xRequestID
            case UInt8(ascii: "e"):
                switch name[0].lowercased {
                case UInt8(ascii: "c"): .contentType
                case UInt8(ascii: "g"): .grpcMessage
                default: .other
                }
            case UInt8(ascii: "p"): .meshfedHTTP
            case UInt8(ascii: "s"): .meshfedHops
            case UInt8(ascii: "t"): .grpcTimeout
            default: .other
            }
        case 13:
            switch last {
            case UInt8(ascii: "d"): .lastModified
            case UInt8(ascii: "e"): .meshfedProbe
            case UInt8(ascii: "g"): .grpcEncoding
            case UInt8(ascii: "h"): .ifNoneMatch
            case UInt8(ascii: "l"): .cacheControl
            case UInt8(ascii: "n"): .authorization
            case UInt8(ascii: "r"): .meshfedError
            default: .other
            }
        case 14:
            switch last {
            case UInt8(ascii: "h"): .contentLength
            case UInt8(ascii: "n"): .meshfedOrigin
            case UInt8(ascii: "s"): .http2Settings
            default: .other
            }
        case 15:
            switch last {
            case UInt8(ascii: "e"): .acceptLanguage
            case UInt8(ascii: "g"): .acceptEncoding
            case UInt8(ascii: "r"): .xForwardedFor
            default: .other
            }
        case 16:
            switch last {
            case UInt8(ascii: "e"): .meshfedDeadline
            case UInt8(ascii: "g"): .contentEncoding
            case UInt8(ascii: "n"): .proxyConnection
            case UInt8(ascii: "s"): .meshfedAttempts
            case UInt8(ascii: "t"): .xForwardedHost
            case UInt8(ascii: "y"): .rateLimitPolicy
            default: .other
            }
        case 17:
            switch last {
            case UInt8(ascii: "g"): .transferEncoding
            case UInt8(ascii: "o"): .xForwardedProto
            case UInt8(ascii: "y"): .meshfedAuthority
            default: .other
            }
        case 19:
            switch last {
            case UInt8(ascii: "n"): .proxyAuthorization
            default: .other
            }
        case 20:
            switch last {
            case UInt8(ascii: "g"): .grpcAcceptEncoding
            default: .other
            }
        case 22:
            switch last {
            case UInt8(ascii: "s"): .grpcRetryPushback
            default: .other
            }
        case 23:
            switch last {
            case UInt8(ascii: "n"): .grpcStatusDetails
            case UInt8(ascii: "t"): .xForwardedClientCert
            default: .other
            }
        case 26:
            switch last {
            case UInt8(ascii: "s"): .grpcPreviousAttempts
            default: .other
            }
        default: .other
        }
    }
}
