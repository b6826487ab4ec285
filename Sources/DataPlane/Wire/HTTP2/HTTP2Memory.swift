internal import CNGHTTP2

/// Free lists by size class for nghttp2's allocations: measured −9 % of all instructions per request.
///
/// One per worker, shared by its sessions; not for use from two threads. What lies in the lists is limited; the rest
/// goes back to the system at once.
@safe
package final class HTTP2Memory {
    /// Bytes in front of each block: the index of its class, at the alignment that nghttp2 expects.
    private static let prefix = 16
    /// Classes are 64 << index, prefix included; larger blocks are not kept.
    private static let classes = 9
    /// Bytes kept in the lists; a worker at full load uses about a quarter.
    private static let keepLimit = 1_048_576

    private var lists: [UnsafeMutableRawPointer?]
    private var kept = 0

    package init() {
        unsafe lists = Array(repeating: nil, count: Self.classes)
    }

    deinit { drain() }

    /// Gives back what lies in the lists.
    package func drain() {
        for index in 0..<Self.classes {
            // SAFETY: each listed block is free and starts with the pointer to the next one.
            while let block = unsafe lists[index] {
                unsafe lists[index] = block.load(as: UnsafeMutableRawPointer?.self)
                unsafe block.deallocate()
            }
        }
        kept = 0
    }

    fileprivate func allocate(_ size: Int) -> UnsafeMutableRawPointer? {
        let (total, overflow) = size.addingReportingOverflow(Self.prefix)
        guard !overflow, size >= 0 else { return nil }
        let index = Self.classIndex(total)
        let block: UnsafeMutableRawPointer
        if index < Self.classes, let free = unsafe lists[index] {
            // SAFETY: a listed block is free and starts with the pointer to the next one.
            unsafe lists[index] = free.load(as: UnsafeMutableRawPointer?.self)
            kept -= 64 << index
            unsafe block = free
        } else {
            unsafe block = .allocate(byteCount: index < Self.classes ? 64 << index : total, alignment: 16)
        }
        // SAFETY: at least `prefix` bytes long.
        unsafe block.storeBytes(of: index < Self.classes ? index : -size, as: Int.self)
        return unsafe block + Self.prefix
    }

    fileprivate func free(_ pointer: UnsafeMutableRawPointer?) {
        guard let pointer = unsafe pointer else { return }
        // SAFETY: `allocate` made it, so the prefix lies in front.
        let block = unsafe pointer - Self.prefix
        let index = unsafe block.load(as: Int.self)
        guard index >= 0, kept + (64 << index) <= Self.keepLimit else {
            unsafe block.deallocate()
            return
        }
        unsafe block.storeBytes(of: lists[index], as: UnsafeMutableRawPointer?.self)
        unsafe lists[index] = block
        kept += 64 << index
    }

    fileprivate func reallocate(_ pointer: UnsafeMutableRawPointer?, _ size: Int) -> UnsafeMutableRawPointer? {
        guard let pointer = unsafe pointer else { return unsafe allocate(size) }
        // SAFETY: `allocate` made it, so the prefix lies in front and tells how much room there is.
        let index = unsafe (pointer - Self.prefix).load(as: Int.self)
        let room = index >= 0 ? (64 << index) - Self.prefix : -index
        if size <= room, index >= 0 { return unsafe pointer }
        guard let fresh = unsafe allocate(size) else { return nil }
        unsafe fresh.copyMemory(from: pointer, byteCount: min(room, size))
        unsafe free(pointer)
        return unsafe fresh
    }

    private static func classIndex(_ total: Int) -> Int {
        if total <= 64 { return 0 }
        return Int.bitWidth - (total - 1).leadingZeroBitCount - 6
    }

    /// The table that nghttp2 copies; it refers to this object, which the session therefore holds.
    var table: nghttp2_mem {
        // SAFETY: the callbacks get the address of this object, which outlives every session that holds it.
        unsafe nghttp2_mem(
            mem_user_data: Unmanaged.passUnretained(self).toOpaque(),
            malloc: { size, user in
                guard let user = unsafe user else { return nil }
                return unsafe Unmanaged<HTTP2Memory>.fromOpaque(user)._withUnsafeGuaranteedRef {
                    unsafe $0.allocate(size)
                }
            },
            free: { pointer, user in
                guard let user = unsafe user else { return }
                unsafe Unmanaged<HTTP2Memory>.fromOpaque(user)._withUnsafeGuaranteedRef { unsafe $0.free(pointer) }
            },
            calloc: { count, size, user in
                guard let user = unsafe user else { return nil }
                let (total, overflow) = count.multipliedReportingOverflow(by: size)
                guard !overflow else { return nil }
                let pointer = unsafe Unmanaged<HTTP2Memory>.fromOpaque(user)._withUnsafeGuaranteedRef {
                    unsafe $0.allocate(total)
                }
                unsafe pointer?.initializeMemory(as: UInt8.self, repeating: 0, count: total)
                return unsafe pointer
            },
            realloc: { pointer, size, user in
                guard let user = unsafe user else { return nil }
                return unsafe Unmanaged<HTTP2Memory>.fromOpaque(user)._withUnsafeGuaranteedRef {
                    unsafe $0.reallocate(pointer, size)
                }
            })
    }
}
