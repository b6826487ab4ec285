internal import Containers
internal import Glibc
internal import Reactor

/// The only way into a loop from other threads.
package final class RPCInbox: Sendable {
    struct Letter: Sendable { let body: @Sendable () -> Void }

    /// Letters that wait; a loop that is behind by so many has other troubles.
    private static let limit = 65_536

    let waker: Waker
    private let letters = LetterBox<Letter>(limit: limit)

    init(waker: Waker) { self.waker = waker }

    /// Runs `body` on the loop's thread, in the order of posting. False, and nothing happens, when the inbox is full.
    @discardableResult
    package func post(_ body: @escaping @Sendable () -> Void) -> Bool {
        guard letters.post(Letter(body: body)) else { return false }
        waker.wake()
        return true
    }

    func takeAll() -> [Letter] { letters.takeAll() }
}

/// A value of the loop's thread that a letter may carry through other threads, but only the loop's thread may open.
///
/// `@unchecked Sendable`: the value is reached through `value` only, which stops the process on any other thread.
package final class RPCBound<Value>: @unchecked Sendable {
    private let content: Value
    private let thread: pthread_t

    /// Made on the loop's thread.
    package init(_ value: Value) {
        content = value
        thread = pthread_self()
    }

    /// The value; on the thread that made this only.
    package var value: Value {
        precondition(pthread_equal(thread, pthread_self()) != 0, "a value of the loop is opened on another thread")
        return content
    }
}
