internal import Glibc
internal import Reactor

/// What the machine says that may change under us: its resolvers and its default routes.
struct SystemView: Sendable {
    /// The resolvers in the file's order; at most three, as in every libc.
    private(set) var resolvers: [SocketAddress] = []
    /// A default route leads out: addresses of this family are captured.
    private(set) var hasV4 = false
    private(set) var hasV6 = false

    private static let maximumResolvers = 3
    private static let limit = 65_536

    init() {}

    /// Reads the three files; what cannot be read counts as empty.
    init(resolverFile: String) {
        resolvers = Self.resolvers(Self.read(resolverFile))
        hasV4 = Self.lines(Self.read("/proc/net/route")).dropFirst().contains { line in
            // Iface Destination Gateway Flags … Mask (proc(5)).
            line.count > 7 && line[1] == "00000000" && line[7] == "00000000" && line[0] != "lo"
        }
        hasV6 = Self.lines(Self.read("/proc/net/ipv6_route")).contains { line in
            line.count > 9 && line[0].allSatisfy { $0 == "0" } && line[1] == "00" && line[9] != "lo"
        }
    }

    /// The `nameserver` lines of resolv.conf(5). A scoped address (`fe80::1%eth0`) is passed over.
    static func resolvers(_ text: String) -> [SocketAddress] {
        var found: [SocketAddress] = []
        for line in lines(text) where line.count >= 2 && line[0] == "nameserver" {
            if let address = SocketAddress(ip: line[1], port: 53), !found.contains(address) { found.append(address) }
        }
        return Array(found.prefix(maximumResolvers))
    }

    private static func lines(_ text: String) -> [[String]] {
        text.split(separator: "\n").map { line in
            line.split { $0 == " " || $0 == "\t" }.map(String.init)
        }
    }

    private static func read(_ path: String) -> String {
        // SAFETY: the path lives for the call; the room is written to during the call only.
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return "" }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var room = [UInt8](repeating: 0, count: 4_096)
        while bytes.count < limit {
            let count = unsafe room.withUnsafeMutableBytes { unsafe Glibc.read(descriptor, $0.baseAddress, $0.count) }
            guard count > 0 else { break }
            bytes += room.prefix(count)
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
