/// A flag or variable that cannot be used: one line with what, where and what to try.
package struct SettingsError: Error, Hashable, Sendable, CustomStringConvertible {
    /// EX_USAGE of sysexits.h, which every usage error exits with.
    package static let exitStatus: Int32 = 64

    /// `meshfed-proxy` or `meshfed`.
    package var program: String
    /// The flag or the variable as it was given: `--listen`, `MESHFED_LISTEN`; empty for the command itself.
    package var key: String
    package var what: String
    /// What to try.
    package var advice: String

    package init(program: String, key: String, what: String, advice: String) {
        self.program = program
        self.key = key
        self.what = what
        self.advice = advice
    }

    /// `meshfed-proxy: --listen: what; try …`.
    package var description: String {
        [program, key, what].filter { !$0.isEmpty }.joined(separator: ": ") + "; try \(advice)"
    }
}
