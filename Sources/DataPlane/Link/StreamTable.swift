package import Containers
package import Wire

/// Which exchange each live stream of a connection belongs to. A scan of small integers: connections have few streams.
package struct StreamTable: ~Copyable {
    private var streams: [StreamID] = []
    private var owners: [Handle] = []

    package init() {}

    package var count: Int { streams.count }
    package var isEmpty: Bool { streams.isEmpty }

    package mutating func add(_ stream: StreamID, _ owner: Handle) {
        streams.append(stream)
        owners.append(owner)
    }

    /// `Handle.none` when the stream belongs to nobody (any more).
    package func owner(of stream: StreamID) -> Handle {
        for index in streams.indices where streams[index] == stream { return owners[index] }
        return .none
    }

    package mutating func remove(_ stream: StreamID) {
        for index in streams.indices where streams[index] == stream {
            streams.swapAt(index, streams.count - 1)
            owners.swapAt(index, owners.count - 1)
            streams.removeLast()
            owners.removeLast()
            return
        }
    }

    /// All owners; a copy, for walking while entries go.
    package var all: [Handle] { owners }
}
