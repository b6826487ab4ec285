internal import Compiler
internal import Federation
internal import Manifest
internal import MeshModel
internal import Store

/// The broker's own tables; the authority and the federation have theirs.
enum BrokerTable {
    static let meta = StoreTable("broker/meta")
    /// Objects of `apply` and `join --import`, by kind and name, as JSON.
    static let objects = StoreTable("broker/object")
    /// The last accepted content of the configuration directory.
    static let directory = StoreTable("broker/directory")
    /// Numbers of services and endpoints.
    static let identifiers = StoreTable("broker/identifier")
    /// Virtual addresses by mesh name: number, and since when the name is gone (0: it is there).
    static let addresses = StoreTable("broker/address")
    /// Gateways that were there last, so that a restart does not take them from the snapshot.
    static let gateways = StoreTable("broker/gateway")

    /// Starts of this broker: the epoch of what it publishes.
    static let startsKey = StoreKey(meta, "starts")
    /// There once a configuration was accepted.
    static let acceptedKey = StoreKey(meta, "accepted")

    static func federation(_ table: FederationTable) -> StoreTable {
        switch table {
        case .own: StoreTable("federation-own")
        case .records: StoreTable("federation-records")
        case .members: StoreTable("federation-members")
        case .sponsors: StoreTable("federation-sponsors")
        case .catalog: StoreTable("federation-catalog")
        case .cursors: StoreTable("federation-cursors")
        }
    }

    static func key(_ row: FederationRow) -> StoreKey { StoreKey(federation(row.table), row.key) }
}

/// All that a broker finds in its store when it starts.
struct BrokerRecords: Sendable {
    /// This start's number, from 1, durable before anything is published under it.
    let epoch: UInt64
    let stored: [HeldObject]
    let directory: [HeldObject]
    /// True when a configuration was accepted in an earlier run.
    let wasAccepted: Bool
    let identifiers: [IDKey: UInt32]
    let addresses: [MeshName: AddressPool.Entry]
    let gateways: [GatewayAddress]
    let federation: [FederationRow]

    /// Reads everything and counts this start.
    init(_ store: any KeyValueStore) throws(BrokerFailure) {
        do throws(StoreError) {
            let epoch = try store.write { (transaction) throws(StoreError) in
                let last = try transaction.get(BrokerTable.startsKey).flatMap { Self.number($0.value) } ?? 0
                try transaction.put(BrokerTable.startsKey, Self.bytes(last + 1))
                return last + 1
            }
            self = try store.read { (reading) throws(StoreError) in try BrokerRecords(reading, epoch) }
        } catch {
            throw BrokerFailure(error)
        }
    }

    private init(_ reading: any StoreReading, _ epoch: UInt64) throws(StoreError) {
        self.epoch = epoch
        wasAccepted = try reading.get(BrokerTable.acceptedKey) != nil
        var stored: [HeldObject] = []
        for entry in try reading.list(BrokerTable.objects) { stored.append(try Self.object(entry)) }
        self.stored = stored
        var directory: [HeldObject] = []
        for entry in try reading.list(BrokerTable.directory) { directory.append(try Self.object(entry)) }
        self.directory = directory
        var identifiers: [IDKey: UInt32] = [:]
        for entry in try reading.list(BrokerTable.identifiers) {
            guard let key = IDKey(String(decoding: entry.key.key, as: UTF8.self)),
                let number = Self.number(entry.value).flatMap({ UInt32(exactly: $0) })
            else { throw .corrupt("a number of the catalog in the database is damaged: restore a backup") }
            identifiers[key] = number
        }
        self.identifiers = identifiers
        var addresses: [MeshName: AddressPool.Entry] = [:]
        for entry in try reading.list(BrokerTable.addresses) {
            guard let name = MeshName(entry.key.key), let held = AddressRow.decode(entry.value) else {
                throw .corrupt("a virtual address in the database is damaged: restore a backup")
            }
            addresses[name] = held
        }
        self.addresses = addresses
        var gateways: [GatewayAddress] = []
        for entry in try reading.list(BrokerTable.gateways) {
            // A record that cannot be read is as good as none: the gateway itself brings it again.
            if let gateway = GatewayRow.decode(entry) { gateways.append(gateway) }
        }
        self.gateways = gateways
        var rows: [FederationRow] = []
        for table in FederationTable.allCases {
            for entry in try reading.list(BrokerTable.federation(table)) {
                rows.append(FederationRow(table, String(decoding: entry.key.key, as: UTF8.self), entry.value))
            }
        }
        federation = rows
    }

    private static func object(_ entry: StoreEntry) throws(StoreError) -> HeldObject {
        guard let held = HeldObject(stored: entry.value) else {
            throw .corrupt("the object \(entry.key) in the database cannot be read: restore a backup")
        }
        return held
    }

    static func bytes(_ number: UInt64) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: number >> (56 - 8 * UInt64($0))) }
    }

    static func number(_ bytes: [UInt8]) -> UInt64? {
        bytes.count == 8 ? bytes.reduce(0) { $0 << 8 | UInt64($1) } : nil
    }
}

/// A virtual address in the store: number and time, eight bytes each.
enum AddressRow {
    static func key(_ name: MeshName) -> StoreKey { StoreKey(BrokerTable.addresses, name.description) }

    static func encode(_ entry: AddressPool.Entry) -> [UInt8] {
        BrokerRecords.bytes(UInt64(entry.number))
            + BrokerRecords.bytes(UInt64(clamping: entry.goneSince.map { max(1, $0.seconds) } ?? 0))
    }

    static func decode(_ bytes: [UInt8]) -> AddressPool.Entry? {
        guard bytes.count == 16, let number = BrokerRecords.number(Array(bytes[..<8])).flatMap({ UInt32(exactly: $0) }),
            VirtualAddress.numbers.contains(number), let since = BrokerRecords.number(Array(bytes[8...]))
        else { return nil }
        return AddressPool.Entry(
            number: number, goneSince: since == 0 ? nil : WallTime(seconds: Int64(clamping: since)))
    }
}

/// A gateway in the store: address, port, region and zone, a line each, under its name.
enum GatewayRow {
    static func key(_ name: Label) -> StoreKey { StoreKey(BrokerTable.gateways, name.bytes) }

    static func encode(_ gateway: GatewayAddress) -> [UInt8] {
        Array("\(gateway.address)\n\(gateway.port)\n\(gateway.locality.region)\n\(gateway.locality.zone)".utf8)
    }

    static func decode(_ entry: StoreEntry) -> GatewayAddress? {
        let lines = entry.value.split(separator: 0x0A, omittingEmptySubsequences: false)
            .map { String(decoding: $0, as: UTF8.self) }
        guard lines.count == 4, let name = Label(entry.key.key), let port = UInt16(lines[1]) else { return nil }
        return GatewayAddress(
            name: name, address: lines[0], port: port, locality: Locality(region: lines[2], zone: lines[3]))
    }
}
