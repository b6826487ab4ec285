import Identity
package import MeshModel
package import Store

/// A certificate that the authority gave out.
package struct IssuedSVID: Hashable, Sendable {
    /// Why it was given.
    package enum Cause: Hashable, Sendable {
        /// By the broker's own word, or in a session with a valid SVID.
        case policy
        case token(name: String)
        /// An SVID that had run out; logged as such (PROTOCOLS section 1, Restart).
        case expiredRenewal(oldSerial: [UInt8])

        var text: String {
            switch self {
            case .policy: "policy"
            case .token(let name): "token \(name)"
            case .expiredRenewal(let serial): "expired-renewal \(Hex.encode(serial))"
            }
        }
    }

    /// DER, leaf first, without the root.
    package let chain: [[UInt8]]
    package let id: SPIFFEID
    package let serial: [UInt8]
    package let notBefore: WallTime
    package let notAfter: WallTime
    package let cause: Cause
    /// True when an earlier answer was given again.
    package let isRepeat: Bool
}

/// One row of the list of issued certificates.
package struct IssuedEntry: Hashable, Sendable {
    package let serial: [UInt8]
    package let id: String
    package let authority: String
    package let notBefore: WallTime
    package let notAfter: WallTime
    package let cause: String
    package let isRevoked: Bool
}

/// Reads the authority's tables at one point in time.
package struct AuthorityView {
    let reading: any StoreReading

    package init(_ reading: any StoreReading) { self.reading = reading }

    static func read<Value: Sendable>(
        _ store: any KeyValueStore, _ body: (AuthorityView) throws(AuthorityError) -> Value
    ) throws(AuthorityError) -> Value {
        let outcome: Result<Value, AuthorityError> = try stored { () throws(StoreError) in
            try store.read { (reading) throws(StoreError) in
                do throws(AuthorityError) {
                    return .success(try body(AuthorityView(reading)))
                } catch {
                    return .failure(error)
                }
            }
        }
        return try outcome.get()
    }

    /// The life cycle as it stands.
    package func machine() throws(AuthorityError) -> AuthorityMachine {
        var entries: [AuthorityEntry] = []
        for entry in try stored({ () throws(StoreError) in try reading.list(AuthorityTable.entries) }) {
            let record = try RecordCoding.decode(EntryRecord.self, entry)
            entries.append(
                AuthorityEntry(
                    id: String(decoding: entry.key.key, as: UTF8.self), phase: record.phase,
                    root: try RecordCoding.bytes(record.root), entered: record.entered,
                    since: WallTime(seconds: record.since)))
        }
        var sequence: UInt64 = 0
        if let entry = try stored({ () throws(StoreError) in try reading.get(AuthorityTable.sequenceKey) }) {
            sequence = try RecordCoding.decode(UInt64.self, entry)
        }
        return AuthorityMachine(entries: entries, sequence: sequence)
    }

    /// Roots, serials that are revoked and not expired, and the sequence.
    package func bundle(of trustDomain: TrustDomain, now: WallTime) throws(AuthorityError) -> TrustBundle {
        let machine = try machine()
        var serials: [[UInt8]] = []
        for entry in try stored({ () throws(StoreError) in try reading.list(AuthorityTable.revoked) }) {
            let record = try RecordCoding.decode(RevokedRecord.self, entry)
            if record.notAfter + Leeway.seconds >= now.seconds { serials.append(entry.key.key) }
        }
        return TrustBundle(
            trustDomain: trustDomain, roots: machine.roots, revokedSerials: serials, sequence: machine.sequence)
    }

    /// Certificates by their end, the first to end first; `after` is the last one of the page before.
    package func issued(after: IssuedEntry? = nil, limit: Int) throws(AuthorityError) -> [IssuedEntry] {
        let start = after.map { AuthorityTable.ending($0.notAfter, $0.serial).key }
        let keys = try stored { () throws(StoreError) in
            try reading.list(AuthorityTable.endings, prefix: [], after: start, limit: limit)
        }
        var found: [IssuedEntry] = []
        for key in keys {
            let serial = Array(key.key.key.dropFirst(8))
            guard let record = try issuedRecord(serial) else { continue }
            found.append(
                IssuedEntry(
                    serial: serial, id: record.id, authority: record.authority,
                    notBefore: WallTime(seconds: record.notBefore), notAfter: WallTime(seconds: record.notAfter),
                    cause: record.cause, isRevoked: try isRevoked(serial)))
        }
        return found
    }

    package func isRevoked(_ serial: [UInt8]) throws(AuthorityError) -> Bool {
        try stored { () throws(StoreError) in try reading.get(StoreKey(AuthorityTable.revoked, serial)) } != nil
    }

    func issuedRecord(_ serial: [UInt8]) throws(AuthorityError) -> IssuedRecord? {
        let entry = try stored { () throws(StoreError) in try reading.get(StoreKey(AuthorityTable.issued, serial)) }
        guard let entry else { return nil }
        return try RecordCoding.decode(IssuedRecord.self, entry)
    }

    /// The end of the last certificate signed by `authority` that is still valid, give or take the leeway.
    func lastEnd(signedBy authority: String, after now: WallTime) throws(AuthorityError) -> WallTime? {
        let start = AuthorityTable.bigEndian(now.advanced(bySeconds: -Leeway.seconds))
        let keys = try stored { () throws(StoreError) in
            try reading.list(AuthorityTable.endings, prefix: [], after: start, limit: .max)
        }
        guard let last = keys.last(where: { $0.value == Array(authority.utf8) }) else { return nil }
        return try issuedRecord(Array(last.key.key.dropFirst(8))).map { WallTime(seconds: $0.notAfter) }
    }
}
