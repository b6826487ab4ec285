internal import Glibc
internal import Reactor
internal import RPC

/// The running process's side: gives its listeners to the next one and, once that one serves, everything else.
final class HandoverPoint {
    /// What is given: every bound socket by name, and the lock of the state directory.
    struct Estate {
        let sockets: [(name: String, descriptor: Int32)]
        let lock: Int32?
    }

    /// One conversation.
    private final class Visit {
        let socket: PacketSocket
        var isGreeted = false
        var timer = RPCTimer.none

        init(_ socket: consuming PacketSocket) { self.socket = socket }
    }

    private let loop: RPCLoop
    private let listener: PacketSocket
    private let estate: () -> Estate
    private let onTaken: () -> Void
    private var visit: Visit?
    /// Those who were refused, until they have read it.
    private var guests: [Visit] = []
    private static let maximumGuests = 8
    private var isOpen = false

    /// Listens at `path`, in place of what a dead process left there. `onTaken` is called once, when the other one serves.
    init(
        loop: RPCLoop, path: String, estate: @escaping () -> Estate, onTaken: @escaping () -> Void
    ) throws(SocketError) {
        self.loop = loop
        self.estate = estate
        self.onTaken = onTaken
        listener = try PacketSocket.listen(path: path)
        do throws(RPCSetupError) {
            try loop.watch(descriptor: listener.descriptor) { [unowned self] in accept() }
        } catch {
            throw SocketError(code: EMFILE, operation: "watch \(path)")
        }
        isOpen = true
    }

    /// Speaks to nobody any more. The path is left: it may be the successor's already.
    func close() {
        guard isOpen else { return }
        isOpen = false
        loop.unwatch(descriptor: listener.descriptor)
        endVisit()
    }

    private func accept() {
        while isOpen, let socket = try? listener.accept() {
            let uid = socket.peerUID()
            guard uid == 0 || uid == geteuid() else { continue }
            guard visit == nil else {
                sendAway(Visit(socket))
                continue
            }
            let fresh = Visit(socket)
            do throws(RPCSetupError) {
                try loop.watch(descriptor: fresh.socket.descriptor) { [unowned self] in hear() }
            } catch {
                continue
            }
            visit = fresh
            fresh.timer = loop.after(HandoverWords.patience) { [weak self] in self?.endVisit() }
        }
    }

    /// Its greeting may come yet: closed over that, the socket would say "reset" and not why.
    private func sendAway(_ guest: Visit) {
        guard guests.count < Self.maximumGuests else { return }
        try? guest.socket.send(Array("\(HandoverWords.refused)another process is taking over".utf8))
        guests.append(guest)
        _ = loop.after(.seconds(1)) { [weak self] in self?.guests.removeFirst() }
    }

    private func hear() {
        guard let visit else { return }
        let packet: PacketSocket.Packet?
        do throws(SocketError) { packet = try visit.socket.receive() } catch {
            if error.code != EAGAIN { endVisit() }
            return
        }
        guard let packet else { return endVisit() }
        // Nothing is expected with a descriptor.
        if let descriptor = packet.descriptor { _ = Socket(adopting: descriptor) }
        do throws(SocketError) {
            switch String(decoding: packet.bytes, as: UTF8.self) {
            case HandoverWords.greeting where !visit.isGreeted: try greet(visit)
            case HandoverWords.ready where visit.isGreeted: try give(visit)
            case let text:
                try visit.socket.send(
                    Array("\(HandoverWords.refused)\"\(text.prefix(40))\" is of another version".utf8))
                endVisit()
            }
        } catch {
            endVisit()
        }
    }

    private func greet(_ visit: Visit) throws(SocketError) {
        visit.isGreeted = true
        for (name, descriptor) in estate().sockets {
            try visit.socket.send(Array("\(HandoverWords.listener)\(name)".utf8), passing: descriptor)
        }
        try visit.socket.send(Array(HandoverWords.end.utf8))
    }

    private func give(_ visit: Visit) throws(SocketError) {
        try visit.socket.send(Array(HandoverWords.yours.utf8), passing: estate().lock)
        endVisit()
        onTaken()
    }

    private func endVisit() {
        guard let visit else { return }
        loop.cancel(visit.timer)
        loop.unwatch(descriptor: visit.socket.descriptor)
        self.visit = nil
    }
}
