package import Identity
internal import MeshModel
package import Reactor
package import TLS
package import Wire

/// Who is at the other end of a connection.
package struct RPCPeer: Sendable {
    /// The verified SVID of a TLS peer; nil where none was asked for.
    package let identity: PeerIdentity?
    /// The owner of the process at the other end of a UNIX socket.
    package let uid: UInt32?
    package let address: SocketAddress?

    package init(identity: PeerIdentity?, uid: UInt32?, address: SocketAddress?) {
        self.identity = identity
        self.uid = uid
        self.address = address
    }

    /// For logs: the SPIFFE ID, else the uid, else the address.
    package var description: String {
        if let identity { return identity.id.description }
        if let uid { return "uid \(uid)" }
        return address?.description ?? "unknown"
    }
}

/// How a call ended. A lost connection is `unavailable` with the reason.
package struct RPCEnd: Error, Equatable, Sendable, CustomStringConvertible {
    package let status: GRPCStatus
    package let message: String

    package init(status: GRPCStatus, message: String) {
        self.status = status
        self.message = message
    }

    package var description: String { message.isEmpty ? "\(status)" : "\(status): \(message)" }
}

/// Why a loop or a listener could not be set up.
package enum RPCSetupError: Error, Sendable, CustomStringConvertible {
    /// The loop's own descriptors.
    case loop(SocketError)
    /// The text names the address.
    case listen(String, SocketError)

    package var description: String {
        switch self {
        case .loop(let error): "cannot set up the event loop: \(error.description)"
        case .listen(let address, let error): "cannot listen on \(address): \(error.text)"
        }
    }
}

/// Where to listen.
package enum RPCListenAddress: Sendable {
    case tcp(SocketAddress)
    /// A UNIX socket's path.
    case unix(String)
}

/// What stands between the socket and HTTP on a listener.
package enum RPCSecurity {
    case plain
    /// Asked for each accepted connection, so that a renewed SVID is used at once.
    case tls(() -> TLSContext)
}

/// Whom a channel dials.
package enum RPCTarget: Sendable, CustomStringConvertible {
    /// A name is resolved on a thread of its own.
    case tcp(host: String, port: UInt16)
    /// Tried in this order.
    case addresses([SocketAddress])
    case unix(path: String)

    package var description: String {
        switch self {
        case .tcp(let host, let port): HostPort(host: host, port: port).description
        case .addresses(let list): list.map(\.description).joined(separator: ", ")
        case .unix(let path): path
        }
    }
}

/// What stands between the socket and HTTP on a channel.
package enum RPCClientSecurity {
    case plain
    /// `accepts` judges the verified server; when it says no, nothing is sent and calls fail.
    case tls(context: () -> TLSContext, serverName: String, accepts: (PeerIdentity) -> Bool)
}

/// What one side takes from its peers, and how long it waits. Every wait is on the monotonic clock.
package struct RPCLimits: Sendable {
    /// Connections of one listener; above it nothing more is accepted until one ends.
    package var connections = 1_024
    /// SETTINGS_MAX_CONCURRENT_STREAMS.
    package var streamsPerConnection = 256
    /// TLS, from accept to Finished.
    package var handshake = Duration.seconds(10)
    /// TCP connect and TLS of a channel, over all of its addresses.
    package var connect = Duration.seconds(5)
    /// From the first byte of a request head to its end, and from the handshake to the first head.
    package var head = Duration.seconds(10)
    /// A call without a deadline of its own, from its head to the last byte of the answer.
    package var call = Duration.seconds(60)
    /// Silence after which a PING is sent; gRPC's usual values are 10 s to 2 h.
    package var keepAlive = Duration.seconds(20)
    /// For the answer to a PING.
    package var keepAliveAnswer = Duration.seconds(10)
    /// A connection without a call is ended after this.
    package var idle = Duration.seconds(300)
    /// Body of a plain HTTP request in bytes.
    package var httpBody = 1_048_576
    /// Bytes of incomplete messages and bodies over all calls of one connection: twice the largest admin request.
    package var heldPerConnection = 33_554_432
    /// The same over all connections of one listener.
    package var heldPerListener = 134_217_728

    package init() {}

    /// How often an open connection looks at its clocks.
    var checkInterval: Duration {
        let shortest = min(min(keepAlive, keepAliveAnswer), min(head, idle))
        return max(.milliseconds(10), min(.seconds(5), shortest / 2))
    }
}
