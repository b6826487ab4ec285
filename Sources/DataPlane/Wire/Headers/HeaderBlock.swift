internal import Containers

/// The fields of one message: one byte slab and one entry per field. Names that `HeaderName` knows take no bytes.
///
/// Pseudo fields may be appended at any time; writers put them in front. `removeAll` keeps the memory, so that a block
/// that is used again allocates nothing.
@safe
package struct HeaderBlock: ~Copyable {
    struct Entry {
        var nameStart: UInt32
        /// Also that of a known name, which has no bytes in the slab.
        var nameCount: UInt32
        var valueStart: UInt32
        var valueCount: UInt32
        var name: HeaderName
        var isSensitive: Bool
    }

    /// What RFC 9113 6.5.2 counts for each field beside its bytes.
    package static let fieldOverhead = 32

    private var slab = ByteBuffer()
    private var entries = EntryList()
    /// One bit per known name that was ever appended since `removeAll`: misses cost one test.
    private var present: (low: UInt64, high: UInt64) = (0, 0)
    /// Decoded size: names, values and 32 per field (RFC 9113 6.5.2).
    package private(set) var byteCount = 0

    package init() {}

    package var count: Int { entries.count }
    package var isEmpty: Bool { entries.count == 0 }

    /// Forgets every field and keeps the memory.
    package mutating func removeAll() {
        slab.removeAll()
        entries.removeAll()
        present = (0, 0)
        byteCount = 0
    }

    /// A field of known name; the value is copied.
    package mutating func append(_ name: HeaderName, _ value: Span<UInt8>, sensitive: Bool = false) {
        let start = slab.count
        slab.append(value)
        add(name, 0, name.wireBytes.count, start, value.count, sensitive)
    }

    package mutating func append(_ name: HeaderName, _ value: [UInt8]) { append(name, value.span) }

    package mutating func append(_ name: HeaderName, _ value: StaticString) {
        append(name, value.span)
    }

    /// A number in decimal, as `content-length`, `:status` and `grpc-status` want it.
    package mutating func append(_ name: HeaderName, number: Int) {
        let start = slab.count
        slab.append(decimal: number)
        add(name, 0, name.wireBytes.count, start, slab.count - start, false)
    }

    /// A field of any name: lower-cased and looked up. `sensitive` is HPACK's "never indexed" (RFC 7541 7.1.3).
    package mutating func append(name: Span<UInt8>, value: Span<UInt8>, sensitive: Bool = false) {
        let known = HeaderName(name)
        let start = slab.count
        let count = name.count
        if known != .other {
            slab.append(value)
            return add(known, 0, count, start, value.count, sensitive)
        }
        // SAFETY: `fill` lends at least `count` bytes; exactly `count` are written.
        _ = unsafe slab.fill(minimum: count) { room in
            for index in 0..<count { unsafe room[index] = name[index].lowercased }
            return count
        }
        slab.append(value)
        add(.other, start, count, start + count, value.count, sensitive)
    }

    /// A field of known name, whose length the caller has at hand.
    @inline(__always)
    mutating func append(_ name: HeaderName, ofLength nameCount: Int, _ value: Span<UInt8>, sensitive: Bool) {
        let start = slab.count
        slab.append(value)
        add(name, 0, nameCount, start, value.count, sensitive)
    }

    /// A field whose name is in lower case and not one that `HeaderName` knows.
    mutating func append(lowerCased name: Span<UInt8>, value: Span<UInt8>, sensitive: Bool) {
        let start = slab.count
        slab.append(name)
        slab.append(value)
        add(.other, start, name.count, start + name.count, value.count, sensitive)
    }

    package mutating func append(name: StaticString, value: Span<UInt8>) {
        append(name: name.span, value: value)
    }

    /// Copies one field of another block.
    package mutating func append(copying index: Int, of other: borrowing HeaderBlock) {
        let entry = other.entries[index]
        let start = slab.count
        var nameEnd = start
        let bytes = other.slab.bytes
        if entry.name == .other {
            let from = Int(entry.nameStart)
            slab.append(bytes.extracting(from..<from + Int(entry.nameCount)))
            nameEnd = slab.count
        }
        let from = Int(entry.valueStart)
        slab.append(bytes.extracting(from..<from + Int(entry.valueCount)))
        add(entry.name, start, Int(entry.nameCount), nameEnd, Int(entry.valueCount), entry.isSensitive)
    }

    /// Takes over every field of `other`, behind the own ones.
    package mutating func append(contentsOf other: borrowing HeaderBlock) {
        for index in 0..<other.count { append(copying: index, of: other) }
    }

    package func name(at index: Int) -> HeaderName { entries[index].name }

    /// Never to be indexed by HPACK, here or further on.
    package func isSensitive(at index: Int) -> Bool { entries[index].isSensitive }

    /// The name in lower case.
    @_lifetime(borrow self)
    package func nameBytes(at index: Int) -> Span<UInt8> {
        let entry = entries[index]
        guard entry.name == .other else { return entry.name.wireBytes }
        let start = Int(entry.nameStart)
        let bytes = slab.bytes
        return bytes.extracting(start..<start + Int(entry.nameCount))
    }

    @_lifetime(borrow self)
    package func value(at index: Int) -> Span<UInt8> {
        let start = Int(entries[index].valueStart)
        let bytes = slab.bytes
        return bytes.extracting(start..<start + Int(entries[index].valueCount))
    }

    /// All that is known of a field, for a codec that asks for more than one thing.
    @inline(__always)
    func entry(at index: Int) -> Entry { entries[index] }

    /// The value of an entry of this block.
    @_lifetime(borrow self)
    @inline(__always)
    func value(of entry: Entry) -> Span<UInt8> {
        let start = Int(entry.valueStart)
        let bytes = slab.bytes
        return bytes.extracting(start..<start &+ Int(entry.valueCount))
    }

    /// The value of the first field of that name; empty when there is none.
    @_lifetime(borrow self)
    package func value(of name: HeaderName) -> Span<UInt8> {
        guard let index = first(name) else { return Span() }
        return value(at: index)
    }

    /// The index of the first field of that known name.
    package func first(_ name: HeaderName) -> Int? { next(name, from: 0) }

    /// The index of the first field of that known name at or after `start`: `next(name, from: index + 1)` walks all.
    package func next(_ name: HeaderName, from start: Int) -> Int? {
        guard mayHold(name) else { return nil }
        var index = start
        while index < entries.count {
            if entries[index].name == name { return index }
            index += 1
        }
        return nil
    }

    package func contains(_ name: HeaderName) -> Bool { first(name) != nil }

    /// The index of the first field whose name is `name` (lower-case), known or not.
    package func first(named name: Span<UInt8>) -> Int? {
        let known = HeaderName(name)
        if known != .other { return first(known) }
        for index in 0..<entries.count where entries[index].name == .other {
            if nameBytes(at: index).equalsIgnoringCase(name) { return index }
        }
        return nil
    }

    /// A field that only meshfed's proxies may set, in every spelling: `meshfed-*`, `Meshfed_Hops`.
    package func isMeshfed(at index: Int) -> Bool {
        let name = entries[index].name
        return name == .other ? nameBytes(at: index).isMeshfedName : name.isMeshfed
    }

    /// It holds no field that only meshfed's proxies may set, nor `x-forwarded-client-cert`, in no spelling.
    package var isFreeOfMeshFields: Bool {
        if mayHold(.meshfedOrigin) || mayHold(.meshfedHops) || mayHold(.meshfedDeadline) || mayHold(.meshfedAttempts)
            || mayHold(.meshfedAuthority) || mayHold(.meshfedError) || mayHold(.meshfedProbe)
            || mayHold(.xForwardedClientCert)
        {
            return false
        }
        guard mayHold(.other) else { return true }
        for index in 0..<entries.count where entries[index].name == .other {
            if isMeshfed(at: index) || mappedName(at: index) == .xForwardedClientCert { return false }
        }
        return true
    }

    /// The known name of the field where `_` counts as `-`.
    package func mappedName(at index: Int) -> HeaderName {
        let name = entries[index].name
        return name == .other ? nameBytes(at: index).nameWithUnderscoresMapped : name
    }

    package mutating func remove(at index: Int) {
        let entry = entries.remove(at: index)
        byteCount -= Int(entry.nameCount) + Int(entry.valueCount) + Self.fieldOverhead
    }

    /// Removes every field of that known name. True if there was one.
    @discardableResult
    package mutating func remove(_ name: HeaderName) -> Bool {
        guard mayHold(name) else { return false }
        var found = false
        var index = entries.count - 1
        while index >= 0 {
            if entries[index].name == name {
                remove(at: index)
                found = true
            }
            index -= 1
        }
        return found
    }

    /// Removes every field of that name, known or not.
    package mutating func remove(named name: Span<UInt8>) {
        while let index = first(named: name) { remove(at: index) }
    }

    /// Removes the fields for which `condition` (name, name's bytes, value) holds.
    package mutating func remove(where condition: (HeaderName, Span<UInt8>, Span<UInt8>) -> Bool) {
        var index = entries.count - 1
        while index >= 0 {
            if condition(entries[index].name, nameBytes(at: index), value(at: index)) { remove(at: index) }
            index -= 1
        }
    }

    /// One field of that name with this value, in the place of the first one, or behind all.
    package mutating func replace(_ name: HeaderName, _ value: Span<UInt8>) {
        guard let index = first(name) else { return append(name, value) }
        var other = entries.count - 1
        while other > index {
            if entries[other].name == name { remove(at: other) }
            other -= 1
        }
        byteCount += value.count - Int(entries[index].valueCount)
        entries[index].valueStart = UInt32(truncatingIfNeeded: slab.count)
        entries[index].valueCount = UInt32(truncatingIfNeeded: value.count)
        slab.append(value)
    }

    package mutating func replace(_ name: HeaderName, _ value: [UInt8]) { replace(name, value.span) }

    package mutating func replace(_ name: HeaderName, _ value: StaticString) {
        replace(name, value.span)
    }

    package func copy() -> HeaderBlock {
        var block = HeaderBlock()
        block.assign(from: self)
        return block
    }

    /// Becomes equal to `other`, in the memory it has.
    package mutating func assign(from other: borrowing HeaderBlock) {
        slab.removeAll()
        slab.append(other.slab.bytes)
        entries.removeAll()
        entries.append(contentsOf: other.entries)
        present = other.present
        byteCount = other.byteCount
    }

    /// Gives memory back, if a message made the block larger than blocks usually are.
    package mutating func shrink() {
        removeAll()
        slab.shrink()
        entries.shrink()
    }

    private func mayHold(_ name: HeaderName) -> Bool {
        let bit = name.rawValue
        return (bit < 64 ? present.low >> UInt64(bit) : present.high >> UInt64(bit &- 64)) & 1 == 1
    }

    private mutating func add(
        _ name: HeaderName, _ nameStart: Int, _ nameCount: Int, _ valueStart: Int, _ valueCount: Int, _ sensitive: Bool
    ) {
        let bit = name.rawValue
        if bit < 64 { present.low |= 1 << UInt64(bit) } else { present.high |= 1 << UInt64(bit &- 64) }
        byteCount &+= nameCount &+ valueCount &+ Self.fieldOverhead
        entries.append(
            Entry(
                nameStart: UInt32(truncatingIfNeeded: nameStart), nameCount: UInt32(truncatingIfNeeded: nameCount),
                valueStart: UInt32(truncatingIfNeeded: valueStart), valueCount: UInt32(truncatingIfNeeded: valueCount),
                name: name, isSensitive: sensitive))
    }
}

