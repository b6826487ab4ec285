package import MeshModel
package import Wire

/// A unary call as the server sees it: one message in, one answer out, now or later, once.
package final class RPCCall {
    private let stream: RPCStream
    package let message: [UInt8]
    package let deadline: Instant

    init(_ stream: RPCStream, _ message: [UInt8]) {
        self.stream = stream
        self.message = message
        deadline = stream.deadline ?? .distantFuture
    }

    package var peer: RPCPeer { stream.peer }
    package var path: String { stream.path }
    /// The caller gave up, the deadline passed, or it is answered: what is still being made for it is of no use.
    package var isCancelled: Bool { !stream.isOpen }

    /// Answers; a second answer is ignored.
    package func reply(_ bytes: [UInt8]) {
        guard stream.isOpen else { return }
        stream.send(bytes)
        stream.finish(.ok)
    }

    /// Answers with an error: one line that says what, where and what to try.
    package func fail(_ status: GRPCStatus, _ message: String) { stream.finish(status, message) }
}
