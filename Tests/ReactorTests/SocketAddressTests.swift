import Reactor
import Testing

@Suite struct SocketAddressTests {
    @Test(arguments: [
        ("127.0.0.1:80", "127.0.0.1:80"), ("0.0.0.0:0", "0.0.0.0:0"),
        ("255.255.255.255:65535", "255.255.255.255:65535"),
        ("[::1]:443", "[::1]:443"), ("[::]:15006", "[::]:15006"),
        ("[2001:DB8:0:0:0:0:0:1]:1", "[2001:db8::1]:1"), ("[fe80::1]:9", "[fe80::1]:9"),
        ("[::ffff:10.1.2.3]:7", "10.1.2.3:7"), ("[::ffff:0a01:0203]:7", "10.1.2.3:7"),
        ("[64:ff9b::10.1.2.3]:7", "[64:ff9b::a01:203]:7"), ("10.0.0.1:00080", "10.0.0.1:80"),
    ])
    func readsAndWrites(_ text: String, _ written: String) throws {
        let address = try #require(SocketAddress(text))
        #expect(address.description == written)
        #expect(SocketAddress(written) == address)
        #expect(SocketAddress(ip: address.ipText, port: address.port) == address)
    }

    @Test(arguments: [
        "", ":", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:99999", "127.0.0.1:000080",
        "127.0.0.1:-1", "127.0.0.1:+1", "127.0.0.1: 1", "127.0.0.1:1 ", "127.0.0.1:0x1", "127.0.0.1:٣", "127.0.0:1",
        "127.0.0.256:1", "127.1:1", "0127.0.0.1:1", "127.0.0.01:1", " 127.0.0.1:1", "localhost:1", "::1:1", "::1",
        "[::1]", "[::1]:", "[::1:80", "::1]:80", "[::1]80", "[]:80", "[[::1]]:80", "[:::]:80", "[::1%lo]:80",
        "[1:2:3:4:5:6:7:8:9]:80", "[127.0.0.1]:80",
    ])
    func refuses(_ text: String) { #expect(SocketAddress(text) == nil) }

    @Test(arguments: ["", "::1%1", "[::1]", "1.2.3.4.5", "1.2.3", "1.2.3.4:5"])
    func refusesTheIP(_ text: String) { #expect(SocketAddress(ip: text, port: 1) == nil) }

    @Test func aNULEndsNothing() {
        for text in ["127.0.0.1\u{0}:80", "127.0.0.1\u{0}x:80", "[::1\u{0}]:80", "127.0.0.1:80\u{0}"] {
            #expect(SocketAddress(text) == nil)
        }
        for ip in ["1.2.3.4\u{0}", "::1\u{0}", "\u{0}"] { #expect(SocketAddress(ip: ip, port: 1) == nil) }
    }

    @Test func knowsItsKind() throws {
        func address(_ ip: String) throws -> SocketAddress { try #require(SocketAddress(ip: ip, port: 1)) }
        for ip in ["127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1"] { #expect(try address(ip).isLoopback) }
        for ip in ["128.0.0.1", "126.255.255.255", "::2", "::", "fe80::1", "1::1"] {
            #expect(try !address(ip).isLoopback)
        }
        for ip in ["0.0.0.0", "::"] { #expect(try address(ip).isAny) }
        for ip in ["0.0.0.1", "::1", "127.0.0.1"] { #expect(try !address(ip).isAny) }
        #expect(try address("::1").isIPv6)
        #expect(try !address("::ffff:1.2.3.4").isIPv6)
        #expect(try address("0.0.0.0") != address("::"))
        #expect(try address("::ffff:1.2.3.4") == address("1.2.3.4"))
    }

    @Test func changesThePortOnly() throws {
        for text in ["10.1.2.3:80", "[2001:db8::7]:80"] {
            let address = try #require(SocketAddress(text))
            let moved = address.withPort(81)
            #expect(moved.port == 81)
            #expect(moved.ipText == address.ipText)
            #expect(moved != address)
            #expect(moved.withPort(80) == address)
        }
    }

    @Test func resolvesLiteralsByItself() throws {
        #expect(SocketAddress.resolve("192.0.2.1", port: 9).map(\.description) == ["192.0.2.1:9"])
        #expect(SocketAddress.resolve("2001:db8::1", port: 9).map(\.description) == ["[2001:db8::1]:9"])
        let own = SocketAddress.resolve("localhost", port: 9)
        #expect(own.allSatisfy { $0.isLoopback && $0.port == 9 })
    }
}
