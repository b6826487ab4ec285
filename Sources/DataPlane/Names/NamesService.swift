internal import Containers
package import MeshModel
package import Reactor
internal import Wire

/// The sidecar's DNS: a thread of its own, so that a slow resolver never stands in the way of a byte.
package final class NamesService: Sendable {
    enum Letter: Sendable {
        case table(NameTable)
        case stop
    }

    let box = LetterBox<Letter>(limit: 1_024)
    let waker: Waker

    /// Binds every address by UDP and TCP and starts the thread; throws when one is taken.
    package init(_ addresses: [SocketAddress], resolverFile: String) throws(SocketError) {
        waker = try Waker()
        var datagrams: [Int32] = []
        var streams: [Int32] = []
        for address in addresses {
            let stream = try ListenerSocket.bind(address)
            let bound = stream.address ?? address
            datagrams.append(try DatagramSocket.bind(bound).release())
            streams.append(stream.release())
        }
        let (udp, tcp) = (datagrams, streams)
        try WorkerThread.start(name: "names") { [self] in
            do throws(SocketError) {
                var loop = try NamesLoop(self, resolverFile: resolverFile)
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

    package func stop() {
        _ = box.post(.stop)
        waker.wake()
    }
}
