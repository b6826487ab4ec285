internal import MeshModel

/// A mapping being decoded: each key is asked for by name, and `finish` reports the keys that nobody asked for.
struct Fields {
    let path: String
    let line: Int
    let scope: Scope
    private let entries: [YAMLNode.Entry]
    private var asked: Set<String> = []

    init(entries: [YAMLNode.Entry], path: String, line: Int, scope: Scope) {
        self.entries = entries
        self.path = path
        self.line = line
        self.scope = scope
    }

    /// The value of `key`; nil when it is absent or null.
    mutating func optional(_ key: String) -> Field? {
        asked.insert(key)
        guard let entry = entries.first(where: { $0.key == key }), !entry.value.isNull else { return nil }
        return Field(node: entry.value, path: child(key), line: entry.line, scope: scope)
    }

    /// The value of `key`; absent or null is reported with `example`.
    mutating func required(_ key: String, example: String) -> Field? {
        if let field = optional(key) { return field }
        scope.report(line: line, path: child(key), "is missing", "for example \(example)")
        return nil
    }

    /// Keys that belong to the format but mean nothing to the mesh.
    mutating func ignore(_ keys: String...) { asked.formUnion(keys) }

    /// Keys of the contract that this version does not have: present means refused, never ignored.
    mutating func unavailable(_ keys: String..., instead: String = "remove it") {
        for key in keys {
            guard let field = optional(key) else { continue }
            field.report("is not available in this version", instead)
        }
    }

    /// Reports every key that was not asked for.
    func finish() {
        for entry in entries where !asked.contains(entry.key) {
            let near = asked.filter { Self.distance($0, entry.key) <= 2 }.min()
            let advice =
                near.map { "did you mean \($0)?" } ?? "known keys: \(asked.sorted().joined(separator: ", "))"
            scope.report(line: entry.line, path: path, "unknown key \(quoted(entry.key))", advice)
        }
    }

    func report(_ what: String, _ advice: String) { scope.report(line: line, path: path, what, advice) }

    private func child(_ key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }

    /// Edit distance of two short ASCII-case-folded strings; 3 when either is long.
    private static func distance(_ left: String, _ right: String) -> Int {
        let first = Array(left.lowercased().utf8)
        let second = Array(right.lowercased().utf8)
        guard first.count <= 40, second.count <= 40, abs(first.count - second.count) <= 2 else { return 3 }
        var row = Array(0...second.count)
        for (index, byte) in first.enumerated() {
            var diagonal = row[0]
            row[0] = index + 1
            for column in second.indices {
                let above = row[column + 1]
                row[column + 1] = min(above + 1, row[column] + 1, diagonal + (byte == second[column] ? 0 : 1))
                diagonal = above
            }
        }
        return row[second.count]
    }
}

/// One value being decoded, with its place. Every reader returns nil after it has reported what is wrong.
struct Field {
    let node: YAMLNode
    let path: String
    let line: Int
    let scope: Scope

    func report(_ what: String, _ advice: String) { scope.report(line: line, path: path, what, advice) }

    func fields() -> Fields? {
        guard case .mapping(let entries) = node.value else { return wrongType("a mapping") }
        return Fields(entries: entries, path: path, line: line, scope: scope)
    }

    /// The elements of a list of at most `maximum`.
    func list(maximum: Int = 1_024) -> [Field]? {
        guard case .sequence(let nodes) = node.value else { return wrongType("a list") }
        guard nodes.count <= maximum else {
            report("has \(nodes.count) elements", "at most \(maximum)")
            return nil
        }
        return nodes.enumerated().map { index, node in
            Field(node: node, path: "\(path)[\(index)]", line: node.line, scope: scope)
        }
    }

    /// Every element read by `read`; nil when one of them is wrong, after all of them were looked at.
    func list<Element>(maximum: Int = 1_024, _ read: (Field) -> Element?) -> [Element]? {
        guard let elements = list(maximum: maximum) else { return nil }
        let values = elements.map(read)
        return values.contains { $0 == nil } ? nil : values.compactMap { $0 }
    }

    /// As `list`, and an element that is there twice is refused.
    func set<Element: Hashable>(maximum: Int = 1_024, _ read: (Field) -> Element?) -> [Element]? {
        guard let elements = list(maximum: maximum) else { return nil }
        var seen: [Element: Int] = [:]
        var values: [Element] = []
        var good = true
        for (index, element) in elements.enumerated() {
            guard let value = read(element) else {
                good = false
                continue
            }
            if let first = seen[value] {
                element.report("is the same as element \(first)", "remove one of them")
                good = false
            } else {
                seen[value] = index
                values.append(value)
            }
        }
        return good ? values : nil
    }

