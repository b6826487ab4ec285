internal import Authority
internal import RPC
internal import Store

/// Why a broker did not start, or had to stop.
package enum BrokerFailure: Error, Sendable, CustomStringConvertible {
    /// The state directory, its keys or its database may not be used; nothing was made.
    case state(String)
    /// The configuration is refused and none was accepted before: every problem, one line each.
    case configuration(String)
    /// A listener or the loop could not be set up.
    case setup(String)
    /// The store failed while running: what is on the disk is unknown until the next start.
    case store(String)

    package var description: String {
        switch self {
        case .state(let text), .configuration(let text), .setup(let text), .store(let text): text
        }
    }

    /// The process's exit status: 65 for a bad configuration (sysexits' EX_DATAERR), else 1.
    package var exitStatus: Int32 {
        switch self {
        case .configuration: 65
        case .state, .setup, .store: 1
        }
    }

    init(_ error: AuthorityError) { self = .state(error.description) }
    init(_ error: StoreError) { self = .state(error.description) }
    init(_ error: RPCSetupError) { self = .setup(error.description) }
}
