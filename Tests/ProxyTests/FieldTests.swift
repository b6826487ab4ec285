import Link
import MeshModel
import Proxy
import Testing
import Wire

/// Fields that only the mesh may write, in every spelling, in both directions.
@Suite(.serialized) struct FieldTests {
    private static let spellings = [
        "meshfed-origin", "Meshfed-Origin", "MESHFED_ORIGIN", "meshfed_hops", "Meshfed-Hops", "meshfed-deadline",
        "Meshfed_Deadline", "meshfed-attempts", "meshfed-authority", "meshfed-error", "meshfed-probe", "meshfed-",
        "meshfed-anything", "Meshfed_Any_Thing", "meshfed_any-thing", "x-forwarded-client-cert",
        "X-Forwarded-Client-Cert", "x_forwarded_client_cert", "X-Forwarded_Client-Cert",
    ]

    private func isForbidden(_ name: String) -> Bool {
        let mapped = name.lowercased().replacing("_", with: "-")
        return mapped.hasPrefix("meshfed-") || mapped == "x-forwarded-client-cert"
    }

    private func exchange(_ direct: Direct, _ head: String) throws -> String {
        let client = try direct.client(.raw)
        #expect(direct.stage.run { client.isEstablished })
        client.send(Array(head.utf8), direct.stage)
        #expect(direct.stage.run { client.text.contains("\r\n\r\n") || !client.isOpen || client.ended })
        return client.text
    }

    @Test func requestsOfTheAppBringNoneOfThem() throws {
        let direct = try Direct()
        for name in Self.spellings {
            let text = try exchange(direct, "GET / HTTP/1.1\r\nHost: api.shop\r\n\(name): 1\r\nx-good: 1\r\n\r\n")
            // A spelling that the parser refuses outright reaches nobody either.
            if text.hasPrefix("HTTP/1.1 400") { continue }
            #expect(text.hasPrefix("HTTP/1.1 200"), "\(name): \(text)")
            let seen = try #require(direct.app.requests.last)
            #expect(seen["x-good"] == "1")
            #expect(seen[":authority"] == "api.shop")
            let bad = seen.fields.filter { isForbidden($0.name) }
            #expect(bad.count == 1 && bad[0].name == "x-forwarded-client-cert", "\(name): \(bad)")
            #expect(bad.first?.value.hasSuffix(";URI=spiffe://east.mesh/ns/shop/sa/web") == true)
        }
        #expect(direct.app.requests.count > 10)
    }

    @Test func connectionCannotNameThemAway() throws {
        let direct = try Direct()
        let text = try exchange(
            direct,
            "GET / HTTP/1.1\r\nHost: api.shop\r\nConnection: meshfed-authority, x-forwarded-client-cert, x-mine\r\n"
                + "x-mine: 1\r\nmeshfed-authority: evil.example\r\n\r\n")
        if text.hasPrefix("HTTP/1.1 400") { return }
        let seen = try #require(direct.app.requests.last)
        #expect(seen[":authority"] == "api.shop")
        #expect(seen["x-forwarded-client-cert"] != nil)
        #expect(seen["x-mine"] == nil)
    }

    @Test func aPeersWordsOfTheMeshAreNotTheApps() throws {
        // The app's own `meshfed-deadline: 1` would cut the call short, were it believed.
        let direct = try Direct()
        let client = try direct.client(.http2)
        let answer = direct.stage.ask(
            client,
            get(
                "api.shop", "/", method: "GET",
                [("meshfed-deadline", "0"), ("meshfed-attempts", "x"), ("meshfed-hops", "east/g1,east/g1")]))
        #expect(answer.status == "200", "\(answer.fields)")
    }

    @Test func responsesOfTheAppBringNoneOfThem() throws {
        let direct = try Direct(app: .raw)
        let client = try direct.client(.http1)
        for (count, name) in Self.spellings.enumerated() {
            let stage = direct.stage
            #expect(stage.run { client.link?.session?.canOpenStream == true || !client.isOpen })
            let message = client.open(get())
            let isThere = { direct.app.lines.last { $0.isOpen && $0.text.hasSuffix("\r\n\r\n") } }
            #expect(stage.run { isThere() != nil || message.isOver })
            let line = try #require(isThere())
            line.send(
                Array(
                    "HTTP/1.1 200 OK\r\n\(name): no_route; dispatched=0\r\nx-good: \(count)\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
                        .utf8), stage)
            line.endOutput(stage)
            #expect(stage.run { message.isOver })
            if message.status == "502" { continue }
            #expect(message.status == "200", "\(name): \(message.fields)")
            #expect(message["x-good"] == "\(count)")
            #expect(!message.fields.contains { isForbidden($0.name) }, "\(name): \(message.fields)")
            line.close()
        }
    }

    @Test func trailersBringNoneOfThem() throws {
        let direct = try Direct(.http2, app: .http2)
        let forbidden = [
            ("meshfed-error", "no_route; dispatched=0"), ("meshfed-origin", "x"), ("x-forwarded-client-cert", "x"),
            ("x-good", "1"),
        ]
        direct.app.answer = { line, message in
            line.respond(message, "200", [], body: Array("body".utf8), trailers: forbidden)
        }
        let client = try direct.client(.http2)
        #expect(direct.stage.run { client.link?.session?.canOpenStream == true })
        let message = client.open(get(method: "POST"), body: Array("hello".utf8), ends: false)
        client.sendTrailers(message, forbidden)
        #expect(direct.stage.run { message.isOver })
        #expect(message.status == "200")
        #expect(message.text == "body")
        #expect(message.trailers.map(\.name) == ["x-good"])
        let seen = try #require(direct.app.requests.last)
        #expect(seen.text == "hello")
        #expect(seen.trailers.map(\.name) == ["x-good"])
    }

    @Test func interimAnswersPass() throws {
        let direct = try Direct(app: .raw)
        let client = try direct.client(.raw)
        #expect(direct.stage.run { client.isEstablished })
        client.send(Array("GET / HTTP/1.1\r\nHost: api.shop\r\n\r\n".utf8), direct.stage)
        #expect(direct.stage.run { direct.app.lines.last?.text.hasSuffix("\r\n\r\n") == true })
        let line = try #require(direct.app.lines.last)
        line.send(
            Array("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nmeshfed-error: x\r\n\r\n".utf8), direct.stage)
        #expect(direct.stage.run { client.text.contains("103") })
        line.send(Array("HTTP/1.1 204 No Content\r\n\r\n".utf8), direct.stage)
        #expect(direct.stage.run { client.text.contains("204") })
        #expect(!client.text.contains("meshfed"))
    }
}
