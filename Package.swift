// swift-tools-version: 6.2
import PackageDescription

/// The settings of every Swift target. ControlProtocol leaves out strict memory safety: it holds generated code only.
let language: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableExperimentalFeature("Lifetimes"),
]
let strict: [SwiftSetting] = language + [.strictMemorySafety()]

let protobuf: Target.Dependency = .product(name: "SwiftProtobuf", package: "swift-protobuf")
let argumentParser: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let yams: Target.Dependency = .product(name: "Yams", package: "Yams")
let grdb: Target.Dependency = .product(name: "GRDB", package: "GRDB.swift")

/// A C target: a module map, static-inline shims and the libraries they need; nothing else.
func shim(_ name: String, _ libraries: String...) -> Target {
    .target(name: name, path: "Sources/C/\(name)", linkerSettings: libraries.map { .linkedLibrary($0) })
}

/// A Swift target in its room under Sources.
func room(_ folder: String, _ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, path: "Sources/\(folder)/\(name)", swiftSettings: strict)
}

/// The tests that stand beside a target: `Tests/<Target>Tests`.
func tests(_ name: String, _ dependencies: [Target.Dependency] = [], resources: [Resource] = []) -> Target {
    .testTarget(
        name: "\(name)Tests", dependencies: [.target(name: name), "MeshTestKit"] + dependencies,
        path: "Tests/\(name)Tests", resources: resources, swiftSettings: strict)
}

