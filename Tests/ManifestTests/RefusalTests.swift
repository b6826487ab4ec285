import Manifest
import MeshModel
import Testing

/// Bad input: each case names the place and says what is wrong.
@Suite struct RefusalTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let text: String
        let expected: String

        init(_ text: String, _ expected: String) {
            self.text = text
            self.expected = expected
        }
        init(service spec: String, _ expected: String) {
            self.init("apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop}\n" + spec, expected)
        }
        init(_ kind: String, spec: String, _ expected: String) {
            self.init("apiVersion: meshfed.io/v1alpha1\nkind: \(kind)\nmetadata: {name: a}\nspec:\n" + spec, expected)
        }
        var testDescription: String { expected }
    }

    private static let keys: [Case] = [
        Case(service: "spec: {port: []}", "f.yaml:4: Service shop/a: spec: unknown key \"port\"; did you mean ports?"),
        Case(
            service: "spec:\n  ports:\n  - port: 80\n    colour: red\n",
            "f.yaml:7: Service shop/a: spec.ports[0]: unknown key \"colour\"; known keys:"
        ),
        Case(service: "spec:\n  ports: []\n  ports: []\n", "f.yaml:6: duplicate key \"ports\", first on line 5;"),
        Case(service: "spec: {ports: [], ports: []}\n", "f.yaml:4: duplicate key \"ports\", first on line 4;"),
        Case(
            service: "spec:\n  a:\n    x: 1\n    y:\n      x: 1\n    x: 2\n",
            "f.yaml:9: duplicate key \"x\", first on line 6;"),
        Case(service: "spec:\n  \"ports\": []\n  ports: []\n", "f.yaml:6: duplicate key \"ports\", first on line 5;"),
        Case("apiVersion: v1\nkind: Service\n", "f.yaml:1: Service: metadata: is missing; for example"),
        Case(
            "apiVersion: v1\nkind: Service\nmetadata: {namespace: shop}\nspec: {ports: [{port: 1}]}",
            "f.yaml:3: Service: metadata.name: is missing"
        ),
    ]

    private static let ports: [Case] = [
        Case(service: "spec: {ports: [{port: 70000}]}", "spec.ports[0].port: is 70000; a number from 1 to 65535"),
        Case(service: "spec: {ports: [{port: 0}]}", "spec.ports[0].port: is 0; a number from 1 to 65535"),
        Case(service: "spec: {ports: [{port: \"80\"}]}", "spec.ports[0].port: must be a whole number, not a string"),
        Case(service: "spec: {ports: [{port: 0o17}]}", "spec.ports[0].port: must be a whole number"),
        Case(service: "spec: {ports: [{port: +10}]}", "spec.ports[0].port: must be a whole number"),
        Case(service: "spec: {ports: [{port: 1_000}]}", "spec.ports[0].port: must be a whole number"),
        Case(service: "spec: {ports: [{port: 1:30}]}", "spec.ports[0].port: must be a whole number"),
        Case(service: "spec: {ports: [{port: 99999999999999999999}]}", "spec.ports[0].port: must be a whole number"),
        Case(service: "spec: {ports: [{port: 80}, {port: 81}]}", "spec.ports: element 0 has no name"),
        Case(
            service: "spec: {ports: [{port: 80, name: a}, {port: 80, name: b}]}", "spec.ports: port 80 is there twice"),
        Case(
            service: "spec: {ports: [{port: 80, protocol: UDP}]}", "protocol: \"UDP\" is not available in this version"),
        Case(
            service: "spec: {ports: [{port: 80, appProtocol: quic}]}",
            "appProtocol: \"quic\" is no protocol of the mesh"),
        Case(
            service: "spec: {type: ExternalName, ports: [{port: 80}]}",
            "\"ExternalName\" is not available in this version"),
        Case(service: "spec: {ports: {port: 80}}", "spec.ports: must be a list, not a mapping"),
        Case(service: "spec: {ports: []}", "spec.ports: is empty"),
        Case(
            service: "spec: {selector: {app: yes}, ports: [{port: 80}]}",
            "spec.selector.app: must be a string, not \"yes\""),
        Case(
            service: "spec: {selector: {app: 1.0}, ports: [{port: 80}]}",
            "spec.selector.app: must be a string, not \"1.0\""),
        Case(
            service: "spec: {selector: {app: \"a b\"}, ports: [{port: 80}]}",
            "spec.selector.app: \"a b\" is no label value"),
        Case(service: "spec: {selector: {\"a b\": c}, ports: [{port: 80}]}", "\"a b\" is no label key"),
    ]

    private static let names: [Case] = [
        Case("kind: Service\nmetadata: {name: A_b}\napiVersion: v1\nspec: {ports: [{port: 1}]}", "\"A_b\" is no name"),
        Case("kind: Pod\napiVersion: v1\n", "f.yaml:1: Pod: kind: unknown kind \"Pod\"; one of: "),
        Case(
            "kind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\n", "HTTPRoute is not available in this version"),
        Case(
            "kind: EndpointSlice\napiVersion: discovery.k8s.io/v1\n", "EndpointSlice is not available in this version"),
        Case("kind: Gateway\napiVersion: gateway.networking.k8s.io/v1\n", "Gateway is not available in this version"),
        Case("kind: Service\napiVersion: v2\n", "Service of apiVersion \"v2\" is unknown; apiVersion: v1"),
        Case("kind: Topology\napiVersion: meshfed.io/v1alpha1\n", "a Topology is no configuration object"),
        Case("- 1\n- 2\n", "f.yaml:1: is a list, not an object"),
        Case("just text", "f.yaml:1: is a string, not an object"),
        Case(
            "kind: Import\napiVersion: meshfed.io/v1alpha1\nmetadata: {name: a, namespace: b}\n",
            "Import has no namespace"),
    ]

    private static let yaml: [Case] = [
        Case("a: &x 1\nb: *x\n", "f.yaml:1: anchors and aliases are not accepted"),
        Case("a: {<<: {b: 1}}\n", "f.yaml:1: merge keys (<<) are not accepted"),
        Case("a: !foo 1\n", "f.yaml:1: tag !foo is not accepted"),
        Case("a: !!int \"1\"\n", "f.yaml:1: tag tag:yaml.org,2002:int is not accepted"),
        Case("? [a]\n: b\n", "f.yaml:1: a key is a list or a mapping"),
        Case("a: [1\nb: 2\n", "f.yaml:2: not YAML:"), Case("a: \"\u{1}\"", "f.yaml:1: not YAML: control characters"),
        Case(String(repeating: "[", count: 40) + String(repeating: "]", count: 40), "f.yaml:1: nested deeper than 32"),
    ]

    private static let workloads: [Case] = [
        Case("Workload", spec: "  address: host.example\n", "spec.address: \"host.example\" is no address of a host"),
        Case("Workload", spec: "  address: 010.0.0.1\n", "spec.address: \"010.0.0.1\" is no address of a host"),
        Case("Workload", spec: "  address: 0.0.0.0\n", "spec.address: \"0.0.0.0\" is no address of a host"),
        Case(
            "Workload", spec: "  address: 10.0.0.1\n  network: n1\n", "spec.network: is not available in this version"),
        Case(
            "Workload", spec: "  address: 10.0.0.1\n  tls: none\n", "spec.tls: \"none\" is not known here; one of: mesh"
        ),
        Case("Workload", spec: "  address: 10.0.0.1\n  tls: {mode: simple}\n", "spec.tls: has neither ca nor caFile"),
        Case("Workload", spec: "  address: 10.0.0.1\n  tls: {mode: simple, ca: x}\n", "spec.tls.ca: is no PEM text"),
        Case("Workload", spec: "  address: 10.0.0.1\n  locality: a/b/c\n", "spec.locality: \"a/b/c\" is no locality"),
    ]

    private static let exports: [Case] = [
        Case("Import", spec: "  rules: [{namespace: kube-system}]\n", "kube-system is never imported"),
        Case("Import", spec: "  rules: [{namespace: a}, {namespace: a}]\n", "spec.rules[1]: is the same as element 0"),
        Case(
            "apiVersion: multicluster.x-k8s.io/v1beta1\nkind: ServiceExport\n"
                + "metadata: {name: a, annotations: {meshfed.io/export-to: \"west,,north\"}}\n",
            "annotations.meshfed.io/export-to: \"west,,north\" is no list of clusters"
        ),
        Case(
            "apiVersion: multicluster.x-k8s.io/v1beta1\nkind: ServiceExport\n"
                + "metadata: {name: a, annotations: {meshfed.io/exportto: west}}\n", "unknown annotation of meshfed"
        ),
    ]

    private static let policies: [Case] = [
        Case("TrafficPolicy", spec: "  timeouts: {request: 1s}\n", "spec.targetRefs: is missing"),
        Case("TrafficPolicy", spec: "  targetRefs: [{kind: Service, name: b}]\n", "spec: sets nothing"),
        Case(
            "TrafficPolicy", spec: "  targetRefs: [{kind: Service, name: b}]\n  timeouts: {request: 1.5s}\n",
            "spec.timeouts.request: \"1.5s\" is no duration"
        ),
        Case(
            "TrafficPolicy", spec: "  targetRefs: [{kind: Service, name: b}]\n  timeouts: {request: 15}\n",
            "spec.timeouts.request: must be a string, not \"15\""
        ),
        Case(
            "TrafficPolicy", spec: "  targetRefs: [{kind: Service, name: b}]\n  timeouts: {request: 1s, perTry: 2s}\n",
            "spec.timeouts: perTry is 2s, longer than request"
        ),
        Case(
            "TrafficPolicy", spec: "  targetRefs: [{kind: Service, name: b}]\n  failover: {order: [x], exclude: [x]}\n",
            "spec.failover.exclude: x is in order too"
        ),
        Case(
            "TrafficPolicy", spec: "  targetRefs: [{kind: Service, name: b, namespace: c}]\n  retries: {attempts: 1}\n",
            "spec.targetRefs[0].namespace: c is not the policy's own namespace"
        ),
        Case(
            "TrafficPolicy", spec: "  targetRefs: [{kind: HTTPRoute, name: b}]\n  retries: {attempts: 1}\n",
            "spec.targetRefs[0].kind: \"HTTPRoute\" is not available in this version"
        ),
        Case(
            "TrafficPolicy",
            spec: "  targetRefs: [{kind: Service, name: b}]\n  staleness: {action: preferLocal, max: 1m}\n",
            "spec.staleness.max: belongs to action drop"
        ),
        Case(
            "RateLimitPolicy", spec: "  targetRefs: [{kind: Service, name: b}]\n  scope: cluster\n  rules: []\n",
            "spec.scope: \"cluster\" is not available in this version; one of: gateway"
        ),
        Case(
            "RateLimitPolicy",
            spec:
                "  targetRefs: [{kind: Service, name: b}]\n  rules: [{name: a, limit: {requests: 2000000, per: 1ms}}]\n",
            "spec.rules[0].limit: 2000000 requests in 1ms are more than one each nanosecond"
        ),
        Case(
            "AuthorizationPolicy",
            spec: "  targetRefs: [{kind: Service, name: b}]\n  rules: [{from: {ids: [\"spiffe://East.mesh/x\"]}}]\n",
            "spec.rules[0].from.ids[0]: \"spiffe://East.mesh/x\" is no SPIFFE ID"
        ),
        Case(
            "AuthorizationPolicy",
            spec: "  targetRefs: [{kind: Service, name: b}]\n  rules: [{from: {ids: [\"spiffe://a/x*\"]}}]\n",
            "is no SPIFFE ID"
        ),
        Case(
            "AuthorizationPolicy", spec: "  targetRefs: [{kind: Service, name: b}]\n  rules: [{from: {ids: []}}]\n",
            "spec.rules[0].from: names nobody"
        ),
        Case(
            "AuthorizationPolicy", spec: "  targetRefs: [{kind: Service, name: b}]\n  action: DENY\n",
            "a DENY policy without rules does nothing"
        ),
        Case(
            "AuthorizationPolicy", spec: "  targetRefs: [{kind: Service, name: b}]\n  rules: [{methods: [GET]}]\n",
            "spec.rules[0].methods: is not available in this version"
        ),
        Case("MeshPolicy", spec: "  mtls: {mode: off}\n", "spec.mtls.mode: must be a string, not \"off\""),
        Case("MeshPolicy", spec: "  mtls: {mode: disable}\n", "spec.mtls.mode: \"disable\" is not available"),
        Case(
            "MeshPolicy",
            spec:
                "  mtls: {mode: strict}\n  accessLog: false\n  targetRefs: [{kind: Service, name: b, namespace: c}]\n",
            "spec.accessLog: is mesh-wide"
        ),
        Case("MeshPolicy", spec: "  tracing: {samplePercent: 101}\n", "spec.tracing.samplePercent: is 101"),
    ]

    @Test(arguments: [keys, ports, names, yaml, workloads, exports, policies].flatMap { $0 })
    func placeAndReasonAreNamed(wrong: Case) {
        let found = problems(in: wrong.text)
        let expected = wrong.expected
        #expect(found.contains { $0.contains(expected) }, "found: \(found)")
        #expect(found.allSatisfy { $0.hasPrefix("f.yaml:") && $0.contains("; ") }, "found: \(found)")
    }

    @Test func allProblemsAreCollected() {
        let text = """
            apiVersion: v1
            kind: Service
            metadata: {name: a, namespace: shop}
            spec: {ports: [{port: 70000}, {port: x}], colour: red}
            ---
            apiVersion: meshfed.io/v1alpha1
            kind: Workload
            metadata: {name: b}
            spec: {address: nowhere}
            """
        let found = problems(in: text)
        #expect(found.count == 4)
        #expect(found[3].hasPrefix("f.yaml:9: Workload default/b: spec.address:"))
    }

    @Test func theListOfProblemsIsBounded() throws {
        let text = String(repeating: "apiVersion: v1\nkind: Pod\n---\n", count: 70)
        do throws(ManifestError) {
            _ = try ManifestReader.objects(in: text, file: "f.yaml")
            Issue.record("accepted")
        } catch {
            #expect(error.problems.count == 50)
            #expect(error.omitted == 20)
            #expect(error.description.hasSuffix("… and 20 more"))
        }
    }

    @Test func bombsAndMassesAreRefused() {
        var bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n"
        for (name, before) in zip("bcdefghij", "abcdefghi") {
            bomb += "\(name): &\(name) [" + Array(repeating: "*\(before)", count: 9).joined(separator: ",") + "]\n"
        }
        #expect(problems(in: bomb).contains { $0.contains("anchors and aliases") })
        #expect(
            problems(in: "[" + String(repeating: "1,", count: 250_000) + "1]").contains {
                $0.contains("more than 200000")
            })
        #expect(problems(in: String(repeating: "#", count: 2_000_000)).contains { $0.contains("larger than") })
        #expect(!problems(in: String(repeating: "[", count: 5_000)).isEmpty)
        #expect(!problems(in: String(repeating: "- ", count: 900) + "x").isEmpty)
    }

    @Test func emptyInputHoldsNothing() {
        #expect(problems(in: "").isEmpty)
        #expect(problems(in: "---\n---\n# nothing\n").isEmpty)
    }
}
