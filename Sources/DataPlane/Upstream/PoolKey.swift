package import Reactor

/// What makes two upstream connections interchangeable: own identity, peer, SNI, and how it is spoken (PROTOCOLS section 4).
package struct PoolKey: Hashable, Sendable {
    package enum Use: UInt8, Hashable, Sendable {
        /// HTTP/2 over mTLS to one of our own proxies.
        case meshHTTP
        /// `meshfed-tcp/1` over mTLS: one connection for each relay, never pooled.
        case meshTCP
        /// HTTP/1.1, plain.
        case plainHTTP1
        /// HTTP/2 with prior knowledge, plain.
        case plainHTTP2
        case plainTCP
        /// A workload's own mTLS (`tls: mutual`), HTTP.
        case mutualHTTP1
        case mutualHTTP2
        case mutualTCP
        /// A server certificate checked against a file (`tls: simple`), HTTP.
        case simpleHTTP1
        case simpleHTTP2
        case simpleTCP

        /// Its connections carry many exchanges at a time, where the peer agrees to HTTP/2.
        package var isShared: Bool {
            switch self {
            case .meshHTTP, .plainHTTP2, .mutualHTTP2, .simpleHTTP2: true
            case .plainHTTP1, .mutualHTTP1, .simpleHTTP1, .meshTCP, .plainTCP, .mutualTCP, .simpleTCP: false
            }
        }
    }

    package let address: SocketAddress
    /// The service, port and scope that the SNI names.
    package let route: UInt64
    package let use: Use
    /// Rises when the own SVID or the bundles change: older connections finish what they carry.
    package let generation: UInt32

    package init(address: SocketAddress, route: UInt64, use: Use, generation: UInt32) {
        self.address = address
        self.route = route
        self.use = use
        self.generation = generation
    }

    /// One word goes into the hash: all keys come from the own configuration, nobody chooses them to collide.
    package func hash(into hasher: inout Hasher) {
        hasher.combine(route ^ address.mixed ^ UInt64(use.rawValue) << 56 ^ UInt64(generation) << 24)
    }
}
