/// The address that a mesh name has in every pod of the cluster: an app dials it, the sidecar knows by it what is meant.
///
/// 240.240.0.0/16 is reserved space that no network routes (RFC 1112 section 4, class E), 2001:2::/48 is for benchmarks
/// (RFC 5180): neither can be anybody's real destination.
package struct VirtualAddress: Hashable, Sendable {
    /// The numbers that make host addresses of 240.240.0.0/16.
    package static let numbers: ClosedRange<UInt32> = 1...65_534

    package let name: MeshName
    /// The same in both families.
    package let number: UInt32

    /// Nil for a number outside `numbers`.
    package init?(name: MeshName, number: UInt32) {
        guard Self.numbers.contains(number) else { return nil }
        self.name = name
        self.number = number
    }

    private var high: UInt8 { UInt8(truncatingIfNeeded: number >> 8) }
    private var low: UInt8 { UInt8(truncatingIfNeeded: number) }

    /// Four bytes in network order.
    package var v4: [UInt8] { [240, 240, high, low] }
    /// Sixteen bytes in network order.
    package var v6: [UInt8] { [0x20, 0x01, 0, 2] + [UInt8](repeating: 0, count: 10) + [high, low] }
    /// As one writes it: `240.240.0.5`.
    package var v4Text: String { "240.240.\(high).\(low)" }

    /// True for an address of either range, given or not: four or sixteen bytes.
    package static func isVirtual(_ address: [UInt8]) -> Bool {
        address.count == 4
            ? address.starts(with: [240, 240]) : address.count == 16 && address.starts(with: [0x20, 0x01, 0, 2, 0, 0])
    }
}

extension Service {
    /// Every name by which a pod of `cluster` may call this service, sorted: each has a virtual address of its own, since
    /// they mean different things.
    package func meshNames(in cluster: ClusterID) -> [MeshName] {
        var scopes: [MeshName.Scope] = []
        if meshName.scope == .clusterset { scopes.append(.clusterset) }
        if isLocal {
            scopes.append(.local)
            if export.isExported { scopes.append(.pinned(cluster)) }
        }
        scopes += remotes.map { .pinned($0.cluster) }
        return scopes.map { MeshName(service: name.name, namespace: name.namespace, scope: $0) }.sorted()
    }
}
