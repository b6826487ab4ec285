package import Containers

/// Tells HTTP/2 with prior knowledge from HTTP/1.1 by the first bytes (RFC 9113 3.4).
package enum PrefaceDetector {
    package enum Answer: Hashable, Sendable {
        case http2
        case http1
        /// All bytes so far could be the beginning of either.
        case needsMore
    }

    private static let preface: [UInt8] = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)

    package static func judge(_ buffer: borrowing ByteBuffer) -> Answer { judge(buffer.bytes) }

    package static func judge(_ bytes: Span<UInt8>) -> Answer {
        let count = min(bytes.count, preface.count)
        for index in 0..<count where bytes[index] != preface[index] { return .http1 }
        return bytes.count >= preface.count ? .http2 : .needsMore
    }
}
