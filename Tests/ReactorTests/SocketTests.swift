import Glibc
import Reactor
import Testing

@Suite struct SocketTests {
    @Test func acceptsAndNamesThePeer() throws {
        let watch = try Watch()
        for text in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let listener = try ListenerSocket.bind(#require(SocketAddress(text)))
            let place = try bound(listener)
            #expect(place.port != 0)
            let isEmpty = try listener.accept() == nil
            #expect(isEmpty)
            // A dual-stack listener takes IPv4, and the peer is an IPv4 peer.
            let target = text == "[::]:0" ? try #require(SocketAddress(ip: "127.0.0.1", port: place.port)) : place
            let socket = try Socket.connect(to: target)
            try watch.reactor.watch(listener.descriptor, .readable, token(1))
            #expect(watch.waits(for: token(1), .readable))
            guard let accepted = try listener.accept() else {
                Issue.record("nothing to accept on \(text)")
                continue
            }
            let own = socket.localAddress()
            let peer = accepted.peer
            #expect(peer != nil && peer == own)
            #expect(peer?.isIPv6 == target.isIPv6)
            let failure = socket.finishConnect()
            #expect(failure == nil)
            let taken = accepted.takeSocket()
            let local = taken.localAddress()
            #expect(local == target)
            let original = taken.originalDestination()
            #expect(original == nil || original == target, "nothing redirected it")
            watch.reactor.forget(listener.descriptor)
        }
    }

    @Test func aConnectToNobodyIsRefused() throws {
        let watch = try Watch()
        let address = try freeAddress()
        let socket: Socket
        do {
            socket = try Socket.connect(to: address)
        } catch {
            #expect(error.isRefused)
            return
        }
        try watch.reactor.watch(socket.descriptor, .writable, token(1))
        #expect(watch.turn { !$0.ready.isEmpty })
        let failure = socket.finishConnect()
        #expect(failure?.code == ECONNREFUSED)
        #expect(failure?.isRefused == true && failure?.isTimeout == false && failure?.isOwnExhaustion == false)
    }

    @Test func theProbeFindsAPortInUse() throws {
        let held = try ListenerSocket.bind(.loopback, reusePort: true)
        let address = try bound(held)
        #expect(code { () throws(SocketError) in try ListenerSocket.probe(address) } == EADDRINUSE)
        do throws(SocketError) {
            try ListenerSocket.probe(address)
        } catch {
            #expect(error.isAddressInUse)
            #expect(error.description.contains(address.description))
        }
        // Sockets of this process share the port all the same: one per worker.
        let second = try ListenerSocket.bind(address, reusePort: true)
        let shared = try bound(second)
        #expect(shared == address)
        #expect(code { () throws(SocketError) in try ListenerSocket.bind(address) } == EADDRINUSE)
    }

    @Test func theProbeLeavesTheAddressFree() throws {
        let address = try freeAddress()
        try ListenerSocket.probe(address)
        try ListenerSocket.probe(address)
        let held = try ListenerSocket.bind(address)
        let again = try bound(held)
        #expect(again == address)
    }

    @Test func anAddressOfAnotherMachineIsAnError() throws {
        let foreign = try #require(SocketAddress("192.0.2.1:0"))
        #expect(code { () throws(SocketError) in try ListenerSocket.bind(foreign) } == EADDRNOTAVAIL)
    }

    @Test func aListenerIsHandedOn() throws {
        let watch = try Watch()
        let first = try ListenerSocket.bind(.loopback)
        let address = try bound(first)
        let second = ListenerSocket(adopting: first.release())
        let shared = try bound(second)
        #expect(shared == address)
        let socket = try Socket.connect(to: address)
        try watch.reactor.watch(second.descriptor, .readable, token(1))
        #expect(watch.waits(for: token(1), .readable))
        let isThere = try second.accept() != nil
        #expect(isThere)
        let handed = Socket(adopting: socket.release())
        let isLoopback = handed.localAddress()?.isLoopback
        #expect(isLoopback == true)
    }

    @Test func writesUntilTheKernelIsFull() throws {
        let watch = try Watch()
        let pair = try Pair(watch)
        let block = [UInt8](repeating: 1, count: 65_536)
        var sent = 0
        while case .done(let count) = try pair.near.write(block) {
            sent += count
            guard sent < 1 << 28 else { break }
        }
        #expect(try pair.near.write(block) == .wouldBlock)
        try watch.reactor.watch(pair.near.descriptor, .writable, token(1))
        var got = 0
        while case .done(let count) = try pair.far.read(65_536).transfer { got += count }
        #expect(watch.waits(for: token(1), .writable))
        #expect(got <= sent)
        #expect(got > 0)
    }

    @Test func aWriteAfterAResetIsAnErrorAndNoSignal() throws {
        let watch = try Watch()
        let pair = try Pair(watch)
        pair.far.resetOnClose()
        let near = pair.closeFar()
        try watch.reactor.watch(near.descriptor, .readable, token(1))
        #expect(watch.turn { !$0.ready.isEmpty })
        #expect(code { () throws(SocketError) in try near.read() } == ECONNRESET)
        #expect(code { () throws(SocketError) in try near.write([1]) } == EPIPE)
    }

