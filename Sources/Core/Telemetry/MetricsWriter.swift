/// Writes everything counted as a page for a scraper.
///
/// Prometheus text 0.0.4, or OpenMetrics 1.0.0 where the scraper asks for it (ECOSYSTEM A6).
package struct MetricsWriter {
    package enum Format: Sendable {
        case prometheus
        case openMetrics

        /// The format that an `accept` header asks for.
        package init(accept: Span<UInt8>) {
            let wanted = Array("application/openmetrics-text".utf8)
            self = .prometheus
            guard accept.count >= wanted.count else { return }
            for start in 0...(accept.count - wanted.count) {
                var offset = 0
                while offset < wanted.count, accept[start + offset] | 0x20 == wanted[offset] | 0x20 { offset += 1 }
                if offset == wanted.count {
                    self = .openMetrics
                    return
                }
            }
        }

        package var contentType: StaticString {
            switch self {
            case .prometheus: "text/plain; version=0.0.4; charset=utf-8"
            case .openMetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8"
            }
        }
    }

    private let format: Format
    private var page: [UInt8] = []
    private var data: MetricsSnapshot

    private init(format: Format, data: MetricsSnapshot) {
        self.format = format
        self.data = data
    }

    /// The whole page: counts of all workers added up, then the gauges, then what the sinks dropped.
    package static func page(
        _ snapshots: [MetricsSnapshot], gauges: [Gauge] = [], logLinesDropped: UInt64 = 0,
        format: Format = .prometheus
    ) -> [UInt8] {
        var sum = WorkerMetrics()
        for snapshot in snapshots { sum.merge(snapshot) }
        var writer = MetricsWriter(format: format, data: sum.snapshot())
        writer.writeRequests()
        writer.writeTCP()
        writer.writeEvents()
        writer.writeGauges(gauges)
        writer.writePlain(
            "meshfed_metric_overflow", "Counts that went to a series named other.", writer.data.overflow)
        writer.writePlain("meshfed_log_lines_dropped", "Log lines lost because the reader was slow.", logLinesDropped)
        if format == .openMetrics { writer.page.append(text: "# EOF\n") }
        return writer.page
    }

    private mutating func writeRequests() {
        begin("meshfed_requests", "Requests finished.", "counter", suffix: "_total")
        for (position, key) in data.index.keys.enumerated() where key.requestProtocol != .tcp {
            sample("meshfed_requests_total", key, data.cells[position].requests)
        }
        begin("meshfed_request_duration_seconds", "Time from first byte in to last byte out.", "histogram")
        for (position, key) in data.histograms.keys.enumerated() where key.requestProtocol != .tcp {
            writeHistogram(position, key)
        }
    }

    private mutating func writeHistogram(_ position: Int, _ key: RequestMetricKey) {
        let base = position * DurationBuckets.count
        var total: UInt64 = 0
        var next = 0
        for shown in DurationBuckets.shown {
            while next <= shown.last {
                total &+= data.buckets[base + next]
                next += 1
            }
            page.append(text: "meshfed_request_duration_seconds_bucket")
            labels(of: key)
            page.removeLast()
            page.append(text: ",le=\"")
            page.append(contentsOf: shown.bound)
            if format == .openMetrics, !shown.bound.contains(0x2E) { page.append(text: ".0") }
            page.append(text: "\"} ")
            end(total)
        }
        while next < DurationBuckets.count {
            total &+= data.buckets[base + next]
            next += 1
        }
        page.append(text: "meshfed_request_duration_seconds_bucket")
        labels(of: key)
        page.removeLast()
        page.append(text: ",le=\"+Inf\"} ")
        end(total)
        page.append(text: "meshfed_request_duration_seconds_sum")
        labels(of: key)
        page.append(0x20)
        Decimal.appendSeconds(data.sums[position], into: &page)
        page.append(0x0A)
        sample("meshfed_request_duration_seconds_count", key, total)
    }

    private mutating func writeTCP() {
        begin("meshfed_tcp_connections_opened", "TCP connections opened.", "counter", suffix: "_total")
        for (position, key) in data.index.keys.enumerated() where key.requestProtocol == .tcp {
            sample("meshfed_tcp_connections_opened_total", key, data.cells[position].opened)
        }
        begin("meshfed_tcp_connections_closed", "TCP connections closed.", "counter", suffix: "_total")
        for (position, key) in data.index.keys.enumerated() where key.requestProtocol == .tcp {
            sample("meshfed_tcp_connections_closed_total", key, data.cells[position].closed)
        }
        begin("meshfed_tcp_sent_bytes", "Bytes sent to the caller.", "counter", suffix: "_total")
        for (position, key) in data.index.keys.enumerated() where key.requestProtocol == .tcp {
            sample("meshfed_tcp_sent_bytes_total", key, data.cells[position].sent)
        }
        begin("meshfed_tcp_received_bytes", "Bytes received from the caller.", "counter", suffix: "_total")
        for (position, key) in data.index.keys.enumerated() where key.requestProtocol == .tcp {
            sample("meshfed_tcp_received_bytes_total", key, data.cells[position].received)
        }
    }

    private mutating func writeEvents() {
        for family in EventFamily.allCases {
            begin(family.name, family.help, "counter", suffix: "_total")
            for (position, key) in data.events.keys.enumerated() where EventFamily.family(of: key) == family {
                page.append(text: family.name)
                page.append(text: "_total{")
                for (name, handle) in zip(family.labels, EventFamily.handles(of: key)) { label(name, handle) }
                page.removeLast()
                page.append(text: "} ")
                end(data.eventCounts[position])
            }
        }
    }

    private mutating func writeGauges(_ gauges: [Gauge]) {
        for family in Gauge.Family.allCases {
            let ours = gauges.filter { $0.family == family }
            guard !ours.isEmpty else { continue }
            page.append(text: "# HELP ")
            page.append(contentsOf: family.rawValue.utf8)
            page.append(0x20)
            page.append(text: family.help)
            page.append(text: "\n# TYPE ")
            page.append(contentsOf: family.rawValue.utf8)
            page.append(text: " gauge\n")
            for gauge in ours {
                page.append(contentsOf: family.rawValue.utf8)
                if !gauge.labels.isEmpty {
                    page.append(0x7B)
                    for label in gauge.labels {
                        page.append(contentsOf: label.name.utf8)
                        page.append(text: "=\"")
                        let value = Array(label.value.utf8)
                        Escape.label(value.span, into: &page)
                        page.append(text: "\",")
                    }
                    page.removeLast()
                    page.append(0x7D)
                }
                page.append(0x20)
                number(gauge.value)
                page.append(0x0A)
            }
        }
    }

    private mutating func number(_ value: Double) {
        if value.isNaN {
            page.append(text: "NaN")
        } else if value.isInfinite {
            page.append(text: value < 0 ? "-Inf" : "+Inf")
        } else if let whole = Int64(exactly: value), abs(whole) < 1 << 53 {
            if whole < 0 { page.append(0x2D) }
            Decimal.append(whole.magnitude, into: &page)
        } else {
            page.append(contentsOf: value.description.utf8)
        }
    }

    private mutating func writePlain(_ name: StaticString, _ help: StaticString, _ value: UInt64) {
        begin(name, help, "counter", suffix: "_total")
        page.append(text: name)
        page.append(text: "_total ")
        end(value)
    }

    /// HELP and TYPE; OpenMetrics names a counter without `_total`, the older format with it.
    private mutating func begin(
        _ name: StaticString, _ help: StaticString, _ type: StaticString, suffix: StaticString = ""
    ) {
        page.append(text: "# HELP ")
        page.append(text: name)
        if format == .prometheus { page.append(text: suffix) }
        page.append(0x20)
        page.append(text: help)
        page.append(text: "\n# TYPE ")
        page.append(text: name)
        if format == .prometheus { page.append(text: suffix) }
        page.append(0x20)
        page.append(text: type)
        page.append(0x0A)
    }

    private mutating func sample(_ name: StaticString, _ key: RequestMetricKey, _ value: UInt64) {
        page.append(text: name)
        labels(of: key)
        page.append(0x20)
        end(value)
    }

    private mutating func end(_ value: UInt64) {
        Decimal.append(value, into: &page)
        page.append(0x0A)
    }

    private mutating func labels(of key: RequestMetricKey) {
        page.append(0x7B)
        word("reporter", key.reporter.word)
        let full = key.sourcePrincipal != .omitted
        if full { label("source_principal", key.sourcePrincipal) }
        label("source_cluster", key.sourceCluster)
        label("destination_service", key.destinationService)
        label("destination_service_namespace", key.destinationNamespace)
        label("destination_cluster", key.destinationCluster)
        if key.requestProtocol != .tcp {
            page.append(text: "response_code=\"")
            Decimal.append(UInt64(key.responseCode), into: &page)
            page.append(text: "\",")
        }
        word("request_protocol", key.requestProtocol.word)
        if full {
            word("response_flags", key.flag.word)
            word("connection_security_policy", key.security.word)
            word("reason", key.reason?.word ?? "-")
        }
        page.removeLast()
        page.append(0x7D)
    }

    private mutating func word(_ name: StaticString, _ value: StaticString) {
        page.append(text: name)
        page.append(text: "=\"")
        page.append(text: value)
        page.append(text: "\",")
    }

    private mutating func label(_ name: StaticString, _ handle: LabelHandle) {
        page.append(text: name)
        page.append(text: "=\"")
        let known = Int(handle.raw) < data.labels.texts.count ? handle : .other
        let text = data.labels.texts[Int(known.raw)]
        Escape.label(text.span, into: &page)
        page.append(text: "\",")
    }
}
