internal import Manifest
internal import MeshModel
internal import Store

/// What names one configuration object.
struct ObjectKey: Hashable, Sendable, CustomStringConvertible {
    let kind: String
    let name: ObjectName

    init(kind: String, name: ObjectName) {
        self.kind = kind
        self.name = name
    }

    init(_ object: MeshObject) { self.init(kind: object.kind, name: object.metadata.objectName) }

    var description: String { "\(kind)/\(name)" }
}

/// An object with the bytes that the store keeps of it: compact JSON, the line and the file where it was read.
struct HeldObject: Hashable, Sendable {
    let object: MeshObject
    let json: String

    init(_ object: MeshObject) {
        self.object = object
        json = ManifestWriter.json(object)
    }

    /// Reads what `stored` gives; nil for anything else.
    init?(stored bytes: [UInt8]) {
        let parts = bytes.split(separator: 0x0A, maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count == 3, let line = Int(String(decoding: parts[1], as: UTF8.self)) else { return nil }
        let file = String(decoding: parts[2], as: UTF8.self)
        guard var object = try? ManifestWriter.object(fromJSON: Array(parts[0]), file: file) else { return nil }
        object.metadata.location = SourceLocation(file: file, line: line)
        self.object = object
        json = String(decoding: parts[0], as: UTF8.self)
    }

    var key: ObjectKey { ObjectKey(object) }
    var stored: [UInt8] { Array("\(json)\n\(object.metadata.location.line)\n\(object.metadata.location.file)".utf8) }
}

/// All configuration objects: those of the directory, which it alone changes, and those of the store.
struct ObjectBook: Sendable {
    /// Locations of objects that no file holds.
    static let storeName = "store"

    private(set) var stored: [ObjectKey: HeldObject] = [:]
    private(set) var directory: [ObjectKey: HeldObject] = [:]

    init(stored: [HeldObject] = [], directory: [HeldObject] = []) {
        for held in stored { self.stored[held.key] = held }
        for held in directory { self.directory[held.key] = held }
    }

    var all: [MeshObject] { directory.values.map(\.object) + stored.values.map(\.object) }

    func object(_ key: ObjectKey) -> HeldObject? { directory[key] ?? stored[key] }

    /// The file that owns an object, as `file:line`; nil for an object of the store.
    func owner(_ key: ObjectKey) -> String? { directory[key].map { $0.object.metadata.location.description } }

    /// Puts an object into the store. The caller has seen that no file owns it.
    mutating func put(_ object: MeshObject) {
        var object = object
        object.metadata.location = SourceLocation(file: Self.storeName, line: 1)
        let held = HeldObject(object)
        stored[held.key] = held
    }

    /// Takes an object out of the store; false when it was not there.
    mutating func remove(_ key: ObjectKey) -> Bool { stored.removeValue(forKey: key) != nil }

    /// Takes over the whole content of the directory; objects of the store that stand in it now belong to it. Twins within the
    /// directory stay visible to the compiler in `twins`.
    mutating func replaceDirectory(_ objects: [MeshObject]) {
        directory = [:]
        for object in objects {
            let held = HeldObject(object)
            directory[held.key] = held
            stored[held.key] = nil
        }
    }

    /// What turns the rows of `other` into those of this book: nil values are to be deleted.
    func difference(from other: ObjectBook) -> [(key: StoreKey, value: [UInt8]?)] {
        Self.difference(BrokerTable.objects, stored, other.stored)
            + Self.difference(BrokerTable.directory, directory, other.directory)
    }

    private static func difference(
        _ table: StoreTable, _ new: [ObjectKey: HeldObject], _ old: [ObjectKey: HeldObject]
    ) -> [(key: StoreKey, value: [UInt8]?)] {
        var rows: [(key: StoreKey, value: [UInt8]?)] = []
        for (key, held) in new where old[key] != held {
            rows.append((StoreKey(table, key.description), held.stored))
        }
        for key in old.keys where new[key] == nil { rows.append((StoreKey(table, key.description), nil)) }
        return rows
    }
}
