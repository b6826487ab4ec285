/// Why a command failed: one line that says what, where and what to try, and the exit status.
struct CommandFailure: Error {
    /// Exit statuses of PROTOCOLS section 10.
    enum Kind: Int32 {
        case failed = 1
        case usage = 64
        case badFile = 65
    }

    /// What is printed: `meshfed: …`, a line for each problem.
    let text: String
    let kind: Kind

    init(_ what: String, kind: Kind = .failed) {
        text = what.split(whereSeparator: \.isNewline).map { "meshfed: \($0)" }.joined(separator: "\n")
        self.kind = kind
    }
}
