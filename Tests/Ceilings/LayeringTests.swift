import Testing

@Suite struct LayeringTests {
    private static let arrows: PackageArrows = {
        guard let text = try? Tree.text("Package.swift") else { return PackageArrows("") }
        return PackageArrows(text)
    }()

    @Test func packageIsReadWhole() {
        #expect(Self.arrows.problems.isEmpty, "\(Self.arrows.problems)")
        #expect(Self.arrows.targets.count > 30)
        #expect(Self.arrows.targets["Wire"]?.dependencies == ["Containers"])
        #expect(Self.arrows.targets["StoreSQLite"]?.dependencies.contains("GRDB") == true)
        #expect(Self.arrows.targets["meshfed-proxy"]?.kind == .program)
    }

    @Test func arrowsGoDown() throws {
        let levels = Layering.levels(try Tree.text("docs/ARCHITECTURE.md"))
        let problems = Layering.problems(of: Self.arrows, levels: levels)
        #expect(problems.isEmpty, "\(problems.joined(separator: "\n"))")
    }

    @Test func importsAreDeclaredAndAtHome() throws {
        let proxy = Self.arrows.closure(of: "meshfed-proxy")
        #expect(proxy.isSuperset(of: ["Sidecar", "Gateway", "Wire", "Identity"]))
        var problems: [String] = []
        for target in Self.arrows.targets.values where target.kind != .shim && target.kind != .test {
            for path in Tree.files where path.hasPrefix(target.path + "/") && path.hasSuffix(".swift") {
                problems += Layering.problems(
                    in: try Tree.source(path), at: path, of: target, proxy: proxy)
            }
        }
        #expect(problems.isEmpty, "\(problems.sorted().joined(separator: "\n"))")
    }

    @Test func everySourceBelongsToATarget() {
        let paths = Self.arrows.targets.values.map { $0.path + "/" }
        let lost = Tree.files.filter { path in
            path.hasPrefix("Sources/") && path.hasSuffix(".swift") && !paths.contains { path.hasPrefix($0) }
        }
        #expect(lost.isEmpty, "no target of Package.swift holds \(lost)")
    }

    // MARK: what each law finds

    private static let sample = """
        let protobuf: Target.Dependency = .product(name: "SwiftProtobuf", package: "swift-protobuf")
        func room(_ folder: String, _ name: String) -> Target { .target(name: name) }
        let package = Package(
            name: "x",
            dependencies: [.package(url: "https://example.org/y", exact: "1.0.0", traits: [])],  // room("No", "No", [])
            targets: [
                shim("CNGHTTP2", "nghttp2"), shim("COpenSSL", "ssl"),
                room("Core", "MeshModel", []), room("Core", "Containers", []),
                .target(
                    name: "ControlProtocol", dependencies: [protobuf], path: "Sources/Core/ControlProtocol",
                    exclude: ["proto"], swiftSettings: language),
                room("DataPlane", "Wire", ["CNGHTTP2", "Containers"]),
                room("DataPlane", "Feed", ["ControlProtocol", "Wire", protobuf]),
                room("ControlPlane", "Store", ["MeshModel"]),
                .executableTarget(name: "meshfed-proxy", dependencies: ["Feed"], path: "Sources/meshfed-proxy"),
                tests("Wire", ["Containers"]),
            ])
        """
    private static let page = """
        | level | target | purpose |
        |--:|---|---|
        | 0 | CNGHTTP2 · COpenSSL | C |
        | 0 | MeshModel | |
        | 0 | Containers | |
        | 1 | ControlProtocol | |
        | 1 | **Wire** · Store | |
        | 6 | Feed | |
        | 8 | `meshfed-proxy` | |
        """

    private static func find(_ code: String, in name: String) -> [String] {
        let arrows = PackageArrows(sample)
        guard let target = arrows.targets[name] else { return ["no target \(name)"] }
        return Layering.problems(
            in: SwiftText(code), at: "a.swift", of: target, proxy: arrows.closure(of: "meshfed-proxy"))
    }

