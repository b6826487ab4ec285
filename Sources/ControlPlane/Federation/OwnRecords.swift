package import ControlCoding
package import MeshModel

/// What this cluster says of itself; the host hands it in whenever it changes.
package struct OwnDescription: Hashable, Sendable {
    /// `host:port` of the broker's 15012; empty when it only dials out.
    package var brokerAddresses: [String]
    package var gateways: [GatewayAddress]
    package var bundle: BundleStatement

    package init(brokerAddresses: [String], gateways: [GatewayAddress], bundle: BundleStatement) {
        self.brokerAddresses = brokerAddresses
        self.gateways = gateways
        self.bundle = bundle
    }
}

/// Our own records, and the rows from which all of it is rebuilt.
extension MembershipMachine {
    /// Signs a new membership or bundle record where something changed.
    mutating func describe(_ description: OwnDescription) throws(FederationError) -> [Effect] {
        var roots: [[UInt8]] = []
        for root in description.bundle.roots {
            guard let hash = verifier.rootHash(root) else { throw .badAnswer("an own root is no CA certificate") }
            if !roots.contains(hash) { roots.append(hash) }
        }
        own.roots = Set(roots)
        own.statement.rootHashes = roots
        own.statement.brokerAddresses = description.brokerAddresses
        own.statement.gateways = description.gateways
        own.statement.epoch = own.epoch
        own.statement.federationKey = own.signer.publicKey
        guard !own.isDead else { return [] }
        var effects: [Effect] = []
        try sign(.membership, own.statement.encode(), &effects)
        try sign(.bundle, description.bundle.encode(), &effects)
        return effects
    }

    private mutating func sign(
        _ type: RecordType, _ payload: [UInt8], again: Bool = false, _ effects: inout [Effect]
    ) throws(FederationError) {
        let place = RecordBook.Place.latest(owner: own.signer.keyName, type)
        if !again, book.record(at: place)?.payload == payload { return }
        guard let sequence = book.nextSequence(own.signer.keyName, type) else { throw .signing }
        let record = try own.signer.record(type, sequence: sequence, payload: payload)
        effects.append(.row(book.keep(record, at: place)))
        effects.append(.announce(record))
    }

    /// Signs the membership anew, above every sequence that anybody has seen.
    mutating func publishOwn(_ effects: inout [Effect]) {
        do { try sign(.membership, own.statement.encode(), again: true, &effects) } catch {
            effects.append(.alarm(FederationAlarm(.restored, own.cluster, "\(error)")))
        }
    }

    /// The own records that a join needs; nil before the first `describe`.
    var ownRecords: (membership: SignedRecord, bundle: SignedRecord)? {
        let name = own.signer.keyName
        guard let membership = book.record(at: .latest(owner: name, .membership)),
            let bundle = book.record(at: .latest(owner: name, .bundle))
        else { return nil }
        return (membership, bundle)
    }

    /// After leave or eviction: a new key, a higher epoch, new records; nobody knows of them before the next join.
    mutating func revive(_ signer: FederationSigner) throws(FederationError) -> [Effect] {
        guard own.isDead, signer.keyName != own.signer.keyName, !own.formerKeys.contains(signer.keyName) else {
            throw .ownKeyDead
        }
        let (epoch, overflow) = own.epoch.addingReportingOverflow(1)
        guard !overflow else { throw .ownKeyDead }
        var effects: [Effect] = []
        let old = own.signer.keyName
        let bundle = ownRecords?.bundle.payload
        let places: [RecordBook.Place] = [
            .latest(owner: old, .membership), .latest(owner: old, .bundle), .vouched(owner: old),
        ]
        effects += places.compactMap { book.drop($0) }.map(Effect.row)
        own.signer = signer
        own.formerKeys = []
        own.epoch = epoch
        own.isDead = false
        own.statement.epoch = epoch
        own.statement.federationKey = signer.publicKey
        dead.insert(old)
        effects.append(.row(FederationRow(.members, old.description, Self.deadRow)))
        effects.append(.row(ownRow()))
        if let bundle {
            try sign(.membership, own.statement.encode(), &effects)
            try sign(.bundle, bundle, &effects)
        }
        return effects
    }

