internal import Containers
internal import MeshModel
internal import Routing
internal import Telemetry
internal import Wire

/// Writes the head of one try: what the app wrote, without what only the mesh may say, and what the next hop has to know.
struct RequestHead {
    let isGateway: Bool
    /// The next hop is reached by TLS.
    let isSecure: Bool
    /// The next hop's own span.
    let trace: TraceContext
    let now: Instant

    /// What every next hop gets. False: no time is left. `text` is memory to write values in.
    func begin(
        _ exchange: borrowing Exchange, into head: inout HeaderBlock, _ text: inout OutputBuffer
    ) -> Bool {
        head.removeAll()
        for index in 0..<exchange.head.count {
            switch exchange.head.name(at: index) {
            case .authority, .host, .traceparent, .grpcTimeout, .scheme, .xForwardedClientCert, .meshfedOrigin,
                .meshfedHops, .meshfedDeadline, .meshfedAttempts, .meshfedAuthority, .meshfedError, .meshfedHTTP,
                .meshfedProbe:
                continue
            case .other:
                if exchange.head.isMeshfed(at: index)
                    || exchange.head.mappedName(at: index) == .xForwardedClientCert
                {
                    continue
                }
                head.append(copying: index, of: exchange.head)
            default: head.append(copying: index, of: exchange.head)
            }
        }
        head.append(.scheme, isSecure ? "https" : "http")
        text.removeAll()
        trace.append(into: &text)
        head.append(.traceparent, text)
        return writeDeadline(exchange, into: &head, &text)
    }

    /// The rest, where there is no destination: for the app, whom its own caller named, or a health probe of the next hop itself.
    func finish(_ exchange: borrowing Exchange, _ caller: borrowing OutputBuffer, into head: inout HeaderBlock) {
        head.append(.authority, exchange.head.value(of: .authority))
        if exchange.upstreamIsProxy {
            head.append(.meshfedProbe, Worker.healthWord)
        } else {
            introduce(exchange, caller, into: &head)
        }
    }

    private func writeDeadline(
        _ exchange: borrowing Exchange, into head: inout HeaderBlock, _ text: inout OutputBuffer
    ) -> Bool {
        guard exchange.deadline != .distantFuture else { return true }
        // An app that speaks no gRPC is told nothing.
        guard exchange.upstreamIsProxy || exchange.isGRPC else {
            return CallDeadline.isLeft(exchange.deadline, now: now)
        }
        text.removeAll()
        guard CallDeadline.append(exchange.deadline, now: now, into: &text) else { return false }
        if exchange.upstreamIsProxy { head.append(.meshfedDeadline, text) }
        if exchange.isGRPC, exchange.head.contains(.grpcTimeout) {
            text.removeAll()
            GRPCTimeout.append(nanoseconds: Int64(clamping: (exchange.deadline - now).wholeNanoseconds), to: &text)
            head.append(.grpcTimeout, text)
        }
        return true
    }

    /// For one of our proxies: the mesh's own names, and what was called by the app. `token` is an assertion of our own; nil when
    /// the one that came goes on, or none is due.
    func finish(
        _ exchange: borrowing Exchange, for destination: Destination, _ configuration: ProxyConfiguration,
        _ token: [UInt8]?, into head: inout HeaderBlock, _ text: inout OutputBuffer
    ) {
        head.append(.authority, destination.authority)
        writeOriginalAuthority(exchange, destination, as: .meshfedAuthority, into: &head)
        if isGateway {
            text.removeAll()
            let isBelieved = exchange.forwardsOrigin || exchange.isProbe
            if isBelieved {
                Hops.append(exchange.head.value(of: .meshfedHops), own: configuration.table.hopName, into: &text)
            } else {
                Hops.append(Span(), own: configuration.table.hopName, into: &text)
            }
            head.append(.meshfedHops, text)
        }
        head.append(.meshfedAttempts, number: exchange.attempts)
        if destination.port.appProtocol == .auto { head.append(.meshfedHTTP, exchange.spokeHTTP2 ? "2" : "1") }
        if exchange.isProbe { head.append(.meshfedProbe, exchange.head.value(of: .meshfedProbe)) }
        if exchange.forwardsOrigin {
            head.append(.meshfedOrigin, exchange.head.value(of: .meshfedOrigin))
        } else if let token {
            head.append(.meshfedOrigin, token)
        }
    }

    /// For the app: the authority that its caller wrote, and who that was.
    func finish(
        _ exchange: borrowing Exchange, to destination: Destination, _ caller: borrowing OutputBuffer,
        into head: inout HeaderBlock
    ) {
        writeOriginalAuthority(exchange, destination, as: .authority, into: &head)
        introduce(exchange, caller, into: &head)
    }

