package import ControlCoding
internal import Identity

/// The federation key as this module needs it: who it is and how it signs.
package struct FederationSigner: Sendable {
    /// DER SubjectPublicKeyInfo.
    package let publicKey: [UInt8]
    package let keyName: KeyName
    /// r‖s over the SHA-256 of the bytes, 64 bytes; nil when the key cannot sign now.
    package let sign: @Sendable ([UInt8]) -> [UInt8]?

    package init(publicKey: [UInt8], keyName: KeyName, sign: @escaping @Sendable ([UInt8]) -> [UInt8]?) {
        self.publicKey = publicKey
        self.keyName = keyName
        self.sign = sign
    }

    /// One part's signature; throws `signing`.
    func signature(
        role: SignatureRole, type: RecordType, sequence: UInt64, payload: [UInt8]
    ) throws(FederationError) -> RecordSignature {
        let bytes = SignedRecord.signedBytes(
            type: type, sequence: sequence, role: role, keyName: keyName, payload: payload)
        guard let signature = sign(bytes), signature.count == SignedRecord.signatureLength else { throw .signing }
        return RecordSignature(role: role, keyName: keyName, signature: signature)
    }

    /// A record signed as owner.
    func record(
        _ type: RecordType, sequence: UInt64, payload: [UInt8]
    ) throws(FederationError) -> SignedRecord {
        SignedRecord(
            type: type, sequence: sequence, payload: payload,
            signatures: [try signature(role: .owner, type: type, sequence: sequence, payload: payload)])
    }
}

/// The public half: hashing and checking, handed in so that simulations can run on cheap signatures.
package struct RecordVerifier: Sendable {
    /// True when the signature (r‖s) over the message was made by the key (DER SPKI).
    package let verify: @Sendable (_ publicKey: [UInt8], _ message: [UInt8], _ signature: [UInt8]) -> Bool
    /// SHA-256.
    package let hash: @Sendable ([UInt8]) -> [UInt8]
    /// SHA-256 of the SPKI of a DER root certificate; nil when it is none.
    package let rootHash: @Sendable ([UInt8]) -> [UInt8]?

    package init(
        verify: @escaping @Sendable ([UInt8], [UInt8], [UInt8]) -> Bool,
        hash: @escaping @Sendable ([UInt8]) -> [UInt8], rootHash: @escaping @Sendable ([UInt8]) -> [UInt8]?
    ) {
        self.verify = verify
        self.hash = hash
        self.rootHash = rootHash
    }

    /// ECDSA P-256 and SHA-256 by OpenSSL.
    package static let system = RecordVerifier(
        verify: { publicKey, message, signature in
            guard let key = try? PublicKey(spki: publicKey) else { return false }
            return key.verify(signature, message: message)
        },
        hash: { SHA256.hash($0) },
        rootHash: { der in
            guard let certificate = try? Certificate(der: der), certificate.isCA else { return nil }
            return certificate.publicKey.fingerprint
        })

    func keyName(of publicKey: [UInt8]) -> KeyName? { KeyName(hash(publicKey)) }

    /// True when `record` carries a good signature of `publicKey` in the part `role`.
    func isSigned(_ record: SignedRecord, _ role: SignatureRole, by publicKey: [UInt8]) -> Bool {
        guard let signature = record.signature(role), let name = keyName(of: publicKey), signature.keyName == name
        else {
            return false
        }
        let bytes = SignedRecord.signedBytes(
            type: record.type, sequence: record.sequence, role: role, keyName: name, payload: record.payload)
        return verify(publicKey, bytes, signature.signature)
    }
}
