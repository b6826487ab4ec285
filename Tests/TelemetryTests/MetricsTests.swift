import MeshModel
import Telemetry
import Testing

@Suite struct MetricsTests {
    private func key(
        _ metrics: inout WorkerMetrics, service: String = "api.shop.svc.clusterset.local",
        caller: String = "spiffe://e/ns/a/sa/b",
        code: UInt16 = 200, reason: Reason? = nil, over proto: RequestProtocol = .http
    ) -> RequestMetricKey {
        RequestMetricKey(
            reporter: .source, requestProtocol: proto, security: .mutualTLS,
            sourcePrincipal: metrics.intern(Array(caller.utf8)), sourceCluster: metrics.intern(Array("east".utf8)),
            destinationService: metrics.intern(Array(service.utf8)),
            destinationNamespace: metrics.intern(Array("shop".utf8)), responseCode: code,
            flag: reason.map(ResponseFlag.init) ?? .none, reason: reason)
    }

    private func page(_ snapshots: [MetricsSnapshot], _ format: MetricsWriter.Format = .prometheus) -> String {
        String(decoding: MetricsWriter.page(snapshots, format: format), as: UTF8.self)
    }

    @Test func sumsWorkersWhoseHandlesDiffer() {
        var first = WorkerMetrics()
        var second = WorkerMetrics()
        _ = second.intern(Array("something else".utf8))
        let one = key(&first, code: 503, reason: .noEndpoint)
        let two = key(&second, code: 503, reason: .noEndpoint)
        first.requestFinished(one, after: .milliseconds(3))
        for _ in 0..<4 { second.requestFinished(two, after: .milliseconds(30)) }
        let text = page([first.snapshot(), second.snapshot()])
        let expected = """
            meshfed_requests_total{reporter="source",source_principal="spiffe://e/ns/a/sa/b",source_cluster="east",\
            destination_service="api.shop.svc.clusterset.local",destination_service_namespace="shop",\
            destination_cluster="unknown",response_code="503",request_protocol="http",response_flags="UH",\
            connection_security_policy="mutual_tls",reason="no_endpoint"} 5

            """
        #expect(text.contains(expected))
        let labels =
            "reporter=\"source\",source_cluster=\"east\",destination_service=\"api.shop.svc.clusterset.local\","
            + "destination_service_namespace=\"shop\",destination_cluster=\"unknown\",response_code=\"503\","
            + "request_protocol=\"http\""
        #expect(text.contains("meshfed_request_duration_seconds_bucket{\(labels),le=\"0.002\"} 0\n"))
        #expect(text.contains("meshfed_request_duration_seconds_bucket{\(labels),le=\"0.005\"} 1\n"))
        #expect(text.contains("meshfed_request_duration_seconds_bucket{\(labels),le=\"0.05\"} 5\n"))
        #expect(text.contains("meshfed_request_duration_seconds_bucket{\(labels),le=\"+Inf\"} 5\n"))
        #expect(text.contains("meshfed_request_duration_seconds_sum{\(labels)} 0.123000000\n"))
        #expect(text.contains("meshfed_request_duration_seconds_count{\(labels)} 5\n"))
    }

    @Test func namesEveryMetricOfTheContract() {
        var metrics = WorkerMetrics()
        let tcp = metrics.series(key(&metrics, code: 0, over: .tcp))
        metrics.connectionOpened(tcp)
        metrics.connectionClosed(tcp)
        metrics.relayed(tcp, received: 10, sent: 20)
        let http = key(&metrics)
        metrics.requestFinished(http, after: .seconds(1))
        let label = metrics.intern(Array("x".utf8))
        for family in EventFamily.allCases { metrics.count(family, label, label, label) }
        let gauges = [
            Gauge(.feedAge, 1.5), Gauge(.linkAge, 2, labels: [Gauge.Label("cluster", "west")]),
            Gauge(.certificateExpiry, 1_800_000_000),
        ]
        let text = String(decoding: MetricsWriter.page([metrics.snapshot()], gauges: gauges), as: UTF8.self)
        for name in [
            "meshfed_requests_total", "meshfed_request_duration_seconds_bucket", "meshfed_tcp_connections_opened_total",
            "meshfed_tcp_connections_closed_total", "meshfed_tcp_sent_bytes_total", "meshfed_tcp_received_bytes_total",
            "meshfed_limit_decisions_total", "meshfed_failovers_total", "meshfed_origin_refused_total",
        ] {
            #expect(text.contains("\n\(name){"), "\(name)")
            let family = name.hasSuffix("_bucket") ? String(name.dropLast(7)) : name
            #expect(text.contains("# TYPE \(family) "), "\(family)")
        }
        #expect(text.contains("meshfed_feed_age_seconds 1.5\n"))
        #expect(text.contains("meshfed_link_age_seconds{cluster=\"west\"} 2\n"))
        #expect(text.contains("meshfed_certificate_expiry_timestamp_seconds 1800000000\n"))
        #expect(text.contains("} 20\n"))
    }

