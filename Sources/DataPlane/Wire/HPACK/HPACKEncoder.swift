package import Containers

/// Writes header blocks (RFC 7541): one per connection and direction, because its table lives as long as the connection.
///
/// Strings are written plain: packing and unpacking Huffman codes costs both sides more instructions than the bytes are
/// worth where the link is a pod's or a cluster's network (HAProxy does the same).
package struct HPACKEncoder: ~Copyable {
    private enum Indexing { case never, without, with }

    /// Shorter cookies may be guessed (RFC 7541 7.1.3; nghttp2 and Firefox draw the line here).
    private static let guessableCookie = 20

    private var table = HPACKTable()
    private var index = HPACKIndex()
    private let capacity: Int
    /// The size that the peer's decoder has.
    private var announced = HPACKTable.initialCapacity
    /// The smallest that our table had since the last block; that block's size where it only grew.
    private var smallest = HPACKTable.initialCapacity

    /// - capacity: the most our encoder uses, whatever the peer offers. Until `limit` says more it is 4,096 bytes.
    package init(capacity: Int) {
        self.capacity = max(0, capacity)
        limit(HPACKTable.initialCapacity)
    }

    /// The peer's SETTINGS_HEADER_TABLE_SIZE: where it changes the table, the next block begins with the size updates of
    /// RFC 7541 4.2 (smallest, then last).
    package mutating func limit(_ peerTable: Int) {
        let size = min(capacity, max(0, peerTable))
        guard size != table.capacity else { return }
        table.resize(to: size)
        smallest = min(smallest, size)
    }

    /// Appends the header block to `output`: pseudo fields first, then the others in order, without those that HTTP/2
    /// forbids (host, te other than trailers, hop-by-hop).
    ///
    /// - replaced: the value of this field (if not `.other`) is written as `value` instead of the block's.
    package mutating func encode(
        _ block: borrowing HeaderBlock, replacing replaced: HeaderName = .other, with value: StaticString = "",
        into output: inout ByteBuffer
    ) {
        if announced != table.capacity || smallest < announced { writeUpdates(&output) }
        let count = block.count
        // Most blocks have them in front; those behind the first other field are looked for.
        var firstOther = count
        for position in 0..<count {
            let entry = block.entry(at: position)
            guard entry.name.isPseudo else {
                firstOther = min(firstOther, position)
                continue
            }
            if entry.name == replaced {
                write(entry.name, Span(), value.span, false, &output)
            } else {
                write(entry.name, Span(), block.value(of: entry), entry.isSensitive, &output)
            }
        }
        for position in firstOther..<count {
            let entry = block.entry(at: position)
            if !entry.name.isOfNoFraming {
                guard Self.isAllowed(entry, block) else { continue }
            }
            if entry.name == .other {
                write(.other, block.nameBytes(at: position), block.value(of: entry), entry.isSensitive, &output)
            } else if entry.name == replaced {
                write(entry.name, Span(), value.span, false, &output)
            } else {
                write(entry.name, Span(), block.value(of: entry), entry.isSensitive, &output)
            }
        }
    }

    private static func isAllowed(_ entry: HeaderBlock.Entry, _ block: borrowing HeaderBlock) -> Bool {
        switch entry.name {
        case .other: true
        case .host: false
        case .te: block.value(of: entry).equalsIgnoringCase("trailers")
        default: !entry.name.isPseudo && !entry.name.isHopByHop
        }
    }

    private mutating func writeUpdates(_ output: inout ByteBuffer) {
        if smallest < min(announced, table.capacity) {
            HPACKInteger.append(smallest, mask: 0x1f, pattern: 0x20, to: &output)
        }
        HPACKInteger.append(table.capacity, mask: 0x1f, pattern: 0x20, to: &output)
        announced = table.capacity
        smallest = table.capacity
    }

    /// - nameBytes: of an unknown name; else empty.
    private mutating func write(
        _ name: HeaderName, _ nameBytes: Span<UInt8>, _ value: Span<UInt8>, _ isSensitive: Bool,
        _ output: inout ByteBuffer
    ) {
        if !isSensitive {
            let row = HPACKStaticTable.index(of: name, value)
            if row > 0 { return output.append(0x80 | UInt8(truncatingIfNeeded: row)) }
        }
        let indexing = indexing(name, value, isSensitive)
        if indexing == .with {
            let latest = index.latest(name)
            if name != .other, let entry = table.entry(numbered: latest), table.holds(entry, name, nameBytes, value) {
                return Self.writeIndex(table.index(numbered: latest), &output)
            }
            let hash = Self.hash(name, nameBytes, value)
            if let number = index.find(hash, name, nameBytes, value, in: table) {
                index.setLatest(name, number)
                return Self.writeIndex(table.index(numbered: number), &output)
            }
            return insert(name, nameBytes, value, hash, &output)
        }
        let row = Self.staticRow(name, nameBytes)
        Self.writeLiteral(row, indexing == .never ? 0x10 : 0, 0x0f, name, nameBytes, value, &output)
    }

    private mutating func insert(
        _ name: HeaderName, _ nameBytes: Span<UInt8>, _ value: Span<UInt8>, _ hash: UInt32, _ output: inout ByteBuffer
    ) {
        let row = Self.staticRow(name, nameBytes)
        let nameCount = name == .other ? nameBytes.count : name.wireBytes.count
        var entry = HPACKTable.Entry()
        entry.name = name
        entry.nameCount = UInt32(truncatingIfNeeded: nameCount)
        entry.valueCount = UInt32(truncatingIfNeeded: value.count)
        entry.hash = hash
        // A large one would push out everything else; age and if-modified-since are new each time.
        if entry.size > table.capacity / 4 &* 3 || name == .other && (row == 21 || row == 40) {
            return Self.writeLiteral(row, 0, 0x0f, name, nameBytes, value, &output)
        }
        // The reader resolves the name's index before it inserts.
        var nameIndex = row
        if row == 0, name != .other {
            let latest = index.latest(name)
            if let named = table.entry(numbered: latest), named.name == name {
                nameIndex = table.index(numbered: latest)
            }
        }
        Self.writeLiteral(nameIndex, 0x40, 0x3f, name, nameBytes, value, &output)
        let number = table.nextNumber
        table.insert(entry, name: nameBytes, value: value)
        index.insert(number, hash, in: table)
        index.setLatest(name, number)
    }

    @inline(__always)
    private static func writeIndex(_ index: Int, _ output: inout ByteBuffer) {
        HPACKInteger.append(index, mask: 0x7f, pattern: 0x80, to: &output)
    }

    private static func writeLiteral(
        _ nameIndex: Int, _ pattern: UInt8, _ mask: UInt8, _ name: HeaderName, _ nameBytes: Span<UInt8>,
        _ value: Span<UInt8>, _ output: inout ByteBuffer
    ) {
        HPACKInteger.append(nameIndex, mask: mask, pattern: pattern, to: &output)
        if nameIndex == 0 {
            let bytes = name == .other ? nameBytes : name.wireBytes
            HPACKInteger.append(bytes.count, mask: 0x7f, pattern: 0, to: &output)
            output.append(bytes)
        }
        HPACKInteger.append(value.count, mask: 0x7f, pattern: 0, to: &output)
        output.append(value)
    }

    @inline(__always)
    private static func staticRow(_ name: HeaderName, _ nameBytes: Span<UInt8>) -> Int {
        name == .other
            ? HPACKStaticTable.index(ofUnknown: nameBytes) : HPACKStaticTable.index(of: name)
    }

    @inline(__always)
    private func indexing(_ name: HeaderName, _ value: Span<UInt8>, _ isSensitive: Bool) -> Indexing {
        if isSensitive { return .never }
        return switch name {
        // Secrets, which others whose requests share the connection must not be able to guess (RFC 7541 7.1.3).
        case .authorization, .proxyAuthorization: .never
        case .cookie: value.count < Self.guessableCookie ? .never : .with
        // New most of the time: they would push out what comes again. And a path may hold a secret.
        case .path, .contentLength, .etag, .location, .setCookie, .ifNoneMatch: .without
        default: table.capacity > 0 && !name.isNewEachTime ? .with : .without
        }
    }

    @inline(__always)
    private static func hash(_ name: HeaderName, _ nameBytes: Span<UInt8>, _ value: Span<UInt8>) -> UInt32 {
        let seed = name == .other ? nameBytes.mixed(into: 0) : UInt64(name.rawValue) &* 0x9E37_79B9_7F4A_7C15
        let hash = value.mixed(into: seed)
        return UInt32(truncatingIfNeeded: hash ^ hash >> 29)
    }
}
