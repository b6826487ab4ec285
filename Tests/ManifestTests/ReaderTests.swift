import Manifest
import MeshModel
import Testing

@Suite struct ReaderTests {
    private func service(_ port: String) throws -> ServiceObject {
        let text = """
            apiVersion: v1
            kind: Service
            metadata: {name: reviews, namespace: shop}
            spec: {selector: {app: reviews}, ports: [\(port)]}
            """
        guard case .service(let body) = try ManifestReader.objects(in: text, file: "f.yaml")[0].body else {
            throw TestFailure()
        }
        return body
    }

    private struct TestFailure: Error {}

    @Test(arguments: [
        ("{port: 80, appProtocol: kubernetes.io/h2c}", AppProtocol.http2), ("{port: 80, appProtocol: grpc}", .grpc),
        ("{port: 80, appProtocol: HTTP}", .http), ("{port: 80, appProtocol: tcp, name: http}", .tcp),
        ("{port: 80, name: http}", .http), ("{port: 80, name: http2-web}", .http2), ("{port: 80, name: grpc-a}", .grpc),
        ("{port: 80, name: grpc-web}", .http), ("{port: 80, name: mysql}", .tcp), ("{port: 80, name: https}", .tcp),
        ("{port: 80, name: httpx}", .auto), ("{port: 80}", .auto), ("{port: 80, appProtocol: kubernetes.io/ws}", .http),
    ])
    func protocolIsDeclaredOrNamed(port: String, expected: AppProtocol) throws {
        #expect(try service(port).ports[0].port.appProtocol == expected)
    }

    @Test func targetPortIsNumberNameOrThePort() throws {
        #expect(try service("{port: 80}").ports[0].target == .number(80))
        #expect(try service("{port: 80, targetPort: 8080}").ports[0].target == .number(8080))
        #expect(try service("{port: 80, targetPort: web}").ports[0].target == .name("web"))
        #expect(try service("{port: 80, targetPort: \"8080\"}").ports[0].target == .name("8080"))
    }

    @Test func kubernetesNoiseIsPassedOver() throws {
        let text = """
            apiVersion: v1
            kind: Service
            metadata:
              name: reviews
              namespace: shop
              uid: 3f1
              resourceVersion: "12"
              creationTimestamp: null
              managedFields: [{manager: kubectl}]
              annotations:
                kubectl.kubernetes.io/last-applied-configuration: |
                  {"apiVersion":"v1"}
                example.com/owner: shop
            spec:
              clusterIP: 10.96.0.1
              clusterIPs: [10.96.0.1]
              type: ClusterIP
              sessionAffinity: None
              internalTrafficPolicy: Cluster
              ipFamilies: [IPv4]
              selector: {app: reviews}
              ports: [{name: http, port: 80, protocol: TCP, nodePort: 30080}]
            status: {loadBalancer: {}}
            """
        let objects = try ManifestReader.objects(in: text, file: "f.yaml")
        #expect(objects[0].metadata.annotations == ["example.com/owner": "shop"])
        #expect(objects[0].metadata.location == SourceLocation(file: "f.yaml", line: 1))
    }

    @Test func documentsAndListsAndJSONAreRead() throws {
        let text = """
            # only a comment
            ---
            {"apiVersion": "v1", "kind": "List", "metadata": {}, "items": [
              {"apiVersion": "meshfed.io/v1alpha1", "kind": "Cluster", "metadata": {"name": "east"}, "spec": {}},
              {"apiVersion": "multicluster.x-k8s.io/v1alpha1", "kind": "ServiceExport",
               "metadata": {"name": "a", "annotations": {"meshfed.io/export-to": "west, north"}}}
            ]}
            ---
            apiVersion: meshfed.io/v1alpha1
            kind: Workload
            metadata: {name: w, labels: {app: a}}
            spec: {address: "fd00::1", labels: {tier: b}, locality: r/z, tls: mutual, ports: {http: 8080}}
            """
        let objects = try ManifestReader.objects(in: text, file: "f.yaml")
        #expect(objects.map(\.kind) == ["Cluster", "ServiceExport", "Workload"])
        #expect(objects.map(\.metadata.location.line) == [4, 5, 9])
        guard case .cluster(let cluster) = objects[0].body, case .serviceExport(let export) = objects[1].body,
            case .workload(let workload) = objects[2].body
        else {
            Issue.record("wrong bodies")
            return
        }
        #expect(cluster.trustDomain.description == "east.mesh")
        #expect(export.scope == .clusters([ClusterID("north"), ClusterID("west")].compactMap { $0 }))
        #expect(objects[2].metadata.labels == ["app": "a", "tier": "b"])
        #expect(workload.locality == Locality(region: "r", zone: "z"))
        #expect(workload.security == .mutual)
        #expect(workload.serviceAccount.description == "default")
    }

    @Test func policiesFillInDefaults() throws {
        let text = """
            apiVersion: meshfed.io/v1alpha1
            kind: TrafficPolicy
            metadata: {name: p, namespace: shop}
            spec:
              targetRefs: [{group: "", kind: Service, name: reviews}]
              timeouts: {request: 1m30s}
              staleness: {max: 10m}
            ---
            apiVersion: meshfed.io/v1alpha1
            kind: RateLimitPolicy
            metadata: {name: l, namespace: shop}
            spec:
              targetRefs: [{kind: Service, name: reviews}]
              mode: shadow
              rules: [{name: a, limit: {requests: 100, per: 1s}}, {name: b, limit: {requests: 1, per: 1m, burst: 3}, by: caller, mode: enforce}]
            ---
            apiVersion: meshfed.io/v1alpha1
            kind: AuthorizationPolicy
            metadata: {name: nobody, namespace: shop}
            spec: {targetRefs: [{kind: Service, name: reviews}]}
            """
        let objects = try ManifestReader.objects(in: text, file: "f.yaml")
        guard case .trafficPolicy(let traffic) = objects[0].body, case .rateLimitPolicy(let limit) = objects[1].body,
            case .authorizationPolicy(let authorization) = objects[2].body
        else {
            Issue.record("wrong bodies")
            return
        }
        #expect(traffic.fields == [.requestTimeout, .staleness])
        #expect(traffic.settings.requestTimeout == .seconds(90))
        #expect(traffic.settings.maximumStaleness == .seconds(600))
        #expect(traffic.settings.connectTimeout == .seconds(2))
        #expect(limit.rules[0].burst == 100 && limit.rules[0].mode == .shadow && limit.rules[0].subject == .service)
        #expect(limit.rules[1].burst == 3 && limit.rules[1].mode == .enforce && limit.rules[1].subject == .caller)
        #expect(authorization.rules.count == 1)
        #expect(authorization.rules[0].callers.isEmpty && authorization.rules[0].action == .allow)
    }

    @Test func certificatesComeFromTheAttachment() throws {
        let pem = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n"
        let text = """
            apiVersion: meshfed.io/v1alpha1
            kind: Workload
            metadata: {name: w}
            spec: {address: 10.0.0.1, tls: {mode: simple, caFile: ca.pem}}
            """
        let objects = try ManifestReader.objects(in: text, file: "f.yaml") { name in
            name == "ca.pem" ? Array(pem.utf8) : nil
        }
        guard case .workload(let workload) = objects[0].body else { return }
        #expect(workload.security == .simple(roots: pem))
        #expect(problems(in: text)[0].contains("spec.tls.caFile: \"ca.pem\" cannot be read here"))
    }
}
