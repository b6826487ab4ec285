internal import Synchronization

/// Letters from any thread to one: the only way into a worker. Bounded; the reader is woken by the caller.
public final class LetterBox<Letter: Sendable>: Sendable {
    private let limit: Int
    private let letters = Mutex<[Letter]>([])

    /// - Parameter limit: the most letters that may wait.
    public init(limit: Int) { self.limit = limit }

    /// False, and the letter is dropped, when the box is full. Wake the reader after it.
    public func post(_ letter: Letter) -> Bool {
        letters.withLock { held in
            guard held.count < limit else { return false }
            held.append(letter)
            return true
        }
    }

    /// All letters that wait, oldest first.
    public func takeAll() -> [Letter] {
        letters.withLock { held in
            if held.isEmpty { return [] }
            let taken = held
            held = []
            return taken
        }
    }
}
