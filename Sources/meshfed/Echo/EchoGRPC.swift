import Containers
import Wire

/// grpc.health.v1.Health, by hand: two messages of one field each.
enum EchoGRPC {
    enum Answer {
        /// The request is not whole yet.
        case wait
        case fail(GRPCStatus, String)
        /// One framed message, then status 0.
        case reply([UInt8])
        /// One framed message; the stream stays open.
        case watch([UInt8])
    }

    private static let serving: UInt8 = 1
    private static let serviceUnknown: UInt8 = 3

    static func answer(_ exchange: EchoExchange, ended: Bool, name: String) -> Answer {
        let isWatch = exchange.path == "/grpc.health.v1.Health/Watch"
        guard isWatch || exchange.path == "/grpc.health.v1.Health/Check" else {
            return ended ? .fail(.unimplemented, "only grpc.health.v1.Health is served here") : .wait
        }
        let message: [UInt8]?
        do throws(GRPCFault) { message = try exchange.nextMessage() } catch {
            return .fail(error == .tooLarge ? .resourceExhausted : .internalError, "the request is no health check")
        }
        guard let message else { return ended ? .fail(.internalError, "the request has no message") : .wait }
        guard let service = service(message) else {
            return .fail(.invalidArgument, "the request is no HealthCheckRequest")
        }
        let isKnown = service.isEmpty || service == name || service == "grpc.health.v1.Health"
        if isWatch { return .watch(self.message(health: isKnown ? serving : serviceUnknown)) }
        return isKnown ? .reply(self.message(health: serving)) : .fail(.notFound, "no service of this name here")
    }

    /// HealthCheckResponse { status } with its gRPC prefix.
    static func message(health: UInt8) -> [UInt8] { [0, 0, 0, 0, 2, 0x08, health] }

    static func head(_ exchange: EchoExchange, _ identity: EchoIdentity) -> HeaderBlock {
        var head = HeaderBlock()
        head.append(.status, number: 200)
        head.append(.contentType, "application/grpc")
        head.append(name: "echo-name", value: identity.nameBytes.span)
        let caller = exchange.caller
        if !caller.isEmpty { head.append(name: "echo-caller", value: caller.span) }
        return head
    }

    static func trailers(_ status: GRPCStatus, _ message: String) -> HeaderBlock {
        var block = HeaderBlock()
        block.append(.grpcStatus, number: status.rawValue)
        if !message.isEmpty {
            var text = OutputBuffer()
            GRPCStatus.appendMessage(Array(message.utf8).span, to: &text)
            block.append(.grpcMessage, text.bytes)
        }
        return block
    }

    /// Field 1 of a HealthCheckRequest; empty where it is not set, nil for anything else.
    private static func service(_ message: [UInt8]) -> String? {
        guard let first = message.first else { return "" }
        guard first == 0x0A, message.count >= 2 else { return nil }
        // A name of up to 127 bytes: one byte of length.
        let count = Int(message[1])
        guard count < 0x80, message.count == 2 + count else { return nil }
        return String(decoding: message[2...], as: UTF8.self)
    }
}
