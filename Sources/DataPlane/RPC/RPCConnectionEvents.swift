internal import Containers
internal import MeshModel
internal import Wire

/// What the session says: requests to the service, answers to the calls.
extension RPCConnection {
    /// Reads every event there is. `lostBecause`: the reason that calls cut short by now end with.
    func readEvents(lostBecause reason: String? = nil) {
        guard let link else { return }
        while self.link === link, let event = link.conduit.session.nextEvent() {
            switch event {
            case .head(let id, let kind, let endStream):
                let block = link.conduit.session.takeHead(id)
                sawHead()
                if isServer { request(id, block, endStream) } else { response(id, kind, block, endStream) }
                link.conduit.session.recycle(block)
            case .violation(let id, let status):
                link.conduit.session.recycle(link.conduit.session.takeHead(id))
                sawHead()
                refuse(id, status: status)
            case .data(let id, let offset, let count):
                data(id, offset, count)
            case .trailers(let id):
                let block = link.conduit.session.takeHead(id)
                switch uses[id] {
                case .call(let stream)?:
                    if isServer { stream.peerFinished() } else { stream.answered(by: block) }
                case .page(let call)?: call.bodyEnded()
                case nil: break
                }
                link.conduit.session.recycle(block)
            case .endStream(let id):
                switch uses[id] {
                case .call(let stream)?: stream.peerFinished()
                case .page(let call)?: call.bodyEnded()
                case nil: break
                }
            case .closed(let id, let error): closed(id, error, reason)
            case .writable: break
            case .goAway:
                if case .client(let channel) = part { channel.draining(self) }
            case .settings:
                noteSettings()
                if case .client(let channel) = part { channel.roomLeft() }
            case .pong: notePong()
            }
        }
    }

    private func data(_ id: StreamID, _ offset: Int, _ count: Int) {
        guard let link else { return }
        switch uses[id] {
        case .call(let stream)?:
            link.conduit.append(offset, count, to: &stream.decoder)
            stream.received(count)
        case .page(let call)?:
            link.conduit.session.consume(id, count)
            call.received(link.conduit.copy(offset, count))
        case nil: link.conduit.session.consume(id, count)
        }
    }

    private func closed(_ id: StreamID, _ error: HTTPStreamError, _ reason: String?) {
        guard let use = uses[id] else { return }
        useEnded(id)
        switch use {
        case .page(let call): call.over()
        case .call(let stream):
            let end: RPCEnd
            switch error {
            case .none: end = RPCEnd(status: .unknown, message: "the answer ended without a status")
            case .refused: end = RPCEnd(status: .unavailable, message: "the peer refused the call unprocessed")
            case .reset(HTTP2Code.cancel), .reset(HTTP2Code.none):
                end = RPCEnd(status: .cancelled, message: "the peer cancelled the call")
            case .reset(HTTP2Code.enhanceYourCalm):
                end = RPCEnd(status: .resourceExhausted, message: "the peer is overloaded")
            case .reset(let code): end = RPCEnd(status: .internalError, message: "the peer reset the call (\(code))")
            case .violation: end = RPCEnd(status: .internalError, message: "the peer broke the rules of HTTP")
            case .connection: end = RPCEnd(status: .unavailable, message: reason ?? lostText)
            }
            stream.over(stream.knownEnd ?? end)
        }
    }

    private var lostText: String {
        link?.conduit.session.failure.map { "the connection failed: \($0.reason)" } ?? "the connection was lost"
    }

    /// Ends every call that is left.
    func endUses(_ reason: String) {
        let left = uses
        uses = [:]
        for (_, use) in left {
            switch use {
            case .call(let stream):
                stream.over(stream.knownEnd ?? RPCEnd(status: .unavailable, message: reason))
            case .page(let call): call.over()
            }
        }
    }

    // MARK: Server

    private func request(_ id: StreamID, _ block: borrowing HeaderBlock, _ endStream: Bool) {
        guard case .server(let listener) = part else { return }
        let target = String(copying: block.value(of: .path))
        if isHTTP2, GRPCText.isGRPC(block.value(of: .contentType)) {
            call(id, target, block, endStream, listener.service)
        } else {
            page(id, target, block, endStream, listener.service)
        }
    }

