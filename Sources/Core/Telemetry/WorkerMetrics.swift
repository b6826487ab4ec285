internal import MeshModel

/// The counters and histograms of one worker: plain memory, no lock, no atomic.
///
/// A scrape asks every worker by letter for `snapshot()` and adds the copies up with `merge`. Cardinality is bounded:
/// what comes after `seriesLimit` goes to one series per reporter and protocol whose names are all `other`.
package struct WorkerMetrics: ~Copyable {
    /// A series found once and counted on without looking it up again; good for the life of the `WorkerMetrics`.
    package struct SeriesHandle: Hashable, Sendable {
        let index: Int32
        let duration: Int32
    }

    /// Request and TCP series of one worker (HOSTILE 127: bounded, counted).
    package static let seriesLimit = 10_000
    /// Histograms of one worker: 64 × 8 bytes each, so at most 1 MiB.
    static let histogramLimit = 2_000
    /// Series of all event families together.
    static let eventLimit = 4_096

    var data: MetricsSnapshot
    /// The series that was asked for last: requests that follow each other are mostly of one.
    private var last: (key: RequestMetricKey, series: SeriesHandle)?

    package init(seriesLimit: Int = WorkerMetrics.seriesLimit) {
        data = MetricsSnapshot(
            seriesLimit: seriesLimit, histogramLimit: min(Self.histogramLimit, seriesLimit),
            eventLimit: Self.eventLimit)
    }

    /// The handle of a label text. Called once per connection or snapshot, not per request; longer texts than 512 bytes
    /// are cut, and once the table is full everything new is `LabelHandle.other`.
    package mutating func intern(_ text: Span<UInt8>) -> LabelHandle { data.labels.intern(text) }

    /// As `intern(_:)`, for words of our own.
    package mutating func intern(_ text: [UInt8]) -> LabelHandle { data.labels.intern(text.span) }

    /// The series of `key`; it is made when new.
    package mutating func series(_ key: RequestMetricKey) -> SeriesHandle {
        if let last, last.key.identity == key.identity, last.key.outcome == key.outcome { return last.series }
        let series = data.series(key)
        // What had no room is counted as such each time.
        if data.index.keys[Int(series.index)] == key { last = (key, series) }
        return series
    }

    /// Counts one finished request or exchange.
    package mutating func requestFinished(_ key: RequestMetricKey, after duration: Duration) {
        requestFinished(series(key), after: duration)
    }

    package mutating func requestFinished(_ handle: SeriesHandle, after duration: Duration) {
        guard Int(handle.index) < data.cells.count, Int(handle.duration) < data.sums.count else { return }
        let nanoseconds = duration.wholeNanoseconds
        data.cells[Int(handle.index)].requests &+= 1
        data.buckets[Int(handle.duration) * DurationBuckets.count + DurationBuckets.index(nanoseconds)] &+= 1
        data.sums[Int(handle.duration)] &+= nanoseconds
    }

    package mutating func connectionOpened(_ handle: SeriesHandle) {
        guard Int(handle.index) < data.cells.count else { return }
        data.cells[Int(handle.index)].opened &+= 1
    }

    package mutating func connectionClosed(_ handle: SeriesHandle) {
        guard Int(handle.index) < data.cells.count else { return }
        data.cells[Int(handle.index)].closed &+= 1
    }

    /// Adds relayed bytes: `received` from downstream, `sent` to downstream (Istio's directions).
    package mutating func relayed(_ handle: SeriesHandle, received: UInt64, sent: UInt64) {
        guard Int(handle.index) < data.cells.count else { return }
        data.cells[Int(handle.index)].received &+= received
        data.cells[Int(handle.index)].sent &+= sent
    }

    /// Adds `amount` to one series of an event family; labels beyond those of the family are ignored.
    package mutating func count(
        _ family: EventFamily, _ first: LabelHandle = .unknown, _ second: LabelHandle = .unknown,
        _ third: LabelHandle = .unknown, amount: UInt64 = 1
    ) {
        data.count(family, family.key(first, second, third), amount)
    }

    /// A copy that may cross threads; cheap, but the next change pays for copying what it touches.
    package func snapshot() -> MetricsSnapshot { data }

    /// Adds the counts of another worker's copy to these.
    package mutating func merge(_ other: MetricsSnapshot) { data.merge(other) }

    /// Durations of all series for which `service` is the destination; nil sums over all.
    package func durations(service: LabelHandle?) -> DurationSummary {
        var buckets = [UInt64](repeating: 0, count: DurationBuckets.count)
        var sum: UInt64 = 0
        for (index, key) in data.histograms.keys.enumerated() where service == nil || key.destinationService == service
        {
            for bucket in buckets.indices { buckets[bucket] &+= data.buckets[index * DurationBuckets.count + bucket] }
            sum &+= data.sums[index]
        }
        return DurationSummary(
            count: buckets.reduce(0, &+), sum: .nanoseconds(Int64(clamping: sum)), buckets: buckets)
    }
}