    @Test func readsAManifest() {
        let arrows = PackageArrows(Self.sample)
        #expect(arrows.problems.isEmpty)
        #expect(arrows.targets["Feed"]?.dependencies == ["ControlProtocol", "Wire", "SwiftProtobuf"])
        #expect(arrows.targets["WireTests"]?.dependencies == ["Wire", "MeshTestKit", "Containers"])
        #expect(arrows.targets["No"] == nil)
        #expect(arrows.closure(of: "meshfed-proxy").contains("CNGHTTP2"))
        #expect(Layering.problems(of: arrows, levels: Layering.levels(Self.page)).isEmpty)
    }

    @Test func findsAnArrowUpwards() {
        for (line, word) in [
            (#"room("Core", "MeshModel", ["Wire"])"#, "must not depend"),
            (#"room("DataPlane", "Wire", ["Store"])"#, "DataPlane (Wire) must not know ControlPlane"),
            (#"room("Core", "MeshModel", ["Feed"])"#, "Core (MeshModel) must not know DataPlane"),
            (#"room("Core", "Unknown", [])"#, "does not stand in the table"),
            (#"room("Core", "Unknown", oddList)"#, "are no list"),
        ] {
            let text = Self.sample.replacing(#"tests("Wire", ["Containers"])"#, with: line)
            let problems = Layering.problems(of: PackageArrows(text), levels: Layering.levels(Self.page))
            #expect(problems.contains { $0.contains(word) }, "\(line): \(problems)")
        }
        let missing = Layering.problems(
            of: PackageArrows(Self.sample), levels: Layering.levels(Self.page + "\n| 1 | Gone | |"))
        #expect(missing.contains { $0.hasPrefix("Gone stands in the table") })
    }

    @Test func findsAForeignImport() {
        #expect(Self.find("package import Containers\n", in: "Wire").isEmpty)
        for (code, target, word) in [
            ("internal import MeshModel", "Wire", "does not declare"),
            ("@preconcurrency package import struct MeshModel.Label", "Wire", "does not declare"),
            ("internal import COpenSSL", "Wire", "only Identity, TLS may"),
            ("internal import CNGHTTP2", "Feed", "only WireTests may"),
            ("internal import Foundation", "Feed", "nothing that meshfed-proxy links may"),
            ("internal import FoundationEssentials", "Wire", "only beside swift-protobuf"),
            ("internal import Glibc", "Wire", "handed clock"),
            ("import Testing", "Store", "for tests"),
        ] {
            #expect(Self.find(code, in: target).contains { $0.contains(word) }, "\(code) in \(target)")
        }
        #expect(Self.find("internal import FoundationEssentials", in: "Feed").isEmpty)
        #expect(Self.find("internal import Foundation", in: "Store").isEmpty)
        let choice =
            "#if canImport(FoundationEssentials)\nimport FoundationEssentials\n#else\nimport Foundation\n#endif"
        #expect(Self.find(choice, in: "Feed").isEmpty)
        #expect(!Self.find(choice + "\nimport Foundation", in: "Feed").isEmpty)
        #expect(Self.find("// import Store\nlet text = \"import Store\"", in: "Wire").isEmpty)
    }

    @Test func findsClocksSocketsAndRandomness() {
        for code in [
            "let now = ContinuousClock().now", "var g = SystemRandomNumberGenerator()", "let x = Int.random(in: 0..<3)",
            "let x = list.randomElement()", "clock_gettime(CLOCK_MONOTONIC, &time)", "let d = Date()",
            "let fd = socket(AF_INET, 1, 0)",
        ] {
            #expect(!Layering.impurities(in: SwiftText(code), at: "a.swift").isEmpty, "\(code)")
        }
        for code in [
            "let x = Int.random(in: 0..<3, using: &random)", "// Date() is not used", "let text = \"socket\"",
            "let update = updated(now)",
        ] {
            #expect(Layering.impurities(in: SwiftText(code), at: "a.swift").isEmpty, "\(code)")
        }
    }
}