    private func call(
        _ id: StreamID, _ path: String, _ block: borrowing HeaderBlock, _ endStream: Bool, _ service: RPCService
    ) {
        let method = service.method(path)
        let stream = RPCStream(
            loop: loop, side: .server, path: path, limit: method?.limit ?? 0, peer: peer)
        stream.attach(self, id)
        uses[id] = .call(stream)
        guard block.value(of: .method).equals("POST") else {
            return stream.finish(.unimplemented, "gRPC calls are POST")
        }
        guard let method else { return stream.finish(.unimplemented, "unknown method \(path)") }
        let encoding = block.value(of: .grpcEncoding)
        guard encoding.isEmpty || encoding.equals("identity") else {
            return stream.finish(.unimplemented, "compressed messages are not taken")
        }
        if let index = block.first(.grpcTimeout) {
            guard let nanoseconds = GRPCTimeout.nanoseconds(block.value(at: index)) else {
                return stream.finish(.internalError, "malformed grpc-timeout")
            }
            stream.setDeadline(.nanoseconds(nanoseconds))
        } else if method.isUnary {
            stream.setDeadline(limits.call)
        }
        method.start(stream)
        if endStream { stream.peerFinished() }
    }

    private func page(
        _ id: StreamID, _ target: String, _ block: borrowing HeaderBlock, _ endStream: Bool, _ service: RPCService
    ) {
        let call = HTTPCall(connection: self, id: id, target: target, block: block, limit: limits.httpBody)
        uses[id] = .page(call)
        call.start(service.page(call.method, call.path), within: limits.call)
        if endStream { call.bodyEnded() }
    }

    /// A request that the session itself refuses.
    private func refuse(_ id: StreamID, status: Int) {
        guard let link else { return }
        var head = HeaderBlock()
        head.append(.status, number: status)
        head.append(.contentLength, number: 0)
        link.conduit.session.sendHead(id, head, .response, endStream: true)
    }

    // MARK: Client

    private func response(
        _ id: StreamID, _ kind: HeadKind, _ block: borrowing HeaderBlock, _ endStream: Bool
    ) {
        guard case .call(let stream)? = uses[id] else { return }
        switch kind {
        case .interim, .request: return
        case .response: break
        }
        if endStream {
            stream.answered(by: block)
            return
        }
        let status = block.value(of: .status).decimal ?? 0
        if status != 200 || !GRPCText.isGRPC(block.value(of: .contentType)) {
            let code = status == 200 ? GRPCStatus.unknown : GRPCStatus(httpStatus: status)
            stream.giveUp(RPCEnd(status: code, message: "the answer is not gRPC (HTTP \(status))"))
            return
        }
        let encoding = block.value(of: .grpcEncoding)
        if !encoding.isEmpty, !encoding.equals("identity") {
            stream.giveUp(RPCEnd(status: .unimplemented, message: "the answer is compressed"))
        }
    }

    /// Sends the head of a call. False when the session takes no new stream now. Nothing is opened before the server's
    /// SETTINGS: it would refuse what is above its limit.
    func open(_ stream: RPCStream, authority: String) -> Bool {
        guard let link, isOpen, sawSettings, link.conduit.session.canOpenStream else { return false }
        var head = HeaderBlock()
        head.append(.method, "POST")
        head.append(.path, Array(stream.path.utf8))
        if isSecure { head.append(.scheme, "https") } else { head.append(.scheme, "http") }
        head.append(.authority, Array(authority.utf8))
        head.append(.te, "trailers")
        head.append(.contentType, "application/grpc")
        head.append(.userAgent, "meshfed")
        if let deadline = stream.deadline { head.append(.grpcTimeout, GRPCText.timeout(deadline - loop.now)) }
        do throws(HTTPFailure) {
            let id = try link.conduit.session.openStream(head, endStream: false)
            uses[id] = .call(stream)
            stream.attach(self, id)
        } catch { return false }
        mark()
        return true
    }
}
