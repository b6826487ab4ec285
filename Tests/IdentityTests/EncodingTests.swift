import Identity
import MeshModel
import MeshTestKit
import Testing

@Suite struct EncodingTests {
    @Test func base64URLRoundTrips() {
        var random = SplitMix64.announced()
        for count in 0..<200 {
            let bytes = random.bytes(count)
            let text = Base64.encodeURL(bytes)
            #expect(Base64.decodeURL(text.span) == bytes)
            #expect(Base64.decode(Base64.encode(bytes)) == bytes)
        }
        #expect(String(decoding: Base64.encodeURL([0xFB, 0xFF]), as: UTF8.self) == "-_8")
        #expect(String(decoding: Base64.encode([0xFB, 0xFF]), as: UTF8.self) == "+/8=")
    }

    @Test(arguments: ["A", "AA=", "AA==", "AB", "AAB", "A A", "AA+A", "AA/A", "AA\u{0}A", "AAé"])
    func base64URLRefuses(_ text: String) {
        let bytes = Array(text.utf8)
        #expect(Base64.decodeURL(bytes.span) == nil)
    }

    @Test func pemRoundTripsAndRefusesDamage() throws {
        let bytes = [UInt8](0...200)
        let text = PEM.encode("CERTIFICATE", bytes) + Array("# between\r\n".utf8) + PEM.encode("CERTIFICATE", [1])
        #expect(try PEM.certificates(text) == [bytes, [1]])
        #expect(throws: IdentityError.self) { try PEM.certificates(Array(text.dropLast(5))) }
        #expect(throws: IdentityError.self) { try PEM.certificates([]) }
        #expect(throws: IdentityError.self) { try PEM.certificates(PEM.encode("PRIVATE KEY", [1])) }
        let crlf = text.flatMap { $0 == 0x0A ? [0x0D, 0x0A] : [$0] }
        #expect(try PEM.certificates(crlf) == [bytes, [1]])
    }

    @Test func hexRoundTrips() {
        #expect(Hex.encode([0, 0xAB, 0xFF]) == "00abff")
        #expect(Hex.decode("00ABff") == [0, 0xAB, 0xFF])
        #expect(Hex.decode("0") == nil)
        #expect(Hex.decode("0g") == nil)
    }

    @Test(arguments: [
        (Int64(0), "700101000000Z"), (951_782_399, "000228235959Z"), (951_782_400, "000229000000Z"),
        (1_893_456_000, "300101000000Z"), (2_524_607_999, "491231235959Z"),
    ])
    func writesUTCTime(_ seconds: Int64, _ text: String) {
        #expect(DER.time(WallTime(seconds: seconds)) == [0x17, 13] + Array(text.utf8))
    }

    @Test func writesGeneralizedTimeFrom2050() {
        #expect(DER.time(WallTime(seconds: 2_524_608_000)) == [0x18, 15] + Array("20500101000000Z".utf8))
        #expect(DER.time(WallTime(seconds: .max)) == [0x18, 15] + Array("99991231235959Z".utf8))
        #expect(DER.time(WallTime(seconds: .min)) == [0x17, 13] + Array("700101000000Z".utf8))
    }

    @Test func timesComeBackFromACertificate() throws {
        let mint = try CertificateMint("a.test")
        var random = SplitMix64.announced()
        for _ in 0..<50 {
            var options = CertificateMint.Leaf("spiffe://a.test/w")
            options.notBefore = WallTime(seconds: Int64.random(in: 0..<253_402_300_799, using: &random))
            options.notAfter = WallTime(seconds: Int64.random(in: 0..<253_402_300_799, using: &random))
            let certificate = try Certificate(der: mint.leaf(options))
            #expect(certificate.notBefore == options.notBefore)
            #expect(certificate.notAfter == options.notAfter)
        }
    }
}
