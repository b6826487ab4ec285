import ArgumentParser

/// Where the broker is: every verb that asks one has these.
struct BrokerOption: ParsableArguments {
    /// Where packages put it.
    static let usualSocket = "/var/lib/meshfed/broker/admin.sock"

    @Option(
        help: ArgumentHelp(
            "The broker's admin socket, its state directory, or https://HOST:15012 (or MESHFED_BROKER).",
            valueName: "path|url"))
    var broker: String?
    @Option(help: "With https: an admin SVID (PEM chain).") var svid: String?
    @Option(help: "With https: its private key (PEM, mode 0600).") var key: String?
    @Option(help: "With https: the roots of the broker's trust domain (PEM).") var bundle: String?

    /// What the user named, or the usual place.
    var name: String {
        if let broker { return broker }
        if let named = Terminal.variable("MESHFED_BROKER"), !named.isEmpty { return named }
        return Self.usualSocket
    }
}
