internal import ControlProtocol
internal import FoundationEssentials

/// What a signed record holds (PROTOCOLS section 7). The numbers are signed.
package enum RecordType: UInt8, Hashable, Sendable, CaseIterable {
    case membership = 1
    case bundle = 2
    case tombstone = 3
    case keyRotation = 4
}

/// In which part a key signed. The numbers are signed.
package enum SignatureRole: UInt8, Hashable, Sendable, CaseIterable {
    case owner = 1
    case sponsor = 2
    case oldKey = 3
    case newKey = 4
}

/// SHA-256 of a federation key's SubjectPublicKeyInfo: the key's name.
package struct KeyName: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// 32.
    package static let length = 32
    package let bytes: [UInt8]

    package init?(_ bytes: [UInt8]) {
        guard bytes.count == Self.length else { return nil }
        self.bytes = bytes
    }

    package static func < (left: KeyName, right: KeyName) -> Bool {
        left.bytes.lexicographicallyPrecedes(right.bytes)
    }

    /// Lower-case hexadecimal.
    package var description: String {
        var text: [UInt8] = []
        text.reserveCapacity(2 * bytes.count)
        for byte in bytes {
            for digit in [byte >> 4, byte & 15] { text.append(digit < 10 ? 0x30 + digit : 0x57 + digit) }
        }
        return String(decoding: text, as: UTF8.self)
    }
}

/// One signature of a record.
package struct RecordSignature: Hashable, Sendable {
    package var role: SignatureRole
    package var keyName: KeyName
    /// r‖s, 64 bytes.
    package var signature: [UInt8]

    package init(role: SignatureRole, keyName: KeyName, signature: [UInt8]) {
        self.role = role
        self.keyName = keyName
        self.signature = signature
    }
}

/// A record as it travels: kept and forwarded as `encoded`, never encoded anew. Its signatures are not yet verified.
package struct SignedRecord: Hashable, Sendable {
    /// r‖s of ECDSA P-256.
    package static let signatureLength = 64
    private static let context = Array("meshfed record v1\0".utf8)

    package let type: RecordType
    package let sequence: UInt64
    package let payload: [UInt8]
    package let signatures: [RecordSignature]
    /// The bytes that were received, or that `init` made.
    package let encoded: [UInt8]

    /// A record made here.
    package init(type: RecordType, sequence: UInt64, payload: [UInt8], signatures: [RecordSignature]) {
        var message = FederationSignedRecord()
        message.type = FederationRecordType(rawValue: Int(type.rawValue)) ?? .unspecified
        message.sequence = sequence
        message.payload = payload.data
        message.signatures = signatures.map {
            var entry = FederationRecordSignature()
            entry.role = FederationSignatureRole(rawValue: Int($0.role.rawValue)) ?? .unspecified
            entry.keyName = $0.keyName.bytes.data
            entry.signature = $0.signature.data
            return entry
        }
        self.type = type
        self.sequence = sequence
        self.payload = payload
        self.signatures = signatures
        encoded = MessageCoding.encode(message)
    }

    private init(
        type: RecordType, sequence: UInt64, payload: [UInt8], signatures: [RecordSignature], encoded: [UInt8]
    ) {
        self.type = type
        self.sequence = sequence
        self.payload = payload
        self.signatures = signatures
        self.encoded = encoded
    }

    /// Checks layout and limits, not signatures. A part that stands twice is refused: two answers to "who signed".
    package static func decode(_ bytes: [UInt8]) throws(CodingError) -> SignedRecord {
        let message = try MessageCoding.decode(FederationSignedRecord.self, bytes)
        guard let type = UInt8(exactly: message.type.rawValue).flatMap(RecordType.init(rawValue:)) else {
            throw CodingError("type", .outOfRange)
        }
        let signatures = try each("signatures", message.signatures, limit: CodingLimits.signatures) {
            (entry) throws(CodingError) in
            guard let role = UInt8(exactly: entry.role.rawValue).flatMap(SignatureRole.init(rawValue:)) else {
                throw CodingError("role", .outOfRange)
            }
            guard let keyName = KeyName(Array(entry.keyName)) else {
                throw CodingError("keyName", .notA("\(KeyName.length) bytes"))
            }
            return RecordSignature(
                role: role, keyName: keyName,
                signature: try Field.bytes("signature", entry.signature, exactly: signatureLength))
        }
        try requireUnique("signatures", signatures, \.role)
        guard !signatures.isEmpty else { throw CodingError("signatures", .missing) }
        return SignedRecord(
            type: type, sequence: message.sequence,
            payload: try Field.bytes("payload", message.payload, limit: CodingLimits.recordPayloadBytes),
            signatures: signatures, encoded: bytes)
    }

    /// The signature of one part, if it is there.
    package func signature(_ role: SignatureRole) -> RecordSignature? { signatures.first { $0.role == role } }

    /// The same record with one more signature (the sponsor's).
    package func adding(_ signature: RecordSignature) -> SignedRecord {
        SignedRecord(
            type: type, sequence: sequence, payload: payload,
            signatures: signatures.filter { $0.role != signature.role } + [signature])
    }

    /// What `keyName` signs in the part `role`: `"meshfed record v1\0"` ‖ type ‖ sequence (big-endian) ‖ role ‖ key name ‖
    /// payload.
    package static func signedBytes(
        type: RecordType, sequence: UInt64, role: SignatureRole, keyName: KeyName, payload: [UInt8]
    ) -> [UInt8] {
        var bytes = context
        bytes.reserveCapacity(context.count + 10 + KeyName.length + payload.count)
        bytes.append(type.rawValue)
        for shift in stride(from: UInt64(56), through: 0, by: -8) {
            bytes.append(UInt8(truncatingIfNeeded: sequence >> shift))
        }
        bytes.append(role.rawValue)
        bytes += keyName.bytes
        bytes += payload
        return bytes
    }
}
