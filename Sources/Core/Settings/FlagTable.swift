/// One flag, described once: the parser, the environment and `--help` all read this.
package struct FlagDescription: Hashable, Sendable {
    /// Without the dashes.
    package var name: String
    /// What stands for the value in the help; nil for a switch, which takes none.
    package var placeholder: String?
    /// Shown as the default; empty when there is none.
    package var fallback: String
    package var meaning: String
    /// A value as one would write it, for the help and for errors.
    package var example: String
    /// May be given several times; its variable takes values separated by commas.
    package var repeats: Bool

    package init(
        _ name: String, _ placeholder: String?, default fallback: String = "", repeats: Bool = false,
        example: String = "", _ meaning: String
    ) {
        self.name = name
        self.placeholder = placeholder
        self.fallback = fallback
        self.meaning = meaning
        self.example = example
        self.repeats = repeats
    }

    /// `MESHFED_LISTEN_INBOUND` of `listen-inbound`.
    package var variable: String {
        "MESHFED_"
            + String(
                decoding: name.utf8.map { byte in
                    byte == 0x2D ? 0x5F : byte >= 0x61 && byte <= 0x7A ? byte - 0x20 : byte
                }, as: UTF8.self)
    }
}

/// The flags of one command, and the help made of them.
package struct FlagTable: Sendable {
    package let program: String
    /// `gateway run`.
    package let command: String
    /// One line.
    package let purpose: String
    package let flags: [FlagDescription]
    /// Whole command lines.
    package let examples: [String]
    /// True where a lone `-` (the token on standard input) may stand.
    package let takesDash: Bool

    package init(
        program: String, command: String, purpose: String, flags: [FlagDescription], examples: [String],
        takesDash: Bool
    ) {
        self.program = program
        self.command = command
        self.purpose = purpose
        self.flags = flags
        self.examples = examples
        self.takesDash = takesDash
    }

    /// What `--help` prints, with a line end.
    package var help: String {
        var text = "\(program) \(command): \(purpose)\n\nUSAGE\n  \(program) \(command) [flags]"
        text += takesDash ? " [-]\n" : "\n"
        text += "\nFLAGS (each also by the variable named; a flag wins)\n"
        for flag in flags {
            let head = "--\(flag.name)" + (flag.placeholder.map { " \($0)" } ?? "")
            text += "  \(head)\(flag.repeats ? " …" : "")\n      \(flag.meaning)"
            var notes: [String] = []
            if !flag.fallback.isEmpty { notes.append("default \(flag.fallback)") }
            if !flag.example.isEmpty { notes.append("for example \(flag.example)") }
            notes.append(flag.variable)
            text += " (\(notes.joined(separator: "; ")))\n"
        }
        if takesDash { text += "  -\n      Reads the enrolment token from standard input.\n" }
        text += "\nEXAMPLES\n" + examples.map { "  \($0)\n" }.joined()
        return text
    }

    /// Divides `arguments` into the values of the flags and fills in the environment. Nothing is judged yet but the
    /// spelling. Nil when help was asked for.
    package func parse(_ arguments: [String], environment: (String) -> String?) throws(SettingsError) -> FlagValues? {
        var values = FlagValues(table: self)
        var index = 0
        while index < arguments.count {
            let argument = arguments[index]
            index += 1
            if argument == "--help" || argument == "-h" { return nil }
            if argument == "-", takesDash {
                guard !values.dash else { throw error("", "- stands there twice", "once") }
                values.dash = true
                continue
            }
            guard argument.hasPrefix("--") else {
                throw error("", "\(shown(argument)) is not expected here", "\(program) \(command) --help")
            }
            let parts = argument.dropFirst(2).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let name = String(parts.first ?? "")
            guard let flag = flags.first(where: { $0.name == name }) else {
                throw error(
                    "--\(name)", "is unknown", nearest(name).map { "--\($0)" } ?? "\(program) \(command) --help")
            }
            var value = parts.count == 2 ? String(parts[1]) : nil
            if flag.placeholder == nil {
                guard value == nil else { throw error("--\(name)", "takes no value", "--\(name) alone") }
                value = "true"
            } else if value == nil {
                guard index < arguments.count, !arguments[index].hasPrefix("--") else {
                    throw error("--\(name)", "needs a value", "--\(name) \(flag.example)")
                }
                value = arguments[index]
                index += 1
            }
            let held = values.given[name] ?? []
            guard flag.repeats || held.isEmpty else {
                throw error("--\(name)", "is given twice", "it once")
            }
            values.given[name] = held + [value ?? ""]
        }
        for flag in flags where values.given[flag.name] == nil {
            guard let text = environment(flag.variable), !text.isEmpty else { continue }
            values.variables.insert(flag.name)
            values.given[flag.name] = flag.repeats ? text.split(separator: ",").map(String.init) : [text]
        }
        return values
    }

    func error(_ key: String, _ what: String, _ advice: String) -> SettingsError {
        SettingsError(program: program, key: key, what: what, advice: advice)
    }

    /// A flag that differs by an end or a piece: enough to catch `--listn` and `--bundles`.
    private func nearest(_ name: String) -> String? {
        let close = flags.filter { flag in
            flag.name.hasPrefix(name) || name.hasPrefix(flag.name)
                || (flag.name.utf8.count > 3 && flag.name.utf8.prefix(4).elementsEqual(name.utf8.prefix(4)))
        }
        return name.isEmpty ? nil : close.first?.name
    }
}

/// Input in an error text: quoted, without control characters, cut.
func shown(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars.prefix(80) {
        result.unicodeScalars.append(scalar.value < 0x20 || scalar.value == 0x7F ? "?" : scalar)
    }
    return text.unicodeScalars.count > 80 ? "\"\(result)…\"" : "\"\(result)\""
}
