internal import CNGHTTP2

/// Free lists by size class for nghttp2's allocations: measured −9 % of all instructions per request.
///
/// One per worker, shared by its sessions; not for use from two threads. What lies in the lists is limited; the rest
/// goes back to the system at once.
@safe
package final class HTTP2Memory {
    /// In its own heap cell: the callbacks reach it without the access checks of a class's properties.
    private let pool: UnsafeMutablePointer<HTTP2Pool>

    package init() {
        unsafe pool = .allocate(capacity: 1)
        // SAFETY: fresh memory, freed in deinit.
        unsafe pool.initialize(to: HTTP2Pool())
    }

    deinit {
        // SAFETY: made in init; no session is left, for sessions hold this object.
        unsafe pool.pointee.drain()
        unsafe pool.deinitialize(count: 1)
        unsafe pool.deallocate()
    }

    /// Gives back what lies in the lists.
    package func drain() {
        // SAFETY: made in init.
        unsafe pool.pointee.drain()
    }

    /// The table that nghttp2 copies; it refers to the pool, which the session therefore keeps alive.
    var table: nghttp2_mem {
        // SAFETY: user data is the pool's address, which outlives every session that holds this object.
        unsafe nghttp2_mem(
            mem_user_data: pool,
            malloc: { size, user in
                unsafe user?.assumingMemoryBound(to: HTTP2Pool.self).pointee.allocate(size)
            },
            free: { pointer, user in
                unsafe user?.assumingMemoryBound(to: HTTP2Pool.self).pointee.free(pointer)
            },
            calloc: { count, size, user in
                let (total, overflow) = count.multipliedReportingOverflow(by: size)
                guard !overflow else { return nil }
                let pointer = unsafe user?.assumingMemoryBound(to: HTTP2Pool.self).pointee.allocate(total)
                unsafe pointer?.initializeMemory(as: UInt8.self, repeating: 0, count: total)
                return unsafe pointer
            },
            realloc: { pointer, size, user in
                unsafe user?.assumingMemoryBound(to: HTTP2Pool.self).pointee.reallocate(pointer, size)
            })
    }
}

/// The lists themselves.
@safe
private struct HTTP2Pool: ~Copyable {
    /// Bytes in front of each block: the index of its class, at the alignment that nghttp2 expects.
    private static let prefix = 16
    /// Classes are 64 << index behind the prefix, for what a session asks for are powers of two; larger blocks are not kept.
    private static let classes = 9
    /// Bytes kept in the lists: what 1,000 streams use that end together. With 1 MiB the bursts of 8 × 32 streams overflowed
    /// them: three allocations per request. An idle worker gives all of it back (`drain`).
    private static let keepLimit = 4_194_304

    /// Stands in a prefix for a block of `frames`.
    private static let framed = 64

    private var frames = FramePages()
    private var lists: InlineArray<9, UnsafeMutableRawPointer?> = unsafe .init(repeating: nil)
    private var kept = 0

    init() {}

    mutating func drain() {
        for index in 0..<Self.classes {
            // SAFETY: each listed block is free and starts with the pointer to the next one.
            while let block = unsafe lists[index] {
                unsafe lists[index] = block.load(as: UnsafeMutableRawPointer?.self)
                unsafe block.deallocate()
            }
        }
        kept = 0
        frames.drain()
    }

    mutating func allocate(_ size: Int) -> UnsafeMutableRawPointer? {
        let (total, overflow) = size.addingReportingOverflow(Self.prefix)
        guard !overflow, size >= 0 else { return nil }
        var index = Self.classIndex(size)
        let block: UnsafeMutableRawPointer
        if index == Self.classes, total <= FramePages.size {
            unsafe block = frames.allocate()
            index = Self.framed
        } else if index < Self.classes, let free = unsafe lists[index] {
            // SAFETY: a listed block is free and starts with the pointer to the next one.
            unsafe lists[index] = free.load(as: UnsafeMutableRawPointer?.self)
            kept -= 64 << index
            unsafe block = free
        } else {
            unsafe block = .allocate(
                byteCount: index < Self.classes ? Self.prefix + (64 << index) : total, alignment: 16)
        }
        // SAFETY: at least `prefix` bytes long.
        unsafe block.storeBytes(of: index < Self.classes || index == Self.framed ? index : -size, as: Int.self)
        return unsafe block + Self.prefix
    }

