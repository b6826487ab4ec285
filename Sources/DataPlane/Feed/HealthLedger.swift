internal import ControlCoding
internal import MeshModel

/// What the probes of a gateway found, and what of it the broker has not been told: whole at first, then changes only.
struct HealthLedger {
    private struct Entry {
        var healthy: Bool
        var since: WallTime
        var isTold: Bool
    }

    private var entries: [EndpointID: Entry] = [:]

    /// Takes a whole view; what is not in it is forgotten.
    mutating func update(_ view: [EndpointID: Bool], wall: WallTime) {
        entries = entries.filter { view[$0.key] != nil }
        for (endpoint, healthy) in view {
            if entries[endpoint]?.healthy != healthy {
                entries[endpoint] = Entry(healthy: healthy, since: wall, isTold: false)
            }
        }
    }

    /// A new stream knows nothing.
    mutating func restart() {
        for endpoint in entries.keys { entries[endpoint]?.isTold = false }
    }

    /// What is new, in frames of at most `limit` entries, by endpoint.
    mutating func changes(limit: Int) -> [[EndpointHealth]] {
        var frames: [[EndpointHealth]] = []
        var frame: [EndpointHealth] = []
        for (endpoint, entry) in entries.filter({ !$0.value.isTold }).sorted(by: { $0.key < $1.key }) {
            frame.append(EndpointHealth(endpoint: endpoint, healthy: entry.healthy, since: entry.since))
            entries[endpoint]?.isTold = true
            if frame.count == limit {
                frames.append(frame)
                frame = []
            }
        }
        if !frame.isEmpty { frames.append(frame) }
        return frames
    }
}
