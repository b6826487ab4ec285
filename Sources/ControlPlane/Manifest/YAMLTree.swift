internal import Yams

/// A YAML or JSON value as it was written, with the line of every part. The only file that knows Yams.
struct YAMLNode {
    enum Value {
        /// `plain` is false for a quoted or block scalar, which is always a string.
        case scalar(String, plain: Bool)
        case sequence([YAMLNode])
        case mapping([Entry])
    }
    struct Entry {
        let key: String
        let line: Int
        let value: YAMLNode
    }

    let value: Value
    let line: Int

    var isNull: Bool {
        if case .scalar(let text, plain: true) = value { return ScalarGrammar.isNull(Array(text.utf8)) }
        return false
    }

    /// What a person calls this kind of value.
    var typeName: String {
        switch value {
        case .scalar(let text, plain: true):
            let bytes = Array(text.utf8)
            if ScalarGrammar.isNull(bytes) { return "null" }
            if ScalarGrammar.boolean(bytes) != nil { return "a boolean" }
            if ScalarGrammar.decimal(bytes) != nil { return "a number" }
            return "a string"
        case .scalar(_, plain: false): return "a string"
        case .sequence: return "a list"
        case .mapping: return "a mapping"
        }
    }
}

/// Text → documents, within limits, without anchors, aliases, merge keys and tags.
struct YAMLTreeReader {
    /// Of one file, in bytes: etcd and the Kubernetes API take no larger object.
    static let maximumBytes = 1_572_864
    /// Of one file; some 40 times the largest topology that was thought of.
    static let maximumNodes = 200_000
    /// Of one document; objects need 10.
    static let maximumDepth = 32
    /// Of one file.
    static let maximumDocuments = 10_000

    /// None, `!` and `!!str`: libyaml gives the last to every quoted scalar.
    private static let stringTags = ["", "!", "tag:yaml.org,2002:str"]

    private let scope: Scope
    private var nodes = 0

    /// The documents of `text`, empty ones left out. What is wrong goes to the scope's problems; a syntax error ends
    /// the reading, since nothing behind it can be trusted.
    static func documents(_ text: String, _ scope: Scope) -> [YAMLNode] {
        guard text.utf8.count <= maximumBytes else {
            scope.report(line: 1, path: "", "the file is larger than \(maximumBytes) bytes", "split it")
            return []
        }
        var reader = YAMLTreeReader(scope: scope)
        var documents: [YAMLNode] = []
        do {
            // Anchors are weak in the nodes: the parser must outlive the walk.
            let parser = try Parser(yaml: text, resolver: .basic, encoding: .utf8)
            try withExtendedLifetime(parser) {
                while let root = try parser.nextRoot() {
                    guard documents.count < maximumDocuments else {
                        scope.report(line: 1, path: "", "more than \(maximumDocuments) documents", "split the file")
                        return
                    }
                    if let node = reader.convert(root, depth: 0), !node.isNull { documents.append(node) }
                }
            }
        } catch let error as YamlError {
            reader.report(error, in: text)
        } catch {
            scope.report(line: 1, path: "", "the file cannot be parsed", "check that it is YAML or JSON")
        }
        return documents
    }

    private init(scope: Scope) { self.scope = scope }

    private mutating func convert(_ node: Node, depth: Int) -> YAMLNode? {
        let line = node.mark?.line ?? 1
        nodes += 1
        guard nodes <= Self.maximumNodes else {
            if nodes == Self.maximumNodes + 1 {
                scope.report(line: line, path: "", "more than \(Self.maximumNodes) values", "split the file")
            }
            return nil
        }
        guard depth <= Self.maximumDepth else {
            scope.report(line: line, path: "", "nested deeper than \(Self.maximumDepth)", "no object needs that")
            return nil
        }
        guard node.anchor == nil else {
            scope.report(
                line: line, path: "", "anchors and aliases are not accepted", "write the value out where it is needed")
            return nil
        }
        switch node {
        case .scalar(let scalar):
            guard Self.stringTags.contains(scalar.tag.rawValue) else { return refuseTag(scalar.tag, line) }
            return YAMLNode(
                value: .scalar(scalar.string, plain: scalar.style == .plain && scalar.tag.rawValue.isEmpty),
                line: line)
        case .sequence(let sequence):
            guard ["", "tag:yaml.org,2002:seq"].contains(sequence.tag.rawValue) else {
                return refuseTag(sequence.tag, line)
            }
            var items: [YAMLNode] = []
            for item in sequence {
                guard let converted = convert(item, depth: depth + 1) else { return nil }
                items.append(converted)
            }
            return YAMLNode(value: .sequence(items), line: line)
        case .mapping(let mapping):
            guard ["", "tag:yaml.org,2002:map"].contains(mapping.tag.rawValue) else {
                return refuseTag(mapping.tag, line)
            }
            return convert(mapping, line: line, depth: depth)
        case .alias:
            scope.report(line: line, path: "", "aliases are not accepted", "write the value out where it is needed")
            return nil
        }
    }

