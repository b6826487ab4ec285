import Manifest
import MeshModel
import MeshTestKit
import Testing

/// What the writer writes, the reader reads back as the same object, in YAML and in JSON.
@Suite struct RoundTripTests {
    @Test func everyObjectSurvivesBothForms() throws {
        var random = SplitMix64.announced()
        for _ in 0..<400 {
            let object = ObjectMaker.object(using: &random)
            let yaml = ManifestWriter.yaml(object)
            let json = ManifestWriter.json(object)
            for (text, form) in [(yaml, "YAML"), (json, "JSON")] {
                do throws(ManifestError) {
                    let read = try ManifestReader.objects(in: text, file: "f")
                    #expect(read == [object], "\(form):\n\(text)")
                    #expect(ManifestWriter.yaml(read[0]) == yaml)
                } catch {
                    Issue.record("\(form) refused: \(error)\n\(text)")
                    return
                }
            }
            let stored = try ManifestWriter.object(fromJSON: Array(json.utf8), file: "f")
            #expect(stored == object)
        }
    }

    @Test func listsAndDocumentsAreReadBack() throws {
        var random = SplitMix64(seed: 7)
        let objects = (0..<20).map { _ in ObjectMaker.object(using: &random) }
        let documents = try ManifestReader.objects(in: ManifestWriter.yaml(objects), file: "f")
        #expect(documents.map(\.body) == objects.map(\.body))
        let list = try ManifestReader.objects(in: ManifestWriter.prettyJSON(objects), file: "f")
        #expect(list.map(\.body) == objects.map(\.body))
    }

    @Test func damagedTextNeverTraps() {
        var random = SplitMix64.announced()
        for _ in 0..<400 {
            let object = ObjectMaker.object(using: &random)
            let text = Bool.random(using: &random) ? ManifestWriter.yaml(object) : ManifestWriter.json(object)
            let damaged = random.damaged(Array(text.utf8))
            guard let input = String(validating: damaged, as: UTF8.self) else { continue }
            _ = problems(in: input)
            _ = topologyProblems(in: input)
        }
    }

    @Test func storedBytesMustBeOneObject() {
        for bytes in [[], [0xFF], Array("[]".utf8), Array("{}".utf8), Array("null".utf8)] {
            #expect(throws: ManifestError.self) { try ManifestWriter.object(fromJSON: bytes, file: "store") }
        }
    }

    @Test func canonicalYAMLIsPlain() {
        let metadata = ObjectMetadata(
            name: Label("reviews") ?? ObjectMaker.label("x"), namespace: ObjectMaker.label("shop"),
            annotations: ["a": "yes", "b": "two words", "c": "1.0", "d": "ü\"\\\n"],
            location: SourceLocation(file: "f", line: 1))
        let object = MeshObject(
            metadata: metadata,
            body: .service(
                ServiceObject(
                    ports: [
                        .init(port: ServicePort(name: "http", port: 80, appProtocol: .http), target: .number(8080))
                    ], selector: ["app": "reviews"])))
        #expect(
            ManifestWriter.yaml(object) == """
                apiVersion: v1
                kind: Service
                metadata:
                  name: reviews
                  namespace: shop
                  annotations:
                    a: "yes"
                    b: "two words"
                    c: "1.0"
                    d: "ü\\"\\\\\\n"
                spec:
                  selector:
                    app: reviews
                  ports:
                  - name: http
                    port: 80
                    appProtocol: http
                    targetPort: 8080

                """)
    }
}
