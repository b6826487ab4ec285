/// Waits between tries: doubling from the first to the longest, with jitter, so that a fleet does not come back as one.
struct Backoff {
    private let first: Duration
    private let longest: Duration
    private var tries = 0

    init(first: Duration, longest: Duration) {
        self.first = first
        self.longest = longest
    }

    /// The next wait: between half of the step and the whole of it.
    mutating func next() -> Duration {
        let step = min(longest, first * (1 << min(tries, 20)))
        tries += 1
        return step * Double.random(in: 0.5...1)
    }

    mutating func reset() { tries = 0 }
}
