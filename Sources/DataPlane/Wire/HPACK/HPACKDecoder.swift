internal import Containers

/// Reads header blocks (RFC 7541): one per connection and direction, because its table lives as long as the connection.
///
/// What arrives may be anything: indices, lengths and sizes are checked before they are used, memory is bounded by the
/// table's capacity and by the length of one block.
package struct HPACKDecoder: ~Copyable {
    /// What a block had beside its fields.
    package struct Outcome {
        /// The fields that would have come above the limits are not in the block.
        package var isOversized = false
        /// A name or a value that RFC 9113 8.2.1 forbids: upper case, no token, controls, white space at an end, an
        /// unknown pseudo field, no name at all. Such a field is not in the block; decoding went on, so the tables of both
        /// sides are still equal.
        package var isMalformed = false
    }

    /// RFC 7541 4.2: the smallest size between two blocks, and the last.
    private static let updateLimit = 2

    private var table = HPACKTable()
    /// What Huffman strings stand for, and names that nobody knows.
    private var scratch = ByteBuffer()
    private let capacity: Int

    /// - capacity: what we announce as SETTINGS_HEADER_TABLE_SIZE. Until the peer has read it its table has 4,096 bytes.
    package init(capacity: Int) { self.capacity = max(0, capacity) }

    /// Gives back scratch memory that an idle connection does not need; the table stays.
    package mutating func shrink() {
        scratch.removeAll()
        scratch.shrink()
    }

    /// Decodes a whole header block and appends its fields to `block` in order.
    ///
    /// - countLimit, byteLimit: of `block.count` and `block.byteCount`; from the first field above them on none is kept.
    package mutating func decode(
        _ bytes: Span<UInt8>, into block: inout HeaderBlock, countLimit: Int, byteLimit: Int
    ) throws(HPACKError) -> Outcome {
        var sink = HPACKSink(countLimit: countLimit, byteLimit: byteLimit)
        var place = 0
        var updates = 0
        while place < bytes.count {
            let first = bytes[place]
            if first & 0x80 != 0 {
                let index = try HPACKInteger.read(bytes, &place, mask: 0x7f)
                try Self.addIndexed(index, table, &sink, &block)
            } else if first & 0xe0 == 0x20 {
                let size = try HPACKInteger.read(bytes, &place, mask: 0x1f)
                guard updates < Self.updateLimit, size <= capacity else { throw HPACKError() }
                table.resize(to: size)
                updates &+= 1
                continue
            } else {
                try Self.addLiteral(bytes, &place, &table, &scratch, &sink, &block)
            }
            // No update behind a field.
            updates = Self.updateLimit
        }
        return sink.outcome
    }

    @inline(__always)
    private static func addIndexed(
        _ index: Int, _ table: borrowing HPACKTable, _ sink: inout HPACKSink, _ block: inout HeaderBlock
    ) throws(HPACKError) {
        if index > HPACKStaticTable.count {
            let entry = try table.entry(at: index)
            guard !entry.isNameMalformed, !entry.isValueMalformed else {
                sink.outcome.isMalformed = true
                return
            }
            guard sink.takes(entry.size, block) else { return }
            if entry.name == .other {
                block.append(lowerCased: table.nameBytes(of: entry), value: table.value(of: entry), sensitive: false)
            } else {
                block.append(
                    entry.name, ofLength: Int(entry.nameCount), table.value(of: entry), sensitive: false)
            }
        } else {
            guard index >= 1 else { throw HPACKError() }
            let row = HPACKStaticTable.rows[index &- 1]
            sink.add(row.name, row.bytes.span.count, row.bytes.span, row.value.span, sensitive: false, to: &block)
        }
    }

    private static func addLiteral(
        _ bytes: Span<UInt8>, _ place: inout Int, _ table: inout HPACKTable, _ scratch: inout ByteBuffer,
        _ sink: inout HPACKSink, _ block: inout HeaderBlock
    ) throws(HPACKError) {
        let first = bytes[place]
        let isIndexed = first & 0x40 != 0
        let isSensitive = first & 0xf0 == 0x10
        let index = try HPACKInteger.read(bytes, &place, mask: isIndexed ? 0x3f : 0x0f)
        scratch.removeAll()
        var entry = HPACKTable.Entry()
        if index == 0 {
            try readName(bytes, &place, &scratch, &entry)
        } else if index > HPACKStaticTable.count {
            // A copy of the name, also because inserting may evict its entry (RFC 7541 4.4).
            let named = try table.entry(at: index)
            entry.name = named.name
            entry.nameCount = named.nameCount
            entry.isNameMalformed = named.isNameMalformed
            scratch.append(table.nameBytes(of: named))
        } else {
            let row = HPACKStaticTable.rows[index &- 1]
            entry.name = row.name
            entry.nameCount = UInt32(truncatingIfNeeded: row.bytes.span.count)
            if row.name == .other { scratch.append(row.bytes.span) }
        }
        let nameEnd = scratch.count
        let isHuffman = place < bytes.count && bytes[place] & 0x80 != 0
        let count = try HPACKInteger.read(bytes, &place, mask: 0x7f)
        guard count <= bytes.count &- place else { throw HPACKError() }
        let raw = bytes.extracting(place..<place &+ count)
        place &+= count
        if isHuffman {
            try HPACKHuffman.decode(raw, to: &scratch)
            finish(
                &entry, scratch.bytes.extracting(0..<nameEnd), scratch.bytes.extracting(nameEnd...), isIndexed,
                isSensitive, &table, &sink, &block)
        } else {
            finish(&entry, scratch.bytes, raw, isIndexed, isSensitive, &table, &sink, &block)
        }
    }

    /// Reads a name; its bytes are in `scratch` if nobody knows it.
    private static func readName(
        _ bytes: Span<UInt8>, _ place: inout Int, _ scratch: inout ByteBuffer, _ entry: inout HPACKTable.Entry
    ) throws(HPACKError) {
        let isHuffman = place < bytes.count && bytes[place] & 0x80 != 0
        let count = try HPACKInteger.read(bytes, &place, mask: 0x7f)
        guard count <= bytes.count &- place else { throw HPACKError() }
        let raw = bytes.extracting(place..<place &+ count)
        place &+= count
        if isHuffman {
            try HPACKHuffman.decode(raw, to: &scratch)
            judge(scratch.bytes, &entry)
            if entry.name != .other { scratch.removeAll() }
        } else {
            judge(raw, &entry)
            if entry.name == .other { scratch.append(raw) }
        }
    }

    private static func judge(_ name: Span<UInt8>, _ entry: inout HPACKTable.Entry) {
        entry.name = HeaderName(name)
        entry.nameCount = UInt32(truncatingIfNeeded: name.count)
        // `HeaderName` takes letters of either case.
        entry.isNameMalformed = entry.name == .other ? !name.isLowerCaseToken : !name.equals(entry.name.wireBytes)
    }

    @inline(__always)
    private static func finish(
        _ entry: inout HPACKTable.Entry, _ name: Span<UInt8>, _ value: Span<UInt8>, _ isIndexed: Bool,
        _ isSensitive: Bool, _ table: inout HPACKTable, _ sink: inout HPACKSink, _ block: inout HeaderBlock
    ) {
        entry.valueCount = UInt32(truncatingIfNeeded: value.count)
        entry.isValueMalformed = !value.isFieldValue
        if entry.isNameMalformed || entry.isValueMalformed {
            sink.outcome.isMalformed = true
        } else {
            sink.add(entry.name, Int(entry.nameCount), name, value, sensitive: isSensitive, to: &block)
        }
        if isIndexed { table.insert(entry, name: name, value: value) }
    }
}

