import Foundation
import Glibc
import Identity
import MeshModel
import RPC
import SwiftProtobuf
import TLS
import Wire

/// How a call to the broker ended without an answer.
struct CallFailure: Error {
    /// True when the broker was never reached, or lost: nothing is known of what it did.
    let isLost: Bool
    let status: GRPCStatus
    let message: String

    /// True when the broker judged the request itself.
    var isRefusal: Bool { !isLost && (status == .invalidArgument || status == .failedPrecondition) }
}

/// Calls `meshfed.admin.v1.Admin` of one broker, over its UNIX socket or by mTLS with an admin SVID.
struct AdminClient {
    /// Silence after which a person is told what is waited for.
    private static let patience = Duration.seconds(2)
    /// As the broker's limit for one answer: a snapshot of thousands of services is some MiB.
    private static let answerLimit = 64 << 20

    private let name: String
    private let target: RPCTarget
    private let security: RPCClientSecurity

    init(_ option: BrokerOption) throws(CommandFailure) {
        name = option.name
        if name.hasPrefix("https://") {
            let text = String(name.dropFirst(8)).trimmingCharacters(in: ["/"])
            guard let place = HostPort(text) ?? HostPort("\(text):15012") else {
                throw CommandFailure(
                    "'\(name)' is no https://HOST:PORT; try https://broker.example:15012", kind: .usage)
            }
            target = .tcp(host: place.host, port: place.port)
            security = try Self.mutual(option, serverName: place.host)
            return
        }
        guard option.svid == nil, option.key == nil, option.bundle == nil else {
            throw CommandFailure("--svid, --key and --bundle go with https://HOST:15012; leave them out", kind: .usage)
        }
        guard !name.contains("://") else {
            throw CommandFailure("'\(name)' is neither a path nor https://HOST:15012", kind: .usage)
        }
        var path = name
        var isDirectory: ObjCBool = false
        // SAFETY: the flag is written during the call only.
        if unsafe FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory), isDirectory.boolValue {
            path += "/admin.sock"
        }
        target = .unix(path: try Self.short(path))
        security = .plain
    }

    /// One request, one answer; what goes wrong becomes the command's failure.
    func call<Request: Message, Answer: Message>(
        _ method: String, _ request: Request, seconds: Int = 30, doing: String? = nil
    ) throws(CommandFailure) -> Answer {
        do throws(CallFailure) { return try attempt(method, request, seconds: seconds, doing: doing) } catch {
            throw failure(error)
        }
    }

    /// As `call`, for those who look into the refusal.
    func attempt<Request: Message, Answer: Message>(
        _ method: String, _ request: Request, seconds: Int = 30, doing: String? = nil
    ) throws(CallFailure) -> Answer {
        var answer: [UInt8]?
        try run(doing) { loop, channel, end in
            guard let bytes: [UInt8] = try? request.serializedBytes() else { return end(nil) }
            channel.unary(
                Self.path(method), bytes, deadline: .seconds(seconds), limit: Self.answerLimit
            ) { result in
                switch result {
                case .success(let bytes):
                    answer = bytes
                    end(nil)
                case .failure(let failure): end(failure)
                }
            }
        }
        guard let answer, let message = try? Answer(serializedBytes: answer) else {
            throw CallFailure(
                isLost: false, status: .internalError,
                message: "its answer cannot be read; meshfed and the broker may be of different releases")
        }
        return message
    }

    /// One request, many answers, each handed over as it comes; returns at the end of the stream.
    func stream<Request: Message, Answer: Message>(
        _ method: String, _ request: Request, doing: String? = nil, each: @escaping (Answer) -> Void
    ) throws(CommandFailure) {
        do throws(CallFailure) {
            try run(doing) { loop, channel, end in
                let stream = channel.stream(Self.path(method), limit: Self.answerLimit)
                stream.onMessage = { bytes in
                    if let message = try? Answer(serializedBytes: bytes) { return each(message) }
                    stream.cancel()
                    end(RPCEnd(status: .internalError, message: "its answer cannot be read"))
                }
                stream.onEnd = { outcome in end(outcome.status == .ok ? nil : outcome) }
                guard let bytes: [UInt8] = try? request.serializedBytes(), stream.send(bytes) else { return }
                stream.finish()
            }
        } catch {
            throw failure(error)
        }
    }

    /// What the user reads.
    func failure(_ failure: CallFailure) -> CommandFailure {
        if failure.isLost {
            var reason = failure.message
            for words in ["cannot reach \(target): ", "connect to \(target): "] where reason.hasPrefix(words) {
                reason = String(reason.dropFirst(words.count))
            }
            return CommandFailure(
                "no broker at \(name): \(reason); start one with meshfed broker run, or name it by --broker")
        }
        let message = failure.message.isEmpty ? "\(failure.status)" : failure.message
        switch failure.status {
        case .unimplemented:
            return CommandFailure("the broker at \(name) does not know this: \(message); update it")
        case .permissionDenied, .unauthenticated:
            return CommandFailure("the broker at \(name) refuses you: \(message)")
        case .deadlineExceeded:
            return CommandFailure("the broker at \(name) gave no answer in time: \(message); look at its log")
        default: return CommandFailure(message)
        }
    }

    /// Runs a loop of its own until `end` is called.
    private func run(
        _ doing: String?, _ body: (RPCLoop, RPCChannel, _ end: @escaping (RPCEnd?) -> Void) -> Void
    ) throws(CallFailure) {
        let loop: RPCLoop
        do throws(RPCSetupError) { loop = try RPCLoop() } catch {
            throw CallFailure(isLost: true, status: .unavailable, message: "\(error)")
        }
        let channel = loop.channel(target, security: security)
        var failure: CallFailure?
        var isOver = false
        if Terminal.isWatched {
            let text = doing ?? "waiting for the broker at \(name)"
            _ = loop.after(Self.patience) { Terminal.note("\(text) …") }
        }
        body(loop, channel) { end in
            guard !isOver else { return }
            isOver = true
            if let end {
                failure = CallFailure(
                    isLost: end.status == .unavailable && !channel.isConnected, status: end.status, message: end.message
                )
            }
            loop.stop(grace: .zero)
        }
        if !isOver { loop.run() }
        if let failure { throw failure }
        guard isOver else {
            throw CallFailure(isLost: true, status: .unavailable, message: "the call was interrupted")
        }
    }

    private static func path(_ method: String) -> String { "/meshfed.admin.v1.Admin/\(method)" }

    private static func mutual(
        _ option: BrokerOption, serverName: String
    ) throws(CommandFailure) -> RPCClientSecurity {
        guard let svidFile = option.svid, let keyFile = option.key, let bundleFile = option.bundle else {
            throw CommandFailure("https:// needs an admin SVID: --svid PEM --key PEM --bundle PEM", kind: .usage)
        }
        let chain = try Files.read(svidFile, limit: PEM.maximumLength)
        let key = try Files.readSecret(keyFile, limit: PEM.maximumLength)
        let roots = try Files.read(bundleFile, limit: PEM.maximumLength)
        do {
            let svid = try SVID.load(pemChain: chain, keyPEM: key)
            let domain = svid.id.trustDomain
            let trust = try TrustStore(
                [TrustBundle(trustDomain: domain, roots: try PEM.certificates(roots))], generation: 1)
            let context = try TLSContext.client(svid: svid, trust: trust, protocols: [.http2])
            return .tls(
                context: { context }, serverName: serverName,
                accepts: { peer in
                    guard peer.id.trustDomain == domain, case .broker = peer.id.kind else { return false }
                    return true
                })
        } catch {
            throw CommandFailure(
                "\(svidFile), \(keyFile), \(bundleFile): \(error); give an admin's files", kind: .badFile)
        }
    }

    /// A path that fits into `sun_path` (108 bytes with its end): a long one is reached through its open directory.
    private static func short(_ path: String) throws(CommandFailure) -> String {
        guard path.utf8.count > 107 else { return path }
        let parent = (path as NSString).deletingLastPathComponent
        // SAFETY: the path is read during the call only. The descriptor stays open until the command ends.
        let folder = unsafe open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard folder >= 0 else { throw CommandFailure("no broker at \(path): no folder \(parent); check the path") }
        return "/proc/self/fd/\(folder)/\((path as NSString).lastPathComponent)"
    }
}
