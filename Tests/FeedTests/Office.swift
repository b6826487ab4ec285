import ControlCoding
import Feed
import Glibc
import Identity
import MeshModel
import MeshTestKit
import RPC
import Reactor
import TLS
import Testing
import Wire

/// A broker as far as a proxy sees it: 8443 and 15012 on loopback, with real certificates.
final class Office {
    let loop: RPCLoop
    let mint: CertificateMint
    let folder: String
    let secret = [UInt8](repeating: 7, count: 32)
    private(set) var join = "127.0.0.1:1"
    private(set) var mtls = "127.0.0.1:1"
    /// Bytes of the keys that enrolments and renewals brought.
    private(set) var enrolKeys: [[UInt8]] = []
    private(set) var issued: [SPIFFEID] = []
    private(set) var renewals = 0
    private(set) var hellos: [SubscriberHello] = []
    private(set) var acks: [SubscriberFrame] = []
    private(set) var health: [[EndpointHealth]] = []
    private(set) var feeds: [RPCStream] = []
    private var spent = 0
    /// Enrolments that fail before one works.
    var failures = 0
    var failure = GRPCStatus.unavailable
    /// What the SVIDs of this office look like.
    var life: (begins: Int64, ends: Int64) = (-30, 86_400)
    var snapshot: Snapshot?
    let name = "spiffe://east.mesh/meshfed/gateway/g1"

    init(serverID: String = "meshfed/broker/b1") throws {
        loop = try RPCLoop()
        mint = try CertificateMint("east.mesh", now: loop.wall)
        folder = "/tmp/meshfed-feed-\(getpid())-\(UInt32.random(in: 0 ... .max))"
        let trust = try TrustStore([mint.bundle()], generation: 1)
        let svid = try svid("spiffe://east.mesh/\(serverID)", life: (-30, 86_400))
        let any = try #require(SocketAddress(ip: "127.0.0.1", port: 0))
        let open = try TLSContext.server(
            svid: svid, trust: trust, clientCertificate: .none, serverNames: .any, protocols: [.http2],
            sendsRoot: mint.certificate.der)
        let closed = try TLSContext.server(
            svid: svid, trust: trust, clientCertificate: .required, serverNames: .any, protocols: [.http2])
        let enrolment = RPCService()
        enrolment.unary("/meshfed.identity.v1.Enrolment/Enrol") { [unowned self] in enrol($0) }
        enrolment.unary("/meshfed.identity.v1.Enrolment/Renew") { [unowned self] in renew($0) }
        let inner = RPCService()
        inner.unary("/meshfed.identity.v1.Identity/Issue") { [unowned self] in issue($0) }
        inner.stream("/meshfed.proxy.v1.Feed/Subscribe") { [unowned self] in feed($0) }
        join = try #require(try loop.listen(.tcp(any), security: .tls { open }, service: enrolment)).description
        mtls = try #require(try loop.listen(.tcp(any), security: .tls { closed }, service: inner)).description
    }

    deinit {
        for file in ["key.pem", "svid.pem", "key.next.pem", "svid.next.pem", "snapshot.bin", "enrolment.json", "lock"] {
            // SAFETY (both calls): the path lives for the call.
            unsafe _ = unlink("\(folder)/\(file)")
        }
        unsafe _ = rmdir(folder)
    }

    // MARK: What a test uses

    func token(
        _ purpose: JoinToken.Purpose = .gateway, pin: [UInt8]? = nil, lasts: Int64 = 900, subject: String? = nil
    ) throws -> JoinToken {
        try JoinToken(
            purpose: purpose, cluster: try #require(ClusterID("east")), trustDomain: mint.trustDomain,
            addresses: [join], rootPin: pin ?? mint.certificate.publicKey.fingerprint, secret: secret,
            expires: loop.wall.advanced(bySeconds: lasts), subject: subject ?? name)
    }

    func svid(_ id: String, life: (begins: Int64, ends: Int64)) throws -> SVID {
        let key = try PrivateKey.generate()
        return try SVID(chainDER: try leaf(id, key.publicKey, life), key: key)
    }

    func directory() throws -> ProxyStateDirectory { try ProxyStateDirectory(path: folder) }

