/// A Swift source taken apart into lines of code and lines of comments, by a scanner and not a parser: what stands in string
/// literals is blank in both.
struct SwiftText {
    /// One entry per line: what is code in it.
    let code: [String]
    /// One entry per line: what is comment in it.
    let comments: [String]

    /// Generated code: its lines as they are.
    init(generated text: String) {
        code = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        comments = code.map { _ in "" }
    }

    init(_ text: String) {
        var scanner = Scanner(Array(text.utf8))
        scanner.run()
        code = scanner.code.map { String(decoding: $0, as: UTF8.self) }
        comments = scanner.comments.map { String(decoding: $0, as: UTF8.self) }
    }

    /// How often `word` stands in a line of code as a whole word.
    static func count(_ word: String, in line: String) -> Int {
        words(line).count { $0 == word }
    }

    /// Identifiers and keywords of a line of code, in order.
    static func words(_ line: String) -> [String] {
        line.split { !$0.isLetter && !$0.isNumber && $0 != "_" }.map(String.init)
    }

    private struct Scanner {
        let bytes: [UInt8]
        var place = 0
        var code: [[UInt8]] = [[]]
        var comments: [[UInt8]] = [[]]

        /// Bytes with which something else than code may begin: `/`, `"`, `#`.
        private static let isSpecial = (0..<256).map { [0x2F, 0x22, 0x23].contains($0) }

        init(_ bytes: [UInt8]) { self.bytes = bytes }

        mutating func run() {
            while place < bytes.count {
                if !Self.isSpecial[Int(bytes[place])] {
                    take()
                } else if starts("//") {
                    while place < bytes.count, bytes[place] != 0x0A { takeComment() }
                } else if starts("/*") {
                    block()
                } else if let hashes = openingQuote() {
                    literal(hashes)
                } else {
                    take()
                }
            }
        }

        private func starts(_ text: String) -> Bool { bytes[place...].starts(with: text.utf8) }

        private mutating func newLine() {
            code.append([])
            comments.append([])
            place += 1
        }

        private mutating func take() {
            if bytes[place] == 0x0A { return newLine() }
            code[code.count - 1].append(bytes[place])
            place += 1
        }

        private mutating func takeComment() {
            if bytes[place] == 0x0A { return newLine() }
            comments[comments.count - 1].append(bytes[place])
            place += 1
        }

        /// Comments nest in Swift.
        private mutating func block() {
            var depth = 0
            repeat {
                if starts("/*") { depth += 1 } else if starts("*/") { depth -= 1 }
                takeComment()
            } while place < bytes.count && depth > 0
            if place < bytes.count { takeComment() }
        }

        /// The number of `#` in front of a string literal that begins here.
        private func openingQuote() -> Int? {
            var end = place
            while end < bytes.count, bytes[end] == 0x23 { end += 1 }
            return end < bytes.count && bytes[end] == 0x22 ? end - place : nil
        }

        /// Leaves an empty literal in the code.
        private mutating func literal(_ hashes: Int) {
            place += hashes
            let isLong = starts("\"\"\"")
            let quotes = [UInt8](repeating: 0x22, count: isLong ? 3 : 1)
            let end = quotes + [UInt8](repeating: 0x23, count: hashes)
            place += quotes.count
            code[code.count - 1] += [0x22, 0x22]
            var depth = 0
            while place < bytes.count {
                if bytes[place] == 0x5C, hashes == 0, place + 1 < bytes.count {
                    // An interpolation may hold quotes of its own.
                    if bytes[place + 1] == 0x28 { depth += 1 }
                    place += 1
                } else if depth > 0, bytes[place] == 0x28 {
                    depth += 1
                } else if depth > 0, bytes[place] == 0x29 {
                    depth -= 1
                } else if depth > 0, bytes[place] == 0x22 {
                    place += 1
                    while place < bytes.count, bytes[place] != 0x22, bytes[place] != 0x0A { place += 1 }
                } else if depth == 0, bytes[place...].starts(with: end) {
                    place += end.count
                    return
                }
                guard place < bytes.count else { return }
                if bytes[place] == 0x0A {
                    newLine()
                    if !isLong { return }
                } else {
                    place += 1
                }
            }
        }
    }
}
