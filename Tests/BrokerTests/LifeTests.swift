import Broker
import ControlProtocol
import Foundation
import Identity
import MeshModel
import RPC
import Testing

/// Starting, configuration, and what is there after a restart.
@Suite(.serialized) struct LifeTests {
    @Test func servesAndSaysWhere() throws {
        let broker = try RunningBroker("east", folder: try TemporaryFolder())
        let status = try broker.status()
        #expect(status.cluster == "east")
        #expect(status.trustDomain == "east.mesh")
        #expect(status.epoch == 1)
        #expect(Set(status.listeners.map(\.purpose)) == ["mtls", "join", "http", "socket"])
        #expect(status.authorities.map(\.state) == ["active"])
        try broker.stop()
    }

    @Test func aSecondBrokerOnTheSameStateIsRefused() throws {
        let folder = try TemporaryFolder()
        let broker = try RunningBroker("east", folder: folder)
        #expect(throws: BrokerFailure.self) { try RunningBroker("east", folder: folder) }
        try broker.stop()
    }

    @Test func aDatabaseWithoutItsKeyIsRefused() throws {
        let folder = try TemporaryFolder()
        try RunningBroker("east", folder: folder).stop()
        let state = folder.path + "/state"
        for name in try FileManager.default.contentsOfDirectory(atPath: state) where name.hasSuffix(".key") {
            try FileManager.default.removeItem(atPath: "\(state)/\(name)")
        }
        #expect(throws: BrokerFailure.self) { try RunningBroker("east", folder: folder) }
    }

    @Test func objectsAndTokensOutliveARestart() throws {
        let folder = try TemporaryFolder()
        let first = try RunningBroker("east", folder: folder)
        let applied = try first.apply(Manifests.service("api"), Manifests.workload("w1", app: "api"))
        #expect(applied.objects.map(\.result) == ["created", "created"])
        #expect(try first.apply(Manifests.service("api")).objects.map(\.result) == ["unchanged"])
        let token = try first.token {
            $0.purpose = .gateway
            $0.name = "gw"
        }
        try first.stop()
        let second = try RunningBroker("east", folder: folder)
        #expect(try second.status().epoch == 2)
        #expect(try second.services().map(\.name) == ["shop/api"])
        let tokens: AdminListTokensResponse = try second.admin("ListTokens", AdminListTokensRequest())
        #expect(tokens.tokens.map(\.id) == [token.name])
        try second.stop()
    }

    @Test func anApplyIsRefusedAsAWhole() throws {
        let broker = try RunningBroker("east", folder: try TemporaryFolder())
        #expect(throws: RPCEnd.self) {
            try broker.apply(Manifests.service("api"), Manifests.export("missing"))
        }
        #expect(try broker.services().isEmpty)
        #expect(try broker.apply(Manifests.service("api"), dryRun: true).objects.map(\.result) == ["created"])
        #expect(try broker.services().isEmpty)
        try broker.stop()
    }

    @Test func aBadDirectoryEndsAFirstStartWith65() throws {
        let folder = try TemporaryFolder()
        try folder.write("a.yaml", "kind: Nonsense\n")
        do {
            _ = try RunningBroker("east", folder: folder, withConfig: true)
            Issue.record("it started")
        } catch let failure as BrokerFailure {
            #expect(failure.exitStatus == 65)
            #expect("\(failure)".contains("a.yaml"))
        }
    }

    @Test func aBadDirectoryLaterLeavesWhatRan() throws {
        let folder = try TemporaryFolder()
        try folder.write("a.yaml", Manifests.service("api"))
        let first = try RunningBroker("east", folder: folder, withConfig: true)
        #expect(try first.services().map(\.name) == ["shop/api"])
        #expect(throws: RPCEnd.self) { try first.apply(Manifests.service("api", port: 81)) }
        try folder.write("b.yaml", Manifests.service("web"))
        _ = try RunningBroker.waitFor("the new file") { try first.services().count == 2 ? true : nil }
        try folder.write("a.yaml", "kind: Nonsense\n")
        _ = try RunningBroker.waitFor("the refusal") {
            try first.status().configurationError.contains("a.yaml") ? true : nil
        }
        #expect(try first.services().count == 2)
        try first.stop()
        let second = try RunningBroker("east", folder: folder, withConfig: true)
        #expect(try second.services().count == 2)
        #expect(try second.status().configurationError.contains("a.yaml"))
        try second.stop()
    }
}
