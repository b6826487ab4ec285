import Foundation
import Testing

/// docs/HOSTILE.md names a test for each row of hostile input: each row stands there, and each test that is named exists.
@Suite struct HostileRowsTests {
    /// The rows under HTTP/1.1, HTTP/2 and gRPC, TCP, resources, life.
    private static let rows: [Int] =
        [38, 39, 41, 42, 43, 44] + Array(46...59) + [61, 63, 64, 66, 67, 68, 70, 71] + Array(73...84) + [86]
        + Array(121...131) + Array(133...137)
    /// Those whose tests are those of another part.
    private static let elsewhere: Set<Int> = [128]

    private static let page = "docs/HOSTILE.md"

    private struct Row {
        let number: Int
        let tests: [String]
    }

    private static func table() throws -> [Row] {
        try Tree.text(page).split(separator: "\n").compactMap { line in
            let cells = line.split(separator: "|", omittingEmptySubsequences: false).map {
                $0.trimmingCharacters(in: .whitespaces)
            }
            guard cells.count == 6, let number = Int(cells[1]) else { return nil }
            return Row(number: number, tests: names(in: cells[4]))
        }
    }

    /// What stands between backticks and has one slash, as a test's name does.
    private static func names(in text: some StringProtocol) -> [String] {
        text.split(separator: "`", omittingEmptySubsequences: false).enumerated().compactMap { index, part in
            index % 2 == 1 && part.split(separator: "/").count == 2 && !part.contains(" ") ? String(part) : nil
        }
    }

    @Test func everyRowStandsInTheTableOnce() throws {
        #expect(try Self.table().map(\.number) == Self.rows)
        for row in try Self.table() where row.tests.isEmpty {
            #expect(Self.elsewhere.contains(row.number), "row \(row.number) has no test")
        }
    }

    @Test func everyTestThatIsNamedExists() throws {
        let text = try Tree.text(Self.page)
        var functions: [String: Set<String>] = [:]
        for path in Tree.swift(below: "Tests") {
            Self.collect(try Tree.text(path), into: &functions)
        }
        var checked = 0
        for line in text.split(separator: "\n") {
            for name in Self.names(in: line) {
                let parts = name.split(separator: "/").map(String.init)
                if parts[0].hasSuffix("Tests") {
                    #expect(functions[parts[0]]?.contains(parts[1]) == true, "\(name) is not there")
                    checked += 1
                } else if parts[1].first?.isNumber == true {
                    #expect(Tree.files.contains("integration/suites/\(name)"), "\(name) is not there")
                    checked += 1
                }
            }
        }
        #expect(checked > 80)
    }

    /// A step of a hostile suite says which of the rows that name it it covers.
    @Test func stepsNameTheirRows() throws {
        for row in try Self.table() {
            for name in row.tests where name.hasPrefix("hostile-") && !name.hasPrefix("hostile-proxy/") {
                let step = try Tree.text("integration/suites/\(name)")
                let words = step.split { !$0.isLetter && !$0.isNumber }
                #expect(words.contains("\(row.number)"), "\(name) does not name row \(row.number)")
            }
        }
    }

    /// The names of the test functions in each suite of a file, by the nearest `struct` above them.
    private static func collect(_ text: String, into functions: inout [String: Set<String>]) {
        var suite = ""
        for line in text.split(separator: "\n") {
            if let name = word(after: "struct ", in: line), name.hasSuffix("Tests") { suite = name }
            if let name = word(after: "func ", in: line) { functions[suite, default: []].insert(name) }
        }
    }

    private static func word(after key: String, in line: Substring) -> String? {
        guard let range = line.range(of: key) else { return nil }
        return String(line[range.upperBound...].prefix { $0.isLetter || $0.isNumber })
    }
}
