import Foundation
import MeshTestKit
import Store
import StoreSQLite
import Testing

@Suite struct SQLiteStoreTests {
    let table = StoreTable("things")
    let workshop: Workshop

    init() throws { workshop = try Workshop() }

    private func fill(_ count: Int) throws {
        let store = try workshop.open()
        for number in 0..<count {
            try store.write { (tx) throws(StoreError) in
                try tx.put(StoreKey(table, "\(number)"), [UInt8](repeating: UInt8(number & 0xFF), count: 200))
            }
        }
        try store.close()
    }

    @Test func synchronousIsFull() throws {
        #expect(try workshop.open().synchronousLevel() == 2)
    }

    @Test func everythingIsThereAfterReopening() throws {
        try fill(20)
        let store = try workshop.open(create: false)
        #expect(store.revision == Revision(20))
        #expect(try store.read { (tx) throws(StoreError) in try tx.count(table) } == 20)
        guard case .changes(let changes, _) = try store.changes(since: Revision(18)) else {
            Issue.record("the history survives")
            return
        }
        #expect(changes.count == 2)
    }

    @Test func everythingAcknowledgedIsThereAfterACrash() throws {
        let store = try workshop.open()
        for number in 0..<50 {
            try store.write { (tx) throws(StoreError) in try tx.put(StoreKey(table, "\(number)"), [1]) }
            if number % 10 == 9 {
                let copy = try workshop.crashCopy()
                let again = try copy.open(create: false)
                #expect(again.revision == Revision(UInt64(number) + 1))
                #expect(try again.read { (tx) throws(StoreError) in try tx.count(table) } == number + 1)
            }
        }
        #expect(store.logByteCount > 0)
    }

    @Test func aSecondOpenIsRefused() throws {
        let store = try workshop.open()
        #expect(throws: StoreError.self) { _ = try workshop.open() }
        #expect(store.revision == .zero)
    }

    @Test func filesAreForTheOwnerOnly() throws {
        let store = try workshop.open()
        try store.write { (tx) throws(StoreError) in try tx.put(StoreKey(table, "a"), [1]) }
        for end in ["", "-wal", "-shm", ".lock"] {
            let mode = try FileManager.default.attributesOfItem(atPath: workshop.path + end)[.posixPermissions] as? Int
            #expect(mode.map { $0 & 0o077 } == 0, "store.db\(end)")
        }
        try store.close()
        try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: workshop.path)
        #expect(throws: StoreError.self) { _ = try workshop.open() }
        try FileManager.default.setAttributes([.posixPermissions: 0o400], ofItemAtPath: workshop.path)
        #expect(throws: StoreError.self) { _ = try workshop.open() }
    }

    @Test func aMissingDatabaseIsMadeOnlyWhenAsked() throws {
        #expect(throws: StoreError.self) { _ = try workshop.open(create: false) }
        #expect(!FileManager.default.fileExists(atPath: workshop.path))
    }

    @Test func anEmptyFileAndALogWithoutItsDatabaseAreRefused() throws {
        _ = FileManager.default.createFile(
            atPath: workshop.path, contents: Data(), attributes: [.posixPermissions: 0o600])
        #expect(throws: StoreError.self) { _ = try workshop.open() }
        try FileManager.default.removeItem(atPath: workshop.path)
        _ = FileManager.default.createFile(atPath: workshop.path + "-wal", contents: Data([1]))
        #expect(throws: StoreError.self) { _ = try workshop.open() }
    }

    @Test func otherSchemasAndOtherProgramsAreRefused() throws {
        try fill(1)
        let good = try Data(contentsOf: URL(fileURLWithPath: workshop.path))
        for (place, value) in [(63, UInt8(0)), (63, 2), (63, 200), (71, 0), (0, 0)] {
            var bad = good
            bad[place] = value
            try rewrite(bad)
            #expect(throws: StoreError.self, "byte \(place) = \(value)") { _ = try workshop.open() }
        }
        try rewrite(good)
        #expect(try workshop.open().revision == Revision(1))
    }

    @Test func aTruncatedDatabaseIsRefused() throws {
        try fill(100)
        let good = try Data(contentsOf: URL(fileURLWithPath: workshop.path))
        for size in stride(from: 4_096, to: good.count, by: 4_096) {
            try rewrite(good.prefix(size))
            #expect(throws: StoreError.self, "cut to \(size)") { _ = try workshop.open() }
        }
        for size in [1, 99, 100, 101, 4_095] {
            try rewrite(good.prefix(size))
            #expect(throws: StoreError.self, "cut to \(size)") { _ = try workshop.open() }
        }
    }

    @Test func aDamagedDatabaseIsRefusedOrServedNeverReplaced() throws {
        try fill(100)
        var random = SplitMix64.announced()
        let good = try Data(contentsOf: URL(fileURLWithPath: workshop.path))
        for _ in 0..<40 {
            var bad = good
            for _ in 0..<8 { bad[Int.random(in: 0..<bad.count, using: &random)] ^= 0x5A }
            try rewrite(bad)
            if let store = try? workshop.open() {
                #expect(store.revision > .zero)
                try store.close()
            }
        }
    }

    @Test func aHalfMadeDatabaseIsMadeAnew() throws {
        _ = FileManager.default.createFile(atPath: workshop.path + ".new", contents: Data([1, 2]))
        #expect(try workshop.open().revision == .zero)
        #expect(!FileManager.default.fileExists(atPath: workshop.path + ".new"))
    }

    private func rewrite(_ data: Data) throws {
        for end in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: workshop.path + end) }
        #expect(
            FileManager.default.createFile(
                atPath: workshop.path, contents: data, attributes: [.posixPermissions: 0o600]))
    }
}
