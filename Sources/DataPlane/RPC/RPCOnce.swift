internal import Wire

/// One call from a program that has no loop: the verbs of the command line.
package enum RPCOnce {
    /// Runs a loop of its own until the answer, an error or the deadline.
    package static func call(
        _ target: RPCTarget, security: RPCClientSecurity, path: String, message: [UInt8], deadline: Duration,
        limit: Int = 16_777_216
    ) -> Result<[UInt8], RPCEnd> {
        let loop: RPCLoop
        do throws(RPCSetupError) { loop = try RPCLoop() } catch {
            return .failure(RPCEnd(status: .unavailable, message: error.description))
        }
        let channel = loop.channel(target, security: security)
        var outcome = Result<[UInt8], RPCEnd>.failure(
            RPCEnd(status: .unavailable, message: "the loop ended before the answer"))
        channel.unary(path, message, deadline: deadline, limit: limit) { result in
            outcome = result
            loop.stop(grace: .zero)
        }
        loop.run()
        return outcome
    }
}
