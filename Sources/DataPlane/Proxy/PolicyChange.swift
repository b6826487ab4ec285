internal import Containers
internal import Identity
internal import MeshModel
internal import Routing
internal import Telemetry

/// A new configuration reaches what is open, too: the owner's side ends calls and streams that its policy allows no more.
///
/// Only a policy's word ends them. A service that is gone from the catalog takes nothing new; what runs goes on, for the control
/// plane's gaps are no reason to cut.
extension Worker {
    mutating func reconsiderCalls(_ fresh: ProxyConfiguration) {
        for relay in relays.handles where relays.contains(relay) {
            guard isOwnersWord(relays[relay].reporter), !relays[relay].isProbe,
                isRefused(relays[relay].destination, relays[relay].caller, fresh)
            else { continue }
            switch relays[relay].phase {
            case .waiting: refuseRelay(relay, .notAllowed)
            case .open:
                relays[relay].reason = .notAllowed
                endRelay(relay, abort: true)
            }
        }
        for exchange in exchanges.handles where exchanges.contains(exchange) {
            guard isOwnersWord(exchanges[exchange].reporter), exchanges[exchange].phase != .answered,
                let destination = exchanges[exchange].destination,
                isRefused(destination, caller(of: exchange), fresh)
            else { continue }
            answer(exchange, .notAllowed, dispatched: exchanges[exchange].phase != .waiting)
        }
    }

    private func isOwnersWord(_ reporter: Reporter) -> Bool {
        switch reporter {
        case .destination, .ingress: true
        case .source, .egress: false
        }
    }

    /// Callers of plaintext are nobody, and were judged as that.
    private func isRefused(_ held: Destination, _ caller: SPIFFEID?, _ fresh: ProxyConfiguration) -> Bool {
        guard let caller, !held.isProbe, let current = fresh.table.current(held) else { return false }
        return !fresh.table.decide(current, caller: caller).isAllowed
    }
}
