import Testing

@Suite struct SourceTests {
    /// Nouns that are their module: nothing else in it would be called so, and nobody needs the module's name to tell them
    /// apart (docs/decisions/0015).
    private static let ownNames: Set<String> = ["Reactor", "Authority", "Broker"]

    private static var sources: [String] { Tree.swift(below: "Sources") + Tree.swift(below: "Tests") }
    /// Texts that people read or run, but for the rules' own samples.
    private static var texts: [String] {
        let kinds = ["swift", "md", "yaml", "py", "proto", "c", "h", "cnf", "cfg", "conf", "txt", "json"]
        return Tree.files.filter { path in
            guard !path.hasPrefix("Tests/Ceilings/"), !path.hasPrefix("Tests/Fuzz/corpus/") else { return false }
            let name = path.split(separator: "/").last ?? ""
            let parts = name.split(separator: ".")
            return parts.count < 2 || kinds.contains(String(parts[parts.count - 1]))
        }
    }

    @Test func filesAreOfReadableLength() throws {
        for path in Self.sources {
            let lines = SourceRules.lines(try Tree.text(path))
            if lines > SourceRules.reviewed { print("\(path): \(lines) lines: could it be two files?") }
            #expect(lines <= SourceRules.refused, "\(path) has \(lines) lines; \(SourceRules.refused) is the most")
        }
    }

    @Test func nothingIsNamedAsADrawer() throws {
        for path in Tree.files {
            for part in path.split(separator: "/") {
                #expect(!SourceRules.isDrawer(String(part.split(separator: ".").first ?? "")), "\(path)")
            }
        }
        for path in Self.sources {
            for type in SourceRules.types(try Tree.source(path)) {
                #expect(!SourceRules.isDrawer(type.name), "\(path): \(type.name)")
            }
        }
    }

