import Foundation

/// The targets of a Package.swift and their arrows, read from its text: `room`, `shim`, `tests` and SwiftPM's own calls.
struct PackageArrows {
    enum Kind: Hashable { case shim, room, program, test }

    struct Target: Hashable {
        var name: String
        var path: String
        var kind: Kind
        /// Targets, and modules of products, that it may import.
        var dependencies: Set<String>
    }

    private(set) var targets: [String: Target] = [:]
    /// What could not be read; no law can be judged then.
    private(set) var problems: [String] = []

    init(_ manifest: String) {
        let text = Self.withoutComments(manifest)
        guard let start = text.range(of: "let package = Package(") else {
            problems = ["there is no `let package = Package(`"]
            return
        }
        let products = Self.products(text)
        let body = text[start.upperBound...]
        let calls = [
            "room(": Kind.room, "shim(": .shim, "tests(": .test, ".target(": .room, ".executableTarget(": .program,
            ".testTarget(": .test,
        ]
        var place = body.startIndex
        while place < body.endIndex {
            guard let call = calls.keys.first(where: { body[place...].hasPrefix($0) && Self.isWordStart(body, place) }),
                let kind = calls[call]
            else {
                place = body.index(after: place)
                continue
            }
            let open = body.index(place, offsetBy: call.count)
            let end = Self.closing(body, open)
            read(kind, call, Self.split(body[open..<end]), products)
            place = end
        }
    }

    /// Every target that `name` links, itself included.
    func closure(of name: String) -> Set<String> {
        var seen: Set<String> = []
        var open = [name]
        while let next = open.popLast() {
            guard seen.insert(next).inserted else { continue }
            open += targets[next]?.dependencies.filter { targets[$0] != nil } ?? []
        }
        return seen
    }

    private mutating func read(_ kind: Kind, _ call: String, _ arguments: [String], _ products: [String: String]) {
        func label(_ name: String) -> String? {
            arguments.first { $0.hasPrefix("\(name):") }.map { String($0.dropFirst(name.count + 1)).trimmed }
        }
        func string(_ text: String?) -> String? {
            guard let text, text.hasPrefix("\""), text.hasSuffix("\""), text.count >= 2 else { return nil }
            return String(text.dropFirst().dropLast())
        }
        var target: Target?
        switch call {
        case "room(":
            if arguments.count >= 3, let folder = string(arguments[0]), let name = string(arguments[1]) {
                target = Target(name: name, path: "Sources/\(folder)/\(name)", kind: kind, dependencies: [])
                add(arguments[2], &target, products)
            }
        case "shim(":
            if let name = string(arguments.first) {
                target = Target(name: name, path: "Sources/C/\(name)", kind: kind, dependencies: [])
            }
        case "tests(":
            if let name = string(arguments.first) {
                target = Target(
                    name: "\(name)Tests", path: "Tests/\(name)Tests", kind: kind, dependencies: [name, "MeshTestKit"])
                if arguments.count > 1, arguments[1].hasPrefix("[") { add(arguments[1], &target, products) }
            }
        default:
            if let name = string(label("name")), let path = string(label("path")) {
                target = Target(name: name, path: path, kind: kind, dependencies: [])
                if let list = label("dependencies") { add(list, &target, products) }
            }
        }
        guard let target else {
            problems.append("not understood: \(call)\(arguments.joined(separator: ", ").prefix(80))")
            return
        }
        targets[target.name] = target
    }

    private mutating func add(_ list: String, _ target: inout Target?, _ products: [String: String]) {
        guard list.hasPrefix("["), list.hasSuffix("]") else {
            problems.append("the dependencies of \(target?.name ?? "?") are no list: \(list.prefix(60))")
            return
        }
        for item in Self.split(list.dropFirst().dropLast()) {
            if item.hasPrefix("\"") {
                target?.dependencies.insert(String(item.dropFirst().dropLast()))
            } else if let module = products[item] ?? Self.named(item) {
                target?.dependencies.insert(module)
            } else {
                problems.append("a dependency of \(target?.name ?? "?") is not understood: \(item)")
            }
        }
    }

    /// `let x: Target.Dependency = .product(name: "X", …)`: x stands for the module X.
    private static func products(_ text: String) -> [String: String] {
        var found: [String: String] = [:]
        for line in text.split(separator: "\n") {
            guard let colon = line.range(of: ": Target.Dependency ="), line.hasPrefix("let "),
                let module = named(String(line[colon.upperBound...]).trimmed)
            else { continue }
            found[String(line[line.index(line.startIndex, offsetBy: 4)..<colon.lowerBound])] = module
        }
        return found
    }

    /// The name in `.product(name: "X"…` or `.target(name: "X"…`.
    private static func named(_ text: String) -> String? {
        guard text.hasPrefix(".product(name: \"") || text.hasPrefix(".target(name: \"") else { return nil }
        return text.split(separator: "\"", maxSplits: 2).dropFirst().first.map(String.init)
    }

    private static func isWordStart(_ text: Substring, _ place: Substring.Index) -> Bool {
        guard place > text.startIndex else { return true }
        let before = text[text.index(before: place)]
        return !before.isLetter && !before.isNumber && before != "_"
    }

    /// The place of the parenthesis that closes what is open at `start`.
    private static func closing(_ text: Substring, _ start: Substring.Index) -> Substring.Index {
        var depth = 1
        var place = start
        while place < text.endIndex {
            if "([".contains(text[place]) { depth += 1 }
            if ")]".contains(text[place]) { depth -= 1 }
            if depth == 0 { return place }
            place = text.index(after: place)
        }
        return text.endIndex
    }

    /// The parts between commas that stand outside of all brackets.
    private static func split(_ text: Substring) -> [String] {
        var parts: [String] = []
        var part = ""
        var depth = 0
        for character in text {
            if "([".contains(character) { depth += 1 }
            if ")]".contains(character) { depth -= 1 }
            if character == ",", depth == 0 {
                parts.append(part.trimmed)
                part = ""
            } else {
                part.append(character)
            }
        }
        parts.append(part.trimmed)
        return parts.filter { !$0.isEmpty }
    }

    private static func withoutComments(_ text: String) -> String {
        text.split(separator: "\n", omittingEmptySubsequences: false)
            .map { line in
                var place = line.startIndex
                while let found = line[place...].range(of: "//") {
                    // `https://` is no comment.
                    if !line[..<found.lowerBound].hasSuffix(":") { return line[..<found.lowerBound] }
                    place = found.upperBound
                }
                return line
            }
            .joined(separator: "\n")
    }
}

extension String {
    var trimmed: String {
        let start = drop { $0.isWhitespace }
        return String(start.reversed().drop { $0.isWhitespace }.reversed())
    }
}
