/// A growable run of bytes that is filled at the end and drained from the front.
///
/// Owned by one connection or one worker, which may hand it to another thread whole; closing is its `deinit`. An empty buffer gives its memory back on `shrink()`.
// SAFETY: the memory has one owner and cannot be copied; who hands it on keeps nothing of it.
@safe
public struct ByteBuffer: ~Copyable, @unchecked Sendable {
    @usableFromInline var base: UnsafeMutablePointer<UInt8>?
    @usableFromInline var capacity = 0
    @usableFromInline var start = 0
    @usableFromInline var end = 0

    public init() { unsafe base = nil }

    public init(capacity: Int) {
        unsafe base = UnsafeMutablePointer<UInt8>.allocate(capacity: capacity)
        self.capacity = capacity
    }

    deinit { unsafe base?.deallocate() }

    @inlinable public var count: Int { end - start }
    @inlinable public var isEmpty: Bool { end == start }

    /// The bytes that wait, in order.
    @inlinable public var bytes: Span<UInt8> {
        @_lifetime(borrow self)
        borrowing get {
            // SAFETY: base[start..<end] is initialised; the span may not outlive self.
            guard let base = unsafe base else { return Span() }
            let span = unsafe Span<UInt8>(_unsafeStart: UnsafePointer(base + start), count: end - start)
            return unsafe _overrideLifetime(span, borrowing: self)
        }
    }

    @inlinable public mutating func append(_ span: Span<UInt8>) {
        let count = span.count
        reserve(count)
        // SAFETY: `reserve` made room for `count` bytes behind `end`; no span lies in memory that only this buffer writes to.
        unsafe span.withUnsafeBufferPointer { source in
            guard let from = source.baseAddress, let base = unsafe base else { return }
            unsafe (base + end).initialize(from: from, count: count)
        }
        end &+= count
    }

    @inlinable public mutating func append(_ byte: UInt8) {
        reserve(1)
        // SAFETY: `reserve` made room.
        if let base = unsafe base { unsafe base[end] = byte }
        end &+= 1
    }

    /// Appends the first `count` (at most eight) bytes of `word` as they lie in memory.
    @inline(__always)
    @inlinable public mutating func append(word: UInt64, count: Int = 8) {
        reserve(8)
        // SAFETY: `reserve` made room for eight bytes.
        if let base = unsafe base {
            unsafe UnsafeMutableRawPointer(base + end).storeBytes(of: word, as: UInt64.self)
        }
        end &+= Swift.max(0, Swift.min(count, 8))
    }

    /// Appends the first `count` (at most forty) bytes of `words` as they lie in memory.
    @inlinable public mutating func append(words: borrowing InlineArray<5, UInt64>, count: Int) {
        reserve(40)
        // SAFETY: `reserve` made room for forty bytes.
        if let base = unsafe base {
            for index in 0..<5 {
                unsafe UnsafeMutableRawPointer(base + end + index * 8).storeBytes(of: words[index], as: UInt64.self)
            }
        }
        end &+= Swift.max(0, Swift.min(count, 40))
    }

    /// Appends `value` as 16 lower-case hexadecimal digits, eight of them at a time.
    @inlinable public mutating func append(digits value: UInt64) {
        reserve(16)
        // SAFETY: `reserve` made room for sixteen bytes.
        if let base = unsafe base {
            let high = Self.hexadecimal(UInt32(truncatingIfNeeded: value >> 32))
            let low = Self.hexadecimal(UInt32(truncatingIfNeeded: value))
            unsafe UnsafeMutableRawPointer(base + end).storeBytes(of: high, as: UInt64.self)
            unsafe UnsafeMutableRawPointer(base + end + 8).storeBytes(of: low, as: UInt64.self)
        }
        end &+= 16
    }

    /// Eight digits, the first in the lowest byte of memory.
    @inline(__always)
    @inlinable static func hexadecimal(_ value: UInt32) -> UInt64 {
        var nibbles = UInt64(value)
        nibbles = (nibbles | nibbles << 16) & 0x0000_FFFF_0000_FFFF
        nibbles = (nibbles | nibbles << 8) & 0x00FF_00FF_00FF_00FF
        nibbles = (nibbles | nibbles << 4) & 0x0F0F_0F0F_0F0F_0F0F
        let letters = (nibbles &+ 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101
        return (nibbles &+ 0x3030_3030_3030_3030 &+ letters &* 0x27).bigEndian
    }

    @inlinable public mutating func append(_ array: [UInt8]) { append(array.span) }

    @inlinable public mutating func append(_ text: StaticString) {
        // SAFETY: a static string's storage lives for ever.
        append(unsafe Span(_unsafeStart: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    /// Writes `byte` over the one at `index`, counted from the front.
    @inlinable public mutating func replace(at index: Int, _ byte: UInt8) {
        precondition(index >= 0 && index < count, "no such byte")
        // SAFETY: the index lies in base[start..<end].
        if let base = unsafe base { unsafe base[start + index] = byte }
    }

    /// Drops `count` bytes from the front (at most all of them).
    @inlinable public mutating func consume(_ count: Int) {
        start += Swift.min(count, end - start)
        if start == end {
            start = 0
            end = 0
        }
    }

    @inlinable public mutating func removeAll() {
        start = 0
        end = 0
    }

    /// Gives memory back when nothing waits; keeps it otherwise.
    public mutating func shrink() {
        guard isEmpty, let held = unsafe base else { return }
        unsafe held.deallocate()
        unsafe base = nil
        capacity = 0
        removeAll()
    }

    /// Lends at least `minimum` bytes of room behind the end; the closure returns how many it filled.
    @inlinable public mutating func fill(
        minimum: Int, _ body: (UnsafeMutableRawBufferPointer) -> Int
    ) -> Int {
        reserve(minimum)
        guard let base = unsafe base else { return 0 }
        // SAFETY: the room lent is inside the allocation; the count is clamped to it.
        let room = unsafe UnsafeMutableRawBufferPointer(start: base + end, count: capacity - end)
        let filled = unsafe Swift.max(0, Swift.min(body(room), room.count))
        end += filled
        return filled
    }

    /// Forgets what stands behind the first `count` bytes.
    @inlinable public mutating func truncate(to count: Int) {
        end = start + Swift.max(0, Swift.min(count, end - start))
    }

    @inlinable mutating func reserve(_ more: Int) {
        if capacity &- end < more { grow(more) }
    }

    @usableFromInline mutating func grow(_ more: Int) {
        let waiting = end - start
        if let held = unsafe base, capacity - waiting >= more, start >= waiting {
            // SAFETY: source and target lie in one allocation and do not overlap (start >= waiting).
            unsafe held.update(from: held + start, count: waiting)
        } else {
            let larger = Swift.max(Swift.max(256, capacity * 2), waiting + more)
            let fresh = UnsafeMutablePointer<UInt8>.allocate(capacity: larger)
            if let held = unsafe base {
                // SAFETY: `larger` holds `waiting` bytes; the allocations differ.
                unsafe fresh.update(from: held + start, count: waiting)
                unsafe held.deallocate()
            }
            unsafe base = fresh
            capacity = larger
        }
        start = 0
        end = waiting
    }
}