    @Test func writesOpenMetricsWhenAsked() {
        var metrics = WorkerMetrics()
        let http = key(&metrics)
        metrics.requestFinished(http, after: .seconds(1))
        let text = page([metrics.snapshot()], .openMetrics)
        #expect(text.hasSuffix("# EOF\n"))
        #expect(text.contains("# TYPE meshfed_requests counter\n"))
        #expect(text.contains("le=\"1.0\"} 1\n"))
        #expect(!page([metrics.snapshot()]).contains("# EOF"))
        let accept = Array("text/plain;q=0.5, Application/OpenMetrics-Text; version=1.0.0".utf8)
        #expect(MetricsWriter.Format(accept: accept.span) == .openMetrics)
        let plain = Array("text/plain".utf8)
        #expect(MetricsWriter.Format(accept: plain.span) == .prometheus)
    }

    @Test func everyLineIsWellFormedWithHostileLabels() {
        var metrics = WorkerMetrics()
        let bad: [UInt8] = Array("a\"b\\c\nd\r".utf8) + [0xFF, 0xE2, 0x80, 0xAE, 0x1B]
        let hostile = RequestMetricKey(
            reporter: .ingress, requestProtocol: .grpc, security: .none, sourcePrincipal: metrics.intern(bad))
        metrics.requestFinished(hostile, after: .zero)
        let bytes = MetricsWriter.page([metrics.snapshot()])
        #expect(String(validating: bytes, as: UTF8.self) != nil)
        #expect(!bytes.contains { $0 < 0x20 && $0 != 0x0A })
        let text = String(decoding: bytes, as: UTF8.self)
        #expect(text.contains("source_principal=\"a\\\"b\\\\c\\nd????\""))
    }

    @Test func boundsCardinalityAndCountsTheRest() {
        var metrics = WorkerMetrics(seriesLimit: 100)
        for number in 0..<1_000 {
            let one = key(&metrics, service: "svc-\(number)")
            metrics.requestFinished(one, after: .milliseconds(1))
        }
        let text = page([metrics.snapshot()])
        let series = text.split(separator: "\n").filter { $0.hasPrefix("meshfed_requests_total{") }
        #expect(series.count == 101)
        let other = series.filter { $0.contains("destination_service=\"other\"") }
        #expect(other.count == 1 && other[0].hasSuffix(" 900"))
        var total: UInt64 = 0
        for line in series { total += UInt64(line.split(separator: " ").last ?? "") ?? 0 }
        #expect(total == 1_000)
        #expect(!text.contains("meshfed_metric_overflow_total 0\n"))
    }

    @Test func boundsLabelTexts() {
        var metrics = WorkerMetrics()
        for number in 0..<20_000 { _ = metrics.intern(Array("caller-\(number)".utf8)) }
        #expect(metrics.intern(Array("one more".utf8)) == .other)
        #expect(metrics.intern(Array("caller-5".utf8)) != .other)
    }

    @Test func bucketsHoldWhatTheySay() {
        var state: UInt64 = 7
        for _ in 0..<5_000 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            let nanoseconds = Int64(state >> (state & 31 + 20))
            var metrics = WorkerMetrics()
            let http = key(&metrics)
            metrics.requestFinished(http, after: .nanoseconds(nanoseconds))
            let edge = metrics.durations(service: nil).quantile(1)
            guard let edge, nanoseconds <= 90_000_000_000 else { continue }
            #expect(edge >= .nanoseconds(nanoseconds))
            if nanoseconds > 20_000 { #expect(edge <= .nanoseconds(nanoseconds * 2)) }
        }
        var empty = WorkerMetrics()
        let http = key(&empty)
        empty.requestFinished(http, after: .seconds(-3))
        empty.requestFinished(http, after: .seconds(1_000_000))
        let summary = empty.durations(service: nil)
        #expect(summary.count == 2)
    }

    @Test func everyReasonHasItsWordAndFlag() {
        var metrics = WorkerMetrics()
        for reason in Reason.allCases {
            #expect(reason.word.description == reason.rawValue)
            let one = key(&metrics, code: UInt16(reason.httpStatus), reason: reason)
            metrics.requestFinished(one, after: .zero)
        }
        let text = page([metrics.snapshot()])
        for reason in Reason.allCases { #expect(text.contains("reason=\"\(reason.rawValue)\"} 1\n")) }
    }
}
