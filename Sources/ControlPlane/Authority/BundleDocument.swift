import Identity
package import MeshModel

/// A bundle as the SPIFFE bundle endpoint serves it (SPIFFE Trust Domain and Bundle section 4): a JWK set.
package enum BundleDocument {
    /// How often a reader should come again, in seconds (SPIRE's default).
    package static let refreshHint = 300
    /// A P-256 SPKI ends with the uncompressed point: 0x04, x, y.
    private static let pointLength = 65

    /// JSON text. Roots that are not P-256 or cannot be read are left out: ours always are.
    package static func json(_ bundle: TrustBundle) -> [UInt8] {
        var keys: [String] = []
        for der in bundle.roots {
            guard let root = try? Certificate(der: der), root.publicKey.isP256 else { continue }
            let point = Array(root.publicKey.spki.suffix(pointLength))
            guard point.count == pointLength, point[0] == 4 else { continue }
            let x = text(Base64.encodeURL(Array(point[1..<33])))
            let y = text(Base64.encodeURL(Array(point[33...])))
            keys.append(
                #"{"use":"x509-svid","kty":"EC","crv":"P-256","x":"\#(x)","y":"\#(y)","x5c":["\#(text(Base64.encode(der)))"]}"#
            )
        }
        let head = #"{"spiffe_sequence":\#(bundle.sequence),"spiffe_refresh_hint":\#(refreshHint),"keys":["#
        return Array((head + keys.joined(separator: ",") + "]}\n").utf8)
    }

    private static func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
}
