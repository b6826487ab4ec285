import Testing
import Wire

/// Flow control of HTTP/2: rate for readers that keep up, a limit for those that do not, and neither at the other's cost.
@Suite struct WindowTests {
    private func data(_ count: Int) -> [UInt8] { [UInt8](repeating: 7, count: count) }

    @Test func aReaderThatKeepsUpGetsALargerWindow() throws {
        var loop = Loop.http2(settings: .mesh)
        let stream = try loop.client.openStream(request("PUT"), endStream: false)
        try loop.run()
        for _ in 0..<256 {
            loop.client.sendData(stream, data(65_536).span, endStream: false)
            try loop.run(pieces: 16_384)
        }
        loop.consumes = false
        loop.seenByServer.bodies[stream] = []
        loop.client.sendData(stream, data(6_000_000).span, endStream: false)
        try loop.run()
        // Credit for less than half a window is not worth a frame.
        let most = HTTP2Settings.mesh.largestStreamWindow
        let count = loop.seenByServer.bodies[stream]?.count ?? 0
        #expect(count > most / 2 && count <= most, "\(count)")
    }

    @Test func aReaderThatLagsKeepsItsWindow() throws {
        var loop = Loop.http2(settings: .mesh)
        loop.consumes = false
        let stream = try loop.client.openStream(request("PUT"), endStream: false)
        loop.client.sendData(stream, data(8_000_000).span, endStream: false)
        for _ in 0..<16 {
            try loop.run()
            #expect((loop.seenByServer.bodies[stream]?.count ?? 0) <= HTTP2Settings.mesh.streamWindow)
            loop.seenByServer.bodies[stream] = []
            loop.server.consume(stream, HTTP2Settings.mesh.streamWindow, lagged: true)
        }
    }

    @Test func slowReadersStopNobodyElse() throws {
        var loop = Loop.http2(settings: .mesh)
        loop.consumes = false
        try loop.run()
        for _ in 0..<100 {
            let slow = try loop.client.openStream(request("PUT"), endStream: false)
            loop.client.sendData(slow, data(1_000_000).span, endStream: false)
            try loop.run()
            #expect(loop.seenByServer.bodies[slow]?.count == HTTP2Settings.mesh.streamWindow)
        }
        let quick = try loop.client.openStream(request("PUT"), endStream: false)
        var sent = 0
        for _ in 0..<100 {
            loop.client.sendData(quick, data(100_000).span, endStream: false)
            sent += 100_000
            try loop.run()
            loop.server.consume(quick, 100_000)
        }
        try loop.run()
        #expect(loop.seenByServer.bodies[quick]?.count == sent)
    }

    /// Whatever a peer sends, one connection holds no more than `heldBytes` and what is in flight.
    @Test func whatOneConnectionHoldsIsLimited() throws {
        var settings = HTTP2Settings.mesh
        settings.streamWindow = 262_144
        settings.heldBytes = 2_000_000
        settings.connectionWindow = 1_000_000
        var loop = Loop.http2(settings: settings)
        loop.consumes = false
        try loop.run()
        var streams: [StreamID] = []
        for _ in 0..<50 {
            let stream = try loop.client.openStream(request("PUT"), endStream: false)
            streams.append(stream)
            loop.client.sendData(stream, data(300_000).span, endStream: false)
            try loop.run()
        }
        let held = streams.reduce(0) { $0 + (loop.seenByServer.bodies[$1]?.count ?? 0) }
        #expect(held > 2_000_000 && held <= 3_000_000, "\(held)")
        // Whoever reads on, or leaves, sets the others free.
        for stream in streams[..<45] { loop.server.reset(stream, code: HTTP2Code.cancel) }
        try loop.run()
        let last = try #require(streams.last)
        #expect(loop.seenByServer.bodies[last]?.count == settings.streamWindow)
    }

    /// Streams that grew and then stopped hold what all may have grown by, and no more; a stream that ends gives its share back.
    @Test func growthIsShared() throws {
        var loop = Loop.http2(settings: .mesh)
        for _ in 0..<3 {
            var streams: [StreamID] = []
            loop.consumes = true
            for _ in 0..<8 {
                let stream = try loop.client.openStream(request("PUT"), endStream: false)
                streams.append(stream)
                for _ in 0..<64 {
                    loop.client.sendData(stream, data(65_536).span, endStream: false)
                    try loop.run(pieces: 16_384)
                }
                loop.seenByServer.bodies[stream] = []
            }
            loop.consumes = false
            for stream in streams { loop.client.sendData(stream, data(3_000_000).span, endStream: false) }
            try loop.run()
            let held = streams.reduce(0) { $0 + (loop.seenByServer.bodies[$1]?.count ?? 0) }
            let most = HTTP2Settings.mesh.windowGrowth + 8 * HTTP2Settings.mesh.streamWindow
            #expect(held > most / 2 && held <= most, "\(held)")
            for stream in streams { loop.server.reset(stream, code: HTTP2Code.cancel) }
            try loop.run()
        }
    }

    /// A connection that slow readers hold back takes no new calls: they go over another one.
    @Test func aClientThatHoldsMuchOpensNoMore() throws {
        var settings = HTTP2Settings.mesh
        settings.streamWindow = 262_144
        settings.heldBytes = 400_000
        var loop = Loop.http2(clientSettings: settings)
        loop.consumes = false
        let stream = try loop.client.openStream(request(), endStream: true)
        try loop.run()
        let before = loop.client.canOpenStream
        loop.server.sendHead(stream, response(), .response, endStream: false)
        loop.server.sendData(stream, data(262_144).span, endStream: false)
        try loop.run()
        let held = loop.client.canOpenStream
        loop.client.consume(stream, 262_144)
        let after = loop.client.canOpenStream
        #expect(before && !held && after)
    }
}
