internal import Containers
internal import Wire

/// `sec-websocket-key` (RFC 6455 4.1): 16 random bytes in base64. It proves nothing but that the server speaks WebSocket.
enum WebSocketKey {
    private static let alphabet: [UInt8] = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    static func append(_ high: UInt64, _ low: UInt64, to text: inout OutputBuffer) {
        var rest = UInt128(high) << 64 | UInt128(low)
        // 21 digits of six bits; the last one holds two bits.
        for _ in 0..<21 {
            text.append(alphabet[Int(rest >> 122)])
            rest <<= 6
        }
        text.append(alphabet[Int(rest >> 122)])
        text.append("==")
    }
}
