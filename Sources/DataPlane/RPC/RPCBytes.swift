internal import Containers
internal import MeshModel
internal import Wire

extension [UInt8] {
    /// A copy of borrowed bytes.
    init(copying span: Span<UInt8>) {
        // SAFETY: the buffer is read during the call only.
        self = unsafe span.withUnsafeBufferPointer { unsafe Array($0) }
    }
}

extension String {
    /// Borrowed bytes as text; what is not UTF-8 becomes U+FFFD.
    init(copying span: Span<UInt8>) { self.init(decoding: [UInt8](copying: span), as: UTF8.self) }
}

/// Small pieces of gRPC's wire format as arrays.
enum GRPCText {
    /// Flag and length in front of a message of `count` bytes.
    static func prefix(_ count: Int) -> [UInt8] {
        let length = UInt32(clamping: count)
        return [0] + [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: length >> UInt32($0)) }
    }

    /// The value of `grpc-message` for a text, cut at 1,024 bytes: header lists are limited on every side.
    static func message(_ text: String) -> [UInt8] {
        var buffer = OutputBuffer()
        GRPCStatus.appendMessage(Array(text.utf8.prefix(1_024)).span, to: &buffer)
        return [UInt8](copying: buffer.bytes)
    }

    static func decoded(_ value: Span<UInt8>) -> String {
        var buffer = OutputBuffer()
        GRPCStatus.appendDecoded(value, to: &buffer)
        return String(copying: buffer.bytes)
    }

    static func timeout(_ duration: Duration) -> [UInt8] {
        var buffer = OutputBuffer()
        GRPCTimeout.append(nanoseconds: Int64(clamping: max(1, duration.wholeNanoseconds)), to: &buffer)
        return [UInt8](copying: buffer.bytes)
    }

    /// `application/grpc` alone or followed by `+codec` or `;parameters`.
    static func isGRPC(_ contentType: Span<UInt8>) -> Bool {
        let name: StaticString = "application/grpc"
        let count = name.utf8CodeUnitCount
        guard contentType.count >= count, contentType.extracting(first: count).equalsIgnoringCase(name) else {
            return false
        }
        guard contentType.count > count else { return true }
        return contentType[count] == UInt8(ascii: "+") || contentType[count] == UInt8(ascii: ";")
    }
}