    mutating func free(_ pointer: UnsafeMutableRawPointer?) {
        guard let pointer = unsafe pointer else { return }
        // SAFETY: `allocate` made it, so the prefix lies in front.
        let block = unsafe pointer - Self.prefix
        let index = unsafe block.load(as: Int.self)
        if index == Self.framed { return unsafe frames.free(block) }
        guard index >= 0, kept + (64 << index) <= Self.keepLimit else {
            unsafe block.deallocate()
            return
        }
        unsafe block.storeBytes(of: lists[index], as: UnsafeMutableRawPointer?.self)
        unsafe lists[index] = block
        kept += 64 << index
    }

    mutating func reallocate(_ pointer: UnsafeMutableRawPointer?, _ size: Int) -> UnsafeMutableRawPointer? {
        guard let pointer = unsafe pointer else { return unsafe allocate(size) }
        // SAFETY: `allocate` made it, so the prefix lies in front and tells how much room there is.
        let index = unsafe (pointer - Self.prefix).load(as: Int.self)
        let room = index == Self.framed ? FramePages.size - Self.prefix : index >= 0 ? 64 << index : -index
        if size <= room, index >= 0 { return unsafe pointer }
        guard let fresh = unsafe allocate(size) else { return nil }
        unsafe fresh.copyMemory(from: pointer, byteCount: min(room, size))
        unsafe free(pointer)
        return unsafe fresh
    }

    private static func classIndex(_ size: Int) -> Int {
        if size <= 64 { return 0 }
        return Int.bitWidth - (size - 1).leadingZeroBitCount - 6
    }
}

/// The frame buffers of sessions. nghttp2 takes one of 16,394 bytes for each, of which most never write more than the first few
/// hundred. On pages of their own, where nothing lay before, the rest takes no memory; the heap would give out what the buffers
/// of TLS handshakes have filled.
private struct FramePages: ~Copyable {
    /// Five pages, our prefix among them.
    static let size = 20_480
    private static let perRegion = 64

    @safe
    private struct Region {
        let base: UnsafeMutableRawPointer
        var free: [Int] = []
        /// Places that were given out once; the pages of those behind were never touched.
        var carved = 0

        var used: Int { carved - free.count }

        init() {
            // SAFETY: freed by FramePages, which owns the region.
            unsafe base = .allocate(byteCount: perRegion * FramePages.size, alignment: 4_096)
        }
    }

    private var regions: [Region] = []

    mutating func allocate() -> UnsafeMutableRawPointer {
        // Those in front first, so that the others come to be empty.
        let index = regions.firstIndex { $0.used < Self.perRegion } ?? regions.count
        if index == regions.count { regions.append(Region()) }
        var place = regions[index].carved
        if regions[index].free.isEmpty { regions[index].carved += 1 } else { place = regions[index].free.removeLast() }
        // SAFETY: a region with less than `perRegion` places in use has one that is free or was never given out.
        return unsafe regions[index].base + place * Self.size
    }

    mutating func free(_ block: UnsafeMutableRawPointer) {
        for index in regions.indices {
            // SAFETY: addresses are compared; only that of the block's own region is within its bounds.
            let offset = unsafe block - regions[index].base
            guard offset >= 0, offset < Self.perRegion * Self.size else { continue }
            regions[index].free.append(offset / Self.size)
            if regions.count > 1, regions[index].used == 0 { release(index) }
            return
        }
    }

    /// Gives back the regions that nobody uses.
    mutating func drain() {
        for index in regions.indices.reversed() where regions[index].used == 0 { release(index) }
    }

    private mutating func release(_ index: Int) {
        // SAFETY: made by `Region.init`; none of its places is in use.
        unsafe regions.remove(at: index).base.deallocate()
    }
}
