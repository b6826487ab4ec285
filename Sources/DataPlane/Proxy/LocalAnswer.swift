internal import Containers
internal import Downstream
internal import Link
internal import MeshModel
internal import Routing
internal import Wire

/// The one edge where reasons become HTTP and gRPC answers (PROTOCOLS section 11).
extension Worker {
    /// Answers in the next hop's stead.
    mutating func answer(_ exchange: Handle, _ reason: Reason, dispatched: Bool = false) {
        guard exchanges.contains(exchange) else { return }
        if case .probe(let target) = exchanges[exchange].route {
            finishProbe(exchange, target, isHealthy: false)
            return
        }
        guard exchanges[exchange].phase != .responding else {
            exchanges[exchange].reason = reason
            cutShort(exchange)
            return
        }
        detachUpstream(exchange, code: HTTP2Code.cancel)
        exchanges[exchange].phase = .answered
        exchanges[exchange].reason = reason
        dropKept(exchange)
        let handle = exchanges[exchange].downstream
        guard inbound.contains(handle) else {
            finish(exchange)
            return
        }
        let isGRPC = exchanges[exchange].isGRPC
        exchanges[exchange].status = UInt16(clamping: isGRPC ? 200 : reason.httpStatus)
        outgoing.removeAll()
        let stream = exchanges[exchange].stream
        if isGRPC {
            outgoing.append(.status, "200")
            outgoing.append(.contentType, "application/grpc")
            outgoing.append(.grpcStatus, number: reason.grpcStatus)
            outgoing.append(.grpcMessage, Array("meshfed: \(reason.rawValue)".utf8))
        } else {
            outgoing.append(.status, number: reason.httpStatus)
            outgoing.append(.contentType, "text/plain; charset=utf-8")
        }
        writeError(exchange, reason, dispatched || exchanges[exchange].wasDispatched)
        writeRetry(exchange, reason)
        let isHead = exchanges[exchange].head.says(.method, "HEAD")
        let body = Array("meshfed: \(reason.rawValue)\n".utf8)
        if !isGRPC { outgoing.append(.contentLength, number: body.count) }
        let endsNow = isGRPC || isHead
        inbound[handle].connection.link.session?.sendHead(stream, outgoing, .response, endStream: endsNow)
        if !endsNow {
            inbound[handle].connection.link.session?.sendData(stream, body.span, endStream: true)
            exchanges[exchange].sent &+= UInt64(body.count)
        }
        exchanges[exchange].responseEnded = true
        discardRest(exchange)
    }

    mutating func writeError(_ exchange: Handle, _ reason: Reason, _ dispatched: Bool) {
        text.removeAll()
        text.append(Array(reason.rawValue.utf8))
        text.append(dispatched ? "; dispatched=1" : "; dispatched=0")
        outgoing.append(.meshfedError, text)
        if exchanges[exchange].attempts > 1 { outgoing.append(.meshfedAttempts, number: exchanges[exchange].attempts) }
    }

    private mutating func writeRetry(_ exchange: Handle, _ reason: Reason) {
        if reason == .rateLimited, let decision = exchanges[exchange].limit,
            let destination = exchanges[exchange].destination, let configuration,
            destination.service >= 0, destination.service < configuration.table.limits.count,
            decision.rule < configuration.table.limits[destination.service].count
        {
            let binding = configuration.table.limits[destination.service][decision.rule]
            text.removeAll()
            decision.writeLimit(binding, into: &text)
            outgoing.append(.rateLimit, text)
            text.removeAll()
            decision.writePolicy(binding, into: &text)
            outgoing.append(.rateLimitPolicy, text)
            text.removeAll()
            decision.writeRetryAfter(into: &text)
            outgoing.append(.retryAfter, text)
        } else if reason.httpStatus == 503 {
            outgoing.append(.retryAfter, "1")
        }
    }

    /// 200: the probe came to where it was meant for.
    mutating func answerProbe(_ exchange: Handle) {
        let handle = exchanges[exchange].downstream
        guard inbound.contains(handle) else {
            finish(exchange)
            return
        }
        exchanges[exchange].phase = .answered
        exchanges[exchange].status = 200
        outgoing.removeAll()
        outgoing.append(.status, "200")
        outgoing.append(.contentLength, "0")
        outgoing.append(.meshfedProbe, "ok")
        inbound[handle].connection.link.session?.sendHead(
            exchanges[exchange].stream, outgoing, .response, endStream: true)
        exchanges[exchange].responseEnded = true
        discardRest(exchange)
    }

    /// A request that the parser understood and nobody serves: 405, 431, 501; or for which there is no place: 503.
    mutating func answerViolation(_ handle: Handle, _ stream: StreamID, _ status: Int) {
        let reason: Reason = status == 503 ? .overload : status.isTooLarge ? .tooLarge : .requestInvalid
        var isGRPC = false
        if let block = inbound[handle].connection.link.session?.takeHead(stream) {
            isGRPC = block.isGRPC
            inbound[handle].connection.link.session?.recycle(block)
        }
        outgoing.removeAll()
        if isGRPC {
            outgoing.append(.status, "200")
            outgoing.append(.contentType, "application/grpc")
            outgoing.append(.grpcStatus, number: reason.grpcStatus)
            outgoing.append(.grpcMessage, Array("meshfed: \(reason.rawValue)".utf8))
        } else {
            outgoing.append(.status, number: status)
            outgoing.append(.contentType, "text/plain; charset=utf-8")
        }
        text.removeAll()
        text.append(Array(reason.rawValue.utf8))
        text.append("; dispatched=0")
        outgoing.append(.meshfedError, text)
        if status == 503 { outgoing.append(.retryAfter, "1") }
        let body = Array("meshfed: \(reason.rawValue)\n".utf8)
        if !isGRPC { outgoing.append(.contentLength, number: body.count) }
        inbound[handle].connection.waitingSince = nil
        inbound[handle].connection.link.session?.sendHead(stream, outgoing, .response, endStream: isGRPC)
        if !isGRPC { inbound[handle].connection.link.session?.sendData(stream, body.span, endStream: true) }
        countRefusedRequest(handle, status, reason)
        markInbound(handle)
    }
}
