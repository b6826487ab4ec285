/// One value on the heap, owned by whoever holds the box: for large values inside an `Optional`, where asking a question of
/// the value would otherwise copy all of it, and for values that must not move.
@safe
public struct Box<Value: ~Copyable>: ~Copyable {
    @usableFromInline let pointer: UnsafeMutablePointer<Value>

    @inlinable public init(_ value: consuming Value) {
        // SAFETY: fresh memory, owned until deinit.
        unsafe pointer = UnsafeMutablePointer<Value>.allocate(capacity: 1)
        unsafe pointer.initialize(to: value)
    }

    @inlinable deinit {
        // SAFETY: initialised in init; the last use.
        unsafe pointer.deinitialize(count: 1)
        unsafe pointer.deallocate()
    }

    @inlinable public var value: Value {
        // SAFETY (both): initialised as long as the box lives; self is borrowed or held exclusively as long as the value is.
        unsafeAddress { unsafe UnsafePointer(pointer) }
        unsafeMutableAddress { unsafe pointer }
    }
}
