import Settings
import Testing

@Suite struct AddressTests {
    @Test(arguments: ["127.0.0.1:0", "[::]:15006", "[::1]:80", "0.0.0.0:65535", "[::ffff:10.0.0.1]:1"])
    func literalsWithPortsAreRead(text: String) {
        #expect(ListenAddress(text)?.description == text)
    }

    @Test(arguments: [
        "", ":", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:080", "127.0.0.1:65536", "127.0.0.1:-1", "::1:80",
        "[::1]",
        "[::1:80", "[127.0.0.1]:80", "[::1%eth0]:80", "localhost:80", "127.0.0.01:80", "1.2.3:80", "[]:80", "[:::]:80",
        " 127.0.0.1:80", "127.0.0.1:80 ",
    ])
    func anythingElseIsRefused(text: String) {
        #expect(ListenAddress(text) == nil)
    }

    @Test func loopbackIsKnown() {
        for text in ["127.0.0.1:1", "127.255.0.1:1", "[::1]:1", "[0:0:0:0:0:0:0:1]:1", "[::ffff:127.0.0.1]:1"] {
            #expect(ListenAddress(text)?.isLoopback == true, "\(text)")
        }
        for text in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[::ffff:10.0.0.1]:1", "[1::1]:1", "128.0.0.1:1"] {
            #expect(ListenAddress(text)?.isLoopback == false, "\(text)")
        }
    }
}
