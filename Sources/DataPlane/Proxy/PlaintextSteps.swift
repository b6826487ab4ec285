internal import Containers
internal import Downstream
internal import Identity
internal import MeshModel
internal import Reactor
internal import Routing
internal import Telemetry
internal import Wire

/// Plaintext that comes to the app: what is declared as a health probe, and what every service behind the port permits.
extension Worker {
    mutating func admitPlain(_ exchange: Handle, _ port: UInt16, _ configuration: ProxyConfiguration) -> Verdict {
        exchanges[exchange].reporter = .destination
        let served = configuration.table.behind(appPort: port)
        if isDeclaredProbe(exchange, port), let destination = served.first ?? configuration.table.outside {
            exchanges[exchange].destination = destination
            exchanges[exchange].route = .app(port: port)
            begin(exchange, destination, plan: .ingress, configuration)
            return .go
        }
        guard let destination = served.first, destination.port.appProtocol.isHTTP else { return .refuse(.noRoute) }
        exchanges[exchange].destination = destination
        let isAdmitted = isPermissive(served, configuration)
        countPlaintext(destination, isAdmitted: isAdmitted)
        guard isAdmitted else { return .refuse(.notAllowed) }
        exchanges[exchange].route = .app(port: port)
        begin(exchange, destination, plan: .ingress, configuration)
        return .go
    }

    /// Plaintext for the app. `isHTTP` says what it looks like; nil: the client waits for the server's first word.
    mutating func startPlaintext(_ handle: Handle, isHTTP: Bool?) {
        guard let arrival = takeArrival(handle), let configuration else { return }
        let port = arrival.original.port
        let peer = arrival.peer
        let socket = arrival.takeSocket()
        let served = configuration.table.behind(appPort: port)
        let isAdmitted = isPermissive(served, configuration)
        let speaksHTTP = served.first?.port.appProtocol.isHTTP ?? false
        let hasProbe = settings.probes.contains { $0.port == port }
        // Requests are judged one by one: for an HTTP port, and where only a declared path may pass.
        if isHTTP != false, speaksHTTP || (hasProbe && !isAdmitted) {
            _ = insertPlain(socket, peer: peer, entry: .inboundPlain(appPort: port), phase: .detect)
            return
        }
        if let first = served.first { countPlaintext(first, isAdmitted: isAdmitted) }
        guard isAdmitted, let destination = served.first ?? configuration.table.outside else {
            socket.resetOnClose()
            return
        }
        guard let handle = insertPlain(socket, peer: peer, entry: .inboundPlain(appPort: port), phase: .relay) else {
            return
        }
        let relay = makeRelay(
            handle, destination, framing: .raw, plan: .ingress, caller: nil, configuration, dispatches: false)
        guard let relay else { return }
        relays[relay].reporter = .destination
        relays[relay].route = .app(port: port)
        dispatchRelay(relay)
    }

    /// A port that several services stand for takes plaintext only when all of them do: nothing says which one is meant. One
    /// that none stands for follows the mesh's mode.
    private func isPermissive(_ served: [Destination], _ configuration: ProxyConfiguration) -> Bool {
        guard !served.isEmpty else { return configuration.table.snapshot.settings.mutualTLS == .permissive }
        return served.allSatisfy { admitsPlaintext($0, configuration) }
    }

    /// Plaintext has no caller: permissive services take it until an allow rule asks for one; a deny of anybody holds.
    private func admitsPlaintext(_ destination: Destination, _ configuration: ProxyConfiguration) -> Bool {
        let snapshot = configuration.table.snapshot
        guard destination.service >= 0 else { return false }
        let service = snapshot.services[destination.service]
        guard (service.mutualTLS ?? snapshot.settings.mutualTLS) == .permissive else { return false }
        var hasAllow = false
        var isAllowed = false
        for rule in service.authorization.rules where rule.ports.isEmpty || rule.ports.contains(destination.port.port) {
            let meansAnybody = rule.callers.contains(.any)
            switch rule.action {
            case .deny: if meansAnybody { return false }
            case .allow:
                hasAllow = true
                if meansAnybody { isAllowed = true }
            }
        }
        return isAllowed || !hasAllow
    }

    /// GET or HEAD of a path that the operator declared, the query aside.
    private func isDeclaredProbe(_ exchange: Handle, _ port: UInt16) -> Bool {
        guard !settings.probes.isEmpty else { return false }
        guard exchanges[exchange].head.says(.method, "GET") || exchanges[exchange].head.says(.method, "HEAD") else {
            return false
        }
        let path = exchanges[exchange].head.bytes(of: .path).prefix { $0 != 0x3F }
        return settings.probes.contains { $0.port == port && path.elementsEqual($0.path) }
    }

    private mutating func countPlaintext(_ destination: Destination, isAdmitted: Bool) {
        let service = labels?.labels(of: destination).service ?? .unknown
        metrics.count(.plaintext, service, metrics.intern(Array((isAdmitted ? "allowed" : "refused").utf8)))
        var index = plaintext.firstIndex { $0.service == destination.serviceID }
        if index == nil, plaintext.count < Self.plaintextServices {
            index = plaintext.count
            plaintext.append(PlaintextCount(service: destination.serviceID, last: reactor.wall))
        }
        guard let index else { return }
        if isAdmitted { plaintext[index].allowed &+= 1 } else { plaintext[index].refused &+= 1 }
        plaintext[index].last = reactor.wall
    }
}
