import ArgumentParser
import ControlProtocol

/// `meshfed check`.
struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Call the other clusters and every imported service for real, and look for what will break.",
        discussion: """
            Prints one line per result as it is known; exit 1 when something does not work.

            EXAMPLES
              meshfed check
              meshfed check -o json --timeout 2000
            """)

    @Option(help: "Milliseconds for one call.") var timeout: UInt32 = 5_000
    @OptionGroup var broker: BrokerOption
    @OptionGroup var output: OutputOption

    func validate() throws {
        if !(10...600_000).contains(timeout) { throw ValidationError("--timeout is from 10 to 600000 milliseconds") }
    }

    func run() throws {
        var request = AdminCheckRequest()
        request.timeoutMilliseconds = timeout
        var results: [AdminCheckResult] = []
        let isData = output.isData
        try AdminClient(broker).stream("Check", request, doing: "calling") { (result: AdminCheckResult) in
            results.append(result)
            if !isData { Terminal.out(Self.line(result)) }
        }
        let failed = results.count { $0.outcome != .ok && $0.outcome != .warning }
        let warnings = results.count { $0.outcome == .warning }
        if isData {
            output.print(
                .record([("success", .flag(failed == 0)), ("results", .list(results.map(Self.value)))])
            ) { _ in "" }
        } else if failed == 0 {
            Terminal.out("check: ok (\(results.count) results, \(warnings) warnings)\n")
        }
        if failed > 0 {
            throw CommandFailure("check: \(failed) of \(results.count) do not work; each line above says what to try")
        }
    }

    private static func line(_ result: AdminCheckResult) -> String {
        var line = word(result.outcome).padded(to: 8) + result.kind.padded(to: 15)
        line += result.destination.isEmpty ? result.source : "\(result.source) → \(result.destination)"
        if !result.subject.isEmpty { line += "  \(result.subject)" }
        if result.milliseconds > 0 { line += "  \(MemberWords.tenths(result.milliseconds)) ms" }
        if !result.gateway.isEmpty { line += " by \(result.gateway)" }
        if !result.reason.isEmpty { line += "  \(result.reason)" }
        if !result.detail.isEmpty { line += ": \(result.detail)" }
        return TextTable.plain(line) + "\n"
    }

    private static func value(_ result: AdminCheckResult) -> OutputValue {
        .record([
            ("kind", .text(result.kind)), ("source", .text(result.source)),
            ("destination", .optional(result.destination)), ("subject", .optional(result.subject)),
            ("outcome", .text(word(result.outcome).lowercased())), ("reason", .optional(result.reason)),
            ("detail", .optional(result.detail)), ("milliseconds", .decimal(result.milliseconds)),
            ("gateway", .optional(result.gateway)),
        ])
    }

    private static func word(_ outcome: AdminCheckResult.Outcome) -> String {
        switch outcome {
        case .ok: "ok"
        case .warning: "warning"
        case .failed: "FAILED"
        case .unspecified, .UNRECOGNIZED: "UNKNOWN"
        }
    }
}

extension String {
    fileprivate func padded(to width: Int) -> String {
        self + String(repeating: " ", count: max(1, width - unicodeScalars.count))
    }
}
