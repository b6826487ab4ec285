internal import Containers
internal import MeshModel
internal import Reactor
internal import Wire

/// Who asked, and how the answer gets there.
enum Asker: Hashable, Sendable {
    /// The listener's index, and the address behind it.
    case datagram(Handle, SocketAddress)
    case stream(Handle)

    var isUDP: Bool {
        switch self {
        case .datagram: true
        case .stream: false
        }
    }
}

/// A question on its way to the machine's resolvers.
struct Forwarded: Sendable {
    /// One try of one resolver. A libc waits five seconds in all.
    static let patience = Duration.milliseconds(1_500)
    /// Each resolver twice at most.
    static let rounds = 2

    /// Who else asks the same may wait with the first: a resolver that asks us back gets no new question out of it.
    static let mostAskers = 256

    struct Waiting: Sendable {
        let asker: Asker
        let id: UInt16
    }

    /// The first one, and those that joined it.
    var waiting: [Waiting]
    let query: DNSQuery
    /// The query as it came; its identifier is replaced.
    let bytes: [UInt8]
    var isUDP: Bool { waiting[0].asker.isUDP }
    var tries = 0
    /// What a resolver said that others may know better: SERVFAIL, REFUSED.
    var lastAnswer: [UInt8] = []
}

/// One try: a socket that hears this resolver only, under an identifier of its own.
struct Errand: ~Copyable {
    enum Line: ~Copyable {
        case datagram(DatagramSocket)
        case stream(Socket)
    }

    let line: Line
    var job: Forwarded
    let id: UInt16
    var timer: TimerWheel.Timer
    /// Of a stream: what is still to be sent, and what came.
    var output: [UInt8]
    var input: [UInt8] = []

    var descriptor: Int32 {
        switch line {
        case .datagram(let socket): socket.descriptor
        case .stream(let socket): socket.descriptor
        }
    }

    /// Sends what is left, reads what came; a whole message once it is there.
    mutating func advance(_ room: inout [UInt8]) throws(SocketError) -> [UInt8]? {
        switch line {
        case .datagram(let socket):
            guard let received = try socket.receive(into: &room) else { return nil }
            return Array(room[..<received.count])
        case .stream(let socket):
            if !output.isEmpty {
                if let error = socket.finishConnect() { throw error }
                let waiting = output
                if case .done(let count) = try socket.write(waiting.span) { output.removeFirst(count) }
                return nil
            }
            guard let bytes = try socket.take(65_535) else { throw SocketError(code: 104, operation: "read") }
            input += bytes
        }
        guard input.count >= 2 else { return nil }
        let length = Int(input[0]) << 8 | Int(input[1])
        return input.count >= 2 + length ? Array(input[2..<(2 + length)]) : nil
    }
}

/// A TCP connection of an asker (RFC 7766).
struct StreamAsker: ~Copyable {
    static let patience = Duration.seconds(10)

    let socket: Socket
    var input: [UInt8] = []
    var output: [UInt8] = []
    var open = 0
    var timer: TimerWheel.Timer
    var isEnding = false
}

/// The loop of the names thread: sockets, timers, tries. What is said is `NameTable`'s matter.
struct NamesLoop: ~Copyable {
    private enum Kind: UInt8 { case letters = 1, datagrams, listener, asker, errand }

    /// Questions on their way; above it they are answered SERVFAIL.
    private static let errandLimit = 512
    private static let askerLimit = 256
    /// Questions of one connection that may be open at once.
    private static let pipeline = 32
    private static let longest = 65_535
    /// How old the view of the machine may be.
    private static let viewAge = Duration.seconds(2)

    private let service: NamesService
    private let resolverFile: String
    private var reactor: Reactor
    private var datagrams: Slab<DatagramSocket>
    private var listeners: Slab<ListenerSocket>
    private var askers: Slab<StreamAsker>
    private var errands: Slab<Errand>
    private var table: NameTable?
    private var view = SystemView()
    private var nextView = Instant.zero
    private var room = [UInt8](repeating: 0, count: NamesLoop.longest)
    private var isRunning = true
    /// False: another process answers at these sockets until this one knows the names.
    private var isHearing: Bool

    init(_ service: NamesService, resolverFile: String, waits: Bool) throws(SocketError) {
        isHearing = !waits
        let reactor = try Reactor()
        try reactor.watch(service.waker.descriptor, .readable, Token(kind: Kind.letters.rawValue, handle: .none))
        self.service = service
        self.resolverFile = resolverFile
        self.reactor = reactor
        datagrams = Slab(capacity: 16)
        listeners = Slab(capacity: 16)
        askers = Slab(capacity: Self.askerLimit)
        errands = Slab(capacity: Self.errandLimit)
    }

