import Foundation
import Store
import StoreSQLite

/// A folder that goes away with the test.
final class Workshop: Sendable {
    let folder: String

    init() throws {
        folder = NSTemporaryDirectory() + "meshfed-store-\(UUID().uuidString)"
        try FileManager.default.createDirectory(
            atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    var path: String { folder + "/store.db" }

    func open(create: Bool = true, history: Int = StoreLimits.history) throws -> SQLiteStore {
        try SQLiteStore(path: path, create: create, history: history)
    }

    /// Copies the database as a crash would leave it: file and log, no lock, no shared memory.
    func crashCopy() throws -> Workshop {
        let copy = try Workshop()
        for end in ["", "-wal"] where FileManager.default.fileExists(atPath: path + end) {
            try FileManager.default.copyItem(atPath: path + end, toPath: copy.path + end)
        }
        return copy
    }
}

/// The stores that keep the same contract.
enum Kind: CaseIterable, Sendable {
    case memory, sqlite

    func make(_ workshop: Workshop, history: Int = StoreLimits.history) throws -> any KeyValueStore {
        switch self {
        case .memory: MemoryStore(history: history)
        case .sqlite: try workshop.open(history: history)
        }
    }
}
