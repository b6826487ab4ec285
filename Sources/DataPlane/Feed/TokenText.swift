internal import Glibc
package import Identity

/// Reads a join token from where it may come from: a file or standard input, never an argument.
package enum TokenText {
    /// - Parameter file: nil reads standard input to its end. Blocking: at start-up only.
    package static func read(file: String?) throws(FeedError) -> JoinToken {
        let name = file ?? "standard input"
        var handle: Int32 = STDIN_FILENO
        if let file {
            // SAFETY: the path lives for the call.
            handle = unsafe open(file, O_RDONLY | O_CLOEXEC)
            guard handle >= 0 else {
                // SAFETY: the text is copied before the next call.
                let reason = unsafe String(cString: strerror(errno))
                throw FeedError(.token, "the token file \(file) cannot be read: \(reason)")
            }
        }
        defer { if file != nil { close(handle) } }
        guard let bytes = FileBytes.readAll(handle, limit: JoinToken.maximumLength + 64), !bytes.isEmpty else {
            throw FeedError(.token, "no token in \(name)", "meshfed token create --out FILE writes one")
        }
        do throws(IdentityError) {
            return try JoinToken(text: String(decoding: bytes, as: UTF8.self))
        } catch { throw FeedError(.token, "\(name): \(error)") }
    }
}
