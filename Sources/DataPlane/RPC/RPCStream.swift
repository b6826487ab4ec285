internal import Containers
package import MeshModel
package import Wire

/// One gRPC call, seen from either side: messages both ways under backpressure, a deadline, an end.
///
/// Callbacks come from the loop's thread, never inside a verb. `onEnd` comes exactly once, whoever ended the call, and
/// after it nothing else does.
package final class RPCStream {
    enum Side { case server, client }

    /// What a call may have queued: above either, `send` refuses.
    package static let queueBytes = 16_777_216
    package static let queueMessages = 4_096
    /// How long a finished call waits for its peer to finish too.
    private static let linger = Duration.seconds(5)
    /// Looks at a queue that does not move, `linger` apart, before a finished call is given up.
    private static let patientLooks = 12
    /// A decoder that held a larger message gives its memory back.
    private static let keptMessage = 65_536

    /// Who is at the other end; on a client it is known once the call is sent.
    package private(set) var peer: RPCPeer
    package let path: String
    /// From `grpc-timeout`, or as the caller set it; nil: none.
    package private(set) var deadline: Instant?
    /// A whole message.
    package var onMessage: (([UInt8]) -> Void)?
    /// The peer sends no more messages; ours still reach it.
    package var onHalfClose: (() -> Void)?
    /// The end: of a client's call as the trailers said it, of a server's as `finish` or the peer did.
    package var onEnd: ((RPCEnd) -> Void)?
    /// `send` refused a message, and now there is room.
    package var onWritable: (() -> Void)?
    /// True: messages wait, and the peer soon cannot send more. For short waits: it holds up to 256 KiB of the
    /// connection's window.
    package var isPaused = false {
        didSet { if oldValue, !isPaused { loop.soon { [self] in deliver() } } }
    }

    var decoder: GRPCFrameDecoder
    /// How the call will end, as far as it is known already.
    private(set) var knownEnd: RPCEnd?
    private let loop: RPCLoop
    private let side: Side
    private let limit: Int
    private var connection: RPCConnection?
    private var id: StreamID = 0
    /// A client's messages before the connection is there.
    private var early: [[UInt8]] = []
    private var earlyBytes = 0
    private var headSent = false
    private var sendEnded = false
    private var peerEnded = false
    private var isOver = false
    private var endToTell: RPCEnd?
    /// Offsets in what was ever queued at which the messages that wait end.
    private var ends = Ring<Int>(limit: RPCStream.queueMessages)
    private var queuedEver = 0
    private var wantsRoom = false
    /// Received bytes that the peer has no credit for yet, and those of an incomplete message.
    private var owed = 0
    private var held = 0
    private var timer = RPCTimer.none
    private var looks = 0
    private var lastQueued = 0

    init(loop: RPCLoop, side: Side, path: String, limit: Int, peer: RPCPeer) {
        self.loop = loop
        self.side = side
        self.path = path
        self.limit = limit
        self.peer = peer
        decoder = GRPCFrameDecoder(limit: limit)
    }

    /// True while messages can be sent.
    package var isOpen: Bool { !isOver && !sendEnded }

    /// Nothing more comes of it.
    var isDone: Bool { isOver }

    // MARK: Verbs

    /// Queues a message. False, and it is not queued, when the call is not open or its queue is full; then wait for
    /// `onWritable`, or cancel.
    @discardableResult
    package func send(_ bytes: [UInt8]) -> Bool {
        guard isOpen, bytes.count <= UInt32.max else { return false }
        guard let connection, let link = connection.link else {
            guard side == .client, early.count < Self.queueMessages, earlyBytes <= Self.queueBytes else {
                wantsRoom = side == .client
                return false
            }
            early.append(bytes)
            earlyBytes += bytes.count
            return true
        }
        forgetSent()
        guard !ends.isFull, link.conduit.session.queued(id) <= Self.queueBytes else {
            if !wantsRoom {
                wantsRoom = true
                connection.waiting.append(self)
            }
            return false
        }
        sendHead(link)
        link.conduit.session.sendData(id, GRPCText.prefix(bytes.count).span, endStream: false)
        if !bytes.isEmpty { link.conduit.session.sendData(id, bytes.span, endStream: false) }
        queuedEver += bytes.count + GRPCFrameDecoder.prefix
        ends.append(queuedEver)
        connection.mark()
        return true
    }

    /// Server: ends the call with a status, behind what is queued. Client: says that no more messages follow (any status
    /// but ok cancels the call instead).
    package func finish(_ status: GRPCStatus = .ok, _ message: String = "") {
        guard isOpen else { return }
        switch side {
        case .client:
            guard status == .ok else { return giveUp(RPCEnd(status: status, message: message)) }
            sendEnded = true
            guard let connection, let link = connection.link else { return }
            link.conduit.session.sendData(id, Span(), endStream: true)
            connection.mark()
        case .server:
            sendEnded = true
            knownEnd = RPCEnd(status: status, message: message)
            guard let connection, let link = connection.link else { return }
            var block = HeaderBlock()
            if !headSent {
                block.append(.status, number: 200)
                block.append(.contentType, "application/grpc")
            }
            block.append(.grpcStatus, number: status.rawValue)
            if !message.isEmpty { block.append(.grpcMessage, GRPCText.message(message)) }
            if headSent {
                link.conduit.session.sendTrailers(id, block)
            } else {
                headSent = true
                link.conduit.session.sendHead(id, block, .response, endStream: true)
            }
            connection.mark()
            awaitClose()
        }
    }

    /// Ends the call at once; the peer sees it as cancelled.
    package func cancel() {
        guard !isOver else { return }
        giveUp(RPCEnd(status: .cancelled, message: "cancelled"))
    }

    // MARK: For the connection

    func attach(_ connection: RPCConnection, _ id: StreamID) {
        self.connection = connection
        self.id = id
        peer = connection.peer
        guard side == .client else { return }
        headSent = true
        let messages = early
        early = []
        earlyBytes = 0
        let wasFinished = sendEnded
        sendEnded = false
        for message in messages where !send(message) {
            return giveUp(RPCEnd(status: .resourceExhausted, message: "too much was queued before the connection"))
        }
        if wasFinished { finish() }
        if wantsRoom { connection.waiting.append(self) }
    }

    func setDeadline(_ delay: Duration) {
        deadline = loop.now + delay
        loop.cancel(timer)
        timer = loop.after(delay) { [weak self] in self?.expire() }
    }

    /// Bytes were put into the decoder.
    func received(_ count: Int) {
        owed += count
        if isOver || knownEnd != nil { decoder = GRPCFrameDecoder(limit: limit) }
        deliver()
    }

    /// Hands out what is whole. Credit is given for what was read, unless the reader is paused.
    private func deliver() {
        var largest = 0
        while !isPaused, !isOver, knownEnd == nil || side == .client {
            do throws(GRPCFault) {
                guard try decoder.next() else { break }
            } catch { return fault(error) }
            let message = [UInt8](copying: decoder.message)
            largest = max(largest, message.count)
            onMessage?(message)
        }
        if decoder.waiting == 0, largest > Self.keptMessage { decoder = GRPCFrameDecoder(limit: limit) }
        if let connection {
            let waiting = decoder.waiting
            let mayHold = connection.hold(waiting - held)
            held = waiting
            if !mayHold, waiting > 0 {
                return fail(.resourceExhausted, "too many bytes of incomplete messages; try again later")
            }
            if !isPaused, owed > 0 {
                connection.link?.conduit.session.consume(id, owed)
                owed = 0
                connection.mark()
            }
        }
        guard !isPaused else { return }
        if peerEnded {
            peerEnded = false
            endOfMessages()
        }
        if let end = endToTell {
            endToTell = nil
            over(end)
        }
    }

    /// The peer's direction ended without trailers.
    func peerFinished() {
        guard !isOver else { return }
        peerEnded = true
        deliver()
    }

    private func endOfMessages() {
        do throws(GRPCFault) { try decoder.finish() } catch { return fault(error) }
        switch side {
        case .server: if !sendEnded { onHalfClose?() }
        case .client:
            leave()
            over(RPCEnd(status: .unknown, message: "the answer ended without a status"))
        }
    }

    /// Client: the trailers, or a head that is all of the answer.
    func answered(by block: borrowing HeaderBlock) {
        guard !isOver else { return }
        let end: RPCEnd
        if let status = GRPCStatus(block.value(of: .grpcStatus)) {
            end = RPCEnd(status: status, message: GRPCText.decoded(block.value(of: .grpcMessage)))
        } else if let http = block.value(of: .status).decimal, http != 200 {
            end = RPCEnd(status: GRPCStatus(httpStatus: http), message: "the answer is not gRPC (HTTP \(http))")
        } else {
            end = RPCEnd(status: .unknown, message: "the answer ended without a status")
        }
        leave()
        over(end)
    }

    /// Client: the answer is complete, so our half ends too.
    private func leave() {
        guard let connection, let link = connection.link else { return }
        if link.conduit.session.queued(id) > 0 {
            link.conduit.session.reset(id, code: HTTP2Code.cancel)
        } else if !sendEnded {
            link.conduit.session.sendData(id, Span(), endStream: true)
        }
        if owed > 0 { link.conduit.session.consume(id, owed) }
        owed = 0
        connection.mark()
        connection.useEnded(id)
    }

    /// Resets the stream and ends the call here.
    func giveUp(_ end: RPCEnd) {
        guard !isOver else { return }
        if let connection {
            connection.link?.conduit.session.reset(id, code: HTTP2Code.cancel)
            connection.mark()
            connection.useEnded(id)
        }
        isPaused = false
        over(end)
    }

    /// The call is over: tells it once, after the messages that a paused reader has not taken.
    func over(_ end: RPCEnd) {
        guard !isOver else { return }
        if isPaused, decoder.waiting > 0 {
            endToTell = end
            letGo()
            return
        }
        isOver = true
        sendEnded = true
        loop.cancel(timer)
        letGo()
        early = []
        let tell = onEnd
        onMessage = nil
        onHalfClose = nil
        onWritable = nil
        onEnd = nil
        decoder = GRPCFrameDecoder(limit: limit)
        // The handler may hold the stream unowned: it lives until it was told.
        if let tell { loop.soon { withExtendedLifetime(self) { tell(end) } } }
    }

    private func letGo() {
        _ = connection?.hold(-held)
        held = 0
        connection = nil
    }

    /// Room came back: true when the call waits no longer.
    func wake() -> Bool {
        guard wantsRoom, isOpen, let link = connection?.link else { return true }
        forgetSent()
        guard ends.count <= Self.queueMessages / 2, link.conduit.session.queued(id) <= Self.queueBytes / 2 else {
            return false
        }
        wantsRoom = false
        onWritable?()
        return true
    }

    // MARK: Inside

    private func sendHead(_ link: RPCLink) {
        guard !headSent else { return }
        headSent = true
        var head = HeaderBlock()
        head.append(.status, number: 200)
        head.append(.contentType, "application/grpc")
        link.conduit.session.sendHead(id, head, .response, endStream: false)
    }

    private func forgetSent() {
        guard let link = connection?.link else { return }
        let produced = queuedEver - link.conduit.session.queued(id)
        while let first = ends.first, first <= produced { _ = ends.popFirst() }
    }

    private func fault(_ fault: GRPCFault) {
        switch fault {
        case .compressed: fail(.internalError, "a compressed message, though no encoding was agreed on")
        case .tooLarge: fail(.resourceExhausted, "a message of more than \(limit) bytes")
        case .truncated: fail(.internalError, "the messages end inside one")
        }
    }

    private func fail(_ status: GRPCStatus, _ message: String) {
        if side == .server, isOpen {
            decoder = GRPCFrameDecoder(limit: limit)
            _ = connection?.hold(-held)
            held = 0
            if owed > 0 { connection?.link?.conduit.session.consume(id, owed) }
            owed = 0
            finish(status, message)
        } else {
            giveUp(RPCEnd(status: status, message: message))
        }
    }

    private func expire() {
        guard !isOver else { return }
        if side == .server, isOpen { return finish(.deadlineExceeded, "the deadline passed") }
        giveUp(RPCEnd(status: .deadlineExceeded, message: "the deadline passed"))
    }

    /// Server, finished: the peer gets the rest of the answer, but not for ever.
    private func awaitClose() {
        loop.cancel(timer)
        timer = loop.after(Self.linger) { [weak self] in
            guard let self, !self.isOver, let end = self.knownEnd, let link = self.connection?.link else { return }
            let queued = link.conduit.session.queued(self.id)
            self.looks = queued == self.lastQueued ? self.looks + 1 : 0
            self.lastQueued = queued
            guard queued > 0, self.looks < Self.patientLooks else { return self.giveUp(end) }
            self.awaitClose()
        }
    }
}