let package = Package(
    name: "meshfed",
    products: [
        .executable(name: "meshfed", targets: ["meshfed"]),
        .executable(name: "meshfed-proxy", targets: ["meshfed-proxy"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
        .package(url: "https://github.com/apple/swift-protobuf", exact: "1.39.0", traits: []),
        .package(url: "https://github.com/jpsim/Yams", exact: "6.2.2"),
        .package(url: "https://github.com/groue/GRDB.swift", exact: "7.10.0"),
    ],
    targets: [
        shim("COpenSSL", "ssl", "crypto"),
        shim("CNGHTTP2", "nghttp2"),
        shim("CLinux"),

        room("Core", "MeshModel", []),
        room("Core", "Containers", []),
        room("Core", "Identity", ["MeshModel", "COpenSSL"]),
        room("Core", "Telemetry", ["MeshModel", "Containers"]),
        room("Core", "Settings", ["MeshModel"]),
        .target(
            name: "ControlProtocol", dependencies: [protobuf], path: "Sources/Core/ControlProtocol",
            exclude: ["proto"], swiftSettings: language),
        room("Core", "ControlCoding", ["ControlProtocol", "MeshModel", protobuf]),

        room("DataPlane", "Wire", ["Containers"]),
        room("DataPlane", "Reactor", ["CLinux", "Containers", "Telemetry", "MeshModel"]),
        room("DataPlane", "Routing", ["MeshModel", "Identity", "Containers", "Telemetry"]),
        room("DataPlane", "TLS", ["Reactor", "Identity", "COpenSSL", "MeshModel", "Containers"]),
        room("DataPlane", "Link", ["Reactor", "TLS", "Wire", "Containers", "MeshModel"]),
        room("DataPlane", "Downstream", ["Link", "Reactor", "TLS", "Wire", "Containers", "MeshModel"]),
        room("DataPlane", "Upstream", ["Link", "Reactor", "TLS", "Wire", "Containers", "MeshModel", "Identity"]),
        room(
            "DataPlane", "Proxy",
            [
                "Downstream", "Routing", "Upstream", "Link", "Identity", "Telemetry", "Reactor", "TLS", "Wire",
                "Containers", "MeshModel",
            ]),
        room("DataPlane", "RPC", ["Reactor", "TLS", "Wire", "Containers", "MeshModel", "Identity"]),
        room("DataPlane", "Admin", ["RPC", "Telemetry", "MeshModel"]),
        room("DataPlane", "Feed", ["ControlCoding", "RPC", "Identity", "MeshModel", "Reactor", "TLS", "Wire"]),
        room(
            "DataPlane", "Host",
            [
                "Proxy", "Feed", "Admin", "RPC", "Settings", "ControlCoding", "Routing", "Telemetry", "Identity",
                "Reactor", "TLS", "MeshModel",
            ]),
        room("DataPlane", "Redirect", ["Settings"]),
        room("DataPlane", "Names", ["Wire", "Reactor", "Containers", "MeshModel"]),
        room(
            "DataPlane", "Sidecar",
            ["Host", "Proxy", "Names", "Feed", "Settings", "Routing", "MeshModel", "Reactor"]),
        room("DataPlane", "Gateway", ["Host", "Proxy", "Feed", "Settings", "Routing", "MeshModel", "Reactor"]),

        room("ControlPlane", "Store", ["MeshModel"]),
        room("ControlPlane", "StoreSQLite", ["Store", "MeshModel", grdb]),
        room("ControlPlane", "Authority", ["Identity", "Store", "MeshModel"]),
        room("ControlPlane", "Manifest", ["MeshModel", yams]),
        room("ControlPlane", "Compiler", ["MeshModel", "Store"]),
        room("ControlPlane", "Federation", ["ControlCoding", "Identity", "MeshModel"]),
        room(
            "ControlPlane", "Broker",
            [
                "Federation", "Compiler", "Store", "StoreSQLite", "Authority", "Manifest", "RPC", "Settings",
                "ControlCoding", "ControlProtocol", "Identity", "MeshModel", "Telemetry", "Reactor", "TLS", "Wire",
                "Containers", protobuf,
            ]),

        .executableTarget(
            name: "meshfed",
            dependencies: [
                "Broker", "Manifest", "Compiler", "ControlCoding", "ControlProtocol", "Identity", "MeshModel",
                "Settings", "Telemetry", "RPC", "Reactor", "TLS", "Wire", "CLinux", "Containers", argumentParser,
                protobuf,
            ], path: "Sources/meshfed", swiftSettings: strict),
        .executableTarget(
            name: "meshfed-proxy",
            dependencies: ["Sidecar", "Gateway", "Redirect", "Settings", "MeshModel", "Reactor"],
            path: "Sources/meshfed-proxy", swiftSettings: strict),

        .target(
            name: "MeshTestKit", dependencies: ["MeshModel", "Identity"], path: "Tests/Support/MeshTestKit",
            swiftSettings: strict),
        tests("MeshModel"), tests("Containers"), tests("Identity", ["MeshModel"]), tests("Telemetry"),
        tests("Settings", ["MeshModel"]),
        tests("ControlCoding", ["MeshModel"]),
        .target(
            name: "WireFuzz", dependencies: ["Wire", "Containers", "MeshModel"], path: "Tests/Fuzz/Wire",
            swiftSettings: strict),
        tests("Wire", ["CNGHTTP2", "Containers", "WireFuzz"]),
        tests("Routing", ["MeshModel", "Identity", "Containers", "Telemetry"]),
        tests("Redirect", ["Settings"]), tests("Names", ["MeshModel", "Wire"]),
        tests("Reactor", ["Containers", "MeshModel"]),
        tests("TLS", ["Reactor", "Identity", "MeshModel", "Containers", "COpenSSL"]),
        tests("Link", ["Reactor", "TLS", "Wire", "Containers", "Identity", "MeshModel"]),
        tests(
            "Proxy",
            [
                "Link", "Reactor", "TLS", "Wire", "Routing", "Telemetry", "Containers", "Identity", "MeshModel",
            ]),
        tests("RPC", ["MeshModel", "Identity", "TLS", "Reactor", "Wire"]),
        tests("Admin", ["RPC", "Telemetry", "MeshModel", "Reactor", "Wire"]),
        tests("Feed", ["RPC", "Identity", "MeshModel", "ControlCoding", "TLS", "Reactor", "Wire"]),
        tests("Store", ["StoreSQLite", "MeshModel"]),
        tests("Authority", ["Identity", "Store", "StoreSQLite", "MeshModel"]),
        tests("Manifest", ["MeshModel"]), tests("Compiler", ["MeshModel", "Store", "Manifest"]),
        tests(
            "Broker",
            [
                "Feed", "ControlCoding", "ControlProtocol", "Identity", "MeshModel", "RPC", "Reactor", "Settings",
                "TLS", "Wire", protobuf,
            ]),
        tests("Federation", ["Identity", "MeshModel", "ControlCoding"]),
        .testTarget(name: "Ceilings", path: "Tests/Ceilings", swiftSettings: strict),
        .testTarget(
            name: "Hostile",
            dependencies: ["Wire", "Containers", "Routing", "Identity", "MeshModel", "ControlCoding", "MeshTestKit"],
            path: "Tests/Hostile", swiftSettings: strict),
        .testTarget(
            name: "Simulation",
            dependencies: [
                "Federation", "Compiler", "Authority", "Store", "MeshTestKit", "ControlCoding", "MeshModel", "Identity",
            ], path: "Tests/Simulation", exclude: ["README.md"], swiftSettings: strict),
    ]
)