    @Test func noTypeIsNamedAsItsModule() throws {
        var found: Set<String> = []
        for path in Tree.swift(below: "Sources") {
            let parts = path.split(separator: "/").map(String.init)
            let module = parts[1].hasPrefix("meshfed") ? parts[1] : parts[2]
            for type in SourceRules.types(try Tree.source(path)) where !type.isNested && type.name == module {
                found.insert(type.name)
            }
        }
        #expect(
            found.isSubset(of: Self.ownNames), "named as their module: \(found.subtracting(Self.ownNames).sorted())")
    }

    @Test func sourcesHoldNoForbiddenWords() throws {
        var problems: [String] = []
        for path in Self.sources {
            let text = try Tree.source(path)
            problems += SourceRules.forbidden(text, at: path)
            if path.hasPrefix("Sources/DataPlane/") || path.hasPrefix("Sources/Core/") {
                problems += SourceRules.slowWords(text, at: path)
            }
        }
        #expect(problems.isEmpty, "\(problems.joined(separator: "\n"))")
    }

    @Test func notesForLaterHaveReasonAndCondition() throws {
        var problems: [String] = []
        for path in Self.texts { problems += SourceRules.softWords(try Tree.text(path), at: path) }
        #expect(problems.isEmpty, "\(problems.joined(separator: "\n"))")
    }

    @Test func noKeyAndNoPathOfOneMachineIsInTheTree() throws {
        for path in Tree.files {
            let name = path.lowercased()
            #expect(!name.hasSuffix(".pem") && !name.hasSuffix(".key") && !name.hasSuffix(".p12"), "\(path)")
        }
        var problems: [String] = []
        for path in Self.texts {
            let text = try Tree.text(path)
            if SourceRules.holdsKey(text) { problems.append("\(path) holds a private key") }
            problems += SourceRules.machinePaths(text, at: path)
        }
        #expect(problems.isEmpty, "\(problems.joined(separator: "\n"))")
    }

    @Test func readmeIsShort() throws {
        #expect(SourceRules.lines(try Tree.text("README.md")) <= 150)
    }

    @Test func everySuiteSaysWhatItShows() {
        let prefix = "integration/suites/"
        let suites = Set(
            Tree.files.filter { $0.hasPrefix(prefix) }.compactMap { $0.split(separator: "/").dropFirst(2).first })
        #expect(suites.count >= 14)
        for suite in suites {
            let own = Tree.files.filter { $0.hasPrefix("\(prefix)\(suite)/") }
            #expect(own.contains("\(prefix)\(suite)/README.md"), "\(suite) has no README.md")
            let steps = own.filter { $0.dropFirst(prefix.count + suite.count + 1).prefix(2).allSatisfy(\.isNumber) }
            #expect(!steps.isEmpty, "\(suite) has no numbered step")
        }
    }

    // MARK: what the rules find

    @Test func countsLines() {
        #expect(SourceRules.lines("") == 0)
        #expect(SourceRules.lines("a") == 1)
        #expect(SourceRules.lines("a\n") == 1)
        #expect(SourceRules.lines("a\n\nb\n") == 3)
    }

    @Test func findsDrawers() {
        for name in ["Utilities", "StringUtils", "common", "TestHelper", "http_helpers", "HTTPUtil"] {
            #expect(SourceRules.isDrawer(name), "\(name)")
        }
        for name in ["Utilization", "Commonwealth", "HTTPSession", "Support", "Uncommon"] {
            #expect(!SourceRules.isDrawer(name), "\(name)")
        }
    }

    @Test func findsTypes() {
        let text = SwiftText(
            """
            @safe package struct Wire: ~Copyable {
                private indirect enum Inner { case a }
            }
            // struct Comment
            package final class Other {}
            extension Else {}
            class func notAType() {}
            typealias Short = Int
            """)
        #expect(SourceRules.types(text).map(\.name) == ["Wire", "Inner", "Other", "Short"])
        #expect(SourceRules.types(text).map(\.isNested) == [false, true, false, false])
    }

    @Test func findsSoftWords() {
        let later = "TO" + "DO"
        for line in ["// \(later)", "// \(later): later", "# FIX" + "ME: soon", "// HACK", "// \(later)(when): x"] {
            #expect(SourceRules.softWords(line, at: "a").count == 1, "\(line)")
        }
        for line in ["// \(later)(when nghttp2 is 1.67): drop our own count", "let \(later)s = 1", "// HACKING"] {
            #expect(SourceRules.softWords(line, at: "a").isEmpty, "\(line)")
        }
    }

    @Test func findsKeysAndPaths() {
        let begin = "-----BEGIN " + "PRIVATE KEY-----"
        #expect(SourceRules.holdsKey("\(begin)\n\(String(repeating: "A", count: 64))\n"))
        #expect(SourceRules.holdsKey("\(begin)\\n\(String(repeating: "A", count: 64))"))
        #expect(!SourceRules.holdsKey("let label = \"\(begin)\""))
        let homes = ["/ho" + "me/someone/project", "/ro" + "ot/.cache/x/", "/Us" + "ers/someone/x"]
        for text in homes { #expect(SourceRules.machinePaths("x = \(text)", at: "a").count == 1, "\(text)") }
        for text in ["/var/lib/meshfed", "/tmp/east", "https://example.org/home/", "/run/netns/x"] {
            #expect(SourceRules.machinePaths(text, at: "a").isEmpty, "\(text)")
        }
    }

    @Test func findsForbiddenWords() {
        for code in [
            "let a = try! b()", "let a = b as! C", "@testable import X", "final class A: @unchecked Sendable {}",
        ] {
            #expect(SourceRules.forbidden(SwiftText(code), at: "a").count == 1, "\(code)")
        }
        let explained = "// SAFETY: the lock guards it.\nfinal class A: @unchecked Sendable {}"
        #expect(SourceRules.forbidden(SwiftText(explained), at: "a").isEmpty)
        #expect(SourceRules.forbidden(SwiftText("// try! is refused\nlet a = \"try!\""), at: "a").isEmpty)
        #expect(SourceRules.slowWords(SwiftText("func a() async { await b() }"), at: "a").count == 2)
        #expect(SourceRules.slowWords(SwiftText("let asynchronous = 1 // await"), at: "a").isEmpty)
    }
}
