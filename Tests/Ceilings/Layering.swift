/// The laws of docs/ARCHITECTURE.md about who may import whom, as functions on texts; each returns what breaks it.
enum Layering {
    /// Modules that come with the toolchain.
    static let system: Set<String> = [
        "Swift", "Glibc", "Synchronization", "Foundation", "FoundationEssentials", "Dispatch", "Testing",
        "PackageDescription",
    ]

    /// Where a module may be imported; what is not named here may be imported wherever it is declared.
    static let homes: [String: Set<String>] = [
        "COpenSSL": ["TLS", "Identity"], "CNGHTTP2": ["WireTests"], "CLinux": ["Reactor", "meshfed"],
        "GRDB": ["StoreSQLite"], "Yams": ["Manifest", "meshfed"], "ArgumentParser": ["meshfed"],
        "Logging": ["Broker", "meshfed"],
    ]

    /// Targets that are handed their clock, their sockets and their random numbers.
    static let pure: Set<String> = ["Wire", "Routing", "Federation"]

    /// Words that mean a clock, a socket or a random source of one's own.
    static let impure: Set<String> = [
        "SystemRandomNumberGenerator", "SystemRandom", "ContinuousClock", "SuspendingClock", "clock_gettime",
        "gettimeofday",
        "Date", "DispatchTime", "getentropy", "getrandom", "arc4random", "randomElement", "shuffled", "shuffle",
        "socket",
        "recv", "sendto", "epoll_wait", "fopen", "FileManager", "FileHandle",
    ]

    /// The module of an `import` line, nil for another line.
    static func imported(_ line: String) -> String? {
        var words = line.split(separator: " ", omittingEmptySubsequences: true).map(String.init)
        while let first = words.first, first.hasPrefix("@") { words.removeFirst() }
        if let first = words.first, ["public", "package", "internal", "private", "fileprivate"].contains(first) {
            words.removeFirst()
        }
        guard words.count >= 2, words[0] == "import" else { return nil }
        let kinds: Set<String> = ["struct", "class", "enum", "protocol", "typealias", "func", "let", "var"]
        let name = kinds.contains(words[1]) ? words.count > 2 ? words[2] : "" : words[1]
        return name.split(separator: ".").first.map(String.init)
    }

    /// The imports of a source. What generated code takes where there is no FoundationEssentials is none: there is one.
    static func imports(_ text: SwiftText) -> [(line: Int, module: String)] {
        var found: [(line: Int, module: String)] = []
        var isFallback = false
        var isChoice = false
        for (index, line) in text.code.enumerated() {
            if line.hasPrefix("#if canImport(FoundationEssentials)") { isChoice = true }
            if line.hasPrefix("#else") { isFallback = isChoice }
            if line.hasPrefix("#endif") {
                isChoice = false
                isFallback = false
            }
            if !isFallback, let module = imported(line) { found.append((index + 1, module)) }
        }
        return found
    }

    /// One source file against the arrows and the homes.
    static func problems(
        in text: SwiftText, at path: String, of target: PackageArrows.Target, proxy: Set<String>
    ) -> [String] {
        var found: [String] = []
        let declared = target.dependencies
        for (line, module) in imports(text) {
            let place = "\(path):\(line): \(target.name) imports \(module)"
            if !system.contains(module), !declared.contains(module) {
                found.append("\(place), which Package.swift does not declare")
            }
            guard target.kind != .test else { continue }
            if let allowed = homes[module], !allowed.contains(target.name) {
                found.append("\(place); only \(allowed.sorted().joined(separator: ", ")) may")
            }
            if module == "Testing" { found.append("\(place), which is for tests") }
            if proxy.contains(target.name) {
                if module == "Foundation" || module == "Dispatch" {
                    found.append("\(place); nothing that meshfed-proxy links may")
                }
                if module == "FoundationEssentials", !declared.contains("SwiftProtobuf") {
                    found.append("\(place); in meshfed-proxy only beside swift-protobuf")
                }
            }
            if pure.contains(target.name), ["Glibc", "Foundation", "FoundationEssentials", "Dispatch"].contains(module)
            {
                found.append("\(place); it is handed clock, sockets and random numbers")
            }
        }
        if pure.contains(target.name) { found += impurities(in: text, at: path) }
        return found
    }

    /// Clocks, sockets and random sources in a pure target. A generator that is handed in (`using:`) is none.
    static func impurities(in text: SwiftText, at path: String) -> [String] {
        var found: [String] = []
        for (index, line) in text.code.enumerated() {
            let words = SwiftText.words(line)
            for word in words where impure.contains(word) {
                found.append("\(path):\(index + 1): `\(word)`: a pure target is handed such things")
            }
            if line.contains(".random(in:"), !line.contains("using:") {
                found.append("\(path):\(index + 1): a random number that nobody handed in")
            }
        }
        return found
    }

    /// The level of each target, from the table of docs/ARCHITECTURE.md: `| 2 | Routing · Other | … |`.
    static func levels(_ page: String) -> [String: Int] {
        var found: [String: Int] = [:]
        for line in page.split(separator: "\n") where line.hasPrefix("|") {
            let cells = line.split(separator: "|", omittingEmptySubsequences: false).map { String($0).trimmed }
            guard cells.count >= 4, let level = Int(cells[1]) else { continue }
            for name in cells[2].split(separator: "·") {
                found[String(name.filter { $0.isLetter || $0.isNumber || $0 == "-" })] = level
            }
        }
        return found
    }

    /// The arrows of Package.swift against the levels: every target stands in the table, every arrow goes down, the data plane
    /// does not know the control plane, and Core knows neither.
    static func problems(of arrows: PackageArrows, levels: [String: Int]) -> [String] {
        var found = arrows.problems
        for target in arrows.targets.values.sorted(by: { $0.name < $1.name }) where target.kind != .test {
            guard target.path.hasPrefix("Sources/") else { continue }
            guard let own = levels[target.name] else {
                found.append("\(target.name) does not stand in the table of docs/ARCHITECTURE.md")
                continue
            }
            for name in target.dependencies.sorted() {
                guard let other = arrows.targets[name] else { continue }
                if let level = levels[name], level >= own {
                    found.append("\(target.name) (level \(own)) must not depend on \(name) (level \(level))")
                }
                guard let place = folder(target), let its = folder(other) else { continue }
                if its > place { found.append("\(place) (\(target.name)) must not know \(its) (\(name))") }
            }
        }
        for name in levels.keys.sorted() where arrows.targets[name] == nil {
            found.append("\(name) stands in the table of docs/ARCHITECTURE.md and not in Package.swift")
        }
        return found
    }

    /// The parts of the product, lowest first.
    enum Part: Int, Comparable, CustomStringConvertible {
        case c, core, dataPlane, controlPlane

        static func < (left: Part, right: Part) -> Bool { left.rawValue < right.rawValue }

        var description: String {
            switch self {
            case .c: "C"
            case .core: "Core"
            case .dataPlane: "DataPlane"
            case .controlPlane: "ControlPlane"
            }
        }
    }

    private static func folder(_ target: PackageArrows.Target) -> Part? {
        switch target.path.split(separator: "/").dropFirst().first {
        case "C": .c
        case "Core": .core
        case "DataPlane": .dataPlane
        case "ControlPlane": .controlPlane
        default: nil
        }
    }
}