    mutating func serve(_ socket: consuming DatagramSocket) throws(SocketError) {
        let descriptor = socket.descriptor
        guard let handle = datagrams.insert(socket), isHearing else { return }
        try reactor.watch(descriptor, .readable, Token(kind: Kind.datagrams.rawValue, handle: handle))
    }

    mutating func serve(_ socket: consuming ListenerSocket) throws(SocketError) {
        let descriptor = socket.descriptor
        guard let handle = listeners.insert(socket), isHearing else { return }
        try reactor.watch(descriptor, .readable, Token(kind: Kind.listener.rawValue, handle: handle))
    }

    /// Begins with what was served before it knew any names.
    private mutating func hear() {
        guard !isHearing else { return }
        isHearing = true
        do throws(SocketError) {
            for handle in datagrams.handles {
                let token = Token(kind: Kind.datagrams.rawValue, handle: handle)
                try reactor.watch(datagrams[handle].descriptor, .readable, token)
            }
            for handle in listeners.handles {
                let token = Token(kind: Kind.listener.rawValue, handle: handle)
                try reactor.watch(listeners[handle].descriptor, .readable, token)
            }
        } catch {
            // As where the thread cannot start: questions get no answer.
            isRunning = false
        }
    }

    mutating func run() {
        while isRunning {
            reactor.turn()
            while let (token, _) = reactor.nextReady() {
                switch Kind(rawValue: token.kind) {
                case .letters: readLetters()
                case .datagrams: readDatagrams(token.handle)
                case .listener: accept(token.handle)
                case .asker: readAsker(token.handle)
                case .errand: readErrand(token.handle)
                case nil: break
                }
            }
            while let token = reactor.nextTimer() {
                switch Kind(rawValue: token.kind) {
                case .asker: askers.remove(token.handle)
                case .errand: errandFailed(token.handle)
                case .letters, .datagrams, .listener, nil: break
                }
            }
        }
    }

    private mutating func readLetters() {
        service.waker.drain()
        for letter in service.box.takeAll() {
            switch letter {
            case .table(let fresh):
                table = fresh
                hear()
            case .retire:
                // Datagrams that are answered yet leave by their sockets: they are not closed.
                for handle in datagrams.handles { reactor.forget(datagrams[handle].descriptor) }
                for handle in listeners.handles {
                    reactor.forget(listeners[handle].descriptor)
                    listeners.remove(handle)
                }
            case .stop: isRunning = false
            }
        }
    }

    // MARK: Questions

    private mutating func readDatagrams(_ handle: Handle) {
        for _ in 0..<64 {
            let received: (count: Int, from: SocketAddress?)?
            do throws(SocketError) { received = try datagrams[handle].receive(into: &room) } catch { continue }
            guard let received else { return }
            guard let from = received.from else { continue }
            ask(Array(room[..<received.count]), .datagram(handle, from))
        }
    }

    private mutating func accept(_ handle: Handle) {
        for _ in 0..<16 {
            guard let accepted = try? listeners[handle].accept() else { return }
            let timer = reactor.schedule(
                at: reactor.now + StreamAsker.patience, token: Token(kind: Kind.asker.rawValue, handle: .none))
            guard let asker = askers.insert(StreamAsker(socket: accepted.takeSocket(), timer: timer)) else { continue }
            prolong(asker)
            watchAsker(asker, isNew: true)
        }
    }

    private mutating func prolong(_ handle: Handle) {
        reactor.cancel(askers[handle].timer)
        askers[handle].timer = reactor.schedule(
            at: reactor.now + StreamAsker.patience, token: Token(kind: Kind.asker.rawValue, handle: handle))
    }

    private mutating func watchAsker(_ handle: Handle, isNew: Bool = false) {
        var interest: Interest = []
        if !askers[handle].isEnding, askers[handle].open < Self.pipeline { interest.insert(.readable) }
        if !askers[handle].output.isEmpty { interest.insert(.writable) }
        let token = Token(kind: Kind.asker.rawValue, handle: handle)
        do throws(SocketError) {
            if isNew {
                try reactor.watch(askers[handle].socket.descriptor, interest, token)
            } else {
                try reactor.change(askers[handle].socket.descriptor, interest, token)
            }
        } catch {
            dropAsker(handle)
        }
    }

    private mutating func dropAsker(_ handle: Handle) {
        guard askers.contains(handle) else { return }
        reactor.cancel(askers[handle].timer)
        askers.remove(handle)
    }

