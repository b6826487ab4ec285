import Foundation

/// Rules about files and names (docs/ARCHITECTURE.md, Laws; the habits of the project), as functions on texts.
enum SourceRules {
    /// Lines of a file at which a person looks again, and at which it is refused.
    static let reviewed = 400
    static let refused = 600

    static func lines(_ text: String) -> Int {
        text.isEmpty
            ? 0 : text.split(separator: "\n", omittingEmptySubsequences: false).count - (text.hasSuffix("\n") ? 1 : 0)
    }

    /// Words that name a drawer and not a thing.
    static let drawers: Set<String> = ["util", "utils", "utility", "utilities", "common", "helper", "helpers", "misc"]

    /// The words of a name in camel case, with dashes or underscores, in lower case; `HTTPSession` is two.
    static func words(_ name: String) -> [String] {
        var words: [String] = []
        var word: [Character] = []
        let characters = Array(name)
        for (index, character) in characters.enumerated() {
            guard character.isLetter || character.isNumber else {
                words.append(String(word))
                word = []
                continue
            }
            let followsLower = word.last?.isLowercase == true
            let startsWord = index + 1 < characters.count && characters[index + 1].isLowercase
            if character.isUppercase, followsLower || startsWord {
                words.append(String(word))
                word = []
            }
            word.append(character)
        }
        return (words + [String(word)]).filter { !$0.isEmpty }.map { $0.lowercased() }
    }

    static func isDrawer(_ name: String) -> Bool { !drawers.isDisjoint(with: words(name)) }

    /// Types that are declared in a source, with the nesting given by indentation of the declaration.
    static func types(_ text: SwiftText) -> [(name: String, isNested: Bool)] {
        let kinds: Set<String> = ["struct", "class", "enum", "actor", "protocol", "typealias"]
        let modifiers: Set<String> = [
            "public", "package", "internal", "private", "fileprivate", "final", "indirect", "safe", "unsafe", "frozen",
            "usableFromInline", "open", "nonisolated", "MainActor",
        ]
        return text.code.compactMap { line in
            let words = SwiftText.words(line)
            guard let place = words.firstIndex(where: { !modifiers.contains($0) }), kinds.contains(words[place]),
                place + 1 < words.count, !["func", "var", "let"].contains(words[place + 1])
            else { return nil }
            return (words[place + 1], line.first == " ")
        }
    }

    /// A note for later needs a reason and a condition: `TODO(when PART changes): reason`.
    static func softWords(_ text: String, at path: String) -> [String] {
        var found: [String] = []
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let words = line.split { !$0.isLetter && !$0.isNumber && $0 != "_" }
            for word in ["FIX" + "ME", "HACK", "TO" + "DO"] where words.contains(Substring(word)) {
                let isReasoned =
                    word.hasPrefix("TO")
                    && (line.range(of: word + "\\(when [^)]{3,}\\): .{8,}", options: .regularExpression) != nil)
                if !isReasoned { found.append("\(path):\(index + 1): \(word) without a reason and a condition") }
            }
        }
        return found
    }

    /// A private key in PEM. The words alone, as a parser knows them, are none.
    static func holdsKey(_ text: String) -> Bool {
        text.range(
            of: "-----BEGIN [A-Z ]*PRIVATE KEY-----[\\s\\\\n\"]*[A-Za-z0-9+/=\\s]{60,}", options: .regularExpression)
            != nil
    }

    /// A path that exists on one machine only.
    static func machinePaths(_ text: String, at path: String) -> [String] {
        let pattern = "(/(home|Users)/[A-Za-z0-9_-]+/|/(root|work)/[A-Za-z0-9_.-]+/|/tmp/[a-z]+/[A-Z])"
        var found: [String] = []
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated()
        where line.range(of: pattern, options: .regularExpression) != nil {
            found.append("\(path):\(index + 1): a path of one machine: \(line.prefix(120))")
        }
        return found
    }

    /// What no source of ours holds, with the reason. An `@unchecked Sendable` may be explained beside it.
    static func forbidden(_ text: SwiftText, at path: String) -> [String] {
        let words: [(String, String)] = [
            ("try!", "peer input never traps"), ("as!", "peer input never traps"),
            ("@testable", "tests use package access"),
            ("@unchecked", "Sendable is proven, or explained beside it"),
        ]
        var found: [String] = []
        for (index, line) in text.code.enumerated() {
            for (word, why) in words where line.contains(word) {
                let near = text.comments[max(0, index - 10)...min(text.comments.count - 1, index + 5)]
                if word == "@unchecked", near.contains(where: { $0.contains("SAFETY") || $0.contains(word) }) {
                    continue
                }
                found.append("\(path):\(index + 1): \(word): \(why)")
            }
        }
        return found
    }

    /// Concurrency and existentials that the data path does without.
    static func slowWords(_ text: SwiftText, at path: String) -> [String] {
        var found: [String] = []
        for (index, line) in text.code.enumerated() {
            let words = SwiftText.words(line)
            for word in ["async", "await", "actor"] where words.contains(word) {
                found.append("\(path):\(index + 1): \(word) in the data path")
            }
        }
        return found
    }
}
