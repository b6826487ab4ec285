/// A SPIFFE trust domain name: 1–255 of `[a-z0-9.-_]` (SPIFFE-ID.md 2.1).
package struct TrustDomain: Hashable, Comparable, Sendable, CustomStringConvertible {
    package let text: ASCIIText

    package init?(_ bytes: [UInt8]) {
        guard !bytes.isEmpty, bytes.count <= 255 else { return nil }
        for byte in bytes {
            guard Grammar.isLowerAlphanumeric(byte) || byte == 0x2E || byte == 0x2D || byte == 0x5F else { return nil }
        }
        text = ASCIIText(checked: bytes)
    }

    package init?(_ string: String) { self.init(Array(string.utf8)) }

    package var bytes: [UInt8] { text.bytes }
    package var description: String { text.description }
    package static func < (left: TrustDomain, right: TrustDomain) -> Bool { left.text < right.text }
}

/// `spiffe://<trust domain>/<path>` with a path that is not the root (SPIFFE-ID.md 2).
///
/// Accepts only the canonical spelling: lower-case scheme and domain, no port, userinfo, query, fragment, percent
/// encoding, empty or dot segment, at most 2,048 bytes.
package struct SPIFFEID: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// What the holder of an ID may be taken for (PROTOCOLS section 1).
    package enum Kind: Hashable, Sendable {
        case workload(namespace: Label, serviceAccount: ASCIIText)
        case gateway(name: ASCIIText)
        case broker(name: ASCIIText)
        case admin(name: ASCIIText)
        case other
    }

    /// The longest ID that is accepted, in bytes (SPIFFE-ID.md 2.3).
    package static let maximumLength = 2_048
    private static let scheme = Array("spiffe://".utf8)

    /// One object, so that handing an ID on costs one retain and not one for each of its texts.
    private final class Parts: Sendable {
        let text: ASCIIText
        let trustDomain: TrustDomain
        let kind: Kind

        init(_ text: ASCIIText, _ trustDomain: TrustDomain, _ kind: Kind) {
            self.text = text
            self.trustDomain = trustDomain
            self.kind = kind
        }
    }

    private let parts: Parts

    package var text: ASCIIText { parts.text }
    package var trustDomain: TrustDomain { parts.trustDomain }
    package var kind: Kind { parts.kind }

    package init?(_ bytes: [UInt8]) {
        guard bytes.count <= Self.maximumLength, bytes.starts(with: Self.scheme) else { return nil }
        let rest = bytes[Self.scheme.count...]
        guard let slash = rest.firstIndex(of: 0x2F), let domain = TrustDomain(Array(rest[..<slash])) else { return nil }
        let segments = rest[(slash + 1)...].split(separator: 0x2F, omittingEmptySubsequences: false)
        for segment in segments {
            guard !segment.isEmpty, Array(segment) != [0x2E], Array(segment) != [0x2E, 0x2E] else { return nil }
            for byte in segment {
                let upper = byte >= 0x41 && byte <= 0x5A
                guard Grammar.isLowerAlphanumeric(byte) || upper || byte == 0x2E || byte == 0x2D || byte == 0x5F else {
                    return nil
                }
            }
        }
        parts = Parts(ASCIIText(checked: bytes), domain, Self.kind(of: segments.map(Array.init)))
    }

    package init?(_ string: String) { self.init(Array(string.utf8)) }

    package static func workload(in domain: TrustDomain, namespace: Label, serviceAccount: Label) -> SPIFFEID {
        make(domain, ["ns", namespace.description, "sa", serviceAccount.description])
    }
    package static func gateway(in domain: TrustDomain, name: Label) -> SPIFFEID {
        make(domain, ["meshfed", "gateway", name.description])
    }
    package static func broker(in domain: TrustDomain, name: Label) -> SPIFFEID {
        make(domain, ["meshfed", "broker", name.description])
    }
    package static func admin(in domain: TrustDomain, name: Label) -> SPIFFEID {
        make(domain, ["meshfed", "admin", name.description])
    }

    package var bytes: [UInt8] { text.bytes }
    package var description: String { text.description }

    package static func == (left: SPIFFEID, right: SPIFFEID) -> Bool {
        left.parts === right.parts || left.parts.text == right.parts.text
    }
    package func hash(into hasher: inout Hasher) { hasher.combine(parts.text) }

    /// True only for the same ID, handed on from one place to another; false says nothing.
    package static func isSameObject(_ left: SPIFFEID?, _ right: SPIFFEID?) -> Bool { left?.parts === right?.parts }
    package static func < (left: SPIFFEID, right: SPIFFEID) -> Bool { left.text < right.text }

    private static func make(_ domain: TrustDomain, _ segments: [String]) -> SPIFFEID {
        guard let id = SPIFFEID("spiffe://\(domain)/\(segments.joined(separator: "/"))") else {
            preconditionFailure("labels make a valid SPIFFE ID")
        }
        return id
    }

    private static func kind(of segments: [[UInt8]]) -> Kind {
        func text(_ index: Int) -> ASCIIText { ASCIIText(checked: segments[index]) }
        if segments.count == 4, segments[0] == Array("ns".utf8), segments[2] == Array("sa".utf8),
            let namespace = Label(segments[1])
        {
            return .workload(namespace: namespace, serviceAccount: text(3))
        }
        guard segments.count == 3, segments[0] == Array("meshfed".utf8) else { return .other }
        switch text(1).description {
        case "gateway": return .gateway(name: text(2))
        case "broker": return .broker(name: text(2))
        case "admin": return .admin(name: text(2))
        default: return .other
        }
    }
}
