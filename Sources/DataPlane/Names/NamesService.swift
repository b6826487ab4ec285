internal import Containers
package import MeshModel
package import Reactor
internal import Wire

/// The sidecar's DNS: a thread of its own, so that a slow resolver never stands in the way of a byte.
package final class NamesService: Sendable {
    enum Letter: Sendable {
        case table(NameTable)
        /// Another process hears the same sockets: no new questions.
        case retire
        case stop
    }

    let box = LetterBox<Letter>(limit: 1_024)
    let waker: Waker

    /// The bound sockets by name, for another process to take over.
    package let sockets: [(name: String, descriptor: Int32)]

    /// Binds every address by UDP and TCP, or takes the socket that `inherited` has of that name, and starts the thread; throws
    /// when one is taken.
    package init(
        _ addresses: [SocketAddress], resolverFile: String, inherited: (String) -> Int32? = { _ in nil }
    ) throws(SocketError) {
        waker = try Waker()
        var datagrams: [Int32] = []
        var streams: [Int32] = []
        var sockets: [(name: String, descriptor: Int32)] = []
        var isInherited = false
        for address in addresses {
            let (tcpName, udpName) = ("dns tcp \(address)", "dns udp \(address)")
            let stream: Int32
            var bound = address
            if let known = inherited(tcpName) {
                stream = known
            } else {
                let listener = try ListenerSocket.bind(address)
                bound = listener.address ?? address
                stream = listener.release()
            }
            let datagram: Int32
            if let known = inherited(udpName) {
                datagram = known
                isInherited = true
            } else {
                datagram = try DatagramSocket.bind(bound).release()
            }
            streams.append(stream)
            datagrams.append(datagram)
            sockets += [(tcpName, stream), (udpName, datagram)]
        }
        self.sockets = sockets
        let (udp, tcp, isSuccessor) = (datagrams, streams, isInherited)
        try WorkerThread.start(name: "names") { [self] in
            do throws(SocketError) {
                var loop = try NamesLoop(self, resolverFile: resolverFile, waits: isSuccessor)
                for descriptor in udp { try loop.serve(DatagramSocket(adopting: descriptor)) }
                for descriptor in tcp { try loop.serve(ListenerSocket(adopting: descriptor)) }
                loop.run()
            } catch {
                // The sockets close with the loop: questions get no answer, which a resolver reports as it is.
            }
        }
    }

    /// The names of a snapshot, from now on.
    package func adopt(_ snapshot: Snapshot, namespace: Label) {
        _ = box.post(.table(NameTable(snapshot, namespace: namespace)))
        waker.wake()
    }

    /// Answers what was asked and hears nothing new: the sockets are another process's.
    package func retire() {
        _ = box.post(.retire)
        waker.wake()
    }

    package func stop() {
        _ = box.post(.stop)
        waker.wake()
    }
}
