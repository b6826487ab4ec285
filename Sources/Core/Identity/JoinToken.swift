package import MeshModel

/// What a new sidecar, gateway, admin or cluster gets to enrol with: one string with addresses, trust domain, root pin, secret
/// and expiry (PROTOCOLS section 1). Whoever holds the string holds the right; it is never logged.
///
/// Text: `meshfed1.` and base64url of protobuf fields (1 purpose, 2 cluster, 3 trust domain, 4 address (repeated), 5 root pin,
/// 6 secret, 7 expires, 8 subject) followed by the first four bytes of their SHA-256, so that a cut string is seen as such.
package struct JoinToken: Hashable, Sendable {
    /// What the token admits.
    package enum Purpose: UInt8, CaseIterable, Sendable {
        case sidecar = 1
        case gateway = 2
        case admin = 3
        case federation = 4

        /// The word of `--for`.
        package var word: String {
            switch self {
            case .sidecar: "sidecar"
            case .gateway: "gateway"
            case .admin: "admin"
            case .federation: "federation"
            }
        }
    }

    /// Bytes in a secret: 256 bits, out of reach of guessing.
    package static let secretLength = 32
    package static let maximumAddresses = 8
    /// The longest text, in bytes.
    package static let maximumLength = 4_096
    private static let prefix = Array("meshfed1.".utf8)

    package let purpose: Purpose
    /// The cluster that made the token.
    package let cluster: ClusterID
    package let trustDomain: TrustDomain
    /// `host:port` of the broker's port for joining, in order of preference; 1 to 8, each at most 255 bytes.
    package let addresses: [String]
    /// SHA-256 of the SPKI of the root that the broker's chain must hold, 32 bytes.
    package let rootPin: [UInt8]
    package let secret: [UInt8]
    package let expires: WallTime
    /// Whom it is for, for the reader's eyes: the SPIFFE ID, or the joining cluster's name. The broker holds what counts.
    package let subject: String

    package init(
        purpose: Purpose, cluster: ClusterID, trustDomain: TrustDomain, addresses: [String], rootPin: [UInt8],
        secret: [UInt8], expires: WallTime, subject: String
    ) throws(IdentityError) {
        guard (1...Self.maximumAddresses).contains(addresses.count),
            addresses.allSatisfy({ (1...255).contains($0.utf8.count) && ASCIIText($0) != nil })
        else { throw .malformed("a join token holds 1 to \(Self.maximumAddresses) addresses of plain text") }
        guard rootPin.count == SHA256.length, secret.count == Self.secretLength, expires.seconds >= 0,
            subject.utf8.count <= SPIFFEID.maximumLength, subject.isEmpty || ASCIIText(subject) != nil
        else { throw .malformed("a field of the join token is out of its limits") }
        self.purpose = purpose
        self.cluster = cluster
        self.trustDomain = trustDomain
        self.addresses = addresses
        self.rootPin = rootPin
        self.secret = secret
        self.expires = expires
        self.subject = subject
    }

    /// Reads the text; white space around it is allowed. The error never repeats a byte of it.
    package init(text: String) throws(IdentityError) {
        let space: (UInt8) -> Bool = { $0 == 0x20 || $0 == 0x09 || $0 == 0x0A || $0 == 0x0D }
        var symbols = ArraySlice(text.utf8.drop(while: space))
        while let last = symbols.last, space(last) { symbols.removeLast() }
        guard symbols.count <= Self.maximumLength, symbols.starts(with: Self.prefix) else {
            throw .malformed("this is no join token: it does not begin with 'meshfed1.'")
        }
        let body = Array(symbols.dropFirst(Self.prefix.count))
        guard let bytes = Base64.decodeURL(body.span), bytes.count > 4,
            Array(SHA256.hash(Array(bytes.dropLast(4))).prefix(4)) == Array(bytes.suffix(4))
        else { throw .malformed("the join token is damaged or cut short; copy it whole") }
        var fields = FieldReader(rest: bytes.dropLast(4))
        var texts: [UInt64: [UInt8]] = [:]
        var numbers: [UInt64: UInt64] = [:]
        var addresses: [String] = []
        while !fields.rest.isEmpty {
            guard let field = fields.next() else { throw .malformed("the join token is damaged") }
            switch (field.number, field.content) {
            case (1, .varint(let number)), (7, .varint(let number)): numbers[field.number] = number
            case (4, .bytes(let content)):
                guard addresses.count < Self.maximumAddresses else { throw .malformed("the join token is damaged") }
                addresses.append(String(decoding: content, as: UTF8.self))
            case (_, .bytes(let content)): texts[field.number] = Array(content)
            default: break
            }
        }
        guard let purpose = numbers[1].flatMap({ UInt8(exactly: $0) }).flatMap({ Purpose(rawValue: $0) }),
            let cluster = texts[2].flatMap({ Label($0) }), let trustDomain = texts[3].flatMap({ TrustDomain($0) }),
            let pin = texts[5], let secret = texts[6], let expires = numbers[7].flatMap({ Int64(exactly: $0) })
        else { throw .malformed("the join token lacks a field; it was made by another version of meshfed") }
        try self.init(
            purpose: purpose, cluster: ClusterID(cluster), trustDomain: trustDomain, addresses: addresses, rootPin: pin,
            secret: secret, expires: WallTime(seconds: expires),
            subject: String(decoding: texts[8] ?? [], as: UTF8.self))
    }

    /// The whole token. Whoever reads it may enrol.
    package var text: String {
        var bytes: [UInt8] = []
        func varint(_ number: UInt64) {
            var rest = number
            while rest >= 0x80 {
                bytes.append(UInt8(rest & 0x7F) | 0x80)
                rest >>= 7
            }
            bytes.append(UInt8(rest))
        }
        func field(_ number: UInt64, _ content: [UInt8]) {
            varint(number << 3 | 2)
            varint(UInt64(content.count))
            bytes += content
        }
        varint(1 << 3)
        varint(UInt64(purpose.rawValue))
        field(2, cluster.bytes)
        field(3, trustDomain.bytes)
        for address in addresses { field(4, Array(address.utf8)) }
        field(5, rootPin)
        field(6, secret)
        varint(7 << 3)
        varint(UInt64(bitPattern: expires.seconds))
        if !subject.isEmpty { field(8, Array(subject.utf8)) }
        bytes += SHA256.hash(bytes).prefix(4)
        return String(decoding: Self.prefix + Base64.encodeURL(bytes), as: UTF8.self)
    }

    /// The name under which it is listed and revoked: 16 digits from the hash of the secret's hash.
    package var name: String { Self.name(secretHash: secretHash) }

    /// What the broker keeps instead of the secret: SHA-256, 32 bytes.
    package var secretHash: [UInt8] { SHA256.hash(secret) }

    package static func name(secretHash: [UInt8]) -> String { Hex.encode(Array(SHA256.hash(secretHash).prefix(8))) }

    package var pin: RootPin { RootPin(trustDomain: trustDomain, fingerprint: rootPin) }
}

extension JoinToken: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// Without the secret.
    package var description: String { "join token \(name) for \(purpose.word) \(subject) of \(cluster)" }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(reflecting: description) }
}
