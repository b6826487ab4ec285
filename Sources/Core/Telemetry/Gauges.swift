/// A value read at scrape time: the age of the feed, of a link, the end of a certificate, what is open now.
package struct Gauge: Sendable, Hashable {
    package enum Family: String, Sendable, CaseIterable {
        case feedAge = "meshfed_feed_age_seconds"
        case linkAge = "meshfed_link_age_seconds"
        case certificateExpiry = "meshfed_certificate_expiry_timestamp_seconds"
        case connectionsOpen = "meshfed_connections_open"
        case requestsActive = "meshfed_requests_active"
        case endpointsHealthy = "meshfed_endpoints_healthy"
        case endpointsTotal = "meshfed_endpoints"
        case snapshotRevision = "meshfed_snapshot_revision"
        case residentMemory = "process_resident_memory_bytes"
        case openDescriptors = "process_open_fds"
        case memoryLimit = "meshfed_memory_limit_bytes"
        case memoryPressure = "meshfed_memory_pressure"
        case startTime = "process_start_time_seconds"
        case build = "meshfed_build_info"

        var help: StaticString {
            switch self {
            case .feedAge: "Seconds since the broker's feed was last heard."
            case .linkAge: "Seconds since data of the other cluster was last confirmed."
            case .certificateExpiry: "End of the certificate, seconds since 1970."
            case .connectionsOpen: "Connections open now."
            case .requestsActive: "Requests in progress now."
            case .endpointsHealthy: "Endpoints held healthy here."
            case .endpointsTotal: "Endpoints known here."
            case .snapshotRevision: "Revision of the snapshot in use."
            case .residentMemory: "Resident memory."
            case .openDescriptors: "Open file descriptors."
            case .memoryLimit: "Memory that the process may use; it sheds load before."
            case .memoryPressure: "0 calm, 1 lean, 2 shedding, 3 closed."
            case .startTime: "Start of the process, seconds since 1970."
            case .build: "Always 1; the labels say what is running."
            }
        }
    }

    package let family: Family
    /// Label name and value, in the order they are written.
    package let labels: [Label]
    package let value: Double

    package struct Label: Sendable, Hashable {
        package let name: String
        package let value: String

        package init(_ name: String, _ value: String) {
            self.name = name
            self.value = value
        }
    }

    package init(_ family: Family, _ value: Double, labels: [Label] = []) {
        self.family = family
        self.value = value
        self.labels = labels
    }
}

/// The callbacks that a scrape reads; belongs to the main thread.
package final class GaugeRegistry {
    private var readers: [() -> [Gauge]] = []

    package init() {}

    /// `reader` is called at every scrape and gives as many gauges as there are now (none when unknown).
    package func register(_ reader: @escaping () -> [Gauge]) { readers.append(reader) }

    package func read() -> [Gauge] { readers.flatMap { $0() } }
}