/// The entries of one block: plain values in memory of their own. An `Array` asks for each field whether it is shared.
@safe
struct EntryList: ~Copyable {
    /// Room made for the first field: most heads have fewer.
    private static let usualFields = 16

    private var base: UnsafeMutablePointer<HeaderBlock.Entry>?
    private var capacity = 0
    private(set) var count = 0

    init() { unsafe base = nil }

    deinit { unsafe base?.deallocate() }

    subscript(index: Int) -> HeaderBlock.Entry {
        get {
            precondition(index >= 0 && index < count, "no such field")
            // SAFETY: base[0..<count] is initialised, and there is a base when the count is not 0.
            return unsafe base.unsafelyUnwrapped[index]
        }
        set {
            precondition(index >= 0 && index < count, "no such field")
            // SAFETY: as above; entries are trivial.
            unsafe base.unsafelyUnwrapped[index] = newValue
        }
    }

    mutating func append(_ entry: HeaderBlock.Entry) {
        if count == capacity { grow(1) }
        // SAFETY: `grow` made room behind `count`.
        unsafe (base.unsafelyUnwrapped + count).initialize(to: entry)
        count += 1
    }

    mutating func append(contentsOf other: borrowing EntryList) {
        guard other.count > 0, let source = unsafe other.base else { return }
        if capacity - count < other.count { grow(other.count) }
        // SAFETY: room was made for all of them; the lists have memory of their own each.
        unsafe (base.unsafelyUnwrapped + count).initialize(from: source, count: other.count)
        count += other.count
    }

    mutating func remove(at index: Int) -> HeaderBlock.Entry {
        let entry = self[index]
        // SAFETY: the subscript proved the index; entries are trivial, so moving them down is a copy.
        let hole = unsafe base.unsafelyUnwrapped + index
        unsafe hole.update(from: hole + 1, count: count - index - 1)
        count -= 1
        return entry
    }

    mutating func removeAll() { count = 0 }

    mutating func shrink() {
        unsafe base?.deallocate()
        unsafe base = nil
        capacity = 0
        count = 0
    }

    private mutating func grow(_ more: Int) {
        let larger = max(Self.usualFields, max(capacity * 2, count + more))
        let fresh = UnsafeMutablePointer<HeaderBlock.Entry>.allocate(capacity: larger)
        if let held = unsafe base {
            // SAFETY: `larger` holds `count` entries; the allocations differ.
            unsafe fresh.initialize(from: held, count: count)
            unsafe held.deallocate()
        }
        unsafe base = fresh
        capacity = larger
    }
}
