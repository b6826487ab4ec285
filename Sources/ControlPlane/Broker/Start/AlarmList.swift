internal import MeshModel

/// Things that a person should look at: the newest 256, in memory; the log has them all.
final class AlarmList {
    struct Alarm {
        let time: WallTime
        let kind: String
        let cluster: ClusterID?
        let text: String
    }
    /// As admin.proto says.
    private static let maximum = 256

    private(set) var alarms: [Alarm] = []
    private let log: BrokerLog

    init(_ log: BrokerLog) { self.log = log }

    /// The same alarm again takes the place of the earlier one.
    func raise(_ kind: String, _ cluster: ClusterID?, _ text: String, at time: WallTime) {
        let known = alarms.firstIndex { $0.kind == kind && $0.cluster == cluster && $0.text == text }
        if let known {
            alarms.remove(at: known)
        } else {
            log.warning(text, ["alarm": kind, "cluster": cluster?.description ?? ""])
        }
        if alarms.count >= Self.maximum { alarms.removeFirst() }
        alarms.append(Alarm(time: time, kind: kind, cluster: cluster, text: text))
    }
}

/// What is counted since the start, for the metrics page.
struct BrokerCounts {
    var snapshots: UInt64 = 0
    var issued: UInt64 = 0
    var renewedExpired: UInt64 = 0
    var enrolments: UInt64 = 0
    var refusedEnrolments: UInt64 = 0
    var joins: UInt64 = 0
    var refusedJoins: UInt64 = 0
    var dials: UInt64 = 0
    var failedDials: UInt64 = 0
    var refusedSnapshots: UInt64 = 0
    var refusedCalls: UInt64 = 0
}

/// Guesses are slowed down: each source address may fail a few times at once, then a few times per second.
struct FailureLimiter {
    /// Failures that one source may make at once, and per second after that.
    private static let burst = 20.0
    private static let perSecond = 2.0
    /// Sources that are remembered; the table is forgotten whole when it is full.
    private static let maximumSources = 4_096

    private struct Bucket {
        var left: Double
        var last: Instant
    }
    private var buckets: [String: Bucket] = [:]

    /// False while `source` has failed too often.
    mutating func mayTry(_ source: String, now: Instant) -> Bool {
        guard var bucket = buckets[source] else { return true }
        let seconds = Double((now - bucket.last).wholeMilliseconds) / 1_000
        bucket.left = min(Self.burst, bucket.left + seconds * Self.perSecond)
        bucket.last = now
        buckets[source] = bucket.left >= Self.burst ? nil : bucket
        return bucket.left >= 1
    }

    mutating func failed(_ source: String, now: Instant) {
        _ = mayTry(source, now: now)
        if buckets[source] == nil, buckets.count >= Self.maximumSources { buckets = [:] }
        buckets[source, default: Bucket(left: Self.burst, last: now)].left -= 1
    }
}
