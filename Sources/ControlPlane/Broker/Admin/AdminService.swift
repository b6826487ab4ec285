internal import ControlCoding
internal import ControlProtocol
internal import MeshModel
internal import RPC
internal import SwiftProtobuf
internal import Wire

/// The verbs of the command line, on the UNIX socket and on 15012. Each verb is a function in a file of its own theme; here is
/// who may call them, and how messages come in and go out.
final class AdminService {
    unowned let broker: Broker

    init(_ broker: Broker) { self.broker = broker }

    func install(on service: RPCService) {
        installTokens(service)
        installMembers(service)
        installObjects(service)
        installViews(service)
        service.stream("/meshfed.admin.v1.Admin/Check", limit: CodingLimits.frameBytes) { [unowned self] stream in
            check(stream)
        }
    }

    /// One verb: `body` gets the request and answers by calling what it is handed, once, now or later.
    func verb<Request: Message, Answer: Message>(
        _ service: RPCService, _ name: String, limit: Int = CodingLimits.frameBytes,
        _ body: @escaping (Request, @escaping (Result<Answer, CallRefusal>) -> Void) -> Void
    ) {
        service.unary("/meshfed.admin.v1.Admin/\(name)", limit: limit) { [unowned self] call in
            guard permits(call.peer) else {
                return call.fail(
                    .permissionDenied, "\(call.peer.description) may not administer this broker; use an admin's SVID")
            }
            let request: Request
            do throws(CodingError) {
                request = try MessageCoding.decode(Request.self, call.message, limit: limit)
            } catch {
                return call.fail(.invalidArgument, error.description)
            }
            body(request) { result in
                switch result {
                case .success(let answer): call.reply(MessageCoding.encode(answer))
                case .failure(let refusal): call.fail(refusal.status, refusal.text)
                }
            }
        }
    }

    /// A verb that only looks: at what is durable and was acted on, for the federation's state runs ahead of the disk.
    func view<Request: Message, Answer: Message>(
        _ service: RPCService, _ name: String, _ body: @escaping (Request) throws(CallRefusal) -> Answer
    ) {
        verb(service, name) {
            [unowned self] (request: Request, answer: @escaping (Result<Answer, CallRefusal>) -> Void) in
            broker.federation.whenDurable {
                let result: Result<Answer, CallRefusal>
                do throws(CallRefusal) { result = .success(try body(request)) } catch { result = .failure(error) }
                answer(result)
            }
        }
    }

    func permits(_ peer: RPCPeer) -> Bool {
        if broker.isAdministrator(peer) { return true }
        broker.counts.refusedCalls += 1
        broker.log.warning("admin call refused", ["peer": peer.description])
        return false
    }

    // MARK: Fields of requests

    static func label(_ text: String, _ what: String) throws(CallRefusal) -> Label {
        guard let label = Label(text) else {
            throw CallRefusal(.invalidArgument, "\(what) '\(shown(text))' is no name: a-z, 0-9 and '-', at most 63")
        }
        return label
    }

    static func cluster(_ text: String) throws(CallRefusal) -> ClusterID { ClusterID(try label(text, "cluster")) }

    static func shown(_ text: String) -> String {
        String(decoding: text.utf8.prefix(80).map { $0 < 0x20 || $0 == 0x7F ? 0x3F : $0 }, as: UTF8.self)
    }
}
