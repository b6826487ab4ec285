internal import Identity
internal import MeshModel

/// What a process keeps of its enrolment beside key and SVID: where its broker is and by which roots it is known. No secret.
struct EnrolmentRecord: Hashable {
    /// A record holds at most 16 addresses of either kind and 16 roots.
    static let maximumLength = 1 << 20

    var cluster: ClusterID
    var trustDomain: TrustDomain
    /// `host:port` of 15012, best first.
    var brokerAddresses: [String]
    /// `host:port` of 8443.
    var enrolmentAddresses: [String]
    /// The own trust domain's bundle as it was learned last.
    var bundle: TrustBundle

    func encode() -> [UInt8] {
        var text = "{\n"
        text += "  \"cluster\": \"\(cluster)\",\n  \"trustDomain\": \"\(trustDomain)\",\n"
        text += "  \"brokerAddresses\": \(Self.list(brokerAddresses)),\n"
        text += "  \"enrolmentAddresses\": \(Self.list(enrolmentAddresses)),\n"
        text += "  \"bundleSequence\": \"\(bundle.sequence)\",\n"
        text += "  \"roots\": \(Self.list(bundle.roots.map { String(decoding: Base64.encode($0), as: UTF8.self) })),\n"
        text += "  \"revokedSerials\": \(Self.list(bundle.revokedSerials.map { Hex.encode($0) }))\n}\n"
        return Array(text.utf8)
    }

    /// Addresses, names, digits and base64: nothing that needs an escape gets this far.
    private static func list(_ items: [String]) -> String {
        "[" + items.map { "\"\($0)\"" }.joined(separator: ", ") + "]"
    }

    init(
        cluster: ClusterID, trustDomain: TrustDomain, brokerAddresses: [String], enrolmentAddresses: [String],
        bundle: TrustBundle
    ) {
        self.cluster = cluster
        self.trustDomain = trustDomain
        self.brokerAddresses = brokerAddresses
        self.enrolmentAddresses = enrolmentAddresses
        self.bundle = bundle
    }

    /// Nil for anything but a record as `encode` writes it, in any order and spacing.
    init?(_ bytes: [UInt8]) {
        var reader = FlatJSON(bytes)
        guard let fields = reader.object(), let cluster = fields["cluster"]?.text.flatMap({ ClusterID($0) }),
            let domain = fields["trustDomain"]?.text.flatMap({ TrustDomain($0) }),
            let brokers = fields["brokerAddresses"]?.list, let enrolment = fields["enrolmentAddresses"]?.list,
            (brokers + enrolment).allSatisfy({ HostPort($0) != nil }), let roots = fields["roots"]?.list,
            let sequence = fields["bundleSequence"]?.text.flatMap({ UInt64($0) })
        else { return nil }
        let decoded = roots.compactMap { Base64.decode(Array($0.utf8)) }
        let serials = (fields["revokedSerials"]?.list ?? []).compactMap { Hex.decode($0) }
        guard decoded.count == roots.count, decoded.count <= TrustStore.maximumRoots else { return nil }
        self.init(
            cluster: cluster, trustDomain: domain, brokerAddresses: brokers, enrolmentAddresses: enrolment,
            bundle: TrustBundle(
                trustDomain: domain, roots: decoded, revokedSerials: serials, sequence: sequence))
    }
}

/// Reads the one shape of JSON that `EnrolmentRecord` writes: an object of strings and lists of strings, without escapes.
struct FlatJSON {
    enum Value {
        case string(String)
        case strings([String])

        var text: String? { if case .string(let text) = self { text } else { nil } }
        var list: [String]? { if case .strings(let list) = self { list } else { nil } }
    }

    private let bytes: [UInt8]
    private var index = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    mutating func object() -> [String: Value]? {
        var fields: [String: Value] = [:]
        guard take(0x7B) else { return nil }
        if take(0x7D) { return isAtEnd ? fields : nil }
        repeat {
            guard let name = string(), take(0x3A), fields[name] == nil else { return nil }
            if let text = string() {
                fields[name] = .string(text)
            } else if let list = strings() {
                fields[name] = .strings(list)
            } else {
                return nil
            }
        } while take(0x2C)
        return take(0x7D) && isAtEnd ? fields : nil
    }

    private mutating func strings() -> [String]? {
        guard take(0x5B) else { return nil }
        if take(0x5D) { return [] }
        var list: [String] = []
        repeat {
            guard let item = string() else { return nil }
            list.append(item)
        } while take(0x2C)
        return take(0x5D) ? list : nil
    }

    private mutating func string() -> String? {
        guard take(0x22) else { return nil }
        let start = index
        while index < bytes.count, bytes[index] != 0x22 {
            guard bytes[index] >= 0x20, bytes[index] != 0x5C else { return nil }
            index += 1
        }
        guard index < bytes.count else { return nil }
        index += 1
        return String(decoding: bytes[start..<index - 1], as: UTF8.self)
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        skipSpace()
        guard index < bytes.count, bytes[index] == byte else { return false }
        index += 1
        return true
    }

    private var isAtEnd: Bool {
        mutating get {
            skipSpace()
            return index == bytes.count
        }
    }

    private mutating func skipSpace() {
        while index < bytes.count, [0x20, 0x09, 0x0A, 0x0D].contains(bytes[index]) { index += 1 }
    }
}
