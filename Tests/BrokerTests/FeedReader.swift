import ControlCoding
import MeshModel
import RPC
import Reactor
import TLS
import Testing

/// A proxy's part in the feed, for tests: says Hello, hands each snapshot to the test, and sends its verdict.
final class FeedReader {
    /// What the test says to a snapshot.
    enum Verdict {
        case ack
        case refuse(String)
        /// Acks, and ends the stream.
        case last
    }

    private let loop: RPCLoop
    private let broker: RunningBroker
    private let context: TLSContext
    private(set) var end: RPCEnd?
    private(set) var links: [[LinkState]] = []

    init(_ broker: RunningBroker, _ context: TLSContext) throws {
        loop = try RPCLoop()
        self.broker = broker
        self.context = context
    }

    /// Returns at the verdict `last`, or when the broker ended the stream.
    func read(
        _ role: SubscriberHello.Role, before: [SubscriberFrame] = [], _ judge: @escaping (Snapshot) throws -> Verdict
    ) throws {
        let context = context
        let channel = loop.channel(
            .addresses([try broker.address("mtls")]),
            security: .tls(context: { context }, serverName: "broker.test") { _ in true })
        let stream = channel.stream("/meshfed.proxy.v1.Feed/Subscribe", limit: CodingLimits.snapshotFileBytes)
        var failure: (any Error)?
        stream.onMessage = { [self] bytes in
            do {
                switch try BrokerFrame.decode(bytes) {
                case .snapshot(let epoch, let revision, let content):
                    let verdict = try judge(try SnapshotCoding.decode(content))
                    var refused: String?
                    if case .refuse(let text) = verdict { refused = text }
                    stream.send(SubscriberFrame.ack(epoch: epoch, revision: revision, refused: refused).encode())
                    if case .last = verdict { stream.finish() }
                case .links(_, let states): links.append(states)
                case .keepalive(let counter): stream.send(SubscriberFrame.keepalive(counter: counter).encode())
                }
            } catch {
                failure = error
                stream.cancel()
            }
        }
        stream.onEnd = { [self] end in
            self.end = end
            loop.stop(grace: .milliseconds(100))
        }
        stream.send(
            SubscriberFrame.hello(
                SubscriberHello(role: role, version: "test", instance: [UInt8](repeating: 7, count: 16))
            ).encode())
        for frame in before { stream.send(frame.encode()) }
        loop.run()
        if let failure { throw failure }
    }
}
