internal import ControlCoding
internal import MeshModel

/// What one member offers here: taken from its own stream only, kept over restarts.
struct InboundCatalog: Sendable {
    enum Outcome {
        /// The held catalog moved; the rows make it last.
        case moved([FederationRow])
        /// A part came; nothing moved yet.
        case partial
        /// Already held.
        case repeated
        /// The receiver cannot go on from what it holds: a whole catalog is needed.
        case gap
        /// More than a member may offer.
        case quota(String)
    }

    private struct Assembly: Sendable {
        var cursor: CatalogCursor
        var nextIndex: UInt32
        var byteCount: Int
        var records: [ObjectName: CatalogRecord]
    }

    let owner: ClusterID
    private(set) var cursor = CatalogCursor.none
    private(set) var records: [ObjectName: CatalogRecord] = [:]
    private var assembly: Assembly?

    init(owner: ClusterID) { self.owner = owner }

    var sorted: [CatalogRecord] { records.values.sorted { $0.service < $1.service } }

    /// Half a catalog of a stream that ended is worth nothing.
    mutating func streamEnded() { assembly = nil }

    mutating func take(_ chunk: CatalogChunk, byteCount: Int) -> Outcome {
        if chunk.cursor.epoch == cursor.epoch, chunk.cursor.revision < cursor.revision { return .repeated }
        if chunk.index == 0 {
            assembly = Assembly(cursor: chunk.cursor, nextIndex: 0, byteCount: 0, records: [:])
        }
        guard var current = assembly, current.cursor == chunk.cursor, current.nextIndex == chunk.index else {
            assembly = nil
            return .gap
        }
        current.nextIndex += 1
        current.byteCount += byteCount
        for record in chunk.records { current.records[record.service] = record }
        guard current.records.count <= CodingLimits.catalogRecords else {
            assembly = nil
            return .quota("more than \(CodingLimits.catalogRecords) services")
        }
        guard current.byteCount <= FederationLimits.catalogBytes, current.nextIndex < .max else {
            assembly = nil
            return .quota("a catalog of more than \(FederationLimits.catalogBytes) bytes")
        }
        guard chunk.isLast else {
            assembly = current
            return .partial
        }
        assembly = nil
        var rows = records.keys.filter { current.records[$0] == nil }.sorted().map { row($0, nil) }
        for record in current.records.values.sorted(by: { $0.service < $1.service })
        where records[record.service] != record {
            rows.append(row(record.service, record))
        }
        records = current.records
        cursor = chunk.cursor
        return .moved(rows)
    }

    mutating func take(_ delta: CatalogDelta) -> Outcome {
        if delta.epoch == cursor.epoch, delta.to <= cursor.revision { return .repeated }
        guard delta.epoch == cursor.epoch, delta.from == cursor.revision, cursor != .none else { return .gap }
        var next = records
        for name in delta.removed { next[name] = nil }
        for record in delta.changed { next[record.service] = record }
        guard next.count <= CodingLimits.catalogRecords else {
            return .quota("more than \(CodingLimits.catalogRecords) services")
        }
        records = next
        cursor.revision = delta.to
        return .moved(delta.removed.map { row($0, nil) } + delta.changed.map { row($0.service, $0) })
    }

    private func row(_ service: ObjectName, _ record: CatalogRecord?) -> FederationRow {
        FederationRow(.catalog, "\(owner)/\(service)", record.map(SyncFrame.encode))
    }

    func cursorRow(heard: WallTime) -> FederationRow {
        var writer = RowWriter()
        writer.number(cursor.epoch)
        writer.number(cursor.revision)
        writer.number(heard.seconds)
        return FederationRow(.cursors, owner.description, writer.bytes)
    }

    /// Rows that forget the whole catalog.
    func removal() -> [FederationRow] {
        records.keys.sorted().map { row($0, nil) } + [FederationRow(.cursors, owner.description, nil)]
    }

    mutating func restoreCursor(_ row: FederationRow) -> WallTime? {
        guard let value = row.value, var reader = RowReader(value), let epoch = reader.number(),
            let revision = reader.number(), let heard = reader.signedNumber(), reader.isAtEnd
        else { return nil }
        cursor = CatalogCursor(epoch: epoch, revision: revision)
        return WallTime(seconds: heard)
    }

    mutating func restoreRecord(_ row: FederationRow) -> Bool {
        guard let value = row.value, let record = try? SyncFrame.decodeRecord(value, owner: owner) else { return false }
        records[record.service] = record
        return true
    }
}

/// What this cluster has told one member of its own catalog.
struct OutboundCatalog: Sendable {
    private(set) var cursor = CatalogCursor.none
    private var told: [ObjectName: CatalogRecord] = [:]
    private var lastSnapshot: Instant?

    /// Frames that bring the member from what it holds to `catalog`, narrowed to what it may see.
    /// `whole`: it said that it cannot go on from what it was told.
    mutating func frames(
        of catalog: MemberCatalog, for member: ClusterID, whole: Bool, at now: Instant
    ) -> [SyncFrame] {
        let target = CatalogCursor(epoch: catalog.epoch, revision: catalog.revision)
        if !whole, target == cursor { return [] }
        var visible: [ObjectName: CatalogRecord] = [:]
        for record in catalog.records where record.exportTo.covers(member) { visible[record.service] = record }
        defer {
            told = visible
            cursor = target
        }
        if !whole, cursor.epoch == target.epoch, cursor != .none, target.revision > cursor.revision {
            let removed = told.keys.filter { visible[$0] == nil }.sorted()
            let changed = visible.values.filter { told[$0.service] != $0 }.sorted { $0.service < $1.service }
            let length = changed.reduce(removed.count * 130) { $0 + SyncFrame.encode($1).count + 8 }
            if length <= FederationLimits.sentFrameBytes {
                return [
                    .delta(
                        CatalogDelta(
                            epoch: target.epoch, from: cursor.revision, to: target.revision, changed: changed,
                            removed: removed))
                ]
            }
        }
        lastSnapshot = now
        return Self.snapshot(visible.values.sorted { $0.service < $1.service }, target)
    }

    /// The peer's Hello says what it holds; only what was told in this run can be gone on from.
    mutating func resume(at held: CatalogCursor) {
        if held != cursor {
            cursor = .none
            told = [:]
        }
    }

    /// Keeps a peer that asks for whole catalogs again and again from being a burden.
    func maySendWhole(at now: Instant) -> Bool {
        lastSnapshot.map { now - $0 >= FederationLimits.snapshotInterval } ?? true
    }

    private static func snapshot(_ records: [CatalogRecord], _ cursor: CatalogCursor) -> [SyncFrame] {
        var chunks: [[CatalogRecord]] = [[]]
        var length = 0
        for record in records {
            let size = SyncFrame.encode(record).count + 8
            // An own record too large for a frame is left out: the frame would be refused whole.
            guard size < CodingLimits.frameBytes - 1_024 else { continue }
            if length > 0, length + size > FederationLimits.sentFrameBytes {
                chunks.append([])
                length = 0
            }
            chunks[chunks.count - 1].append(record)
            length += size
        }
        return chunks.enumerated().map { index, records in
            .snapshot(
                CatalogChunk(
                    cursor: cursor, index: UInt32(clamping: index), isLast: index == chunks.count - 1, records: records)
            )
        }
    }
}
