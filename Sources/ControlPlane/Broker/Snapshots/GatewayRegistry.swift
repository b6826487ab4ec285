internal import MeshModel
internal import RPC
internal import Store

/// The cluster's own gateways, as they said it themselves in their Hello. One that is gone without a word stays for its
/// lease; one that drains is out at once.
final class GatewayRegistry {
    /// How long a gateway that was lost is still offered: a proxy comes back within a few seconds, and its listener serves
    /// all the time.
    private static let lease = Duration.seconds(15)
    /// After a start of the broker, the time that the gateways have to come back.
    private static let firstLease = Duration.seconds(30)

    private struct Entry {
        var address: GatewayAddress
        /// The feed stream that stands for it; nil while there is none.
        var subscriber: UInt64?
        /// Without a stream: when it is taken out.
        var end: Instant
    }

    private unowned let broker: Broker
    private var entries: [Label: Entry] = [:]

    /// `known` are those of the last run.
    init(_ broker: Broker, known: [GatewayAddress]) {
        self.broker = broker
        let end = broker.loop.now + Self.firstLease
        for gateway in known { entries[gateway.name] = Entry(address: gateway, subscriber: nil, end: end) }
    }

    /// All that count now, by name.
    var live: [GatewayAddress] { entries.values.map(\.address).sorted { $0.name < $1.name } }

    /// The newest stream under a name stands for it.
    func registered(_ address: GatewayAddress, subscriber: UInt64) {
        let isNew = entries[address.name]?.address != address
        entries[address.name] = Entry(address: address, subscriber: subscriber, end: .distantFuture)
        guard isNew else { return }
        broker.log.info("gateway registered", ["gateway": "\(address.name)", "address": Self.text(address)])
        save(address.name)
        broker.snapshots.compileSoon()
    }

    /// A stream ended; it may come back.
    func lost(_ name: Label, subscriber: UInt64) {
        guard entries[name]?.subscriber == subscriber else { return }
        entries[name]?.subscriber = nil
        entries[name]?.end = broker.loop.now + Self.lease
    }

    /// The gateway stops: no new work for it.
    func draining(_ name: Label, subscriber: UInt64) {
        guard entries[name]?.subscriber == subscriber else { return }
        remove(name, "it drains")
    }

    /// Takes out those whose lease ran out.
    func sweep() {
        for (name, entry) in entries where entry.subscriber == nil && entry.end <= broker.loop.now {
            remove(name, "its lease ran out")
        }
    }

    private func remove(_ name: Label, _ why: String) {
        entries[name] = nil
        broker.health.forget(name)
        broker.log.warning("gateway taken out", ["gateway": "\(name)", "reason": why])
        save(name)
        broker.snapshots.compileSoon()
    }

    private func save(_ name: Label) {
        let key = GatewayRow.key(name)
        let value = entries[name].map { GatewayRow.encode($0.address) }
        broker.desk.write { (transaction) throws(StoreError) in
            if let value {
                try transaction.put(key, value)
            } else {
                try transaction.delete(key)
            }
        } then: { [unowned broker] result in
            if case .failure(let error) = result { broker.storeFailed(error) }
        }
    }

    static func text(_ gateway: GatewayAddress) -> String {
        HostPort(host: gateway.address, port: gateway.port).description
    }
}
