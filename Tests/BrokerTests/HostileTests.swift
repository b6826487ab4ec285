import ControlCoding
import ControlProtocol
import Identity
import MeshModel
import RPC
import TLS
import Testing
import Wire

/// What strangers and own proxies may send without harm to anybody else.
@Suite(.serialized) struct HostileTests {
    private struct Generator: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state &+= 0x9E37_79B9_7F4A_7C15
            var value = state
            value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
            value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
            return value ^ (value >> 31)
        }
    }

    @Test func bytesOfAStrangerAreRefused() throws {
        let broker = try RunningBroker("east", folder: try TemporaryFolder())
        let token = try broker.token {
            $0.purpose = .federation
            $0.cluster = "west"
        }
        var random = Generator(state: 20_260_101)
        let paths = [
            "/meshfed.federation.v1.Federation/Join", "/meshfed.identity.v1.Enrolment/Enrol",
            "/meshfed.identity.v1.Enrolment/Renew", "/meshfed.admin.v1.Admin/Status",
            "/meshfed.proxy.v1.Feed/Subscribe", "/nowhere",
        ]
        for round in 0..<60 {
            let bytes = (0..<Int.random(in: 0...400, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            let answer = try broker.open(token, paths[round % paths.count], bytes)
            guard case .failure(let end) = answer else { throw TestFailure("round \(round): accepted") }
            #expect(end.status != .internalError && end.status != .deadlineExceeded, "round \(round): \(end)")
        }
        #expect(try broker.status().cluster == "east")
        try broker.stop()
    }

    @Test func guessingATokenIsSlowedDown() throws {
        let broker = try RunningBroker("east", folder: try TemporaryFolder())
        let token = try broker.token {
            $0.purpose = .gateway
            $0.name = "gw"
        }
        let request = try CertificateRequest.make(key: try PrivateKey.generate())
        var seen: [GRPCStatus: Int] = [:]
        for guess in UInt8(0)..<40 {
            let secret = [UInt8](repeating: guess, count: JoinToken.secretLength)
            let message = IdentityCoding.encodeEnrolRequest(tokenSecret: secret, certificateRequest: request)
            let answer = try broker.open(token, "/meshfed.identity.v1.Enrolment/Enrol", message)
            guard case .failure(let end) = answer else { throw TestFailure("a guess was right") }
            seen[end.status, default: 0] += 1
        }
        #expect(seen[.permissionDenied, default: 0] >= 20)
        #expect(seen[.resourceExhausted, default: 0] > 0)
        try broker.stop()
    }

    @Test func aProxyIsNoMember() throws {
        let broker = try RunningBroker("east", folder: try TemporaryFolder())
        let token = try broker.token {
            $0.purpose = .gateway
            $0.name = "gw"
        }
        let context = try broker.context(try broker.enrol(token))
        for path in ["/meshfed.federation.v1.Federation/Sync", "/meshfed.admin.v1.Admin/Check"] {
            guard case .failure(let end) = try broker.mutual(context, path, []) else {
                throw TestFailure("\(path) was answered")
            }
            #expect(end.status == .permissionDenied)
        }
        try broker.stop()
    }

    @Test func aFeedThatIsNoFeedEnds() throws {
        let broker = try RunningBroker("east", folder: try TemporaryFolder())
        let token = try broker.token {
            $0.purpose = .gateway
            $0.name = "gw"
        }
        let context = try broker.context(try broker.enrol(token))
        let path = "/meshfed.proxy.v1.Feed/Subscribe"
        let early = SubscriberFrame.keepalive(counter: 1).encode()
        for bytes in [[0xFF, 0xFF, 0xFF], early] {
            guard case .failure(let end) = try broker.mutual(context, path, bytes) else {
                throw TestFailure("it was answered")
            }
            #expect(end.status == .invalidArgument)
        }
        #expect(try broker.status().proxies.isEmpty)
        try broker.stop()
    }
}