    @Test func unixSocketsKnowWhoIsThere() throws {
        let watch = try Watch()
        let path = freshPath("s")
        // SAFETY: the path is read during the call only.
        defer { _ = unsafe unlink(path) }
        let listener = try ListenerSocket.bind(unixPath: path)
        let hasAddress = listener.address != nil
        #expect(!hasAddress)
        var status = stat()
        #expect(unsafe stat(path, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o600)
        let socket = try Socket.connect(unixPath: path)
        try watch.reactor.watch(listener.descriptor, .readable, token(1))
        #expect(watch.waits(for: token(1), .readable))
        guard let accepted = try listener.accept() else {
            Issue.record("nothing to accept")
            return
        }
        let hasPeer = accepted.peer != nil
        #expect(!hasPeer)
        let far = accepted.takeSocket()
        let uids = [far.peerUID(), socket.peerUID()]
        #expect(uids == [getuid(), getuid()])
    }

    @Test func aUnixSocketInUseIsNotTakenAway() throws {
        let path = freshPath("s")
        defer { _ = unsafe unlink(path) }
        let listener = try ListenerSocket.bind(unixPath: path)
        #expect(code { () throws(SocketError) in try ListenerSocket.bind(unixPath: path) } == EADDRINUSE)
        #expect(code { () throws(SocketError) in try Socket.connect(unixPath: path) } == nil)
        _ = consume listener
    }

    @Test func whatADeadProcessLeftIsTheOwnersToRemove() throws {
        let path = freshPath("s")
        defer { _ = unsafe unlink(path) }
        _ = try ListenerSocket.bind(unixPath: path)
        #expect(code { () throws(SocketError) in try Socket.connect(unixPath: path) } == ECONNREFUSED)
        #expect(code { () throws(SocketError) in try ListenerSocket.bind(unixPath: path) } == EADDRINUSE)
        #expect(unsafe unlink(path) == 0)
        let next = try ListenerSocket.bind(unixPath: path)
        #expect(code { () throws(SocketError) in try Socket.connect(unixPath: path) } == nil)
        _ = consume next
    }

    @Test func aPathThatIsTooLongIsRefused() {
        let path = "/tmp/" + String(repeating: "x", count: 200)
        #expect(code { () throws(SocketError) in try ListenerSocket.bind(unixPath: path) } == ENAMETOOLONG)
        #expect(code { () throws(SocketError) in try Socket.connect(unixPath: path) } == ENAMETOOLONG)
    }

    @Test func errorsAreSorted() {
        func error(_ code: Int32) -> SocketError { SocketError(code: code, operation: "x") }
        for code in [ECONNREFUSED, ECONNRESET, EPIPE] { #expect(error(code).isRefused) }
        for code in [EMFILE, ENFILE, EADDRNOTAVAIL, ENOBUFS, ENOMEM] {
            #expect(error(code).isOwnExhaustion)
            #expect(!error(code).isRefused)
        }
        #expect(error(ETIMEDOUT).isTimeout)
        #expect(error(EADDRINUSE).isAddressInUse)
        #expect(error(ECONNREFUSED).description == "x: Connection refused")
        #expect(error(99_999).text == "error 99999")
    }

    @Test func packetsCarryDescriptors() throws {
        let path = "/tmp/meshfed-packets-\(getpid())-\(UInt32.random(in: 0 ... .max))"
        defer { _ = unsafe unlink(path) }
        let first = try PacketSocket.listen(path: path)
        // Whoever listens anew takes the place at once.
        let listener = try PacketSocket.listen(path: path)
        let near = try PacketSocket.connect(path: path, milliseconds: 1_000)
        let nobody = try first.accept() == nil
        #expect(nobody)
        guard let far = try listener.accept() else {
            Issue.record("nothing to accept")
            return
        }
        let uid = far.peerUID()
        #expect(uid == geteuid())
        do throws(SocketError) {
            _ = try far.receive()
            Issue.record("nothing was sent yet")
        } catch { #expect(error.code == EAGAIN) }
        let given = try ListenerSocket.bind(#require(SocketAddress("127.0.0.1:0")))
        let address = given.address
        let place = try #require(address)
        try near.send(Array("one".utf8), passing: given.descriptor)
        try near.send(Array("two".utf8))
        let came = try far.receive()
        let packet = try #require(came)
        #expect(packet.bytes == Array("one".utf8))
        let descriptor = try #require(packet.descriptor)
        #expect(ListenerSocket.address(of: descriptor) == place)
        let taken = ListenerSocket(adopting: descriptor)
        let socket = try Socket.connect(to: place)
        let own = socket.localAddress()
        #expect(own != nil)
        let isSame = taken.address == place
        #expect(isSame)
        let next = try far.receive()
        let second = try #require(next)
        #expect(second.bytes == Array("two".utf8) && second.descriptor == nil)
        func end(_ socket: consuming PacketSocket) {}
        end(near)
        let last = try far.receive()
        #expect(last == nil)
    }

    @Test func theMachineSaysWhatItGives() {
        #expect(Machine.residentMemory > 1 << 20)
        #expect(Machine.openDescriptors >= 3)
        Machine.trimMemory()
        if let limit = Machine.memoryLimit { #expect(limit > 0 && Machine.cgroupMemory < limit) }
    }
}