    func keeper(_ directory: ProxyStateDirectory, _ token: JoinToken?) throws -> IdentityKeeper {
        IdentityKeeper(
            loop: loop, directory: directory, role: .gateway(name: try #require(Label("g1"))), token: token)
    }

    func client(_ directory: ProxyStateDirectory, _ keeper: IdentityKeeper) throws -> FeedClient {
        let name = try #require(Label("g1"))
        let address = GatewayAddress(name: name, address: "10.0.0.9", port: 15_443, locality: .unknown)
        return FeedClient(
            loop: loop,
            settings: FeedSettings(
                role: .gateway(name: name, advertised: address), locality: Locality(region: "eu", zone: "a"),
                version: "test"), directory: directory, identity: keeper)
    }

    func makeSnapshot(_ revision: UInt64, cluster: String = "east", epoch: UInt64 = 1) throws -> Snapshot {
        var snapshot = Snapshot(
            cluster: try #require(ClusterID(cluster)), trustDomain: mint.trustDomain, epoch: epoch, revision: revision)
        snapshot.bundles = [mint.bundle()]
        return snapshot
    }

    func publish(_ snapshot: Snapshot) throws {
        self.snapshot = snapshot
        for feed in feeds where feed.isOpen { feed.send(try Self.frame(snapshot)) }
    }

    /// Runs until `isDone`; a test that hangs fails after twenty seconds.
    func run(_ place: Testing.SourceLocation = #_sourceLocation, until isDone: () -> Bool) {
        var isLate = false
        let timer = loop.after(.seconds(20)) { isLate = true }
        loop.run { isDone() || isLate }
        loop.cancel(timer)
        if isLate { Issue.record("it did not happen", sourceLocation: place) }
    }

    /// Mode bits of a file in the state directory; nil when there is none.
    func mode(_ file: String) -> UInt32? {
        var status = stat()
        // SAFETY: path and structure live for the call.
        return unsafe lstat("\(folder)/\(file)", &status) == 0 ? UInt32(status.st_mode & 0o777) : nil
    }

    // MARK: Serving

    private func leaf(_ id: String, _ key: PublicKey, _ life: (begins: Int64, ends: Int64)) throws -> [[UInt8]] {
        var options = CertificateMint.Leaf(id)
        options.serial = try CertificateBuilder.serial(SystemRandom.source)
        options.notBefore = loop.wall.advanced(bySeconds: life.begins)
        options.notAfter = loop.wall.advanced(bySeconds: life.ends)
        return [try mint.leaf(options, publicKey: key)]
    }

    private func answer(_ request: [UInt8]) throws -> EnrolmentAnswer {
        let request = try CertificateRequest(der: request)
        enrolKeys.append(request.publicKey.spki)
        return EnrolmentAnswer(
            chain: try leaf(name, request.publicKey, life), bundle: mint.bundle(),
            cluster: try #require(ClusterID("east")), identity: try #require(SPIFFEID(name)),
            brokerAddresses: [mtls], enrolmentAddresses: [join], notBefore: loop.wall, notAfter: loop.wall)
    }

    private func enrol(_ call: RPCCall) {
        do {
            let (secret, request) = try IdentityCoding.decodeEnrolRequest(call.message)
            #expect(secret == self.secret)
            let answer = try answer(request)
            guard spent >= failures else {
                spent += 1
                return call.fail(failure, "token_used: the token was used already")
            }
            call.reply(answer.encode())
        } catch { call.fail(.invalidArgument, "\(error)") }
    }

    private func renew(_ call: RPCCall) {
        do {
            let request = try RenewalRequest.decode(call.message)
            let old = try Certificate(der: request.oldLeaf)
            guard RenewalProof.verify(request.signature, oldLeaf: old, request: request.certificateRequest) else {
                return call.fail(.permissionDenied, "the proof is wrong")
            }
            renewals += 1
            life = (-30, 86_400)
            call.reply(try answer(request.certificateRequest).encode())
        } catch { call.fail(.invalidArgument, "\(error)") }
    }

    private func issue(_ call: RPCCall) {
        do {
            let request = try CertificateRequest(der: try IdentityCoding.decodeIssueRequest(call.message))
            let id = try #require(call.peer.identity?.id)
            issued.append(id)
            enrolKeys.append(request.publicKey.spki)
            life = (-30, 86_400)
            call.reply(
                IssueAnswer(
                    chain: try leaf(id.description, request.publicKey, life), bundles: [mint.bundle()],
                    notBefore: loop.wall, notAfter: loop.wall
                ).encode())
        } catch { call.fail(.invalidArgument, "\(error)") }
    }

    private func feed(_ stream: RPCStream) {
        feeds.append(stream)
        stream.onMessage = { [unowned self, unowned stream] bytes in
            do {
                switch try SubscriberFrame.decode(bytes) {
                case .hello(let hello):
                    hellos.append(hello)
                    if let snapshot { stream.send(try Self.frame(snapshot)) }
                case .ack(let epoch, let revision, let refused):
                    acks.append(.ack(epoch: epoch, revision: revision, refused: refused))
                case .health(let list): health.append(list)
                case .keepalive, .draining, .plaintext: break
                }
            } catch { Issue.record("\(error)") }
        }
    }

    static func frame(_ snapshot: Snapshot) throws -> [UInt8] {
        BrokerFrame.snapshot(
            epoch: snapshot.epoch, revision: snapshot.revision, bytes: try SnapshotCoding.encode(snapshot)
        ).encode()
    }
}