    /// Replaces the federation key by a record that both sign; membership and bundle follow under the new one.
    mutating func rotate(to signer: FederationSigner) throws(FederationError) -> [Effect] {
        guard !own.isDead, let records = ownRecords else { throw .ownKeyDead }
        let old = own.signer
        guard signer.keyName != old.keyName, own.formerKeys.count < FederationLimits.rotations else { throw .signing }
        let payload = KeyRotationStatement(
            cluster: own.cluster, oldKey: old.publicKey, newKey: signer.publicKey
        ).encode()
        let record = SignedRecord(
            type: .keyRotation, sequence: 1, payload: payload,
            signatures: [
                try old.signature(role: .oldKey, type: .keyRotation, sequence: 1, payload: payload),
                try signer.signature(role: .newKey, type: .keyRotation, sequence: 1, payload: payload),
            ])
        var effects: [Effect] = []
        effects.append(.row(book.keep(record, at: .rotation(old: old.keyName))))
        effects.append(.announce(record))
        let left: [RecordBook.Place] = [.latest(owner: old.keyName, .membership), .latest(owner: old.keyName, .bundle)]
        effects += left.compactMap { book.drop($0) }.map(Effect.row)
        own.formerKeys.insert(old.keyName)
        own.signer = signer
        own.statement.federationKey = signer.publicKey
        effects.append(.row(ownRow()))
        try sign(.membership, own.statement.encode(), &effects)
        try sign(.bundle, records.bundle.payload, &effects)
        return effects
    }

    // MARK: Rows

    func ownRow() -> FederationRow {
        var writer = RowWriter()
        writer.number(own.epoch)
        writer.flag(own.isDead)
        writer.data(own.signer.keyName.bytes)
        writer.number(UInt64(own.formerKeys.count))
        for key in own.formerKeys.sorted() { writer.data(key.bytes) }
        return FederationRow(.own, "own", writer.bytes)
    }

    /// A key that was never a member here, and is dead.
    static let deadRow: [UInt8] = {
        var writer = RowWriter()
        writer.byte(4)
        return writer.bytes
    }()

    /// `buried`: it was a member, so that its name and domain are closed below its epoch.
    func row(of entry: Entry, buried: Bool = false) -> FederationRow {
        var writer = RowWriter()
        switch entry.standing {
        case .pending(let reason):
            writer.byte(1)
            writer.text(reason)
            writer.text(entry.source?.description ?? "")
        case .admitted(let admission):
            writer.byte(2)
            switch admission {
            case .token: writer.text("token")
            case .accepted: writer.text("accepted")
            case .sponsor(let cluster): writer.text("sponsor/\(cluster)")
            }
            writer.text("")
        case .gone(let reason):
            writer.byte(3)
            writer.text(reason)
            writer.text(buried ? "buried" : "")
        }
        writer.number(entry.sequence)
        writer.data(entry.statement.encode())
        writer.number(UInt64(entry.formerKeys.count))
        for (name, key) in entry.formerKeys.sorted(by: { $0.key < $1.key }) {
            writer.data(name.bytes)
            writer.data(key)
        }
        return FederationRow(.members, entry.keyName.description, writer.bytes)
    }

