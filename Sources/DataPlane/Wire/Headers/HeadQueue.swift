/// Header blocks between the parser and their reader: one under construction, those complete in the order of their
/// events, the one whose event was read last, and a few spare ones.
///
/// Blocks stand behind pointers because `Array` holds no noncopyable elements; the pointers never leave this file.
@safe
struct HeadQueue: ~Copyable {
    /// Spare blocks kept: a busy connection has this many heads with their readers, as many as its streams; idle ones `shrink`.
    private static let spareLimit = 256

    private var ready: [UnsafeMutablePointer<HeaderBlock>] = unsafe []
    private var spare: [UnsafeMutablePointer<HeaderBlock>] = unsafe []
    /// Uninitialised: their blocks are with the reader.
    private var hollow: [UnsafeMutablePointer<HeaderBlock>] = unsafe []
    private var first = 0
    private var underConstruction: UnsafeMutablePointer<HeaderBlock>?
    private var current: UnsafeMutablePointer<HeaderBlock>?

    init() {
        unsafe underConstruction = nil
        unsafe current = nil
    }

    deinit {
        // SAFETY: every pointer held is initialised, owned here, and stands in one place only.
        for index in unsafe first..<ready.count { unsafe Self.free(ready[index]) }
        for index in unsafe spare.indices { unsafe Self.free(spare[index]) }
        for index in unsafe hollow.indices { unsafe hollow[index].deallocate() }
        if let pointer = unsafe underConstruction { unsafe Self.free(pointer) }
        if let pointer = unsafe current { unsafe Self.free(pointer) }
    }

    /// The block under construction.
    var building: HeaderBlock {
        mutating _read {
            let pointer = unsafe construction()
            // SAFETY: initialised and owned by this queue.
            yield unsafe pointer.pointee
        }
        _modify {
            let pointer = unsafe construction()
            // SAFETY: initialised and owned by this queue.
            yield unsafe &pointer.pointee
        }
    }

    /// Starts a new block, dropping what an unfinished one held.
    mutating func begin() {
        let pointer = unsafe construction()
        // SAFETY: initialised and owned by this queue.
        unsafe pointer.pointee.removeAll()
    }

    /// Adds a field to the block under construction, unless it would hold more than the limits.
    mutating func add(
        _ name: Span<UInt8>, _ value: Span<UInt8>, sensitive: Bool, countLimit: Int, byteLimit: Int
    ) -> Bool {
        let pointer = unsafe underConstruction ?? construction()
        let size = name.count &+ value.count &+ HeaderBlock.fieldOverhead
        // SAFETY: initialised and owned by this queue.
        guard unsafe pointer.pointee.count < countLimit, unsafe pointer.pointee.byteCount &+ size <= byteLimit else {
            return false
        }
        unsafe pointer.pointee.append(name: name, value: value, sensitive: sensitive)
        return true
    }

    /// The block under construction is complete: it waits for its event to be read.
    mutating func commit() {
        unsafe ready.append(construction())
        unsafe underConstruction = nil
    }

    /// Its event was read: the oldest complete block becomes the current one; the last current one is dropped.
    mutating func advance() {
        if let old = unsafe current { unsafe keep(old) }
        guard unsafe first < ready.count else {
            unsafe current = nil
            return
        }
        unsafe current = ready[first]
        first += 1
        if unsafe first == ready.count {
            unsafe ready.removeAll(keepingCapacity: true)
            first = 0
        }
    }

    /// Hands the current block out; an empty one when it was taken already.
    mutating func take() -> HeaderBlock {
        guard let pointer = unsafe current else { return HeaderBlock() }
        unsafe current = nil
        // SAFETY: initialised; moved out, so the address is hollow from now on.
        let block = unsafe pointer.move()
        unsafe hollow.append(pointer)
        return block
    }

    /// Takes a used block back, so that its memory serves again.
    mutating func recycle(_ block: consuming HeaderBlock) {
        guard unsafe spare.count < Self.spareLimit else { return }
        block.removeAll()
        let pointer = unsafe hollow.isEmpty ? .allocate(capacity: 1) : hollow.removeLast()
        // SAFETY: hollow or fresh memory.
        unsafe pointer.initialize(to: block)
        unsafe spare.append(pointer)
    }

    /// Gives the memory of spare blocks back.
    mutating func shrink() {
        // SAFETY: spare pointers are initialised and owned here.
        for index in unsafe spare.indices { unsafe Self.free(spare[index]) }
        for index in unsafe hollow.indices { unsafe hollow[index].deallocate() }
        unsafe spare = []
        unsafe hollow = []
    }

    private mutating func construction() -> UnsafeMutablePointer<HeaderBlock> {
        if let pointer = unsafe underConstruction { return unsafe pointer }
        let pointer: UnsafeMutablePointer<HeaderBlock>
        if unsafe !spare.isEmpty {
            unsafe pointer = spare.removeLast()
        } else {
            unsafe pointer = hollow.isEmpty ? .allocate(capacity: 1) : hollow.removeLast()
            // SAFETY: hollow or fresh memory.
            unsafe pointer.initialize(to: HeaderBlock())
        }
        unsafe underConstruction = pointer
        return unsafe pointer
    }

    private mutating func keep(_ pointer: UnsafeMutablePointer<HeaderBlock>) {
        guard unsafe spare.count < Self.spareLimit else {
            unsafe Self.free(pointer)
            return
        }
        // SAFETY: initialised and owned by this queue.
        unsafe pointer.pointee.removeAll()
        unsafe spare.append(pointer)
    }

    private static func free(_ pointer: UnsafeMutablePointer<HeaderBlock>) {
        // SAFETY: called once for each pointer, as it leaves the queue.
        unsafe pointer.deinitialize(count: 1)
        unsafe pointer.deallocate()
    }
}
