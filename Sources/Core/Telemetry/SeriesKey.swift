package import MeshModel

/// The labels of one request or TCP series (PROTOCOLS section 11), packed into 16 bytes.
///
/// All handles come from the same `WorkerMetrics` that the key is used with.
package struct RequestMetricKey: Hashable, Sendable {
    var identity: UInt64
    var outcome: UInt64

    /// `responseCode` is the HTTP status, or the gRPC-free 0 for TCP.
    package init(
        reporter: Reporter, requestProtocol: RequestProtocol, security: ConnectionSecurity,
        sourcePrincipal: LabelHandle = .unknown, sourceCluster: LabelHandle = .unknown,
        destinationService: LabelHandle = .unknown, destinationNamespace: LabelHandle = .unknown,
        destinationCluster: LabelHandle = .unknown, responseCode: UInt16 = 0, flag: ResponseFlag = .none,
        reason: Reason? = nil
    ) {
        identity =
            UInt64(sourcePrincipal.raw) | UInt64(sourceCluster.raw) << 16 | UInt64(destinationService.raw) << 32
            | UInt64(destinationNamespace.raw) << 48
        outcome =
            UInt64(destinationCluster.raw) | UInt64(responseCode) << 16 | UInt64(flag.rawValue) << 32
            | UInt64(reason?.code ?? 0) << 40 | UInt64(reporter.rawValue) << 48
            | UInt64(requestProtocol.rawValue) << 52 | UInt64(security.rawValue) << 56
    }

    var sourcePrincipal: LabelHandle { LabelHandle(raw: UInt16(truncatingIfNeeded: identity)) }
    var sourceCluster: LabelHandle { LabelHandle(raw: UInt16(truncatingIfNeeded: identity >> 16)) }
    var destinationService: LabelHandle { LabelHandle(raw: UInt16(truncatingIfNeeded: identity >> 32)) }
    var destinationNamespace: LabelHandle { LabelHandle(raw: UInt16(truncatingIfNeeded: identity >> 48)) }
    var destinationCluster: LabelHandle { LabelHandle(raw: UInt16(truncatingIfNeeded: outcome)) }
    var responseCode: UInt16 { UInt16(truncatingIfNeeded: outcome >> 16) }
    var flag: ResponseFlag { ResponseFlag(rawValue: UInt8(truncatingIfNeeded: outcome >> 32)) ?? .none }
    var reason: Reason? { Reason(code: UInt8(truncatingIfNeeded: outcome >> 40)) }
    var reporter: Reporter { Reporter(rawValue: UInt8(truncatingIfNeeded: outcome >> 48) & 0xF) ?? .source }
    var requestProtocol: RequestProtocol {
        RequestProtocol(rawValue: UInt8(truncatingIfNeeded: outcome >> 52) & 0xF) ?? .http
    }
    var security: ConnectionSecurity {
        ConnectionSecurity(rawValue: UInt8(truncatingIfNeeded: outcome >> 56)) ?? .unknown
    }

    /// The key of the histogram: without caller, flag, reason and security, which would multiply its 64 buckets.
    var duration: RequestMetricKey {
        var key = self
        key.identity |= 0xFFFF
        key.outcome &= ~(0xFFFF << 32 | 0xFF << 56)
        return key
    }

    /// The series that takes what does not fit: protocol and reporter stay, every name becomes `other`.
    var overflowed: RequestMetricKey {
        RequestMetricKey(
            reporter: reporter, requestProtocol: requestProtocol, security: .unknown, sourcePrincipal: .other,
            sourceCluster: .other, destinationService: .other, destinationNamespace: .other,
            destinationCluster: .other)
    }

    /// The same series in another table whose handle for label n is `map[n]`.
    func remapped(_ map: [LabelHandle]) -> RequestMetricKey {
        func moved(_ handle: LabelHandle) -> UInt64 {
            if handle == .omitted { return UInt64(handle.raw) }
            return UInt64(Int(handle.raw) < map.count ? map[Int(handle.raw)].raw : LabelHandle.other.raw)
        }
        var key = self
        key.identity =
            moved(sourcePrincipal) | moved(sourceCluster) << 16 | moved(destinationService) << 32
            | moved(destinationNamespace) << 48
        key.outcome = outcome & ~0xFFFF | moved(destinationCluster)
        return key
    }
}

/// Packed keys → dense indices, bounded, open addressing, never shrinking.
struct SeriesIndex: Sendable {
    let limit: Int
    private(set) var keys: [RequestMetricKey] = []
    private var slots: [Int32] = Array(repeating: -1, count: 64)

    init(limit: Int) { self.limit = limit }

    var count: Int { keys.count }

    /// The index of `key`, adding it when new; nil when it is new and the index is full.
    mutating func index(of key: RequestMetricKey, beyondLimit: Bool = false) -> Int? {
        var slot = Self.hash(key) & (slots.count - 1)
        while slots[slot] >= 0 {
            if keys[Int(slots[slot])] == key { return Int(slots[slot]) }
            slot = (slot + 1) & (slots.count - 1)
        }
        guard keys.count < limit || beyondLimit else { return nil }
        slots[slot] = Int32(keys.count)
        keys.append(key)
        if keys.count * 2 > slots.count { grow() }
        return keys.count - 1
    }

    private mutating func grow() {
        slots = Array(repeating: -1, count: slots.count * 2)
        for position in keys.indices {
            var slot = Self.hash(keys[position]) & (slots.count - 1)
            while slots[slot] >= 0 { slot = (slot + 1) & (slots.count - 1) }
            slots[slot] = Int32(position)
        }
    }

    private static func hash(_ key: RequestMetricKey) -> Int {
        var mix = key.identity &* 0x9E37_79B9_7F4A_7C15 ^ key.outcome &* 0xC2B2_AE3D_27D4_EB4F
        mix ^= mix >> 29
        mix = mix &* 0xBF58_476D_1CE4_E5B9
        return Int(truncatingIfNeeded: (mix ^ mix >> 32) & 0x7FFF_FFFF)
    }
}