/// All counts of one worker at one moment, as a value.
package struct MetricsSnapshot: Sendable {
    struct Cell: Sendable, Hashable {
        var requests: UInt64 = 0
        var opened: UInt64 = 0
        var closed: UInt64 = 0
        var sent: UInt64 = 0
        var received: UInt64 = 0
    }

    var labels = LabelTable()
    var index: SeriesIndex
    var cells: [Cell] = []
    /// For each series, its histogram.
    var durationOf: [Int32] = []
    var histograms: SeriesIndex
    /// `DurationBuckets.count` per histogram.
    var buckets: [UInt64] = []
    /// Nanoseconds per histogram.
    var sums: [UInt64] = []
    var events: SeriesIndex
    var eventCounts: [UInt64] = []
    /// Counts that went to an `other` series, labels that became `other` included.
    var overflow: UInt64 = 0

    init(seriesLimit: Int, histogramLimit: Int, eventLimit: Int) {
        index = SeriesIndex(limit: seriesLimit)
        histograms = SeriesIndex(limit: histogramLimit)
        events = SeriesIndex(limit: eventLimit)
    }

    mutating func series(_ key: RequestMetricKey) -> WorkerMetrics.SeriesHandle {
        let position: Int
        if let found = index.index(of: key) {
            position = found
        } else {
            overflow &+= 1
            position = index.index(of: key.overflowed, beyondLimit: true) ?? 0
        }
        if position == cells.count {
            let duration = histogram(index.keys[position].duration)
            cells.append(Cell())
            durationOf.append(Int32(duration))
        }
        return WorkerMetrics.SeriesHandle(index: Int32(position), duration: durationOf[position])
    }

    private mutating func histogram(_ key: RequestMetricKey) -> Int {
        let position: Int
        if let found = histograms.index(of: key) {
            position = found
        } else {
            overflow &+= 1
            position = histograms.index(of: key.overflowed.duration, beyondLimit: true) ?? 0
        }
        if position == sums.count {
            sums.append(0)
            buckets.append(contentsOf: repeatElement(0, count: DurationBuckets.count))
        }
        return position
    }

    mutating func count(_ family: EventFamily, _ key: RequestMetricKey, _ amount: UInt64) {
        let position: Int
        if let found = events.index(of: key) {
            position = found
        } else {
            overflow &+= 1
            position = events.index(of: family.key(.other, .other, .other), beyondLimit: true) ?? 0
        }
        if position == eventCounts.count { eventCounts.append(0) }
        eventCounts[position] &+= amount
    }

    mutating func merge(_ other: MetricsSnapshot) {
        let map = other.labels.texts.map { labels.intern($0.span) }
        for (position, key) in other.index.keys.enumerated() {
            let handle = series(key.remapped(map))
            let from = other.cells[position]
            cells[Int(handle.index)].requests &+= from.requests
            cells[Int(handle.index)].opened &+= from.opened
            cells[Int(handle.index)].closed &+= from.closed
            cells[Int(handle.index)].sent &+= from.sent
            cells[Int(handle.index)].received &+= from.received
        }
        for (position, key) in other.histograms.keys.enumerated() {
            let target = histogram(key.remapped(map))
            sums[target] &+= other.sums[position]
            for bucket in 0..<DurationBuckets.count {
                buckets[target * DurationBuckets.count + bucket] &+=
                    other.buckets[position * DurationBuckets.count + bucket]
            }
        }
        for (position, key) in other.events.keys.enumerated() {
            let handles = EventFamily.handles(of: key).map { handle in
                Int(handle.raw) < map.count ? map[Int(handle.raw)] : .other
            }
            let family = EventFamily.family(of: key)
            let all = handles + [.unknown, .unknown, .unknown]
            count(family, family.key(all[0], all[1], all[2]), other.eventCounts[position])
        }
        overflow &+= other.overflow
        overflow &+= other.labels.overflow
    }
}
