/// Requests (HTTP) and connections (TCP) without an identity that came to one service at one sidecar since it started.
package struct PlaintextCount: Hashable, Sendable {
    package let service: ServiceID
    /// Let through, because the service is permissive.
    package var allowed: UInt64
    package var refused: UInt64
    package var last: WallTime

    package init(service: ServiceID, allowed: UInt64 = 0, refused: UInt64 = 0, last: WallTime) {
        self.service = service
        self.allowed = allowed
        self.refused = refused
        self.last = last
    }

    /// Another worker's for the same service.
    package mutating func add(_ other: PlaintextCount) {
        allowed &+= other.allowed
        refused &+= other.refused
        last = max(last, other.last)
    }
}