    /// A mapping from any keys to values read by `read`.
    func dictionary<Element>(maximum: Int = 256, _ read: (String, Field) -> Element?) -> [String: Element]? {
        guard case .mapping(let entries) = node.value else { return wrongType("a mapping") }
        guard entries.count <= maximum else {
            report("has \(entries.count) keys", "at most \(maximum)")
            return nil
        }
        var values: [String: Element] = [:]
        for entry in entries {
            let field = Field(node: entry.value, path: "\(path).\(entry.key)", line: entry.line, scope: scope)
            values[entry.key] = read(entry.key, field)
        }
        return values.count == entries.count ? values : nil
    }

    /// A string of 1–`maximum` bytes without control characters (`multiline` allows line ends and tabs).
    func string(maximum: Int = 253, multiline: Bool = false, empty: Bool = false) -> String? {
        guard case .scalar(let text, let plain) = node.value else { return wrongType("a string") }
        if plain, !ScalarGrammar.isPlainString(Array(text.utf8)) {
            report("must be a string, not \(quoted(text)), which some readers take for another type", "quote it")
            return nil
        }
        guard empty || !text.isEmpty else {
            report("is empty", "write a value or leave the key out")
            return nil
        }
        guard text.utf8.count <= maximum else {
            report("has \(text.utf8.count) bytes", "at most \(maximum)")
            return nil
        }
        for byte in text.utf8 where byte < 0x20 && !(multiline && (byte == 0x0A || byte == 0x0D || byte == 0x09)) {
            report("holds a control character", "remove it")
            return nil
        }
        return text
    }

    func boolean() -> Bool? {
        guard case .scalar(let text, plain: true) = node.value, let value = ScalarGrammar.boolean(Array(text.utf8))
        else { return wrongType("true or false") }
        return value
    }

    func integer(in range: ClosedRange<Int>) -> Int? {
        guard case .scalar(let text, plain: true) = node.value, let value = ScalarGrammar.integer(Array(text.utf8))
        else { return wrongType("a whole number") }
        guard range.contains(value) else {
            report("is \(value)", "a number from \(range.lowerBound) to \(range.upperBound)")
            return nil
        }
        return value
    }

    func decimal(in range: ClosedRange<Double>) -> Double? {
        guard case .scalar(let text, plain: true) = node.value, let value = ScalarGrammar.decimal(Array(text.utf8))
        else { return wrongType("a number") }
        guard range.contains(value) else {
            report("is \(text)", "a number from \(range.lowerBound) to \(range.upperBound)")
            return nil
        }
        return value
    }

    func port() -> UInt16? {
        integer(in: 1...65_535).flatMap { UInt16(exactly: $0) }
    }

    /// A GEP-2257 duration within `range`.
    func duration(in range: ClosedRange<Duration>) -> Duration? {
        guard let text = string() else { return nil }
        guard let value = Duration(gep2257: text) else {
            report("\(quoted(text)) is no duration", "up to four of a number and h, m, s or ms: 1m30s, 250ms")
            return nil
        }
        guard range.contains(value) else {
            report("is \(text)", "from \(range.lowerBound.gep2257) to \(range.upperBound.gep2257)")
            return nil
        }
        return value
    }

    func label() -> Label? {
        guard let text = string() else { return nil }
        if let label = Label(text) { return label }
        report("\(quoted(text)) is no name", "1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends")
        return nil
    }

    func cluster() -> ClusterID? { label().map(ClusterID.init) }

    func trustDomain() -> TrustDomain? {
        guard let text = string(maximum: 300) else { return nil }
        if let domain = TrustDomain(text) { return domain }
        report("\(quoted(text)) is no trust domain", "1 to 255 of a-z, 0-9, '.', '-' and '_', for example east.mesh")
        return nil
    }

    /// An IP literal that a host can have.
    func address() -> String? {
        guard let text = string() else { return nil }
        if IPLiteral.isUnicast(text) { return text }
        report("\(quoted(text)) is no address of a host", "an IPv4 or IPv6 literal, for example 10.1.0.12")
        return nil
    }

    func hostPort() -> String? {
        guard let text = string() else { return nil }
        if let value = HostPort(text) { return value.description }
        report("\(quoted(text)) is no address with a port", "for example 10.1.0.2:15012 or [fd00::2]:15012")
        return nil
    }

    /// One of the words; a word of `later` is known to the contract but not built.
    func choice<Value>(_ words: KeyValuePairs<String, Value>, later: [String] = []) -> Value? {
        guard let text = string() else { return nil }
        if let match = words.first(where: { $0.key == text }) { return match.value }
        let known = words.map(\.key).joined(separator: ", ")
        if later.contains(text) {
            report("\(quoted(text)) is not available in this version", "one of: \(known)")
        } else {
            report("\(quoted(text)) is not known here", "one of: \(known)")
        }
        return nil
    }

    private func wrongType<Value>(_ expected: String) -> Value? {
        report("must be \(expected), not \(node.typeName)", "change the value")
        return nil
    }
}
