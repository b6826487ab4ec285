package import MeshModel
internal import Telemetry

/// The page `/config_dump`: the snapshot that the process routes by, and what it says of itself. No secret is in either.
package enum ConfigDump {
    /// - Parameters:
    ///   - process: name and value of what the role wants to show (role, name, version, listeners …), in this order.
    ///   - snapshot: nil before the first one.
    package static func page(process: [(String, String)], snapshot: Snapshot?) -> [UInt8] {
        var json = JSONText()
        json.object { json in
            json.object("process") { json in for (name, value) in process { json.string(name, value) } }
            if let snapshot { json.object("snapshot") { write(snapshot, &$0) } }
        }
        return json.bytes + [0x0A]
    }

    private static func write(_ snapshot: Snapshot, _ json: inout JSONText) {
        json.string("cluster", snapshot.cluster.description)
        json.string("trustDomain", snapshot.trustDomain.description)
        json.number("epoch", snapshot.epoch)
        json.number("revision", snapshot.revision)
        json.array("bundles", of: snapshot.bundles) { json, bundle in
            json.object { json in
                json.string("trustDomain", bundle.trustDomain.description)
                json.number("sequence", bundle.sequence)
                json.number("roots", bundle.roots.count)
                json.number("revokedSerials", bundle.revokedSerials.count)
            }
        }
        json.array("members", of: snapshot.members) { json, member in
            json.object { json in
                json.string("cluster", member.cluster.description)
                json.string("trustDomain", member.trustDomain.description)
                json.string("freshness", text(member.freshness))
                json.array("gateways", of: member.gateways, gateway)
            }
        }
        json.array("gateways", of: snapshot.gateways, gateway)
        json.array("services", of: snapshot.services) { json, service in json.object { write(service, &$0) } }
        json.object("settings") { json in
            json.string("mutualTLS", "\(snapshot.settings.mutualTLS)")
            json.array("acceptAttested", of: snapshot.settings.acceptAttested) { $0.string(nil, $1.description) }
            json.bool("accessLog", snapshot.settings.accessLog)
        }
    }

    private static func write(_ service: Service, _ json: inout JSONText) {
        json.number("id", service.id)
        json.string("name", service.name.description)
        json.string("meshName", service.meshName.description)
        json.bool("local", service.isLocal)
        json.array("ports", of: service.ports) { json, port in
            json.object { json in
                json.string("name", port.name)
                json.number("port", port.port)
                json.string("protocol", port.appProtocol.rawValue)
            }
        }
        switch service.export {
        case .none: json.string("export", "none")
        case .all: json.string("export", "*")
        case .clusters(let list): json.string("export", list.map(\.description).joined(separator: ","))
        }
        json.array("endpoints", of: service.endpoints) { json, endpoint in
            json.object { json in
                json.number("id", endpoint.id)
                json.string("workload", endpoint.workload.description)
                json.string("address", endpoint.address)
                json.array("ports", of: endpoint.targetPorts.sorted { $0.key < $1.key }) {
                    $0.string(nil, "\($1.key)→\($1.value)")
                }
                json.string("tls", text(endpoint.security))
                json.string("identity", endpoint.identity.description)
                json.string("locality", endpoint.locality.description)
                json.number("weight", endpoint.weight)
                json.bool("healthy", endpoint.healthy)
            }
        }
        json.array("remotes", of: service.remotes) { json, remote in
            json.object { json in
                json.string("cluster", remote.cluster.description)
                json.number("healthy", remote.healthyCount)
                json.array("capacities", of: remote.capacities) { json, capacity in
                    json.object { json in
                        json.string("locality", capacity.locality.description)
                        json.number("healthy", capacity.healthyCount)
                        json.number("capacity", capacity.capacity)
                    }
                }
            }
        }
        json.object("traffic") { json in
            json.string("connectTimeout", service.traffic.connectTimeout.gep2257)
            json.string("handshakeTimeout", service.traffic.handshakeTimeout.gep2257)
            json.string("headersTimeout", service.traffic.headersTimeout.gep2257)
            json.string("requestTimeout", service.traffic.requestTimeout.gep2257)
            json.string("perTryTimeout", service.traffic.perTryTimeout.gep2257)
            json.string("idleTimeout", service.traffic.idleTimeout.gep2257)
            json.string("connectionIdleTimeout", service.traffic.connectionIdleTimeout.gep2257)
            json.string("maximumConnectionAge", service.traffic.maximumConnectionAge.gep2257)
            json.number("maximumAttempts", service.traffic.maximumAttempts)
            json.array("failoverOrder", of: service.traffic.failoverOrder) { $0.string(nil, $1.description) }
        }
        json.array("limits", of: service.limits) { json, rule in
            json.object { json in
                json.string("name", rule.name)
                json.number("requests", rule.requests)
                json.string("per", rule.per.gep2257)
                json.number("burst", rule.burst)
                json.string("subject", "\(rule.subject)")
                json.string("mode", "\(rule.mode)")
            }
        }
        json.array("authorization", of: service.authorization.rules) { json, rule in
            json.object { json in
                json.string("name", rule.name)
                json.string("action", "\(rule.action)")
                json.array("callers", of: rule.callers) { $0.string(nil, text($1)) }
                json.array("ports", of: rule.ports) { $0.number(nil, $1) }
            }
        }
    }

    private static func gateway(_ json: inout JSONText, _ gateway: GatewayAddress) {
        json.object { json in
            json.string("name", gateway.name.description)
            json.string("address", HostPort(host: gateway.address, port: gateway.port).description)
            json.string("locality", gateway.locality.description)
        }
    }

    private static func text(_ freshness: Freshness) -> String {
        switch freshness {
        case .fresh: "fresh"
        case .stale(let since): "stale since \(time(since))"
        case .gone: "gone"
        }
    }

    private static func text(_ security: EndpointSecurity) -> String {
        switch security {
        case .mesh: "mesh"
        case .mutual: "mutual"
        case .simple: "simple"
        case .plain: "plain"
        }
    }

    private static func text(_ caller: CallerPattern) -> String {
        switch caller {
        case .any: "*"
        case .identity(let id): id.description
        case .prefix(let prefix): "\(prefix)*"
        case .trustDomain(let domain): "spiffe://\(domain)/*"
        }
    }

    static func time(_ time: WallTime) -> String {
        var text: [UInt8] = []
        TimeText.appendWhole(time, into: &text)
        return String(decoding: text, as: UTF8.self)
    }
}

