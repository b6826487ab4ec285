/// A lower-case RFC 1123 label (Kubernetes' name for most things): 1–63 of `[a-z0-9-]`.
package struct Label: Hashable, Comparable, Sendable, CustomStringConvertible {
    package let text: ASCIIText

    package init?(_ bytes: [UInt8]) {
        guard Grammar.isLabel(bytes) else { return nil }
        text = ASCIIText(checked: bytes)
    }

    package init?(_ string: String) { self.init(Array(string.utf8)) }

    package var bytes: [UInt8] { text.bytes }
    package var description: String { text.description }
    package static func < (left: Label, right: Label) -> Bool { left.text < right.text }
}

/// The name of a member cluster: one label, unique in the federation.
package struct ClusterID: Hashable, Comparable, Sendable, CustomStringConvertible {
    package let label: Label

    package init(_ label: Label) { self.label = label }
    package init?(_ string: String) {
        guard let label = Label(string) else { return nil }
        self.label = label
    }

    package var bytes: [UInt8] { label.bytes }
    package var description: String { label.description }
    package static func < (left: ClusterID, right: ClusterID) -> Bool { left.label < right.label }
}

/// A namespaced name: `<namespace>/<name>`.
package struct ObjectName: Hashable, Comparable, Sendable, CustomStringConvertible {
    package let namespace: Label
    package let name: Label

    package init(namespace: Label, name: Label) {
        self.namespace = namespace
        self.name = name
    }

    /// Reads `namespace/name`.
    package init?(_ string: String) {
        let parts = Array(string.utf8).split(separator: 0x2F, omittingEmptySubsequences: false)
        guard parts.count == 2, let namespace = Label(Array(parts[0])), let name = Label(Array(parts[1])) else {
            return nil
        }
        self.init(namespace: namespace, name: name)
    }

    package var description: String { "\(namespace)/\(name)" }
    package static func < (left: ObjectName, right: ObjectName) -> Bool {
        (left.namespace, left.name) < (right.namespace, right.name)
    }
}

/// Region and zone, for preference only. Empty text means unknown; unknown never equals a known one.
package struct Locality: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// One object for all endpoints that stand in one place.
    private final class Parts: Sendable {
        let region: String
        let zone: String

        init(_ region: String, _ zone: String) {
            self.region = region
            self.zone = zone
        }
    }

    private let parts: Parts

    package var region: String { parts.region }
    package var zone: String { parts.zone }

    package init(region: String, zone: String) { parts = Parts(region, zone) }

    package static func == (left: Locality, right: Locality) -> Bool {
        left.parts === right.parts || (left.region == right.region && left.zone == right.zone)
    }
    package func hash(into hasher: inout Hasher) {
        hasher.combine(region)
        hasher.combine(zone)
    }

    package static let unknown = Locality(region: "", zone: "")
    package var description: String { zone.isEmpty ? region : "\(region)/\(zone)" }
    package static func < (left: Locality, right: Locality) -> Bool {
        (left.region, left.zone) < (right.region, right.zone)
    }
}
