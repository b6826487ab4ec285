import MeshModel
import Testing

@Suite struct LiteralTests {
    /// Bytes in hexadecimal, so that the table stays readable.
    @Test(arguments: [
        ("::", "00000000000000000000000000000000"), ("::1", "00000000000000000000000000000001"),
        ("1:2:3:4:5:6:7:8", "00010002000300040005000600070008"), ("FE80::abcd", "fe80000000000000000000000000abcd"),
        ("::ffff:10.1.2.3", "00000000000000000000ffff0a010203"), ("1::", "00010000000000000000000000000000"),
        ("1:2:3:4:5:6:7::", "00010002000300040005000600070000"),
        ("1:2:3:4:5:6:1.2.3.4", "00010002000300040005000601020304"),
    ])
    func ipv6IsRead(text: String, hexadecimal: String) {
        let bytes = IPLiteral.v6(text.utf8) ?? []
        let digits = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }
        #expect(digits.joined() == hexadecimal)
    }

    @Test(arguments: [
        "", ":", ":::", "1", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", "::12345", "::g", "1:2:3:4:5:6:7:8::",
        "::1:2:3:4:5:6:7:8", "1.2.3.4", "::1.2.3", "::1.2.3.4:5", "1.2.3.4::", "::1%eth0", "[::1]", ":1:2:3:4:5:6:7",
        "1:",
        "::1:", ":::1", "1:2:3:4:5:6:7:1.2.3.4",
    ])
    func otherIPv6IsRefused(text: String) { #expect(IPLiteral.v6(text.utf8) == nil) }

    @Test func ipv4IsStrict() {
        #expect(IPLiteral.v4("10.0.255.1".utf8) == [10, 0, 255, 1])
        for text in ["", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.1.1.1", "1..1.1", "1.1.1.a", "+1.1.1.1", "0x1.1.1.1"] {
            #expect(IPLiteral.v4(text.utf8) == nil, "\(text)")
        }
    }

    @Test func unicastLeavesOutWhatNoHostHas() {
        for text in ["10.0.0.1", "127.0.0.1", "::1", "fd00::1"] { #expect(IPLiteral.isUnicast(text)) }
        for text in ["0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1", "x"] {
            #expect(!IPLiteral.isUnicast(text), "\(text)")
        }
    }

    @Test func hostsWithPortsAreRead() {
        #expect(HostPort("[fd00::1]:80")?.host == "fd00::1")
        #expect(HostPort("a.b-c.d:80")?.description == "a.b-c.d:80")
        #expect(HostPort("1.2.3.4:0", zeroPort: true)?.port == 0)
        for text in [
            "a:0", "a", ":1", "a:", "-a:1", "a..b:1", "fd00::1:80", "[fd00::1]", "[a]:1", "1.2.3.256:1", "a/b:1",
        ] {
            #expect(HostPort(text) == nil, "\(text)")
        }
    }

    @Test func pemHoldsCertificatesOnly() {
        let one = "-----BEGIN CERTIFICATE-----\nAQID\r\nBA==\n-----END CERTIFICATE-----\n"
        #expect(PEMText.certificates(one) == [[1, 2, 3, 4]])
        #expect(PEMText.certificates(one + "\n" + one)?.count == 2)
        for text in [
            "", "x", "-----BEGIN CERTIFICATE-----\nAQID\n", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\nAQI\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\nA=ID\n-----END CERTIFICATE-----\n",
            "-----BEGIN PRIVATE KEY-----\nAQID\n-----END PRIVATE KEY-----\n", one + "tail",
        ] { #expect(PEMText.certificates(text) == nil, "\(text)") }
    }

    @Test func everyReasonHasItsStatuses() {
        for reason in Reason.allCases {
            #expect((400...599).contains(reason.httpStatus))
            #expect((1...16).contains(reason.grpcStatus))
        }
        #expect(Set(Reason.allCases.map(\.rawValue)).count == Reason.allCases.count)
    }
}
