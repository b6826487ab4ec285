internal import MeshModel
internal import Reactor
internal import RPC
package import Settings
internal import Store
internal import StoreSQLite

/// `meshfed broker run`.
package enum BrokerProgram {
    /// The release, told to peers and shown in `status`.
    package static let version = "0.1.0"

    /// Runs the broker until a signal ends it; the exit status. Signals must be blocked before (`Signals.block()`).
    ///
    /// Prints one line `broker: ready on …` on standard error when it serves; all else there is its log.
    /// - Throws: `BrokerFailure` when it cannot start, or had to stop because its store failed.
    package static func run(_ settings: BrokerSettings) throws(BrokerFailure) -> Int32 {
        Machine.raiseDescriptorLimit()
        let log = try BrokerLog(settings.logFormat)
        defer { log.close() }
        let loop: RPCLoop
        do throws(RPCSetupError) { loop = try RPCLoop() } catch { throw BrokerFailure(error) }
        let state = try BrokerState(settings, wall: WallTime(seconds: Machine.walltime))
        let broker = try Broker(settings, loop: loop, log: log, state: state)
        let ready: String
        do throws(BrokerFailure) { ready = try broker.start() } catch {
            broker.desk.close()
            throw error
        }
        log.announce(ready)
        loop.run()
        broker.desk.close()
        // Everything is in the log of the database: what a failed close leaves is read at the next start.
        try? state.store.close()
        if let reason = broker.stopReason { throw reason }
        return 0
    }
}