    /// `caller` is its introduction; empty for nobody.
    private func introduce(
        _ exchange: borrowing Exchange, _ caller: borrowing OutputBuffer, into head: inout HeaderBlock
    ) {
        if case .source = exchange.reporter { return }
        if !caller.isEmpty { head.append(.xForwardedClientCert, caller) }
    }

    /// What the app wrote, from whoever may say it; the mesh name otherwise.
    private func writeOriginalAuthority(
        _ exchange: borrowing Exchange, _ destination: Destination, as name: HeaderName, into head: inout HeaderBlock
    ) {
        let written = exchange.head.value(of: .authority)
        if case .source = exchange.reporter {
            head.append(name, written)
            return
        }
        switch exchange.spelling(of: destination) {
        // Plaintext, or a foreign peer's spelling of the SNI.
        case .name(let start, let count):
            head.append(name, written.extracting(Int(start)..<Int(start) + Int(count)))
        case .other, .unknown: head.append(name, written)
        case .ours:
            let told = exchange.head.value(of: .meshfedAuthority)
            // At a gateway only a peer that brought an assertion is one of our proxies.
            let isBelieved = !isGateway || exchange.forwardsOrigin || exchange.isProbe
            if isBelieved, told.count > 0, HostAuthority(told) != nil {
                head.append(name, told)
            } else {
                head.append(name, destination.meshName)
            }
        }
    }
}

/// The last caller as apps are told, in Envoy's format; SPIFFE IDs hold none of the bytes that would need quotes.
struct CallerIntroduction: ~Copyable {
    private(set) var text = OutputBuffer()
    private var caller: SPIFFEID?

    /// The caller of `exchange`; nobody's is empty.
    mutating func become(_ exchange: borrowing Exchange, _ configuration: ProxyConfiguration) {
        if !SPIFFEID.isSameObject(caller, exchange.caller) { write(exchange.caller, configuration) }
    }

    /// The peer of a connection itself.
    mutating func become(_ inbound: borrowing Inbound, _ configuration: ProxyConfiguration) {
        if !SPIFFEID.isSameObject(caller, inbound.directCaller) { write(inbound.directCaller, configuration) }
    }

    private mutating func write(_ fresh: SPIFFEID?, _ configuration: ProxyConfiguration) {
        text.removeAll()
        caller = fresh
        guard let caller else { return }
        text.append(configuration.certificateIntroduction)
        text.append(caller.bytes)
    }

    /// The next one is written anew: who we are may have changed.
    mutating func forget() {
        text.removeAll()
        caller = nil
    }

}

/// `:authority` on a mesh leg against the SNI's service (PROTOCOLS section 4).
enum OwnAuthority {
    enum Spelling {
        case unknown
        /// As our proxies write it.
        case ours
        /// The mesh name, with or without port or label: where it stands.
        case name(start: UInt16, count: UInt16)
        case other
    }

    static func spelling(_ head: borrowing HeaderBlock, _ destination: Destination) -> Spelling {
        let written = head.value(of: .authority)
        let own = destination.authority
        if written.equals(own.span) { return .ours }
        guard let range = foreign(written, destination) else { return .other }
        return .name(start: UInt16(clamping: range.lowerBound), count: UInt16(clamping: range.count))
    }

    /// What a foreign peer wrote, without port and without one leading `<port>.` label; nil when it is not the SNI's mesh name.
    static func foreign(_ authority: Span<UInt8>, _ destination: Destination) -> Range<Int>? {
        let name = destination.meshName
        if authority.equals(name.span) { return 0..<name.count }
        guard let parsed = HostAuthority(authority), parsed.kind == .name else { return nil }
        var range = parsed.host
        let label = destination.serverName.count - name.count
        if range.count == destination.serverName.count {
            for index in 0..<label where authority[range.lowerBound + index] != destination.serverName[index] {
                return nil
            }
            range = (range.lowerBound + label)..<range.upperBound
        }
        guard range.count == name.count else { return nil }
        for index in 0..<name.count where authority[range.lowerBound + index].lowercased != name[index] { return nil }
        return range
    }

    /// Nil is good; another mesh name is `wrong_authority`, anything else `no_route`.
    static func check(_ head: borrowing HeaderBlock, _ spelling: Spelling, isOurs: Bool) -> Reason? {
        switch spelling {
        case .ours: return nil
        case .name: if !isOurs { return nil }
        case .other, .unknown: break
        }
        return isMeshName(head.value(of: .authority)) ? .wrongAuthority : .noRoute
    }

    private static func isMeshName(_ authority: Span<UInt8>) -> Bool {
        guard let parsed = HostAuthority(authority), parsed.kind == .name else { return false }
        var bytes: [UInt8] = []
        for index in parsed.host { bytes.append(authority[index].lowercased) }
        return MeshName(bytes) != nil || ServiceAddress(serverName: bytes) != nil
    }
}