    private mutating func convert(_ mapping: Node.Mapping, line: Int, depth: Int) -> YAMLNode? {
        var entries: [YAMLNode.Entry] = []
        var seen: [[UInt8]: Int] = [:]
        for (key, value) in mapping {
            let keyLine = key.mark?.line ?? line
            guard case .scalar(let scalar) = key else {
                scope.report(line: keyLine, path: "", "a key is a list or a mapping", "keys are strings")
                return nil
            }
            guard scalar.string != "<<" else {
                scope.report(line: keyLine, path: "", "merge keys (<<) are not accepted", "write the keys out")
                return nil
            }
            if let first = seen[Array(scalar.string.utf8)] {
                report(duplicate: scalar.string, line: keyLine, first: first)
                return nil
            }
            seen[Array(scalar.string.utf8)] = keyLine
            guard let converted = convert(value, depth: depth + 1) else { return nil }
            entries.append(YAMLNode.Entry(key: scalar.string, line: keyLine, value: converted))
        }
        return YAMLNode(value: .mapping(entries), line: line)
    }

    private func refuseTag(_ tag: Tag, _ line: Int) -> YAMLNode? {
        scope.report(line: line, path: "", "tag \(tag.rawValue) is not accepted", "leave the tag out")
        return nil
    }

    private func report(duplicate key: String, line: Int, first: Int) {
        scope.report(line: line, path: "", "duplicate key \(quoted(key)), first on line \(first)", "remove one of them")
    }

    private func report(_ error: YamlError, in text: String) {
        switch error {
        case .duplicatedKeysInMapping(let keys, let context):
            for key in keys.prefix(10) {
                let first = context.mark.line
                let second = Self.secondOccurrence(of: key, after: context.mark, in: text)
                if let second {
                    report(duplicate: key, line: second, first: first)
                } else {
                    scope.report(
                        line: first, path: "", "duplicate key \(quoted(key)) in one mapping", "remove one of them")
                }
            }
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
            .composer(_, let problem, let mark, _):
            let line = min(mark.line, text.utf8.reduce(1) { $1 == 0x0A ? $0 + 1 : $0 })
            scope.report(line: line, path: "", "not YAML: \(problem)", "look at indentation, quotes and colons there")
        case .reader(let problem, let offset, _, _):
            let line = text.utf8.prefix(offset ?? 0).reduce(1) { $1 == 0x0A ? $0 + 1 : $0 }
            scope.report(line: line, path: "", "not YAML: \(problem)", "the file must be UTF-8 text")
        case .no, .memory, .writer, .emitter, .representer, .dataCouldNotBeDecoded:
            scope.report(line: 1, path: "", "the file cannot be parsed", "check that it is YAML or JSON")
        }
    }

    /// Yams tells where a repeated key stands first; this looks for the next key of that name in the same block
    /// mapping, or, in flow style, for the next one of that name at all.
    private static func secondOccurrence(of key: String, after mark: Mark, in text: String) -> Int? {
        let lines = text.utf8.split(separator: 0x0A, omittingEmptySubsequences: false)
        guard mark.line >= 1, mark.line <= lines.count else { return nil }
        let forms = ["\(key)", "\"\(key)\"", "'\(key)'"].map { Array($0.utf8) }
        var block: Int?
        var nested = false
        for index in mark.line..<lines.count {
            let line = lines[index]
            let indent = line.prefix { $0 == 0x20 }.count
            let rest = line.dropFirst(indent)
            if rest.isEmpty || rest.first == 0x23 { continue }
            if indent < mark.column - 1 { break }
            if indent == mark.column - 1, forms.contains(where: { isKey($0, at: rest) }) {
                block = index + 1
                break
            }
            nested = true
        }
        if let block { return block }
        // Flow style: the second key may stand on the first one's line.
        var found = 0
        for index in (mark.line - 1)..<lines.count {
            var rest = lines[index][...]
            while !rest.isEmpty {
                if forms.contains(where: { isKey($0, at: rest) }) {
                    found += 1
                    if found == 2 { return nested && index + 1 > mark.line + 200 ? nil : index + 1 }
                    rest = rest.dropFirst(key.utf8.count)
                } else {
                    rest = rest.dropFirst()
                }
            }
        }
        return nil
    }

    private static func isKey(_ form: [UInt8], at text: Substring.UTF8View.SubSequence) -> Bool {
        guard text.starts(with: form) else { return false }
        return text.dropFirst(form.count).drop { $0 == 0x20 }.first == 0x3A
    }
}

/// Input in an error text: quoted, escaped, cut.
func quoted(_ text: String) -> String {
    var shown = ""
    for scalar in text.unicodeScalars.prefix(80) {
        shown += scalar.value < 0x20 || scalar.value == 0x7F ? "?" : String(scalar)
    }
    return text.unicodeScalars.count > 80 ? "\"\(shown)…\"" : "\"\(shown)\""
}
