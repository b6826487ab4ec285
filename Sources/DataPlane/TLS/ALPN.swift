/// Application protocols on our TLS connections (PROTOCOLS section 3).
package enum ALPN: UInt8, Hashable, Sendable, CaseIterable {
    case http2
    case http1
    /// `meshfed-tcp/1`: one opaque stream behind a PROXY v2 header.
    case tcp

    /// The protocol's name on the wire.
    package var name: StaticString {
        switch self {
        case .http2: "h2"
        case .http1: "http/1.1"
        case .tcp: "meshfed-tcp/1"
        }
    }

    /// The list as TLS carries it: each name behind its length.
    static func encode(_ list: [ALPN]) -> [UInt8] {
        var bytes: [UInt8] = []
        for entry in list {
            let name = Array("\(entry.name)".utf8)
            bytes.append(UInt8(name.count))
            bytes.append(contentsOf: name)
        }
        return bytes
    }

    /// The one that was agreed on.
    init?(_ bytes: Span<UInt8>) {
        for candidate in ALPN.allCases {
            let name = Array("\(candidate.name)".utf8)
            guard name.count == bytes.count else { continue }
            var isEqual = true
            for index in 0..<bytes.count where bytes[index] != name[index] { isEqual = false }
            if isEqual {
                self = candidate
                return
            }
        }
        return nil
    }
}
