import ArgumentParser

/// How a verb prints its data.
enum OutputFormat: String, ExpressibleByArgument, CaseIterable {
    case table, wide, json, yaml
}

/// `-o`.
struct OutputOption: ParsableArguments {
    @Option(name: [.customShort("o"), .long], help: "table, wide, json or yaml.") var output = OutputFormat.table

    /// Prints `value` as JSON or YAML, or the text that `table` makes (its argument: true for `wide`).
    func print(_ value: @autoclosure () -> OutputValue, table: (Bool) -> String) {
        switch output {
        case .table: Terminal.out(table(false))
        case .wide: Terminal.out(table(true))
        case .json: Terminal.out(value().json)
        case .yaml: Terminal.out(value().yaml)
        }
    }

    /// True where the output is for a program.
    var isData: Bool { output == .json || output == .yaml }
}

/// Rows in columns, two spaces apart, as kubectl prints them.
struct TextTable {
    private var rows: [[String]]

    init(_ head: String...) { rows = [head] }

    /// One line; missing values show as `-`, and what is not printable as `?`.
    mutating func row(_ values: String...) { append(values) }

    mutating func append(_ values: [String]) {
        rows.append(values.map { $0.isEmpty ? "-" : Self.plain($0) })
    }

    var isEmpty: Bool { rows.count == 1 }

    /// The lines, each with a line end; the first `columns` columns only where that is given.
    func text(columns: Int? = nil) -> String {
        let count = columns ?? rows[0].count
        let widths = (0..<count).map { column in
            rows.map { column < $0.count ? $0[column].unicodeScalars.count : 0 }.max() ?? 0
        }
        var result = ""
        for row in rows {
            var line = ""
            for (column, value) in row.prefix(count).enumerated() {
                line += value
                guard column + 1 < min(count, row.count) else { continue }
                line += String(repeating: " ", count: widths[column] - value.unicodeScalars.count + 2)
            }
            result += line + "\n"
        }
        return result
    }

    /// Text of a peer must not steer the terminal.
    static func plain(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            let control = scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
            result.unicodeScalars.append(control ? "?" : scalar)
        }
        return result
    }
}
