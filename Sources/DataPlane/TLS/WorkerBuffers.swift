internal import COpenSSL
internal import Containers
package import Identity

/// The memory that all connections of one thread read into and write from; only one of them works at a time.
@safe package struct WorkerBuffers: ~Copyable {
    /// One read of a socket (DATAPATH-PROTOTYPE: 64 KiB is the best size for relays).
    static let readSize = 65_536
    /// What one read may decrypt to: the bytes themselves and one record begun before.
    static let plainSize = readSize + 2 * 16_384
    /// What the encrypted output keeps between turns.
    static let keptOutput = 262_144

    // SAFETY: all three are owned here and freed in deinit; the wire belongs to the BIO.
    let input: UnsafeMutableRawPointer
    let plainStart: UnsafeMutablePointer<UInt8>
    let bio: OpaquePointer
    let wire: UnsafeMutablePointer<shim_wire>
    var plainCount = 0
    /// Bytes that the thread has read, of all its connections.
    package var received: UInt64 = 0
    /// Peers that this thread has verified.
    package let chains = ChainCache(seed: UInt64.random(in: .min ... .max))

    package init() {
        // SAFETY: allocated here, freed in deinit.
        unsafe input = UnsafeMutableRawPointer.allocate(byteCount: Self.readSize, alignment: 64)
        unsafe plainStart = UnsafeMutablePointer<UInt8>.allocate(capacity: Self.plainSize)
        var made: UnsafeMutablePointer<shim_wire>?
        guard let bio = unsafe shim_wire_bio(&made), let wire = unsafe made else {
            preconditionFailure("out of memory at the start of a thread")
        }
        unsafe self.bio = bio
        unsafe self.wire = wire
    }

    deinit {
        unsafe input.deallocate()
        unsafe plainStart.deallocate()
        // Sessions that still live hold references of their own.
        _ = unsafe BIO_free(bio)
    }

    /// What the last `receive` gave; good until the next one of any connection of the thread.
    package var plain: Span<UInt8> {
        @_lifetime(borrow self)
        borrowing get {
            // SAFETY: plainStart[0..<plainCount] was written by the last receive.
            let span = unsafe Span<UInt8>(_unsafeStart: UnsafePointer(plainStart), count: plainCount)
            return unsafe _overrideLifetime(span, borrowing: self)
        }
    }

    /// Encrypted bytes that the last TLS call made.
    var encrypted: Span<UInt8> {
        @_lifetime(borrow self)
        borrowing get {
            // SAFETY: the wire's output holds output_count initialised bytes.
            guard let start = unsafe wire.pointee.output else { return Span() }
            let span = unsafe Span<UInt8>(_unsafeStart: UnsafePointer(start), count: wire.pointee.output_count)
            return unsafe _overrideLifetime(span, borrowing: self)
        }
    }

    /// Puts the first `count` bytes of the input buffer on the wire.
    mutating func offer(_ count: Int) {
        // SAFETY: the input buffer holds readSize bytes, of which `count` were just written.
        unsafe wire.pointee.input = UnsafePointer(input.assumingMemoryBound(to: UInt8.self))
        unsafe wire.pointee.input_count = min(count, Self.readSize)
    }

    /// Copies bytes (at most one read's) into the input buffer and puts them on the wire.
    mutating func offer(_ bytes: Span<UInt8>) {
        let count = min(bytes.count, Self.readSize)
        // SAFETY: the input buffer holds readSize bytes.
        unsafe bytes.withUnsafeBufferPointer { source in
            guard let start = source.baseAddress else { return }
            unsafe input.copyMemory(from: start, byteCount: count)
        }
        offer(count)
    }

    /// What TLS left on the wire: it belongs to the connection that works now.
    var leftover: Span<UInt8> {
        @_lifetime(borrow self)
        borrowing get {
            // SAFETY: the wire's input points into the input buffer with input_count bytes.
            guard let start = unsafe wire.pointee.input else { return Span() }
            let span = unsafe Span<UInt8>(_unsafeStart: start, count: wire.pointee.input_count)
            return unsafe _overrideLifetime(span, borrowing: self)
        }
    }

    /// Bytes wait on the wire.
    var hasInput: Bool { unsafe wire.pointee.input_count > 0 }

    mutating func clearLeftover() { unsafe wire.pointee.input_count = 0 }

    var hasEncrypted: Bool { unsafe wire.pointee.output_count > 0 }

    mutating func clearEncrypted() {
        unsafe wire.pointee.output_count = 0
        // SAFETY: the wire is live as long as the BIO.
        unsafe shim_wire_trim(wire, Self.keptOutput)
    }
}
