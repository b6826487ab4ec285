internal import Compiler
internal import ControlCoding
internal import ControlProtocol
internal import Federation
internal import Identity
internal import MeshModel
internal import Reactor
internal import RPC
internal import Settings
internal import StoreSQLite
internal import Telemetry

/// The broker's numbers in the formats of Prometheus.
enum BrokerMetrics {
    static func page(_ broker: Broker, _ format: MetricsWriter.Format) -> [UInt8] {
        var page = MetricsWriter.page(
            [], gauges: gauges(broker), logLinesDropped: broker.log.dropped, format: format)
        // OpenMetrics ends with a line that nothing may follow.
        let end = Array("# EOF\n".utf8)
        let isOpen = page.suffix(end.count).elementsEqual(end)
        if isOpen { page.removeLast(end.count) }
        append(broker, isOpen, &page)
        if isOpen { page += end }
        return page
    }

    private static func gauges(_ broker: Broker) -> [Gauge] {
        var gauges: [Gauge] = []
        let machine = broker.federation.machine
        for status in machine.status(at: broker.loop.now) {
            guard status.standing.isAdmitted, let age = status.age else { continue }
            gauges.append(
                Gauge(
                    .linkAge, Double(age.wholeMilliseconds) / 1_000,
                    labels: [Gauge.Label("cluster", status.statement.cluster.description)]))
        }
        let trust = broker.trust
        gauges.append(
            Gauge(
                .certificateExpiry, Double(trust.svid.notAfter.seconds),
                labels: [Gauge.Label("kind", "svid"), Gauge.Label("identity", trust.svid.id.description)]))
        for authority in (try? broker.admin.status().authorities) ?? [] where authority.state != "revoked" {
            gauges.append(
                Gauge(
                    .certificateExpiry, Double(authority.notAfter),
                    labels: [Gauge.Label("kind", "root"), Gauge.Label("identity", authority.id)]))
        }
        let snapshot = broker.snapshots.compilation?.snapshot
        let endpoints = snapshot?.services.flatMap(\.endpoints) ?? []
        gauges.append(Gauge(.endpointsTotal, Double(endpoints.count)))
        gauges.append(Gauge(.endpointsHealthy, Double(endpoints.count(where: \.healthy))))
        gauges.append(Gauge(.snapshotRevision, Double(broker.snapshots.revision)))
        gauges.append(Gauge(.connectionsOpen, Double(broker.loop.connectionCount)))
        gauges.append(Gauge(.startTime, Double(broker.started.seconds)))
        gauges.append(
            Gauge(
                .build, 1,
                labels: [
                    Gauge.Label("version", Release.version), Gauge.Label("role", "broker"),
                    Gauge.Label("cluster", broker.settings.cluster.description),
                ]))
        return gauges
    }

    /// What only a broker has.
    private static func append(_ broker: Broker, _ isOpen: Bool, _ page: inout [UInt8]) {
        func family(_ name: String, _ help: String, _ type: String, _ samples: [(String, Double)]) {
            let isCounter = type == "counter"
            let base = isCounter && isOpen ? name : isCounter ? "\(name)_total" : name
            page += Array("# HELP \(base) \(help)\n# TYPE \(base) \(type)\n".utf8)
            let full = isCounter ? "\(name)_total" : name
            for (labels, value) in samples {
                page += Array("\(full)\(labels.isEmpty ? "" : "{\(labels)}") \(UInt64(max(0, value)))\n".utf8)
            }
        }
        var members = (admitted: 0, pending: 0)
        var connected = 0
        for status in broker.federation.machine.status(at: broker.loop.now) {
            switch status.standing {
            case .admitted: members.admitted += 1
            case .pending: members.pending += 1
            case .gone: break
            }
            if status.isConnected { connected += 1 }
        }
        let proxies = broker.feed.proxies
        let gateways = proxies.count { $0.gateway != nil }
        let services = broker.snapshots.compilation?.snapshot.services.count ?? 0
        let behind = proxies.count { $0.acked < broker.snapshots.published?.snapshot.revision ?? 0 }
        let counts = broker.counts
        family(
            "meshfed_members", "Clusters of the federation that are known.", "gauge",
            [
                (#"state="admitted""#, Double(members.admitted)), (#"state="pending""#, Double(members.pending)),
            ])
        family("meshfed_links_connected", "Members with an open stream.", "gauge", [("", Double(connected))])
        family(
            "meshfed_proxies", "Proxies that subscribe.", "gauge",
            [
                (#"role="gateway""#, Double(gateways)), (#"role="sidecar""#, Double(proxies.count - gateways)),
            ])
        family("meshfed_proxies_behind", "Proxies without the newest snapshot.", "gauge", [("", Double(behind))])
        family("meshfed_services", "Services in the snapshot.", "gauge", [("", Double(services))])
        family("meshfed_alarms", "Alarms that nobody has cleared.", "gauge", [("", Double(broker.alarms.alarms.count))])
        family(
            "meshfed_store_log_bytes", "Bytes of the database's log.", "gauge",
            [("", Double(broker.state.store.logByteCount))])
        for (name, help, value) in [
            ("meshfed_snapshots_published", "Snapshots published.", counts.snapshots),
            ("meshfed_snapshots_refused", "Snapshots that a proxy refused.", counts.refusedSnapshots),
            ("meshfed_svids_issued", "SVIDs given out.", counts.issued),
            ("meshfed_svids_renewed_expired", "SVIDs renewed after their end.", counts.renewedExpired),
            ("meshfed_enrolments", "Enrolments by token.", counts.enrolments),
            ("meshfed_enrolments_refused", "Enrolments and late renewals refused.", counts.refusedEnrolments),
            ("meshfed_joins", "Clusters admitted by token.", counts.joins),
            ("meshfed_joins_refused", "Joins refused.", counts.refusedJoins),
            ("meshfed_dials", "Dials of members.", counts.dials),
            ("meshfed_dials_failed", "Dials of members that came to nothing.", counts.failedDials),
            ("meshfed_calls_refused", "Calls by peers that may not make them.", counts.refusedCalls),
        ] {
            family(name, help, "counter", [("", Double(value))])
        }
    }
}
