internal import ControlProtocol
package import MeshModel

/// The last good snapshot on disk (PROTOCOLS section 8): magic, schema number, SHA-256, snapshot.
///
/// Bytes only: writing them by atomic rename with mode 0600 is the caller's part. SHA-256 is handed in, since this module
/// links no cryptography.
package enum SnapshotFile {
    /// First field of the message, so that `file` and people can tell what it is.
    package static let magic = Array("meshfed snapshot\n".utf8)

    /// Throws `tooLong` for a snapshot above the limit.
    package static func encode(
        _ snapshot: Snapshot, sha256: ([UInt8]) -> [UInt8]
    ) throws(CodingError) -> [UInt8] {
        encode(serialized: try SnapshotCoding.encode(snapshot), sha256: sha256)
    }

    /// For bytes as the feed delivered them.
    package static func encode(serialized bytes: [UInt8], sha256: ([UInt8]) -> [UInt8]) -> [UInt8] {
        var file = ModelSnapshotFile()
        file.magic = magic.data
        file.schema = Snapshot.schema
        file.sha256 = sha256(bytes).data
        file.snapshot = bytes.data
        return MessageCoding.encode(file)
    }

    /// Errors: `notA` for another kind of file, `unsupported` for a newer schema, `malformed` for a changed or cut one,
    /// and all of `SnapshotCoding.decode`.
    package static func decode(
        _ bytes: [UInt8], sha256: ([UInt8]) -> [UInt8]
    ) throws(CodingError) -> Snapshot {
        let file: ModelSnapshotFile
        do {
            file = try MessageCoding.decode(ModelSnapshotFile.self, bytes, limit: CodingLimits.snapshotFileBytes)
        } catch {
            throw error.problem == .malformed ? CodingError("", .notA("a snapshot file, or cut short")) : error
        }
        guard file.magic.elementsEqual(magic) else { throw CodingError("magic", .notA("a snapshot file")) }
        guard file.schema >= 1 else { throw CodingError("schema", .outOfRange) }
        guard file.schema <= Snapshot.schema else {
            throw CodingError(
                "schema",
                .unsupported("written by a newer release (schema \(file.schema), this one reads \(Snapshot.schema))"))
        }
        let content = Array(file.snapshot)
        guard file.sha256.elementsEqual(sha256(content)) else {
            throw CodingError("sha256", .notA("the SHA-256 of the content: the file was changed or cut"))
        }
        return try inside("snapshot") { () throws(CodingError) in try SnapshotCoding.decode(content) }
    }
}
