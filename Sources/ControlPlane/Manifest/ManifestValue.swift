/// A tree that is about to be written: keys in the order given.
enum ManifestValue: Equatable {
    case string(String)
    case integer(Int)
    case decimal(Double)
    case boolean(Bool)
    case list([ManifestValue])
    case mapping([(String, ManifestValue)])

    static func == (left: ManifestValue, right: ManifestValue) -> Bool { left.json == right.json }

    /// Compact JSON without a line end.
    var json: String {
        var text = ""
        writeJSON(into: &text, indent: nil)
        return text
    }

    /// JSON with two spaces of indentation and a line end.
    var prettyJSON: String {
        var text = ""
        writeJSON(into: &text, indent: 0)
        return text + "\n"
    }

    /// Block-style YAML with a line end.
    var yaml: String {
        var text = ""
        writeYAML(into: &text, indent: 0)
        return text
    }

    private func writeJSON(into text: inout String, indent: Int?) {
        func breakLine(_ depth: Int) {
            if indent != nil { text += "\n" + String(repeating: "  ", count: depth) }
        }
        let depth = indent ?? 0
        switch self {
        case .string(let value): text += Self.escaped(value)
        case .integer(let value): text += "\(value)"
        case .decimal(let value): text += Self.number(value)
        case .boolean(let value): text += value ? "true" : "false"
        case .list(let items):
            text += "["
            for (index, item) in items.enumerated() {
                if index > 0 { text += "," }
                breakLine(depth + 1)
                item.writeJSON(into: &text, indent: indent.map { $0 + 1 })
            }
            if !items.isEmpty { breakLine(depth) }
            text += "]"
        case .mapping(let entries):
            text += "{"
            for (index, entry) in entries.enumerated() {
                if index > 0 { text += "," }
                breakLine(depth + 1)
                text += Self.escaped(entry.0) + (indent == nil ? ":" : ": ")
                entry.1.writeJSON(into: &text, indent: indent.map { $0 + 1 })
            }
            if !entries.isEmpty { breakLine(depth) }
            text += "}"
        }
    }

    private func writeYAML(into text: inout String, indent: Int) {
        let margin = String(repeating: "  ", count: indent)
        switch self {
        case .list(let items) where !items.isEmpty:
            for item in items {
                // The first line of a nested block stands behind the dash.
                var inner = ""
                item.writeYAML(into: &inner, indent: indent + 1)
                text += "\(margin)- " + inner.drop { $0 == " " }
            }
        case .mapping(let entries) where !entries.isEmpty:
            for (key, value) in entries {
                text += margin + Self.plainOrQuoted(key) + ":"
                switch value {
                case .list(let items) where !items.isEmpty:
                    text += "\n"
                    value.writeYAML(into: &text, indent: indent)
                case .mapping(let inner) where !inner.isEmpty:
                    text += "\n"
                    value.writeYAML(into: &text, indent: indent + 1)
                case .string(let lines) where Self.isBlockText(lines):
                    text += " |\n"
                    for line in lines.dropLast().split(separator: "\n", omittingEmptySubsequences: false) {
                        text += line.isEmpty ? "\n" : "\(margin)  \(line)\n"
                    }
                case .list, .mapping, .string, .integer, .decimal, .boolean:
                    text += " \(value.inline)\n"
                }
            }
        case .list, .mapping, .string, .integer, .decimal, .boolean: text += "\(margin)\(inline)\n"
        }
    }

    private var inline: String {
        if case .string(let value) = self { return Self.plainOrQuoted(value) }
        return json
    }

    /// Text such as PEM: printable ASCII lines, each ended, the first one not indented.
    private static func isBlockText(_ text: String) -> Bool {
        guard text.hasSuffix("\n"), !text.hasSuffix("\n\n"), text.utf8.count > 1, !text.hasPrefix(" "),
            !text.hasPrefix("\n")
        else { return false }
        return text.utf8.allSatisfy { $0 == 0x0A || ($0 >= 0x20 && $0 < 0x7F) }
    }

    private static func plainOrQuoted(_ text: String) -> String {
        let bytes = Array(text.utf8)
        guard let first = bytes.first, isWord(first), ScalarGrammar.isPlainString(bytes), let last = bytes.last,
            last != 0x3A, bytes.allSatisfy({ isWord($0) || [0x2D, 0x2F, 0x3A, 0x3D, 0x40].contains($0) })
        else { return escaped(text) }
        return text
    }

    private static func isWord(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2E, 0x5F: true
        default: false
        }
    }

    /// A JSON string, which is a YAML double-quoted one too: what libyaml holds for unprintable is escaped.
    private static func escaped(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar.value {
            case 0x22: result += "\\\""
            case 0x5C: result += "\\\\"
            case 0x0A: result += "\\n"
            case 0x0D: result += "\\r"
            case 0x09: result += "\\t"
            case 0..<0x20, 0x7F...0xA0, 0x2028, 0x2029, 0xFEFF, 0xFFFE, 0xFFFF:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }

    /// Without an exponent, and without a fraction where there is none.
    private static func number(_ value: Double) -> String {
        if value == value.rounded(), abs(value) < 1e15 { return "\(Int(value))" }
        let text = "\(value)"
        return text.contains("e") ? "0" : text
    }
}
