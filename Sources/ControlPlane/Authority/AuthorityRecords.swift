import Foundation
import Identity
import MeshModel
import Store

/// The tables of the authority.
enum AuthorityTable {
    static let meta = StoreTable("authority/meta")
    static let entries = StoreTable("authority/key")
    /// By serial.
    static let issued = StoreTable("authority/svid")
    /// By end (8 bytes, big-endian) and serial.
    static let endings = StoreTable("authority/svid-end")
    /// By serial.
    static let revoked = StoreTable("authority/revoked")
    /// By name.
    static let tokens = StoreTable("authority/token")
    /// By token name and the key's fingerprint.
    static let uses = StoreTable("authority/token-use")

    static let metaKey = StoreKey(meta, "meta")
    static let sequenceKey = StoreKey(meta, "bundle-sequence")

    static func ending(_ end: WallTime, _ serial: [UInt8]) -> StoreKey { StoreKey(endings, bigEndian(end) + serial) }

    /// Eight bytes that sort as the times do; nothing here ends before 1970.
    static func bigEndian(_ time: WallTime) -> [UInt8] {
        let number = UInt64(clamping: time.seconds)
        return (0..<8).map { UInt8(truncatingIfNeeded: number >> (56 - 8 * UInt64($0))) }
    }
}

/// Whose database this is.
struct MetaRecord: Codable, Hashable {
    var cluster: String
    var trustDomain: String
    /// SPKI of the federation key, hexadecimal.
    var federationKey: String
}

struct EntryRecord: Codable {
    var phase: AuthorityPhase
    var root: String
    var entered: UInt64
    var since: Int64
}

/// A certificate that was given out.
struct IssuedRecord: Codable {
    var id: String
    var authority: String
    var leafHash: String
    var notBefore: Int64
    var notAfter: Int64
    var cause: String
}

struct RevokedRecord: Codable {
    var notAfter: Int64
    var at: Int64
}

struct TokenRecord: Codable {
    var secretHash: String
    var purpose: UInt8
    /// The SPIFFE ID that it gives, or empty.
    var identity: String
    /// For a federation: who may join.
    var cluster: String
    var trustDomain: String
    var created: Int64
    var expires: Int64
    var uses: Int
    var maximumUses: Int
    var revoked: Bool
}

/// One key that a token admitted, and what it was given.
struct UseRecord: Codable {
    var at: Int64
    var chain: [String]
    var serial: String
}

/// Records as JSON with sorted keys: small, and readable in a dump.
enum RecordCoding {
    static func encode(_ record: some Encodable) throws(AuthorityError) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        do { return [UInt8](try encoder.encode(record)) } catch { throw .refusedState("a record cannot be written") }
    }

    static func decode<Record: Decodable>(_ type: Record.Type, _ entry: StoreEntry) throws(AuthorityError) -> Record {
        do {
            return try JSONDecoder().decode(type, from: Data(entry.value))
        } catch {
            throw .store(.corrupt("the record \(entry.key.table.name) in the database is damaged: restore a backup"))
        }
    }

    static func bytes(_ hexadecimal: String) throws(AuthorityError) -> [UInt8] {
        guard let bytes = Hex.decode(hexadecimal) else {
            throw .store(.corrupt("a record of the authority in the database is damaged: restore a backup"))
        }
        return bytes
    }
}

/// Runs a store call and gives its error our type.
func stored<Result>(_ body: () throws(StoreError) -> Result) throws(AuthorityError) -> Result {
    do throws(StoreError) { return try body() } catch { throw .store(error) }
}

/// Runs a call of Identity and gives its error our type.
func identified<Result: ~Copyable>(
    _ body: () throws(IdentityError) -> Result
) throws(AuthorityError) -> Result {
    do throws(IdentityError) { return try body() } catch { throw .identity(error) }
}
