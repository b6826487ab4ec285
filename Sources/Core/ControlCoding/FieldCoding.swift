internal import ControlProtocol
internal import FoundationEssentials
internal import MeshModel
package import SwiftProtobuf

/// Serialising and parsing whole messages under a size limit; the only place that calls swift-protobuf's parser.
package enum MessageCoding {
    /// Errors: `tooLong` before a byte is read, `malformed` for anything that is not a `Content`.
    package static func decode<Content: Message>(
        _: Content.Type, _ bytes: [UInt8], limit: Int = CodingLimits.frameBytes
    ) throws(CodingError) -> Content {
        guard bytes.count <= limit else { throw CodingError("", .tooLong(limit: limit)) }
        do { return try Content(serializedBytes: bytes) } catch { throw CodingError("", .malformed) }
    }

    /// Proto3 messages without required fields serialise always; above 2 GiB (our mistake) an empty message is given.
    package static func encode(_ message: some Message) -> [UInt8] {
        do { return try message.serializedBytes() } catch { return [] }
    }
}

/// Single fields: each function takes what the message holds and gives what the model holds, or names the problem.
enum Field {
    static func label(_ field: String, _ text: String) throws(CodingError) -> Label {
        guard let label = Label(text) else { throw CodingError(field, .notA("a lower-case RFC 1123 label")) }
        return label
    }

    static func cluster(_ field: String, _ text: String) throws(CodingError) -> ClusterID {
        ClusterID(try label(field, text))
    }

    static func objectName(_ field: String, _ text: String) throws(CodingError) -> ObjectName {
        guard let name = ObjectName(text) else { throw CodingError(field, .notA("namespace/name")) }
        return name
    }

    static func trustDomain(_ field: String, _ text: String) throws(CodingError) -> TrustDomain {
        guard let domain = TrustDomain(text) else { throw CodingError(field, .notA("a trust domain")) }
        return domain
    }

    static func spiffeID(_ field: String, _ text: String) throws(CodingError) -> SPIFFEID {
        guard let id = SPIFFEID(text) else { throw CodingError(field, .notA("a SPIFFE ID")) }
        return id
    }

    static func port(_ field: String, _ number: UInt32) throws(CodingError) -> UInt16 {
        guard let port = UInt16(exactly: number), port > 0 else { throw CodingError(field, .outOfRange) }
        return port
    }

    static func address(_ field: String, _ text: String) throws(CodingError) -> String {
        guard IPLiteral.isValid(text) else { throw CodingError(field, .notA("an IP literal")) }
        return text
    }

    static func hostAndPort(_ field: String, _ text: String) throws(CodingError) -> String {
        guard IPLiteral.isHostAndPort(text) else { throw CodingError(field, .notA("host:port")) }
        return text
    }

    static func text(
        _ field: String, _ text: String, limit: Int = CodingLimits.nameBytes
    ) throws(CodingError) -> String {
        guard text.utf8.count <= limit else { throw CodingError(field, .tooLong(limit: limit)) }
        guard text.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
            throw CodingError(field, .notA("text without control characters"))
        }
        return text
    }

    /// At least one byte and at most `limit`.
    static func bytes(_ field: String, _ bytes: some Collection<UInt8>, limit: Int) throws(CodingError) -> [UInt8] {
        guard !bytes.isEmpty else { throw CodingError(field, .missing) }
        guard bytes.count <= limit else { throw CodingError(field, .tooLong(limit: limit)) }
        return Array(bytes)
    }

    static func bytes(_ field: String, _ bytes: some Collection<UInt8>, exactly: Int) throws(CodingError) -> [UInt8] {
        guard bytes.count == exactly else { throw CodingError(field, .notA("\(exactly) bytes")) }
        return Array(bytes)
    }

    static func duration(_ field: String, _ nanoseconds: UInt64) throws(CodingError) -> Duration {
        guard nanoseconds <= CodingLimits.longestDuration.wholeNanoseconds else {
            throw CodingError(field, .outOfRange)
        }
        return .nanoseconds(Int64(clamping: nanoseconds))
    }

    static func number(_ field: String, _ number: UInt32, _ range: ClosedRange<UInt32>) throws(CodingError) -> Int {
        guard range.contains(number) else { throw CodingError(field, .outOfRange) }
        return Int(number)
    }

    static func locality(_ field: String, _ message: ModelLocality) throws(CodingError) -> Locality {
        Locality(
            region: try text("\(field).region", message.region), zone: try text("\(field).zone", message.zone))
    }

    static func message(_ locality: Locality) -> ModelLocality {
        var message = ModelLocality()
        message.region = locality.region
        message.zone = locality.zone
        return message
    }
}

extension [UInt8] {
    /// The form in which swift-protobuf holds `bytes` fields.
    var data: Data { Data(self) }
}
