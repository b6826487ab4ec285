internal import MeshModel
internal import Reactor
internal import RPC
package import Settings
internal import Store
internal import StoreSQLite

/// `meshfed broker run`.
package enum BrokerProgram {
    /// Runs the broker until a signal ends it; the exit status. Signals must be blocked before (`Signals.block()`).
    ///
    /// Prints one line `broker: ready on …` on standard error when it serves; all else there is its log.
    /// - Parameter started: called once when it serves, on the thread that runs it.
    /// - Throws: `BrokerFailure` when it cannot start, or had to stop because its store failed.
    package static func run(
        _ settings: BrokerSettings, started: @escaping (BrokerHandle) -> Void = { _ in }
    ) throws(BrokerFailure) -> Int32 {
        Machine.raiseDescriptorLimit()
        let log = try BrokerLog(settings.logFormat)
        defer { log.close() }
        let loop: RPCLoop
        do throws(RPCSetupError) { loop = try RPCLoop() } catch { throw BrokerFailure(error) }
        let state = try BrokerState(settings, wall: WallTime(seconds: Machine.walltime))
        let broker = try Broker(settings, loop: loop, log: log, state: state)
        do throws(BrokerFailure) {
            try broker.start { [unowned broker] line in
                log.announce(line)
                started(BrokerHandle(broker))
            }
        } catch {
            broker.desk.close()
            throw error
        }
        loop.run()
        broker.desk.close()
        // Everything is in the log of the database: what a failed close leaves is read at the next start.
        try? state.store.close()
        if let reason = broker.stopReason { throw reason }
        return 0
    }
}

/// A running broker as other threads see it.
package final class BrokerHandle: Sendable {
    /// Bound addresses by purpose: `mtls`, `join`, `http`, `socket`.
    package let listeners: [String: String]
    private let inbox: RPCInbox
    private let bound: RPCBound<() -> Void>

    init(_ broker: Broker) {
        listeners = Dictionary(
            broker.listeners.map { ($0.purpose, $0.address) }, uniquingKeysWith: { first, _ in first })
        inbox = broker.loop.inbox
        bound = RPCBound { [weak broker] in broker?.stop() }
    }

    /// Stops it as SIGTERM does.
    package func stop() { inbox.post { [bound] in bound.value() } }
}
