package import Containers
package import MeshModel

/// `meshfed-hops`: the gateways a call has passed, `<cluster>/<gateway>` each, joined by commas (PROTOCOLS section 4).
package enum Hops {
    /// Gateways on one way: egress and ingress.
    package static let maximum = 2

    package enum Judgement: Hashable, Sendable {
        /// May go on; how many gateways are named.
        case passable(Int)
        /// The own cluster was passed before, or the way is full: 508.
        case loop
        /// Not in the grammar: 400 `request_invalid`.
        case invalid
    }

    /// Judges the value that arrived (empty when there was none) at a gateway of `cluster`.
    package static func judge(_ value: Span<UInt8>, at cluster: ClusterID) -> Judgement {
        if value.isEmpty { return .passable(0) }
        let own = cluster.bytes
        var count = 0
        var start = 0
        var isLoop = false
        while start < value.count {
            var end = start
            while end < value.count, value[end] != 0x2C { end += 1 }
            var slash = start
            while slash < end, value[slash] != 0x2F { slash += 1 }
            guard isLabel(value, start, slash), slash < end, isLabel(value, slash + 1, end) else { return .invalid }
            if slash - start == own.count {
                var offset = 0
                while offset < own.count, value[start + offset] == own[offset] { offset += 1 }
                if offset == own.count { isLoop = true }
            }
            count += 1
            guard count <= maximum else { return .loop }
            if end < value.count, end + 1 == value.count { return .invalid }
            start = end + 1
        }
        return isLoop || count >= maximum ? .loop : .passable(count)
    }

    /// Counts the gateways in a value as a sidecar gets it; nil when it is not in the grammar or names too many.
    package static func count(_ value: Span<UInt8>) -> Int? {
        var commas = 0
        if value.isEmpty { return 0 }
        for index in 0..<value.count where value[index] == 0x2C { commas += 1 }
        return commas < maximum ? commas + 1 : nil
    }

    /// Appends the value for the next hop: what arrived and `own` (`RoutingTable.hopName`).
    package static func append(_ value: Span<UInt8>, own: [UInt8], into target: inout ByteBuffer) {
        target.append(value)
        if !value.isEmpty { target.append(0x2C) }
        target.append(own)
    }

    private static func isLabel(_ value: Span<UInt8>, _ start: Int, _ end: Int) -> Bool {
        guard end > start, end - start <= 63, value[start] != 0x2D, value[end - 1] != 0x2D else { return false }
        for index in start..<end {
            let byte = value[index]
            guard (byte >= 0x61 && byte <= 0x7A) || (byte >= 0x30 && byte <= 0x39) || byte == 0x2D else { return false }
        }
        return true
    }
}

/// `meshfed-deadline`: milliseconds left, decimal. It may only bring the end nearer.
package enum CallDeadline {
    /// The nearer of `current` and what the peer says; nil when the value is no decimal of 1 to 10 digits.
    package static func tightened(_ current: Instant, by value: Span<UInt8>, now: Instant) -> Instant? {
        guard let milliseconds = CallNumber.parse(value, digits: 10) else { return nil }
        return min(current, now + .milliseconds(Int64(milliseconds)))
    }

    /// A millisecond or more is left.
    package static func isLeft(_ deadline: Instant, now: Instant) -> Bool {
        deadline.nanoseconds >= now.nanoseconds &+ 1_000_000
    }

    /// Appends the milliseconds left, rounded down; nothing is appended and false returned when none is left.
    package static func append(_ deadline: Instant, now: Instant, into target: inout ByteBuffer) -> Bool {
        let left = min((deadline - now).wholeMilliseconds, 9_999_999_999)
        guard left > 0 else { return false }
        target.append(decimal: left)
        return true
    }
}

/// `meshfed-attempts`: which attempt over all hops this is, the first being 1. A peer may only raise it.
package enum CallAttempts {
    /// The number that counts from here; nil when the value is no decimal of 1 to 3 digits or is 0.
    package static func parse(_ value: Span<UInt8>) -> Int? {
        guard let number = CallNumber.parse(value, digits: 3), number > 0 else { return nil }
        return Int(number)
    }
}

enum CallNumber {
    static func parse(_ value: Span<UInt8>, digits: Int) -> UInt64? {
        guard value.count > 0, value.count <= digits else { return nil }
        var number: UInt64 = 0
        for index in 0..<value.count {
            guard value[index] >= 0x30, value[index] <= 0x39 else { return nil }
            number = number * 10 + UInt64(value[index] - 0x30)
        }
        return number
    }
}
