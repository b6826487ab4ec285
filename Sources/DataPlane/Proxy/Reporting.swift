internal import Containers
internal import MeshModel
internal import Reactor
internal import Routing
internal import Telemetry
internal import Wire

/// Step 7: counters, histogram and one log line for each call, with the decision and its reason.
extension Worker {
    mutating func report(_ exchange: Handle) {
        let duration = reactor.now - exchanges[exchange].began
        let handle = exchanges[exchange].downstream
        knowCaller(of: exchange, handle)
        let isKnown = inbound.contains(handle)
        let security: ConnectionSecurity =
            isKnown && inbound[handle].peer != nil ? .mutualTLS : .none
        let named = labels?.labels(of: exchanges[exchange].place)
        if exchanges[exchange].status == 0, exchanges[exchange].reason == nil { exchanges[exchange].status = 499 }
        let reason = exchanges[exchange].reason
        let isAborted = exchanges[exchange].status == 499
        let flag: ResponseFlag =
            reason.map { ResponseFlag($0) } ?? (isAborted ? .downstreamConnectionTermination : .none)
        let member = exchanges[exchange].destinationMember
        let cluster = member >= 0 ? labels?.cluster(ofMember: member) : labels?.ownCluster
        let key = RequestMetricKey(
            reporter: exchanges[exchange].reporter, requestProtocol: exchanges[exchange].isGRPC ? .grpc : .http,
            security: exchanges[exchange].isOfSource ? .mutualTLS : security,
            sourcePrincipal: isKnown && exchanges[exchange].hasCaller ? inbound[handle].callerLabel : .unknown,
            sourceCluster: isKnown && inbound[handle].peer != nil
                ? inbound[handle].sourceCluster : labels?.ownCluster ?? .unknown,
            destinationService: named?.service ?? .unknown, destinationNamespace: named?.namespace ?? .unknown,
            destinationCluster: cluster ?? .unknown, responseCode: exchanges[exchange].status, flag: flag,
            reason: reason)
        metrics.requestFinished(key, after: duration)
        guard configuration?.table.snapshot.settings.accessLog == true, settings.logSink != nil else { return }
        writeLine(exchange, handle, duration, flag)
    }

    private mutating func writeLine(_ exchange: Handle, _ handle: Handle, _ duration: Duration, _ flag: ResponseFlag) {
        log.begin(at: reactor.wall, milliseconds: reactor.wallMilliseconds)
        log.field(.method, .method, of: exchanges[exchange].head)
        log.field(.path, .path, of: exchanges[exchange].head)
        log.field(.authority, .authority, of: exchanges[exchange].head)
        log.field(.requestProtocol, word: exchanges[exchange].isGRPC ? "grpc" : "http")
        log.field(.responseCode, UInt64(exchanges[exchange].status))
        log.field(.responseFlags, word: flag.word)
        if let reason = exchanges[exchange].reason { log.field(.reason, Array(reason.rawValue.utf8)) }
        writeCommon(exchange, handle)
        log.field(.durationMilliseconds, duration)
        log.field(.bytesReceived, exchanges[exchange].received)
        log.field(.bytesSent, exchanges[exchange].sent)
        log.field(.hops, .meshfedHops, of: exchanges[exchange].head)
        if exchanges[exchange].attempts > 1 { log.field(.attempts, UInt64(exchanges[exchange].attempts)) }
        log.field(
            .traceID, hexadecimal: exchanges[exchange].trace.traceHigh, exchanges[exchange].trace.traceLow)
        log.end()
    }

    /// Who calls what: written once for a connection, and again when it changes.
    private mutating func writeCommon(_ exchange: Handle, _ handle: Handle) {
        let isKnown = inbound.contains(handle)
        if isKnown, inbound[handle].common.hold(exchanges[exchange]) {
            return log.fields(inbound[handle].common.fields)
        }
        let position = log.position
        log.field(.reporter, word: word(exchanges[exchange].reporter))
        if let caller = caller(of: exchange) { log.field(.sourcePrincipal, caller.bytes) }
        if isKnown {
            log.field(.serverName, inbound[handle].serverName)
            log.field(.connectionSecurityPolicy, word: inbound[handle].peer == nil ? "none" : "mutual_tls")
        }
        if let destination = exchanges[exchange].destination {
            log.field(.destinationService, destination.meshName)
            log.field(.destinationServiceNamespace, destination.namespace)
        }
        writeCluster(exchanges[exchange].destinationMember)
        guard isKnown else { return }
        log.keep(from: position, in: &inbound[handle].common.fields)
        inbound[handle].common.become(exchanges[exchange])
    }

    private mutating func writeCluster(_ member: Int) {
        guard let snapshot = configuration?.table.snapshot else { return }
        if member < 0 {
            log.field(.destinationCluster, snapshot.cluster.bytes)
        } else if member < snapshot.members.count {
            log.field(.destinationCluster, snapshot.members[member].cluster.bytes)
        }
    }

