/// Why a connection ends: the peer (or a limit) made it impossible to go on. `produce` still gives the last answer or
/// GOAWAY that has to be written before the close.
package struct HTTPFailure: Error, Equatable, Sendable {
    package enum Reason: String, Sendable {
        /// The bytes are not HTTP, or not the HTTP that meshfed accepts.
        case malformed
        /// Content-Length and Transfer-Encoding, or one of them twice: request smuggling.
        case ambiguousLength
        /// A Host that is missing, double, or outside the grammar.
        case badHost
        case requestLineTooLong
        case headTooLarge
        case unsupportedVersion
        case unsupportedCoding
        case unsupportedMethod
        /// The peer closed in the middle of a message.
        case truncated
        /// A response without a request.
        case unsolicited
        /// More frames without use than a peer in good order sends.
        case flood
        /// A connection error of HTTP/2.
        case protocolError
        /// The head did not arrive in time (`timeOut`).
        case timeout
        /// `openStream` while `canOpenStream` is false.
        case notReady
    }

    package let reason: Reason
    /// The answer of HTTP/1.1; 0 when there is none.
    package let status: Int
    /// The code of HTTP/2's GOAWAY (RFC 9113 7).
    package let code: UInt32

    package init(_ reason: Reason, status: Int = 400, code: UInt32 = 1) {
        self.reason = reason
        self.status = status
        self.code = code
    }
}

/// Error codes of RFC 9113 7 that meshfed names.
package enum HTTP2Code {
    package static let none: UInt32 = 0
    package static let protocolError: UInt32 = 1
    package static let internalError: UInt32 = 2
    package static let flowControl: UInt32 = 3
    package static let streamClosed: UInt32 = 5
    package static let frameSize: UInt32 = 6
    package static let refusedStream: UInt32 = 7
    package static let cancel: UInt32 = 8
    package static let compression: UInt32 = 9
    package static let enhanceYourCalm: UInt32 = 11
}
