internal import Containers

/// Why a gRPC message stream cannot go on.
package enum GRPCFault: Error, Equatable, Sendable {
    /// The compressed flag is set and no encoding was agreed on, or the flag is neither 0 nor 1: status 13.
    case compressed
    /// A message longer than the limit: status 8.
    case tooLarge
    /// The stream ended inside a message: status 13.
    case truncated
}

/// Cuts a body into length-prefixed messages (gRPC over HTTP/2: flag, four bytes of length, the message).
///
/// `append` what arrives; while `next` is true, `message` is one whole message, good until the next call.
package struct GRPCFrameDecoder: ~Copyable {
    /// Bytes in front of each message.
    package static let prefix = 5

    private let limit: Int
    private var buffer = ByteBuffer()
    /// The length of the current message; it is dropped at the next call.
    private var current: Int?

    /// - Parameter limit: the most bytes of one message. 64 MiB is the product's own default for snapshots.
    package init(limit: Int = 67_108_864) { self.limit = limit }

    package mutating func append(_ bytes: Span<UInt8>) {
        dropCurrent()
        buffer.append(bytes)
    }

    /// True when a whole message is ready. Throws as soon as the prefix shows that none will be.
    package mutating func next() throws(GRPCFault) -> Bool {
        dropCurrent()
        guard buffer.count >= Self.prefix else { return false }
        let length = try Self.length(buffer.bytes, limit: limit)
        guard buffer.count - Self.prefix >= length else { return false }
        current = length
        return true
    }

    /// The message that `next` found; empty otherwise.
    package var message: Span<UInt8> {
        @_lifetime(borrow self)
        borrowing get {
            let bytes = buffer.bytes
            guard let current else { return bytes.extracting(0..<0) }
            return bytes.extracting(Self.prefix..<Self.prefix + current)
        }
    }

    /// The stream ended: throws when it did so inside a message.
    package mutating func finish() throws(GRPCFault) {
        dropCurrent()
        if !buffer.isEmpty { throw .truncated }
    }

    /// Bytes that wait for the rest of their message.
    package var waiting: Int { buffer.count - (current.map { $0 + Self.prefix } ?? 0) }

    private mutating func dropCurrent() {
        guard let length = current else { return }
        current = nil
        buffer.consume(length + Self.prefix)
    }

    private static func length(_ bytes: Span<UInt8>, limit: Int) throws(GRPCFault) -> Int {
        guard bytes[0] == 0 else { throw .compressed }
        var length = 0
        for index in 1..<prefix { length = length << 8 | Int(bytes[index]) }
        guard length <= limit else { throw .tooLarge }
        return length
    }
}

/// Writes length-prefixed messages, never compressed.
package enum GRPCFrame {
    /// Appends one message. False, and nothing is written, above what four bytes can say.
    @discardableResult
    package static func append(_ message: Span<UInt8>, to buffer: inout OutputBuffer) -> Bool {
        guard let count = UInt32(exactly: message.count) else { return false }
        appendPrefix(count, to: &buffer)
        buffer.append(message)
        return true
    }

    /// Appends the prefix of a message of `count` bytes, which the caller writes behind it.
    package static func appendPrefix(_ count: UInt32, to buffer: inout OutputBuffer) {
        buffer.append(0)
        for shift: UInt32 in [24, 16, 8, 0] { buffer.append(UInt8(truncatingIfNeeded: count >> shift)) }
    }
}