/// The page `/certs`: the own SVID and the bundles that are believed. Never a key.
package enum CertificatePage {
    /// The own SVID, as far as people need it.
    package struct Identity: Hashable, Sendable {
        package let id: SPIFFEID
        /// Hexadecimal.
        package let serial: String
        package let notBefore: WallTime
        package let notAfter: WallTime

        package init(id: SPIFFEID, serial: String, notBefore: WallTime, notAfter: WallTime) {
            self.id = id
            self.serial = serial
            self.notBefore = notBefore
            self.notAfter = notAfter
        }
    }

    /// One trust domain and the SHA-256 of each of its roots, hexadecimal.
    package struct Bundle: Hashable, Sendable {
        package let trustDomain: TrustDomain
        package let roots: [String]
        package let revoked: Int

        package init(trustDomain: TrustDomain, roots: [String], revoked: Int) {
            self.trustDomain = trustDomain
            self.roots = roots
            self.revoked = revoked
        }
    }

    package static func page(identity: Identity?, bundles: [Bundle]) -> [UInt8] {
        var json = JSONText()
        json.object { json in
            if let identity {
                json.object("svid") { json in
                    json.string("id", identity.id.description)
                    json.string("serial", identity.serial)
                    json.string("notBefore", ConfigDump.time(identity.notBefore))
                    json.string("notAfter", ConfigDump.time(identity.notAfter))
                }
            }
            json.array("bundles", of: bundles) { json, bundle in
                json.object { json in
                    json.string("trustDomain", bundle.trustDomain.description)
                    json.array("roots", of: bundle.roots) { $0.string(nil, $1) }
                    json.number("revokedSerials", bundle.revoked)
                }
            }
        }
        return json.bytes + [0x0A]
    }
}
