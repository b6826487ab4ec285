internal import Feed
internal import Reactor
internal import Settings

/// The words that two processes of one proxy exchange while one hands over to the other (decisions/0030).
///
/// Packets on a UNIX socket of the state directory: the new one says `greeting`; the old one sends one `listener` with the
/// descriptor for each bound socket and `end`; the new one sets itself up and says `ready`; the old one answers `yours` with the
/// lock of the state directory and drains. Until `ready` nothing has changed hands: a new process that fails, hangs or is of
/// another kind costs the old one nothing.
enum HandoverWords {
    /// Of this version of the exchange; another one is refused.
    static let greeting = "meshfed handover 1"
    static let listener = "listener "
    static let end = "end"
    static let ready = "ready"
    static let yours = "yours"
    static let refused = "refused "

    /// How long either side waits for the other's next word. Setting up takes well below a second; a machine under load more.
    static let patience = Duration.seconds(30)

    /// Where the running process listens for its successor; nil: nowhere.
    static func path(_ settings: ProxySettings) -> String? {
        if let path = settings.handover.path { return path }
        guard case .broker(let directory, _) = settings.source else { return nil }
        return "\(directory)/handover.sock"
    }
}

/// Bound sockets that the running process gave, by name; what nobody takes is closed.
package final class Inheritance {
    private var sockets: [String: [Int32]] = [:]

    package init() {}

    deinit { for descriptor in sockets.values.joined() { _ = ListenerSocket(adopting: descriptor) } }

    package func add(_ name: String, _ descriptor: Int32) { sockets[name, default: []].append(descriptor) }

    /// All sockets of that name; the caller owns them.
    package func take(_ name: String) -> [Int32] { sockets.removeValue(forKey: name) ?? [] }
}
