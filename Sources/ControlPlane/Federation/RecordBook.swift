package import ControlCoding

/// The signed records that this broker keeps: one for each place, verbatim, with the sequences that may not fall.
///
/// It knows nothing of who may be a member. Records come in here after their signatures were verified.
package struct RecordBook: Sendable {
    /// Where a record stands.
    package enum Place: Hashable, Sendable {
        /// The newest membership or bundle of an owner.
        case latest(owner: KeyName, RecordType)
        /// The newest membership of an owner that a known sponsor countersigned: what a new member admits it by.
        case vouched(owner: KeyName)
        /// The first tombstone of a key by one signer.
        case tombstone(subject: KeyName, signer: KeyName)
        /// What replaced a key.
        case rotation(old: KeyName)

        /// The key of its row.
        var text: String {
            switch self {
            case .latest(let owner, let type): "\(owner)/latest/\(type.rawValue)"
            case .vouched(let owner): "\(owner)/vouched"
            case .tombstone(let subject, let signer): "\(subject)/tombstone/\(signer)"
            case .rotation(let old): "\(old)/rotation"
            }
        }

        /// Order in which records are told: what ends a membership, then what begins one, then what needs one.
        fileprivate var rank: Int {
            switch self {
            case .tombstone: 0
            case .vouched: 1
            case .rotation: 2
            case .latest(_, .membership): 3
            case .latest: 4
            }
        }
    }

    /// What a record is beside the one in its place.
    package enum Verdict: Hashable, Sendable {
        case newer
        /// Same sequence, same content.
        case same
        /// A lower sequence than one that was seen.
        case older
        /// Same sequence, other content: somebody signs two things as one.
        case equivocation
    }

    private struct Entry: Sendable {
        var record: SignedRecord
        var digest: [UInt8]
        /// Order in which it is told: rank, then place.
        var order: String
    }

    private struct Counter: Hashable, Sendable {
        var owner: KeyName
        var type: RecordType
    }

    private let hash: @Sendable ([UInt8]) -> [UInt8]
    private var entries: [Place: Entry] = [:]
    /// How many places hold the same bytes: latest and vouched often do.
    private var digests: [[UInt8]: Int] = [:]
    private var highest: [Counter: UInt64] = [:]
    /// Exclusive or of the digests of all kept records.
    package private(set) var digest = [UInt8](repeating: 0, count: 32)

    package init(hash: @escaping @Sendable ([UInt8]) -> [UInt8]) { self.hash = hash }

    package func record(at place: Place) -> SignedRecord? { entries[place]?.record }

    /// True when exactly these bytes are kept: nothing needs to be verified again.
    package func holds(_ encoded: [UInt8]) -> Bool { digests[hash(encoded)] != nil }

    /// Compares a verified record with the newest of its owner and type.
    package func judge(_ record: SignedRecord, owner: KeyName) -> Verdict {
        guard let highest = highest[Counter(owner: owner, type: record.type)] else { return .newer }
        if record.sequence != highest { return record.sequence > highest ? .newer : .older }
        guard let kept = entries[.latest(owner: owner, record.type)]?.record else { return .newer }
        return kept.payload == record.payload ? .same : .equivocation
    }

    /// The highest sequence seen of an owner and type; 0 when there is none.
    package func highestSequence(_ owner: KeyName, _ type: RecordType) -> UInt64 {
        highest[Counter(owner: owner, type: type)] ?? 0
    }

    /// The next own sequence; nil when the numbers are used up. It counts from when the record is kept.
    package func nextSequence(_ owner: KeyName, _ type: RecordType) -> UInt64? {
        let (next, overflow) = highestSequence(owner, type).addingReportingOverflow(1)
        return overflow ? nil : next
    }

    /// Remembers that a sequence was used without keeping the record.
    package mutating func raise(_ owner: KeyName, _ type: RecordType, to sequence: UInt64) {
        let counter = Counter(owner: owner, type: type)
        highest[counter] = max(highest[counter] ?? 0, sequence)
    }

    /// Puts the record into its place; the row makes it last.
    package mutating func keep(_ record: SignedRecord, at place: Place) -> FederationRow {
        insert(record, at: place)
        return FederationRow(.records, place.text, record.encoded)
    }

    /// Takes a record out; the sequence stays for as long as the process runs.
    package mutating func drop(_ place: Place) -> FederationRow? {
        guard let entry = entries.removeValue(forKey: place) else { return nil }
        forget(entry)
        return FederationRow(.records, place.text, nil)
    }

    private mutating func insert(_ record: SignedRecord, at place: Place) {
        if let former = entries[place] { forget(former) }
        let entry = Entry(record: record, digest: hash(record.encoded), order: "\(place.rank) \(place.text)")
        entries[place] = entry
        digests[entry.digest, default: 0] += 1
        if digests[entry.digest] == 1 { toggle(entry.digest) }
        if let owner = Self.counterOwner(place) { raise(owner, record.type, to: record.sequence) }
    }

    private mutating func forget(_ entry: Entry) {
        let left = (digests[entry.digest] ?? 1) - 1
        digests[entry.digest] = left > 0 ? left : nil
        if left <= 0 { toggle(entry.digest) }
    }

    private mutating func toggle(_ value: [UInt8]) {
        for index in 0..<min(digest.count, value.count) { digest[index] ^= value[index] }
    }

    private static func counterOwner(_ place: Place) -> KeyName? {
        switch place {
        case .latest(let owner, _), .vouched(let owner): owner
        case .tombstone(_, let signer): signer
        case .rotation(let old): old
        }
    }

    /// All records in the order in which a peer should read them.
    package var all: [SignedRecord] {
        var seen: Set<[UInt8]> = []
        return entries.values.sorted { $0.order < $1.order }.compactMap {
            seen.insert($0.digest).inserted ? $0.record : nil
        }
    }

    /// Tombstones of one key.
    package func tombstones(of subject: KeyName) -> [SignedRecord] {
        entries.compactMap { place, entry in
            if case .tombstone(subject, _) = place { return entry.record }
            return nil
        }.sorted { $0.encoded.lexicographicallyPrecedes($1.encoded) }
    }

    package var tombstoneCount: Int {
        entries.keys.count {
            if case .tombstone = $0 { return true }
            return false
        }
    }

    /// Reads a stored row back; throws `corruptRow`.
    mutating func restore(_ row: FederationRow) throws(FederationError) {
        let parts = row.key.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard let value = row.value, let record = try? SignedRecord.decode(value), parts.count >= 2,
            let first = KeyName(hexadecimal: parts[0])
        else { throw .corruptRow(row.table, key: row.key) }
        let place: Place? =
            switch (parts[1], parts.count) {
            case ("latest", 3): .latest(owner: first, record.type)
            case ("vouched", 2): .vouched(owner: first)
            case ("rotation", 2): .rotation(old: first)
            case ("tombstone", 3): KeyName(hexadecimal: parts[2]).map { .tombstone(subject: first, signer: $0) }
            default: nil
            }
        guard let place, place.text == row.key else { throw .corruptRow(row.table, key: row.key) }
        insert(record, at: place)
    }
}

extension KeyName {
    /// Reads what `description` wrote.
    package init?(hexadecimal text: String) {
        let digits = Array(text.utf8)
        guard digits.count == 2 * Self.length else { return nil }
        var bytes: [UInt8] = []
        for index in stride(from: 0, to: digits.count, by: 2) {
            guard let high = Self.value(digits[index]), let low = Self.value(digits[index + 1]) else { return nil }
            bytes.append(high << 4 | low)
        }
        self.init(bytes)
    }

    private static func value(_ digit: UInt8) -> UInt8? {
        switch digit {
        case 0x30...0x39: digit - 0x30
        case 0x61...0x66: digit - 0x61 + 10
        default: nil
        }
    }
}
