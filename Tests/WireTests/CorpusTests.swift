#if canImport(WireFuzz)
    import Foundation
    import Testing
    import WireFuzz

    /// Every input that the fuzzers keep runs as a unit test too.
    @Suite struct CorpusTests {
        @Test(arguments: [
            "http1-server", "http1-client", "http2-server", "http2-client", "grpc", "proxy-header", "host",
            "chunked", "headers", "target", "server-name",
            "client-hello", "dns", "hpack",
        ])
        func theCorpusPasses(_ codec: String) throws {
            let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
                .appending(path: "Fuzz/corpus/\(codec)")
            let files = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
            #expect(files.count >= 3)
            for file in files {
                let bytes = [UInt8](try Data(contentsOf: file))
                let known = fuzzWire(codec, bytes.span)
                #expect(known)
                // A cheap mutation each: one byte changed, one cut.
                for index in stride(from: 0, to: bytes.count, by: max(1, bytes.count / 16)) {
                    var changed = bytes
                    changed[index] ^= 0x20
                    fuzzWire(codec, changed.span)
                    fuzzWire(codec, Array(bytes[..<index]).span)
                }
            }
        }
    }
#endif
