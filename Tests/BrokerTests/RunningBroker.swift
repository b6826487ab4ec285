import Broker
import ControlCoding
import ControlProtocol
import Foundation
import Identity
import MeshModel
import RPC
import Reactor
import Settings
import SwiftProtobuf
import Synchronization
import TLS
import Testing

struct TestFailure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// A folder for one test, gone with it.
final class TemporaryFolder: Sendable {
    let path: String

    init() throws {
        path = NSTemporaryDirectory() + "mfb-" + UUID().uuidString.prefix(8)
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func write(_ name: String, _ text: String) throws {
        try FileManager.default.createDirectory(atPath: "\(path)/config", withIntermediateDirectories: true)
        try text.write(toFile: "\(path)/config/\(name)", atomically: true, encoding: .utf8)
    }
}

/// A broker on loopback, on a thread of its own, as `meshfed broker run` runs it.
final class RunningBroker: Sendable {
    private struct State {
        var handle: BrokerHandle?
        var end: Result<Int32, BrokerFailure>?
    }
    private final class Progress: Sendable {
        let state = Mutex(State())
    }

    let cluster: ClusterID
    let folder: TemporaryFolder
    private let progress: Progress
    let handle: BrokerHandle

    /// Waits until it serves; throws what it failed with.
    init(_ name: String, folder: TemporaryFolder, withConfig: Bool = false) throws {
        let cluster = try #require(ClusterID(name))
        let any = try #require(ListenAddress("127.0.0.1:0"))
        let settings = BrokerSettings(
            cluster: cluster, trustDomain: try #require(TrustDomain("\(name).mesh")),
            stateDirectory: folder.path + "/state", configDirectory: withConfig ? folder.path + "/config" : nil,
            listenMTLS: any, listenJoin: any, listenHTTP: any, advertise: "127.0.0.1", logFormat: .text,
            grace: .milliseconds(200))
        let progress = Progress()
        try WorkerThread.start(name: "broker \(name)") {
            let end: Result<Int32, BrokerFailure>
            do throws(BrokerFailure) {
                end = .success(
                    try BrokerProgram.run(settings) { handle in progress.state.withLock { $0.handle = handle } })
            } catch {
                end = .failure(error)
            }
            progress.state.withLock { $0.end = end }
        }
        self.cluster = cluster
        self.folder = folder
        self.progress = progress
        handle = try Self.waitFor("the broker to serve") {
            try progress.state.withLock { state in
                if let end = state.end { _ = try end.get() }
                return state.handle
            }
        }
    }

    /// Stops it and waits for its end.
    func stop() throws {
        handle.stop()
        let progress = progress
        let end = try Self.waitFor("the broker to stop") { progress.state.withLock { $0.end } }
        #expect(try end.get() == 0)
    }

    /// Asks again and again until there is an answer; the time is generous, a slow machine is no failure.
    static func waitFor<Value>(_ what: String, _ body: () throws -> Value?) throws -> Value {
        for _ in 0..<3_000 {
            if let value = try body() { return value }
            usleep(10_000)
        }
        throw TestFailure("waited in vain for \(what)")
    }

    func address(_ purpose: String) throws -> SocketAddress {
        try #require(handle.listeners[purpose].flatMap { SocketAddress($0) })
    }

    // MARK: Calls

    /// One verb over the admin socket.
    func admin<Request: Message, Answer: Message>(
        _ verb: String, _ request: Request, _: Answer.Type = Answer.self
    ) throws -> Answer {
        let path = try #require(handle.listeners["socket"])
        let bytes = try RPCOnce.call(
            .unix(path: path), security: .plain, path: "/meshfed.admin.v1.Admin/\(verb)",
            message: MessageCoding.encode(request), deadline: .seconds(20)
        ).get()
        return try MessageCoding.decode(Answer.self, bytes, limit: CodingLimits.adminBytes)
    }

    func status() throws -> AdminStatusResponse { try admin("Status", AdminStatusRequest()) }

