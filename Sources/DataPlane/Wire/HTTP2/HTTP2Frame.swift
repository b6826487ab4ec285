internal import Containers

/// The nine bytes in front of each frame (RFC 9113 4.1).
struct HTTP2FrameHeader {
    static let size = 9
    /// The largest frame that we announce and send: the default of RFC 9113 6.5.2.
    static let largest = 16_384

    let length: Int
    let type: UInt8
    let flags: UInt8
    let stream: StreamID

    /// - Parameter bytes: at least nine of them.
    init(_ bytes: Span<UInt8>) {
        length = Int(bytes[0]) << 16 | Int(bytes[1]) << 8 | Int(bytes[2])
        type = bytes[3]
        flags = bytes[4]
        stream = StreamID(bitPattern: bytes.word32(at: 5) & 0x7FFF_FFFF)
    }

    func has(_ flag: UInt8) -> Bool { flags & flag != 0 }
}

/// The types of RFC 9113 6; others are read over.
enum HTTP2FrameType {
    static let data: UInt8 = 0
    static let headers: UInt8 = 1
    static let priority: UInt8 = 2
    static let reset: UInt8 = 3
    static let settings: UInt8 = 4
    static let push: UInt8 = 5
    static let ping: UInt8 = 6
    static let goAway: UInt8 = 7
    static let windowUpdate: UInt8 = 8
    static let continuation: UInt8 = 9
}

enum HTTP2Flag {
    static let acknowledged: UInt8 = 0x1
    static let endStream: UInt8 = 0x1
    static let endHeaders: UInt8 = 0x4
    static let padded: UInt8 = 0x8
    static let priority: UInt8 = 0x20
}

/// Identifiers of RFC 9113 6.5.2 and RFC 8441 3.
enum HTTP2Parameter {
    static let headerTableSize: UInt16 = 1
    static let enablePush: UInt16 = 2
    static let maxConcurrentStreams: UInt16 = 3
    static let initialWindowSize: UInt16 = 4
    static let maxFrameSize: UInt16 = 5
    static let maxHeaderListSize: UInt16 = 6
    static let enableConnectProtocol: UInt16 = 8
}

extension Span where Element == UInt8 {
    /// Four bytes in network order.
    func word32(at index: Int) -> UInt32 {
        UInt32(self[index]) << 24 | UInt32(self[index + 1]) << 16 | UInt32(self[index + 2]) << 8
            | UInt32(self[index + 3])
    }

    func word16(at index: Int) -> UInt16 { UInt16(self[index]) << 8 | UInt16(self[index + 1]) }
}

extension ByteBuffer {
    /// The header of a frame; its payload follows.
    mutating func appendFrame(_ type: UInt8, flags: UInt8 = 0, stream: StreamID, length: Int) {
        let size = UInt64(truncatingIfNeeded: length)
        let id = UInt64(UInt32(bitPattern: stream).byteSwapped)
        append(
            word: (size >> 16 & 0xFF | size & 0xFF00 | (size & 0xFF) << 16 | UInt64(type) << 24 | UInt64(flags) << 32
                | id << 40).littleEndian)
        append(UInt8(truncatingIfNeeded: stream))
    }

    mutating func append(big value: UInt32) { append(word: UInt64(value.byteSwapped).littleEndian, count: 4) }

    mutating func appendSetting(_ parameter: UInt16, _ value: Int) {
        append(UInt8(truncatingIfNeeded: parameter >> 8))
        append(UInt8(truncatingIfNeeded: parameter))
        append(big: UInt32(clamping: value))
    }
}
