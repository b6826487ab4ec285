internal import COpenSSL
package import Identity
package import Reactor

/// A TLS context that cannot be made.
package struct TLSError: Error, Hashable, Sendable, CustomStringConvertible {
    package let description: String
    init(_ description: String) { self.description = description }
}

/// Why a connection is over.
package enum TransportError: Error, Hashable, Sendable, CustomStringConvertible {
    case socket(SocketError)
    /// TLS failed; `alert` is the peer's, nil when we found the fault.
    case tls(reason: String, alert: UInt8?)
    /// The peer's certificates are not believed.
    case peerRefused(PeerRefusal)
    /// The bytes ended without close_notify: what arrived may be incomplete.
    case truncated

    package var description: String {
        switch self {
        case .socket(let error): error.description
        case .tls(let reason, let alert):
            alert.map { "the peer ended TLS with alert \($0): \(reason)" } ?? "TLS failed: \(reason)"
        case .peerRefused(let refusal): "the peer is not believed: \(refusal.reason)"
        case .truncated: "the peer closed without close_notify"
        }
    }

    /// TLS itself, not the socket below it.
    package var isTLS: Bool {
        switch self {
        case .tls, .peerRefused: true
        case .socket, .truncated: false
        }
    }
}

/// What OpenSSL left in the thread's error queue.
enum OpenSSLQueue {
    /// Reasons above this are alerts that the peer sent (SSL_AD_REASON_OFFSET).
    private static let alertOffset: Int32 = 1_000

    /// Takes the queue's last error and empties it.
    static func take() -> TransportError {
        let code = ERR_peek_last_error()
        ERR_clear_error()
        guard code != 0 else { return .tls(reason: "the connection broke off", alert: nil) }
        let reason = shim_ERR_GET_REASON(code)
        // SAFETY: OpenSSL's reason texts are static.
        let text = unsafe ERR_reason_error_string(code).map { unsafe String(cString: $0) } ?? "error \(code)"
        let isAlert =
            shim_ERR_GET_LIB(code) == Int32(ERR_LIB_SSL) && reason >= alertOffset && reason < alertOffset + 256
        return .tls(reason: text, alert: isAlert ? UInt8(reason - alertOffset) : nil)
    }
}