    func token(_ change: (inout AdminCreateTokenRequest) -> Void) throws -> JoinToken {
        var request = AdminCreateTokenRequest()
        change(&request)
        let answer: AdminCreateTokenResponse = try admin("CreateToken", request)
        return try JoinToken(text: answer.token)
    }

    func apply(_ objects: String..., dryRun: Bool = false) throws -> AdminApplyResponse {
        var request = AdminApplyRequest()
        request.objects = objects
        request.dryRun = dryRun
        return try admin("Apply", request)
    }

    func services() throws -> [AdminServiceEntry] {
        let answer: AdminListServicesResponse = try admin("ListServices", AdminListServicesRequest())
        return answer.services
    }

    func join(_ token: JoinToken, imports: [String] = [], plan: Bool = false) throws -> AdminJoinResponse {
        var request = AdminJoinRequest()
        request.token = token.text
        request.imports = imports
        request.plan = plan
        return try admin("Join", request)
    }

    /// A call on 8443 by whoever holds a token.
    func open(_ token: JoinToken, _ path: String, _ message: [UInt8]) throws -> Result<[UInt8], RPCEnd> {
        let context = try TLSContext.client(pin: token.pin, protocols: [.http2])
        return RPCOnce.call(
            .addresses([try address("join")]),
            security: .tls(context: { context }, serverName: "broker.test") { _ in true }, path: path, message: message,
            deadline: .seconds(20))
    }

    /// Enrols as a proxy does.
    func enrol(_ token: JoinToken) throws -> (svid: SVID, bundle: TrustBundle) {
        let key = try PrivateKey.generate()
        let request = try CertificateRequest.make(key: key)
        let message = IdentityCoding.encodeEnrolRequest(tokenSecret: token.secret, certificateRequest: request)
        let bytes = try open(token, "/meshfed.identity.v1.Enrolment/Enrol", message).get()
        let answer = try EnrolmentAnswer.decode(bytes)
        return (try SVID(chainDER: answer.chain, key: key), answer.bundle)
    }

    /// A client's context with an SVID of this cluster.
    func context(_ identity: (svid: SVID, bundle: TrustBundle)) throws -> TLSContext {
        try TLSContext.client(
            svid: identity.svid, trust: TrustStore([identity.bundle], generation: 1), protocols: [.http2])
    }

    /// A unary call on 15012.
    func mutual(_ context: TLSContext, _ path: String, _ message: [UInt8]) throws -> Result<[UInt8], RPCEnd> {
        RPCOnce.call(
            .addresses([try address("mtls")]),
            security: .tls(context: { context }, serverName: "broker.test") { _ in true }, path: path, message: message,
            deadline: .seconds(20))
    }
}

/// Objects as JSON.
enum Manifests {
    static func service(_ name: String, _ namespace: String = "shop", port: Int = 80) -> String {
        """
        {"apiVersion":"v1","kind":"Service","metadata":{"name":"\(name)","namespace":"\(namespace)"},
         "spec":{"selector":{"app":"\(name)"},"ports":[{"name":"http","port":\(port),"appProtocol":"http"}]}}
        """
    }

    static func export(_ name: String, _ namespace: String = "shop") -> String {
        """
        {"apiVersion":"multicluster.x-k8s.io/v1alpha1","kind":"ServiceExport",
         "metadata":{"name":"\(name)","namespace":"\(namespace)"}}
        """
    }

    static func workload(_ name: String, app: String, _ namespace: String = "shop", account: String = "web") -> String {
        """
        {"apiVersion":"meshfed.io/v1alpha1","kind":"Workload",
         "metadata":{"name":"\(name)","namespace":"\(namespace)","labels":{"app":"\(app)"}},
         "spec":{"address":"10.0.0.\(name.utf8.reduce(0) { ($0 + Int($1)) % 250 } + 1)","serviceAccount":"\(account)"}}
        """
    }
}
