/// What a verb answers with, before it becomes JSON or YAML. Keys keep their order.
indirect enum OutputValue {
    case text(String)
    case number(Int64)
    case decimal(Double)
    case flag(Bool)
    case list([OutputValue])
    case record([(String, OutputValue)])
    case nothing

    static func texts(_ texts: [String]) -> OutputValue { .list(texts.map(OutputValue.text)) }

    /// Nothing where the text is empty.
    static func optional(_ text: String) -> OutputValue { text.isEmpty ? .nothing : .text(text) }

    /// Two spaces of indentation and a line end.
    var json: String {
        var text = ""
        writeJSON(into: &text, depth: 0)
        return text + "\n"
    }

    /// Block style, with a line end.
    var yaml: String {
        var text = ""
        writeYAML(into: &text, depth: 0, atLineStart: true)
        return text.hasSuffix("\n") ? text : text + "\n"
    }

    private func writeJSON(into text: inout String, depth: Int) {
        let inner = "\n" + String(repeating: "  ", count: depth + 1)
        let outer = "\n" + String(repeating: "  ", count: depth)
        switch self {
        case .list(let items) where !items.isEmpty:
            for (index, item) in items.enumerated() {
                text += (index == 0 ? "[" : ",") + inner
                item.writeJSON(into: &text, depth: depth + 1)
            }
            text += outer + "]"
        case .record(let entries) where !entries.isEmpty:
            for (index, entry) in entries.enumerated() {
                text += (index == 0 ? "{" : ",") + inner + Self.quoted(entry.0) + ": "
                entry.1.writeJSON(into: &text, depth: depth + 1)
            }
            text += outer + "}"
        default: text += scalar
        }
    }

    private func writeYAML(into text: inout String, depth: Int, atLineStart: Bool) {
        let margin = String(repeating: "  ", count: depth)
        switch self {
        case .list(let items) where !items.isEmpty:
            for (index, item) in items.enumerated() {
                text += (index == 0 && atLineStart ? "" : margin) + "- "
                item.writeYAML(into: &text, depth: depth + 1, atLineStart: true)
            }
        case .record(let entries) where !entries.isEmpty:
            for (index, entry) in entries.enumerated() {
                text += (index == 0 && atLineStart ? "" : margin) + Self.plain(entry.0) + ":"
                if entry.1.isBlock {
                    text += "\n" + String(repeating: "  ", count: depth + 1)
                    entry.1.writeYAML(into: &text, depth: depth + 1, atLineStart: true)
                } else {
                    text += " \(entry.1.yamlScalar)\n"
                }
            }
        default: text += yamlScalar + "\n"
        }
    }

    /// As `scalar`, with the quotes left out where no reader of YAML could take the text for something else.
    private var yamlScalar: String {
        if case .text(let text) = self { return Self.plain(text) }
        return scalar
    }

    private static func plain(_ text: String) -> String {
        let words: Set<String> = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
        let isSafe = text.utf8.allSatisfy { byte in
            (byte | 0x20 >= 0x61 && byte | 0x20 <= 0x7A) || (byte >= 0x30 && byte <= 0x39) || byte == 0x2D
                || byte == 0x2E || byte == 0x2F || byte == 0x5F
        }
        guard isSafe, let first = text.utf8.first, first | 0x20 >= 0x61, !words.contains(text.lowercased()) else {
            return quoted(text)
        }
        return text
    }

    /// A list or record with content: it takes lines of its own.
    private var isBlock: Bool {
        switch self {
        case .list(let items): !items.isEmpty
        case .record(let entries): !entries.isEmpty
        case .text, .number, .decimal, .flag, .nothing: false
        }
    }

    /// A value on one line, valid as JSON and as YAML.
    private var scalar: String {
        switch self {
        case .text(let text): Self.quoted(text)
        case .number(let number): "\(number)"
        case .decimal(let number): number.isFinite ? "\(number)" : "null"
        case .flag(let flag): flag ? "true" : "false"
        case .list: "[]"
        case .record: "{}"
        case .nothing: "null"
        }
    }

    /// A JSON string, which is a YAML string too.
    static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            default:
                if scalar.value < 0x20 || scalar.value == 0x7F {
                    let digits = String(scalar.value, radix: 16)
                    result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
                } else {
                    result.unicodeScalars.append(scalar)
                }
            }
        }
        return result + "\""
    }
}
