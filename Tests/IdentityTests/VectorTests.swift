import Foundation
import Identity
import MeshModel
import Testing

/// The scripts under certs/, run with the `openssl` program: certificates that our own code did not make.
@Suite(
    .enabled(
        if: FileManager.default.isExecutableFile(atPath: "/usr/bin/openssl")
            || ProcessInfo.processInfo.environment["CI"] == "true"))
struct VectorTests {
    private final class Folder {
        let path = NSTemporaryDirectory() + "meshfed-certs-\(UUID().uuidString)"
        deinit { try? FileManager.default.removeItem(atPath: path) }
    }
    private let folder = Folder()
    private let now = WallTime(seconds: Int64(Date().timeIntervalSince1970))

    private var certs: String {
        let file = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
        return file.deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path + "/certs"
    }

    private func run(_ script: String, _ arguments: String...) throws -> Int32 {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: certs + "/" + script)
        process.arguments = arguments
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        return process.terminationStatus
    }

    private func read(_ name: String) throws -> [UInt8] {
        [UInt8](try Data(contentsOf: URL(fileURLWithPath: folder.path + "/" + name)))
    }

    @Test func everyVectorMeetsItsRefusal() throws {
        #expect(try run("vectors/mint", folder.path) == 0)
        let domain = try #require(TrustDomain("a.test"))
        let roots = try PEM.certificates(read("root.pem"))
        let store = try TrustStore([TrustBundle(trustDomain: domain, roots: roots)], generation: 1)
        let table = try String(contentsOfFile: certs + "/vectors/expected", encoding: .utf8)
        var count = 0
        for line in table.split(separator: "\n") {
            let parts = line.split(separator: " ").map(String.init)
            try #require(parts.count == 2)
            let chain = try PEM.certificates(read(parts[0] + ".pem"))
            var outcome = "accepted"
            do throws(PeerRefusal) {
                _ = try store.verify(chain: chain, purpose: .client, now: now)
            } catch {
                outcome = "\(error)"
            }
            #expect(outcome == parts[1], "\(parts[0])")
            count += 1
        }
        #expect(count == 25)
        #expect(throws: IdentityError.keyMismatch) {
            try SVID.load(pemChain: try read("good.pem"), keyPEM: try read("expired.key"))
        }
    }

    @Test func theStandaloneMintMakesSVIDs() throws {
        let ids = ["spiffe://east.mesh/meshfed/gateway/g1", "spiffe://east.mesh/ns/shop/sa/web"]
        #expect(try run("mint", folder.path, "east.mesh", ids[0], ids[1]) == 0)
        #expect(try run("mint", folder.path, "east.mesh", ids[1]) == 0)
        let domain = try #require(TrustDomain("east.mesh"))
        let roots = try PEM.certificates(read("root.pem"))
        let store = try TrustStore([TrustBundle(trustDomain: domain, roots: roots)], generation: 1)
        for (id, name) in zip(ids, ["meshfed-gateway-g1", "ns-shop-sa-web"]) {
            let svid = try SVID.load(pemChain: read(name + ".pem"), keyPEM: read(name + ".key"))
            #expect(svid.id.description == id)
            #expect(try store.verify(chain: svid.chainDER, purpose: .server, now: now).id == svid.id)
        }
        #expect(try run("mint", folder.path, "west.mesh") == 64)
        #expect(try run("mint", folder.path, "east.mesh", "spiffe://west.mesh/x") == 64)
        #expect(try run("mint", folder.path, "east.mesh", "spiffe://east.mesh/a/../b") == 64)
    }
}