    private mutating func readAsker(_ handle: Handle) {
        guard askers.contains(handle) else { return }
        flushAsker(handle)
        guard askers.contains(handle) else { return }
        if !askers[handle].isEnding, askers[handle].open < Self.pipeline {
            do throws(SocketError) {
                guard let bytes = try askers[handle].socket.take(Self.longest) else {
                    askers[handle].isEnding = true
                    if askers[handle].open == 0, askers[handle].output.isEmpty { return dropAsker(handle) }
                    return watchAsker(handle)
                }
                askers[handle].input += bytes
            } catch {
                return dropAsker(handle)
            }
        }
        while askers.contains(handle), askers[handle].open < Self.pipeline, askers[handle].input.count >= 2 {
            let length = Int(askers[handle].input[0]) << 8 | Int(askers[handle].input[1])
            guard length >= DNSQuery.headerSize else { return dropAsker(handle) }
            guard askers[handle].input.count >= 2 + length else { break }
            let bytes = Array(askers[handle].input[2..<(2 + length)])
            askers[handle].input.removeFirst(2 + length)
            askers[handle].open += 1
            ask(bytes, .stream(handle))
        }
        if askers.contains(handle) { watchAsker(handle) }
    }

    private mutating func ask(_ bytes: [UInt8], _ asker: Asker) {
        let query: DNSQuery
        do throws(DNSFault) {
            query = try DNSQuery(bytes.span)
        } catch {
            switch error {
            case .silence: return answer(asker, [])
            case .code(let code, let id): return answer(asker, DNSAnswer.refusal(code, id: id))
            }
        }
        refreshView()
        let verdict =
            table?.judge(query, hasV4: view.hasV4, hasV6: view.hasV6) ?? NameTable.judgeWithoutTable(query)
        switch verdict {
        case .answer(let said): answer(asker, said.message(for: query, isUDP: asker.isUDP))
        case .forward:
            guard !view.resolvers.isEmpty, !isLoop(query) else { return fail(asker, query) }
            let waiting = Forwarded.Waiting(asker: asker, id: query.id)
            guard !joins(waiting, bytes) else { return }
            send(Forwarded(waiting: [waiting], query: query, bytes: bytes))
        }
    }

    private mutating func refreshView() {
        guard reactor.now >= nextView else { return }
        nextView = reactor.now + Self.viewAge
        view = SystemView(resolverFile: resolverFile)
    }

    /// Our own question came back to us: a resolver forwards to this sidecar.
    private func isLoop(_ query: DNSQuery) -> Bool {
        for handle in errands.handles
        where errands[handle].id == query.id && errands[handle].job.query.question == query.question {
            return true
        }
        return false
    }

    /// True when the same question is on its way already, but for its identifier.
    private mutating func joins(_ asker: Forwarded.Waiting, _ bytes: [UInt8]) -> Bool {
        for handle in errands.handles
        where errands[handle].job.bytes.count == bytes.count && errands[handle].job.isUDP == asker.asker.isUDP
            && errands[handle].job.bytes[2...] == bytes[2...]
        {
            if errands[handle].job.waiting.count < Forwarded.mostAskers {
                errands[handle].job.waiting.append(asker)
            } else {
                fail(asker.asker, errands[handle].job.query, id: asker.id)
            }
            return true
        }
        return false
    }

    private mutating func failAll(_ job: Forwarded) {
        for one in job.waiting { fail(one.asker, job.query, id: one.id) }
    }

    /// A resolver's answer, to each under the identifier that it asked with.
    private mutating func answerAll(_ job: Forwarded, _ message: [UInt8]) {
        var message = message
        for one in job.waiting {
            message[0] = UInt8(one.id >> 8)
            message[1] = UInt8(truncatingIfNeeded: one.id)
            answer(one.asker, message)
        }
    }

    private mutating func fail(_ asker: Asker, _ query: DNSQuery, id: UInt16) {
        var message = DNSAnswer(code: DNSCode.serverFailure).message(for: query, isUDP: asker.isUDP)
        message[0] = UInt8(id >> 8)
        message[1] = UInt8(truncatingIfNeeded: id)
        answer(asker, message)
    }

    private mutating func fail(_ asker: Asker, _ query: DNSQuery) {
        answer(asker, DNSAnswer(code: DNSCode.serverFailure).message(for: query, isUDP: asker.isUDP))
    }

