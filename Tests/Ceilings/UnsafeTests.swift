import Testing

@Suite struct UnsafeTests {
    /// The places that touch memory, C or the kernel (docs/ARCHITECTURE.md, Laws). Generated code is not counted.
    private static let list: [UnsafeUse.Allowance] = [
        .init(path: "Sources/Core/Containers", limit: 48, why: "slabs, rings and buffers are pointers"),
        .init(path: "Sources/Core/Identity", limit: 205, why: "OpenSSL's certificates and keys"),
        .init(path: "Sources/Core/Telemetry", limit: 17, why: "the log's thread and its lock"),
        .init(path: "Sources/DataPlane/Wire/HTTP2", limit: 16, why: "states of streams, which do not move"),
        .init(
            path: "Sources/DataPlane/Wire/HPACK", limit: 23, why: "the Huffman code's tables; values hashed by words"),
        .init(
            path: "Sources/DataPlane/Wire/Headers", limit: 97,
            why: "heads lie in one slab; names are compared by words"
        ),
        .init(path: "Sources/DataPlane/Routing/RateLimiter.swift", limit: 3, why: "a cell is asked without a retain"),
        .init(path: "Sources/DataPlane/Reactor", limit: 70, why: "the kernel's sockets, epoll and threads"),
        .init(path: "Sources/DataPlane/TLS", limit: 120, why: "OpenSSL's sessions and their buffers"),
        .init(path: "Sources/DataPlane/Feed", limit: 20, why: "the state directory's files and lock"),
        .init(path: "Sources/DataPlane/RPC", limit: 6, why: "bytes lent to a message"),
        .init(path: "Sources/DataPlane/Names", limit: 8, why: "resolv.conf and the routing tables"),
        .init(path: "Sources/DataPlane/Redirect", limit: 60, why: "running iptables"),
        .init(
            path: "Sources/DataPlane/Host", limit: 32, why: "the files that an operator names; the sockets of the pod"),
        .init(path: "Sources/ControlPlane/Authority", limit: 15, why: "the state directory's files and modes"),
        .init(path: "Sources/ControlPlane/Broker", limit: 10, why: "the addresses of the machine"),
        .init(path: "Sources/ControlPlane/Store", limit: 2, why: "the memory store's core behind its lock"),
        .init(path: "Sources/ControlPlane/StoreSQLite", limit: 12, why: "the database file's lock and header"),
        .init(
            path: "Sources/meshfed", limit: 75,
            why: "terminals, files, child processes and namespaces of the command line"),
        .init(path: "Sources/meshfed-proxy", limit: 6, why: "arguments and environment"),
    ]

    @Test func unsafeStandsWhereItMayAndIsCounted() throws {
        var counts: [String: Int] = [:]
        for path in Tree.swift(below: "Sources") { counts[path] = UnsafeUse.count(try Tree.source(path)) }
        let problems = UnsafeUse.problems(counts, Self.list)
        #expect(problems.isEmpty, "\(problems.joined(separator: "\n"))")
    }

    @Test func eachUseHasItsReason() throws {
        var problems: [String] = []
        for path in Tree.swift(below: "Sources") {
            problems += UnsafeUse.unexplained(try Tree.source(path), at: path)
        }
        #expect(problems.isEmpty, "\(problems.joined(separator: "\n"))")
    }

    @Test func everyAllowanceIsOfSomeUse() {
        for allowance in Self.list {
            #expect(!allowance.why.isEmpty)
            #expect(
                Tree.files.contains { $0 == allowance.path || $0.hasPrefix(allowance.path + "/") }, "\(allowance.path)")
        }
    }

    // MARK: what the law finds

    @Test func countsWordsAndNotTexts() {
        let text = SwiftText(
            """
            // unsafe in a comment
            let a = unsafe b(unsafe c)
            let unsafeName = "unsafe", other = \"""
                unsafe
                \"""
            /* unsafe /* unsafe */ unsafe */ let d = unsafe e
            let f = #"a " unsafe"#
            """)
        #expect(UnsafeUse.count(text) == 3)
    }

    @Test func findsTooMuchAndTheWrongPlace() {
        let list: [UnsafeUse.Allowance] = [
            .init(path: "Sources/A", limit: 3, why: "x"), .init(path: "Sources/A/B.swift", limit: 1, why: "x"),
        ]
        #expect(
            UnsafeUse.problems(["Sources/A/C.swift": 3, "Sources/A/B.swift": 1, "Sources/D.swift": 0], list).isEmpty)
        #expect(UnsafeUse.problems(["Sources/A/C.swift": 2, "Sources/A/E.swift": 2], list).count == 1)
        #expect(UnsafeUse.problems(["Sources/A/B.swift": 2], list).count == 1)
        #expect(
            UnsafeUse.problems(["Sources/D.swift": 1], list) == ["Sources/D.swift holds 1 unsafe and may hold none"])
        #expect(UnsafeUse.problems(["Sources/AB/C.swift": 1], list).count == 1)
    }

    @Test func findsAUseWithoutReason() {
        let far = String(repeating: "\n", count: UnsafeUse.reach.before + 1)
        #expect(UnsafeUse.unexplained(SwiftText("let a = unsafe b"), at: "a").count == 1)
        #expect(UnsafeUse.unexplained(SwiftText("// SAFETY: owned here.\nlet a = unsafe b"), at: "a").isEmpty)
        #expect(UnsafeUse.unexplained(SwiftText("// SAFETY: owned here.\(far)let a = unsafe b"), at: "a").count == 1)
        #expect(UnsafeUse.unexplained(SwiftText("let text = \"SAFETY\"\nlet a = unsafe b"), at: "a").count == 1)
    }
}