/// The limits of one block, and what came of it so far.
struct HPACKSink {
    let countLimit: Int
    let byteLimit: Int
    var outcome = HPACKDecoder.Outcome()

    init(countLimit: Int, byteLimit: Int) {
        self.countLimit = countLimit
        self.byteLimit = byteLimit
    }

    /// False from the first field on that would come above the limits.
    @inline(__always)
    mutating func takes(_ size: Int, _ block: borrowing HeaderBlock) -> Bool {
        if !outcome.isOversized, block.count < countLimit, block.byteCount &+ size <= byteLimit { return true }
        outcome.isOversized = true
        return false
    }

    @inline(__always)
    mutating func add(
        _ name: HeaderName, _ nameCount: Int, _ nameBytes: Span<UInt8>, _ value: Span<UInt8>, sensitive: Bool,
        to block: inout HeaderBlock
    ) {
        guard takes(nameCount &+ value.count &+ HeaderBlock.fieldOverhead, block) else { return }
        if name == .other {
            block.append(lowerCased: nameBytes, value: value, sensitive: sensitive)
        } else {
            block.append(name, ofLength: nameCount, value, sensitive: sensitive)
        }
    }
}

extension Span where Element == UInt8 {
    /// A field name as HTTP/2 has it: token characters without capitals, at least one.
    fileprivate var isLowerCaseToken: Bool {
        for index in 0..<count where !self[index].isToken || self[index] &- 65 < 26 { return false }
        return !isEmpty
    }

    /// Nothing that RFC 9113 8.2.1 forbids in a value: no control, no white space at an end.
    @inline(__always)
    fileprivate var isFieldValue: Bool {
        guard count > 0 else { return true }
        let first = self[0]
        let last = self[count &- 1]
        return first != 0x20 && first != 9 && last != 0x20 && last != 9 && isFieldContent
    }
}