    /// Rebuilds everything from the rows of a store; throws `corruptRow`.
    mutating func restore(_ rows: [FederationRow]) throws(FederationError) {
        for row in rows where row.table == .records { try book.restore(row) }
        for row in rows {
            let corrupt = FederationError.corruptRow(row.table, key: row.key)
            switch row.table {
            case .own: guard restoreOwn(row) else { throw corrupt }
            case .members: guard restoreMember(row) else { throw corrupt }
            case .sponsors:
                guard let cluster = ClusterID(row.key) else { throw corrupt }
                usedTokenOf.insert(cluster)
            case .records, .catalog, .cursors: continue
            }
        }
        let name = own.signer.keyName
        if let record = book.record(at: .latest(owner: name, .membership)),
            let statement = try? MembershipStatement.decode(record.payload)
        {
            own.statement = statement
            own.roots = Set(statement.rootHashes)
        }
        for name in entries.keys { restoreBundle(name) }
    }

    private mutating func restoreOwn(_ row: FederationRow) -> Bool {
        guard let value = row.value, var reader = RowReader(value), let epoch = reader.number(),
            let isDead = reader.flag(), let name = reader.data().flatMap({ KeyName($0) }), let count = reader.number(),
            count <= UInt64(FederationLimits.rotations)
        else { return false }
        own.epoch = epoch
        own.isDead = isDead
        own.statement.epoch = epoch
        for _ in 0..<count {
            guard let key = reader.data().flatMap({ KeyName($0) }) else { return false }
            own.formerKeys.insert(key)
        }
        // The key file and the store belong together; a new key comes in by `revive` or `rotate` only.
        return name == own.signer.keyName && reader.isAtEnd
    }

    private mutating func restoreMember(_ row: FederationRow) -> Bool {
        guard let value = row.value, let name = KeyName(hexadecimal: row.key), var reader = RowReader(value),
            let state = reader.byte()
        else { return false }
        if state == 4 {
            dead.insert(name)
            return reader.isAtEnd
        }
        guard let first = reader.text(), let second = reader.text(), let sequence = reader.number(),
            let statement = reader.data().flatMap({ try? MembershipStatement.decode($0) }), let count = reader.number(),
            count <= UInt64(FederationLimits.rotations)
        else { return false }
        var formerKeys: [KeyName: [UInt8]] = [:]
        for _ in 0..<count {
            guard let key = reader.data().flatMap({ KeyName($0) }), let spki = reader.data() else { return false }
            formerKeys[key] = spki
            retired.insert(key)
        }
        var entry = Entry(
            statement: statement, keyName: name, standing: .pending(reason: first), sequence: sequence,
            formerKeys: formerKeys, source: nil, bundle: nil, bundleRoots: [])
        switch state {
        case 1: entry.source = ClusterID(second)
        case 2:
            switch first {
            case "token": entry.standing = .admitted(.token)
            case "accepted": entry.standing = .admitted(.accepted)
            default:
                guard first.hasPrefix("sponsor/"), let cluster = ClusterID(String(first.dropFirst(8))) else {
                    return false
                }
                entry.standing = .admitted(.sponsor(cluster))
            }
            members[statement.cluster] = name
        case 3:
            entry.standing = .gone(reason: first)
            dead.insert(name)
            if second == "buried" {
                let epoch = max(graves[entry.cluster]?.epoch ?? 0, statement.epoch)
                graves[entry.cluster] = Grave(cluster: entry.cluster, trustDomain: entry.trustDomain, epoch: epoch)
            }
        default: return false
        }
        if state != 3, let record = book.record(at: .latest(owner: name, .membership)),
            let newest = try? MembershipStatement.decode(record.payload)
        {
            entry.statement = newest
            entry.sequence = record.sequence
        }
        entries[name] = entry
        return reader.isAtEnd
    }

    private mutating func restoreBundle(_ name: KeyName) {
        guard let record = book.record(at: .latest(owner: name, .bundle)),
            let statement = try? BundleStatement.decode(record.payload), var entry = entries[name]
        else { return }
        entry.bundle = TrustBundle(
            trustDomain: statement.trustDomain, roots: statement.roots, revokedSerials: statement.revokedSerials,
            sequence: record.sequence)
        entry.bundleRoots = Set(statement.roots.compactMap { verifier.rootHash($0) })
        entries[name] = entry
    }
}
