import Identity

/// A token comes by standard input or by a file; an argument works too, but every user of the machine sees it in `ps`.
enum TokenInput {
    /// Reads and checks the token; the failure never repeats a byte of it.
    static func read(argument: String?, file: String?) throws(CommandFailure) -> JoinToken {
        let text: String
        let source: String
        switch (argument, file) {
        case (nil, nil):
            throw CommandFailure("no token; give --token-file FILE, or - for standard input", kind: .usage)
        case (.some, .some):
            throw CommandFailure("a token and --token-file; give one of them", kind: .usage)
        case (nil, .some(let path)):
            (text, source) = (String(decoding: try Files.read(path, limit: limit), as: UTF8.self), path)
        case (.some("-"), nil):
            (text, source) = (String(decoding: try Files.standardInput(limit: limit), as: UTF8.self), "standard input")
        case (.some(let argument), nil):
            Terminal.note(
                "meshfed: warning: everybody on this machine can read the token in `ps`; use - or --token-file")
            (text, source) = (argument, "the argument")
        }
        do throws(IdentityError) { return try JoinToken(text: text) } catch {
            throw CommandFailure("token of \(source): \(error)", kind: .badFile)
        }
    }

    /// The longest token and the white space around it.
    private static let limit = JoinToken.maximumLength + 1_024
}