    private func word(_ reporter: Reporter) -> StaticString {
        switch reporter {
        case .source: "source"
        case .destination: "destination"
        case .egress: "egress"
        case .ingress: "ingress"
        }
    }

    // MARK: TCP

    mutating func relayOpened(_ relay: Handle) {
        let series = metrics.series(relayKey(relay))
        relays[relay].series = series
        metrics.connectionOpened(series)
    }

    private func relayKey(_ relay: Handle) -> RequestMetricKey {
        let handle = relays[relay].downstream
        let isKnown = inbound.contains(handle)
        let named = labels?.labels(of: relays[relay].destination)
        let isPlain = relays[relay].outside != nil || (isKnown && inbound[handle].entry.isPlainInbound)
        let member = relays[relay].destinationMember
        let cluster = member >= 0 ? labels?.cluster(ofMember: member) : labels?.ownCluster
        return RequestMetricKey(
            reporter: relays[relay].reporter, requestProtocol: .tcp, security: isPlain ? .none : .mutualTLS,
            sourcePrincipal: isKnown ? inbound[handle].callerLabel : .unknown,
            sourceCluster: isKnown && inbound[handle].peer != nil
                ? inbound[handle].sourceCluster : labels?.ownCluster ?? .unknown,
            destinationService: named?.service ?? .unknown, destinationNamespace: named?.namespace ?? .unknown,
            destinationCluster: cluster ?? .unknown, flag: relays[relay].reason.map { ResponseFlag($0) } ?? .none,
            reason: relays[relay].reason)
    }

    mutating func reportRelay(_ relay: Handle) {
        if relays[relay].isProbe { return }
        if let series = relays[relay].series {
            metrics.relayed(series, received: relays[relay].received, sent: relays[relay].sent)
            metrics.connectionClosed(series)
        } else {
            let series = metrics.series(relayKey(relay))
            metrics.connectionOpened(series)
            metrics.connectionClosed(series)
        }
        guard configuration?.table.snapshot.settings.accessLog == true, settings.logSink != nil else { return }
        log.begin(at: reactor.wall, milliseconds: reactor.wallMilliseconds)
        log.field(.reporter, word: word(relays[relay].reporter))
        log.field(.requestProtocol, word: "tcp")
        let flag = relays[relay].reason.map { ResponseFlag($0) } ?? ResponseFlag.none
        log.field(.responseFlags, word: flag.word)
        if let reason = relays[relay].reason { log.field(.reason, Array(reason.rawValue.utf8)) }
        if let caller = relays[relay].caller { log.field(.sourcePrincipal, caller.bytes) }
        log.field(.destinationService, relays[relay].destination.meshName)
        log.field(.destinationServiceNamespace, relays[relay].destination.namespace)
        writeCluster(relays[relay].destinationMember)
        log.field(.durationMilliseconds, reactor.now - relays[relay].began)
        log.field(.bytesReceived, relays[relay].received)
        log.field(.bytesSent, relays[relay].sent)
        log.field(.hops, relays[relay].hops)
        log.field(.traceID, hexadecimal: relays[relay].trace.traceHigh, relays[relay].trace.traceLow)
        log.end()
    }

    // MARK: Events

    mutating func countFailover(_ destination: Destination, _ candidate: Candidate) {
        let service = labels?.labels(of: destination).service ?? .unknown
        var target = labels?.ownCluster ?? .unknown
        if case .remoteGateway(let member, _, _) = candidate.kind {
            target = labels?.cluster(ofMember: member) ?? .unknown
        }
        metrics.count(.failovers, service, labels?.ownCluster ?? .unknown, target)
    }

    mutating func countRetry(_ exchange: Handle, _ reason: Reason, _ budget: StaticString) {
        let service = labels?.labels(of: exchanges[exchange].place).service ?? .unknown
        metrics.count(
            .retries, service, metrics.intern(Array(reason.rawValue.utf8)), metrics.intern(Array("\(budget)".utf8)))
    }

    mutating func countEjection(_ exchange: Handle, _ why: StaticString) {
        let service = labels?.labels(of: exchanges[exchange].place).service ?? .unknown
        metrics.count(.ejections, service, metrics.intern(Array("\(why)".utf8)))
    }

    mutating func countRefusedRequest(_ handle: Handle, _ status: Int, _ reason: Reason) {
        let isMesh = inbound[handle].peer != nil
        let key = RequestMetricKey(
            reporter: settings.isGateway ? .ingress : isMesh ? .destination : .source, requestProtocol: .http,
            security: isMesh ? .mutualTLS : .none, responseCode: UInt16(clamping: status), flag: ResponseFlag(reason),
            reason: reason)
        metrics.requestFinished(key, after: .zero)
    }
}

extension AccessLog {
    /// Adds the value of a field of `block`, when there is one.
    mutating func field(_ key: LogKey, _ name: HeaderName, of block: borrowing HeaderBlock) {
        field(key, block.value(of: name))
    }
}
