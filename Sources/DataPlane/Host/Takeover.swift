internal import Glibc
internal import Reactor
internal import Settings

/// The new process's side: asks the running one for its listeners, and for the rest once it can serve.
///
/// It blocks: a process that takes over has nothing else to do yet.
final class Takeover {
    let inherited = Inheritance()
    private let socket: PacketSocket

    /// Nil when none is asked for, or nobody runs there: the process starts as usual. Throws where the running one refuses.
    init?(_ plan: HostPlan) throws(HostFailure) {
        guard plan.proxy.handover.takes, let path = HandoverWords.path(plan.proxy) else { return nil }
        let milliseconds = Int32(HandoverWords.patience.components.seconds * 1_000)
        do throws(SocketError) {
            socket = try PacketSocket.connect(path: path, milliseconds: milliseconds)
        } catch {
            guard error.code == ENOENT || error.code == ECONNREFUSED else {
                throw HostFailure("--takeover: \(error)")
            }
            return nil
        }
        // A running process that refuses has closed already, but its word can be read.
        try? socket.send(Array(HandoverWords.greeting.utf8))
        while true {
            let packet = try Self.next(socket)
            let text = String(decoding: packet.bytes, as: UTF8.self)
            if text == HandoverWords.end { return }
            guard text.hasPrefix(HandoverWords.listener), let descriptor = packet.descriptor else {
                throw Self.refusal(text)
            }
            inherited.add(String(text.dropFirst(HandoverWords.listener.count)), descriptor)
        }
    }

    /// Says that this process serves. Returns the lock of the state directory, where there is one; the other one drains now.
    func finish() throws(HostFailure) -> Int32? {
        do throws(SocketError) {
            try socket.send(Array(HandoverWords.ready.utf8))
        } catch {
            throw Self.lost("\(error)")
        }
        let packet = try Self.next(socket)
        let text = String(decoding: packet.bytes, as: UTF8.self)
        guard text == HandoverWords.yours else { throw Self.refusal(text) }
        return packet.descriptor
    }

    private static func next(_ socket: borrowing PacketSocket) throws(HostFailure) -> PacketSocket.Packet {
        do throws(SocketError) {
            if let packet = try socket.receive() { return packet }
        } catch {
            throw lost("\(error)")
        }
        throw lost("it ended")
    }

    private static func lost(_ why: String) -> HostFailure {
        HostFailure(
            "--takeover: the running process does not hand over: \(why); when it is gone, start without --takeover")
    }

    private static func refusal(_ text: String) -> HostFailure {
        guard text.hasPrefix(HandoverWords.refused) else { return lost("it said \"\(text.prefix(80))\"") }
        return HostFailure("--takeover: the running process refuses: \(text.dropFirst(HandoverWords.refused.count))")
    }
}
