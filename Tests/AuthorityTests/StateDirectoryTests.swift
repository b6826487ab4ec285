import Authority
import Foundation
import Identity
import MeshTestKit
import Testing

@Suite struct StateDirectoryTests {
    private final class Folder {
        let path = NSTemporaryDirectory() + "meshfed-state-\(UUID().uuidString)"
        deinit { try? FileManager.default.removeItem(atPath: path) }
    }
    private let folder = Folder()

    private func mode(_ path: String) throws -> Int {
        try #require(FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int)
    }

    private func chmod(_ path: String, _ mode: Int) throws {
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
    }

    @Test func filesAreForTheOwnerOnly() throws {
        let state = try StateDirectory(path: folder.path)
        #expect(try mode(folder.path) == 0o700 && state.isNew())
        let key = try PrivateKey.generate()
        try state.stage("federation", key)
        #expect(try state.stagedNames() == ["federation"] && state.confirmedNames().isEmpty && state.isNew())
        #expect(try mode(folder.path + "/federation.key.new") == 0o600)
        try state.confirm("federation")
        try state.confirm("federation")
        #expect(try state.stagedNames().isEmpty && state.confirmedNames() == ["federation"])
        #expect(try !state.isNew())
        let read = try state.key("federation")?.publicKey
        #expect(read == key.publicKey)
        try state.destroy("federation")
        try state.destroy("federation")
        let gone = try state.key("federation")?.publicKey
        #expect(gone == nil)
    }

    @Test func whatIsOpenToOthersIsRefused() throws {
        let state = try StateDirectory(path: folder.path)
        try state.stage("federation", PrivateKey.generate())
        try state.confirm("federation")
        try chmod(folder.path + "/federation.key", 0o644)
        #expect(throws: AuthorityError.self) { _ = try state.key("federation") }
        try chmod(folder.path + "/federation.key", 0o600)
        try Data().write(to: URL(fileURLWithPath: folder.path + "/federation.key"))
        #expect(throws: AuthorityError.self) { _ = try state.key("federation") }
        try FileManager.default.removeItem(atPath: folder.path + "/federation.key")
        try FileManager.default.createSymbolicLink(
            atPath: folder.path + "/federation.key", withDestinationPath: "/etc/hostname")
        #expect(throws: AuthorityError.self) { _ = try state.key("federation") }
        try chmod(folder.path, 0o755)
        #expect(throws: AuthorityError.self) { _ = try StateDirectory(path: folder.path) }
    }

    @Test func anAuthorityLivesInIt() throws {
        let state = try StateDirectory(path: folder.path)
        let office = Office(vault: state)
        let first = try office.open()
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
        #expect(names.count == 2 && names[0].hasPrefix("authority-") && names[1] == "federation.key")
        for name in names { #expect(try mode(folder.path + "/" + name) == 0o600) }
        #expect(try office.open().federationKey == first.federationKey)
    }
}
