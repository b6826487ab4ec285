import Broker
import ControlCoding
import ControlProtocol
import Foundation
import MeshModel
import RPC
import Reactor
import Testing

/// 15014, the bundle endpoint's neighbours, and `check` without a gateway.
@Suite(.serialized) struct PageTests {
    /// The answer to one request in plain HTTP/1.1.
    private func get(_ broker: RunningBroker, _ path: String, _ fields: [String]) throws -> String {
        let socket = try Socket.connect(to: try broker.address("http"))
        let request = Array(
            "GET \(path) HTTP/1.1\r\n\(fields.joined(separator: "\r\n"))\r\nconnection: close\r\n\r\n".utf8)
        _ = try RunningBroker.waitFor("the connection") { () -> Bool? in
            if socket.finishConnect() != nil { return nil }
            guard case .done(request.count)? = try? socket.write(request.span) else { return nil }
            return true
        }
        var answer: [UInt8] = []
        var room = [UInt8](repeating: 0, count: 65_536)
        return try RunningBroker.waitFor("the answer") { () -> String? in
            // SAFETY: the buffer outlives the call.
            let read = unsafe try room.withUnsafeMutableBytes { unsafe try socket.read(into: $0) }
            switch read {
            case .done(let count): answer += room.prefix(count)
            case .wouldBlock: break
            case .end: return String(decoding: answer, as: UTF8.self)
            }
            return nil
        }
    }

    @Test func onlyThoseWhoNameItRightlyAreAnswered() throws {
        let broker = try RunningBroker("east", folder: try TemporaryFolder())
        let port = try broker.address("http").port
        #expect(try get(broker, "/healthz/ready", ["host: 127.0.0.1:\(port)"]).hasPrefix("HTTP/1.1 200"))
        #expect(try get(broker, "/metrics", ["host: localhost:\(port)"]).contains("meshfed_certificate_expiry"))
        #expect(try get(broker, "/", ["host: [::1]:\(port)"]).contains("<h1>cluster east</h1>"))
        #expect(try get(broker, "/metrics", ["host: evil.example:\(port)"]).hasPrefix("HTTP/1.1 403"))
        let foreign = ["host: 127.0.0.1:\(port)", "origin: http://evil.example"]
        #expect(try get(broker, "/", foreign).hasPrefix("HTTP/1.1 403"))
        let own = ["host: 127.0.0.1:\(port)", "origin: http://127.0.0.1:\(port)"]
        #expect(try get(broker, "/", own).hasPrefix("HTTP/1.1 200"))
        try broker.stop()
    }

    @Test func aCheckSaysWhatIsMissing() throws {
        let broker = try RunningBroker("east", folder: try TemporaryFolder())
        let loop = try RPCLoop()
        let path = try #require(broker.handle.listeners["socket"])
        let stream = loop.channel(.unix(path: path), security: .plain).stream("/meshfed.admin.v1.Admin/Check")
        var results: [AdminCheckResult] = []
        var end: RPCEnd?
        stream.onMessage = { bytes in
            if let result = try? MessageCoding.decode(AdminCheckResult.self, bytes) { results.append(result) }
        }
        stream.onEnd = {
            end = $0
            loop.stop(grace: .zero)
        }
        stream.send([])
        stream.finish()
        loop.run()
        #expect(end?.message == "")
        #expect(Set(results.map(\.kind)) == ["configuration", "certificate"])
        #expect(results.allSatisfy { $0.outcome == .ok })
        try broker.stop()
    }
}
