import MeshModel
import Routing
import Telemetry
import Testing

@Suite struct RouteLabelsTests {
    @Test func internsEveryDestinationOnce() {
        var mesh = Mesh()
        mesh.add("api", zones: ["a"], remotes: ["west"], export: .all)
        let table = mesh.gatewayTable()
        var metrics = WorkerMetrics()
        let labels = RouteLabels(table, metrics: &metrics)
        let api = table.named("80.api.shop.svc.clusterset.local", from: .ownWorkload)!
        let expected = metrics.intern(bytes("api.shop.svc.clusterset.local"))
        #expect(labels.labels(of: api).service == expected)
        let west = metrics.intern(bytes("west"))
        #expect(labels.cluster(ofMember: 0) == west)
        #expect(labels.cluster(ofMember: -1) == .unknown)
        #expect(labels.rule(0, ofService: 0) == .unknown)
        mesh.snapshot.revision = 2
        let next = RouteLabels(mesh.gatewayTable(), metrics: &metrics)
        #expect(next.labels(of: api).service == .unknown)
    }
}