    /// An empty message is none: only the count of open questions falls.
    private mutating func answer(_ asker: Asker, _ bytes: [UInt8]) {
        switch asker {
        case .datagram(let handle, let address):
            if !bytes.isEmpty, datagrams.contains(handle) { datagrams[handle].send(bytes, to: address) }
        case .stream(let handle):
            guard askers.contains(handle) else { return }
            askers[handle].open -= 1
            if bytes.isEmpty { return dropAsker(handle) }
            askers[handle].output += [
                UInt8(truncatingIfNeeded: bytes.count >> 8), UInt8(truncatingIfNeeded: bytes.count),
            ]
            askers[handle].output += bytes
            prolong(handle)
            flushAsker(handle)
            if askers.contains(handle) { watchAsker(handle) }
        }
    }

    private mutating func flushAsker(_ handle: Handle) {
        guard !askers[handle].output.isEmpty else { return }
        do throws(SocketError) {
            let waiting = askers[handle].output
            if case .done(let count) = try askers[handle].socket.write(waiting.span) {
                askers[handle].output.removeFirst(count)
            }
        } catch {
            return dropAsker(handle)
        }
        if askers[handle].isEnding, askers[handle].open == 0, askers[handle].output.isEmpty { dropAsker(handle) }
    }

    // MARK: Forwarding

    private mutating func send(_ job: Forwarded) {
        var job = job
        while job.tries < view.resolvers.count * Forwarded.rounds {
            let resolver = view.resolvers[job.tries % view.resolvers.count]
            job.tries += 1
            if dispatch(job, resolver) { return }
        }
        guard job.lastAnswer.isEmpty else { return answerAll(job, job.lastAnswer) }
        failAll(job)
    }

    /// False: this resolver cannot even be asked.
    private mutating func dispatch(_ job: Forwarded, _ resolver: SocketAddress) -> Bool {
        let id = UInt16.random(in: 0 ... .max)
        var bytes = job.bytes
        bytes[0] = UInt8(id >> 8)
        bytes[1] = UInt8(truncatingIfNeeded: id)
        do throws(SocketError) {
            let line: Errand.Line
            var output: [UInt8] = []
            if job.isUDP {
                let socket = try DatagramSocket.connect(to: resolver)
                guard socket.send(bytes) else { return false }
                line = .datagram(socket)
            } else {
                line = .stream(try Socket.connect(to: resolver))
                output = [UInt8(truncatingIfNeeded: bytes.count >> 8), UInt8(truncatingIfNeeded: bytes.count)] + bytes
            }
            let isStream = !output.isEmpty
            let errand = Errand(line: line, job: job, id: id, timer: .none, output: output)
            guard let handle = errands.insert(errand) else {
                failAll(job)
                return true
            }
            let token = Token(kind: Kind.errand.rawValue, handle: handle)
            errands[handle].timer = reactor.schedule(at: reactor.now + Forwarded.patience, token: token)
            try reactor.watch(errands[handle].descriptor, isStream ? .writable : .readable, token)
            return true
        } catch {
            return false
        }
    }

    private mutating func readErrand(_ handle: Handle) {
        guard errands.contains(handle) else { return }
        let wasSending = !errands[handle].output.isEmpty
        let message: [UInt8]
        do throws(SocketError) {
            let whole = try errands[handle].advance(&room)
            if wasSending, errands[handle].output.isEmpty {
                try reactor.change(
                    errands[handle].descriptor, .readable, Token(kind: Kind.errand.rawValue, handle: handle))
            }
            guard let whole else { return }
            message = whole
        } catch {
            return errandFailed(handle)
        }
        let query = errands[handle].job.query
        // Another identifier or question is somebody's guess: it is not heard, the true answer may still come.
        let id = errands[handle].id
        guard query.isAnswered(by: message.span, id: id) else { return }
        judgeAnswer(handle, message, query)
    }

    private mutating func judgeAnswer(_ handle: Handle, _ message: [UInt8], _ query: DNSQuery) {
        let addresses = DNSWalk.addresses(message.span, question: query.question.count)
        let code = message[3] & 0xF
        // Nobody out there gives the mesh's own addresses to a name of his; broken records are not passed on.
        guard let addresses, !addresses.contains(where: VirtualAddress.isVirtual) else { return errandFailed(handle) }
        if code == DNSCode.serverFailure || code == DNSCode.refused {
            errands[handle].job.lastAnswer = message
            return errandFailed(handle)
        }
        let job = errands[handle].job
        dropErrand(handle)
        answerAll(job, message)
    }

    private mutating func dropErrand(_ handle: Handle) {
        reactor.cancel(errands[handle].timer)
        errands.remove(handle)
    }

    /// The next resolver, or the end of it.
    private mutating func errandFailed(_ handle: Handle) {
        guard errands.contains(handle) else { return }
        let job = errands[handle].job
        dropErrand(handle)
        send(job)
    }
}
